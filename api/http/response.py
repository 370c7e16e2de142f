"""An answer as bytes of HTTP/1.1: one string of its head, one write."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from aiohttp.http import HttpVersion, HttpVersion11

from api.http.call import Answer

JSON: Final = "application/json"
HEADERS: Final = {"Content-Type": JSON, "Cache-Control": "no-store", "Server": "order-engine"}
"""On every answer, beside its Request-Id, its length and the time; an answer's own come first."""
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_NO_LENGTH: Final = frozenset({204, 304})
"""Status of answers that have no body, and whose length would be another answer's."""


def written(answer: Answer, method: str, version: HttpVersion, *, is_last: bool) -> bytes:
    """The whole message that answers a request of `method`, in its `version` of HTTP.

    Of a stream only the head: it ends with its connection.
    """
    status, body, headers, stream = answer
    lines = {**HEADERS, **(headers or {})}
    if status not in _NO_LENGTH and stream is None:
        lines["Content-Length"] = str(len(body))
    lines["Date"] = _date(int(time.time()))
    if is_last:
        lines["Connection"] = "close"
    elif version < HttpVersion11:
        lines["Connection"] = "keep-alive"
    head = "\r\n".join([f"{name}: {value}" for name, value in lines.items()])
    if head.count("\n") >= len(lines) or head.count("\r") >= len(lines):
        raise ValueError("a header holds the end of a line")
    start = f"HTTP/{version.major}.{version.minor} {status} {_PHRASES[status]}\r\n"
    return f"{start}{head}\r\n\r\n".encode() + (b"" if method == "HEAD" else body)


@lru_cache(maxsize=1)
def _date(now_s: int) -> str:
    return formatdate(now_s, usegmt=True)
