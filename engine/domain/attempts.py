"""Attempts to deliver an event: their outcomes, and the back-off between them. Pure."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from engine.kernel.limits import ATTEMPTS_MAX, RETRY_AFTER_MAX_US

AttemptOutcome = Literal["succeeded", "http", "timeout", "dns", "tls", "connection", "blocked"]
OUTCOMES: Final[tuple[str, ...]] = get_args(AttemptOutcome)
"""`http`: an answer other than 2xx, invalid HTTP, too long, or sent before the request's end. `blocked`:
nothing was sent, because the name resolves to a non-public address."""
STATUSES: Final = ("pending", "succeeded", "failed", "cancelled")
"""Statuses of a delivery. `cancelled`: its webhook was deleted."""

DELAYS_MAX_S: Final = (0, 1, 6, 36, 216, 1_296, 7_776, 46_656, 86_400, 86_400)
"""Longest back-off before attempt 1, 2, 3 ...: min(24 h, 6^(n-2) s). The actual one is random between 0
and that (full jitter), so that a recovering receiver is not hit by all at once."""
assert len(DELAYS_MAX_S) == ATTEMPTS_MAX
ASKS_TO_WAIT: Final = frozenset({429, 503})
"""HTTP statuses for which `Retry-After` is honoured."""
IS_GONE: Final = 410
"""The HTTP status that disables a webhook."""


class Attempt(NamedTuple):
    """The outcome of one attempt. `status` is the HTTP status, if any."""

    at_us: int
    outcome: AttemptOutcome
    status: int | None
    duration_us: int
    retry_after_us: int = 0


class NextAttempt(NamedTuple):
    """The state of a delivery after an attempt; `due_us` only while it is pending."""

    status: str
    due_us: int | None


def after(attempt: Attempt, tries: int, *, now_us: int, jitter: float) -> NextAttempt:
    """The state after attempt number `tries` of its round. `jitter` is 0 to 1."""
    if attempt.outcome == "succeeded":
        return NextAttempt("succeeded", None)
    if tries >= ATTEMPTS_MAX:
        return NextAttempt("failed", None)
    delay_us = int(DELAYS_MAX_S[tries] * jitter * 1_000_000)
    if attempt.status in ASKS_TO_WAIT:
        delay_us = max(delay_us, min(attempt.retry_after_us, RETRY_AFTER_MAX_US))
    return NextAttempt("pending", now_us + delay_us)
