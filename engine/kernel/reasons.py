"""An operator's reason for a deed: one rule for all, since it stays in a fact or an act for ever."""

from __future__ import annotations

from engine.kernel.limits import REASON_CHARACTERS_MAX
from engine.kernel.refusals import invalid
from engine.kernel.text import is_plain


def check_reason(reason: str) -> None:
    """Raises Refused `invalid_param` for one that is blank, too long, or not all seen."""
    if not reason.strip() or not is_plain(reason) or len(reason) > REASON_CHARACTERS_MAX:
        text = f"must be 1 to {REASON_CHARACTERS_MAX} characters, none of them hidden"
        raise invalid("reason", "invalid_value", text)
