"""Every kind of stream by the prefix of its ids, with its fold."""

from __future__ import annotations

from typing import Any, Final

from engine.domain import (
    account,
    clock,
    halt,
    instrument,
    kind,
    order,
    order_quote,
    payment,
    report,
    script,
    webhook,
)
from engine.kernel.fold import Fold

FOLDS: Final[dict[str, Fold[Any]]] = {
    "acc": Fold("account", account.SHAPE, account.Account, account.evolve),
    "ord": Fold("order", order.SHAPE, order.Order, order.evolve, is_long=False),
    "ins": Fold("instrument", instrument.SHAPE, instrument.Instrument, instrument.evolve, is_long=False),
    "dep": Fold("payment", payment.SHAPE, payment.Payment, payment.evolve, is_long=False),
    "wdr": Fold("payment", payment.SHAPE, payment.Payment, payment.evolve, is_long=False),
    "rep": Fold("parked_report", report.SHAPE, report.ParkedReport, report.evolve, is_long=False),
    "clk": Fold("clock", clock.SHAPE, clock.Clock, clock.evolve, is_long=False),
    "hlt": Fold("trading_halt", halt.SHAPE, halt.Halt, halt.evolve, is_long=False),
    "knd": Fold("kind", kind.SHAPE, kind.Declared, kind.evolve, is_long=False),
    "scr": Fold("scripts", script.SHAPE, script.Scripts, script.evolve),
    "quo": Fold(
        "order_quote", order_quote.SHAPE, order_quote.ConsumedQuote, order_quote.evolve, is_long=False
    ),
    "whk": Fold("webhook", webhook.SHAPE, webhook.Webhook, webhook.evolve, is_long=False),
}
"""Prefix -> fold. `SHAPE` stands beside each state, and is raised when its fields or their meaning
change: snapshots of the old shape are then ignored, and its views rebuilt."""

REFERENCE: Final = frozenset({"ins", "clk", "hlt", "knd"})
"""Streams that decisions read and rarely write. No version conflict reveals that they changed, so they
are re-read after REFERENCE_FRESH_S, even those without facts."""

_REFERENCE_IDS: Final = tuple(f"{prefix}_" for prefix in REFERENCE)

FOLLOWED: Final = "acc"
"""Streams written by several processes in turn: a catch-up reads the facts that others appended to all
cached ones. Others are read one by one."""


def prefix_of(stream: str) -> str:
    """`ord` of `ord_...`."""
    return stream.partition("_")[0]


def is_reference(stream: str) -> bool:
    """Whether a stream is of a REFERENCE kind."""
    return stream.startswith(_REFERENCE_IDS)


def fold_of(stream: str) -> Fold[Any]:
    """The fold of a stream. Raises KeyError for an id of no known kind."""
    return FOLDS[prefix_of(stream)]
