"""Every setting there is: one literal table. docs/settings.md prints it, `sources` reads them.

A setting has one name, which is its key in the TOML file; `ORDER_ENGINE_` and the name in capitals is
its variable. An option wins over the variable, the variable over the file, the file over the default.

To add one: a line in SETTINGS, and where `engine.config.settings` reads it by `text.get(variable(name))`. An
option of `serve` is passed to `read_settings` under the setting's name. `python -m docs.generate` then
renews the page.
"""

from __future__ import annotations

# ruff: noqa: E501, FBT003  a line for each setting
from typing import Final, Literal, NamedTuple

PREFIX: Final = "ORDER_ENGINE_"
CONFIG: Final = "ORDER_ENGINE_CONFIG"
TESTS: Final = "ORDER_ENGINE_TEST_"
"""Variables of the test suite, which are none of the engine's."""
CONFIG_BYTES_MAX: Final = 1_048_576
"""A file of settings is a page or two; a mistaken name must not be read for ever."""

Source = Literal["default", "file", "environment", "option"]


class Setting(NamedTuple):
    """`form` is how it is written, `default` what holds without it, in words where it depends.

    `separator` stands between the entries of a list or table of the file.
    """

    name: str
    form: str
    default: str
    meaning: str
    option: str | None = None
    is_secret: bool = False
    separator: str = ","


class Given(NamedTuple):
    """The text of a setting, and where it was said: `place` is the option, variable or key of the file."""

    text: str
    source: Source
    place: str = ""


SETTINGS: Final = (
    Setting("data", "DIRECTORY", "data", "The data directory.", "--data"),
    Setting("journal_url", "URL", "DIR/journal.db", "The journal's database.", "--journal-url", True),
    Setting("journal_url_file", "FILE", "", "A file, mode 0600, with the `journal_url`.", "--journal-url-file"),
    Setting("views_url", "URL", "DIR/views.db, or the journal's", "The views' database.", "--views-url", True),
    Setting("views_url_file", "FILE", "", "A file, mode 0600, with the `views_url`."),
    Setting("key", "64 HEX DIGITS", "DIR/master.key", "The master key.", None, True),
    Setting("kind", "live|sandbox", "", "Kind of a new journal, or expected kind of an existing one.", "--live, --sandbox"),
    Setting("host", "ADDRESS", "127.0.0.1", "Address of the API.", "--host"),
    Setting("port", "PORT", "8080", "Port of the API; 0 takes a free one.", "--port"),
    Setting("roles", "NAMES", "all", "Roles of this process, separated by commas.", "--roles"),
    Setting("metrics_port", "PORT", "", "Port of the Prometheus metrics, on 127.0.0.1.", "--metrics-port"),
    Setting("allow_local_webhooks", "true|false", "false", "Allow webhooks to this machine.", "--allow-local-webhooks"),
    Setting("sandbox_day", "TIME", "", "Length of a sandbox's business day.", "--sandbox-day"),
    Setting("venue_delay", "TIME", "0s", "Delay of the simulated venue.", "--venue-delay"),
    Setting("venues", "NAME=KIND,OPTIONS", "", "Venues and their options: docs/venues.md.", separator=";"),
    Setting("venue_of", "SUBJECT=VENUE", "the only venue", "The venue of each instrument: docs/venues.md.", separator=";"),
    Setting("venue_price_band", "SHARE", "", "Maximum distance of a trade's price from its order's; else parked."),
    Setting("fees", "SUBJECT=RATE%", "*=0.5%", "Fees of orders: docs/money.md.", separator=";"),
    Setting("price_max_age", "TIME", "15m; sandbox 24h", "Maximum age of a price; orders wait for a newer one."),
    Setting("price_jump_max", "SHARE", "", "Maximum price move without confirmation."),
    Setting("minimum_order_value", "CURRENCY=AMOUNT", "", "Minimum value of an order, by currency."),
    Setting("quote_lifetime", "TIME", "30s", "Time in which an order may name its quote; at most 1h."),
    Setting("quote_tolerance", "SHARE", "0.01", "Maximum price move, up or down, between a quote and its order."),
    Setting("limit_order", "CURRENCY=AMOUNT", "", "Maximum value of one order."),
    Setting("limit_account_day", "CURRENCY=AMOUNT", "", "Maximum value of an account's orders in a day."),
    Setting("limit_tenant_day", "CURRENCY=AMOUNT", "", "Maximum value of a tenant's orders in a day."),
    Setting("limit_price_age", "TIME", "", "Maximum age of a price for new orders; else refused."),
    Setting("limit_duplicate_window", "TIME", "", "Time in which an equal order is refused."),
    Setting("rate_client", "REQUESTS/SECONDS|off", "60000/60", "Requests of one client."),
    Setting("rate_address", "REQUESTS/SECONDS|off", "6000/60", "Requests of one address."),
    Setting("rate_tokens", "REQUESTS/SECONDS|off", "120/60", "Requests for a token."),
    Setting("rate_failures", "REQUESTS/SECONDS|off", "300/60", "Failed sign-ins of one address."),
    Setting("rate_errors", "REQUESTS/SECONDS|off", "20/1", "Failed requests of one client or address."),
    Setting("rate_health", "REQUESTS/SECONDS|off", "1200/60", "Requests for /health of one address."),
    Setting("streams_client", "NUMBER|off", "250", "Open event streams of one client."),
    Setting("streams_tenant", "NUMBER|off", "1000", "Open event streams of one tenant."),
    Setting("trusted_proxies", "NETWORKS", "", "Networks of proxies with trusted X-Forwarded-For."),
    Setting("http_parser", "compiled|python", "compiled", "`python` allows aiohttp's uncompiled parser."),
    Setting("log", "json|text", "text on a terminal, else json", "Format of the log."),
    Setting("log_requests", "NUMBER", "0", "Logs one in this number of requests; 0 logs none."),
    Setting("seals_to", "DIRECTORY or URL", "", "Place where seals are published.", None, True),
    Setting("nats_url", "URL", "", "NATS server for events.", None, True),
    Setting("nats_stream", "NAME", "order-engine", "Stream of the NATS server."),
    Setting("nats_subject", "NAME", "order-engine", "First token of NATS subjects."),
    Setting("nats_credentials", "FILE", "", "File with NATS credentials."),
)  # fmt: skip
"""In the order of docs/settings.md."""

KNOWN: Final = {setting.name: setting for setting in SETTINGS}


def variable(name: str) -> str:
    """The variable of a setting."""
    return PREFIX + name.upper()


def option_of(name: str) -> str:
    """The option of a setting."""
    return KNOWN[name].option or f"--{name.replace('_', '-')}"
