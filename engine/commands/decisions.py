"""The decisions of the engine: for each command the streams it reads and the rules it applies.

Each function is a `Decision` once all arguments but its context are given:
`Command(partial(place_order, firm=firm, ...), ...)`. It yields ids of streams, is sent their states, and
returns the facts to append, or raises Refused. Another tenant's data does not exist for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

from engine.commands import scripts
from engine.commands.command import Computed, Decision, DecisionContext, Past, changes
from engine.commands.tally import Tally
from engine.domain import account as accounts
from engine.domain import (
    action_steps,
    announcing,
    clock,
    cost,
    fees,
    halt,
    idempotency,
    kind,
    order_quote,
    paying,
    rollover,
    trading,
    trading_hours,
)
from engine.domain import instrument as instruments
from engine.domain import order as orders
from engine.domain import report as reports
from engine.domain import webhook as webhooks
from engine.domain.account import Account
from engine.domain.decided import Decided
from engine.domain.fees import FeeRule, Fees
from engine.domain.halt import Halt
from engine.domain.instrument import Instrument, Terms
from engine.domain.kind import SIMULATED
from engine.domain.order import ExpiryRequested, Order, Placed
from engine.domain.order_quote import OrderQuote
from engine.domain.order_request import OrderRequest
from engine.domain.payment import Payment, PaymentKind
from engine.domain.pricing import Price
from engine.domain.report import ParkedReport, Report
from engine.domain.streams import fold_of
from engine.domain.trading_limits import Limits
from engine.domain.webhook import Destination, Webhook
from engine.kernel import ids
from engine.kernel.errors import Refused
from engine.kernel.fact import Fact
from engine.kernel.ids import IdSource
from engine.kernel.refusals import invalid, refused


class Prices(Protocol):
    """The latest price of each symbol, in memory."""

    def latest(self, symbol: str) -> Price | None:
        """The latest price; None for a symbol that never had one."""
        ...


class Firm(NamedTuple):
    """The inputs of decisions beside streams. A price older than `price_max_age_us` makes an order wait.

    `limits` of trading, and the `tally` of what tenants have ordered today; None: there are none.
    `minimum_order_value` by currency. `venue_price_band`: the part of an order's price by which that of
    its trades may differ; None: any. `quotes`: the rules of quotes of orders.
    """

    ids: IdSource
    prices: Prices
    fees: Fees
    price_max_age_us: int
    limits: Limits | None = None
    tally: Tally | None = None
    minimum_order_value: Mapping[str, Decimal] = {}
    venue_price_band: Decimal | None = None
    quotes: order_quote.Rules = order_quote.Rules()


# --- orders ---------------------------------------------------------------------------------------


class Placing(NamedTuple):
    """An order that would be placed, and its instrument."""

    decided: Decided
    placed: Placed
    security: Instrument


def placing(
    context: DecisionContext,
    *,
    firm: Firm,
    tenant: str,
    account: str,
    order: str,
    instrument: str,
    order_request: OrderRequest,
    may_wait: bool = True,
) -> Generator[str, Any, Placing]:
    """The facts of an order under the new id `order`. While its market is closed it waits, unless not
    `may_wait`. Raises Refused `trading_halted`, or as `trading.place` does.
    """
    engine: Halt | None = yield halt.ENGINE
    halt.check(engine, (yield halt.stream_of(tenant)))
    owner = _of_tenant((yield account), tenant)
    security: Instrument | None = (yield instrument) if ids.is_id(instrument, "ins") else None
    terms = security.terms if security else None
    opens_us = instruments.opening(terms, context.business_time_us) if terms else None
    session_ends_us = None
    if terms and order_request.order_type == "limit":
        session_ends_us = trading_hours.session_end(terms.trading_hours, context.business_time_us)
    decided = trading.place(
        order_request,
        owner,
        None,
        security,
        price=price_of(firm, security),
        fee=fee_of(firm, tenant, security),
        order_id=order,
        business_date=context.business_date,
        trade_date=_trades_on(context, terms) if terms else context.business_date,
        at_us=context.at_us,
        closed_until_us=None if may_wait else opens_us,
        limits=firm.limits,
        minimum_value=firm.minimum_order_value.get(terms.trading_currency) if terms else None,
        session_ends_us=session_ends_us,
    )
    assert security is not None
    (placed,) = decided.subject
    assert isinstance(placed, Placed)
    return Placing(decided, placed, security)


def place_order(
    context: DecisionContext,
    *,
    firm: Firm,
    tenant: str,
    account: str,
    order: str,
    instrument: str,
    order_request: OrderRequest,
    quote: OrderQuote | None = None,
    may_wait: bool = True,
) -> Decision:
    """Places an order, and uses the `quote` that its request names: None if the account has none of that
    id.

    Raises Refused as `placing`, `order_quote.check`, `order_quote.consume` and `Tally.hold` do. The
    caller drops it from the tally if it is not recorded.
    """
    named = order_request.quote
    if named is not None:
        owner = _of_tenant((yield account), tenant)
        consumed = (yield named) if ids.is_id(named, "quo") else None
        if owner is not None:
            quote = order_quote.check(quote, consumed, account, at_us=context.at_us)
    decided, placed, security = yield from placing(
        context,
        firm=firm,
        tenant=tenant,
        account=account,
        order=order,
        instrument=instrument,
        order_request=order_request,
        may_wait=may_wait,
    )
    used: list[Fact] = []
    if named is not None and quote is not None:
        listing = order_quote.listing_of(security)
        used = [order_quote.consume(quote, placed, listing, firm.quotes.tolerance)]
    if firm.tally is not None:
        firm.tally.hold(placed, tenant, context.business_date)
    return changes({account: decided.account, order: decided.subject, named or "": used})


def quote_order(
    context: DecisionContext, *, firm: Firm, tenant: str, quote: str, **words: Any
) -> Decision:
    """Computes a quote under the new id `quote`, as `placing` would place the order (`words`).

    Raises Refused as that does, and as `Tally.check`.
    """
    _, placed, security = yield from placing(context, firm=firm, tenant=tenant, order=quote, **words)
    if firm.tally is not None:
        firm.tally.check(placed, tenant, context.business_date)
    listing = order_quote.listing_of(security)
    return Computed(OrderQuote(placed, listing, context.at_us + firm.quotes.lifetime_us))


def request_cancel(
    context: DecisionContext, *, tenant: str, account: str, order: str, request: bytes | None = None
) -> Decision:
    """Cancels an order for its client. Raises Refused `not_found`, `order_cancel_forbidden`."""
    owner = _of_tenant((yield account), tenant)
    known: Order | None = yield order
    if owner is None or known is None or known.terms.account != account:
        known = None
    decided = trading.request_cancel(known, at_us=context.at_us, request=request)
    return changes({account: decided.account, order: decided.subject})


def start_execution(
    context: DecisionContext,
    *,
    firm: Firm,
    order: str,
    venue: str | Callable[[Instrument, Order], str | None],
) -> Decision:
    """Sends a waiting order to a venue, under its own id. Without a fresh price, and while its market is
    closed or execution is halted, it waits on. A limit order needs a price at the simulated venue only.

    `venue`: its name, or the rule for an instrument and order; the rule gives None if the venue cannot
    take the order. The order is cancelled instead when nothing can come of it any more. Raises Refused
    `not_found` for the simulated venue outside a sandbox, and as the rule does.
    """
    if isinstance(venue, str):
        yield from _check_venue(venue)
    known: Order | None = yield order
    if known is None or not orders.can(known, orders.ExecutionStarted):
        return []
    owner: Account = yield known.terms.account
    engine: Halt | None = yield halt.ENGINE
    if halt.stops_execution(engine, (yield halt.stream_of(owner.tenant))):
        return []
    security: Instrument = yield known.terms.instrument
    name = venue if isinstance(venue, str) else venue(security, known)
    if name is None:
        decided = trading.cancel(known, "venue_rejected", at_us=context.at_us)
        return changes({known.terms.account: decided.account, order: decided.subject})
    if name != venue:
        yield from _check_venue(name)
    opened = (yield from scripts.open_script(known)) if name == SIMULATED else None
    price = price_of(firm, security)
    if price is not None and context.at_us - price.at_us > firm.price_max_age_us:
        price = None
    decided = trading.start_execution(
        owner,
        known,
        security,
        price,
        venue=name,
        venue_order=order,
        trade_date=_trades_on(context, security.terms),
        needs_price=name == SIMULATED,
        is_expired=orders.is_expired(known, context.business_time_us),
        is_open=instruments.opening(security.terms, context.business_time_us) is None,
        at_us=context.at_us,
        minimum_value=firm.minimum_order_value.get(known.terms.currency),
        script=scripts.play_of(context, opened),
    )
    taken = scripts.taken(context, opened, order, decided.subject)
    return changes({known.terms.account: decided.account, order: decided.subject, **taken})


def expire_order(context: DecisionContext, *, order: str) -> Decision:
    """Ends an order whose time is over, or records that its venue is asked to cancel it."""
    known: Order | None = yield order
    if known is None or not orders.is_expired(known, context.business_time_us):
        return []
    owner: Account = yield known.terms.account
    asked_before = 0
    if orders.can(known, ExpiryRequested):
        asked: Sequence[Fact] = yield Past(order, ExpiryRequested)
        asked_before = len(asked)
    decided = trading.expire(known, asked_before, at_us=context.at_us)
    return changes({owner.id: decided.account, order: decided.subject})


def take_report(
    context: DecisionContext, *, firm: Firm, report: Report, may_park: bool = True
) -> Decision:
    """Books a venue's report once, or parks it. Only a report of the simulated venue is ever refused,
    outside a sandbox (Refused `not_found`).

    Unless it `may_park`, Refused `invalid_request` is raised instead of parking: a refusal is decided on
    the current journal, while parking touches no stream of the order and so would miss a version
    conflict. Ask again with `may_park` then.

    The command's id must be `report_command_id`: a report that was booked or parked before is found by
    it. Only a report that is to be parked reads its own stream too.
    """
    yield from _check_venue(report.venue)
    known, owner, security = yield from _about(report)
    past = yield from _past_of(report, owner)
    decided = trading.take(
        report,
        owner,
        known,
        security,
        None,
        trade_id=firm.ids.new("trd"),
        position_id=firm.ids.new("pos"),
        trade_date=_executed_on(context, known, security, report),
        at_us=context.at_us,
        price_band=firm.venue_price_band,
        past=past,
    )
    if decided.parked and not may_park:
        raise Refused("invalid_request", "it contradicts its order")
    if decided.parked:
        parked_id = parked_report_id(report)
        parked: ParkedReport | None = yield parked_id
        return [] if parked else [(parked_id, decided.parked)]
    account = owner.id if owner else ""
    return changes({account: decided.account, report.order: decided.subject})


def settle_trade(context: DecisionContext, *, order: str, trade: str) -> Decision:
    """Settles a trade due by the business date. Raises Refused as `trading.settle_trade` does."""
    known: Order | None = yield order
    if known is None:
        raise refused("not_found", "No such order.")
    owner: Account = yield known.terms.account
    decided = trading.settle_trade(owner, known, trade, context.business_date, at_us=context.at_us)
    return changes({owner.id: decided.account, order: decided.subject})


def resolve_report(context: DecisionContext, *, parked: str, action: str, by: str) -> Decision:
    """Resolves a parked report as a client decided. Raises Refused as `report.resolve` does, and
    `report_not_bookable`."""
    known: ParkedReport | None = yield parked
    decided = reports.resolve(known, action, by, at_us=context.at_us)
    if decided and known is not None and action == "book":
        order, owner, security = yield from _about(known.report)
        trade_date = _executed_on(context, order, security, known.report, known.created_at_us)
        trading.check_bookable(known, owner, order, security, trade_date)
    return changes({parked: decided})


def confirm_report(
    context: DecisionContext, *, firm: Firm, parked: str, by: str, may_be_asker: bool = False
) -> Decision:
    """Books a parked report that another client asks to book. Raises Refused as
    `trading.apply_report` does."""
    known: ParkedReport = _found((yield parked), "parked report")
    order, owner, security = yield from _about(known.report)
    past = yield from _past_of(known.report, owner)
    decided = trading.apply_report(
        known,
        parked,
        owner,
        order,
        security,
        by=by,
        may_be_asker=may_be_asker,
        trade_id=firm.ids.new("trd"),
        position_id=firm.ids.new("pos"),
        trade_date=_executed_on(context, order, security, known.report, known.created_at_us),
        at_us=context.at_us,
        past=past,
    )
    account, about = (owner.id, order.terms.order) if owner and order else ("", "")
    return changes({account: decided.account, about: decided.subject, parked: decided.parked})


def _check_venue(venue: str) -> Generator[str, Any, None]:
    """Raises Refused `not_found` for the simulated venue outside a sandbox."""
    if venue == SIMULATED:
        kind.check_sandbox((yield kind.STREAM), "the simulated venue")


def _about(
    report: Report,
) -> Generator[str, Any, tuple[Order | None, Account | None, Instrument | None]]:
    """The order, account and instrument of a report; None for each that does not exist."""
    order: Order | None = (yield report.order) if ids.is_id(report.order, "ord") else None
    owner: Account | None = (yield order.terms.account) if order else None
    security: Instrument | None = (yield order.terms.instrument) if order else None
    return order, owner, security


def _past_of(report: Report, owner: Account | None) -> Generator[str, Any, Sequence[Fact]]:
    """The account's facts so far, for a bust or a correction."""
    if owner is None or report.kind not in reports.BUSTS:
        return ()
    past: Sequence[Fact] = yield Past(owner.id, *cost.KINDS)
    return past


def fee_of(firm: Firm, tenant: str, security: Instrument | None) -> FeeRule:
    """The fee rule of a new order."""
    if security is None:
        return FeeRule()
    kind, currency = security.terms.instrument_type, security.terms.trading_currency
    return fees.rule_for(firm.fees, tenant, security.id, kind, currency)


def price_of(firm: Firm, security: Instrument | None) -> Price | None:
    """The latest price of an instrument, as its terms quote it; None without one."""
    if security is None:
        return None
    return instruments.price_of(security, firm.prices.latest(security.terms.symbol))


def _executed_on(
    context: DecisionContext,
    order: Order | None,
    security: Instrument | None,
    report: Report,
    received_us: int | None = None,
) -> date:
    """The trade date of a report. The venue's time is bounded by the order's placing and now.

    `received_us`: when the report came, None for now.
    """
    if order is None or security is None:
        return context.business_date
    received_us = context.at_us if received_us is None else received_us
    executed_at_us = received_us if report.executed_at_us is None else report.executed_at_us
    executed_at_us = min(max(executed_at_us, order.terms.at_us), context.at_us)
    business_us = clock.business_time_us(context.clock, executed_at_us)
    return instruments.local_date(security.terms, business_us)


def _trades_on(context: DecisionContext, terms: Terms) -> date:
    """The trade date of an order that is sent as soon as its market is open."""
    return instruments.trades_on(terms, context.business_time_us)


def parked_report_id(report: Report) -> str:
    """The stream of a report if it is parked: one for each (venue, execution reference)."""
    digest = idempotency.command_id([report.venue, report.execution_reference])
    return f"rep_{ids.encode(int.from_bytes(digest, 'big'))}"


def report_command_id(report: Report) -> bytes:
    """The command id of a report: one for each (venue, execution reference)."""
    return idempotency.command_id(["report", report.venue, report.execution_reference])


# --- accounts and payments ------------------------------------------------------------------------


def open_account(
    context: DecisionContext,
    *,
    tenant: str,
    account: str,
    base_currency: str,
    funding_currencies: Sequence[str],
) -> Decision:
    """Opens an account under the new id `account`. Raises Refused as `account.open_account` does."""
    yield from ()
    opened = accounts.open_account(
        None, account, tenant, base_currency, funding_currencies, at_us=context.at_us
    )
    return changes({account: opened})


STATUS_CHANGES: Final = {
    "active": accounts.activate,
    "suspended": accounts.suspend,
    "closing": accounts.close,
    "closed": accounts.close,
}
"""Requested status -> rule. An account with holdings is `closing` first."""


def change_account(
    context: DecisionContext,
    *,
    tenant: str,
    account: str,
    status: str | None = None,
    funding_currencies: Sequence[str] | None = None,
    flags: Mapping[str, bool],
) -> Decision:
    """Changes fields of an account. Raises Refused `not_found`, and as `account.change` does."""
    known = _found(_of_tenant((yield account), tenant), "account")
    facts: list[Fact] = []
    if flags or funding_currencies is not None:
        facts = accounts.change(
            known, at_us=context.at_us, funding_currencies=funding_currencies, **flags
        )
    if status is not None:
        if status not in STATUS_CHANGES:
            raise invalid("status", "invalid_value", f"must be one of {', '.join(STATUS_CHANGES)}")
        for fact in facts:
            known = fold_of(account).evolve(known, fact)
        facts = facts + STATUS_CHANGES[status](known, at_us=context.at_us)
    return changes({account: facts})


def create_payment(
    context: DecisionContext,
    *,
    tenant: str,
    account: str,
    payment: str,
    kind: PaymentKind,
    currency: str,
    amount: Decimal,
    request: bytes | None = None,
) -> Decision:
    """Opens a payment under the new id `payment`. Raises Refused as `paying.create` does."""
    owner = _of_tenant((yield account), tenant)
    decided = paying.create(
        owner,
        None,
        kind,
        payment_id=payment,
        currency=currency,
        amount=amount,
        at_us=context.at_us,
        request=request,
    )
    return changes({account: decided.account, payment: decided.subject})


def end_payment(
    context: DecisionContext, *, tenant: str, account: str, payment: str, is_completed: bool
) -> Decision:
    """Completes or fails a payment. Raises Refused as `paying.complete` and `paying.fail` do."""
    owner = _found(_of_tenant((yield account), tenant), "account")
    known: Payment | None = yield payment
    if known is not None and known.account != account:
        known = None
    if is_completed:
        decided = paying.complete(owner, known, at_us=context.at_us)
    else:
        decided = paying.fail(known, at_us=context.at_us)
    return changes({account: decided.account, payment: decided.subject})


# --- of the operator -------------------------------------------------------------------------------


def put_instrument(
    context: DecisionContext, *, instrument: str, terms: Terms, why_fixed: str = ""
) -> Decision:
    """Lists an instrument, or changes it; from today on the engine pays by its terms.

    Raises Refused as `instrument.put`, `rollover.check_change` and `announcing.check_terms` do.
    """
    known: Instrument | None = yield instrument
    rollover.check_change(known, terms, context.business_date)
    facts = instruments.put(known, instrument, terms, why_fixed=why_fixed, at_us=context.at_us)
    announcing.check_terms(known, terms, context.business_date)
    after = known
    for fact in facts:
        after = fold_of(instrument).evolve(after, fact)
    facts += action_steps.follow_schedule(
        after, context.business_date, former=known, at_us=context.at_us
    )
    return changes({instrument: facts})


def advance_clock(context: DecisionContext, *, by_us: int) -> Decision:
    """Moves business time forward. Raises `not_found` outside a sandbox, and as `clock.advance`."""
    kind.check_sandbox((yield kind.STREAM), "a clock that can be moved")
    known: clock.Clock | None = yield clock.STREAM
    return changes({clock.STREAM: clock.advance(known, by_us, at_us=context.at_us)})


def halt_trading(
    context: DecisionContext, *, tenant: str | None, reason: str, stops_execution: bool = False
) -> Decision:
    """Refuses new orders of a tenant, or of all (None), and sends none if it `stops_execution`.

    Raises Refused as `halt.halt` does.
    """
    stream = halt.stream_of(tenant)
    known: Halt | None = yield stream
    halted = halt.halt(known, reason, stops_execution=stops_execution, at_us=context.at_us)
    return changes({stream: halted})


def resume_trading(context: DecisionContext, *, tenant: str | None, reason: str) -> Decision:
    """Ends a halt of a tenant, or of all (None). Raises Refused as `halt.resume` does."""
    stream = halt.stream_of(tenant)
    known: Halt | None = yield stream
    return changes({stream: halt.resume(known, reason, at_us=context.at_us)})


# --- webhooks -------------------------------------------------------------------------------------


def create_webhook(
    context: DecisionContext,
    *,
    tenant: str,
    webhook: str,
    where: Destination,
    events: Sequence[str] | None,
) -> Decision:
    """Creates a webhook under the new id `webhook`."""
    known: Webhook | None = yield webhook
    created = webhooks.create(known, webhook, tenant, where, events, at_us=context.at_us)
    return changes({webhook: created})


def change_webhook(
    context: DecisionContext,
    *,
    tenant: str,
    webhook: str,
    where: Destination,
    events: Sequence[str] | None,
    is_active: bool,
) -> Decision:
    """Changes destination, events or activity of a webhook. Raises Refused as `webhook.change` does."""
    known: Webhook | None = yield webhook
    changed = webhooks.change(known, tenant, where, events, is_active=is_active, at_us=context.at_us)
    return changes({webhook: changed})


def rotate_webhook_secret(
    context: DecisionContext, *, tenant: str, webhook: str, former_until_us: int
) -> Decision:
    """Records that a webhook has a new secret. Raises Refused as `webhook.rotate_secret` does."""
    known: Webhook | None = yield webhook
    rotated = webhooks.rotate_secret(known, tenant, former_until_us=former_until_us, at_us=context.at_us)
    return changes({webhook: rotated})


def disable_webhook(context: DecisionContext, *, webhook: str, reason: str) -> Decision:
    """Disables a webhook on the engine's own account, until its client activates it again."""
    known: Webhook | None = yield webhook
    return changes({webhook: webhooks.disable(known, reason, at_us=context.at_us)})


def delete_webhook(context: DecisionContext, *, tenant: str, webhook: str) -> Decision:
    """Deletes a webhook. Raises Refused as `webhook.delete` does."""
    known: Webhook | None = yield webhook
    return changes({webhook: webhooks.delete(known, tenant, at_us=context.at_us)})


# --- helpers --------------------------------------------------------------------------------------


def _of_tenant(account: Account | None, tenant: str) -> Account | None:
    return account if account is not None and account.tenant == tenant else None


def _found(thing: Any, what: str) -> Any:
    if thing is None:
        raise refused("not_found", f"No such {what}.", path=what)
    return thing
