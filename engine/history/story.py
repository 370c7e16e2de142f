"""The story of one stream in words: the changes and the state after each fact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from engine.domain import clock
from engine.domain.account import FLAGS, Account
from engine.domain.clock import Clock
from engine.domain.halt import Halt
from engine.domain.holdings import Holdings
from engine.domain.instrument import Instrument
from engine.domain.kind import Declared
from engine.domain.moves import MOVES, Leg, legs
from engine.domain.order import Order
from engine.domain.order_quote import ConsumedQuote
from engine.domain.payment import Payment
from engine.domain.position import Balance
from engine.domain.report import ParkedReport
from engine.domain.script import Scripts
from engine.domain.streams import FOLDS, prefix_of
from engine.domain.webhook import Webhook
from engine.history.history import NOW, Step, When, explain, read, state_at, version_of
from engine.history.sentences import sentence
from engine.journal.journal import Journal
from engine.kernel import ids
from engine.kernel.fact import Fact, Recorded, from_us
from engine.kernel.limits import STREAM_BYTES_MAX
from engine.kernel.refusals import refused
from engine.kernel.times import rfc3339
from engine.kernel.values import plain

Shown = dict[str, str | bool | int | None]
"""Displayed fields of a state: name -> value, amounts as plain digits."""

CHOSEN: Final = frozenset({"ins", "clk", "hlt", "knd", "scr"})
"""Prefixes of ids that a person may have chosen; all others are generated."""


class NarratedStep(NamedTuple):
    """One step in words: `changed` maps fields set by its fact to values before and after."""

    step: Step
    changed: dict[str, tuple[Any, Any]]
    said: list[str]
    state: Shown


class Story(NamedTuple):
    """The steps in order of versions; `state` is the last one."""

    stream: str
    kind: str
    told: list[NarratedStep]
    state: Shown

    @property
    def version(self) -> int:
        """The version of the last fact."""
        return self.told[-1].step.recorded.version


Explained = dict[str, tuple[Any, Recorded]]
"""Field -> (its value, the fact that last set it)."""


def read_story(journal: Journal, stream: str, when: When = NOW, last: int | None = None) -> Story:
    """The story of a stream up to `when`; only its `last` facts.

    Raises Refused `invalid_param` for an invalid id, a version past the end, or a time before the first
    fact; `not_found` for an id without facts; JournalDamaged.
    """
    check_id(stream)
    version = version_of(journal, stream, when)
    if not version:
        raise refused("not_found", f"The journal has no {kind_of(stream)} {stream}.")
    after = 0 if last is None else max(0, version - last)
    before = state_at(journal, stream, after) if after else None
    return tell(stream, read(journal, stream, after, version), shown(before))


def check_id(stream: str) -> None:
    """Raises Refused `invalid_param` unless it can be the id of a stream."""
    prefix, _, rest = stream.partition("_")
    kinds = ", ".join(f"{prefix}_..." for prefix in FOLDS)
    is_text = stream.isascii() and stream.isprintable() and len(stream) <= STREAM_BYTES_MAX
    if prefix not in FOLDS or not rest or not is_text:
        raise refused("invalid_param", f"not the id of a stream: {stream!r:.60}; they are {kinds}")
    try:
        if prefix not in CHOSEN:
            ids.decode(rest)
    except ValueError as error:
        raise refused("invalid_param", f"not an id: {stream!r:.60} ({error})") from None


def tell(stream: str, steps: Iterable[Step], before: Shown | None = None) -> Story:
    """The story of these steps; `before` is the displayed state before them."""
    told: list[NarratedStep] = []
    state = before or Shown()
    for step in steps:
        after = shown(step.state)
        changed = differences(state, after)
        said = say(step.recorded.fact, changed)
        said += moved([one.leg for one in step.booked if one.recorded is not step.recorded])
        told.append(NarratedStep(step, changed, said, after))
        state = after
    return Story(stream, kind_of(stream), told, state)


def explained(story: Story) -> Explained:
    """For each field of the state, the fact that last set it. The story must be complete."""
    return explain((told.step for told in story.told), shown)


def differences(before: Shown, after: Shown) -> dict[str, tuple[Any, Any]]:
    """field -> (value before, value after), for changed fields."""
    fields = dict.fromkeys((*before, *after))
    both = {field: (before.get(field), after.get(field)) for field in fields}
    return {field: pair for field, pair in both.items() if pair[0] != pair[1]}


def say(fact: Fact, changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """The effects of a fact in a few words: its sentence if it has one, then moves of money and units,
    else the fields it set.
    """
    words = sentence(fact)
    if words is not None or type(fact) in MOVES:
        return [word for word in (words,) if word] + moved(legs(fact))
    return [
        f"{field} {_word(before)} > {_word(after)}" if _says(before) else f"{field} {_word(after)}"
        for field, (before, after) in changed.items()
        if field not in QUIET and (_says(before) or _says(after))
    ]


def moved(legs_: Sequence[Leg]) -> list[str]:
    """Moves in words; every two legs are one move."""
    pairs = zip(legs_[::2], legs_[1::2], strict=True)
    return [
        f"{plain(to.amount)} {to.of} {source.place} > {to.place}" for source, to in pairs if to.amount
    ]


def _says(value: object) -> bool:
    """Whether a value is worth showing: zeros, blanks and false are the initial values."""
    return value is not False and bool(value) and (not isinstance(value, str) or bool(value.strip("0.")))


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


# --- states ---------------------------------------------------------------------------------------

QUIET: Final = frozenset({"account", "order", "instrument", "name", "price", "modified_at"})
"""Displayed fields that are not repeated where a fact has set them."""


def shown(state: Any) -> Shown:
    """The displayed fields of a state, {} for None."""
    if state is None:
        return {}
    fields = _SHOWN[type(state)](state)
    return {name: plain(value) if isinstance(value, Decimal) else value for name, value in fields}


def _order(order: Order) -> Iterator[tuple[str, Any]]:
    terms = order.terms
    yield "status", order.status
    yield "account", terms.account
    yield "instrument", terms.instrument
    yield "side", terms.side
    yield "cash_amount", terms.cash_amount
    yield "quantity", terms.quantity
    yield "currency", terms.currency
    yield "price", terms.price
    yield "quote", terms.quote
    yield "limit_price", terms.limit_price
    yield "time_in_force", terms.time_in_force
    yield "expires_at", None if terms.expires_at_us is None else rfc3339(terms.expires_at_us)
    yield "reserved", order.reserved
    yield "net_cash_amount", order.net_cash_amount
    yield "traded_quantity", order.traded_quantity
    yield "traded_notional", order.traded_notional
    yield "fees", order.fees
    yield "venue", order.venue
    yield "cancel_requested", order.cancel_requested or None
    yield "is_expiring", order.is_expiring or None
    yield "pending_reason", order.pending_reason if order.status == "pending" else None
    yield "cancelled_reason", order.cancelled_reason
    for trade in order.trades:
        yield trade.terms.trade, trade.status


def _account(account: Account) -> Iterator[tuple[str, Any]]:
    yield "status", account.status
    yield "tenant", account.tenant
    yield "base_currency", account.base_currency
    yield "funding_currencies", " ".join(account.funding_currencies)
    for flag, _ in FLAGS.values():
        yield flag, getattr(account, flag)
    yield from _holdings(account.holdings)
    for currency, worth in account.activity.worth.items():
        yield f"{currency}.ordered_on_{account.activity.day}", worth


def _holdings(holdings: Holdings) -> Iterator[tuple[str, Any]]:
    for currency, cash in holdings.cash.items():
        yield from _balance(currency, cash)
    for instrument, position in holdings.positions.items():
        yield f"{instrument}.position", position.id
        yield f"{instrument}.status", position.status
        yield from _balance(instrument, position.units)
        if position.automatic_rollover:
            yield f"{instrument}.automatic_rollover", True
        if position.rollover is not None:
            yield f"{instrument}.rollover", position.rollover


def _balance(of: str, balance: Balance) -> Iterator[tuple[str, Any]]:
    yield f"{of}.total", balance.total
    yield f"{of}.reserved", balance.reserved
    yield f"{of}.unsettled", balance.unsettled
    yield f"{of}.available", balance.available


def _payment(payment: Payment) -> Iterator[tuple[str, Any]]:
    yield "status", payment.status
    yield "account", payment.account
    yield "amount", payment.amount
    yield "currency", payment.currency


def _instrument(instrument: Instrument) -> Iterator[tuple[str, Any]]:
    for name, value in msgspec.structs.asdict(instrument.terms).items():
        is_simple = value is None or isinstance(value, str | bool | int | Decimal)
        yield name, value if is_simple else str(value)

    servicing = instrument.servicing
    yield "splits", servicing.splits
    for action in servicing.actions:
        yield action.id, "started" if action.is_started else "announced"


def _parked(parked: ParkedReport) -> Iterator[tuple[str, Any]]:
    report = parked.report
    yield "status", parked.status
    yield "fault", parked.fault
    yield "venue", report.venue
    yield "execution_reference", report.execution_reference
    yield "order", report.order
    yield "kind", report.kind
    yield "refers_to", report.refers_to
    yield "price", report.price
    yield "quantity", report.quantity


def _clock(state: Clock) -> Iterator[tuple[str, Any]]:
    ahead = from_us(state.ahead_us) - from_us(0)
    yield "ahead_days", ahead.days
    yield "business_date", clock.business_date(state, state.modified_at_us).isoformat()


def _halt(state: Halt) -> Iterator[tuple[str, Any]]:
    yield "trading", "halted" if state.is_halted else "open"
    if state.stops_execution:
        yield "execution", "halted"
    yield "reason", state.reason
    yield "since", f"{from_us(state.since_us):%Y-%m-%d %H:%M:%S}"


def _kind(state: Declared) -> Iterator[tuple[str, Any]]:
    yield "kind", state.kind
    yield "since", f"{from_us(state.since_us):%Y-%m-%d %H:%M:%S}"


def _scripts(state: Scripts) -> Iterator[tuple[str, Any]]:
    yield "open", len(state.open)
    yield "taken", state.taken


def _quote(state: ConsumedQuote) -> Iterator[tuple[str, Any]]:
    terms = state.terms
    yield "order", terms.order
    yield "account", terms.account
    yield "price", terms.price
    yield "accrued_interest", terms.accrued_interest
    yield "quantity", terms.quantity
    yield "cash", terms.cash
    yield "quoted_at", f"{from_us(terms.quoted_at_us):%Y-%m-%d %H:%M:%S}"


def _webhook(state: Webhook) -> Iterator[tuple[str, Any]]:
    yield "status", state.status
    yield "origin", state.origin
    yield "events", "all" if state.events is None else ", ".join(state.events)
    yield "disabled_reason", state.disabled_reason


_SHOWN: Final[dict[type, Callable[[Any], Iterator[tuple[str, Any]]]]] = {
    Order: _order,
    Account: _account,
    Payment: _payment,
    Instrument: _instrument,
    ParkedReport: _parked,
    Clock: _clock,
    Halt: _halt,
    Declared: _kind,
    Scripts: _scripts,
    ConsumedQuote: _quote,
    Webhook: _webhook,
}


def kind_of(stream: str) -> str:
    """`order` of `ord_...`."""
    return FOLDS[prefix_of(stream)].name
