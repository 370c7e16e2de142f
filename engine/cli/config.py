"""`order-engine config`: every setting as it holds here, and who said so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.cli.parts import AsJson, Config, Data, JournalUrl, JournalUrlFile, errors_told, print_json
from engine.cli.serve import ViewsUrl, plan_of
from engine.cli.tables import Column, print_table
from engine.settings import read_settings
from engine.settings_table import SETTINGS, variable

if TYPE_CHECKING:
    from engine.settings import Settings
    from engine.settings_table import Setting

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
    """Show every setting: its value, where that was said, and its default. Secrets are masked.

    An option wins over the variable, the variable over the file, the file over the default. Whatever
    cannot be used is refused as `serve` would refuse it.

    \b
    Examples:
      order-engine config
      order-engine config --config /etc/order-engine.toml
      order-engine config --json | jq '.settings[] | select(.source != "default")'
    """
    with errors_told(as_json=as_json):
        settings = read_settings(
            data=data, journal_url=journal_url, views_url=views_url, config=config,
            options={"journal_url_file": journal_url_file},
        )  # fmt: skip
        plan_of(settings)
        rows = [_row(settings, setting) for setting in SETTINGS]
    if as_json:
        print_json({"settings": rows})
    else:
        names = ("setting", "value", "source", "default")
        print_table(_COLUMNS, [[str(row[name] or "") for name in names] for row in rows])


def _row(settings: Settings, setting: Setting) -> dict[str, object]:
    given = settings.given.get(setting.name)
    return {
        "setting": setting.name,
        "variable": variable(setting.name),
        "option": setting.option,
        "value": _value(settings, setting) or None,
        "source": given.source if given else "default",
        "default": setting.default or None,
        "meaning": setting.meaning,
    }


def _value(settings: Settings, setting: Setting) -> str:
    """What holds: a secret without its secret part."""
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
    """Where a database is. Raises BadSettings for what is no database URL."""
    from engine.datastore import open_store  # noqa: PLC0415
    from engine.installation import place_of  # noqa: PLC0415

    store = open_store(url)
    try:
        return place_of(store)
    finally:
        store.close()
