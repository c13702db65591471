"""`pointsman rights`: what each service may do to Kafka and Redis, and nothing more, in the forms
that servers take."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from services.commands.screen import as_json as print_json
from services.commands.screen import out
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.client import RedisSettings
from shared.contracts.topics import (
    ASSIGNMENTS,
    COMPLETIONS,
    DEAD_LETTERS,
    DECISIONS,
    DESCRIPTIONS,
    EMBEDDINGS,
    EVALUATIONS,
    PROMPTS,
    REPLIES,
    ROUTING_TABLES,
    SPENDING,
    Topic,
)

TABLES = "{tables}:"
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
    keys: tuple[str, ...] = ()
    """Beginnings of its keys in Redis, behind the installation's prefix."""


RIGHTS: dict[str, Rights] = {
    "describer": Rights(
        (PROMPTS, DESCRIPTIONS, ROUTING_TABLES),
        (DESCRIPTIONS, REPLIES, DEAD_LETTERS),
        group=True,
        keys=(TABLES, "description:"),
    ),
    "embedder": Rights(
        (DESCRIPTIONS, ROUTING_TABLES), (EMBEDDINGS, DEAD_LETTERS), group=True, keys=(TABLES,)
    ),
    "assigner": Rights(
        (EMBEDDINGS, ROUTING_TABLES), (ASSIGNMENTS, DEAD_LETTERS), group=True, keys=(TABLES,)
    ),
    "selector": Rights(
        (ASSIGNMENTS, ROUTING_TABLES),
        (DECISIONS, REPLIES, DEAD_LETTERS),
        group=True,
        keys=(TABLES,),
    ),
    "dispatcher": Rights(
        (DECISIONS, ROUTING_TABLES),
        (COMPLETIONS, REPLIES, DEAD_LETTERS),
        group=True,
        keys=(TABLES, "answer:", "asking:"),
    ),
    "judge": Rights(
        (COMPLETIONS, EVALUATIONS, ROUTING_TABLES),
        (EVALUATIONS, DEAD_LETTERS),
        group=True,
        keys=(TABLES, "answer:", "judged:", "budget:judge:"),
    ),
    "reclusterer": Rights(
        (EMBEDDINGS, EVALUATIONS, COMPLETIONS, ROUTING_TABLES),
        (ROUTING_TABLES,),
        group=True,
        keys=(TABLES,),
    ),
    "gateway": Rights(
        (REPLIES, SPENDING, COMPLETIONS, ROUTING_TABLES),
        (PROMPTS, COMPLETIONS, EVALUATIONS, SPENDING),
        keys=(TABLES, "rate:", "budget:", "conversation:", "answered:"),
    ),
    "console": Rights(
        (DECISIONS, EVALUATIONS, SPENDING, REPLIES, ROUTING_TABLES),
        (PROMPTS, EVALUATIONS, ROUTING_TABLES),
        keys=(TABLES,),
    ),
    "sender": Rights((DECISIONS, COMPLETIONS, DEAD_LETTERS), (PROMPTS,)),
}
"""By user. `sender` stands for a system that publishes prompts and reads what comes of them. The
command line's user may do anything."""


def show(form: str, *, as_json: bool) -> None:
    """Print them: for `kafka-acls.sh`, as Strimzi's KafkaUsers, as a Redis ACL file, or as a
    list."""
    if as_json:
        print_json([_row(user) for user in RIGHTS])
    elif form == "kafka":
        print("\n".join(kafka_commands()))
    elif form == "strimzi":
        print(strimzi(), end="")
    elif form == "redis":
        print("\n".join(redis_users()))
    else:
        for row in map(_row, RIGHTS):
            out.print(f"[bold]{row['user']}[/]")
            for what in ("reads", "writes", "groups", "keys"):
                if row[what]:
                    out.print(f"  {what}: {', '.join(row[what])}", soft_wrap=True)
        out.print("[dim]--form kafka, strimzi or redis prints what a server takes[/]")


def name_of(user: str) -> str:
    """What the servers call it."""
    return f"pointsman-{user}"


def _row(user: str) -> dict[str, str | list[str]]:
    kafka, redis, rights = KafkaSettings(), RedisSettings(), RIGHTS[user]
    return {
        "user": name_of(user),
        "reads": [kafka.name(topic) for topic in rights.reads],
        "writes": [kafka.name(topic) for topic in rights.writes],
        "groups": [kafka.group(user)] if rights.group else [],
        "keys": [f"{redis.key_prefix}{key}*" for key in rights.keys],
    }


def kafka_commands() -> list[str]:
    """Lines for a shell, with $KAFKA_ACLS as in `KAFKA_ACLS="kafka-acls.sh --bootstrap-server
    broker:9092 --command-config admin.conf"`."""
    lines = []
    for row in map(_row, RIGHTS):
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
    for row in map(_row, RIGHTS):
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
    for user, rights in RIGHTS.items():
        if rights.keys:
            prefix, password = (
                RedisSettings().key_prefix,
                (passwords or {}).get(user, f"CHANGE-ME-{user}"),
            )
            keys = " ".join(f"~{prefix}{key}*" for key in rights.keys)
            channel = f" &{prefix}{TABLES}news" if TABLES in rights.keys else ""
            lines.append(
                f"user {name_of(user)} on >{password} {keys} resetchannels{channel} -@all "
                f"{COMMANDS}"
            )
    return lines
