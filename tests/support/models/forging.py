"""Tokens that must not be taken: each way to forge one, with a working one to change."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.http.tokens import AUDIENCE
from engine.kernel.limits import CLOCKS_APART_S, TOKEN_BYTES_MAX, TOKEN_LIFE_S
from engine.registers.signing import SigningKey


def part(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Forger:
    """Signs whatever it is given with our own active key, unless told otherwise."""

    def __init__(self, key: SigningKey, issuer: str, now_s: float) -> None:
        self.key = key
        self.now_s = int(now_s)
        self.header: dict[str, Any] = {"alg": "Ed25519", "typ": "at+jwt", "kid": self.key.kid}
        self.claims: dict[str, Any] = {
            "iss": issuer, "sub": "cli_1", "aud": AUDIENCE, "exp": self.now_s + 60, "iat": self.now_s,
            "jti": "1", "client_id": "cli_1", "tenant": "t", "scope": "read",
            "secret": "0123456789abcdef",
        }  # fmt: skip

    def token(self, header: object = None, claims: object = None, private: bytes | None = None) -> str:
        signed = f"{part(header or self.header)}.{part(claims or self.claims)}"
        key = Ed25519PrivateKey.from_private_bytes(private or self.key.private)
        return f"{signed}.{part(key.sign(signed.encode()))}"

    def with_header(self, **header: object) -> str:
        return self.token(header=self.header | header)

    def with_claims(self, **claims: object) -> str:
        return self.token(claims=self.claims | claims)

    def by_hmac(self, key: bytes) -> str:
        signed = f"{part(self.header | {'alg': 'HS256'})}.{part(self.claims)}"
        return f"{signed}.{part(hmac.digest(key, signed.encode(), 'sha256'))}"

    def without(self, name: str) -> str:
        left = {"header": dict(self.header), "claims": dict(self.claims)}
        for words in left.values():
            words.pop(name, None)
        return self.token(**left)


FORGED: dict[str, Callable[[Forger], str]] = {
    "empty": lambda _: "",
    "one word": lambda _: "x",
    "dots": lambda _: "..",
    "five parts": lambda f: f.token() + ".e30.e30",
    "no signature": lambda f: f.token().rpartition(".")[0] + ".",
    "not base64": lambda f: "é" + f.token(),
    "lone surrogate": lambda f: "\ud800" + f.token(),
    "alg none": lambda f: f"{part(f.header | {'alg': 'none'})}.{part(f.claims)}.",
    "alg none, signed": lambda f: f.with_header(alg="none"),
    "alg HS256": lambda f: f.with_header(alg="HS256"),
    "HS256 with our public key": lambda f: f.by_hmac(f.key.public),
    "HS256 with our public key in text": lambda f: f.by_hmac(part(f.key.public).encode()),
    "alg EdDSA": lambda f: f.with_header(alg="EdDSA"),
    "alg of a wrong type": lambda f: f.with_header(alg=["Ed25519"]),
    "another's key": lambda f: f.token(private=b"\1" * 32),
    "unknown kid": lambda f: f.with_header(kid="other"),
    "kid of a wrong type": lambda f: f.with_header(kid=7),
    "typ JWT": lambda f: f.with_header(typ="JWT"),
    "jwk": lambda f: f.with_header(jwk={"kty": "OKP", "crv": "Ed25519", "x": part(f.key.public)}),
    "jku": lambda f: f.with_header(jku="https://example.com/keys"),
    "x5u": lambda f: f.with_header(x5u="https://example.com/chain"),
    "crit": lambda f: f.with_header(crit=["exp"]),
    "b64": lambda f: f.with_header(b64=False, crit=["b64"]),
    "header a list": lambda f: f.token(header=["alg"]),
    "header nested": lambda f: f.token(header=b"[" * 5_000),
    "claims a list": lambda f: f.token(claims=[1]),
    "claims nested": lambda f: f.token(claims=b"[" * 5_000),
    "other claims": lambda f: ".".join(
        [f.token().split(".")[0], part(f.claims | {"scope": "admin"}), f.token().split(".")[2]]
    ),
    "another journal": lambda f: f.with_claims(iss="journal-2"),
    "another audience": lambda f: f.with_claims(aud="shop"),
    "expired": lambda f: f.with_claims(iat=f.now_s - 60, exp=f.now_s),
    "from the future": lambda f: f.with_claims(iat=f.now_s + CLOCKS_APART_S + 60, exp=f.now_s + 900),
    "not yet": lambda f: f.with_claims(nbf=f.now_s + CLOCKS_APART_S + 60),
    "lives too long": lambda f: f.with_claims(exp=f.now_s + TOKEN_LIFE_S + 1),
    "exp as text": lambda f: f.with_claims(exp="9999999999"),
    "unknown scope": lambda f: f.with_claims(scope="read root"),
    "tenant an object": lambda f: f.with_claims(tenant={"a": 1}),
    "secret an object": lambda f: f.with_claims(secret={"a": 1}),
    "scope a list": lambda f: f.with_claims(scope=["read"]),
    "long": lambda f: f.with_claims(jti="x" * TOKEN_BYTES_MAX),
    "a mebibyte": lambda f: f.token() + "x" * 2**20,
} | {
    f"without {name}": lambda f, name=name: f.without(name)  # type: ignore[misc]
    for name in (
        "alg",
        "kid",
        "typ",
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "jti",
        "tenant",
        "scope",
        "secret",
    )
}
