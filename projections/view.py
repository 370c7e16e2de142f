"""The view interface: tables, and the effect of each fact on their rows.

A view reads facts of some types, with the state of their stream before and after. It *upserts* rows that
follow a state (rendered once, at the end of a page, however many of its facts touched them) and
*inserts* rows of a single fact. Every row is fed by exactly one stream, so a fact that cannot be folded
affects only rows of its own stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import msgspec

from engine.domain.order import Order, Trade
from engine.kernel.fact import Fact
from projections.folds import Change
from projections.resources import order_json, trade_json
from projections.tables import Row, Table


class PageRows:
    """A page's changes to the rows of one view."""

    def __init__(self, bodies: dict[str, tuple[object, bytes]]) -> None:
        self.upserts: defaultdict[Table, dict[Any, Callable[[], Row] | None]] = defaultdict(dict)
        self.inserts: defaultdict[Table, list[Row]] = defaultdict(list)
        self._bodies = bodies

    def upsert(self, table: Table, key: Any, row: Callable[[], Row] | None) -> None:
        """Upserts the row of this key as `row()` at the end of the page; None deletes it. The last call
        counts.
        """
        self.upserts[table][key] = row

    def insert(self, table: Table, row: Row) -> None:
        """Inserts a row."""
        self.inserts[table].append(row)

    def body(self, resource: str, state: msgspec.Struct, render: Callable[[Any], bytes]) -> bytes:
        """`render(state)`, once for all views of a page; only the last state's body of a resource is
        cached.
        """
        known = self._bodies.get(resource)
        if known is None or known[0] is not state:
            known = self._bodies[resource] = state, render(state)
        return known[1]

    def order(self, state: Order) -> bytes:
        """The body of an order, rendered once."""
        return self.body(state.terms.order, state, self._order)

    def trade(self, state: Order, trade: Trade) -> bytes:
        """The body of a trade, rendered once; it does not change while its order does."""
        return self.body(trade.terms.trade, trade, partial(trade_json, state))

    def _order(self, state: Order) -> bytes:
        return order_json(state, self.trade)


class View(ABC):
    """One view. Raise its `shape` when its tables, or their content, change: then it is rebuilt.

    It is also rebuilt when a state that feeds it has another shape (`SHAPE` beside the state).

    `streams` are the prefixes of streams that feed it, `reads` the facts that change a row, `bodies` the
    rendered bodies in its rows (tests/golden/shapes.txt lists every shape released).
    """

    name: ClassVar[str]
    shape: ClassVar[int]
    streams: ClassVar[frozenset[str]]
    tables: ClassVar[tuple[Table, ...]]
    bodies: ClassVar[tuple[type[msgspec.Struct], ...]]
    reads: ClassVar[frozenset[type[Fact]]]

    @abstractmethod
    def feed(self, change: Change, page: PageRows) -> None:
        """Applies a fact of `reads` to the rows."""
