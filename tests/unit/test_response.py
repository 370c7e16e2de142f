"""An answer as bytes of HTTP/1.1."""

from __future__ import annotations

import pytest
from aiohttp.http import HttpVersion10, HttpVersion11

from api.http.call import Answer
from api.http.response import written


def lines(message: bytes) -> list[str]:
    return message.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def test_an_answer_is_one_message() -> None:
    message = written(Answer(201, b"{}", {"Request-Id": "req_1"}), "POST", HttpVersion11, is_last=False)
    *head, date = lines(message)
    assert head == [
        "HTTP/1.1 201 Created",
        "Content-Type: application/json",
        "Cache-Control: no-store",
        "Server: order-engine",
        "Request-Id: req_1",
        "Content-Length: 2",
    ]
    assert date.startswith("Date: ")
    assert date.endswith(" GMT")
    assert message.endswith(b"\r\n\r\n{}")


def test_an_answers_own_headers_come_first() -> None:
    message = written(
        Answer(200, b"", {"Content-Type": "text/html"}), "GET", HttpVersion11, is_last=False
    )
    assert [line for line in lines(message) if line.startswith("Content-Type")] == [
        "Content-Type: text/html"
    ]


@pytest.mark.parametrize(
    ("version", "is_last", "connection"),
    [
        (HttpVersion11, False, None),
        (HttpVersion11, True, "close"),
        (HttpVersion10, False, "keep-alive"),
        (HttpVersion10, True, "close"),
    ],
)
def test_what_becomes_of_the_connection(version: object, is_last: bool, connection: str | None) -> None:
    head = lines(written(Answer(200, b""), "GET", version, is_last=is_last))  # type: ignore[arg-type]
    assert [line for line in head if line.startswith("Connection")] == (
        [f"Connection: {connection}"] if connection else []
    )


def test_head_is_told_how_long_it_would_be() -> None:
    message = written(Answer(200, b"{}"), "HEAD", HttpVersion11, is_last=False)
    assert "Content-Length: 2" in lines(message)
    assert message.endswith(b"\r\n\r\n")


def test_not_modified_has_no_length() -> None:
    assert "Content-Length" not in str(
        lines(written(Answer(304, b""), "GET", HttpVersion11, is_last=False))
    )


@pytest.mark.parametrize("text", ["a\r\nSet-Cookie: b", "a\nb", "a\rb"])
def test_no_header_can_bring_another(text: str) -> None:
    with pytest.raises(ValueError, match="end of a line"):
        written(Answer(200, b"", {"Link": text}), "GET", HttpVersion11, is_last=False)
