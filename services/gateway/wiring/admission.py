"""How much may be under way, and reading what comes: bodies with a limit, plain or packed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import cramjam
from starlette.types import Receive

from services.gateway import FLOW
from services.gateway.requests import Problem
from shared.adapters.telemetry import IN_FLIGHT


class Gone(Exception):
    """The client has left."""


async def client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(receive: Receive, slot: Slot, limit: int, length: str | None) -> bytes:
    too_much = Problem(
        413, f"the request is too large; at most {limit} bytes are taken", code="request_too_large"
    )
    if length is not None and length.isdigit() and int(length) > limit:
        raise too_much
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        size += len(part := message.get("body", b""))
        if size > limit:
            raise too_much
        slot.take(len(part))
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def unzipped(body: bytes, slot: Slot, limit: int) -> bytes:
    """What was sent as gzip, of no more than `limit` bytes."""
    reading = zlib.decompressobj(wbits=31)
    try:
        unzipped = reading.decompress(body, limit + 1)
    except zlib.error:
        raise Problem(400, "the body is not gzip, though content-encoding says so") from None
    if len(unzipped) > limit:
        raise Problem(
            413,
            f"the request is too large unpacked; at most {limit} bytes are taken",
            code="request_too_large",
        )
    if not reading.eof or reading.unused_data:
        raise Problem(400, "the body is not one whole gzip member, though content-encoding says so")
    slot.take(len(unzipped))
    return unzipped


def _unpacked(name: str, unpack: Callable[[bytes, bytearray], int]) -> Unpack:
    def unpacked(body: bytes, slot: Slot, limit: int) -> bytes:
        """What was sent packed, of no more than `limit` bytes."""
        slot.take(limit)
        room = bytearray(limit)
        mark = os.urandom(16)  # gone when the room is full
        room += mark
        try:
            size = unpack(body, room)
        except cramjam.DecompressionError:
            if room[limit:] == mark:
                raise Problem(
                    400, f"the body is not {name}, though content-encoding says so"
                ) from None
            size = len(room)
        if size > limit:
            raise Problem(
                413,
                f"the request is too large unpacked; at most {limit} bytes are taken",
                code="request_too_large",
            )
        slot.give_back(limit - size)
        return bytes(memoryview(room)[:size])

    return unpacked


Unpack = Callable[[bytes, "Slot", int], bytes]
CODINGS: Mapping[str, Unpack] = {
    "": lambda body, _slot, _limit: body,
    "identity": lambda body, _slot, _limit: body,
    "gzip": unzipped,
    "x-gzip": unzipped,
    "br": _unpacked("br", cramjam.brotli.decompress_into),
    "zstd": _unpacked("zstd", cramjam.zstd.decompress_into),
}
"""What a body may be packed with, and what unpacks it."""


def busy(text: str, wait_s: float, code: str) -> Problem:
    """429, with when to come again."""
    return Problem(
        429,
        text,
        kind="rate_limit_error",
        code=code,
        headers={"retry-after": str(max(1, round(wait_s + 0.5)))},
    )


@dataclass(slots=True)
class ConcurrencyLimit:
    """How much may be under way: requests, and bytes of them."""

    most: int
    most_bytes: int
    requests: int = 0
    bytes: int = 0

    def place(self) -> Slot:
        """A place for one request. Raises `Problem`."""
        if self.requests >= self.most:
            raise busy(f"{self.most} requests are in progress already", 1, "too_many_requests")
        return Slot(self)


@dataclass(slots=True)
class Slot:
    room: ConcurrencyLimit
    bytes: int = 0

    def take(self, size: int) -> None:
        if self.room.bytes + size > self.room.most_bytes:
            raise busy("too many requests are in progress", 1, "too_many_requests")
        self.bytes += size
        self.room.bytes += size

    def give_back(self, size: int) -> None:
        self.bytes -= size
        self.room.bytes -= size

    def __enter__(self) -> Self:
        self.room.requests += 1
        IN_FLIGHT.labels(FLOW.name).set(self.room.requests)
        return self

    def __exit__(self, *_: object) -> None:
        self.room.requests -= 1
        self.room.bytes -= self.bytes
        IN_FLIGHT.labels(FLOW.name).set(self.room.requests)
