"""A doorbell for the embedded broker: consumers sleep until somebody publishes.

A real broker answers a waiting fetch as soon as a record arrives. The embedded one waits the fetch
out, so it has to be asked every few milliseconds, and that costs a core. With a doorbell a consumer
asks that often only while there is traffic. Publishers ring by a datagram to every socket in a
folder, and resting consumers wake up. Somebody who publishes without ringing is heard at the next
look."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.adapters.kafka.positions import last, position
from shared.adapters.telemetry import log

RING_EVERY_S = 0.25
"""A publisher rings no more often."""
ATTENTIVE_S = 2.0
"""How long a consumer asks again and again after the last ring, or after it started."""
LOOK_S = 0.01
"""How long a consumer that rests asks at each look."""
_numbers = itertools.count()


@dataclass(slots=True)
class Ringer:
    """Rings for everything that one process publishes. Without a folder it does nothing."""

    folder: Path | None
    rung_at: float = field(default=float("-inf"))
    _socket: socket.socket | None = None

    def ring(self) -> None:
        """Wake consumers that rest; at most once in `RING_EVERY_S`."""
        now = time.monotonic()
        if self.folder is None or now - self.rung_at < RING_EVERY_S:
            return
        self.rung_at = now
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        with suppress(OSError):
            for entry in os.scandir(self.folder):
                try:
                    self._socket.sendto(b"!", entry.path)
                except ConnectionRefusedError:  # left behind by a process that was killed
                    Path(entry.path).unlink(missing_ok=True)
                except OSError:
                    continue  # its buffer is full of rings, or it went just now

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def attend(consumer: Callable[[], Any], folder: Path | None, look_every_s: float) -> None:
    """Let a consumer rest while nobody rings, for good; it looks by itself every `look_every_s`.

    `consumer` gives None until there is one. Returns at once without a folder. A partition that
    rests is paused, as aiokafka calls it: what it is asked for is not fetched.
    """
    if folder is None:
        return
    rung = asyncio.Event()
    path = folder / f"{os.getpid()}-{next(_numbers)}"
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setblocking(False)
        try:
            bell.bind(str(path))
        except OSError as error:  # a folder that has gone, or whose name is too long for a socket
            log.warning("no doorbell; asking the broker all the time", error=str(error))
            return
        loop.add_reader(bell.fileno(), _hear, bell, rung)
        try:
            while True:
                await _until_quiet(rung)
                while not rung.is_set():
                    if (who := consumer()) is not None:
                        who.pause(*who.assignment())
                    with suppress(TimeoutError):
                        await asyncio.wait_for(rung.wait(), look_every_s)
                    if (who := consumer()) is None:
                        continue
                    who.resume(*(who.paused() & who.assignment()))
                    if not rung.is_set():
                        await asyncio.sleep(LOOK_S)
                        if _behind(who):
                            rung.set()  # somebody published who does not ring
        finally:
            loop.remove_reader(bell.fileno())
            path.unlink(missing_ok=True)


async def _until_quiet(rung: asyncio.Event) -> None:
    """Wait until nobody has rung for `ATTENTIVE_S`."""
    while True:
        rung.clear()
        await asyncio.sleep(ATTENTIVE_S)
        if not rung.is_set():
            return


def _behind(consumer: Any) -> bool:
    """Whether records are there that nobody has taken."""
    ends = ((position(consumer, part), last(consumer, part)) for part in consumer.assignment())
    return any(at is not None and end is not None and at < end for at, end in ends)


def _hear(bell: socket.socket, rung: asyncio.Event) -> None:
    with suppress(BlockingIOError):
        while True:
            bell.recv(16)
            rung.set()
