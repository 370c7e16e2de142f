"""The settings that a process starts with, and the act that records a change of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Final

from engine import acts, records
from engine.idempotency import command_id
from engine.keys import MasterKey
from engine.limits import SETTING_CHARACTERS_SHOWN
from engine.operations import define_operations
from engine.records import Filters
from engine.settings import Settings
from engine.store import Store

DEED: Final = "settings.changed"


def effective(settings: Settings, options: Mapping[str, object], key: MasterKey) -> dict[str, str]:
    """Every setting and option by its name. What can hold a secret, or is long, is a keyed digest."""
    shown = {name: str(value) for name, value in options.items()}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        text = "" if value is None else str(value)
        if text and (not field.repr or len(text) > SETTING_CHARACTERS_SHOWN):
            digest = command_id(["setting", field.name, text], key.derive("command_ids"))
            text = f"#{digest[:4].hex()}"
        shown[field.name] = text
    return shown


def note_change(store: Store, roles: str, now: Mapping[str, str]) -> list[str]:
    """Records the settings if they differ from those that these roles last started with.

    Returns the names of those that changed. Raises Unavailable.
    """
    last = records.page(
        store, define_operations(), "acts", Filters(exact={"deed": DEED, "subject": roles}), limit=1
    )
    before = json.loads(last[0]["context"]).get("settings", {}) if last else {}
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        context = {"changed": changed if last else [], "settings": dict(now)}
        acts.note(store, DEED, actor=acts.COMMAND_LINE, subject=roles, context=context)
    return changed
