"""The decisions about rollovers: see `engine.domain.rollover`, and `decisions` for their form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.commands import servicing
from engine.commands.command import Decision, DecisionContext, changes
from engine.commands.decisions import Firm, fee_of, price_of
from engine.domain import halt, rollover
from engine.domain import instrument as instruments
from engine.domain.account import Account
from engine.domain.halt import Halt
from engine.domain.instrument import Instrument
from engine.domain.order import Order
from engine.domain.rollover import Offer
from engine.kernel.refusals import refused


def choose(
    context: DecisionContext, *, tenant: str, account: str, position: str, automatic_rollover: bool
) -> Decision:
    """Sets whether a position rolls over. Raises Refused `not_found`, and as `rollover.choose` does."""
    owner: Account | None = yield account
    known = owner.holdings.positions.values() if owner and owner.tenant == tenant else ()
    held = next((one for one in known if one.id == position), None)
    if held is None:
        raise refused("not_found", "No such position.", path="position")
    security: Instrument = yield held.instrument
    chosen = rollover.choose(
        held,
        security.terms,
        wanted=automatic_rollover,
        business_time_us=context.business_time_us,
        at_us=context.at_us,
    )
    return changes({account: chosen})


def offer_of(firm: Firm, bill: Instrument, business_time_us: int) -> Offer:
    """A bill with its latest price and the trade date of an order of now."""
    trade_date = instruments.trades_on(bill.terms, business_time_us)
    return Offer(bill, price_of(firm, bill), trade_date)


def next_bill(
    firm: Firm, old: Instrument, bills: Iterable[Instrument | None], business_time_us: int
) -> Offer | str | None:
    """The bill into which a maturing one rolls over now, or why there is none (see `on_the_run`).

    None before that is decided: a bill may yet be listed or priced, until the market closes. `bills` may
    be its next ones.
    """
    family, day = rollover.family_of(old.terms), rollover.rolls_on(old.terms)
    assert day is not None
    offers = []
    for bill in bills:
        if bill and bill.id != old.id and family and rollover.family_of(bill.terms) == family:
            offer = offer_of(firm, bill, business_time_us)
            offers.append(offer._replace(trade_date=max(day, offer.trade_date)))
    found, decided_us = rollover.on_the_run(offers), rollover.decided_at_us(old.terms)
    is_open = family and decided_us is not None and business_time_us < decided_us
    return None if is_open and isinstance(found, str) else found


def roll_over(
    context: DecisionContext,
    *,
    firm: Firm,
    account: str,
    instrument: str,
    order: str,
    bills: Sequence[str],
) -> Decision:
    """Reinvests an account's position in a maturing `instrument` under the new id `order`, or records
    why not. Nothing while trading is halted, or before that is decided (see `next_bill`).

    `bills` may be its next ones.
    """
    owner: Account = yield account
    old: Instrument = yield instrument
    if not rollover.is_due(owner.holdings.positions.get(instrument), old.terms, context.business_date):
        return []
    engine: Halt | None = yield halt.ENGINE
    if halt.is_halted(engine, (yield halt.stream_of(owner.tenant))):
        return []
    known: list[Instrument | None] = []
    for bill in bills:
        known += [(yield bill)]
    found = next_bill(firm, old, known, context.business_time_us)
    if found is None:
        return []
    target = old if isinstance(found, str) else found.bill
    decided = rollover.place(
        owner,
        old,
        found,
        fee=fee_of(firm, owner.tenant, target),
        order_id=order,
        business_date=context.business_date,
        at_us=context.at_us,
        minimum_value=firm.minimum_order_value.get(target.terms.trading_currency),
    )
    return changes({account: decided.account, order: decided.subject})


def cancel_sell(context: DecisionContext, *, order: str) -> Decision:
    """Ends a sell of a maturing position that no venue has."""
    known: Order | None = yield order
    if known is None or known.terms.side != "sell":
        return []
    return (yield from servicing.cancel_waiting(context, order=order, reason="matured"))
