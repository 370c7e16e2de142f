"""The client for asyncio. Written by `python -m client.generate`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from order_engine_client import endpoints
from order_engine_client.base import AwaitingClient
from order_engine_client.endpoints.market import NewPrice
from order_engine_client.endpoints.operator import NewStep
from order_engine_client.endpoints.orders import WAIT_S
from order_engine_client.events import Event
from order_engine_client.history import AccountFact, ExplainedAccount, ExplainedOrder, OrderFact
from order_engine_client.resources import (
    TERMINAL,
    Account,
    Act,
    Balance,
    Clock,
    CorporateAction,
    Delivery,
    Deposit,
    ExecutionReport,
    Fault,
    Instrument,
    NewWebhook,
    Order,
    OrderQuote,
    ParkedReport,
    Position,
    Price,
    Projection,
    Rebuild,
    Refusal,
    Replay,
    Retry,
    Script,
    TradingHours,
    Transaction,
    Webhook,
    Withdrawal,
)
from order_engine_client.values import (
    SAME,
    Amount,
    Same,
)


class AsyncClient(AwaitingClient):
    """The same for asyncio: methods are awaited, lists and streams are read by `async for`."""

    async def buy(
        self,
        account: str,
        instrument: str,
        cash_amount: Amount,
        *,
        automatic_rollover: bool = False,
        client_reference: str | None = None,
        limit_price: Amount | None = None,
        time_in_force: str | None = None,
        quote: str | None = None,
        may_wait: bool = True,
        key: str | None = None,
    ) -> Order:
        """Places a buy for `cash_amount`, fees included, in the instrument's currency.

        `instrument` is an id (`ins_...`). With a `limit_price` it is a limit order: for the units that
        the cash buys at that price, which is the worst one. Its `time_in_force` is `day` (default) or
        `gtc`. `quote` is the id of a quote for the same; refused if it was used, has expired, or the
        price has moved since. While its market is closed the order waits; unless it `may_wait`, it is
        refused: `instrument_not_trading`. Raises NotFound, Forbidden; Invalid, as `insufficient_funds`.
        """
        return await self.run(
            endpoints.orders.buy(
                account,
                instrument,
                cash_amount,
                automatic_rollover=automatic_rollover,
                client_reference=client_reference,
                limit_price=limit_price,
                time_in_force=time_in_force,
                quote=quote,
                may_wait=may_wait,
                key=key,
            )
        )

    async def sell(
        self,
        account: str,
        instrument: str,
        quantity: Amount,
        *,
        client_reference: str | None = None,
        limit_price: Amount | None = None,
        time_in_force: str | None = None,
        quote: str | None = None,
        may_wait: bool = True,
        key: str | None = None,
    ) -> Order:
        """Places a sell of `quantity` units of an instrument. Limits and errors: see `buy`."""
        return await self.run(
            endpoints.orders.sell(
                account,
                instrument,
                quantity,
                client_reference=client_reference,
                limit_price=limit_price,
                time_in_force=time_in_force,
                quote=quote,
                may_wait=may_wait,
                key=key,
            )
        )

    async def quote(
        self,
        account: str,
        instrument: str,
        side: str,
        *,
        cash_amount: Amount | None = None,
        quantity: Amount | None = None,
        limit_price: Amount | None = None,
        may_wait: bool = True,
        key: str | None = None,
    ) -> OrderQuote:
        """A quote of an order: a buy of `cash_amount`, a sell of `quantity`. Raises as `buy`."""
        return await self.run(
            endpoints.orders.quote(
                account,
                instrument,
                side,
                cash_amount=cash_amount,
                quantity=quantity,
                limit_price=limit_price,
                may_wait=may_wait,
                key=key,
            )
        )

    async def order(self, account: str, order: str) -> Order:
        """One order."""
        return await self.run(endpoints.orders.order(account, order))

    async def evidence(self, account: str, order: str, *, size: int | None = None) -> dict[str, Any]:
        """The proof that an order was not edited: a bundle to keep and to verify, as received.

        Under the newest seal, or under that of `size` facts. Facts are sealed within ten seconds; until
        then the request is retried, or raises Unavailable.
        """
        return await self.run(endpoints.orders.evidence(account, order, size=size))

    async def wait_for_order(
        self, account: str, order: str, *, until: Collection[str] = TERMINAL, within_s: float = WAIT_S
    ) -> Order:
        """The order once its status is one of `until`, or terminal. Raises StillWaiting."""
        return await self.run(
            endpoints.orders.wait_for_order(account, order, until=until, within_s=within_s)
        )

    async def cancel_order(self, account: str, order: str, *, key: str | None = None) -> Order:
        """Asks to cancel an order. Its status shows the result. Raises Conflict if it is too late."""
        return await self.run(endpoints.orders.cancel_order(account, order, key=key))

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
    ) -> AsyncIterator[Order]:
        """Orders of an account."""
        return self.entries(
            endpoints.orders.orders(
                account,
                status=status,
                side=side,
                instrument=instrument,
                created_from=created_from,
                created_to=created_to,
                client_reference=client_reference,
                page_size=page_size,
            )
        )

    def order_history(
        self, account: str, order: str, *, page_size: int | None = None
    ) -> AsyncIterator[OrderFact]:
        """Each fact of an order, and the order after it."""
        return self.entries(endpoints.orders.order_history(account, order, page_size=page_size))

    async def order_at(
        self, account: str, order: str, *, version: int | None = None, asof: datetime | None = None
    ) -> Order:
        """The order as it was after its fact of a version, or by a time."""
        return await self.run(endpoints.orders.order_at(account, order, version=version, asof=asof))

    async def explain_order(
        self, account: str, order: str, *, version: int | None = None, asof: datetime | None = None
    ) -> ExplainedOrder:
        """The order now or then and, for each of its fields, the fact that last set it."""
        return await self.run(endpoints.orders.explain_order(account, order, version=version, asof=asof))

    def pending_orders(self, account: str, *, page_size: int | None = None) -> AsyncIterator[Order]:
        """Orders that are in no terminal status."""
        return self.entries(endpoints.orders.pending_orders(account, page_size=page_size))

    async def open_account(
        self,
        name: str,
        base_currency: str,
        *,
        reference: str | None = None,
        funding_currencies: Sequence[str] = (),
    ) -> Account:
        """Opens an account. It has no idempotency key: after NoAnswer, look up the `reference`."""
        return await self.run(
            endpoints.accounts.open_account(
                name, base_currency, reference=reference, funding_currencies=funding_currencies
            )
        )

    def accounts(self, *, page_size: int | None = None) -> AsyncIterator[Account]:
        """All accounts of the tenant."""
        return self.entries(endpoints.accounts.accounts(page_size=page_size))

    async def account(self, id_or_reference: str) -> Account:
        """One account."""
        return await self.run(endpoints.accounts.account(id_or_reference))

    async def change_account(
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
    ) -> Account:
        """Changes what is given of an account; a `reference` of None takes it away."""
        return await self.run(
            endpoints.accounts.change_account(
                account,
                name=name,
                reference=reference,
                status=status,
                funding_currencies=funding_currencies,
                can_deposit=can_deposit,
                can_withdraw=can_withdraw,
                can_place_buy_order=can_place_buy_order,
                can_place_sell_order=can_place_sell_order,
            )
        )

    def account_history(
        self, account: str, *, page_size: int | None = None
    ) -> AsyncIterator[AccountFact]:
        """Each fact of an account, and the account and its cash after it."""
        return self.entries(endpoints.accounts.account_history(account, page_size=page_size))

    async def account_at(
        self, account: str, *, version: int | None = None, asof: datetime | None = None
    ) -> Account:
        """The account as it was after its fact of a version, or by a time."""
        return await self.run(endpoints.accounts.account_at(account, version=version, asof=asof))

    async def explain_account(
        self, account: str, *, version: int | None = None, asof: datetime | None = None
    ) -> ExplainedAccount:
        """The account now or then and, for each of its fields, the fact that last set it."""
        return await self.run(endpoints.accounts.explain_account(account, version=version, asof=asof))

    async def cash_balances(self, account: str, *, asof: datetime | None = None) -> list[Balance]:
        """Cash now or as of a time, a balance for each currency of the account."""
        return await self.run(endpoints.accounts.cash_balances(account, asof=asof))

    def positions(
        self, account: str, *, open_only: bool = False, page_size: int | None = None
    ) -> AsyncIterator[Position]:
        """Positions of an account."""
        return self.entries(
            endpoints.accounts.positions(account, open_only=open_only, page_size=page_size)
        )

    async def position(self, account: str, position: str) -> Position:
        """One position."""
        return await self.run(endpoints.accounts.position(account, position))

    async def change_position(
        self, account: str, position: str, *, automatic_rollover: bool
    ) -> Position:
        """Chooses whether a position is reinvested at maturity, until its cut-off."""
        return await self.run(
            endpoints.accounts.change_position(account, position, automatic_rollover=automatic_rollover)
        )

    def transactions(
        self,
        account: str,
        *,
        transaction_types: Sequence[str] | str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Transaction]:
        """The ledger of an account."""
        return self.entries(
            endpoints.accounts.transactions(
                account, transaction_types=transaction_types, page_size=page_size
            )
        )

    async def create_deposit(
        self,
        account: str,
        amount: Amount,
        currency: str,
        *,
        payment_reference: str | None = None,
        key: str | None = None,
    ) -> Deposit:
        """Announces money that is to come."""
        return await self.run(
            endpoints.payments.create_deposit(
                account, amount, currency, payment_reference=payment_reference, key=key
            )
        )

    def deposits(
        self, account: str, *, status: Sequence[str] | str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Deposit]:
        """Deposits of an account."""
        return self.entries(endpoints.payments.deposits(account, status=status, page_size=page_size))

    async def deposit(self, account: str, deposit: str) -> Deposit:
        """One deposit."""
        return await self.run(endpoints.payments.deposit(account, deposit))

    async def complete_deposit(self, account: str, deposit: str) -> Deposit:
        """The money has come."""
        return await self.run(endpoints.payments.complete_deposit(account, deposit))

    async def fail_deposit(self, account: str, deposit: str) -> Deposit:
        """The money will not come."""
        return await self.run(endpoints.payments.fail_deposit(account, deposit))

    async def create_withdrawal(
        self, account: str, amount: Amount, currency: str, *, key: str | None = None
    ) -> Withdrawal:
        """Asks for money to be paid out; it is reserved."""
        return await self.run(endpoints.payments.create_withdrawal(account, amount, currency, key=key))

    def withdrawals(
        self, account: str, *, status: Sequence[str] | str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Withdrawal]:
        """Withdrawals of an account."""
        return self.entries(endpoints.payments.withdrawals(account, status=status, page_size=page_size))

    async def withdrawal(self, account: str, withdrawal: str) -> Withdrawal:
        """One withdrawal."""
        return await self.run(endpoints.payments.withdrawal(account, withdrawal))

    async def complete_withdrawal(self, account: str, withdrawal: str) -> Withdrawal:
        """The money has left."""
        return await self.run(endpoints.payments.complete_withdrawal(account, withdrawal))

    async def fail_withdrawal(self, account: str, withdrawal: str) -> Withdrawal:
        """The money stays."""
        return await self.run(endpoints.payments.fail_withdrawal(account, withdrawal))

    def instruments(
        self,
        *,
        instrument_type: Sequence[str] | str | None = None,
        trading_status: Sequence[str] | str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Instrument]:
        """All instruments."""
        return self.entries(
            endpoints.market.instruments(
                instrument_type=instrument_type, trading_status=trading_status, page_size=page_size
            )
        )

    async def instrument(self, id_or_symbol: str) -> Instrument:
        """One instrument."""
        return await self.run(endpoints.market.instrument(id_or_symbol))

    async def put_instrument(
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
        coupon_frequency: int | None = None,
        first_coupon_date: date | None = None,
        issue_date: date | None = None,
        ex_coupon_days: int | None = None,
        maturity_period: str | None = None,
        trading_hours: TradingHours | None = None,
    ) -> Instrument:
        """Lists an instrument, or changes it: what is not given has the engine's default."""
        return await self.run(
            endpoints.market.put_instrument(
                instrument,
                name=name,
                symbol=symbol,
                instrument_type=instrument_type,
                trading_currency=trading_currency,
                trading_status=trading_status,
                trading_increment=trading_increment,
                decimal_precision=decimal_precision,
                isin=isin,
                issuer=issuer,
                issuer_country=issuer_country,
                ticker=ticker,
                price_type=price_type,
                minimum_trading_quantity=minimum_trading_quantity,
                minimum_initial_cash_investment=minimum_initial_cash_investment,
                required_cash_increment=required_cash_increment,
                enforce_trading_rules=enforce_trading_rules,
                settlement_days=settlement_days,
                maturity_date=maturity_date,
                supports_automatic_rollover=supports_automatic_rollover,
                coupon=coupon,
                par_value=par_value,
                day_count_convention=day_count_convention,
                coupon_frequency=coupon_frequency,
                first_coupon_date=first_coupon_date,
                issue_date=issue_date,
                ex_coupon_days=ex_coupon_days,
                maturity_period=maturity_period,
                trading_hours=trading_hours,
            )
        )

    async def on_the_run_bills(self, issuer_country: str) -> list[Instrument]:
        """The bill that a rollover of each period would buy, by period and currency."""
        return await self.run(endpoints.market.on_the_run_bills(issuer_country))

    async def prices(self, *symbols: str, asof: datetime | None = None) -> list[Price]:
        """The latest price of each symbol that has one, or that of a time."""
        return await self.run(endpoints.market.prices(*symbols, asof=asof))

    async def put_prices(self, *prices: NewPrice, key: str | None = None) -> list[Price]:
        """Records prices, all or none, with a `key` once. One that moves too far `is_waiting`."""
        return await self.run(endpoints.market.put_prices(*prices, key=key))

    async def stale_prices(self, *symbols: str) -> list[Price]:
        """Prices too old for orders, of these symbols or of all that can be traded; the oldest first."""
        return await self.run(endpoints.market.stale_prices(*symbols))

    async def waiting_prices(self, *symbols: str) -> list[Price]:
        """Prices that moved too far, of these symbols or of all."""
        return await self.run(endpoints.market.waiting_prices(*symbols))

    async def confirm_price(
        self, symbol: str, bid: Amount | None = None, ask: Amount | None = None
    ) -> Price:
        """Lets the price that waits count, if it is this one. For another client than set it."""
        return await self.run(endpoints.market.confirm_price(symbol, bid, ask))

    def corporate_actions(
        self,
        *,
        instrument: str | None = None,
        status: Sequence[str] | str | None = None,
        action_type: Sequence[str] | str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[CorporateAction]:
        """Corporate actions, of one instrument or of all."""
        return self.entries(
            endpoints.actions.corporate_actions(
                instrument=instrument, status=status, action_type=action_type, page_size=page_size
            )
        )

    async def corporate_action(self, action: str) -> CorporateAction:
        """One corporate action."""
        return await self.run(endpoints.actions.corporate_action(action))

    async def announce_action(
        self,
        instrument: str,
        action_type: str,
        ex_date: date,
        *,
        pay_date: date | None = None,
        record_date: date | None = None,
        amount: Amount | None = None,
        units_to: int | None = None,
        units_from: int | None = None,
        fraction_price: Amount | None = None,
        key: str | None = None,
    ) -> CorporateAction:
        """Announces a corporate action. `amount` is per unit, in the instrument's currency."""
        return await self.run(
            endpoints.actions.announce_action(
                instrument,
                action_type,
                ex_date,
                pay_date=pay_date,
                record_date=record_date,
                amount=amount,
                units_to=units_to,
                units_from=units_from,
                fraction_price=fraction_price,
                key=key,
            )
        )

    async def correct_action(
        self,
        action: str,
        action_type: str,
        ex_date: date,
        *,
        pay_date: date | None = None,
        record_date: date | None = None,
        amount: Amount | None = None,
        units_to: int | None = None,
        units_from: int | None = None,
        fraction_price: Amount | None = None,
    ) -> CorporateAction:
        """Replaces the terms of an announced action, before its ex date."""
        return await self.run(
            endpoints.actions.correct_action(
                action,
                action_type,
                ex_date,
                pay_date=pay_date,
                record_date=record_date,
                amount=amount,
                units_to=units_to,
                units_from=units_from,
                fraction_price=fraction_price,
            )
        )

    async def withdraw_action(
        self, action: str, reason: str, *, key: str | None = None
    ) -> CorporateAction:
        """Withdraws an announced action, before its ex date."""
        return await self.run(endpoints.actions.withdraw_action(action, reason, key=key))

    def events(
        self,
        *,
        name: Sequence[str] = (),
        resource: str | None = None,
        created_from: datetime | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Event]:
        """Events of the tenant's resources, or of one of them."""
        return self.entries(
            endpoints.events.events(
                name=name, resource=resource, created_from=created_from, page_size=page_size
            )
        )

    def follow_events(
        self,
        *,
        after: int | None = None,
        name: Sequence[str] = (),
        resource: str | None = None,
        created_from: datetime | None = None,
        waits: bool = True,
    ) -> AsyncIterator[Event]:
        """Events as they come, each once and in order, without end; those after offset `after` first.

        A broken stream is resumed. To resume in another process, note the `offset` of the last event
        processed. With `waits=False` it ends at the newest event.
        """
        return self.stream(
            endpoints.events.follow_events(
                after=after, name=name, resource=resource, created_from=created_from, waits=waits
            )
        )

    async def event(self, event: str) -> Event:
        """One event."""
        return await self.run(endpoints.events.event(event))

    async def create_webhook(
        self, url: str, *, description: str | None = None, events: Sequence[str] | None = None
    ) -> NewWebhook:
        """Creates a webhook for all events, or for those named. Its `secret` is shown only this once."""
        return await self.run(
            endpoints.webhooks.create_webhook(url, description=description, events=events)
        )

    def webhooks(self, *, page_size: int | None = None) -> AsyncIterator[Webhook]:
        """The tenant's webhooks."""
        return self.entries(endpoints.webhooks.webhooks(page_size=page_size))

    async def webhook(self, webhook: str) -> Webhook:
        """One webhook."""
        return await self.run(endpoints.webhooks.webhook(webhook))

    async def put_webhook(
        self,
        webhook: str,
        url: str,
        *,
        description: str | None = None,
        events: Sequence[str] | None = None,
        is_active: bool = True,
    ) -> Webhook:
        """Changes all of a webhook: what is not given is as for a new one."""
        return await self.run(
            endpoints.webhooks.put_webhook(
                webhook, url, description=description, events=events, is_active=is_active
            )
        )

    async def delete_webhook(self, webhook: str) -> Webhook:
        """Deletes a webhook; its URL and secret are erased."""
        return await self.run(endpoints.webhooks.delete_webhook(webhook))

    async def rotate_webhook_secret(self, webhook: str) -> NewWebhook:
        """A new secret; for 48 hours the one before signs too."""
        return await self.run(endpoints.webhooks.rotate_webhook_secret(webhook))

    async def test_webhook(self, webhook: str) -> Delivery:
        """Sends the event `webhook.test`, which belongs to no fact."""
        return await self.run(endpoints.webhooks.test_webhook(webhook))

    async def replay_events(self, webhook: str, from_offset: int, to_offset: int) -> Replay:
        """Sends again the events from one offset to another that the webhook subscribes to."""
        return await self.run(endpoints.webhooks.replay_events(webhook, from_offset, to_offset))

    def deliveries(
        self, *, webhook: str | None = None, status: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Delivery]:
        """Deliveries of events to webhooks, with their attempts."""
        return self.entries(
            endpoints.webhooks.deliveries(webhook=webhook, status=status, page_size=page_size)
        )

    async def delivery(self, delivery: str) -> Delivery:
        """One delivery."""
        return await self.run(endpoints.webhooks.delivery(delivery))

    async def redeliver(self, delivery: str) -> Delivery:
        """Sends it again at once, under the same `Webhook-Id`."""
        return await self.run(endpoints.webhooks.redeliver(delivery))

    def acts(
        self, *, deed: str | None = None, actor: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Act]:
        """Administrative acts and refused access."""
        return self.entries(endpoints.operator.acts(deed=deed, actor=actor, page_size=page_size))

    def refusals(
        self, *, account: str | None = None, code: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Refusal]:
        """Refused commands."""
        return self.entries(endpoints.operator.refusals(account=account, code=code, page_size=page_size))

    def parked_reports(
        self, *, status: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[ParkedReport]:
        """Venue reports that contradict their order."""
        return self.entries(endpoints.operator.parked_reports(status=status, page_size=page_size))

    async def parked_report(self, report: str) -> ParkedReport:
        """One parked report."""
        return await self.run(endpoints.operator.parked_report(report))

    async def resolve_report(self, report: str, action: str, reason: str) -> ParkedReport:
        """Asks to `book` a parked report, or `reject`s it for good."""
        return await self.run(endpoints.operator.resolve_report(report, action, reason))

    async def execution_report(
        self,
        venue: str,
        execution_reference: str,
        order: str,
        exec_type: str,
        *,
        executed_at: datetime,
        instrument: str | None = None,
        side: str | None = None,
        currency: str | None = None,
        price: Amount | None = None,
        quantity: Amount | None = None,
        accrued_interest: Amount | None = None,
        refers_to: str | None = None,
        settlement_date: date | None = None,
        counterparty: str | None = None,
        execution_broker: str | None = None,
        ytm: Amount | None = None,
        reason: str | None = None,
    ) -> ExecutionReport:
        """Reports what the venue of this client's scope did with an order. The same
        `execution_reference` counts once.
        """
        return await self.run(
            endpoints.operator.execution_report(
                venue,
                execution_reference,
                order,
                exec_type,
                executed_at=executed_at,
                instrument=instrument,
                side=side,
                currency=currency,
                price=price,
                quantity=quantity,
                accrued_interest=accrued_interest,
                refers_to=refers_to,
                settlement_date=settlement_date,
                counterparty=counterparty,
                execution_broker=execution_broker,
                ytm=ytm,
                reason=reason,
            )
        )

    async def confirm_report(self, report: str) -> ParkedReport:
        """Books a parked report. For another client than asked to book it."""
        return await self.run(endpoints.operator.confirm_report(report))

    async def projections(self) -> list[Projection]:
        """The state of every view."""
        return await self.run(endpoints.operator.projections())

    async def rebuild_projection(self, name: str, *, keep_old: bool = False) -> Rebuild:
        """Rebuilds a view beside the serving one; `projections` shows the progress."""
        return await self.run(endpoints.operator.rebuild_projection(name, keep_old=keep_old))

    async def verify_projection(self, name: str) -> Rebuild:
        """Rebuilds a view for comparison only, and reports differences."""
        return await self.run(endpoints.operator.verify_projection(name))

    async def faults(self, name: str) -> list[Fault]:
        """Streams that a view cannot fold."""
        return await self.run(endpoints.operator.faults(name))

    async def retry_fault(self, name: str, stream: str) -> Retry:
        """Folds such a stream again."""
        return await self.run(endpoints.operator.retry_fault(name, stream))

    async def clock(self) -> Clock:
        """The sandbox's business time."""
        return await self.run(endpoints.operator.clock())

    async def advance_clock(self, by: timedelta | str) -> Clock:
        """Moves the sandbox's business time forward. `by` may be an ISO 8601 duration: `"P1D"`."""
        return await self.run(endpoints.operator.advance_clock(by))

    async def write_script(
        self,
        *steps: NewStep,
        order: str | None = None,
        account: str | None = None,
        instrument: str | None = None,
        key: str | None = None,
    ) -> Script:
        """Writes what the simulated venue does with an order that was not sent, or the next order of an
        account or instrument.
        """
        return await self.run(
            endpoints.operator.write_script(
                *steps, order=order, account=account, instrument=instrument, key=key
            )
        )

    def scripts(
        self, *, status: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Script]:
        """Scripts of the simulated venue."""
        return self.entries(endpoints.operator.scripts(status=status, page_size=page_size))
