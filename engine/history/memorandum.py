"""The memorandum of an order: what rules ask a firm to have on record of it, answered from the journal.

One literal table says what is asked, by which clauses, and where the answer stands. What the journal has
no word for is said to be so, and not guessed. The clauses are explained in docs/memorandum.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from engine.domain.instrument import Terms
from engine.domain.order import (
    Cancelled,
    CancelRejected,
    CancelRequested,
    ExecutionStarted,
    Placed,
    TradeRecorded,
)
from engine.history.history import Step, state_at, time
from engine.history.story import Story
from engine.journal.journal import Journal
from engine.kernel.fact import Fact, Recorded, from_us
from engine.kernel.ids import is_id
from engine.kernel.values import plain

RULES: Final = {
    "SEC": "17 CFR 240.17a-3(a)(6)(i): memorandum of each brokerage order",
    "MiFID": "Delegated Regulation (EU) 2017/565, Articles 74 and 75: Annex IV, section.point",
    "RTS 24": "Delegated Regulation (EU) 2017/580, Annex: order data of trading venues",
    "CAT": "17 CFR 242.613: consolidated audit trail",
}
"""How a rule is called here -> where it stands."""


class Answer(NamedTuple):
    """What the journal says, and the fact that says it; None for what follows from there being none."""

    value: str
    recorded: Recorded | None = None


class Entry(NamedTuple):
    """One thing that is asked, by `rules`. No answers: the journal has no word for it, and `why`."""

    asked: str
    rules: tuple[str, ...]
    answers: list[Answer]
    why: str = ""


class Case:
    """An order's story, and the terms of its instrument when it was placed."""

    def __init__(self, steps: Sequence[Step], terms: Terms | None) -> None:
        self.steps, self.terms = steps, terms
        self.entry = steps[0].recorded
        placed = self.entry.fact
        assert isinstance(placed, Placed)
        self.placed = placed

    def of(self, kind: type[Fact]) -> list[Recorded]:
        """Its facts of one kind."""
        return [step.recorded for step in self.steps if isinstance(step.recorded.fact, kind)]

    def said(self, value: object) -> list[Answer]:
        """What stands in its first fact; nothing if that says nothing."""
        return [] if value is None or value == "" else [Answer(str(value), self.entry)]


Find = Callable[[Case], list[Answer]]


def memorandum(steps: Sequence[Step], terms: Terms | None) -> list[Entry]:
    """Every entry of ASKED for an order, whose steps begin with its first fact."""
    case = Case(steps, terms)
    return [
        Entry(asked.what, asked.rules, asked.find(case) if asked.find else [], asked.why)
        for asked in ASKED
    ]


# --- answers --------------------------------------------------------------------------------------


def _each(kind: type[Fact], say: Callable[[Recorded], str], otherwise: str = "") -> Find:
    """What each fact of a kind says; `otherwise` when there is none."""

    def find(case: Case) -> list[Answer]:
        found = [Answer(say(one), one) for one in case.of(kind)]
        return found or ([Answer(otherwise)] if otherwise else [])

    return find


def _from(name: str, of: str = "") -> Find:
    """A field of the first fact. `of` is another of its fields, that says of what it is an amount."""

    def find(case: Case) -> list[Answer]:
        value = getattr(case.placed, name)
        unit = f" {getattr(case.placed, of)}" if of and value is not None else ""
        return case.said(value if value is None or isinstance(value, str) else f"{plain(value)}{unit}")

    return find


def _size(case: Case) -> list[Answer]:
    return _from("cash_amount", "currency")(case) or _from("quantity", "symbol")(case)


def _security(case: Case) -> list[Answer]:
    placed = case.placed
    return case.said(f"{placed.symbol}, {placed.name}, {placed.instrument_type} ({placed.instrument})")


def _isin(case: Case) -> list[Answer]:
    return [] if case.terms is None or case.terms.isin is None else [Answer(case.terms.isin)]


def _who(recorded: Recorded) -> str:
    actor, request = recorded.envelope.actor or "nobody named", recorded.envelope.request_id
    if not is_id(actor, "cli"):
        return f"by {actor} (no client)"
    return f"electronically, by client {actor}" + (f", request {request}" if request else "")


def _when(recorded: Recorded) -> str:
    return time(recorded.envelope.at)


def _instructions(case: Case) -> list[Answer]:
    rollover = "reinvest at maturity" if case.placed.automatic_rollover else "none"
    return case.said(rollover)


def _long(case: Case) -> list[Answer]:
    if case.placed.side == "buy":
        return [Answer("no sell")]
    held = [one for one in case.steps[0].booked if one.leg.place == "reserved"]
    return [Answer(f"long: {plain(leg.amount)} units reserved", recorded) for leg, recorded in held]


def _traded(say: Callable[[TradeRecorded], str]) -> Find:
    def words(recorded: Recorded) -> str:
        assert isinstance(recorded.fact, TradeRecorded)
        return say(recorded.fact)

    return _each(TradeRecorded, words, "not executed")


def _counterparty(case: Case) -> list[Answer]:
    found, trades = [], case.of(TradeRecorded)
    for one in trades:
        trade = one.fact
        assert isinstance(trade, TradeRecorded)
        words = [word for word in (trade.counterparty, trade.execution_broker) if word]
        found += [Answer(", ".join(words), one)] if words else []
    return found if trades else [Answer("not executed")]


def _route(recorded: Recorded) -> str:
    assert isinstance(recorded.fact, ExecutionStarted)
    return f"{recorded.fact.venue}, under the name {recorded.fact.venue_order}"


def _sent(case: Case) -> list[Answer]:
    found = []
    for one in case.of(ExecutionStarted):
        assert isinstance(one.fact, ExecutionStarted)
        found.append(Answer(f"{plain(one.fact.quantity)} {case.placed.symbol}", one))
    return found or [Answer("not sent")]


def _cancelled(recorded: Recorded) -> str:
    assert isinstance(recorded.fact, Cancelled)
    return f"{_when(recorded)}, {recorded.fact.reason}"


def _left(case: Case) -> list[Answer]:
    last = case.steps[-1]
    order = last.state
    if order.cancelled_at_us is None and order.filled_at_us is None:
        return [Answer("still open", last.recorded)]
    asked = order.ordered or case.placed.quantity
    if asked is None:
        return [Answer("all of it", last.recorded)]
    return [Answer(f"{plain(asked - order.traded_quantity)} {case.placed.symbol}", last.recorded)]


class Asked(NamedTuple):
    """One thing that rules ask; `find` answers it, None where nothing in the journal can, and `why`."""

    what: str
    rules: tuple[str, ...]
    find: Find | None = None
    why: str = ""


_NO_FIELD: Final = "the engine has no such field"
ASKED: Final[tuple[Asked, ...]] = (
    # --- the order and its terms
    Asked("identification of the order", ("MiFID 2.6", "RTS 24", "CAT (c)(7)(i)"), _from("order")),
    Asked("account it was entered for", ("SEC", "MiFID 1.1", "RTS 24", "CAT (c)(7)(i)"),
          _from("account")),
    Asked("name of the client", ("MiFID 1.1",), None, "personal words stand outside the journal"),
    Asked("firm that received it", ("CAT (c)(7)(i)",),
          lambda case: case.said(case.entry.envelope.tenant)),
    Asked("security", ("SEC", "MiFID 1.6", "RTS 24", "CAT (j)(7)"), _security),
    Asked("ISIN", ("MiFID 1.6", "RTS 24"), _isin, "the instrument was listed without"),
    Asked("buy or sell", ("SEC", "MiFID 1.5", "RTS 24", "CAT (j)(7)"), _from("side")),
    Asked("long or short, of a sell", ("CAT (j)(7)",), _long),
    Asked("opening or closing", ("CAT (j)(7)",), None, _NO_FIELD),
    Asked("type of the order", ("SEC", "MiFID 1.14", "RTS 24", "CAT (j)(7)"),
          lambda case: case.said("market")),
    Asked("size asked for", ("SEC", "MiFID 1.12", "RTS 24", "CAT (j)(7)"), _size),
    Asked("limit of the price", ("SEC", "MiFID 1.8", "RTS 24", "CAT (j)(7)"),
          lambda case: case.said("none: a market order")),
    Asked("price notation and currency", ("MiFID 1.7", "MiFID 1.10", "RTS 24"),
          lambda case: case.said(f"{case.placed.price_type}, {case.placed.currency}")),
    Asked("time in force", ("SEC", "MiFID 1.13", "RTS 24", "CAT (j)(7)"), None,
          "an order stands until it is executed or cancelled"),
    Asked("particular instructions", ("SEC", "MiFID 1.15", "CAT (j)(7)"), _instructions),
    # --- persons
    Asked("who entered it", ("SEC",), lambda case: [Answer(_who(case.entry), case.entry)]),
    Asked("person responsible for the account", ("SEC",), None, _NO_FIELD),
    Asked("who acts for the client", ("MiFID 1.2",), None, _NO_FIELD),
    Asked("trader or algorithm that decided", ("MiFID 1.3", "MiFID 1.4", "RTS 24"), None, _NO_FIELD),
    Asked("discretionary authority", ("SEC",), None, _NO_FIELD),
    # --- times
    Asked("received", ("SEC", "MiFID 1.16", "RTS 24", "CAT (c)(7)(i)"),
          lambda case: [Answer(_when(case.entry), case.entry)]),
    Asked("entered: sent for execution", ("SEC", "CAT (c)(7)(ii)"),
          _each(ExecutionStarted, _when, "not sent")),
    Asked("sent to", ("MiFID 2.9", "CAT (c)(7)(ii)"), _each(ExecutionStarted, _route, "not sent")),
    Asked("code that the venue gave it", ("MiFID 2.7", "RTS 24"), None,
          "the venue is told a name of ours"),
    Asked("size sent", ("RTS 24", "CAT (c)(7)(ii)"), _sent),
    # --- executions
    Asked("identification of the execution", ("MiFID 2.5", "RTS 24"),
          _traded(lambda trade: f"{trade.trade}, the venue's {trade.execution_reference}")),
    Asked("executed at the price", ("SEC", "MiFID 2", "RTS 24", "CAT (c)(7)(v)"),
          _traded(lambda trade: plain(trade.price))),
    Asked("size executed", ("MiFID 2", "RTS 24", "CAT (c)(7)(v)"),
          _traded(lambda trade: plain(trade.quantity))),
    Asked("time of execution", ("SEC", "MiFID 2", "RTS 24", "CAT (c)(7)(v)"),
          _traded(lambda trade: time(from_us(trade.executed_at_us)))),
    Asked("executed where", ("CAT (c)(7)(v)",), _traded(lambda trade: trade.venue)),
    Asked("counterparty and broker", ("CAT (c)(7)(v)", "CAT (c)(7)(vi)"), _counterparty,
          "the venue did not name them"),
    Asked("agent or principal", ("RTS 24", "CAT (c)(7)(v)"), None, _NO_FIELD),
    # --- changes and the end
    Asked("modified", ("SEC", "RTS 24", "CAT (c)(7)(iv)"),
          lambda _: [Answer("no: an order cannot be modified")]),
    Asked("cancellation asked for", ("SEC", "CAT (c)(7)(iv)"),
          _each(CancelRequested, lambda one: f"{_when(one)}, {_who(one)}", "no")),
    Asked("cancellation refused", ("SEC", "RTS 24"), _each(CancelRejected, _when, "no")),
    Asked("cancelled", ("SEC", "RTS 24", "CAT (c)(7)(iv)"), _each(Cancelled, _cancelled, "no")),
    Asked("cancelled by", ("SEC", "CAT (c)(7)(iv)"), _each(Cancelled, _who, "not cancelled")),
    Asked("size left over", ("RTS 24", "CAT (c)(7)(iv)"), _left),
)  # fmt: skip
"""What is asked of a record of an order, in the order in which it is shown."""


# --- reading --------------------------------------------------------------------------------------


def read_memorandum(journal: Journal, story: Story) -> list[Entry]:
    """The memorandum of an order, whose story is told from the first fact on."""
    steps = [told.step for told in story.told]
    placed = steps[0].recorded
    assert isinstance(placed.fact, Placed)
    listing = placed.fact.instrument
    version = journal.version_at(listing, placed.envelope.at_us)
    state = state_at(journal, listing, version) if version else None
    return memorandum(steps, state.terms if state else None)
