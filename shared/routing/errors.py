"""What can go wrong in the arithmetic.

RoutingError
├── TableInvalid       a routing table that contradicts itself, or bytes that are none
├── EncoderMismatch    an embedding from another space than the table's
├── EmbeddingInvalid   a vector that is no point of the space: wrong length, NaN, infinite
└── OutcomesInvalid    an outcome matrix that can't be used; names the row and the field
"""


class RoutingError(Exception):
    """Anything below; its text says what to do."""


class TableInvalid(RoutingError):
    """A routing table that contradicts itself, or bytes that are none."""


class EncoderMismatch(RoutingError):
    """An embedding from another space than the table's: equal dimension is not equal space."""


class EmbeddingInvalid(RoutingError):
    """A vector of the wrong length, or one with NaN or infinity in it."""


class OutcomesInvalid(RoutingError):
    """An outcome matrix that can't be used. The text names the row and the field."""
