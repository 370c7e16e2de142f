"""What a view is: tables, and what each fact does to their rows.

A view reads facts of some types, together with the state of their stream before and after. It *keeps*
rows that follow a state (rendered once, at the end of a page, however many facts of the page touched
them) and *adds* rows that belong to a single fact. Every row is fed by exactly one stream, so a fact
that cannot be folded touches only rows of its own stream.
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
    """What a page of facts does to the rows of one view."""

    def __init__(self, bodies: dict[str, tuple[object, bytes]]) -> None:
        self.kept: defaultdict[Table, dict[Any, Callable[[], Row] | None]] = defaultdict(dict)
        self.added: defaultdict[Table, list[Row]] = defaultdict(list)
        self._bodies = bodies

    def keep(self, table: Table, key: Any, row: Callable[[], Row] | None) -> None:
        """The row of this key will be `row()`; None removes it. The last word of a page counts."""
        self.kept[table][key] = row

    def add(self, table: Table, row: Row) -> None:
        """One more row."""
        self.added[table].append(row)

    def body(self, resource: str, state: msgspec.Struct, render: Callable[[Any], bytes]) -> bytes:
        """`render(state)`, once for all views of a page; of a resource the last state's is kept."""
        known = self._bodies.get(resource)
        if known is None or known[0] is not state:
            known = self._bodies[resource] = state, render(state)
        return known[1]

    def order(self, state: Order) -> bytes:
        """The body of an order, once."""
        return self.body(state.terms.order, state, self._order)

    def trade(self, state: Order, trade: Trade) -> bytes:
        """The body of a trade, once; it stays the same while its order moves on."""
        return self.body(trade.terms.trade, trade, partial(trade_json, state))

    def _order(self, state: Order) -> bytes:
        return order_json(state, self.trade)


class View(ABC):
    """One view. Its `shape` is raised when its tables, or what they hold, change: then it is rebuilt.

    So it is when the state of a stream that feeds it has another shape (`SHAPE` beside the state).

    `streams` are the prefixes of streams that feed it, `reads` the facts of theirs that change a row,
    `bodies` what its rows hold ready to be sent (tests/golden/shapes.txt has every shape there was).
    """

    name: ClassVar[str]
    shape: ClassVar[int]
    streams: ClassVar[frozenset[str]]
    tables: ClassVar[tuple[Table, ...]]
    bodies: ClassVar[tuple[type[msgspec.Struct], ...]]
    reads: ClassVar[frozenset[type[Fact]]]

    @abstractmethod
    def feed(self, change: Change, page: PageRows) -> None:
        """Notes what a fact of `reads` does to the rows."""
