"""The operator's settings, read once. The only place that reads the environment.

`engine.config.settings_table` has all names; here each text becomes a value. An empty variable counts as
not set. The key has no option: every user of the machine can read a command line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from engine.config.settings_table import CONFIG, Given, variable
from engine.kernel.errors import BadSettings, WrongUsage
from engine.kernel.files import private_text
from engine.kernel.limits import ORDER_QUOTE_LIFETIME_MAX_US
from engine.kernel.rate import Quotas, StreamQuotas, parse_most, parse_quota
from engine.kernel.values import parse_amounts

if TYPE_CHECKING:
    from engine.domain.fees import Fees
    from engine.domain.order_quote import Rules as QuoteRules
    from engine.domain.routing import Routes, Venues
    from engine.domain.trading_limits import Limits

DATA: Final = "ORDER_ENGINE_DATA"
JOURNAL_URL: Final = "ORDER_ENGINE_JOURNAL_URL"
VIEWS_URL: Final = "ORDER_ENGINE_VIEWS_URL"
MASTER_KEY: Final = "ORDER_ENGINE_KEY"
RATES: Final = {
    "ORDER_ENGINE_RATE_CLIENT": "client",
    "ORDER_ENGINE_RATE_ADDRESS": "address",
    "ORDER_ENGINE_RATE_TOKENS": "tokens",
    "ORDER_ENGINE_RATE_FAILURES": "failures",
    "ORDER_ENGINE_RATE_ERRORS": "errors",
    "ORDER_ENGINE_RATE_HEALTH": "health",
}
"""Variable -> field of `engine.kernel.rate.Quotas`. Each is REQUESTS/SECONDS, or off."""
STREAMS: Final = {
    "ORDER_ENGINE_STREAMS_CLIENT": "client",
    "ORDER_ENGINE_STREAMS_TENANT": "tenant",
}
"""Variable -> field of `engine.kernel.rate.StreamQuotas`. Each is a number, or off."""
LIMITS: Final = {
    "ORDER_ENGINE_LIMIT_ORDER": "order",
    "ORDER_ENGINE_LIMIT_ACCOUNT_DAY": "account_day",
    "ORDER_ENGINE_LIMIT_TENANT_DAY": "tenant_day",
}
"""Variable -> field of `Limits`. Each is CURRENCY=AMOUNT, several with commas."""
FEES: Final = "ORDER_ENGINE_FEES"
VENUES: Final = "ORDER_ENGINE_VENUES"
VENUE_OF: Final = "ORDER_ENGINE_VENUE_OF"
VENUE_PRICE_BAND: Final = "ORDER_ENGINE_VENUE_PRICE_BAND"
PRICE_MAX_AGE: Final = "ORDER_ENGINE_PRICE_MAX_AGE"
MINIMUM_ORDER_VALUE: Final = "ORDER_ENGINE_MINIMUM_ORDER_VALUE"
LIMIT_TIMES: Final = {
    "ORDER_ENGINE_LIMIT_PRICE_AGE": "price_refuse_age_us",
    "ORDER_ENGINE_LIMIT_DUPLICATE_WINDOW": "duplicate_window_us",
}
"""The same for times, such as 5s."""
QUOTE_LIFETIME: Final = "ORDER_ENGINE_QUOTE_LIFETIME"
QUOTE_TOLERANCE: Final = "ORDER_ENGINE_QUOTE_TOLERANCE"
PRICE_JUMP_MAX: Final = "ORDER_ENGINE_PRICE_JUMP_MAX"
PLACES: Final = ("data", "journal_url", "journal_url_file", "views_url", "views_url_file", "key")
"""Settings that say which installation it is."""
HTTP_PARSER: Final = "ORDER_ENGINE_HTTP_PARSER"
LOG: Final = "ORDER_ENGINE_LOG"
LOG_REQUESTS: Final = "ORDER_ENGINE_LOG_REQUESTS"
TRUSTED_PROXIES: Final = "ORDER_ENGINE_TRUSTED_PROXIES"
SEALS_TO: Final = "ORDER_ENGINE_SEALS_TO"
NATS: Final = {
    "ORDER_ENGINE_NATS_URL": "url",
    "ORDER_ENGINE_NATS_STREAM": "stream",
    "ORDER_ENGINE_NATS_SUBJECT": "subject",
    "ORDER_ENGINE_NATS_CREDENTIALS": "credentials",
}
"""Variable -> field of `NatsPlace`."""


@dataclass(frozen=True)
class NatsPlace:
    """A NATS server with JetStream: the URL, which may hold a password; the stream; the first word of
    subjects; a file with credentials.
    """

    url: str = field(repr=False)
    stream: str = "order-engine"
    subject: str = "order-engine"
    credentials: str | None = None


@dataclass(frozen=True)
class Settings:
    """One process's settings. What can hold a secret stays out of its `repr`."""

    data: Path
    journal_url: str = field(repr=False)
    master_key: str | None = field(default=None, repr=False)
    given_views_url: str | None = field(default=None, repr=False)
    quotas: Quotas = field(default_factory=Quotas)
    streams: StreamQuotas = field(default_factory=StreamQuotas)
    limits: Limits | None = None
    price_jump_max: Decimal | None = None
    fees: Fees = field(default_factory=dict)
    venues: Venues = field(default_factory=dict, repr=False)
    venue_of: Routes = field(default_factory=dict)
    venue_price_band: Decimal | None = None
    price_max_age_us: int | None = None
    quotes: QuoteRules | None = None
    minimum_order_value: Mapping[str, Decimal] = field(default_factory=dict)
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    log: str | None = None
    log_every: int = 0
    allows_python_parser: bool = False
    seals_to: str | None = field(default=None, repr=False)
    nats: NatsPlace | None = None
    given: Mapping[str, Given] = field(default_factory=dict, repr=False, compare=False)

    def text(self, name: str, default: str = "") -> str:
        """The text of a setting that only `serve` has."""
        return self.given[name].text if name in self.given else default

    def place(self, name: str) -> str:
        """Where a setting was said, for people."""
        return self.given[name].place if name in self.given else variable(name)

    @property
    def views_url(self) -> str:
        """The views' database: a file of its own beside a journal in SQLite, else the journal's."""
        beside = f"sqlite:///{self.data}/views.db"
        return self.given_views_url or (
            beside if self.journal_url.startswith("sqlite") else self.journal_url
        )

    @property
    def key_file(self) -> Path:
        """Where the master key is kept when the environment does not give it."""
        return self.data / "master.key"


def read_settings(
    *,
    data: str | None = None,
    journal_url: str | None = None,
    views_url: str | None = None,
    config: str | None = None,
    options: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
) -> Settings:
    """The settings from options, environment and file, in that order. `options` are others, by name.

    Raises WrongUsage for one that makes no sense, and for names that are no setting's; with `only` for
    those alone, and the others are as if they had not been said.
    """
    said = {"data": data, "journal_url": journal_url, "views_url": views_url, **(options or {})}
    try:
        return _read(said, os.environ if environ is None else environ, config, only)
    except BadSettings as error:
        raise WrongUsage(str(error)) from error


def read_places(
    *,
    data: str | None = None,
    journal_url: str | None = None,
    views_url: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, WrongUsage | None]:
    """The settings; where one makes no sense, those of PLACES alone and what is wrong with the others.

    For what must work in an emergency. Raises WrongUsage if a place itself makes no sense: better to do
    nothing than to do it to another journal.
    """
    read = partial(
        read_settings, data=data, journal_url=journal_url, views_url=views_url, environ=environ
    )
    try:
        return read(), None
    except WrongUsage as error:
        return read(only=PLACES), error


def _read(
    said: Mapping[str, str | None],
    variables: Mapping[str, str],
    config: str | None,
    only: Collection[str] | None,
) -> Settings:
    # What takes time to import is imported where settings are read: `--help` reads none.
    from engine.config.sources import gather  # noqa: PLC0415
    from engine.domain.fees import parse_fees  # noqa: PLC0415
    from engine.domain.routing import parse_routes, parse_venues  # noqa: PLC0415

    given = gather(said, variables, config, only)
    _read_files(given)
    # What was said, as variables say it: where it came from only matters to who is told what is wrong.
    environ = _Said({variable(name): one.text for name, one in given.items()})
    environ.places = {variable(name): one.place for name, one in given.items()}
    directory = _directory(_given(given.get("data")) or "data")
    url = _given(given.get("journal_url"))
    if url is None and "?" in str(directory):
        raise BadSettings("a data directory with ? in its name cannot be part of a database URL")
    url = url or f"sqlite:///{directory}/journal.db"
    venues = parse_venues(environ.get(VENUES) or "", environ.place(VENUES))
    return Settings(
        data=directory,
        journal_url=url,
        master_key=environ.get(MASTER_KEY) or None,
        given_views_url=_given(given.get("views_url")),
        quotas=_quotas(environ),
        streams=_streams(environ),
        limits=_limits(environ),
        fees=parse_fees(environ.get(FEES) or "", environ.place(FEES)),
        venues=venues,
        venue_of=parse_routes(environ.get(VENUE_OF) or "", environ.place(VENUE_OF), venues),
        venue_price_band=_share(environ.get(VENUE_PRICE_BAND) or None, environ.place(VENUE_PRICE_BAND)),
        price_max_age_us=_price_max_age(environ),
        quotes=_quotes(environ),
        minimum_order_value=parse_amounts(
            environ.get(MINIMUM_ORDER_VALUE) or "", environ.place(MINIMUM_ORDER_VALUE)
        ),
        price_jump_max=_share(environ.get(PRICE_JUMP_MAX) or None, environ.place(PRICE_JUMP_MAX)),
        trusted_proxies=_networks(environ),
        log=_log(environ),
        log_every=_log_every(environ),
        allows_python_parser=_is_python(environ),
        seals_to=_seals_to(environ),
        nats=_nats(environ),
        given=given,
    )


class _Said(dict[str, str]):
    """Variable -> text, and where that was said."""

    places: Mapping[str, str]

    def place(self, name: str) -> str:
        """Where it was said, for people."""
        return self.places.get(name, name)


_FILES: Final = {"journal_url": "journal_url_file", "views_url": "views_url_file"}
"""Setting -> the one that names a file which holds it."""


def _read_files(given: dict[str, Given]) -> None:
    """Puts what files hold in the place of their names. Raises BadSettings for both at once."""
    for name, holder in _FILES.items():
        if holder not in given:
            continue
        if name in given and given[name].source == given[holder].source:
            raise BadSettings(f"either {name} or {holder}")
        if name not in given or given[name].source != "option":
            path, source, place = given[holder]
            given[name] = Given(private_text(path, place), source, place)


def environment_of(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that shall have the same settings: no command line shows them."""
    inherited = dict(os.environ if environ is None else environ)
    for name in (CONFIG, *(variable(holder) for holder in _FILES.values())):
        inherited.pop(name, None)  # what they say comes along
    said = {
        variable(name): one.text for name, one in settings.given.items() if name not in _FILES.values()
    }
    return (
        inherited
        | said
        | {
            DATA: str(settings.data),
            JOURNAL_URL: settings.journal_url,
            VIEWS_URL: settings.views_url,
        }
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name can come to stand for another."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _given(given: Given | None) -> str | None:
    if given is None:
        return None
    if not given.text.strip():
        raise BadSettings(f"{given.place} is empty")
    # Never shown: a URL may hold a password.
    if not given.text.isprintable():
        raise BadSettings(f"{given.place} holds characters that cannot be printed")
    return given.text


def _quotas(environ: _Said) -> Quotas:
    given = {name: field_ for name, field_ in RATES.items() if environ.get(name)}
    return Quotas(
        **{field_: parse_quota(environ[name], environ.place(name)) for name, field_ in given.items()}
    )


def _streams(environ: _Said) -> StreamQuotas:
    given = {name: field_ for name, field_ in STREAMS.items() if environ.get(name)}
    most = {field_: parse_most(environ[name], environ.place(name)) for name, field_ in given.items()}
    return StreamQuotas(**{**StreamQuotas()._asdict(), **most})


def _limits(environ: _Said) -> Limits | None:
    from engine.domain.trading_limits import Limits  # noqa: PLC0415

    amounts = {
        LIMITS[name]: parse_amounts(environ[name], environ.place(name))
        for name in LIMITS
        if environ.get(name)
    }
    times = {
        LIMIT_TIMES[name]: parse_duration_us(environ[name], environ.place(name))
        for name in LIMIT_TIMES
        if environ.get(name)
    }
    return Limits(**amounts, **times) if amounts or times else None  # type: ignore[arg-type]


def _share(text: str | None, name: str) -> Decimal | None:
    """A part of the whole, above 0: `0.2` for a fifth. Raises BadSettings."""
    if text is None:
        return None
    if not re.fullmatch(r"(0|[1-9][0-9]{0,3})(\.[0-9]{1,6})?", text, re.ASCII) or not Decimal(text):
        raise BadSettings(f"{name} is a part of the former price, such as 0.2 for a fifth: {text!r:.40}")
    return Decimal(text)


_DURATION: Final = re.compile(r"(0|[1-9][0-9]{0,6})(ms|s|m|h)", re.ASCII)
_UNITS_US: Final = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}


def parse_duration_us(text: str, what: str) -> int:
    """Microseconds of `500ms`, `10s`, `2m`, `1h`: one whole number and one unit. Raises BadSettings."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise BadSettings(f"{what} is a whole number and ms, s, m or h, such as 10s: {text!r:.40}")
    return int(match[1]) * _UNITS_US[match[2]]


def _price_max_age(environ: _Said) -> int | None:
    text, place = environ.get(PRICE_MAX_AGE), environ.place(PRICE_MAX_AGE)
    age_us = parse_duration_us(text, place) if text else None
    if age_us == 0:
        raise BadSettings(f"{place} is above 0: no order could be executed: {text!r:.40}")
    return age_us


def _quotes(environ: _Said) -> QuoteRules | None:
    from engine.domain.order_quote import Rules  # noqa: PLC0415

    lifetime, place = environ.get(QUOTE_LIFETIME), environ.place(QUOTE_LIFETIME)
    tolerance = _share(environ.get(QUOTE_TOLERANCE) or None, environ.place(QUOTE_TOLERANCE))
    rules = Rules()
    if lifetime:
        rules = rules._replace(lifetime_us=parse_duration_us(lifetime, place))
    if not 0 < rules.lifetime_us <= ORDER_QUOTE_LIFETIME_MAX_US:
        raise BadSettings(f"{place} is above 0 and at most 1h: {lifetime!r:.40}")
    if tolerance is not None:
        rules = rules._replace(tolerance=tolerance)
    return rules if lifetime or tolerance is not None else None


def _networks(environ: _Said) -> tuple[IPv4Network | IPv6Network, ...]:
    text = environ.get(TRUSTED_PROXIES) or ""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise BadSettings(
            f"{environ.place(TRUSTED_PROXIES)} is a list of networks, such as 10.0.0.0/8,fd00::/8:"
            f" {text!r:.80}"
        ) from None


def _log(environ: _Said) -> str | None:
    text = environ.get(LOG) or None
    if text not in {None, "json", "text"}:
        raise BadSettings(f"{environ.place(LOG)} is json or text: {text!r:.40}")
    return text


def _seals_to(environ: _Said) -> str | None:
    """Never shown: knowledge of a receiver's URL may permit writing there."""
    text = environ.get(SEALS_TO) or None
    if text is None or text.startswith("/"):
        return text
    try:
        url = urlsplit(text)
        is_safe = url.scheme == "https" or url.hostname in {"127.0.0.1", "localhost", "::1"}
        is_url = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        is_url = is_safe = False
    if not is_url or not is_safe or url.username or url.query or url.fragment or not text.isprintable():
        raise BadSettings(
            f"{environ.place(SEALS_TO)} is an absolute path, or a URL https://host/path without user,"
            " query and fragment (http on this machine only)"
        )
    return text


def _nats(environ: _Said) -> NatsPlace | None:
    """Never shown: a URL may hold a password."""
    given = {field_: environ[name] for name, field_ in NATS.items() if environ.get(name)}
    if not given:
        return None
    if "url" not in given:
        first = next(name for name in NATS if environ.get(name))
        raise BadSettings(f"{environ.place(first)} goes with ORDER_ENGINE_NATS_URL, which is not set")
    if not re.fullmatch(r"(nats|tls)://[!-~]{1,500}", given.get("url", ""), re.ASCII):
        place = environ.place("ORDER_ENGINE_NATS_URL")
        raise BadSettings(f"{place} is a URL such as nats://broker:4222, or tls://...")
    for name in ("stream", "subject"):
        text = given.get(name, "x")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", text, re.ASCII):
            place = environ.place(f"ORDER_ENGINE_NATS_{name.upper()}")
            raise BadSettings(f"{place} has letters, digits, - and _ only, at most 100: {text!r:.40}")
    return NatsPlace(**given)


def _is_python(environ: _Said) -> bool:
    parser = environ.get(HTTP_PARSER) or "compiled"
    if parser not in {"compiled", "python"}:
        raise BadSettings(f"{environ.place(HTTP_PARSER)} is compiled or python: {parser!r:.40}")
    return parser == "python"


def _log_every(environ: _Said) -> int:
    text = environ.get(LOG_REQUESTS) or "0"
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise BadSettings(
            f"{environ.place(LOG_REQUESTS)} is a whole number: 0 for none, 1 for each, 100 for one in"
            f" 100: {text!r:.40}"
        )
    return int(text)


def _directory(text: str) -> Path:
    try:
        return Path(text).absolute()
    except OSError as error:  # the current directory was deleted
        raise BadSettings(f"the current directory cannot be used: {error.strerror}") from error
