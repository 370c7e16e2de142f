"""Answers as aiohttp sends them, and those that are sent without a request."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from api.http.call import Answer
from api.http.problems import Problem
from engine.kernel.ids import IdSource

JSON: Final = "application/json"
HEADERS: Final = {"Content-Type": JSON, "Cache-Control": "no-store", "Server": "order-engine"}
"""On every answer, unless it has its own, beside its Request-Id, its length and the time."""
_IDS: Final = IdSource()


def new_request_id() -> str:
    """`req_` and 22 characters."""
    return _IDS.new("req")


def response_of(answer: Answer) -> web.StreamResponse:
    """The response that is to be sent. Raises ValueError where a header holds the end of a line."""
    status, body, own, stream = answer
    headers = CIMultiDict({**HEADERS, **own} if own else HEADERS)
    if own and any("\n" in value or "\r" in value for value in own.values()):
        raise ValueError("a header holds the end of a line")
    if stream is not None:
        return web.StreamResponse(status=status, headers=headers)
    return web.Response(body=body, status=status, headers=headers)


def last_words(problem: Problem) -> bytes:
    """The message to a client without a whole request, after which its connection ends."""
    request_id, status = new_request_id(), HTTPStatus(problem.status)
    body = problem.body(request_id)
    lines = {
        **HEADERS,
        "Request-Id": request_id,
        **problem.headers,
        "Content-Length": str(len(body)),
        "Date": formatdate(usegmt=True),
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + body
