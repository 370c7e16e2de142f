"""The list of all views."""

from __future__ import annotations

from typing import Final

from projections.view import View
from projections.views.accounts import AccountsView
from projections.views.actions import ActionsView
from projections.views.balances import BalancesView
from projections.views.events import EventsView
from projections.views.instruments import InstrumentsView
from projections.views.orders import OrdersView
from projections.views.parked import ParkedView
from projections.views.payments import PaymentsView
from projections.views.positions import PositionsView
from projections.views.rollovers import RolloversView
from projections.views.scripts import ScriptsView
from projections.views.servicing import ServicingView
from projections.views.working import WorkingView

VIEWS: Final[tuple[View, ...]] = (
    AccountsView(),
    InstrumentsView(),
    PaymentsView(),
    OrdersView(),
    BalancesView(),
    PositionsView(),
    EventsView(),
    ParkedView(),
    WorkingView(),
    ServicingView(),
    RolloversView(),
    ActionsView(),
    ScriptsView(),
)
