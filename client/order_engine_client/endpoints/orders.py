"""Operations on orders and their history."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from order_engine_client.effects import Pause, Steps
from order_engine_client.errors import StillWaiting
from order_engine_client.history import ExplainedOrder, OrderFact
from order_engine_client.operations import Caller, Listing, Operation
from order_engine_client.resources import (
    TERMINAL,
    Order,
    OrderQuote,
)
from order_engine_client.values import (
    Amount,
    accounts_path,
    given,
    key_of,
    query,
    state_query,
)

WAIT_S: Final = 60.0
"""Default limit of a wait for an order."""
LOOK_S: Final = (0.05, 1.0)
"""Pause between two reads of an order that is waited for: the first, and the longest."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Reads an order until its status is one of `until`, or is terminal."""

    look: Operation[Order]
    until: Collection[str]
    within_s: float

    def steps(self, caller: Caller) -> Steps[Order]:
        """See Executable."""
        deadline_s = caller.now_s() + self.within_s
        pause_s, most_s = LOOK_S
        while True:
            order = yield from self.look.steps(caller)
            if order.status in self.until or order.is_terminal:
                return order
            left_s = deadline_s - caller.now_s()
            if left_s <= 0:
                raise StillWaiting(f"{order.id} is {order.status}", order=order)
            yield Pause(min(pause_s, left_s))
            pause_s = min(most_s, pause_s * 1.5)


def buy(
    account: str,
    instrument: str,
    cash_amount: Amount,
    *,
    automatic_rollover: bool = False,
    client_reference: str | None = None,
    limit_price: Amount | None = None,
    time_in_force: str | None = None,
    quote: str | None = None,
    may_wait: bool = True,
    key: str | None = None,
) -> Operation[Order]:
    """Places a buy for `cash_amount`, fees included, in the instrument's currency.

    `instrument` is an id (`ins_...`). With a `limit_price` it is a limit order: for the units that
    the cash buys at that price, which is the worst one. Its `time_in_force` is `day` (default) or
    `gtc`. `quote` is the id of a quote for the same; refused if it was used, has expired, or the
    price has moved since. While its market is closed the order waits; unless it `may_wait`, it is
    refused: `instrument_not_trading`. Raises NotFound, Forbidden; Invalid, as `insufficient_funds`.
    """
    body = given(
        instrument=instrument,
        order_type=_type_of(limit_price),
        side="buy",
        cash_amount=cash_amount,
        automatic_rollover=automatic_rollover,
        client_reference=client_reference,
        limit_price=limit_price,
        time_in_force=time_in_force,
        quote=quote,
    )
    where = accounts_path(account, "orders")
    return Operation("POST", where, Order, body=body, key=key_of(key), may_wait=may_wait)


def sell(
    account: str,
    instrument: str,
    quantity: Amount,
    *,
    client_reference: str | None = None,
    limit_price: Amount | None = None,
    time_in_force: str | None = None,
    quote: str | None = None,
    may_wait: bool = True,
    key: str | None = None,
) -> Operation[Order]:
    """Places a sell of `quantity` units of an instrument. Limits and errors: see `buy`."""
    body = given(
        instrument=instrument,
        order_type=_type_of(limit_price),
        side="sell",
        quantity=quantity,
        client_reference=client_reference,
        limit_price=limit_price,
        time_in_force=time_in_force,
        quote=quote,
    )
    where = accounts_path(account, "orders")
    return Operation("POST", where, Order, body=body, key=key_of(key), may_wait=may_wait)


def _type_of(limit_price: Amount | None) -> str:
    return "market" if limit_price is None else "limit"


def quote(
    account: str,
    instrument: str,
    side: str,
    *,
    cash_amount: Amount | None = None,
    quantity: Amount | None = None,
    limit_price: Amount | None = None,
    may_wait: bool = True,
    key: str | None = None,
) -> Operation[OrderQuote]:
    """A quote of an order: a buy of `cash_amount`, a sell of `quantity`. Raises as `buy`."""
    body = given(
        instrument=instrument,
        side=side,
        cash_amount=cash_amount,
        quantity=quantity,
        limit_price=limit_price,
    )
    where = accounts_path(account, "order-quotes")
    return Operation("POST", where, OrderQuote, body=body, key=key_of(key), may_wait=may_wait)


def order(account: str, order: str) -> Operation[Order]:
    """One order."""
    return Operation("GET", accounts_path(account, "orders", order), Order)


def evidence(account: str, order: str, *, size: int | None = None) -> Operation[dict[str, Any]]:
    """The proof that an order was not edited: a bundle to keep and to verify, as received.

    Under the newest seal, or under that of `size` facts. Facts are sealed within ten seconds; until
    then the request is retried, or raises Unavailable.
    """
    where = accounts_path(account, "orders", order, "evidence")
    return Operation("GET", where, dict[str, Any], query({"size": size}))


def wait_for_order(
    account: str,
    order: str,
    *,
    until: Collection[str] = TERMINAL,
    within_s: float = WAIT_S,
) -> Wait:
    """The order once its status is one of `until`, or terminal. Raises StillWaiting."""
    return Wait(Operation("GET", accounts_path(account, "orders", order), Order), until, within_s)


def cancel_order(account: str, order: str, *, key: str | None = None) -> Operation[Order]:
    """Asks to cancel an order. Its status shows the result. Raises Conflict if it is too late."""
    where = accounts_path(account, "orders", order, "cancel")
    return Operation("POST", where, Order, key=key_of(key))


def orders(
    account: str,
    *,
    status: Sequence[str] | str | None = None,
    side: str | None = None,
    instrument: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    client_reference: str | None = None,
    page_size: int | None = None,
) -> Listing[Order]:
    """Orders of an account."""
    words = {
        "status": status,
        "side": side,
        "instrument": instrument,
        "created_from": created_from,
        "created_to": created_to,
        "client_reference": client_reference,
        "limit": page_size,
    }
    return Listing(accounts_path(account, "orders"), Order, query(words))


def order_history(account: str, order: str, *, page_size: int | None = None) -> Listing[OrderFact]:
    """Each fact of an order, and the order after it."""
    where = accounts_path(account, "orders", order, "history")
    return Listing(where, OrderFact, query({"limit": page_size}))


def order_at(
    account: str,
    order: str,
    *,
    version: int | None = None,
    asof: datetime | None = None,
) -> Operation[Order]:
    """The order as it was after its fact of a version, or by a time."""
    where = accounts_path(account, "orders", order, "history")
    return Operation("GET", where, Order, state_query(version, asof))


def explain_order(
    account: str,
    order: str,
    *,
    version: int | None = None,
    asof: datetime | None = None,
) -> Operation[ExplainedOrder]:
    """The order now or then and, for each of its fields, the fact that last set it."""
    where = accounts_path(account, "orders", order, "history")
    words = {"explain": True, "version": version, "asof": asof}
    return Operation("GET", where, ExplainedOrder, query(words))


def pending_orders(account: str, *, page_size: int | None = None) -> Listing[Order]:
    """Orders that are in no terminal status."""
    return Listing(accounts_path(account, "pending-orders"), Order, query({"limit": page_size}))
