"""Source and freshness of each GET: one literal table.

The OpenAPI document, the documentation and the tests use it; a test fails for a missing GET.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from api.http.call import Route
from engine.kernel.limits import VIEW_WAIT_S


class Source(NamedTuple):
    """A way of reading. `headers`: its answers have at least one of them. `codes`: its own errors."""

    about: str
    headers: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()


_CURRENT: Final = "never older than the journal was when the request arrived"
_WAITED: Final = f"waits for the views up to {VIEW_WAIT_S:g} s"

_VIEWED: Final = ("view_behind", "view_quarantined", "views_damaged")

SOURCES: Final[dict[str, Source]] = {
    "resource": Source(
        "the row of a view, or the journal if the row is older than the resource's last fact:"
        f" {_CURRENT}",
        ("Journal-Offset", "View-Offset"),
        ("view_quarantined",),
    ),
    "position": Source(
        "as a resource; a position followed by a later one of its instrument is only in the view:"
        f" {_WAITED}",
        ("Journal-Offset", "View-Offset"),
        _VIEWED,
    ),
    "balances": Source(
        "as a resource; with `asof` the journal",
        ("Journal-Offset", "View-Offset"),
        ("view_quarantined",),
    ),
    "journal": Source(f"the journal: {_CURRENT}", ("Journal-Offset",)),
    "list": Source(
        "views that include everything this process has answered to the client, and everything in the"
        f" journal at the start of the process: {_WAITED}",
        ("View-Offset",),
        _VIEWED,
    ),
    "event": Source(
        f"the view of events, once it has reached the event's own offset: {_WAITED}",
        ("View-Offset",),
        _VIEWED,
    ),
    "action": Source(
        "the view of corporate actions, once it has reached the journal as it was when the request"
        f" arrived: {_WAITED}",
        ("View-Offset",),
        _VIEWED,
    ),
    "stream": Source(
        "as a list; with `follow=false` it ends after the last event in the journal at the arrival of"
        f" the request: {_WAITED}",
        (),
        _VIEWED,
    ),
    "register": Source("a table of the journal's database: always current"),
    "keys": Source("a table of the journal's database, refreshed each second"),
    "acts": Source(
        "a table of the journal's database: always current, except refused sign-ins and scopes; each"
        " process writes the first of a source at once, then counts every 5 seconds"
    ),
    "views": Source("the current state of the views"),
    "process": Source("the current state of this process"),
}
"""Ways of reading."""

READS: Final[dict[str, str]] = {
    "list_keys": "keys",
    "is_live": "process",
    "is_ready": "process",
    "get_document": "process",
    "show_documentation": "process",
    "get_documentation_file": "process",
    "show_order_lifecycle": "process",
    "list_orders": "list",
    "list_pending_orders": "list",
    "retrieve_order": "resource",
    "show_order_history": "journal",
    "prove_order": "journal",
    "list_accounts": "list",
    "retrieve_account": "resource",
    "show_account_history": "journal",
    "list_cash_balances": "balances",
    "list_positions": "list",
    "retrieve_position": "position",
    "list_transactions": "list",
    "list_deposits": "list",
    "list_withdrawals": "list",
    "retrieve_deposit": "resource",
    "retrieve_withdrawal": "resource",
    "list_instruments": "list",
    "retrieve_instrument": "resource",
    "list_corporate_actions": "list",
    "retrieve_corporate_action": "action",
    "list_on_the_run_bills": "list",
    "list_prices": "register",
    "list_events": "list",
    "stream_events": "stream",
    "retrieve_event": "event",
    "list_webhooks": "journal",
    "retrieve_webhook": "journal",
    "list_deliveries": "register",
    "retrieve_delivery": "register",
    "list_acts": "acts",
    "list_refusals": "register",
    "list_parked_reports": "list",
    "retrieve_parked_report": "resource",
    "list_projections": "views",
    "list_faults": "views",
    "show_clock": "journal",
    "list_scripts": "list",
}
"""Name of a GET -> its way of reading."""


def source_of(route: Route) -> Source | None:
    """The way of reading of a GET, None for a command. Raises KeyError if READS has no row for it."""
    return SOURCES[READS[route.name]] if route.method == "GET" else None
