"""Resource of a script of the simulated venue. See docs/sandbox.md."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.domain.script import DAY_US, Script, ScriptTaken, Step
from engine.kernel.times import rfc3339
from engine.kernel.values import plain
from projections import shapes
from projections.resources import encode


class StepBody(msgspec.Struct, frozen=True):
    """A step of a script, as it was written; null where it has no such field."""

    step: shapes.StepKind
    of: shapes.Count | None
    quantity: str | None
    percent: str | None
    price: str | None
    price_change: str | None
    accrued_interest: str | None
    executed_offset: str | None
    instrument: str | None
    side: shapes.OrderSide | None
    currency: shapes.Currency | None
    after: str | None
    when: shapes.StepTime


class ScriptBody(msgspec.Struct, frozen=True):
    """A script: `open` until the next order of its order, account or instrument is sent, which is
    `taken_by`.
    """

    id: shapes.ScriptId
    status: shapes.ScriptStatus
    order: shapes.OrderId | None
    account: shapes.AccountId | None
    instrument: shapes.InstrumentId | None
    steps: tuple[StepBody, ...]
    taken_by: shapes.OrderId | None
    created_at: shapes.Time
    modified_at: shapes.Time


def script_json(script: Script, taken: ScriptTaken | None) -> bytes:
    """A script, open or `taken`."""
    named = {kind: script.subject if kind == script.subject_kind else None for kind in _SUBJECTS}
    return encode(
        ScriptBody(
            id=script.id,
            status="taken" if taken else "open",
            steps=tuple([_step(step) for step in script.steps]),
            taken_by=taken.order if taken else None,
            created_at=rfc3339(script.written_at_us),
            modified_at=rfc3339(taken.at_us if taken else script.written_at_us),
            **named,
        )
    )


_SUBJECTS = ("order", "account", "instrument")


def _step(step: Step) -> StepBody:
    return StepBody(
        step=step.kind,
        of=step.of,
        quantity=_number(step.quantity),
        percent=_number(step.percent),
        price=_number(step.price),
        price_change=_number(step.price_change),
        accrued_interest=_number(step.accrued_interest),
        executed_offset=_span(step.executed_us),
        instrument=step.instrument,
        side=step.side,
        currency=step.currency,
        after=_span(step.after_us),
        when="cancel" if step.on_cancel else "start",
    )


def _number(number: Decimal | None) -> str | None:
    """A number without the zeros that its writer did not send."""
    if number is None:
        return None
    text = plain(number)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _span(length_us: int) -> str | None:
    """A length of time of ISO 8601; None if it is nothing."""
    if not length_us:
        return None
    days, rest_us = divmod(abs(length_us), DAY_US)
    seconds = rest_us // 1_000_000
    parts = [(seconds // 3_600, "H"), (seconds % 3_600 // 60, "M"), (seconds % 60, "S")]
    clock = "".join(f"{number}{unit}" for number, unit in parts if number)
    sign, day = "-" if length_us < 0 else "", f"{days}D" if days else ""
    return f"{sign}P{day}{'T' if clock else ''}{clock}"
