"""A Kafka with TLS, SCRAM and ACLs, and a Redis with TLS and ACLs: each service has its own user
with enough rights.

Canaries stand for secrets and for prompts: none of them may turn up in a log, in a header or in
`pointsman config`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import servers
from aiokafka.errors import TopicAuthorizationFailedError
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from conftest import eventually
from published import build_and_publish
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError
from support import forget_settings

from services.commands.rights import kafka_commands, name_of, redis_users, rights, strimzi
from services.commands.traffic import open_traffic
from services.flows import hot_path, names
from services.local.supervise import Supervisor
from services.workbench.building import TableSource
from shared.adapters.errors import AdapterError
from shared.adapters.kafka.client import create_topics, publisher, read_all, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.adapters.keys import new, write
from shared.adapters.redis.client import RedisSettings, client
from shared.contracts.scopes import Scope
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, EVALUATIONS, PROMPTS

CANARY = "canary-4711"
PROMPT = f"{CANARY}-prompt Translate the notice on our door into French, please."


def password(user: str) -> str:
    return f"{CANARY}-kafka-{user}"


def redis_password(user: str) -> str:
    return f"{CANARY}-redis-{user}"


@dataclass
class Secured:
    """Servers that let nobody in who is not known."""

    address: str
    redis: str
    ca: Path
    home: Path
    log: list[str] = field(default_factory=list)

    def environment(self, user: str) -> dict[str, str]:
        """What a service is told: where the servers are, who it is, and the files of its
        secrets."""
        files = {
            "KAFKA_PASSWORD": password(user),
            "REDIS_URL": f"rediss://{name_of(user)}:{redis_password(user)}@{self.redis}/0",
        }
        given = {"POINTSMAN_KAFKA_USERNAME": name_of(user)}
        for name, secret in files.items():
            path = self.home / f"{user}-{name.lower()}"
            path.write_text(secret + "\n")
            given[f"POINTSMAN_{name}_FILE"] = str(path)
        return given


def certificates(home: Path) -> None:
    """An authority, and a certificate of it for 127.0.0.1."""
    if servers.shutil.which("openssl") is None and servers.installed("openssl", "openssl") is None:
        raise servers.NoServer(
            "openssl makes the certificates of this test; install it (Debian: apt-get install "
            "openssl)"
        )
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    steps = [
        [
            "req",
            "-x509",
            *curve,
            "-subj",
            "/CN=test authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ],
        [
            "req",
            *curve[:-2],
            "-subj",
            "/CN=127.0.0.1",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
        ],
        [
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "san",
            "-out",
            "server.pem",
        ],
    ]
    (home / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for step in steps:
        subprocess.run(["openssl", *step], cwd=home, check=True, capture_output=True)
    (home / "broker.pem").write_text(
        (home / "server.key").read_text() + (home / "server.pem").read_text()
    )


def acls(prefix_user: str = "User:") -> Iterator[AclBinding]:
    """The rights as the broker's admin API takes them, from the same lines that an operator
    runs."""
    for line in kafka_commands():
        words = line.split()
        user, operation = (
            next(w for w in words if w.startswith(prefix_user)),
            AclOperation[words[words.index("--operation") + 1]],
        )
        for flag, kind in (("--topic", ResourceType.TOPIC), ("--group", ResourceType.GROUP)):
            for i, word in enumerate(words):
                if word == flag:
                    yield AclBinding(
                        kind,
                        words[i + 1],
                        ResourcePatternType.LITERAL,
                        user,
                        "*",
                        operation,
                        AclPermissionType.ALLOW,
                    )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    home = tmp_path_factory.mktemp("secured")
    certificates(home)
    port, redis_port = servers.free_port(), servers.free_port()
    users = {name_of(user): password(user) for user in (*rights(), "tools")}
    (home / "users.acl").write_text(
        "\n".join(
            [
                *redis_users({u: redis_password(u) for u in rights()}),
                f"user {name_of('tools')} on >{redis_password('tools')} ~* &* +@all",
            ]
        )
        + "\n"
    )
    broker = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{name_of('tools')}",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(home / "broker.pem"),
        "ssl.client.auth": "none",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    }
    tls = (
        "--port",
        "0",
        "--tls-port",
        str(redis_port),
        "--tls-cert-file",
        str(home / "server.pem"),
        "--tls-key-file",
        str(home / "server.key"),
    )
    options = (
        *tls,
        "--tls-ca-cert-file",
        str(home / "ca.pem"),
        "--tls-auth-clients",
        "no",
        "--aclfile",
        str(home / "users.acl"),
    )
    with (
        servers.native_kafka(broker, {"SASL_SSL": port}, users) as kafka,
        servers.native_redis(redis_port, options),
        pytest.MonkeyPatch.context() as patch,
    ):
        made = Secured(f"127.0.0.1:{port}", f"127.0.0.1:{redis_port}", home / "ca.pem", home)
        forget_settings(patch)
        common = {
            "POINTSMAN_KAFKA_BOOTSTRAP_SERVERS": made.address,
            "POINTSMAN_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "POINTSMAN_KAFKA_CA_FILE": str(made.ca),
            "POINTSMAN_KAFKA_PARTITIONS": "2",
            "POINTSMAN_REDIS_CA_FILE": str(made.ca),
            "POINTSMAN_DESCRIBER_BACKEND": "llm",
            "POINTSMAN_JUDGE_RATE": "1",
            "POINTSMAN_RECLUSTERER_EVERY_S": "1",
        }
        for name, value in (common | made.environment("tools")).items():
            patch.setenv(name, value)
        admin = AdminClient({"bootstrap.servers": kafka.address, "log_level": 0})
        asyncio.run(create_topics(KafkaSettings()))
        for future in admin.create_acls(list(acls())).values():
            future.result(10)
        yield made


@pytest.fixture(scope="module")
async def running(secured: Secured) -> AsyncIterator[dict[str, Supervisor]]:
    """Every service as its own user."""
    clear, key = new("team", frozenset({Scope.complete, Scope.route, Scope.admin}), None, None)
    write(secured.home / "keys.yaml", (key,))
    secured.home.joinpath("gateway-key").write_text(clear)
    await build_and_publish(TableSource(simulated=True, k="10"), "first")
    async with AsyncExitStack() as stack:
        made = {}
        for name in names():
            own = {
                f"POINTSMAN_{name.upper()}_PORT": "0",
                "POINTSMAN_KEYS_FILE": str(secured.home / "keys.yaml"),
                "POINTSMAN_LOG_LEVEL": "DEBUG",
            }
            made[name] = await stack.enter_async_context(
                Supervisor(
                    (name,),
                    secured.environment(name) | own,
                    lambda *entry: secured.log.append(" ".join(entry)),
                )
            )
        for name, service in made.items():
            try:
                await service.ready(60)
            except Exception as error:
                raise AssertionError(f"{name}: {error}; {secured.log[-20:]}") from None
        yield made


def as_user(
    secured: Secured, user: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[KafkaSettings, RedisSettings]:
    for name, value in secured.environment(user).items():
        monkeypatch.setenv(name, value)
    return KafkaSettings(), RedisSettings()


async def test_with_these_rights_a_prompt_is_decided_answered_judged_and_learnt_from(
    secured: Secured, running: dict[str, Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, _ = as_user(secured, "sender", monkeypatch)
    async with open_traffic(sender, completions=True) as traffic:
        for i in range(30):
            body = {
                "prompt": f"{PROMPT} {i}",
                "request_id": f"s-{i}",
                "answer": True,
                "profile": "quality",
            }
            await traffic.send(f"s-{i}", json.dumps(body).encode())
        await traffic.send(
            "bad", json.dumps({"prompt": PROMPT, "request_id": "bad", "profile": CANARY}).encode()
        )
        async with asyncio.timeout(60):
            found = [await traffic.outcomes.get() for _ in range(31)]
    assert sum(o.decided is not None for o in found) == 30
    judge, _ = as_user(secured, "judge", monkeypatch)

    async def judged() -> bool:
        return len(await read_all(judge, EVALUATIONS)) >= 20

    await eventually(judged, 60)
    reclusterer, _ = as_user(secured, "reclusterer", monkeypatch)

    async def learnt() -> bool:
        return bool((await versions(reclusterer))[-1].basis)

    await eventually(learnt, 180)  # 20 to 60 s as a rule
    dead = await read_all(sender, DEAD_LETTERS)
    assert len(dead) == 1
    assert CANARY not in str(dead[0].headers), (
        "a dead letter's headers say what is wrong and quote nothing"
    )


async def test_clients_come_in_through_gateway_and_console(
    secured: Secured, running: dict[str, Supervisor]
) -> None:
    import httpx

    key = (secured.home / "gateway-key").read_text()
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=30) as http:
        body = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}
        answer = await http.post(
            running["gateway"].addresses["gateway"] + "/v1/chat/completions", json=body
        )
        assert answer.status_code == 200, answer.text
        assert "x-pointsman-default" not in answer.headers
        page = await http.get(running["console"].addresses["console"] + "/login")
        assert page.status_code == 200


async def test_nobody_can_do_what_is_not_theirs(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder, _ = as_user(secured, "embedder", monkeypatch)
    async with publisher(embedder) as out:
        with pytest.raises(TopicAuthorizationFailedError):
            await out.send_and_wait("decisions", b"{}", key=b"x")
    with pytest.raises(TopicAuthorizationFailedError):
        async with reader(embedder, (EVALUATIONS,), from_start=True):
            pass
    sender, _ = as_user(secured, "sender", monkeypatch)
    async with publisher(sender) as out:
        with pytest.raises(TopicAuthorizationFailedError):
            await out.send_and_wait("routing-tables", b"{}", key=b"9.9", partition=0)
    _, describer = as_user(secured, "describer", monkeypatch)
    redis: Redis = client(describer)
    try:
        await redis.set(describer.key_prefix + "description:x", "y", ex=5)
        for forbidden in (
            redis.get(describer.key_prefix + "answer:x"),
            redis.flushall(),
            redis.keys("*"),
            redis.config_get("*"),
        ):
            with pytest.raises(NoPermissionError):
                await forbidden
    finally:
        await redis.aclose()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"POINTSMAN_KAFKA_PASSWORD": "wrong"},
            "to the user pointsman-tools over SASL_SSL. If it is up, see that the password",
        ),
        ({"POINTSMAN_KAFKA_CA_FILE": ""}, "no Kafka answers"),
        ({"POINTSMAN_KAFKA_CA_FILE": "/nowhere.pem"}, "certificates can't be used"),
        ({"POINTSMAN_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "no Kafka answers"),
        (
            {"POINTSMAN_KAFKA_PASSWORD_FILE": "/nowhere"},
            "POINTSMAN_KAFKA_PASSWORD_FILE names can't be read",
        ),
    ],
)
async def test_the_message_names_what_is_wrong_with_the_access(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], words: str
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    monkeypatch.setenv("POINTSMAN_KAFKA_REQUEST_TIMEOUT_MS", "3000")
    with pytest.raises(AdapterError, match=words):
        await read_all(KafkaSettings(), DECISIONS)


async def test_secrets_and_prompts_stand_in_no_log_and_in_no_list_of_settings(
    secured: Secured, running: dict[str, Supervisor]
) -> None:
    assert {line.split(" ")[0] for line in secured.log} >= {"embedder", "assigner", "judge"}, (
        "the services have said something"
    )
    assert any("dead letter" in line for line in secured.log)
    assert not [line for line in secured.log if CANARY in line]
    secrets = {
        "POINTSMAN_LLM_API_KEY": f"{CANARY}-llm",
        "POINTSMAN_KAFKA_PASSWORD": f"{CANARY}-k",
        "POINTSMAN_REDIS_URL": f"redis://u:{CANARY}@h:1/0",
    }
    for command in (["config"], ["config", "--json"], ["doctor", "--json"]):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services", *command],
            capture_output=True,
            text=True,
            env={**os.environ, **secrets},
        )
        assert "{" in done.stdout or "POINTSMAN" in done.stdout
        assert CANARY not in done.stdout + done.stderr


def test_every_service_has_rights_and_the_forms_for_servers_are_those_in_deploy() -> None:
    assert set(names()) <= set(rights())
    assert all(rights()[name].group for name in (*hot_path(), "dispatcher", "judge", "reclusterer"))
    folder = Path("deploy/security")
    for file, text in (
        ("kafka-acls.sh", "\n".join(kafka_commands())),
        ("kafka-users.yaml", strimzi().rstrip()),
        ("redis-users.acl", "\n".join(redis_users())),
    ):
        there = "\n".join(
            line for line in (folder / file).read_text().splitlines() if not line.startswith("#")
        )
        assert there.strip() == text, f"make rights writes {file} again"


def test_prompts_topic_is_no_services_to_write() -> None:
    assert {user for user, may in rights().items() if PROMPTS in may.writes} == {
        "gateway",
        "console",
        "sender",
    }
