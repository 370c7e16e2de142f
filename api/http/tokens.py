"""Access tokens: signed JWTs (RFC 9068) of 15 minutes, issued to clients and checked at every request.

Allowed header parameters are listed here, so `none`, another algorithm, `jwk`, `jku`, `x5u` and `crit`
are refused. A token is verified once and cached until it expires.
"""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry
from joserfc.registry import HeaderParameter
from msgspec import Meta

from engine.kernel.limits import CLOCKS_APART_S, TOKEN_BYTES_MAX, TOKEN_LIFE_S, TOKENS_CACHED_MAX
from engine.registers.clients import PRICES, VENUE, Client, Clients, are_scopes, in_order
from engine.registers.signing import SigningKey, SigningKeys

ALGORITHM: Final = "Ed25519"  # RFC 9864: the name includes the curve, unlike EdDSA
TYPE: Final = "at+jwt"
AUDIENCE: Final = "order-engine"


class KeyBody(msgspec.Struct, frozen=True):
    """A public key (RFC 8037); `x` are its bytes in base64url."""

    kty: Annotated[str, Meta(extra_json_schema={"enum": ["OKP"]})]
    crv: Annotated[str, Meta(extra_json_schema={"enum": ["Ed25519"]})]
    x: str
    use: Annotated[str, Meta(extra_json_schema={"enum": ["sig"]})]
    alg: Annotated[str, Meta(extra_json_schema={"enum": [ALGORITHM]})]
    kid: str


class KeysBody(msgspec.Struct, frozen=True):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[KeyBody]


class Symbols(NamedTuple):
    """The symbols of scopes `prices:SYMBOL` and `prices:START*`."""

    whole: frozenset[str] = frozenset()
    starts: tuple[str, ...] = ()

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.whole or (isinstance(symbol, str) and symbol.startswith(self.starts))


class Principal(NamedTuple):
    """The sender of a request: a client, its tenant, and its token's scopes.

    With the scope `venue:NAME` it has `venue` too, and `venue` is that name. With `prices:SYMBOL` it has
    `prices` too, and `symbols` are those it may set prices of.
    """

    client: str
    tenant: str
    scopes: frozenset[str]
    venue: str | None = None
    symbols: Symbols = Symbols()


class _Verified(NamedTuple):
    """A verified token: its principal, expiry, secret and key."""

    principal: Principal
    expires_s: int
    secret_id: str
    kid: str


class TokenInvalid(Exception):
    """The token is malformed, forged, expired or revoked. The error's text never contains it.

    `is_unknown_key`: another process may have created the key; call `SigningKeys.refresh` and retry.
    """

    def __init__(self, reason: str, *, is_unknown_key: bool = False) -> None:
        super().__init__(reason)
        self.is_unknown_key = is_unknown_key


class Tokens:
    """Issues and verifies. `issuer` is the journal's id. Thread-safe.

    `verify` does no I/O; `issue` none after the first. Call `SigningKeys.active` at start, and
    `SigningKeys.refresh` and `Clients.refresh` at intervals, off the event loop.
    """

    def __init__(
        self,
        issuer: str,
        signing: SigningKeys,
        clients: Clients,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._signing = signing
        self._clients = clients
        self._now_s = now_s
        self._keys: dict[str, OKPKey] = {}
        self._verified: OrderedDict[str, _Verified] = OrderedDict()
        self._remembering = threading.Lock()
        self._headers = _header_registry()
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(now_s()),
            iss={"essential": True, "value": issuer},
            sub={"essential": True},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
            tenant={"essential": True},
            scope={"essential": True},
            secret={"essential": True},
        )

    def issue(self, client: Client, scopes: Collection[str]) -> str:
        """A token for the client with these scopes, valid for 15 minutes."""
        assert set(scopes) <= client.scopes
        key, now_s = self._signing.active(), int(self._now_s())
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}
        claims = {
            "iss": self._issuer,
            "sub": client.id,
            "aud": AUDIENCE,
            "exp": now_s + TOKEN_LIFE_S,
            "iat": now_s,
            "jti": secrets.token_urlsafe(16),
            "client_id": client.id,
            "tenant": client.tenant,
            "scope": in_order(scopes),
            "secret": client.secret_id,  # only the id of the client's secret that obtained it
        }
        return jwt.encode(header, claims, self._key(key), [ALGORITHM], self._headers)

    def verify(self, token: str) -> Principal:
        """The token's principal. Raises TokenInvalid unless it is completely ours and valid now."""
        if len(token) > TOKEN_BYTES_MAX:
            raise TokenInvalid("longer than a token can be")
        principal, expires_s, secret_id, kid = self._remembered(token) or self._decode(token)
        if self._now_s() >= expires_s:
            raise TokenInvalid("expired")
        if self._clients.is_revoked(principal.client, secret_id):
            raise TokenInvalid("its client was disabled, or the secret that it was got with")
        if self._signing.find(kid) is None:
            raise TokenInvalid("its key was discarded")
        return principal

    def jwks(self) -> KeysBody:
        """The public keys for verification."""
        return KeysBody([_public_jwk(key) for key in self._signing.known()])

    def _remembered(self, token: str) -> _Verified | None:
        with self._remembering:
            found = self._verified.get(token)
            if found:
                self._verified.move_to_end(token)
            return found

    def _decode(self, token: str) -> _Verified:
        try:
            decoded = jwt.decode(token, self._key_for, [ALGORITHM], self._headers)
            self._check(decoded.claims)
        except JoseError as error:
            raise TokenInvalid(error.error) from None
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            # A header that is JSON but not an object, nested without end, or not text.
            raise TokenInvalid("malformed") from None
        claims = decoded.claims
        principal = _principal(claims["sub"], claims["tenant"], claims["scope"].split())
        found = _Verified(principal, claims["exp"], claims["secret"], decoded.header["kid"])
        with self._remembering:
            self._verified[token] = found
            if len(self._verified) > TOKENS_CACHED_MAX:
                self._verified.popitem(last=False)
        return found

    def _check(self, claims: dict[str, Any]) -> None:
        # Its leeway would also extend expired tokens: only `iat` may be slightly in the future.
        ahead_s = claims.get("iat", 0) - self._now_s()
        clocks_apart = {"iat": claims["iat"] - CLOCKS_APART_S} if 0 < ahead_s <= CLOCKS_APART_S else {}
        self._claims.validate(claims | clocks_apart)
        is_ours = (
            isinstance(claims["tenant"], str)
            and isinstance(claims["secret"], str)
            and are_scopes(claims["scope"].split())
            and claims["exp"] - claims["iat"] <= TOKEN_LIFE_S
        )
        if not is_ours:
            raise ValueError("not a token that this release issues")

    def _key_for(self, token: Any, *_: object) -> OKPKey:
        key = self._signing.find(token.headers()["kid"])
        if key is None:
            raise TokenInvalid("signed with a key that is not ours", is_unknown_key=True)
        return self._key(key)

    def _key(self, key: SigningKey) -> OKPKey:
        found = self._keys.get(key.kid)
        if found is None:
            self._keys = {kid: kept for kid, kept in self._keys.items() if self._signing.find(kid)}
            found = self._keys[key.kid] = _to_jwk(key)
        return found


def _principal(client: str, tenant: str, scopes: Sequence[str]) -> Principal:
    venues, symbols = _named(scopes, VENUE), _named(scopes, PRICES)
    held = frozenset((*scopes, *(VENUE for _ in venues), *(PRICES for _ in symbols)))
    whole = frozenset(name for name in symbols if not name.endswith("*"))
    starts = tuple(name[:-1] for name in symbols if name.endswith("*"))
    return Principal(client, tenant, held, venues[0] if venues else None, Symbols(whole, starts))


def _named(scopes: Sequence[str], kind: str) -> list[str]:
    return [scope.removeprefix(f"{kind}:") for scope in scopes if scope.startswith(f"{kind}:")]


def _public_jwk(key: SigningKey) -> KeyBody:
    return KeyBody("OKP", "Ed25519", _base64url(key.public), "sig", ALGORITHM, key.kid)


def _to_jwk(key: SigningKey) -> OKPKey:
    public = msgspec.structs.asdict(_public_jwk(key))
    return OKPKey.import_key(public | {"d": _base64url(key.private)})


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _header_registry() -> JWSRegistry:
    """Exactly three header parameters, all required; the library refuses all others."""

    def is_type(text: object) -> None:
        if text != TYPE:
            raise ValueError(f"must be {TYPE}")

    def is_algorithm(text: object) -> None:
        if text != ALGORITHM:
            raise ValueError(f"must be {ALGORITHM}")

    registry = JWSRegistry(algorithms=[ALGORITHM], strict_check_header=True)
    registry.header_registry = {
        "alg": HeaderParameter("algorithm", is_algorithm, required=True),
        "kid": HeaderParameter("key id", "str", required=True),
        "typ": HeaderParameter("type", is_type, required=True),
    }
    return registry
