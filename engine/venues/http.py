"""The venue `http`: an operator's own gateway to a broker. See docs/venues.md.

    POST {url}/orders                  an order; its `order` makes it idempotent
    POST {url}/orders/{order}/cancel   a cancel request; its `reference` likewise
    GET  {url}/orders/{order}          the status of an order, where an outcome is unknown

All are signed like webhooks. Reports arrive by `POST /execution-reports`, so the stream here is empty;
the answer to GET may repeat those of its order.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlsplit

import msgspec

from engine.domain.report import EXEC_TYPES, Report
from engine.kernel.errors import BadSettings, Refused
from engine.kernel.files import private_text
from engine.kernel.limits import GATEWAY_BYTES_MAX, GATEWAY_S, VENUE_CONCURRENCY_MAX
from engine.kernel.signature import key_of, signature
from engine.kernel.times import rfc3339
from engine.kernel.values import PRICE_PLACES, ZERO, parse_decimal, parse_signed, plain
from engine.venues.port import (
    CancelTicket,
    Capabilities,
    Numbered,
    Ticket,
    VenueStatus,
    VenueUnavailable,
)
from engine.venues.registry import Site

_IDLE_S: Final = 4.0
"""Idle connections are closed before common servers do: a close as we send would leave a doubt."""
_LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class SaidReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report in the answer about an order: the body of `POST /execution-reports` without its venue and
    order.
    """

    execution_reference: str
    exec_type: str
    executed_at: Annotated[datetime, msgspec.Meta(tz=True)]
    instrument: str | None = None
    side: str | None = None
    currency: str | None = None
    price: str | None = None
    quantity: str | None = None
    accrued_interest: str | None = None
    refers_to: str | None = None
    settlement_date: date | None = None
    counterparty: str | None = None
    execution_broker: str | None = None
    ytm: str | None = None
    reason: str | None = None

    def report(self, venue: str, order: str) -> Report:
        """The report. Raises VenueUnavailable for an unknown type, or a number that is none."""
        if self.exec_type not in EXEC_TYPES:
            raise VenueUnavailable(f"the gateway names an unknown exec_type: {self.exec_type!r:.40}")
        kind, reason = EXEC_TYPES[self.exec_type]
        words = {
            name: getattr(self, name)
            for name in ("instrument", "side", "currency", "refers_to", "settlement_date",
                         "counterparty", "execution_broker")
        }  # fmt: skip
        return Report(
            venue,
            self.execution_reference,
            order,
            kind,
            price=_number(self.price),
            quantity=_number(self.quantity),
            accrued_interest=_number(self.accrued_interest, parse_signed) or ZERO,
            executed_at_us=round(self.executed_at.timestamp() * 1_000_000),
            ytm=_number(self.ytm, parse_signed),
            reason=reason,
            **words,
        )


class SaidStatus(msgspec.Struct, frozen=True):
    """The answer about an order: `unknown` if the gateway never had it, `over` if it is done with it."""

    status: Literal["unknown", "open", "over"]
    reports: list[SaidReport] = []


_STATUS: Final = msgspec.json.Decoder(SaidStatus)


def _number(
    text: str | None, parse: Callable[[object, int, str], Decimal] = parse_decimal
) -> Decimal | None:
    try:
        return None if text is None else parse(text, PRICE_PLACES, "")
    except Refused:
        raise VenueUnavailable(f"the gateway writes {text!r:.40} for a number") from None


class HttpVenue:
    """A gateway at `url`, which is https, or http on this machine. Thread-safe.

    Any answer except a success is a VenueUnavailable: asking then finds out what the gateway has done
    with the request. It refuses an order by a report.
    """

    def __init__(
        self,
        site: Site,
        url: str,
        key: bytes,
        capabilities: Capabilities,
        timeout_s: float = GATEWAY_S,
    ) -> None:
        self.name = site.name
        self.capabilities = capabilities
        self._now_us = site.now_us
        self._url = urlsplit(url)
        self._key = key
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._idle: deque[tuple[float, HTTPConnection]] = deque()

    def submit(self, ticket: Ticket) -> None:
        """Posts an order."""
        body = {
            "order": ticket.venue_order,
            "account": ticket.account,
            "instrument": ticket.instrument,
            "symbol": ticket.symbol,
            "side": ticket.side,
            "order_type": ticket.order_type,
            "limit_price": None if ticket.limit_price is None else plain(ticket.limit_price),
            "time_in_force": ticket.time_in_force,
            "expires_at": None if ticket.expires_at_us is None else rfc3339(ticket.expires_at_us),
            "quantity": plain(ticket.quantity),
            "price": plain(ticket.price),
            "price_type": ticket.price_type,
            "accrued_interest": plain(ticket.accrued_interest),
            "currency": ticket.currency,
            "cash_amount": None if ticket.cash_amount is None else plain(ticket.cash_amount),
            "trading_increment": plain(ticket.trading_increment),
            "started_at": rfc3339(ticket.started_at_us),
        }
        self._ask("POST", "/orders", ticket.venue_order, body)

    def cancel(self, ticket: CancelTicket) -> None:
        """Posts a cancel request."""
        body = {"reference": ticket.reference, "asked_at": rfc3339(ticket.asked_at_us)}
        path = f"/orders/{quote(ticket.venue_order, safe='')}/cancel"
        self._ask("POST", path, ticket.reference, body)

    def status(self, venue_order: str) -> VenueStatus:
        """Asks about an order. Only the word `unknown` counts as unknown: a 404 may be some proxy's."""
        path = f"/orders/{quote(venue_order, safe='')}"
        answer = self._ask("GET", path, f"{venue_order}.status", None)
        try:
            said = _STATUS.decode(answer)
        except msgspec.ValidationError as error:
            raise VenueUnavailable(f"the gateway's answer about an order is wrong: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise VenueUnavailable("the gateway's answer about an order is not JSON") from None
        return VenueStatus(said.status, [one.report(self.name, venue_order) for one in said.reports])

    def reports(self, after: int) -> Sequence[Numbered]:  # noqa: ARG002
        """None: the gateway posts them."""
        return ()

    def _ask(self, method: str, path: str, message_id: str, body: Mapping[str, Any] | None) -> bytes:
        """A success's body. Raises VenueUnavailable."""
        content = b"" if body is None else msgspec.json.encode(body)
        timestamp = self._now_us() // 1_000_000
        headers = {
            "User-Agent": "order-engine",
            "Accept": "application/json",
            "Webhook-Id": message_id,
            "Webhook-Timestamp": str(timestamp),
            "Webhook-Signature": signature(message_id, timestamp, content, [self._key]),
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._idle_one() or self._new_one()
        try:
            connection.request(method, self._url.path + path, content or None, headers)
            response = connection.getresponse()
            answer = response.read(GATEWAY_BYTES_MAX + 1)
        except (OSError, HTTPException) as error:
            connection.close()
            raise VenueUnavailable(f"the gateway did not answer: {type(error).__name__}") from error
        if response.isclosed() and not response.will_close:
            self._idle.append((monotonic(), connection))
        else:  # also an answer without end
            connection.close()
        if not 200 <= response.status < 300:
            raise VenueUnavailable(f"the gateway answered {method} {path} with {response.status}")
        if len(answer) > GATEWAY_BYTES_MAX:
            raise VenueUnavailable(f"the gateway's answer is longer than {GATEWAY_BYTES_MAX} bytes")
        if response.length:
            raise VenueUnavailable(f"the gateway's answer ended {response.length} bytes early")
        return answer

    def close(self) -> None:
        """Closes idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def _idle_one(self) -> HTTPConnection | None:
        """The connection used last, unless it has been idle for long."""
        while True:
            try:
                since_s, connection = self._idle.pop()
            except IndexError:
                return None
            if monotonic() - since_s <= _IDLE_S:
                return connection
            connection.close()

    def _new_one(self) -> HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is None:
            return HTTPConnection(host, port, timeout=self._timeout_s)
        return HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)


# --- from the settings ----------------------------------------------------------------------------

_OPTIONS: Final = ("url", "secret_file", "concurrency", "whole_units")


def open_venue(site: Site) -> HttpVenue:
    """The gateway of a setting: options `url`, `secret_file`, and if wanted `concurrency` (default 16),
    `whole_units` (`true`: no fractions). Raises BadSettings.
    """
    options, where = site.options, f"the venue {site.name}"
    for name in options:
        if name not in _OPTIONS:
            raise BadSettings(f"{where} has an unknown option {name}: known are {', '.join(_OPTIONS)}")
    for name in ("url", "secret_file"):
        if name not in options:
            raise BadSettings(f"{where} needs the option {name}")
    concurrency = options.get("concurrency", "16")
    if (
        not concurrency.isascii()
        or not concurrency.isdigit()
        or (not 1 <= int(concurrency[:9]) <= VENUE_CONCURRENCY_MAX)
    ):
        raise BadSettings(
            f"{where}: concurrency is 1 to {VENUE_CONCURRENCY_MAX}, not {concurrency!r:.40}"
        )
    whole = options.get("whole_units", "false")
    if whole not in {"true", "false"}:
        raise BadSettings(f"{where}: whole_units is true or false, not {whole!r:.40}")
    capabilities = Capabilities(
        order_types=frozenset({"market", "limit"}),
        times_in_force=frozenset({"day", "gtc"}),
        has_fractional_units=whole == "false",
        concurrency=int(concurrency),
    )
    return HttpVenue(
        site, _url(options["url"], where), _key(options["secret_file"], where), capabilities
    )


def _url(text: str, where: str) -> str:
    try:
        url = urlsplit(text)
        is_good = bool(url.hostname) and url.port != 0 and not url.username and not url.query
    except ValueError:
        is_good = False
    is_safe = is_good and (url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOCAL))
    if not is_safe or url.fragment:
        raise BadSettings(
            f"{where}: url is https://host/path without user, query and fragment (http on this machine"
            f" only): {text!r:.100}"
        )
    return text.rstrip("/")


def _key(path: str, where: str) -> bytes:
    secret = private_text(str(Path(path)), f"{where}: secret_file")
    try:
        return key_of(secret)
    except ValueError as error:
        raise BadSettings(f"{where}: {path} holds no secret: {error}") from None
