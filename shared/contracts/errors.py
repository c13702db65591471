"""What can be wrong with a message, and with a model that was asked.

ContractError
└── InvalidMessage   bytes that are no message of the expected kind; the text never quotes them

ModelUnavailable     what a service's work hears of a model that gave no usable answer
"""

from __future__ import annotations

from collections.abc import Mapping


class ContractError(Exception):
    """Anything below."""


class InvalidMessage(ContractError):
    """Bytes that are no message of the expected kind. The text says what is wrong and never quotes
    the input."""


class ModelUnavailable(Exception):
    """A model gave no usable answer. `status` is its API's; `said` what that said of the error, as
    far as it is for the requester.

    `late`: there was no answer in time. `retry_after_s`: how long the API asks to be left alone.
    """

    def __init__(
        self,
        text: str,
        status: int | None = None,
        said: Mapping[str, str] | None = None,
        *,
        late: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.said = said
        self.late = late
        self.retry_after_s = retry_after_s
