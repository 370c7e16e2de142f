"""Every route there is: one literal table, from which checks and documentation come."""

from __future__ import annotations

from typing import Final

from api import (
    accounts,
    events,
    fields,
    health,
    holdings,
    instruments,
    orders,
    parked,
    payments,
    prices,
    sandbox,
    token_endpoint,
)
from api.call import Route

_ACCOUNT: Final = "/accounts/{account_id}"
_ORDER: Final = f"{_ACCOUNT}/orders/{{order_id}}"
_DEPOSIT: Final = f"{_ACCOUNT}/deposits/{{deposit_id}}"
_WITHDRAWAL: Final = f"{_ACCOUNT}/withdrawals/{{withdrawal_id}}"

ROUTES: Final[tuple[Route, ...]] = (
    # --- open to all
    Route("POST", "/auth/token", token_endpoint.issue, None, "Get an access token",
          body=fields.TOKEN, is_form=True),
    Route("GET", "/health/live", health.live, None, "Whether the process lives"),
    Route("GET", "/health/ready", health.ready, None, "Whether it can serve, and why not"),
    # --- orders
    Route("POST", f"{_ACCOUNT}/orders", orders.place, "trade", "Place an order",
          body=fields.ORDER, status=201, has_key=True),
    Route("GET", f"{_ACCOUNT}/orders", orders.list_all, "read", "List orders",
          query=fields.ORDERS_QUERY),
    Route("GET", f"{_ACCOUNT}/pending-orders", orders.list_pending, "read", "List open orders",
          query=fields.PENDING_ORDERS_QUERY),
    Route("GET", _ORDER, orders.retrieve, "read", "Retrieve an order"),
    Route("POST", f"{_ORDER}/cancel", orders.cancel, "trade", "Cancel an order",
          body=fields.NOTHING, has_key=True),
    # --- accounts
    Route("POST", "/accounts", accounts.open_account, "operate", "Open an account",
          body=fields.ACCOUNT, status=201),
    Route("GET", "/accounts", accounts.list_all, "read", "List accounts",
          query=fields.ACCOUNTS_QUERY),
    Route("GET", "/accounts/{id_or_reference}", accounts.retrieve, "read", "Retrieve an account"),
    Route("PATCH", _ACCOUNT, accounts.change, "operate", "Change an account",
          body=fields.ACCOUNT_CHANGES),
    # --- holdings
    Route("GET", f"{_ACCOUNT}/cash-balances", holdings.cash_balances, "read", "Cash of an account"),
    Route("GET", f"{_ACCOUNT}/positions", holdings.list_positions, "read", "List positions",
          query=fields.POSITIONS_QUERY),
    Route("GET", f"{_ACCOUNT}/positions/{{position_id}}", holdings.position, "read",
          "Retrieve a position"),
    Route("GET", f"{_ACCOUNT}/transactions", holdings.transactions, "read", "List transactions",
          query=fields.TRANSACTIONS_QUERY),
    # --- payments
    Route("POST", f"{_ACCOUNT}/deposits", payments.create_deposit, "trade", "Announce a deposit",
          body=fields.DEPOSIT, status=201, has_key=True),
    Route("GET", _DEPOSIT, payments.retrieve_deposit, "read", "Retrieve a deposit"),
    Route("POST", f"{_DEPOSIT}/complete", payments.complete_deposit, "operate",
          "The money has come", body=fields.NOTHING),
    Route("POST", f"{_DEPOSIT}/fail", payments.fail_deposit, "operate",
          "The money will not come", body=fields.NOTHING),
    Route("POST", f"{_ACCOUNT}/withdrawals", payments.create_withdrawal, "trade",
          "Ask for a withdrawal", body=fields.WITHDRAWAL, status=201, has_key=True),
    Route("GET", _WITHDRAWAL, payments.retrieve_withdrawal, "read", "Retrieve a withdrawal"),
    Route("POST", f"{_WITHDRAWAL}/complete", payments.complete_withdrawal, "operate",
          "The money has left", body=fields.NOTHING),
    Route("POST", f"{_WITHDRAWAL}/fail", payments.fail_withdrawal, "operate",
          "The money stays", body=fields.NOTHING),
    # --- reference data
    Route("GET", "/instruments", instruments.list_all, "read", "List instruments",
          query=fields.INSTRUMENTS_QUERY),
    Route("GET", "/instruments/{id_or_symbol}", instruments.retrieve, "read",
          "Retrieve an instrument"),
    Route("PUT", "/instruments/{instrument_id}", instruments.put, "admin",
          "List or change an instrument", body=fields.INSTRUMENT),
    Route("GET", "/prices", prices.get, "read", "Prices, now or at a time",
          query=fields.PRICES_QUERY),
    Route("POST", "/prices", prices.put, "admin", "Record prices", body=fields.PRICES, status=201),
    # --- events
    Route("GET", "/events", events.list_all, "read", "List events", query=fields.EVENTS_QUERY),
    Route("GET", "/events/{event_id}", events.retrieve, "read", "Retrieve an event"),
    # --- the operator's
    Route("GET", "/parked-reports", parked.list_all, "admin", "List parked venue reports",
          query=fields.REPORTS_QUERY),
    Route("POST", "/parked-reports/{report_id}/resolve", parked.resolve, "admin",
          "Book or reject a parked report", body=fields.RESOLUTION),
    Route("GET", "/sandbox/clock", sandbox.show, "read", "Business time"),
    Route("POST", "/sandbox/clock", sandbox.advance, "admin", "Advance business time",
          body=fields.CLOCK),
)  # fmt: skip
