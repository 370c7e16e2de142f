"""Options, variables and the TOML file, put together by pydantic-settings.

pydantic takes 0.15 s to import, so this module is imported where settings are read. Each value goes with
its source. The file is read by us, in bounds: pydantic's reader takes a missing file for an empty one,
and waits for ever at a pipe. Unknown variables are ours to find too: pydantic ignores them.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from engine.config.settings_table import (
    CONFIG,
    CONFIG_BYTES_MAX,
    KNOWN,
    PREFIX,
    TESTS,
    Given,
    option_of,
    variable,
)
from engine.kernel.errors import BadSettings
from engine.kernel.files import regular

NEAR: Final = 0.7
"""How alike a slip and what was meant are, of 1."""


class _Variables(EnvSettingsSource):
    """Variables of a given environment, by their exact names."""

    def __init__(self, model: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(model, env_prefix=PREFIX)
        said = {name: environ.get(variable(name)) for name in model.model_fields}
        # Empty counts as not set.
        self.env_vars = {variable(name).lower(): text for name, text in said.items() if text}

    def prepare_field_value(
        self,
        field_name: str,
        field: FieldInfo,  # noqa: ARG002
        value: Any,
        value_is_complex: bool,  # noqa: ARG002, FBT001
    ) -> Any:
        """The text, and its variable."""
        return value if value is None else Given(value, "environment", variable(field_name))


def gather(
    options: Mapping[str, str | None],
    environ: Mapping[str, str],
    config: str | None = None,
    only: Collection[str] | None = None,
) -> dict[str, Given]:
    """Name -> what was said of each setting that was: by option, variable or the file, in this order.

    An empty variable counts as not set. `config` names the file, else the variable CONFIG does. Raises
    BadSettings for names that are no setting's, and for a file that cannot be used. With `only`,
    settings of other names are not looked at.
    """
    if only is None:
        _check_variables(environ)
    path = config or environ.get(CONFIG)
    said = _file(path, only)

    class Sources(BaseSettings):
        model_config = SettingsConfigDict(extra="forbid")

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            *_: PydanticBaseSettingsSource,
            **__: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                _Variables(settings_cls, environ),
                InitSettingsSource(settings_cls, said),
            )

    names = KNOWN if only is None else only
    fields: dict[str, Any] = dict.fromkeys(names, (Given | None, None))
    given = {
        name: Given(text, "option", option_of(name))
        for name, text in options.items()
        if text is not None and name in names
    }
    try:
        found = create_model("Settings", __base__=Sources, **fields)(**given)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise BadSettings(f"{path}: {name!r:.100} is no setting{_nearest(name, KNOWN)}") from None
    return {name: value for name, value in found if value is not None}


def _check_variables(environ: Mapping[str, str]) -> None:
    known = {CONFIG, *map(variable, KNOWN)}
    for name in environ:
        if name.startswith(PREFIX) and name not in known and not name.startswith(TESTS):
            raise BadSettings(f"{name:.100} is no setting{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    own = name.removeprefix(PREFIX).lower()
    if own in known:  # a variable's name in the file
        return f"; here it is {own}"
    bare = {one.removeprefix(PREFIX).lower(): one for one in known}
    close = get_close_matches(own, bare, 1, NEAR)
    return f"; the nearest one is {bare[close[0]]}" if close else ""


def _file(path: str | None, only: Collection[str] | None) -> dict[str, Given]:
    """Name -> what the file says, of all or `only` some settings."""
    if not path:
        return {}
    try:
        with regular(Path(path)) as opened:
            content = opened.read(CONFIG_BYTES_MAX + 1)
            mode = os.fstat(opened.fileno()).st_mode
        if len(content) > CONFIG_BYTES_MAX:
            raise BadSettings(
                f"{path} is larger than {CONFIG_BYTES_MAX} bytes: that is no file of settings"
            )
        words = tomllib.loads(content.decode())
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadSettings(f"{path} is not TOML: {error}") from None
    given = dict[str, Given]()
    for name, value in words.items():
        if only is not None and name not in only:
            continue
        setting = KNOWN.get(name)
        text = _text(value, setting.separator, f"{path}: {name}") if setting else ""
        given[name] = Given(text, "file", f"{name} in {path}")
        if setting is not None and setting.is_secret and text and mode & 0o077:
            raise BadSettings(f"{path} holds {name} and others can read it: run `chmod 600 {path}`")
    return given


def _text(value: Any, separator: str, where: str) -> str:
    """As a variable would say it. Floats are not exact, so an amount is a string."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return separator.join(value)
    if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
        return separator.join(f"{key}={one}" for key, one in value.items())
    raise BadSettings(f"{where} is text, a whole number, true or false, or a list or table of texts")
