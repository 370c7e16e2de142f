"""The effective settings of a starting process, and the act that records a change.

The act's `context` holds the changed settings, by the names and in the forms of docs/settings.md: the
new text, or DEFAULT for one that is no longer set.
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
"""The journal stores its kind, and the act's subject is the roles."""


def effective(settings: Settings, options: Mapping[str, str], key: MasterKey) -> dict[str, str]:
    """Name -> text of each setting that differs from its default. Secrets and long texts are keyed
    digests.

    `options` are settings given on the command line.
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
    """Records the settings changed since these roles last started, and returns them.

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
    """The last recorded text of each setting, from the newest act that names it."""
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
