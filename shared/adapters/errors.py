"""What the outside can do to us; foreign errors go on as one of these.

AdapterError
├── BrokerUnreachable   no Kafka at the configured address
├── TopicsMissing       topics that have not been created
├── CacheUnreachable    no Redis at the configured address
├── ModelUnreachable    a language model that gave no usable answer in time
├── EncoderInvalid      a directory that holds no usable encoder
├── SessionLost         this process stood still for so long that its work is another's by now
├── NoRoutingTable      no version has been published yet
├── PublishConflict     another writer published a version at the same moment
├── SecretUnreadable    a file of a secret or a certificate that can't be read
└── ServiceFailed       a service that would not start
"""

from __future__ import annotations

from collections.abc import Mapping


class AdapterError(Exception):
    """Anything below; its text says what to do."""


class BrokerUnreachable(AdapterError):
    """No Kafka at the configured address."""


class TopicsMissing(AdapterError):
    """Topics that have not been created."""


class CacheUnreachable(AdapterError):
    """No Redis at the configured address."""


class ModelUnreachable(AdapterError):
    """A language model that gave no usable answer in time.

    `status` is the API's own, where it answered. `said` is its error object, where the request itself was wrong: it may quote the
    request, so it is for the requester and for no log.
    """

    def __init__(self, text: str, status: int | None = None, said: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.said = status, said


class EncoderInvalid(AdapterError):
    """A directory that holds no usable encoder."""


class SessionLost(AdapterError):
    """This process stood still for so long that its work is another's by now."""


class SecretUnreadable(AdapterError):
    """A file of a secret or a certificate that can't be read."""


class NoRoutingTable(AdapterError):
    """No version of the routing table has been published yet."""


class PublishConflict(AdapterError):
    """Another writer published a version at the same moment."""


class ServiceFailed(AdapterError):
    """A service that ended again and again before it took a record, or took none in time."""
