"""Operators and followers of an instrument's life: actions come to accounts, bills roll over."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from msgspec.structs import replace

from engine.commands import rollovers, servicing
from engine.domain.announcing import ActionRequest
from engine.domain.clock import ClockAdvanced
from engine.domain.corporate_action import SPLITS, ActionAnnounced, ActionStarted
from engine.domain.instrument import Terms
from engine.domain.order import Cancelled, MadePending, Placed, Settled
from engine.domain.order_request import OrderRequest
from engine.kernel.fact import Recorded
from tests.laws.simulation.people import TERMS, Client, Request, firm


def _bill(symbol: str, matures: date) -> Terms:
    return Terms(
        symbol, symbol, "bill", "USD", issuer_country="US", settlement_days=0, par_value=Decimal(10),
        maturity_date=matures, maturity_period="1m", supports_automatic_rollover=True,
    )  # fmt: skip


BILLS = {
    "ins_bill": _bill("BILL", date(2026, 3, 16)),
    "ins_next": _bill("NEXT", date(2026, 4, 20)),
    "ins_last": _bill("LAST", date(2027, 12, 20)),
}
"""The first matures within a run, the second after its end."""
TERMS_OF_LIVES = TERMS | BILLS
ANNOUNCED: dict[str, dict[str, dict[str, Any]]] = {
    "ins_stock": {
        "cash_dividend": {"amount": Decimal("0.33")},
        "stock_split": {"units_to": 3, "units_from": 2, "fraction_price": Decimal(20)},
        "reverse_split": {"units_to": 1, "units_from": 3, "fraction_price": Decimal(30)},
    },
    "ins_bond": {"coupon": {"amount": Decimal("1.375")}, "call": {"amount": Decimal("101.5")}},
}


class Investor(Client):
    """A client of more instruments; bills are to roll over."""

    def _order(self, account: str, order_request: OrderRequest, amount: Any) -> Request:
        instrument = self._random.choice(list(TERMS_OF_LIVES))
        is_rolled = order_request.side == "buy" and instrument in BILLS
        asked = replace(order_request, automatic_rollover=is_rolled)
        return self._order_of(account, asked, amount, instrument)


class Servicer(Client):
    """Asks what operators and followers ask, now and then too early, twice, or of another account."""

    KINDS = {"announce": 3, "start": 6, "apply": 12, "due": 2, "roll": 4, "advance": 3}

    def announce(self, _: str) -> Request:
        return self.announced_for(self._random.choice((0, 1, 1, 2)))

    def announced_for(self, days: int) -> Request:
        """An action some days from now."""
        of = self._random.choice(list(ANNOUNCED))
        kinds = ANNOUNCED[of]
        kind: Any = self._random.choice([*list(kinds)[:1], *kinds])
        ex_date = self._today() + timedelta(days)
        asked = ActionRequest(kind, ex_date, **kinds[kind])
        return Request(
            "announce",
            lambda process: partial(
                servicing.announce_action,
                instrument=of,
                action=process.ids.new("cac"),
                request=asked,
                by="cli_1",
            ),
            is_kept_up=False,
        )

    def start(self, _: str) -> Request | None:
        recorded = self._one(ActionAnnounced)
        if recorded is None:
            return None
        decide = partial(servicing.start_action, instrument=recorded.stream, action=recorded.fact.action)
        return Request("start_action", lambda _: decide, is_kept_up=False)

    def apply(self, account: str) -> Request | None:
        recorded = self._one(ActionStarted)
        return recorded and self.applied(recorded, account)

    def applied(self, started: Recorded, account: str) -> Request:
        """The action comes to an account; one order that waits is cancelled first."""
        placed = [
            one.fact
            for one in self._town.facts
            if isinstance(one.fact, Placed)
            and (one.fact.account, one.fact.instrument) == (account, started.stream)
        ]
        waiting = [fact.order for fact in placed if self._last(fact.order) in (Placed, MadePending)]
        if waiting:
            reason = "corporate_action" if self._is_split(started) else "matured"
            decide = partial(
                servicing.cancel_waiting, order=waiting[0], reason=reason, placed_by_us=2**60
            )
            return Request("cancel_waiting", lambda _: decide, is_kept_up=False)
        orders = [one.order for one in placed if self._last(one.order) not in (Settled, Cancelled)]
        return Request(
            "apply",
            lambda process: partial(
                servicing.apply_action,
                ids=process.ids,
                instrument=started.stream,
                action=started.fact.action,
                account=account,
                orders=orders,
            ),
            is_kept_up=False,
        )

    def due(self, _: str) -> Request:
        return self.announced(self._random.choice(list(BILLS)))

    def announced(self, of: str) -> Request:
        return Request(
            "due",
            lambda process: partial(servicing.announce_due, ids=process.ids, instrument=of),
            is_kept_up=False,
        )

    def roll(self, account: str) -> Request:
        return self.rolled(account, self._random.choice(list(BILLS)))

    def rolled(self, account: str, of: str) -> Request:
        return Request(
            "roll",
            lambda process: partial(
                rollovers.roll_over,
                firm=firm(self._town, process),
                account=account,
                instrument=of,
                order=process.ids.new("ord"),
                bills=list(BILLS),
            ),
            is_kept_up=False,
        )

    def last_requests(self) -> list[Request]:
        """Everything that is still to be done, once orders are at their end."""
        town = self._town
        asked = [self.announced(of) for of in BILLS]
        for recorded in town.facts:
            if isinstance(recorded.fact, ActionAnnounced):
                decide = partial(
                    servicing.start_action, instrument=recorded.stream, action=recorded.fact.action
                )
                asked.append(Request("start_action", lambda _, decide=decide: decide))
            elif isinstance(recorded.fact, ActionStarted):
                asked += [self.applied(recorded, account) for account in town.accounts]
        asked += [self.announced_for(days) for days in (3, 4)]
        return asked + [self.rolled(account, of) for account in town.accounts for of in BILLS]

    # --- what it knows -------------------------------------------------------------------------------

    def _today(self) -> date:
        ahead_us = sum(one.fact.by_us for one in self._town.facts if isinstance(one.fact, ClockAdvanced))
        return datetime.fromtimestamp((self._town.at_us + ahead_us) / 1e6, UTC).date()

    def _one(self, kind: type) -> Recorded | None:
        known = [recorded for recorded in self._town.facts if isinstance(recorded.fact, kind)]
        return self._random.choice(known[-4:]) if known else None

    def _last(self, order: str) -> type:
        return self._town.followers.status.get(order, Placed)

    def _is_split(self, started: Recorded) -> bool:
        return any(
            isinstance(one.fact, ActionAnnounced)
            and one.fact.action == started.fact.action
            and one.fact.terms.action_type in SPLITS
            for one in self._town.facts
        )
