"""Keys of those who may use the gateway and the console: hashed at rest, scoped, with limits of
their own.

The file is YAML, written by `pointsman keys` and read again when it has changed. A key is 256
random bits, so one round of SHA-256 keeps it: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.adapters.errors import AdapterError
from shared.adapters.telemetry import log
from shared.contracts.scopes import Scope
from shared.contracts.wishes import Preferences

PREFIX = "pm-"
LOOK_EVERY_S = 1.0
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class KeySettings(BaseSettings):
    """POINTSMAN_KEYS_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_KEYS_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    file: Path | None = None
    """YAML file of keys, written by `pointsman keys create`. None: there are no keys."""
    open_on_loopback: bool = False
    """Without a file: let every client on this machine do everything. `pointsman up` sets
    it on embedded servers."""


class Key(BaseModel):
    """One key. Who has an `admin` key may do everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w.@-]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: frozenset[Scope]
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    usd_per_day: Annotated[float, Field(ge=0)] | None = None
    preferences: Preferences | None = None
    """What its requests care about where they don't say: rates, or a goal such as `keep: 0.97`."""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.admin in self.scopes


LOCAL = Key(name="local", sha256="0" * 64, scopes=frozenset(Scope))
"""A person on this machine, where that is enough."""


class Refused(AdapterError):
    """Nobody that is known."""


class KeyFileInvalid(AdapterError):
    """A file of keys that can't be read."""


class Keys:
    """The keys of the file as it is now: none until it is made. Raises `KeyFileInvalid` if what is
    there at first can't be read; later, what was read last stays."""

    def __init__(self, settings: KeySettings | None = None) -> None:
        self._settings = settings or KeySettings()
        self._stamp = self._stat()
        self._looked = time.monotonic()
        self._keys: tuple[Key, ...] = ()
        if self._settings.file is not None:
            if self._settings.file.exists():
                self._keys = read(self._settings.file)
            else:
                log.warning(
                    "there are no keys yet, so nobody is admitted: `pointsman keys create` makes "
                    f"{self._settings.file}"
                )

    @property
    def open(self) -> bool:
        """Whether this machine itself needs no key."""
        return self._settings.file is None and self._settings.open_on_loopback

    def all(self) -> tuple[Key, ...]:
        """The keys, as the file was at most a second ago."""
        now = time.monotonic()
        if self._settings.file is not None and now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            if (stamp := self._stat()) != self._stamp:
                self._stamp = stamp
                try:
                    self._keys = read(self._settings.file)
                    log.info("the keys have changed", keys=len(self._keys))
                except KeyFileInvalid as error:
                    log.warning("the keys stay as they were", error=str(error))
        return self._keys

    def find(self, presented: str) -> Key | None:
        """Whose key that is. Takes as long for a wrong one as for a right one."""
        digest = hashlib.sha256(presented.encode()).hexdigest()
        match = None
        for key in self.all():
            if hmac.compare_digest(key.sha256, digest):
                match = key
        return match

    def admit(self, presented: str | None, peer: str | None, host: str, *, forwarded: bool) -> Key:
        """Who is there. Raises `Refused`, whose text says what to do.

        `peer` is the client's address, `forwarded` whether a proxy is between. `host` is the host
        that the request names: a foreign site whose name was bound to loopback is not admitted."""
        if self.open:
            if is_loopback(peer) and host_name(host) in LOOPBACK_NAMES and not forwarded:
                return LOCAL
            raise Refused(
                "without keys only this machine itself is served; make one with `pointsman keys "
                "create`, and set POINTSMAN_KEYS_FILE"
            )
        if not presented:
            none = ". There are none yet: `pointsman keys create`" + (
                "" if self._settings.file else ", then set POINTSMAN_KEYS_FILE"
            )
            where = "" if self.all() else none
            raise Refused(f"a key is needed: Authorization: Bearer {PREFIX}…{where}")
        key = self.find(presented)
        if key is None:
            raise Refused("no such key; ask the operator of this Pointsman for one")
        return key

    def _stat(self) -> tuple[int, int]:
        try:
            status = self._settings.file.stat() if self._settings.file else None
        except OSError:
            status = None
        return (status.st_mtime_ns, status.st_size) if status else (0, 0)


def is_loopback(address: str | None) -> bool:
    """Whether that is an address of this very machine; a Unix socket has none and is."""
    if address is None:
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].split("]", 1)[0]
    return host.rsplit(":", 1)[0] if host.count(":") == 1 else host


def read(path: Path) -> tuple[Key, ...]:
    """The keys of a file. Raises `KeyFileInvalid`."""
    try:
        data = yaml.safe_load(path.read_text()) or {}
        keys = tuple(Key.model_validate(one) for one in data["keys"])
    except OSError as error:
        raise KeyFileInvalid(
            f"the keys {path} can't be read: {error.strerror}; make them with `pointsman keys "
            "create`"
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise KeyFileInvalid(
            f"the keys {path} are wrong at {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise KeyFileInvalid(
            f"the keys {path} are not in the form that `pointsman keys create` writes "
            f"({type(error).__name__})"
        ) from None
    if len({key.name for key in keys}) < len(keys):
        raise KeyFileInvalid(f"the keys {path} have a name twice")
    return keys


def write(path: Path, keys: tuple[Key, ...]) -> None:
    """Replace the file, readable by its owner only."""
    rows = [
        key.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        | {"scopes": sorted(scope.value for scope in key.scopes)}
        for key in keys
    ]
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_text(
        "# Keys of Pointsman, hashed. Made by `pointsman keys`; read again when it changes.\n"
        + yaml.safe_dump({"keys": rows})
    )
    fresh.replace(path)


def new(
    name: str,
    scopes: frozenset[Scope],
    requests_per_minute: int | None,
    usd_per_day: float | None,
    preferences: Preferences | None = None,
) -> tuple[str, Key]:
    """A fresh key in clear, to be shown once, and what is kept of it."""
    clear = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(clear.encode()).hexdigest()
    return clear, Key(
        name=name,
        sha256=digest,
        scopes=scopes,
        requests_per_minute=requests_per_minute,
        usd_per_day=usd_per_day,
        preferences=preferences,
    )
