"""Where Kafka is and how the topics are laid out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.contracts.topics import Topic


class KafkaSettings(BaseSettings):
    """POINTSMAN_KAFKA_*"""

    model_config = SettingsConfigDict(env_prefix="POINTSMAN_KAFKA_", frozen=True, use_attribute_docstrings=True, extra="ignore")

    bootstrap_servers: str = "127.0.0.1:9092"
    """Brokers to ask first: host:port, several separated by commas."""
    topic_prefix: str = ""
    """Put before every topic and consumer group, so that installations can share a cluster ("staging.")."""
    partitions: Annotated[int, Field(ge=1)] = 12
    """Partitions of a topic that is created; the most instances of a service that can share its work."""
    replication: Annotated[int, Field(ge=1)] = 1
    """Copies of a topic that is created; 3 on a cluster that must survive the loss of a broker."""
    session_timeout_ms: Annotated[int, Field(ge=1000)] = 10_000
    """Silence after which the group takes a service for dead and gives its partitions to others."""
    fetch_max_wait_ms: Annotated[int, Field(ge=1)] = 500
    """How long a broker holds a fetch that finds nothing. The embedded broker waits it out, so it gets 5."""
    request_timeout_ms: Annotated[int, Field(ge=1000)] = 20_000
    """How long one request to a broker may take."""

    @property
    def servers(self) -> list[str]:
        return [server.strip() for server in self.bootstrap_servers.split(",") if server.strip()]

    def name(self, topic: Topic) -> str:
        """The topic's name in this installation."""
        return self.topic_prefix + topic.name

    def group(self, service: str) -> str:
        """The consumer group of a service in this installation."""
        return f"{self.topic_prefix}pointsman-{service}"
