"""Accounts and their permissions. Their `holdings` belong to the same stream and state."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from engine.domain import holdings, trading_limits
from engine.domain.holdings import Holdings
from engine.domain.moves import HoldingsFact
from engine.domain.payment import PaymentKind
from engine.domain.trading_limits import Activity, OrderCounted
from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.refusals import invalid, refused
from engine.kernel.values import CURRENCIES, Side

# --- facts ---------------------------------------------------------------------------------------


class AccountOpened(Fact, frozen=True):
    """An account was opened for a tenant's customer, with every permission granted."""

    account: str
    tenant: str
    base_currency: str
    funding_currencies: tuple[str, ...]
    at_us: int


class AccountChanged(Fact, frozen=True):
    """Funding currencies and flags changed; all current values."""

    funding_currencies: tuple[str, ...]
    can_deposit: bool
    can_withdraw: bool
    can_place_buy_order: bool
    can_place_sell_order: bool
    at_us: int


class AccountSuspended(Fact, frozen=True):
    """The account was suspended: new orders and withdrawals are refused, accepted ones continue."""

    at_us: int


class AccountActivated(Fact, frozen=True):
    """The account was activated again."""

    at_us: int


class AccountClosing(Fact, frozen=True):
    """The account is being emptied: sells and withdrawals only."""

    at_us: int


class AccountClosed(Fact, frozen=True):
    """The account is empty and closed for good."""

    at_us: int


AccountFact = (
    HoldingsFact
    | OrderCounted
    | AccountOpened
    | AccountChanged
    | AccountSuspended
    | AccountActivated
    | AccountClosing
    | AccountClosed
)

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 5
"""Number of the state's shape: see `streams`."""


class Account(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A customer's account, its holdings, and its activity counted against limits."""

    id: str
    tenant: str
    status: str
    base_currency: str
    funding_currencies: tuple[str, ...]
    created_at_us: int
    modified_at_us: int
    can_deposit: bool = True
    can_withdraw: bool = True
    can_place_buy_order: bool = True
    can_place_sell_order: bool = True
    holdings: Holdings = Holdings()
    activity: Activity = Activity()

    @property
    def currencies(self) -> frozenset[str]:
        """Base and funding currencies: those it can hold."""
        return frozenset((self.base_currency, *self.funding_currencies))

    @property
    def lacking(self) -> dict[str, Decimal]:
        """Currency or instrument -> overdrawn amount; usually {}."""
        return self.holdings.lacking

    @property
    def is_overdrawn(self) -> bool:
        """Whether it must receive cash or units before it buys or withdraws again."""
        return bool(self.lacking)

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing in any place. Lacking as much as it has reserved, it holds 0 in
        total.
        """
        return self.holdings.is_empty and not self.is_overdrawn


NEXT: Final[dict[tuple[str | None, type[AccountFact]], str]] = {
    (None, AccountOpened): "active",
    ("active", AccountChanged): "active",
    ("active", AccountSuspended): "suspended",
    ("active", AccountClosing): "closing",
    ("active", AccountClosed): "closed",
    ("suspended", AccountChanged): "suspended",
    ("suspended", AccountActivated): "active",
    ("suspended", AccountClosing): "closing",
    ("suspended", AccountClosed): "closed",
    ("closing", AccountChanged): "closing",
    ("closing", AccountActivated): "active",
    ("closing", AccountClosed): "closed",
}
"""(status, fact) -> status. Facts of money and positions do not change it."""

PERMITS: Final = {
    "active": frozenset({"deposit", "withdrawal", "buy", "sell"}),
    "suspended": frozenset[str](),
    "closing": frozenset({"withdrawal", "sell"}),
    "closed": frozenset({"withdrawal"}),
}
"""Status -> permitted actions, if the flag allows them too. A closed account withdraws what it is paid
afterwards: a coupon that it was entitled to before."""

FLAGS: Final = {
    "deposit": ("can_deposit", "deposit_forbidden"),
    "withdrawal": ("can_withdraw", "withdrawal_forbidden"),
    "buy": ("can_place_buy_order", "buy_order_forbidden"),
    "sell": ("can_place_sell_order", "sell_order_forbidden"),
}
"""Action -> (flag, refusal code)."""

# --- decisions: the account itself ----------------------------------------------------------------


def open_account(
    state: Account | None,
    account: str,
    tenant: str,
    base_currency: str,
    funding_currencies: Iterable[str] = (),
    *,
    at_us: int,
) -> list[Fact]:
    """Opens an account, once. Raises Refused `invalid_param` for an unknown currency."""
    if state is not None:
        return []
    funding = _funding(funding_currencies, base_currency)
    if base_currency not in CURRENCIES:
        raise invalid("base_currency", "invalid_value", "must be an active ISO 4217 currency")
    return [AccountOpened(account, tenant, base_currency, funding, at_us)]


def _funding(currencies: Iterable[str], base_currency: str) -> tuple[str, ...]:
    """Each currency once, in the given order, without the base currency."""
    funding = tuple(code for code in dict.fromkeys(currencies) if code != base_currency)
    if not CURRENCIES.keys() >= set(funding):
        raise invalid("funding_currencies", "invalid_value", "must be an active ISO 4217 currency")
    return funding


def change(
    state: Account,
    *,
    at_us: int,
    funding_currencies: Iterable[str] | None = None,
    **flags: bool,
) -> list[Fact]:
    """Sets any of the four `can_...` flags and the funding currencies; omitted ones stay unchanged.

    Raises Refused `invalid_param` for removing a currency that holds cash, or for a closed account.
    """
    if (state.status, AccountChanged) not in NEXT:
        raise invalid("status", "not_changeable", f"cannot be changed: the account is {state.status}")
    funding = state.funding_currencies
    if funding_currencies is not None:
        funding = _funding(funding_currencies, state.base_currency)
    kept = {state.base_currency, *funding}
    if any(balance.total for code, balance in state.holdings.cash.items() if code not in kept):
        raise invalid(
            "funding_currencies",
            "not_changeable",
            "must keep every currency in which the account holds cash",
        )
    names = [flag for flag, _ in FLAGS.values()]
    before = {name: getattr(state, name) for name in names}
    after = before | {name: flags.pop(name) for name in names if name in flags}
    assert not flags, flags
    if (funding, after) == (state.funding_currencies, before):
        return []
    return [AccountChanged(funding, **after, at_us=at_us)]


def suspend(state: Account, *, at_us: int) -> list[Fact]:
    """Refuses new orders and withdrawals. Raises Refused `invalid_param` while closing or closed."""
    return _become(state, AccountSuspended, at_us)


def activate(state: Account, *, at_us: int) -> list[Fact]:
    """Lifts a suspension, or cancels a closing. Raises Refused `invalid_param` when closed."""
    return _become(state, AccountActivated, at_us)


def _become(state: Account, kind: type[AccountSuspended | AccountActivated], at_us: int) -> list[Fact]:
    if state.status == ("suspended" if kind is AccountSuspended else "active"):
        return []
    if (state.status, kind) not in NEXT:
        raise invalid("status", "not_changeable", f"cannot be changed: the account is {state.status}")
    return [kind(at_us)]


def close(state: Account, *, at_us: int) -> list[Fact]:
    """Closes an empty account; one with cash, units or unsettled trades is `closing` until then, as is
    one that lacks what it has reserved.
    """
    empty = state.is_empty
    if state.status == "closed" or (state.status == "closing" and not empty):
        return []
    return [AccountClosed(at_us) if empty else AccountClosing(at_us)]


# --- decisions: its money and units ---------------------------------------------------------------


def check(state: Account, wanted: Side | PaymentKind, currency: str) -> None:
    """Raises Refused if status or flag forbids the action, or `currency_not_supported`."""
    flag, code = FLAGS[wanted]
    if wanted not in PERMITS[state.status] or not getattr(state, flag):
        raise refused(code, status=state.status, **{flag: getattr(state, flag)})
    if currency != state.base_currency and currency not in state.funding_currencies:
        held = state.holdings.cash.get(currency)
        if wanted == "withdrawal" and held is not None and held.total > 0:
            return  # a coupon or a redemption has brought it
        raise refused("currency_not_supported", currency=currency, supported=sorted(state.currencies))


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Account | None, fact: AccountFact) -> Account:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    if state is None:
        if isinstance(fact, AccountOpened):
            return _opened(fact)
        raise UnknownFact(f"no account has {type(fact).__name__} before it is opened")
    if isinstance(fact, HoldingsFact):
        return replace(state, holdings=holdings.evolve(state.holdings, fact))
    if isinstance(fact, OrderCounted):
        return replace(state, activity=trading_limits.evolve(state.activity, fact))
    status = NEXT.get((state.status, type(fact)))
    if status is None:
        raise UnknownFact(f"an account has no {type(fact).__name__} here")
    state = replace(state, status=status, modified_at_us=fact.at_us)
    match fact:
        case AccountChanged():
            return replace(
                state,
                funding_currencies=fact.funding_currencies,
                can_deposit=fact.can_deposit,
                can_withdraw=fact.can_withdraw,
                can_place_buy_order=fact.can_place_buy_order,
                can_place_sell_order=fact.can_place_sell_order,
            )
        case AccountSuspended() | AccountActivated() | AccountClosing() | AccountClosed():
            return state
        case AccountOpened():
            raise UnknownFact("an account is opened once")
        case _:
            assert_never(fact)


def _opened(fact: AccountOpened) -> Account:
    return Account(
        fact.account,
        fact.tenant,
        NEXT[None, AccountOpened],
        fact.base_currency,
        fact.funding_currencies,
        fact.at_us,
        fact.at_us,
    )
