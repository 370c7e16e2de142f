"""Bills that follow each other, and a position that rolls over, in a `World`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from engine.domain import distribution, moves, rollover
from engine.domain.corporate_action import Action, ActionTerms
from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.position import Position
from engine.domain.pricing import Price
from engine.domain.rollover import Offer
from tests.support.engines.world import World

BOUGHT, ROLLED, MATURITY = date(2026, 3, 12), date(2026, 6, 10), date(2026, 6, 11)
"""Days of the first bill: it is bought, rolled over on the day before its maturity, a Thursday."""
PRICE: Final = Price(Decimal("97.90"), Decimal("98.00"), 1)
BILL: Final = Terms(
    name="Treasury bill",
    symbol="B1",
    instrument_type="bill",
    trading_currency="USD",
    issuer_country="US",
    issue_date=date(2026, 3, 10),
    maturity_date=MATURITY,
    maturity_period="3m",
    supports_automatic_rollover=True,
)
NEXT: Final = replace(BILL, symbol="B2", issue_date=date(2026, 6, 9), maturity_date=date(2026, 9, 10))


class Rolling(World):
    """An account with `units` of the bill `ins`, followed by the bill `next`."""

    def __init__(self, cash: str = "980.00", *, automatic_rollover: bool = True, **terms: Any) -> None:
        super().__init__()
        self.done: list[str] = []
        self.put("ins", replace(BILL, **terms))
        self.put("next", NEXT)
        self.open()
        self.fund("2000.00")
        self.buy("first", cash, automatic_rollover=automatic_rollover)

    def buy(self, order: str, cash: str, of: str = "ins", *, automatic_rollover: bool = False) -> None:
        """A settled buy at 98.00, without a fee."""
        request = OrderRequest("buy", Decimal(cash), automatic_rollover=automatic_rollover)
        words: dict[str, Any] = {"price": PRICE, "fee": FeeRule(Decimal(0)), "today": BOUGHT}
        assert self.place(order, request, of, **words) == "ok", self.refused
        self.start(order, PRICE, BOUGHT)
        self.trade(order, f"{order}1", "98", str(Decimal(cash) / 98))
        self.end(order)
        assert self.settle(order, f"trd_sim/{order}1") == "ok"

    def held(self, instrument: str = "ins") -> Position:
        position: Position = self.account().holdings.positions[instrument]
        return position

    @property
    def receivable(self) -> Decimal:
        """Cash that rollovers have spent before it came; never above 0."""
        mine = [
            leg for subject, _, fact in self.facts if subject == "account" for leg in moves.legs(fact)
        ]
        return sum((leg.amount for leg in mine if leg.place == "receivable"), Decimal("0.00"))

    def roll(
        self,
        order: str = "roll",
        today: date = ROLLED,
        *,
        of: str = "ins",
        prices: Mapping[str, Price | None] | None = None,
        fee: FeeRule | None = None,
        minimum_value: Decimal | None = None,
    ) -> str:
        """Rolls the position over into one of the bills of `prices`."""
        known = {"next": PRICE} if prices is None else prices
        offers = [Offer(self.instrument(bill), price, today) for bill, price in known.items()]
        return self._do(
            lambda: self._traded(
                "acc",
                order,
                rollover.place(
                    self.account(),
                    self.instrument(of),
                    rollover.on_the_run(offers),
                    fee=fee or FeeRule(),
                    order_id=order,
                    business_date=today,
                    at_us=self.now_us,
                    minimum_value=minimum_value,
                ),
            )
        )

    def mature(self, of: str = "ins") -> str:
        """Redeems the position at par."""
        held, security = self.held(of), self.instrument(of)
        known = self.order(held.rollover) if held.rollover else None
        terms = ActionTerms(
            "maturity", MATURITY, MATURITY, MATURITY, "terms", amount=security.terms.par_value
        )
        return self._do(
            lambda: self._traded(
                "acc",
                known.terms.order if known else "",
                distribution.redeem(
                    Action("cac_1", terms, 1, 1, is_started=True),
                    security,
                    self.account(),
                    rolled=known,
                    new_id=lambda prefix: f"{prefix}_1",
                    at_us=self.now_us,
                ),
            )
        )
