"""Every kind of stream by the prefix of its ids: how it is folded into which state."""

from __future__ import annotations

from typing import Any, Final

from engine.domain import account, clock, halt, instrument, kind, order, payment, report, webhook
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
    "whk": Fold("webhook", webhook.SHAPE, webhook.Webhook, webhook.evolve, is_long=False),
}
"""Prefix -> fold. `SHAPE` stands beside each state, and is raised when its fields or their meaning
change: snapshots of the old shape are then ignored, and its views made again."""

REFERENCE: Final = frozenset({"ins", "clk", "hlt", "knd"})
"""Streams that decisions read and hardly ever write: no conflict tells that they have moved on, so they
are looked at again when known for longer than REFERENCE_FRESH_S. That goes for one without facts too."""

FOLLOWED: Final = "acc"
"""Streams that several processes write in turn: what others recorded of them is read at once
for all that are known. Others are read one by one."""


def prefix_of(stream: str) -> str:
    """`ord` of `ord_...`."""
    return stream.partition("_")[0]


def fold_of(stream: str) -> Fold[Any]:
    """How a stream is folded. Raises KeyError for an id of no known kind."""
    return FOLDS[prefix_of(stream)]
