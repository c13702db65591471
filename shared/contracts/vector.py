"""Vectors on the wire: base64 of little-endian float32."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema


def _decode(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("a vector is a base64 string")
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError(
            "a vector is base64 of little-endian float32, and this is no base64"
        ) from None
    if not data or len(data) % 4:
        raise ValueError(
            "a vector is base64 of little-endian float32: a multiple of 4 bytes, at least one "
            "number"
        )
    return data


Vector = Annotated[
    bytes,
    PlainValidator(_decode),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), return_type=str),
    WithJsonSchema(
        {"type": "string", "contentEncoding": "base64", "description": "little-endian float32"}
    ),
]


def pack(array: npt.NDArray[np.float32]) -> bytes:
    """(dim,) float32 to bytes."""
    return np.asarray(array, "<f4").tobytes()


def unpack(data: bytes) -> npt.NDArray[np.float32]:
    """Bytes to (dim,) float32, read-only."""
    return np.frombuffer(data, "<f4")
