"""The memorandum of an order: the records that regulations require, answered from the journal.

One literal table lists the required items, their clauses, and where the answer is recorded. Items
missing in the journal are shown as missing, never guessed. The clauses are explained in
docs/memorandum.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from engine.domain.instrument import Terms
from engine.domain.order import (
    ROLLOVER,
    WAITS,
    Cancelled,
    CancelRejected,
    CancelRequested,
    ExecutionStarted,
    ExpiryRequested,
    MadePending,
    Placed,
    TradeRecorded,
)
from engine.history.history import Step, state_at
from engine.history.story import Story
from engine.journal.journal import Journal
from engine.kernel.fact import Fact, Recorded
from engine.kernel.ids import is_id
from engine.kernel.times import rfc3339
from engine.kernel.values import plain

RULES: Final = {
    "SEC": "17 CFR 240.17a-3(a)(6)(i): memorandum of each brokerage order",
    "MiFID": "Delegated Regulation (EU) 2017/565, Articles 74 and 75: Annex IV, section.point",
    "Art. 67": "Delegated Regulation (EU) 2017/565, Article 67(1)(b): orders in sequence and promptly",
    "RTS 24": "Delegated Regulation (EU) 2017/580, Annex: order data of trading venues",
    "CAT": "17 CFR 242.613: consolidated audit trail",
}
"""Short name of a regulation -> its citation."""


class RecordedAnswer(NamedTuple):
    """A value with the fact that records it; None if it follows from the absence of one."""

    value: str
    recorded: Recorded | None = None


class MemorandumEntry(NamedTuple):
    """One required item, with its `rules`. Without answers: the journal does not record it: `why`."""

    asked: str
    rules: tuple[str, ...]
    answers: list[RecordedAnswer]
    why: str = ""


class Case:
    """An order's story, and the terms of its instrument at placing."""

    def __init__(self, steps: Sequence[Step], terms: Terms | None) -> None:
        self.steps, self.terms = steps, terms
        self.entry = steps[0].recorded
        placed = self.entry.fact
        assert isinstance(placed, Placed)
        self.placed = placed

    def of(self, kind: type[Fact]) -> list[Recorded]:
        """Its facts of one kind."""
        return [step.recorded for step in self.steps if isinstance(step.recorded.fact, kind)]

    def said(self, value: object) -> list[RecordedAnswer]:
        """A value of its first fact; empty if absent."""
        return [] if value is None or value == "" else [RecordedAnswer(str(value), self.entry)]


Find = Callable[[Case], list[RecordedAnswer]]


def memorandum(steps: Sequence[Step], terms: Terms | None) -> list[MemorandumEntry]:
    """Every entry of ASKED for an order, from its steps since the first fact."""
    case = Case(steps, terms)
    return [
        MemorandumEntry(asked.what, asked.rules, asked.find(case) if asked.find else [], asked.why)
        for asked in ASKED
    ]


# --- answers --------------------------------------------------------------------------------------


def _each(kind: type[Fact], say: Callable[[Recorded], str], otherwise: str = "") -> Find:
    """One answer for each fact of a kind; `otherwise` if there is none."""

    def find(case: Case) -> list[RecordedAnswer]:
        found = [RecordedAnswer(say(one), one) for one in case.of(kind)]
        return found or ([RecordedAnswer(otherwise)] if otherwise else [])

    return find


def _from(name: str, of: str = "") -> Find:
    """A field of the first fact. `of` is the field that names its unit."""

    def find(case: Case) -> list[RecordedAnswer]:
        value = getattr(case.placed, name)
        unit = f" {getattr(case.placed, of)}" if of and value is not None else ""
        return case.said(value if value is None or isinstance(value, str) else f"{plain(value)}{unit}")

    return find


def _size(case: Case) -> list[RecordedAnswer]:
    return _from("cash_amount", "currency")(case) or _from("quantity", "symbol")(case)


def _security(case: Case) -> list[RecordedAnswer]:
    placed = case.placed
    return case.said(f"{placed.symbol}, {placed.name}, {placed.instrument_type} ({placed.instrument})")


def _isin(case: Case) -> list[RecordedAnswer]:
    return [] if case.terms is None or case.terms.isin is None else [RecordedAnswer(case.terms.isin)]


def _who(recorded: Recorded) -> str:
    actor, request = recorded.envelope.actor or "an unnamed actor", recorded.envelope.request_id
    if not is_id(actor, "cli"):
        return f"by {actor} (no client)"
    return f"electronically, by client {actor}" + (f", request {request}" if request else "")


def _when(recorded: Recorded) -> str:
    return rfc3339(recorded.envelope.at_us)


def _limit(placed: Placed) -> str:
    return "none: a market order" if placed.limit_price is None else plain(placed.limit_price)


def _force(placed: Placed) -> str | None:
    until = placed.expires_at_us
    return placed.time_in_force if until is None else f"{placed.time_in_force}, until {rfc3339(until)}"


def _instructions(case: Case) -> list[RecordedAnswer]:
    placed = case.placed
    words = ["rollover of a maturing position"] if placed.purpose == ROLLOVER else []
    words += ["reinvest at maturity"] if placed.automatic_rollover else []
    return case.said(", ".join(words) or "none")


def _long(case: Case) -> list[RecordedAnswer]:
    if case.placed.side == "buy":
        return [RecordedAnswer("no sell")]
    held = [one for one in case.steps[0].booked if one.leg.place == "reserved"]
    return [
        RecordedAnswer(f"long: {plain(leg.amount)} units reserved", recorded) for leg, recorded in held
    ]


def _traded(say: Callable[[TradeRecorded], str]) -> Find:
    def words(recorded: Recorded) -> str:
        assert isinstance(recorded.fact, TradeRecorded)
        return say(recorded.fact)

    return _each(TradeRecorded, words, "not executed")


def _counterparty(case: Case) -> list[RecordedAnswer]:
    found, trades = [], case.of(TradeRecorded)
    for one in trades:
        trade = one.fact
        assert isinstance(trade, TradeRecorded)
        words = [word for word in (trade.counterparty, trade.execution_broker) if word]
        found += [RecordedAnswer(", ".join(words), one)] if words else []
    return found if trades else [RecordedAnswer("not executed")]


def _route(recorded: Recorded) -> str:
    assert isinstance(recorded.fact, ExecutionStarted)
    return f"{recorded.fact.venue}, under the name {recorded.fact.venue_order}"


def _waited(recorded: Recorded) -> str:
    assert isinstance(recorded.fact, MadePending)
    return f"{_when(recorded)}, for {WAITS.get(recorded.fact.reason, recorded.fact.reason)}"


def _sent(case: Case) -> list[RecordedAnswer]:
    found = []
    for one in case.of(ExecutionStarted):
        assert isinstance(one.fact, ExecutionStarted)
        found.append(RecordedAnswer(f"{plain(one.fact.quantity)} {case.placed.symbol}", one))
    return found or [RecordedAnswer("not sent")]


def _cancelled(recorded: Recorded) -> str:
    assert isinstance(recorded.fact, Cancelled)
    return f"{_when(recorded)}, {recorded.fact.reason}"


def _left(case: Case) -> list[RecordedAnswer]:
    last = case.steps[-1]
    order = last.state
    if order.cancelled_at_us is None and order.filled_at_us is None:
        return [RecordedAnswer("still open", last.recorded)]
    asked = order.ordered or case.placed.quantity
    if asked is None:
        return [RecordedAnswer("all of it", last.recorded)]
    return [
        RecordedAnswer(f"{plain(asked - order.traded_quantity)} {case.placed.symbol}", last.recorded)
    ]


class Item(NamedTuple):
    """One required item; `find` answers it. None if the journal does not record it: `why`."""

    what: str
    rules: tuple[str, ...]
    find: Find | None = None
    why: str = ""


_NO_FIELD: Final = "the engine has no such field"
ASKED: Final[tuple[Item, ...]] = (
    # --- the order and its terms
    Item("identification of the order", ("MiFID 2.6", "RTS 24", "CAT (c)(7)(i)"), _from("order")),
    Item("account it was entered for", ("SEC", "MiFID 1.1", "RTS 24", "CAT (c)(7)(i)"),
          _from("account")),
    Item("name of the client", ("MiFID 1.1",), None, "personal words stand outside the journal"),
    Item("firm that received it", ("CAT (c)(7)(i)",),
          lambda case: case.said(case.entry.envelope.tenant)),
    Item("security", ("SEC", "MiFID 1.6", "RTS 24", "CAT (j)(7)"), _security),
    Item("ISIN", ("MiFID 1.6", "RTS 24"), _isin, "the instrument was listed without"),
    Item("buy or sell", ("SEC", "MiFID 1.5", "RTS 24", "CAT (j)(7)"), _from("side")),
    Item("long or short, of a sell", ("CAT (j)(7)",), _long),
    Item("opening or closing", ("CAT (j)(7)",), None, _NO_FIELD),
    Item("type of the order", ("SEC", "MiFID 1.14", "RTS 24", "CAT (j)(7)"),
          lambda case: case.said(case.placed.order_type)),
    Item("size asked for", ("SEC", "MiFID 1.12", "RTS 24", "CAT (j)(7)"), _size),
    Item("limit of the price", ("SEC", "MiFID 1.8", "RTS 24", "CAT (j)(7)"),
          lambda case: case.said(_limit(case.placed))),
    Item("price notation and currency", ("MiFID 1.7", "MiFID 1.10", "RTS 24"),
          lambda case: case.said(f"{case.placed.price_type}, {case.placed.currency}")),
    Item("time in force", ("SEC", "MiFID 1.13", "RTS 24", "CAT (j)(7)"),
          lambda case: case.said(_force(case.placed)),
          "an order stands until it is executed or cancelled, or ended by its venue"),
    Item("particular instructions", ("SEC", "MiFID 1.15", "CAT (j)(7)"), _instructions),
    # --- persons
    Item("who entered it", ("SEC",), lambda case: [RecordedAnswer(_who(case.entry), case.entry)]),
    Item("person responsible for the account", ("SEC",), None, _NO_FIELD),
    Item("who acts for the client", ("MiFID 1.2",), None, _NO_FIELD),
    Item("trader or algorithm that decided", ("MiFID 1.3", "MiFID 1.4", "RTS 24"), None, _NO_FIELD),
    Item("discretionary authority", ("SEC",), None, _NO_FIELD),
    # --- times
    Item("received", ("SEC", "MiFID 1.16", "RTS 24", "CAT (c)(7)(i)"),
          lambda case: [RecordedAnswer(_when(case.entry), case.entry)]),
    Item("waited before it was sent", ("Art. 67",), _each(MadePending, _waited, "no")),
    Item("entered: sent for execution", ("SEC", "CAT (c)(7)(ii)"),
          _each(ExecutionStarted, _when, "not sent")),
    Item("sent to", ("MiFID 2.9", "CAT (c)(7)(ii)"), _each(ExecutionStarted, _route, "not sent")),
    Item("code that the venue gave it", ("MiFID 2.7", "RTS 24"), None,
          "the venue uses the engine's id"),
    Item("size sent", ("RTS 24", "CAT (c)(7)(ii)"), _sent),
    # --- executions
    Item("identification of the execution", ("MiFID 2.5", "RTS 24"),
          _traded(lambda trade: f"{trade.trade}, the venue's {trade.execution_reference}")),
    Item("executed at the price", ("SEC", "MiFID 2", "RTS 24", "CAT (c)(7)(v)"),
          _traded(lambda trade: plain(trade.price))),
    Item("size executed", ("MiFID 2", "RTS 24", "CAT (c)(7)(v)"),
          _traded(lambda trade: plain(trade.quantity))),
    Item("time of execution", ("SEC", "MiFID 2", "RTS 24", "CAT (c)(7)(v)"),
          _traded(lambda trade: rfc3339(trade.executed_at_us))),
    Item("executed where", ("CAT (c)(7)(v)",), _traded(lambda trade: trade.venue)),
    Item("counterparty and broker", ("CAT (c)(7)(v)", "CAT (c)(7)(vi)"), _counterparty,
          "the venue did not name them"),
    Item("agent or principal", ("RTS 24", "CAT (c)(7)(v)"), None, _NO_FIELD),
    # --- changes and the end
    Item("modified", ("SEC", "RTS 24", "CAT (c)(7)(iv)"),
          lambda _: [RecordedAnswer("no: an order cannot be modified")]),
    Item("cancellation asked for", ("SEC", "CAT (c)(7)(iv)"),
          _each(CancelRequested, lambda one: f"{_when(one)}, {_who(one)}", "no")),
    Item("asked to end as expired", ("SEC", "MiFID 1.13"),
          _each(ExpiryRequested, _when, "no")),
    Item("cancellation refused", ("SEC", "RTS 24"), _each(CancelRejected, _when, "no")),
    Item("cancelled", ("SEC", "RTS 24", "CAT (c)(7)(iv)"), _each(Cancelled, _cancelled, "no")),
    Item("cancelled by", ("SEC", "CAT (c)(7)(iv)"), _each(Cancelled, _who, "not cancelled")),
    Item("size left over", ("RTS 24", "CAT (c)(7)(iv)"), _left),
)  # fmt: skip
"""All required items, in display order."""


# --- reading --------------------------------------------------------------------------------------


def read_memorandum(journal: Journal, story: Story) -> list[MemorandumEntry]:
    """The memorandum of an order, from its complete story."""
    steps = [told.step for told in story.told]
    placed = steps[0].recorded
    assert isinstance(placed.fact, Placed)
    listing = placed.fact.instrument
    version = journal.version_at(listing, placed.envelope.at_us)
    state = state_at(journal, listing, version) if version else None
    return memorandum(steps, state.terms if state else None)
