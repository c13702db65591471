"""What the outside can do to us; foreign errors go on as one of these.

AdapterError
├── BrokerUnreachable   no Kafka at the configured address, or one that refuses
├── RecordTooLarge      a record of more bytes than its topic takes
├── TopicsMissing       topics that have not been created
├── CacheUnreachable    no Redis at the configured address
├── ModelUnreachable    a language model that gave no usable answer in time
├── EncoderInvalid      a directory that holds no usable encoder
├── SessionLost         this process was paused so long that others have its work now
├── NoRoutingTable      no version has been published yet
├── PublishConflict     another writer published a version at the same moment
├── SecretUnreadable    a file of a secret or a certificate that can't be read
├── ServiceFailed       a service that would not start
├── PortTaken           somebody else listens there
├── Refused             a key that is missing, unknown or out of place
├── KeyFileInvalid      a file of keys that can't be read
└── ScriptInvalid       a file of scripted answers that can't be read
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

OF_THE_REQUEST = frozenset({400, 403, 404, 405, 406, 411, 413, 414, 415, 416, 422, 424, 431, 451})
"""HTTP statuses that say what is wrong with one request."""


class AdapterError(Exception):
    """Anything below; its text says what to do."""


class BrokerUnreachable(AdapterError):
    """No Kafka at the configured address."""


class RecordTooLarge(AdapterError):
    """A record of more bytes than its topic takes."""


class TopicsMissing(AdapterError):
    """Topics that have not been created."""


class CacheUnreachable(AdapterError):
    """No Redis at the configured address."""


class Trouble(StrEnum):
    """Why a language model gave no usable answer."""

    late = "late"
    """No whole answer within the time limit."""
    resting = "resting"
    """It failed several times in a row, so it is not asked for a while."""
    away = "away"
    """The connection could not be made, or broke before anything came."""
    refused = "refused"
    """The API answered with an HTTP status of 400 or more."""
    failed = "failed"
    """The API answered 200, and an error inside."""
    cut_off = "cut_off"
    """The answer ended before it was whole."""
    unreadable = "unreadable"
    """What came is not in the form of OpenAI's API."""
    unsent = "unsent"
    """The request can't be put into JSON, or nobody knows where to send it."""


class ModelUnreachable(AdapterError):
    """A language model that gave no usable answer in time.

    `status` is the API's own, where it gave one. `said` is what the API said of an error: it may
    quote the request, so it is for the requester and for no log. `retry_after_s` is how long the
    API asks to be left alone.
    """

    def __init__(
        self,
        text: str,
        trouble: Trouble,
        status: int | None = None,
        said: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(text)
        self.trouble = trouble
        self.status = status
        self.said = said
        self.retry_after_s = retry_after_s
        self.named: frozenset[str] = frozenset()
        """Fields of the request that the API's error names."""

    @property
    def of_the_request(self) -> bool:
        """Whether the request is at fault, so that it says nothing about the model."""
        return self.trouble is Trouble.unsent or self.status in OF_THE_REQUEST


class EncoderInvalid(AdapterError):
    """A directory that holds no usable encoder."""


class SessionLost(AdapterError):
    """This process was paused so long that others have its work now."""


class SecretUnreadable(AdapterError):
    """A file of a secret or a certificate that can't be read."""


class NoRoutingTable(AdapterError):
    """No version of the routing table has been published yet."""


class PublishConflict(AdapterError):
    """Another writer published a version at the same moment."""


class ServiceFailed(AdapterError):
    """A service that ended again and again before it took a record, or took none in time."""
