"""What can be wrong with a message.

ContractError
└── InvalidMessage   bytes that are no message of the expected kind; the text never quotes them
"""


class ContractError(Exception):
    """Anything below."""


class InvalidMessage(ContractError):
    """Bytes that are no message of the expected kind. The text says what is wrong and never quotes
    the input."""
