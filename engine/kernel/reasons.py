"""An operator's reason for an act: one rule for all, since it is stored in a fact or an act for ever."""

from __future__ import annotations

from engine.kernel.limits import REASON_CHARACTERS_MAX
from engine.kernel.refusals import invalid
from engine.kernel.text import is_plain


def check_reason(reason: str) -> None:
    """Raises Refused `invalid_param` for a reason that is blank, too long, or has hidden characters."""
    if not reason.strip() or not is_plain(reason) or len(reason) > REASON_CHARACTERS_MAX:
        text = f"must be 1 to {REASON_CHARACTERS_MAX} characters, none of them hidden"
        raise invalid("reason", "invalid_value", text)
