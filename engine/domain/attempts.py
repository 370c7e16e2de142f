"""Attempts to deliver an event: what can come of one, and when the next is due. Pure."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from engine.kernel.limits import ATTEMPTS_MAX, RETRY_AFTER_MAX_US

Outcome = Literal["succeeded", "http", "timeout", "dns", "tls", "connection", "blocked"]
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
"""`http`: an answer that is not 2xx, or no HTTP, or too long, or to half a request. `blocked`: nothing
was sent, because the name stands for an address that is not public."""
STATUSES: Final = ("pending", "succeeded", "failed", "cancelled")
"""Of a delivery. `cancelled`: its webhook was deleted."""

DELAYS_MAX_S: Final = (0, 1, 6, 36, 216, 1_296, 7_776, 46_656, 86_400, 86_400)
"""Longest pause before attempt 1, 2, 3 ...: min(24 h, 6^(n-2) s). The real one is drawn between none and
that, so that receivers who come back are not hit by all at once."""
assert len(DELAYS_MAX_S) == ATTEMPTS_MAX
ASKS_TO_WAIT: Final = frozenset({429, 503})
"""Statuses whose `Retry-After` is honoured."""
IS_GONE: Final = 410
"""The status that disables a webhook."""


class Attempt(NamedTuple):
    """What came of one attempt. `status` is that of HTTP, if there was one."""

    at_us: int
    outcome: Outcome
    status: int | None
    duration_us: int
    retry_after_us: int = 0


class Next(NamedTuple):
    """How a delivery stands after an attempt; `due_us` only while it is pending."""

    status: str
    due_us: int | None


def after(attempt: Attempt, tries: int, *, now_us: int, jitter: float) -> Next:
    """What follows on the attempt that was number `tries` of its round. `jitter` is 0 to 1."""
    if attempt.outcome == "succeeded":
        return Next("succeeded", None)
    if tries >= ATTEMPTS_MAX:
        return Next("failed", None)
    delay_us = int(DELAYS_MAX_S[tries] * jitter * 1_000_000)
    if attempt.status in ASKS_TO_WAIT:
        delay_us = max(delay_us, min(attempt.retry_after_us, RETRY_AFTER_MAX_US))
    return Next("pending", now_us + delay_us)
