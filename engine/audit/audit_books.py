"""Moves of accounts against orders and payments: the money half of an audit. Pure.

Inside an append the account's facts come first. Each move must be matched by the fact that causes it; a
move still unmatched at the end of the append has no cause.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any, Final, assert_never

from engine.audit.audit_causes import (
    PAID,
    WORDS,
    MoveKey,
    booked_as,
    busted_as,
    due_of,
    funding,
    is_settled,
    release,
    reservation,
    settlement,
)
from engine.audit.audit_servicing import CAUSED, OF_OPEN, PLEDGING, Servicing
from engine.audit.inconsistency import Inconsistency
from engine.domain.account import Account, AccountClosed
from engine.domain.bookings import (
    BuyApplied,
    BuyBooked,
    BuyBusted,
    BuyCorrected,
    BuySettled,
    PositionClosed,
    PositionOpened,
    Reversal,
    SellApplied,
    SellBooked,
    SellBusted,
    SellCorrected,
    SellSettled,
)
from engine.domain.instrument import Instrument
from engine.domain.moves import MOVES, legs
from engine.domain.order import (
    Cancelled,
    CancelRejected,
    CancelRequested,
    ExecutionStarted,
    ExpiryRequested,
    Filled,
    MadePending,
    Order,
    OrderFact,
    Placed,
    RolloverFunded,
    Settled,
    TradeApplied,
    TradeBusted,
    TradeCorrected,
    TradeRecorded,
    TradeSettled,
)
from engine.domain.order_quote import QuoteConsumed
from engine.domain.payment import Payment
from engine.domain.position import Balance, Position
from engine.domain.report import ReportApplied
from engine.domain.script import ScriptTaken
from engine.domain.servicing import PositionMatured, PositionSplit, RolloverBooked
from engine.domain.trading_limits import OrderCounted
from engine.kernel.fact import Fact
from engine.kernel.values import EXACT, ZERO

_MAY_BE_ZERO: Final = frozenset({"fee", "notional", "proceeds", "reserved", "unsettled"})
_MAY_MOVE_NOTHING: Final = (PositionSplit, PositionMatured, BuySettled)
"""Facts all of whose amounts may be 0: a split may leave no unit of a position, or of a trade; all units
that mature may be pledged, or none."""
_CHANGED: Final = (BuyCorrected, SellCorrected, BuyBusted, SellBusted)
_MAY_OVERDRAW: Final = (BuyApplied, SellApplied, *_CHANGED)
"""Trades from parked reports, and those that a venue takes back, may overdraw an account."""
_OF_POSITIONS: Final = frozenset(
    {
        BuyBooked, SellBooked, *_MAY_OVERDRAW, RolloverBooked, BuySettled, SellSettled, PositionClosed,
        *OF_OPEN,
    }
)  # fmt: skip
_BOOKED: Final = "{1} is booked from {0}"
_USED: Final = "{1} uses {0}"
_PLAYED: Final = "{1} is executed by {0}"
"""Meanings of two facts of one append, in different streams, that name each other."""
_Unpaid = Settled | ExecutionStarted | MadePending | CancelRequested | CancelRejected | ExpiryRequested
_OWN: Final = frozenset({"settled", "unsettled", "reserved"})
_SETTLING: Final = (Filled, TradeSettled, TradeBusted)
"""Facts after which all trades of a filled order may be settled: `Settled` follows in their append."""


class Books:
    """The open append, and all reservations."""

    def __init__(self, instrument_of: Callable[[str], Instrument | None]) -> None:
        """`instrument_of`: see `audit_servicing.Servicing`."""
        self.servicing = Servicing(instrument_of)
        self.reserved: dict[str, Decimal] = {}
        """Order or withdrawal -> amounts reserved for it in accounts, if not zero."""
        self.elsewhere: dict[tuple[str, str], Decimal] = {}
        """(asset, currency or instrument) -> total outside of accounts: fees, banks, venues."""
        self.held: dict[tuple[str, str], Decimal] = {}
        """The same inside accounts, summed from their states."""
        self._moved: dict[MoveKey, int] = {}
        self._touched: dict[tuple[str, str], tuple[int, Account]] = {}
        self._settling: dict[str, int] = {}
        self._counted: dict[str, int] = {}
        self._pairs: dict[tuple[str, ...], tuple[int, str]] = {}
        self._delivered: dict[str, tuple[Position, Decimal]] = {}
        self._returned: dict[str, tuple[Position, Decimal]] = {}
        self._busted: set[str] = set()
        self._reserving: dict[str, tuple[int, Order]] = {}

    # --- accounts ---------------------------------------------------------------------------------

    def account(
        self, position: int, stream: str, before: Account | None, after: Account, fact: Any
    ) -> None:
        """One fact of an account. Raises Inconsistency."""
        kind = type(fact)
        if kind in MOVES:
            assert before is not None
            self.servicing.account(position, stream, before, fact)
            self._move(position, stream, before, after, fact)
        elif kind is OrderCounted:
            self._counted[fact.order] = position
        elif kind is AccountClosed and not after.is_empty:
            raise Inconsistency("reserved", "it is closed, and holds something")
        if kind is PositionOpened or kind in _OF_POSITIONS:
            assert before is not None
            self._touched[stream, fact.instrument] = position, after
            _check_position(before, fact)

    def _move(self, position: int, stream: str, before: Account, after: Account, fact: Any) -> None:
        _check_amounts(fact)
        words = WORDS[type(fact)](fact) if type(fact) in WORDS else ()
        self._place(fact, fact.position if isinstance(fact, PLEDGING) else (*words, "")[0])
        if hasattr(fact, "currency") and type(fact) is not BuySettled:
            of = fact.currency
            was = before.holdings.balance(of)
            self._balance("cash", of, was, after.holdings.balance(of), fact)
        if hasattr(fact, "instrument"):
            of, known = fact.instrument, before.holdings.positions.get(fact.instrument)
            units = known.units if known else Balance()
            if known is not None and type(fact) is BuySettled:
                self._delivered[fact.trade] = known, fact.quantity
            if known is not None and isinstance(fact, Reversal):
                self._returned[fact.trade] = known, fact.unsettled
            self._balance("units", of, units, after.holdings.positions[of].units, fact)
        if type(fact) not in CAUSED:
            done: MoveKey = (type(fact), stream, *words)
            if done in self._moved:
                raise Inconsistency("agreement", "the same move twice in one append")
            self._moved[done] = position

    def _place(self, fact: Any, subject: str) -> None:
        """The legs outside of accounts, and those of what is reserved for `subject`."""
        for asset, of, place, amount in legs(fact):
            key = asset, of
            if place not in _OWN:
                self.elsewhere[key] = EXACT.add(self.elsewhere.get(key, ZERO), amount)
            elif place == "reserved":
                self._reserve(subject, amount)
        if isinstance(fact, PositionMatured) and subject in self.reserved:
            raise Inconsistency("reserved", f"units of {subject} are still reserved")

    def _balance(self, asset: str, of: str, before: Balance, after: Balance, fact: Fact) -> None:
        key = asset, of
        more = EXACT.subtract(after.total, before.total)
        held = self.held[key] = EXACT.add(self.held.get(key, ZERO), more)
        if EXACT.add(held, self.elsewhere.get(key, ZERO)):
            raise Inconsistency("sum", f"{asset} of {of} do not sum to 0 over all places")
        least = after.available if isinstance(fact, _MAY_OVERDRAW) else min(before.available, ZERO)
        if after.available < least or after.unsettled < 0 or after.reserved < 0:
            raise Inconsistency(
                "negative",
                f"{asset} of {of}: {after.available} available, {after.unsettled} unsettled,"
                f" {after.reserved} reserved",
            )

    def _reserve(self, subject: str, amount: Decimal) -> None:
        rest = EXACT.add(self.reserved.get(subject, ZERO), amount)
        if rest:
            self.reserved[subject] = rest
        else:
            self.reserved.pop(subject, None)

    # --- orders and payments ----------------------------------------------------------------------

    def order(
        self,
        position: int,
        stream: str,
        before: Order | None,
        after: Order,
        fact: OrderFact,
        *,
        agrees: bool,
    ) -> None:
        """One fact of an order. Raises Inconsistency. With `agrees` its account is checked too."""
        if isinstance(fact, MadePending) and before and before.pending_reason == fact.reason:
            raise Inconsistency("terms", f"it waits for {fact.reason} already")
        due = self._due(position, stream, before, after, fact)
        if isinstance(fact, TradeApplied | TradeCorrected | TradeBusted) and fact.report is not None:
            self._pair(position, stream, _BOOKED, fact.report, fact.trade)
        if isinstance(fact, ExecutionStarted) and fact.script is not None:
            self._pair(position, stream, _PLAYED, fact.script.script, stream)
        if agrees:
            self._meet(due)
            self._check_reservation(position, stream, after, fact)

    def _check_reservation(self, position: int, stream: str, after: Order, fact: OrderFact) -> None:
        """A bust's is checked with its correction, for the account's facts of both came before."""
        self._reserving.pop(stream, None)
        if isinstance(fact, TradeBusted):
            self._reserving[stream] = position, after
        else:
            self._check_reserved(stream, after.reserved, after.status)

    def _due(
        self, position: int, stream: str, before: Order | None, after: Order, fact: OrderFact
    ) -> MoveKey | None:
        """The account's fact required in the same append. Raises Inconsistency."""
        due: MoveKey | None = None
        if isinstance(fact, Placed):
            self._counted.pop(stream, None)
            if fact.quote is not None:
                self._pair(position, stream, _USED, fact.quote, stream, fact.account)
            return reservation(stream, after.terms)
        assert before is not None
        match fact:
            case TradeRecorded():
                due = booked_as(stream, before, after, fact)
                if isinstance(fact, TradeCorrected) and fact.corrects not in self._busted:
                    raise Inconsistency("terms", f"{fact.corrects} was not busted in the same append")
                self._settling.pop(stream, None)  # a corrected trade follows the bust of the last one
            case TradeSettled():
                due = self._settled(stream, before, fact)
            case TradeBusted():
                due = busted_as(stream, before, after, fact)
                self._check_returned(before, fact)
                self._busted.add(fact.trade)
            case Filled() | Cancelled():
                due = release(stream, before, type(fact))
            case RolloverFunded():
                due = funding(stream, after, fact)
            case _:
                self._check_end(stream, after, fact)
        if isinstance(fact, _SETTLING) and after.status == "filled" and is_settled(after):
            self._settling[stream] = position
        return due

    def _check_returned(self, before: Order, fact: TradeBusted) -> None:
        held, unsettled = self._returned.pop(fact.trade, (None, ZERO))
        known = before.trade(fact.trade)
        if held is not None and known is not None:
            due = due_of(before, known, held)
            if unsettled != due:
                raise Inconsistency(
                    "agreement", f"{fact.trade} takes back {unsettled} to settle, due are {due}"
                )

    def _check_end(self, stream: str, after: Order, fact: _Unpaid) -> None:
        """A fact that no fact of the account goes with."""
        match fact:
            case Settled():
                self._settling.pop(stream, None)
                if not is_settled(after):
                    raise Inconsistency("reserved", "it is settled, and not all of its trades are")
            case ExecutionStarted(quantity=quantity) if quantity <= 0:
                raise Inconsistency("terms", f"the venue is asked for {quantity}")
            case (
                ExecutionStarted()
                | MadePending()
                | CancelRequested()
                | CancelRejected()
                | ExpiryRequested()
            ):
                pass
            case _:
                assert_never(fact)

    def _settled(self, stream: str, before: Order, fact: TradeSettled) -> MoveKey:
        due = settlement(stream, before, fact)
        held, quantity = self._delivered.pop(fact.trade, (None, ZERO))
        done = before.trade(fact.trade)
        if held is not None and done is not None:
            units = held.settling(done.terms.quantity, before.splits)
            if units != quantity or (not units and not held.scales):
                raise Inconsistency(
                    "agreement", f"{fact.trade} delivers {quantity} units, due are {units}"
                )
        return due

    def other(self, position: int, stream: str, fact: Fact) -> None:
        """One fact of a parked report, a quote or the scripts, which an order's fact may go with."""
        match fact:
            case ReportApplied():
                self._pair(position, stream, _BOOKED, stream, fact.trade)
            case QuoteConsumed():
                self._pair(position, stream, _USED, stream, fact.order, fact.account)
            case ScriptTaken():
                self._pair(position, stream, _PLAYED, fact.script, fact.order)

    def _pair(self, position: int, stream: str, words: str, *ids: str) -> None:
        """Two facts of one append must name the same ids; `words` says what they mean."""
        if self._pairs.pop((words, *ids), None) is None:
            self._pairs[words, *ids] = position, stream

    def payment(self, stream: str, after: Payment, fact: Any, *, agrees: bool) -> None:
        """One fact of a deposit or a withdrawal. Raises Inconsistency."""
        if after.amount <= 0:
            raise Inconsistency("terms", f"it is of {after.amount}")
        kind = PAID.get(type(fact))
        is_open = after.kind == "withdrawal" and after.status == "open"
        if agrees:
            if kind is not None:
                self._meet((kind, after.account, stream, after.currency, after.amount))
            self._check_reserved(stream, after.amount if is_open else ZERO, after.status)

    def _meet(self, due: MoveKey | None) -> None:
        if due is not None and self._moved.pop(due, None) is None:
            kind, account, subject, *words = due
            said = ", ".join(map(str, words))
            raise Inconsistency(
                "agreement", f"{account} has no {kind.__name__} of {said} for {subject} here"
            )

    def _check_reserved(self, stream: str, due: Decimal, status: str) -> None:
        reserved = self.reserved.get(stream, ZERO)
        if reserved != due:
            raise Inconsistency("reserved", f"it is {status} and needs {due}, reserved is {reserved}")

    # --- appends ----------------------------------------------------------------------------------

    def _end_busts(self) -> list[tuple[int, str, Inconsistency]]:
        """Faults of the reservations that busts without a correction have left."""
        found = []
        for stream, (position, after) in self._reserving.items():
            try:
                self._check_reserved(stream, after.reserved, after.status)
            except Inconsistency as wrong:
                found.append((position, stream, wrong))
        self._reserving.clear()
        return found

    def end_append(self, broken: Collection[str]) -> list[tuple[int, str, Inconsistency]]:
        """(position, stream, fault) of everything the append leaves unmatched.

        Streams in `broken` are skipped.
        """
        self._busted.clear()
        found = self._end_busts()
        if not (self._moved or self._counted or self._touched or self._settling or self._pairs):
            return [one for one in found if one[1] not in broken]
        found += self.servicing.end_append()
        for (kind, account, subject, *_), position in self._moved.items():
            if subject not in broken:
                words = f"{kind.__name__} for {subject}, which does not say so"
                found.append((position, account, Inconsistency("agreement", words)))
        for order, position in self._counted.items():
            found.append((position, order, Inconsistency("agreement", "it is counted, and not placed")))
        for (account, instrument), (position, state) in self._touched.items():
            wrong = _half_closed(state.holdings.positions[instrument])
            if wrong:
                found.append((position, account, wrong))
        for order, position in self._settling.items():
            found.append(
                (position, order, Inconsistency("reserved", "all its trades are settled, and it is not"))
            )
        for (words, *ids), (position, stream) in self._pairs.items():
            text = f"{words.format(*ids)}, and only one of the two says so"
            found.append((position, stream, Inconsistency("agreement", text)))
        self._moved, self._counted, self._touched, self._settling = {}, {}, {}, {}
        self._pairs, self._delivered, self._returned = {}, {}, {}
        return [one for one in found if one[1] not in broken]


def _check_amounts(fact: Any) -> None:
    for move in MOVES[type(fact)]:
        amount = getattr(fact, move.amount)
        may_be_zero = move.amount in _MAY_BE_ZERO or isinstance(fact, _MAY_MOVE_NOTHING)
        if amount < 0 or (not amount and not may_be_zero):
            raise Inconsistency("negative", f"it moves {amount}")


def _half_closed(held: Position) -> Inconsistency | None:
    is_closed, units = held.closed_at_us is not None, held.units.total
    is_over = not held.unsettled_trades and not units
    if is_closed == is_over and held.unsettled_trades >= 0:
        return None
    state = "closed" if is_closed else "open"
    text = f"{held.id} is {state} with {units} units and {held.unsettled_trades} trades to settle"
    return Inconsistency("holding", text)


def _check_position(before: Account, fact: Any) -> None:
    known = before.holdings.positions.get(fact.instrument)
    is_open = known is not None and known.closed_at_us is None
    if type(fact) is PositionOpened:
        if is_open:
            raise Inconsistency("holding", f"{fact.position} is opened while another is open")
    elif known is None or known.id != fact.position or not (is_open or _is_of_closed(fact)):
        raise Inconsistency("holding", f"{fact.position} is not open")


def _is_of_closed(fact: Any) -> bool:
    """Whether a position may be closed by then: a split of none of its units, see `split.apply`."""
    return isinstance(fact, PositionSplit) and not fact.quantity_before and not fact.amount
