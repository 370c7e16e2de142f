"""Abusive messages of HTTP/1.1 as bytes, by name."""

from __future__ import annotations

import base64
import json
from typing import Final

ORDER_REQUEST: Final = (
    b'{"instrument":"ins_bench","order_type":"market","side":"buy","cash_amount":"1.00"}'
)

BODIES: Final = {
    "nothing": b"",
    "no JSON": b"{",
    "two values": ORDER_REQUEST + ORDER_REQUEST,
    "bad UTF-8": b'{"side":"\xff"}',
    "a byte order mark": b"\xef\xbb\xbf" + ORDER_REQUEST,
    "deep": b"[" * 60_000,
    "deep objects": b'{"a":' * 10_000,
    "NaN": b'{"cash_amount":NaN}',
    "keys twice": b'{"side":"buy","side":"sell"}',
    "unknown keys": b'{"colour":"red","size":1}',
    "many unknown keys": json.dumps({f"k{n}": n for n in range(3_000)}).encode(),
    "a lone surrogate": b'{"side":"\\ud800"}',
    "NUL": b'{"side":"\\u0000"}',
    "a list": b"[]",
    "true": b"true",
    "a long number": b'{"cash_amount":' + b"9" * 60_000 + b"}",
    "a long text": b'{"instrument":"' + b"x" * 60_000 + b'"}',
    "too long": b" " * 70_000,
}
AMOUNTS: Final = (
    "NaN", "sNaN", "Infinity", "-1", "-0", "+1", ".5", "1.", "00012.5", "1e3", "1E+2", "1_000", " 1",
    "1\\n", "1,000", "0x10", "", "\u0661\u0662", "\uff11", "1e400", "1.001", "9" * 16, "0", "1" * 500,
)  # fmt: skip
HEADERS: Final = {
    "another type": "Content-Type: text/plain",
    "gzip": "Content-Type: application/json\r\nContent-Encoding: gzip",
    "a bogus charset": "Content-Type: application/json; charset=bogus",
    "a long key": "Content-Type: application/json\r\nIdempotency-Key: " + "x" * 256,
    "two keys": "Content-Type: application/json\r\nIdempotency-Key: a\r\nIdempotency-Key: b",
    "a long Client-Request-Id": "Content-Type: application/json\r\nClient-Request-Id: " + "x" * 300,
    "an odd Api-Version": "Content-Type: application/json\r\nApi-Version: latest",
    "an odd expectation": "Content-Type: application/json\r\nExpect: tea",
}
QUERIES: Final = (
    "limit=0", "limit=-1", "limit=1e2", "limit=%D9%A1", "limit=1&limit=2", "status=lost", "side=%00",
    "side=%ff", "colour=red", "created_from=yesterday", "before=ord_none", "&".join(["side=buy"] * 200),
)  # fmt: skip
PATHS: Final = (
    "/", "/nothing", "/accounts/%00", "/accounts/%ff", "/accounts/..", "/../accounts", "/a/%ed%a0%80",
    "/accounts/" + "x" * 7_900, "//accounts", "/accounts/acc_none/orders", "/accounts/%2e%2e/orders",
    "/accounts/acc_1/orders/ord_1/cancel/more", "/accounts?limit=9999999999999999999999",
)  # fmt: skip
RAW: Final = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a bad version": b"GET / HTTP/9.9\r\n\r\n",
    "a long request line": b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    "1000 headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
    "a bad header": b"GET / HTTP/1.1\r\nHost: a\r\nX y\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "a path in Latin-1": b"GET /accounts/\xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "another method": b"BREW /accounts HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method that is not there": b"DELETE /accounts HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths": b"POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nab",
    "a negative length": b"POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no host": b"GET /accounts HTTP/1.1\r\n\r\n",
    "a bad chunk": b"POST /auth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no token": b"GET /accounts HTTP/1.1\r\nHost: a\r\n\r\n",
}
HALVES: Final = (
    b"GET /acc",
    b"GET /accounts HTTP/1.1\r\nHost: a\r\nX-Long: ",
    b"POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\ngrant",
    b"POST /auth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n",
)
"""The beginnings of messages that never end."""
FORMS: Final = (
    b"grant_type=client_credentials&client_id=cli_none&client_secret=guess",
    b"grant_type=password&client_id=a&client_secret=b",
    b"grant_type=client_credentials",
    b"grant_type=client_credentials&client_id=%ff&client_secret=%00",
    b"&".join([b"client_id=a"] * 100),
    b"x" * 60_000,
    b"",
)


def messages(account: str, token: str) -> dict[str, bytes]:
    """All of them. `token` (`Bearer ...`) is valid, and `account` its tenant's."""
    orders = f"/accounts/{account}/orders"
    known = dict(RAW)
    for name, body in BODIES.items():
        known[f"body: {name}"] = _message("POST", orders, token, body)
    for amount in AMOUNTS:
        text = (
            f'{{"instrument":"ins_bench","order_type":"market","side":"buy","cash_amount":"{amount}"}}'
        )
        known[f"amount: {amount[:20]}"] = _message("POST", orders, token, text.encode())
    dear = ORDER_REQUEST.replace(b"1.00", b"900000000000.00")
    known["more than the cash"] = _message("POST", orders, token, dear)
    known["another's account"] = _message("POST", "/accounts/acc_none/orders", token, ORDER_REQUEST)
    known["another's order"] = _message("POST", f"{orders}/ord_none/cancel", token, b"{}")
    known["no instrument"] = _message(
        "POST", orders, token, ORDER_REQUEST.replace(b"ins_bench", b"ins_none")
    )
    for name, lines in HEADERS.items():
        known[f"header: {name}"] = _message("POST", orders, token, ORDER_REQUEST, lines)
    for query in QUERIES:
        known[f"query: {query[:20]}"] = _message("GET", f"{orders}?{query}", token)
    for path in PATHS:
        known[f"path: {path[:20]}"] = _message("GET", path, token)
    for name, forged in _forged(token.removeprefix("Bearer ")).items():
        known[f"token: {name}"] = _message("GET", "/accounts", f"Bearer {forged}")
    form = "Content-Type: application/x-www-form-urlencoded"
    for number, content in enumerate(FORMS):
        known[f"form {number}"] = _message("POST", "/auth/token", None, content, form)
    return known


def _message(
    method: str,
    path: str,
    token: str | None,
    body: bytes | None = None,
    lines: str = "Content-Type: application/json",
) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n"
    if token is not None:
        head += f"Authorization: {token}\r\n"
    if body is not None:
        head += f"{lines}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode("latin-1") + (body or b"")


def _forged(token: str) -> dict[str, str]:
    head, claims, signature = token.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    swapped = signature[:-6] + ("A" if signature[-6] != "A" else "B") + signature[-5:]

    def headed(**words: object) -> str:
        text = json.dumps({**header, **words}).encode()
        return f"{base64.urlsafe_b64encode(text).rstrip(b'=').decode()}.{claims}.{signature}"

    return {
        "another signature": f"{head}.{claims}.{swapped}",
        "no signature": f"{head}.{claims}.",
        "alg none": headed(alg="none"),
        "alg HS256": headed(alg="HS256"),
        "another type": headed(typ="JWT"),
        "an unknown key": headed(kid="nobody"),
        "a key inside": headed(jwk={"kty": "OKP"}),
        "a key elsewhere": headed(jku="http://127.0.0.1/"),
        "critical": headed(crit=["exp"]),
        "claims cut": f"{head}.{claims[:-9]}.{signature}",
        "no dots": "x" * 500,
        "dots": "." * 500,
        "long": "x" * 9_000,
        "nothing": "",
    }
