"""Scripts of the simulated venue: what it reports of one order, and when. See docs/sandbox.md.

A script is written for an order, an account or an instrument, and taken by the next order of it that is
sent, in the append of its `ExecutionStarted`. One stream for the whole sandbox, so that a decision reads
one state to find any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, assert_never, get_args

import msgspec
from msgspec.structs import replace

from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.limits import SCRIPT_DELAY_DAYS_MAX, SCRIPTS_OPEN_MAX
from engine.kernel.refusals import fault, invalid, invalid_values, refused
from engine.kernel.values import ZERO

STREAM: Final = "scr_engine"
StepKind = Literal[
    "trade",
    "duplicate",
    "unknown_order",
    "bust",
    "correct",
    "ended",
    "expired",
    "cancelled",
    "reject",
    "cancel_rejected",
    "silence",
    "timeout",
]
SubjectKind = Literal["order", "account", "instrument"]
SUBJECTS: Final[tuple[SubjectKind, ...]] = get_args(SubjectKind)
"""Subjects of scripts. An order takes the oldest one of the first of these that has any."""
WHENS: Final = ("start", "cancel")
"""Start of a step's time: the order's start, or a request to cancel it."""
DAY_US: Final = 86_400_000_000


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One step; `kind` is one of KINDS.

    `after_us`: the time of its report, from the order's start, or from each request to cancel it
    (`on_cancel`). From a day on it counts in business time. `of` is the number of an earlier step, from
    1. A trade is for a `quantity` of units, a `percent` of the units ordered, or what the trades before
    it leave; at a `price`, or at the order's (its limit, if it has one) changed by `price_change`
    percent. `executed_us` is added to the time of the report, `accrued_interest` per unit; `instrument`,
    `side` and `currency` are named in the report.
    """

    kind: StepKind
    of: int | None = None
    quantity: Decimal | None = None
    percent: Decimal | None = None
    price: Decimal | None = None
    price_change: Decimal | None = None
    accrued_interest: Decimal | None = None
    executed_us: int = 0
    instrument: str | None = None
    side: str | None = None
    currency: str | None = None
    after_us: int = 0
    on_cancel: bool = False

    @property
    def is_business(self) -> bool:
        """Whether its time counts in business time."""
        return self.after_us >= DAY_US


class Play(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A script as taken by an order. `ahead_us`: business time minus wall time at the order's start."""

    script: str
    steps: tuple[Step, ...]
    ahead_us: int


class StepRule(NamedTuple):
    """The effect of a kind of step and the fields that it may have. `of`: kinds that it may refer to."""

    effect: str
    fields: tuple[str, ...]
    of: tuple[StepKind, ...] = ()


_TIME: Final = ("after", "when")
_TRADE: Final = (
    "quantity", "percent", "price", "price_change", "accrued_interest", "executed_offset", "instrument",
    "side", "currency",
)  # fmt: skip
_TRADED: Final[tuple[StepKind, ...]] = ("trade", "correct")
ENDS: Final[tuple[StepKind, ...]] = ("ended", "expired", "cancelled", "reject")
"""Kinds that end the execution."""

KINDS: Final[dict[StepKind, StepRule]] = {
    "trade": StepRule("a part is executed", (*_TIME, *_TRADE)),
    "duplicate": StepRule(
        "the report of an earlier step comes again", (*_TIME, "of"), (*_TRADED, "bust", *ENDS)
    ),
    "unknown_order": StepRule("a trade of an order that does not exist", (*_TIME, *_TRADE)),
    "bust": StepRule("the trade of an earlier step is cancelled", (*_TIME, "of"), _TRADED),
    "correct": StepRule(
        "the trade of an earlier step is reported anew", (*_TIME, "of", *_TRADE), _TRADED
    ),
    "ended": StepRule("the execution ends, with the trades so far", _TIME),
    "expired": StepRule("the order expires", _TIME),
    "cancelled": StepRule("the venue cancels the order, asked or not", _TIME),
    "reject": StepRule("the venue refuses the order", _TIME),
    "cancel_rejected": StepRule("a request to cancel is refused", ("after",)),
    "silence": StepRule("no request to cancel is answered; the order's status is open", ()),
    "timeout": StepRule("the order arrives, and its sender gets no answer", ()),
}
"""Kind -> its rule, printed in docs/sandbox.md."""

# --- facts ---------------------------------------------------------------------------------------


class ScriptWritten(Fact, frozen=True):
    """The client or command `by` wrote a script for `subject`, one of SUBJECTS by `subject_kind`."""

    script: str
    subject_kind: SubjectKind
    subject: str
    steps: tuple[Step, ...]
    by: str
    at_us: int


class ScriptTaken(Fact, frozen=True):
    """An order was sent to the simulated venue, and is executed by this script."""

    script: str
    order: str
    at_us: int


class ScriptPlayed(Fact, frozen=True):
    """The order's execution is over, and all reports of its script have been taken."""

    script: str
    order: str
    at_us: int


ScriptFact = ScriptWritten | ScriptTaken | ScriptPlayed

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 1
"""Number of the state's shape: see `streams`."""


class Script(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An open script."""

    id: str
    subject_kind: SubjectKind
    subject: str
    steps: tuple[Step, ...]
    by: str
    written_at_us: int


class Scripts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The open scripts, oldest first, and how many were ever taken."""

    open: tuple[Script, ...]
    taken: int
    modified_at_us: int

    def find(self, script: str) -> Script | None:
        """An open script."""
        return next((one for one in self.open if one.id == script), None)

    def next_for(self, subjects: Mapping[SubjectKind, str]) -> Script | None:
        """The script that an order takes: see SUBJECTS."""
        for kind in SUBJECTS:
            for one in self.open:
                if one.subject_kind == kind and one.subject == subjects[kind]:
                    return one
        return None


# --- decisions -----------------------------------------------------------------------------------


def write(
    state: Scripts | None,
    script: str,
    subject: tuple[SubjectKind, str],
    steps: tuple[Step, ...],
    by: str,
    *,
    at_us: int,
) -> list[ScriptWritten]:
    """Writes a script under a new id. Raises Refused `invalid_request` while too many are open."""
    if state is not None and len(state.open) >= SCRIPTS_OPEN_MAX:
        text = f"{SCRIPTS_OPEN_MAX} scripts are open already: no order has taken them yet."
        raise refused("invalid_request", text)
    return [ScriptWritten(script, *subject, steps, by, at_us)]


def read_steps(rows: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The steps of a body. Raises Refused `invalid_param` or `missing_param` with all faults."""
    faults = [one for number, row in enumerate(rows) for one in _faults(number, row, rows)]
    if faults:
        raise invalid_values(faults)
    return tuple([_step(row) for row in rows])


def _step(row: Mapping[str, Any]) -> Step:
    return Step(
        kind=row["step"],
        executed_us=row["executed_offset"] or 0,
        after_us=row["after"] or 0,
        on_cancel=_is_on_cancel(row),
        **{name: row[name] for name in ("of", *_TRADE) if name != "executed_offset"},
    )


def _is_on_cancel(row: Mapping[str, Any]) -> bool:
    return bool(row["when"] == "cancel" or row["step"] == "cancel_rejected")


_ALTERNATIVES: Final = (("quantity", "percent"), ("price", "price_change"))


def _faults(
    number: int, row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """The faults of one step of a body."""
    place, rule = f"steps.{number}", KINDS[row["step"]]
    given = [name for name, value in row.items() if value is not None and name != "step"]
    kind = f"does not go with `{row['step']}`"
    found = [
        fault(f"{place}.{name}", "unexpected_param", kind) for name in given if name not in rule.fields
    ]
    for one, other in _ALTERNATIVES:
        if one in given and other in given:
            found.append(fault(f"{place}.{other}", "unexpected_param", f"does not go with `{one}`"))
    if row["percent"] is not None and row["percent"] <= ZERO:
        found.append(fault(f"{place}.percent", "not_positive"))
    if row["price_change"] is not None and row["price_change"] <= -100:
        found.append(fault(f"{place}.price_change", "invalid_value", "must be more than -100"))
    if row["after"] is not None and row["after"] > SCRIPT_DELAY_DAYS_MAX * DAY_US:
        text = f"must be at most {SCRIPT_DELAY_DAYS_MAX} days"
        found.append(fault(f"{place}.after", "invalid_value", text))
    elif row["after"] is not None and _is_on_cancel(row) and row["after"] >= DAY_US:
        text = "must be less than a day from a request to cancel"
        found.append(fault(f"{place}.after", "invalid_value", text))
    if rule.of and row["of"] is None:
        found.append(fault(f"{place}.of", "missing_param"))
    elif rule.of and not _refers(number, row, rows, rule):
        text = f"must be the number of an earlier step, from 1, that is one of {', '.join(rule.of)}"
        found.append(fault(f"{place}.of", "invalid_value", text))
    return found


def _refers(
    number: int, row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], rule: StepRule
) -> bool:
    """Whether `of` names a step that is reported before, whatever clients do."""
    of: int = row["of"]
    if of > number:
        return False
    other = rows[of - 1]
    comes_first = _is_on_cancel(row) or not _is_on_cancel(other)
    return comes_first and other["step"] in rule.of


def subject_of(given: Mapping[SubjectKind, str | None]) -> tuple[SubjectKind, str]:
    """The one subject that is named. Raises Refused `missing_param`, `invalid_param`."""
    named = [(kind, subject) for kind, subject in given.items() if subject is not None]
    if not named:
        raise invalid("account", "missing_param", "is needed, or an order or instrument")
    if len(named) > 1:
        raise invalid(named[1][0], "unexpected_param", f"does not go with `{named[0][0]}`")
    return named[0]


def take(script: Script, order: str, *, at_us: int) -> list[Fact]:
    """An order takes an open script."""
    return [ScriptTaken(script.id, order, at_us)]


# --- evolve --------------------------------------------------------------------------------------


def written(fact: ScriptWritten) -> Script:
    """The script that a fact wrote."""
    return Script(fact.script, fact.subject_kind, fact.subject, fact.steps, fact.by, fact.at_us)


def evolve(state: Scripts | None, fact: ScriptFact) -> Scripts:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    if not isinstance(fact, ScriptFact):
        raise UnknownFact(f"scripts have no {type(fact).__name__}")
    state = state or Scripts((), 0, fact.at_us)
    match fact:
        case ScriptWritten():
            return replace(state, open=(*state.open, written(fact)), modified_at_us=fact.at_us)
        case ScriptTaken():
            if state.find(fact.script) is None:
                raise UnknownFact(f"the script {fact.script} is not open")
            left = tuple([one for one in state.open if one.id != fact.script])
            return Scripts(left, state.taken + 1, fact.at_us)
        case ScriptPlayed():
            return replace(state, modified_at_us=fact.at_us)
        case _:
            assert_never(fact)
