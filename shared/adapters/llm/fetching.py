"""Fetching a public list over HTTP."""

from __future__ import annotations

import httpx

from shared.catalog.models import CatalogError

MOST_BYTES = 64 * 1024 * 1024
WITHIN_S = 30.0


def fetch_text(url: str) -> str:
    """The text at `url`. Raises `CatalogError`."""
    try:
        with httpx.stream("GET", url, timeout=WITHIN_S, follow_redirects=True) as response:
            response.raise_for_status()
            parts: list[bytes] = []
            size = 0
            for part in response.iter_bytes():
                size += len(part)
                if size > MOST_BYTES:
                    raise CatalogError(f"the list at {url} has more than {MOST_BYTES} bytes")
                parts.append(part)
    except httpx.HTTPStatusError as error:
        raise CatalogError(
            f"the list at {url} can't be fetched: HTTP {error.response.status_code}"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CatalogError(
            f"the list at {url} can't be fetched ({type(error).__name__}); save it to a file, and "
            "name that"
        ) from None
    return b"".join(parts).decode("utf-8", "replace")
