"""Sentences for people, filled in with figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from string import Formatter
from typing import Any


class _Figures(Formatter):
    """`{amount}` formatted for people: 99,999.00, a time in UTC, a list with commas."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Decimal):
            return f"{value:,f}"
        if isinstance(value, datetime):
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list | tuple):
            return ", ".join(str(one) for one in value) or "none"
        return str(super().format_field(value, format_spec))


_figures = _Figures()


def fill_in(templates: Sequence[str], words: Mapping[str, object]) -> str:
    """The first of `templates` whose words are all given, filled in. The last one has no words.

    fill_in(("{need} USD is needed.", "Cash is needed."), {"need": Decimal("9999.5")})
        -> "9,999.5 USD is needed."
    """
    for template in templates:
        names = {name for _, name, _, _ in _figures.parse(template) if name}
        if all(words.get(name) is not None for name in names):
            return _figures.vformat(template, (), words)
    raise AssertionError(f"no sentence without words: {templates}")
