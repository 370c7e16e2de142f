"""`order-engine config`: every effective setting and its source."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from engine.config.settings import read_settings
from engine.config.settings_table import SETTINGS, variable
from engine.kernel.errors import EngineError
from order_engine.parts import AsJson, Config, Data, JournalUrl, JournalUrlFile, errors_told, print_json
from order_engine.serve import ViewsUrl, check_venues, plan_of
from order_engine.tables import Column, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.config.settings import Settings
    from engine.config.settings_table import Setting
    from engine.domain.kind import JournalKind

_COLUMNS: Final = (
    Column("setting"), Column("value", width=40), Column("source"), Column("default", width=30)
)  # fmt: skip
HIDDEN: Final = "(hidden)"


def config(
    *,
    data: Data = None,
    journal_url: JournalUrl = None,
    journal_url_file: JournalUrlFile = None,
    views_url: ViewsUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show every setting and its source. Secrets are masked.

    An option overrides the variable, the variable the file, the file the default. Invalid settings are
    refused, as `serve` refuses them.

    \b
    Examples:
      order-engine config
      order-engine config --config /etc/order-engine.toml
      order-engine config --json | jq '.settings[] | select(.source != "default")'
    """
    with errors_told(as_json=as_json):
        from engine.config.keys import find_key  # noqa: PLC0415
        from order_engine.roles import price_max_age_us  # noqa: PLC0415

        settings = read_settings(
            data=data, journal_url=journal_url, views_url=views_url, config=config,
            options={"journal_url_file": journal_url_file},
        )  # fmt: skip
        plan = plan_of(settings)
        check_venues(settings)
        find_key(settings)  # an invalid key is refused, as by `serve`
        kind = _kind(settings) or plan.kind
        shown = {
            "kind": kind or "",
            "roles": ",".join(plan.roles),
            "venue_of": _routes(settings, kind),
            "price_max_age": _lasting(price_max_age_us(settings, kind)) if kind else "",
        }
        rows = [_row(settings, setting, shown) for setting in SETTINGS]
    if as_json:
        print_json({"settings": rows})
    else:
        names = ("setting", "value", "source", "default")
        print_table(_COLUMNS, [[str(row[name] or "") for name in names] for row in rows])


def _kind(settings: Settings) -> JournalKind | None:
    """The journal's kind; None without a readable journal."""
    from engine.commands.declaring import declared  # noqa: PLC0415
    from engine.installation import exists, open_journal_datastore  # noqa: PLC0415

    with (
        contextlib.suppress(EngineError),
        contextlib.closing(open_journal_datastore(settings)) as datastore,
    ):
        return declared(datastore) if exists(datastore) else None
    return None


def _routes(settings: Settings, kind: JournalKind | None) -> str:
    """The rules for venues in force, in the form of the setting."""
    from engine.domain.routing import effective_routes  # noqa: PLC0415

    routes = effective_routes(settings.venues, settings.venue_of, kind)
    return "; ".join(f"{subject}={venue}" for subject, venue in routes.items())


def _lasting(us: int) -> str:
    """A duration in the form of settings."""
    unit, word = next((size, word) for size, word in _UNITS if us % size == 0)
    return f"{us // unit}{word}"


_UNITS: Final = ((3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"))


def _row(settings: Settings, setting: Setting, shown: Mapping[str, str]) -> dict[str, object]:
    given = settings.given.get(setting.name)
    return {
        "setting": setting.name,
        "variable": variable(setting.name),
        "option": setting.option,
        "value": shown.get(setting.name) or _value(settings, setting) or None,
        "source": given.source if given else _source(setting, shown),
        "default": setting.default or None,
        "meaning": setting.meaning,
    }


def _source(setting: Setting, shown: Mapping[str, str]) -> str:
    return "journal" if setting.name == "kind" and shown["kind"] else "default"


def _value(settings: Settings, setting: Setting) -> str:
    """The effective value, without secrets."""
    name = setting.name
    given = settings.given.get(name)
    if name == "data":
        return str(settings.data)
    if name in {"journal_url", "views_url"}:
        return _place(settings.journal_url if name == "journal_url" else settings.views_url)
    if given is None:
        return setting.default if name != "key" else str(settings.key_file)
    return HIDDEN if setting.is_secret else given.text


def _place(url: str) -> str:
    """The place of a database. Raises BadSettings for an invalid URL."""
    from engine.installation import place_of  # noqa: PLC0415
    from engine.journal.datastore import open_store  # noqa: PLC0415

    store = open_store(url)
    try:
        return place_of(store)
    finally:
        store.close()
