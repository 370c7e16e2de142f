"""Every call there is, described once. Reads are nouns, writes are verbs.

Amounts are `Decimal`, `int` or `str`; never float. Times need a time zone. `key` is the idempotency key
of a write that has one: a random one unless given. Lists are newest first and come page by page.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

from order_engine_client.errors import StillWaiting
from order_engine_client.history import AccountFact, ExplainedAccount, ExplainedOrder, OrderFact
from order_engine_client.plans import (
    Call,
    Listing,
    ListMethod,
    Method,
    Pause,
    Query,
    Steps,
    StreamMethod,
)
from order_engine_client.resources import (
    TERMINAL,
    Account,
    Act,
    Balance,
    Clock,
    Delivery,
    Deposit,
    Event,
    Fault,
    Instrument,
    NewWebhook,
    Order,
    ParkedReport,
    Position,
    Price,
    Projection,
    Rebuild,
    Refusal,
    Replay,
    Retry,
    Transaction,
    Webhook,
    Withdrawal,
)
from order_engine_client.session import Session
from order_engine_client.streams import Following
from order_engine_client.values import SAME, Amount, Same, given, key_of, path, query, span

WAIT_S: Final = 60.0
"""How long an order is waited for, unless told."""
LOOK_S: Final = (0.05, 1.0)
"""Pause before an order is looked at again: the first, and the longest that growing comes to."""


def _events(name: Sequence[str], resource: str | None, created_from: datetime | None) -> dict[str, Any]:
    """Which events are asked for."""
    names = (name,) if isinstance(name, str) else name
    return {"name": names, "resource[id]": resource, "created[gte]": created_from}


class NewPrice(NamedTuple):
    """A price to record; without a `timestamp` it is of now.

    Without `accrued_interest` that of the symbol's last price goes on.
    """

    symbol: str
    bid: Amount
    ask: Amount
    timestamp: datetime | None = None
    quality: str = "realtime"
    accrued_interest: Amount | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A plan: look at an order until it is in one of these statuses, or in one that never changes."""

    look: Call[Order]
    until: Collection[str]
    within_s: float

    def steps(self, session: Session) -> Steps[Order]:
        """See Plan."""
        deadline_s = session.now_s() + self.within_s
        pause_s, most_s = LOOK_S
        while True:
            order = yield from self.look.steps(session)
            if order.status in self.until or order.is_terminal:
                return order
            left_s = deadline_s - session.now_s()
            if left_s <= 0:
                raise StillWaiting(f"{order.id} is {order.status}", order=order)
            yield Pause(min(pause_s, left_s))
            pause_s = min(most_s, pause_s * 1.5)


def _accounts(account: str, *more: str) -> str:
    return path("accounts", account, *more)


def _then(version: int | None, asof: datetime | None) -> Query:
    """The query for a state of then. Raises ValueError when neither is given."""
    if version is None and asof is None:
        raise ValueError("a version or a time")
    return query({"version": version, "asof": asof})


class Endpoints:
    """The calls. Over `Client` they give results, over `AsyncClient` what is awaited for them."""

    # --- orders ----------------------------------------------------------------------------------

    @Method
    def buy(
        self,
        account: str,
        instrument: str,
        cash_amount: Amount,
        *,
        automatic_rollover: bool = False,
        client_reference: str | None = None,
        key: str | None = None,
    ) -> Call[Order]:
        """Places a buy for `cash_amount`, fees included."""
        body = given(
            instrument=instrument,
            order_type="market",
            side="buy",
            cash_amount=cash_amount,
            automatic_rollover=automatic_rollover,
            client_reference=client_reference,
        )
        return Call("POST", _accounts(account, "orders"), Order, body=body, key=key_of(key))

    @Method
    def sell(
        self,
        account: str,
        instrument: str,
        quantity: Amount,
        *,
        client_reference: str | None = None,
        key: str | None = None,
    ) -> Call[Order]:
        """Places a sell of `quantity` units."""
        body = given(
            instrument=instrument,
            order_type="market",
            side="sell",
            quantity=quantity,
            client_reference=client_reference,
        )
        return Call("POST", _accounts(account, "orders"), Order, body=body, key=key_of(key))

    @Method
    def order(self, account: str, order: str) -> Call[Order]:
        """One order."""
        return Call("GET", _accounts(account, "orders", order), Order)

    @Method
    def evidence(self, account: str, order: str, *, size: int | None = None) -> Call[dict[str, Any]]:
        """The proof that nobody edited an order: a bundle to keep and to verify, as it came.

        Under the newest seal, or under that of `size` facts. Facts are sealed within ten seconds: until
        then it is asked for again, or raises Unavailable.
        """
        where = _accounts(account, "orders", order, "evidence")
        return Call("GET", where, dict[str, Any], query({"size": size}))

    @Method
    def wait_for_order(
        self,
        account: str,
        order: str,
        *,
        until: Collection[str] = TERMINAL,
        within_s: float = WAIT_S,
    ) -> Wait:
        """The order once its status is one of `until`, or will never change. Raises StillWaiting."""
        return Wait(Call("GET", _accounts(account, "orders", order), Order), until, within_s)

    @Method
    def cancel_order(self, account: str, order: str, *, key: str | None = None) -> Call[Order]:
        """Asks to cancel an order; its status says what came of it."""
        where = _accounts(account, "orders", order, "cancel")
        return Call("POST", where, Order, key=key_of(key))

    @ListMethod
    def orders(
        self,
        account: str,
        *,
        status: Sequence[str] | str | None = None,
        side: str | None = None,
        instrument: str | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        client_reference: str | None = None,
        page_size: int | None = None,
    ) -> Listing[Order]:
        """Orders of an account."""
        words = {
            "status": status,
            "side": side,
            "instrument": instrument,
            "created_from": created_from,
            "created_to": created_to,
            "client_reference": client_reference,
            "limit": page_size,
        }
        return Listing(_accounts(account, "orders"), Order, query(words))

    @ListMethod
    def order_history(
        self, account: str, order: str, *, page_size: int | None = None
    ) -> Listing[OrderFact]:
        """Each fact of an order, and the order after it."""
        where = _accounts(account, "orders", order, "history")
        return Listing(where, OrderFact, query({"limit": page_size}))

    @Method
    def order_at(
        self,
        account: str,
        order: str,
        *,
        version: int | None = None,
        asof: datetime | None = None,
    ) -> Call[Order]:
        """The order as it was after its fact of a version, or by a time."""
        where = _accounts(account, "orders", order, "history")
        return Call("GET", where, Order, _then(version, asof))

    @Method
    def explain_order(
        self,
        account: str,
        order: str,
        *,
        version: int | None = None,
        asof: datetime | None = None,
    ) -> Call[ExplainedOrder]:
        """The order now or then and, for each of its fields, the fact that last set it."""
        where = _accounts(account, "orders", order, "history")
        words = {"explain": True, "version": version, "asof": asof}
        return Call("GET", where, ExplainedOrder, query(words))

    @ListMethod
    def pending_orders(self, account: str, *, page_size: int | None = None) -> Listing[Order]:
        """Orders that are in no terminal status."""
        return Listing(_accounts(account, "pending-orders"), Order, query({"limit": page_size}))

    # --- accounts --------------------------------------------------------------------------------

    @Method
    def open_account(
        self,
        name: str,
        base_currency: str,
        *,
        reference: str | None = None,
        funding_currencies: Sequence[str] = (),
    ) -> Call[Account]:
        """Opens an account. It has no idempotency key: after NoAnswer, look for the `reference`."""
        body = given(
            name=name,
            reference=reference,
            base_currency=base_currency,
            funding_currencies=list(funding_currencies),
        )
        return Call("POST", path("accounts"), Account, body=body)

    @ListMethod
    def accounts(self, *, page_size: int | None = None) -> Listing[Account]:
        """All accounts of the tenant."""
        return Listing(path("accounts"), Account, query({"limit": page_size}))

    @Method
    def account(self, id_or_reference: str) -> Call[Account]:
        """One account."""
        return Call("GET", _accounts(id_or_reference), Account)

    @Method
    def change_account(
        self,
        account: str,
        *,
        name: str | None = None,
        reference: str | Same | None = SAME,
        status: str | None = None,
        funding_currencies: Sequence[str] | None = None,
        can_deposit: bool | None = None,
        can_withdraw: bool | None = None,
        can_place_buy_order: bool | None = None,
        can_place_sell_order: bool | None = None,
    ) -> Call[Account]:
        """Changes what is given of an account; a `reference` of None takes it away."""
        body = given(
            name=name,
            status=status,
            funding_currencies=funding_currencies,
            can_deposit=can_deposit,
            can_withdraw=can_withdraw,
            can_place_buy_order=can_place_buy_order,
            can_place_sell_order=can_place_sell_order,
        )
        if not isinstance(reference, Same):
            body["reference"] = reference
        return Call("PATCH", _accounts(account), Account, body=body)

    @ListMethod
    def account_history(self, account: str, *, page_size: int | None = None) -> Listing[AccountFact]:
        """Each fact of an account, and the account and its cash after it."""
        return Listing(_accounts(account, "history"), AccountFact, query({"limit": page_size}))

    @Method
    def account_at(
        self, account: str, *, version: int | None = None, asof: datetime | None = None
    ) -> Call[Account]:
        """The account as it was after its fact of a version, or by a time."""
        return Call("GET", _accounts(account, "history"), Account, _then(version, asof))

    @Method
    def explain_account(
        self, account: str, *, version: int | None = None, asof: datetime | None = None
    ) -> Call[ExplainedAccount]:
        """The account now or then and, for each of its fields, the fact that last set it."""
        words = {"explain": True, "version": version, "asof": asof}
        return Call("GET", _accounts(account, "history"), ExplainedAccount, query(words))

    # --- what they hold --------------------------------------------------------------------------

    @Method
    def cash_balances(self, account: str, *, asof: datetime | None = None) -> Call[list[Balance]]:
        """Cash now or as of a time, a balance for each currency of the account."""
        where = _accounts(account, "cash-balances")
        return Call("GET", where, list[Balance], query({"asof": asof}))

    @ListMethod
    def positions(
        self, account: str, *, open_only: bool = False, page_size: int | None = None
    ) -> Listing[Position]:
        """Positions of an account."""
        words = {"open_only": open_only, "limit": page_size}
        return Listing(_accounts(account, "positions"), Position, query(words))

    @Method
    def position(self, account: str, position: str) -> Call[Position]:
        """One position."""
        return Call("GET", _accounts(account, "positions", position), Position)

    @ListMethod
    def transactions(
        self,
        account: str,
        *,
        transaction_types: Sequence[str] | str | None = None,
        page_size: int | None = None,
    ) -> Listing[Transaction]:
        """The ledger of an account."""
        words = {"transaction_types": transaction_types, "limit": page_size}
        return Listing(_accounts(account, "transactions"), Transaction, query(words))

    # --- payments --------------------------------------------------------------------------------

    @Method
    def create_deposit(
        self,
        account: str,
        amount: Amount,
        currency: str,
        *,
        payment_reference: str | None = None,
        key: str | None = None,
    ) -> Call[Deposit]:
        """Announces money that is to come."""
        body = given(amount=amount, currency=currency, payment_reference=payment_reference)
        return Call("POST", _accounts(account, "deposits"), Deposit, body=body, key=key_of(key))

    @ListMethod
    def deposits(
        self,
        account: str,
        *,
        status: Sequence[str] | str | None = None,
        page_size: int | None = None,
    ) -> Listing[Deposit]:
        """Deposits of an account."""
        words = {"status": status, "limit": page_size}
        return Listing(_accounts(account, "deposits"), Deposit, query(words))

    @Method
    def deposit(self, account: str, deposit: str) -> Call[Deposit]:
        """One deposit."""
        return Call("GET", _accounts(account, "deposits", deposit), Deposit)

    @Method
    def complete_deposit(self, account: str, deposit: str) -> Call[Deposit]:
        """The money has come."""
        return Call("POST", _accounts(account, "deposits", deposit, "complete"), Deposit)

    @Method
    def fail_deposit(self, account: str, deposit: str) -> Call[Deposit]:
        """The money will not come."""
        return Call("POST", _accounts(account, "deposits", deposit, "fail"), Deposit)

    @Method
    def create_withdrawal(
        self, account: str, amount: Amount, currency: str, *, key: str | None = None
    ) -> Call[Withdrawal]:
        """Asks for money to be paid out; it is reserved."""
        body = given(amount=amount, currency=currency)
        return Call("POST", _accounts(account, "withdrawals"), Withdrawal, body=body, key=key_of(key))

    @ListMethod
    def withdrawals(
        self,
        account: str,
        *,
        status: Sequence[str] | str | None = None,
        page_size: int | None = None,
    ) -> Listing[Withdrawal]:
        """Withdrawals of an account."""
        words = {"status": status, "limit": page_size}
        return Listing(_accounts(account, "withdrawals"), Withdrawal, query(words))

    @Method
    def withdrawal(self, account: str, withdrawal: str) -> Call[Withdrawal]:
        """One withdrawal."""
        return Call("GET", _accounts(account, "withdrawals", withdrawal), Withdrawal)

    @Method
    def complete_withdrawal(self, account: str, withdrawal: str) -> Call[Withdrawal]:
        """The money has left."""
        return Call("POST", _accounts(account, "withdrawals", withdrawal, "complete"), Withdrawal)

    @Method
    def fail_withdrawal(self, account: str, withdrawal: str) -> Call[Withdrawal]:
        """The money stays."""
        return Call("POST", _accounts(account, "withdrawals", withdrawal, "fail"), Withdrawal)

    # --- reference data --------------------------------------------------------------------------

    @ListMethod
    def instruments(
        self,
        *,
        instrument_type: Sequence[str] | str | None = None,
        trading_status: Sequence[str] | str | None = None,
        page_size: int | None = None,
    ) -> Listing[Instrument]:
        """All instruments."""
        words = {
            "instrument_type": instrument_type,
            "trading_status": trading_status,
            "limit": page_size,
        }
        return Listing(path("instruments"), Instrument, query(words))

    @Method
    def instrument(self, id_or_symbol: str) -> Call[Instrument]:
        """One instrument."""
        return Call("GET", path("instruments", id_or_symbol), Instrument)

    @Method
    def put_instrument(
        self,
        instrument: str,
        *,
        name: str,
        symbol: str,
        instrument_type: str,
        trading_currency: str,
        trading_status: str | None = None,
        trading_increment: Amount | None = None,
        decimal_precision: int | None = None,
        isin: str | None = None,
        issuer: str | None = None,
        issuer_country: str | None = None,
        ticker: str | None = None,
        price_type: str | None = None,
        minimum_trading_quantity: Amount | None = None,
        minimum_initial_cash_investment: Amount | None = None,
        required_cash_increment: Amount | None = None,
        enforce_trading_rules: bool | None = None,
        settlement_days: int | None = None,
        maturity_date: date | None = None,
        supports_automatic_rollover: bool | None = None,
        coupon: Amount | None = None,
        par_value: Amount | None = None,
        day_count_convention: str | None = None,
    ) -> Call[Instrument]:
        """Lists an instrument, or changes it: what is not given has the engine's default."""
        words = {name: value for name, value in locals().items() if name not in {"self", "instrument"}}
        return Call("PUT", path("instruments", instrument), Instrument, body=given(**words))

    @Method
    def prices(self, *symbols: str, asof: datetime | None = None) -> Call[list[Price]]:
        """The latest price of each symbol that has one, or that of a time."""
        words: Mapping[str, Any] = {"symbol": symbols, "asof": asof}
        return Call("GET", path("prices"), list[Price], query(words))

    @Method
    def put_prices(self, *prices: NewPrice) -> Call[list[Price]]:
        """Records prices, all or none. One that moves too far `is_waiting` in the answer."""
        body = [given(**price._asdict()) for price in prices]
        return Call("POST", path("prices"), list[Price], body=body)

    @Method
    def waiting_prices(self, *symbols: str) -> Call[list[Price]]:
        """Prices that moved too far, of these symbols or of all."""
        words: Mapping[str, Any] = {"symbol": symbols, "waiting": True}
        return Call("GET", path("prices"), list[Price], query(words))

    @Method
    def confirm_price(
        self, symbol: str, bid: Amount | None = None, ask: Amount | None = None
    ) -> Call[Price]:
        """Lets the price that waits count, if it is this one. For another client than set it."""
        return Call("POST", path("prices", symbol, "confirm"), Price, body=given(bid=bid, ask=ask))

    # --- events ----------------------------------------------------------------------------------

    @ListMethod
    def events(
        self,
        *,
        name: Sequence[str] = (),
        resource: str | None = None,
        created_from: datetime | None = None,
        page_size: int | None = None,
    ) -> Listing[Event]:
        """What happened to the tenant's resources, or to one of them."""
        words = _events(name, resource, created_from)
        return Listing(path("events"), Event, query({**words, "limit": page_size}))

    @StreamMethod
    def follow_events(
        self,
        *,
        after: int | None = None,
        name: Sequence[str] = (),
        resource: str | None = None,
        created_from: datetime | None = None,
        waits: bool = True,
    ) -> Following:
        """Events as they come, each once and in order, for ever; those behind the offset `after` first.

        A stream that breaks goes on where it was. To go on in another process, note the `offset` of the
        last event that you have dealt with. With `waits=False` it ends with the last event there is.
        """
        words = _events(name, resource, created_from)
        words |= {"after": after, "follow": None if waits else False}
        return Following(Call("GET", path("events", "stream"), object, query(words)))

    @Method
    def event(self, event: str) -> Call[Event]:
        """One event."""
        return Call("GET", path("events", event), Event)

    # --- webhooks --------------------------------------------------------------------------------

    @Method
    def create_webhook(
        self, url: str, *, description: str | None = None, events: Sequence[str] | None = None
    ) -> Call[NewWebhook]:
        """Has events sent to a URL: all, or those of these names. Its `secret` is shown this once."""
        body = given(url=url, description=description, events=events)
        return Call("POST", path("webhooks"), NewWebhook, body=body)

    @ListMethod
    def webhooks(self, *, page_size: int | None = None) -> Listing[Webhook]:
        """The tenant's webhooks."""
        return Listing(path("webhooks"), Webhook, query({"limit": page_size}))

    @Method
    def webhook(self, webhook: str) -> Call[Webhook]:
        """One webhook."""
        return Call("GET", path("webhooks", webhook), Webhook)

    @Method
    def put_webhook(
        self,
        webhook: str,
        url: str,
        *,
        description: str | None = None,
        events: Sequence[str] | None = None,
        is_active: bool = True,
    ) -> Call[Webhook]:
        """Changes all of a webhook: what is not given is as for a new one."""
        body = given(url=url, description=description, events=events, is_active=is_active)
        return Call("PUT", path("webhooks", webhook), Webhook, body=body)

    @Method
    def delete_webhook(self, webhook: str) -> Call[Webhook]:
        """Has nothing sent there any more, and its URL and secret erased."""
        return Call("DELETE", path("webhooks", webhook), Webhook)

    @Method
    def rotate_webhook_secret(self, webhook: str) -> Call[NewWebhook]:
        """A new secret; for 48 hours the one before signs too."""
        return Call("POST", path("webhooks", webhook, "rotate-secret"), NewWebhook)

    @Method
    def test_webhook(self, webhook: str) -> Call[Delivery]:
        """Sends an event that is of no fact."""
        return Call("POST", path("webhooks", webhook, "test"), Delivery)

    @Method
    def replay_events(self, webhook: str, from_offset: int, to_offset: int) -> Call[Replay]:
        """Sends again what happened from one offset to another, as far as the webhook wants it."""
        body = given(from_offset=from_offset, to_offset=to_offset)
        return Call("POST", path("webhooks", webhook, "replay"), Replay, body=body)

    @ListMethod
    def deliveries(
        self, *, webhook: str | None = None, status: str | None = None, page_size: int | None = None
    ) -> Listing[Delivery]:
        """What became of events on their way to receivers."""
        words = {"webhook": webhook, "status": status, "limit": page_size}
        return Listing(path("webhook-deliveries"), Delivery, query(words))

    @Method
    def delivery(self, delivery: str) -> Call[Delivery]:
        """One delivery."""
        return Call("GET", path("webhook-deliveries", delivery), Delivery)

    @Method
    def redeliver(self, delivery: str) -> Call[Delivery]:
        """Sends it again at once, under the same `Webhook-Id`."""
        return Call("POST", path("webhook-deliveries", delivery, "redeliver"), Delivery)

    # --- the operator's --------------------------------------------------------------------------

    @ListMethod
    def acts(
        self, *, deed: str | None = None, actor: str | None = None, page_size: int | None = None
    ) -> Listing[Act]:
        """Administrative deeds and refused access."""
        words = {"deed": deed, "actor": actor, "limit": page_size}
        return Listing(path("acts"), Act, query(words))

    @ListMethod
    def refusals(
        self, *, account: str | None = None, code: str | None = None, page_size: int | None = None
    ) -> Listing[Refusal]:
        """Commands that were refused."""
        words = {"account": account, "code": code, "limit": page_size}
        return Listing(path("refusals"), Refusal, query(words))

    @ListMethod
    def parked_reports(
        self, *, status: str | None = None, page_size: int | None = None
    ) -> Listing[ParkedReport]:
        """Venue reports that contradict their order."""
        words = {"status": status, "limit": page_size}
        return Listing(path("parked-reports"), ParkedReport, query(words))

    @Method
    def parked_report(self, report: str) -> Call[ParkedReport]:
        """One parked report."""
        return Call("GET", path("parked-reports", report), ParkedReport)

    @Method
    def resolve_report(self, report: str, action: str, reason: str) -> Call[ParkedReport]:
        """Asks to `book` a parked report, or `reject`s it for good."""
        where = path("parked-reports", report, "resolve")
        return Call("POST", where, ParkedReport, body=given(action=action, reason=reason))

    @Method
    def confirm_report(self, report: str) -> Call[ParkedReport]:
        """Books a parked report. For another client than asked to book it."""
        return Call("POST", path("parked-reports", report, "confirm"), ParkedReport)

    @Method
    def projections(self) -> Call[list[Projection]]:
        """How the views are."""
        return Call("GET", path("projections"), list[Projection])

    @Method
    def rebuild_projection(self, name: str, *, keep_old: bool = False) -> Call[Rebuild]:
        """Has a view made again beside the one that serves; `projections` shows how far it is."""
        return Call("POST", path("projections", name, "rebuild"), Rebuild, body=given(keep_old=keep_old))

    @Method
    def verify_projection(self, name: str) -> Call[Rebuild]:
        """Has a view made again and compared, and changes nothing."""
        return Call("POST", path("projections", name, "verify"), Rebuild)

    @Method
    def faults(self, name: str) -> Call[list[Fault]]:
        """Streams that a view cannot fold."""
        return Call("GET", path("projections", name, "faults"), list[Fault])

    @Method
    def retry_fault(self, name: str, stream: str) -> Call[Retry]:
        """Folds such a stream again."""
        return Call("POST", path("projections", name, "faults", stream, "retry"), Retry)

    @Method
    def clock(self) -> Call[Clock]:
        """The sandbox's business time."""
        return Call("GET", path("sandbox", "clock"), Clock)

    @Method
    def advance_clock(self, by: timedelta) -> Call[Clock]:
        """Moves the sandbox's business time forward."""
        return Call("POST", path("sandbox", "clock"), Clock, body=given(advance=span(by)))
