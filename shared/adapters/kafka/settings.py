"""Where Kafka is and how the topics are laid out."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from aiokafka.helpers import create_ssl_context
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.adapters.errors import SecretUnreadable
from shared.adapters.secrets import SecretSettings
from shared.contracts.topics import Topic


class KafkaSettings(SecretSettings):
    """POINTSMAN_KAFKA_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_KAFKA_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    bootstrap_servers: str = "127.0.0.1:9092"
    """Addresses of brokers: host:port, several separated by commas."""
    topic_prefix: str = ""
    """Prefix of every topic and consumer group ("staging."), so that installations can share a
    cluster."""
    partitions: Annotated[int, Field(ge=1)] = 12
    """Partitions of new topics. At most this many instances of a service share its work."""
    replication: Annotated[int, Field(ge=1)] = 1
    """Copies of new topics; 3 on a cluster that must survive the loss of a broker."""
    session_timeout_ms: Annotated[int, Field(ge=1000)] = 10_000
    """Silence after which a service counts as dead, and others get its partitions."""
    instance: str = ""
    """Names this process in its consumer group; no other may have the name. A killed member that
    restarts under its name gets its partitions back at once. Without a name it waits until the
    session of its predecessor ends. {host} is replaced by the machine's name."""
    fetch_max_wait_ms: Annotated[int, Field(ge=1)] = 500
    """How long a broker holds a fetch that finds nothing. The embedded broker waits it out, so it
    gets 5."""
    doorbell: Path | None = None
    """Folder in which consumers of an embedded broker are woken (`shared.adapters.kafka.doorbell`).
    A real broker wakes them by itself: leave it empty."""
    metadata_max_age_ms: Annotated[int, Field(ge=100)] = 30_000
    """How long until the service notices that a topic was created again or widened."""
    stalled_s: Annotated[float, Field(gt=0)] = 60.0
    """How long a partition may make no progress while records wait, beyond the time limit of one
    record. After that the log names the partition, and the service is not ready."""
    request_timeout_ms: Annotated[int, Field(ge=1000)] = 20_000
    """How long one request to a broker may take."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """The protocol of the brokers' listener. Do not use PLAINTEXT on a shared network."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How a user proves who it is, with SASL."""
    username: str = ""
    """The user, with SASL. Each service has its own (`pointsman rights`)."""
    password: SecretStr = SecretStr("")
    """Its password; POINTSMAN_KAFKA_PASSWORD_FILE names a file that holds it."""
    ca_file: Path | None = None
    """PEM file of the authorities that may have signed the brokers' certificates, with TLS. None:
    those of this machine."""
    cert_file: Path | None = None
    """PEM file of this client's own certificate, where the brokers ask for one."""
    key_file: Path | None = None
    """PEM file of that certificate's key."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.username and self.password.get_secret_value()
        ):
            raise ValueError(
                "SASL needs POINTSMAN_KAFKA_USERNAME and POINTSMAN_KAFKA_PASSWORD (or "
                "POINTSMAN_KAFKA_PASSWORD_FILE)"
            )
        return self

    def tls(self) -> ssl.SSLContext | None:
        """What TLS needs; None without. Names of brokers are checked. Raises `SecretUnreadable`."""
        if not self.security_protocol.endswith("SSL"):
            return None
        try:
            return create_ssl_context(
                cafile=self.ca_file, certfile=self.cert_file, keyfile=self.key_file
            )
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(f) for f in (self.ca_file, self.cert_file, self.key_file) if f)
            raise SecretUnreadable(
                f"Kafka's certificates can't be used ({type(error).__name__}): {files}"
            ) from None

    def access(self) -> dict[str, Any]:
        """The arguments of every aiokafka client that say where the brokers are and who asks."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "security_protocol": self.security_protocol,
            "ssl_context": self.tls(),
        }
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password.get_secret_value(),
            }
        return options

    def membership(self, service: str) -> dict[str, Any]:
        """The arguments of a consumer that make it a member of a service's group (static, if it has
        a name: KIP-345)."""
        return {
            "group_id": self.group(service),
            "group_instance_id": self.instance.replace("{host}", socket.gethostname()) or None,
            "session_timeout_ms": self.session_timeout_ms,
            "heartbeat_interval_ms": self.session_timeout_ms // 4,
        }

    @property
    def servers(self) -> list[str]:
        return [server.strip() for server in self.bootstrap_servers.split(",") if server.strip()]

    def name(self, topic: Topic) -> str:
        """The topic's name in this installation."""
        return self.topic_prefix + topic.name

    def group(self, service: str) -> str:
        """The consumer group of a service in this installation."""
        return f"{self.topic_prefix}pointsman-{service}"
