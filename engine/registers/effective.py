"""The settings that a process starts with, and the act that records a change of them.

The act's `context` has what changed, by the names and in the forms of docs/settings.md: the new text, or
DEFAULT for one that is not set any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from engine.config.keys import MasterKey
from engine.config.settings import Settings
from engine.config.settings_table import KNOWN
from engine.domain.idempotency import command_id
from engine.journal.store import Store
from engine.kernel.limits import LIST_LIMIT_MAX, SETTING_CHARACTERS_SHOWN
from engine.registers import acts, records
from engine.registers.operations import define_operations
from engine.registers.records import Filters

DEED: Final = "settings.changed"
DEFAULT: Final = "default"
_KEPT_ELSEWHERE: Final = frozenset(("kind", "roles"))
"""The journal keeps its kind, and the act's subject is the roles."""


def effective(settings: Settings, options: Mapping[str, str], key: MasterKey) -> dict[str, str]:
    """Name -> text of each setting that has not its default. Secrets and long texts are keyed digests.

    `options` are settings that a command has set by itself.
    """
    said = {name: one.text for name, one in settings.given.items()} | dict(options)
    shown = {}
    for name, text in said.items():
        if name in _KEPT_ELSEWHERE or text in {"", KNOWN[name].default}:
            continue
        is_hidden = KNOWN[name].is_secret or len(text) > SETTING_CHARACTERS_SHOWN
        shown[name] = _digest(name, text, key) if is_hidden else text
    return shown


def _digest(name: str, text: str, key: MasterKey) -> str:
    digest = command_id(["setting", name, text], key.derive("command_ids"))
    return f"#{digest[:4].hex()}"


def note_change(store: Store, roles: str, now: Mapping[str, str]) -> dict[str, str]:
    """Records the settings that differ from those that these roles last started with, and returns them.

    Raises Unavailable.
    """
    before = _before(store, roles)
    changed = {
        name: now.get(name, DEFAULT)
        for name in sorted(before.keys() | now.keys())
        if before.get(name, DEFAULT) != now.get(name, DEFAULT)
    }
    if changed:
        acts.note(store, DEED, actor=acts.COMMAND_LINE, subject=roles, context=changed)
    return changed


def _before(store: Store, roles: str) -> dict[str, str]:
    """Of each setting what the newest act says that names it."""
    found: dict[str, str] = {}
    wanted, end = Filters(exact={"deed": DEED, "subject": roles}), None
    while True:
        rows = records.page(store, define_operations(), "acts", wanted, limit=LIST_LIMIT_MAX, before=end)
        for row in rows:
            for name, text in json.loads(row["context"]).items():
                if name in KNOWN:
                    found.setdefault(name, text)
        if len(rows) < LIST_LIMIT_MAX:
            return found
        end = rows[-1]["id"]
