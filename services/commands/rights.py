"""`pointsman rights`: what each service may do to Kafka and Redis, and nothing more, in the forms
that servers take."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from services.flows import flows
from services.screen import as_json as print_json
from services.screen import out
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.client import RedisSettings
from shared.contracts.flow import RedisKeys
from shared.contracts.topics import COMPLETIONS, DEAD_LETTERS, DECISIONS, PROMPTS, Topic

COMMANDS = (
    "+get +set +del +exists +expire +pexpire +hget +hset +hmget +hexists +hincrbyfloat +publish "
    "+subscribe +unsubscribe "
    "+eval +evalsha +script|load +ping +hello +auth +select +client|setname"
)
"""All that our adapters need; on the keys of its user alone. (redis-py also sends CLIENT SETINFO,
which Redis 7.0 does not know.)"""


@dataclass(frozen=True, slots=True)
class Rights:
    """What one user may do."""

    reads: tuple[Topic, ...] = ()
    writes: tuple[Topic, ...] = ()
    group: bool = False
    """Whether it is a member of the consumer group of its name."""
    keys: tuple[RedisKeys, ...] = ()


SENDER = Rights((DECISIONS, COMPLETIONS, DEAD_LETTERS), (PROMPTS,))
"""A system that publishes prompts and reads the results."""


def rights() -> dict[str, Rights]:
    """By user: each service, and `sender`. The command line's user may do anything."""
    services = {f.name: Rights(f.read, f.written, f.grouped, f.keys) for f in flows()}
    return services | {"sender": SENDER}


def show(form: str, *, as_json: bool) -> None:
    """Print them: for `kafka-acls.sh`, as Strimzi's KafkaUsers, as a Redis ACL file, or as a
    list."""
    if as_json:
        print_json(_rows())
    elif form == "kafka":
        print("\n".join(kafka_commands()))
    elif form == "strimzi":
        print(strimzi(), end="")
    elif form == "redis":
        print("\n".join(redis_users()))
    else:
        for row in _rows():
            out.print(f"[bold]{row['user']}[/]")
            for what in ("reads", "writes", "groups", "keys"):
                if row[what]:
                    out.print(f"  {what}: {', '.join(row[what])}", soft_wrap=True)
        out.print("[dim]--form kafka, strimzi or redis prints what a server takes[/]")


def name_of(user: str) -> str:
    """What the servers call it."""
    return f"pointsman-{user}"


def _rows() -> list[dict[str, str | list[str]]]:
    kafka = KafkaSettings()
    redis = RedisSettings()
    return [
        {
            "user": name_of(user),
            "reads": [kafka.name(topic) for topic in may.reads],
            "writes": [kafka.name(topic) for topic in may.writes],
            "groups": [kafka.group(user)] if may.group else [],
            "keys": [f"{redis.key_prefix}{keys}:*" for keys in may.keys],
        }
        for user, may in rights().items()
    ]


def kafka_commands() -> list[str]:
    """Lines for a shell, with $KAFKA_ACLS as in `KAFKA_ACLS="kafka-acls.sh --bootstrap-server
    broker:9092 --command-config admin.conf"`."""
    lines = []
    for row in _rows():
        user = f"$KAFKA_ACLS --add --allow-principal User:{row['user']}"
        for operation, topics in (("READ", row["reads"]), ("WRITE", row["writes"])):
            if topics:
                lines.append(
                    " ".join(
                        [
                            user,
                            f"--operation {operation}",
                            *(f"--topic {topic}" for topic in topics),
                        ]
                    )
                )
        lines += [f"{user} --operation READ --group {group}" for group in row["groups"]]
    return lines


def strimzi() -> str:
    """One KafkaUser a service, with SCRAM-SHA-512; the cluster is called `kafka`, as in Strimzi's
    examples."""
    users = []
    for row in _rows():
        acls = [
            {
                "resource": {"type": "topic", "name": topic, "patternType": "literal"},
                "operations": [operation, "Describe"],
            }
            for operation, topics in (("Read", row["reads"]), ("Write", row["writes"]))
            for topic in topics
        ]
        acls += [
            {
                "resource": {"type": "group", "name": group, "patternType": "literal"},
                "operations": ["Read"],
            }
            for group in row["groups"]
        ]
        users.append(
            {
                "apiVersion": "kafka.strimzi.io/v1",
                "kind": "KafkaUser",
                "metadata": {"name": row["user"], "labels": {"strimzi.io/cluster": "kafka"}},
                "spec": {
                    "authentication": {"type": "scram-sha-512"},
                    "authorization": {"type": "simple", "acls": acls},
                },
            }
        )
    return "---\n".join(yaml.safe_dump(user, sort_keys=False) for user in users)


def redis_users(passwords: dict[str, str] | None = None) -> list[str]:
    """Lines of a Redis ACL file. Without `passwords` each stands as CHANGE-ME; nobody else may do
    anything."""
    lines = ["user default off"]
    prefix = RedisSettings().key_prefix
    for user, may in rights().items():
        if may.keys:
            password = (passwords or {}).get(user, f"CHANGE-ME-{user}")
            keys = " ".join(f"~{prefix}{keys}:*" for keys in may.keys)
            channel = f" &{prefix}{RedisKeys.tables}:news" if RedisKeys.tables in may.keys else ""
            lines.append(
                f"user {name_of(user)} on >{password} {keys} resetchannels{channel} -@all "
                f"{COMMANDS}"
            )
    return lines
