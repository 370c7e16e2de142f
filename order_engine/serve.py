"""`order-engine serve`: the API in this process, the other roles in child processes.

In one interpreter API, execution and projections would wait for each other.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from engine.config.settings import (
    Settings,
    environment_of,
    is_loopback,
    parse_duration_us,
    read_settings,
)
from engine.kernel import packages
from engine.kernel.errors import BadSettings, Unavailable, WrongUsage
from engine.kernel.limits import POLL_IDLE_S, SANDBOX_DAY_MIN_US
from order_engine.parts import (
    Config,
    Data,
    IsLive,
    IsSandbox,
    JournalUrl,
    JournalUrlFile,
    errors_told,
    kind_of,
    kind_said,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.domain.kind import JournalKind
    from engine.followers.follow import Follower
    from engine.journal.journal import Journal
    from engine.kernel.meters import MetricsSource
    from engine.runtime.metrics import Listening
    from engine.runtime.supervise import Background
    from order_engine.roles import Sandbox
    from projections.database import Views

_LOG: Final = logging.getLogger(__name__)
PROCESSES: Final = (
    ("execution", "settlement"),
    ("projections", "sealing", "audit"),
    ("webhooks", "outlet"),
)
"""Roles of the child processes. Followers in one process share cached states. The processes end in this
order, so that views and webhooks still see the last facts."""
PLAIN: Final = (
    "THE API SPEAKS PLAIN HTTP ON %s: an eavesdropper reads secrets, tokens and orders. Listen on"
    " 127.0.0.1 and put a proxy with TLS in front: docs/production.md, TLS"
)
ROLES: Final = ("api", *(role for process in PROCESSES for role in process))

Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Address of the API.  [default: 127.0.0.1]",
        show_default=False,
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65535,
        metavar="PORT",
        help='Port of the API; 0 takes a free one and prints {"port": n}.  [default: 8080]',
        show_default=False,
    ),
]
ViewsUrl = Annotated[
    str | None,
    typer.Option(
        "--views-url",
        metavar="URL",
        help="The views' database. Else ORDER_ENGINE_VIEWS_URL, else DIR/views.db or the journal's.",
        show_default=False,
    ),
]
SandboxDay = Annotated[
    str | None,
    typer.Option(
        "--sandbox-day",
        metavar="TIME",
        help="Length of a sandbox's business day, such as 10s. Default: time moves by request only.",
        show_default=False,
    ),
]
VenueDelay = Annotated[
    str | None,
    typer.Option(
        "--venue-delay",
        metavar="TIME",
        help="Delay of the simulated venue.  [default: 0s]",
        show_default=False,
    ),
]
Roles = Annotated[
    str | None,
    typer.Option(
        "--roles",
        metavar="NAMES",
        help=f"Roles of this process: any of {','.join(ROLES)}.  [default: all]",
        show_default=False,
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65530,
        metavar="PORT",
        help="Port of the Prometheus metrics, on 127.0.0.1; children use the next ports. 0 takes free"
        " ones.  [default: none]",
        show_default=False,
    ),
]
AllowLocal = Annotated[
    bool,
    typer.Option(
        "--allow-local-webhooks",
        help="Allow webhooks to this machine, over plain HTTP too. For tests only.",
    ),
]
Announce = Callable[[str], None]
IsChild = Annotated[bool, typer.Option("--child", hidden=True, help="Stop when stdin ends.")]


@dataclass(frozen=True)
class Plan:
    """The task of one process. `kind`: the requested kind; None takes the journal's."""

    settings: Settings
    host: str
    port: int
    roles: tuple[str, ...]
    kind: JournalKind | None
    sandbox: Sandbox
    sandbox_words: tuple[str, ...]
    is_child: bool
    metrics_port: int | None = None
    allow_local: bool = False


def serve(
    *,
    host: Host = None,
    port: Port = None,
    data: Data = None,
    journal_url: JournalUrl = None,
    journal_url_file: JournalUrlFile = None,
    views_url: ViewsUrl = None,
    is_live: IsLive = False,
    is_sandbox: IsSandbox = False,
    sandbox_day: SandboxDay = None,
    venue_delay: VenueDelay = None,
    roles: Roles = None,
    metrics_port: MetricsPort = None,
    allow_local: AllowLocal = False,
    config: Config = None,
    is_child: IsChild = False,
) -> None:
    """Serve the API and run all background work, until SIGTERM.

    Executes and settles orders, maintains the views, seals the journal and sends events.

    Creates the installation first if there is none; --live or --sandbox then chooses its kind, for ever.
    A live journal without a venue accepts orders, which stay placed: docs/venues.md. Each option is also
    a variable and a key of the settings file: docs/settings.md.

    \b
    Examples:
      order-engine serve --live --data /var/lib/order-engine
      order-engine serve --sandbox --sandbox-day 10s
      order-engine serve --port 0 --data /tmp/engine
      order-engine serve --config /etc/order-engine.toml
      order-engine serve --roles api --journal-url postgresql://engine@db/orders
    """
    with errors_told(as_json=False):
        options = {
            "journal_url_file": journal_url_file,
            "kind": kind_said(is_live=is_live, is_sandbox=is_sandbox),
            "host": host,
            "port": None if port is None else str(port),
            "roles": roles,
            "metrics_port": None if metrics_port is None else str(metrics_port),
            "allow_local_webhooks": "true" if allow_local else None,
            "sandbox_day": sandbox_day,
            "venue_delay": venue_delay,
        }
        settings = read_settings(
            data=data, journal_url=journal_url, views_url=views_url, config=config, options=options
        )
        run(plan_of(settings, is_child=is_child))


def plan_of(settings: Settings, *, is_child: bool = False) -> Plan:
    """The plan of these settings. Raises WrongUsage for an invalid one."""
    day, delay = settings.text("sandbox_day") or None, settings.text("venue_delay", "0s")
    allow_local = settings.text("allow_local_webhooks", "false")
    if allow_local not in {"true", "false"}:
        _refuse(
            f"{settings.place('allow_local_webhooks')} must be true or false, not {allow_local!r:.40}"
        )
    return Plan(
        settings=settings,
        host=settings.text("host", "127.0.0.1"),
        port=_port(settings, "port", 8080, 65_535) or 0,
        roles=_roles(settings),
        kind=kind_of(settings),
        sandbox=_sandbox(day, delay, settings.place("sandbox_day"), settings.place("venue_delay")),
        sandbox_words=_words(day, delay),
        is_child=is_child,
        metrics_port=_port(settings, "metrics_port", None, 65_530),
        allow_local=allow_local == "true",
    )


def _port(settings: Settings, name: str, default: int | None, most: int) -> int | None:
    text = settings.text(name)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or int(text) > most:
        _refuse(f"{settings.place(name)} must be a port from 0 to {most}, not {text!r:.40}")
    return int(text)


def sandbox_plan(settings: Settings, port: int, day: str) -> Plan:
    """The plan of `order-engine sandbox`: every role, on this machine only."""
    return Plan(
        settings=settings,
        host="127.0.0.1",
        port=port,
        roles=ROLES,
        kind="sandbox",
        sandbox=_sandbox(day, "0s"),
        sandbox_words=_words(day, "0s"),
        is_child=False,
        allow_local=True,
    )


def _roles(settings: Settings) -> tuple[str, ...]:
    if "roles" not in settings.given:
        return ROLES
    asked = settings.text("roles").split(",")
    unknown = [role for role in asked if role not in ROLES]
    if unknown:
        _refuse(f"{settings.place('roles')}: no role {unknown[0]!r:.40}; known are {', '.join(ROLES)}")
    return tuple(role for role in ROLES if role in asked)


def _sandbox(
    day: str | None, delay: str, of_day: str = "--sandbox-day", of_delay: str = "--venue-delay"
) -> Sandbox:
    """Sandbox options. `of_day`, `of_delay`: their source, for messages."""
    from order_engine.roles import Sandbox  # noqa: PLC0415

    try:
        day_us = None if day is None else parse_duration_us(day, of_day)
        delay_us = parse_duration_us(delay, of_delay)
    except BadSettings as error:
        raise WrongUsage(str(error)) from error
    if day_us is not None and day_us < SANDBOX_DAY_MIN_US:
        _refuse(f"{of_day}: a day takes at least {SANDBOX_DAY_MIN_US // 1_000}ms, not {day!r:.40}")
    return Sandbox(day_us, delay_us)


def _check_kind(plan: Plan, kind: JournalKind) -> None:
    """Refuses options of the other kind of journal."""
    from engine.domain.kind import SIMULATED  # noqa: PLC0415

    if kind == "live" and (plan.sandbox.day_us or plan.sandbox.venue_delay_us):
        _refuse("--sandbox-day and --venue-delay need a sandbox, and this journal is live: omit them")
    if kind == "live" and SIMULATED in plan.settings.venue_of.values():
        place = plan.settings.place("venue_of")
        _refuse(f"{place} names the simulated venue, and this journal is live: name another venue")
    if kind == "sandbox" and "api" in plan.roles and not is_loopback(plan.host):
        _refuse(
            f"a sandbox prints its secrets, so it cannot listen on {plan.host}: use --host 127.0.0.1"
        )


def check_venues(settings: Settings) -> None:
    """Raises BadSettings for a venue without an adapter, or with options that its adapter refuses."""
    from engine.venues.registry import open_venues  # noqa: PLC0415

    open_venues(settings.venues, {}, settings.data, lambda _: None)


def _refuse_sandbox_client(settings: Settings) -> None:
    """Refuses the sandbox client of the first release in a live journal: its secret was printed."""
    from engine.installation import open_installation  # noqa: PLC0415
    from engine.sandbox.sandbox import TENANT  # noqa: PLC0415

    with contextlib.closing(open_installation(settings)) as installation:
        clients = [one.id for one in installation.clients.all(TENANT) if not one.is_disabled]
    if clients:
        _refuse(
            f"the sandbox client {clients[0]} has all scopes, and its secret was printed: run"
            f" `order-engine client disable {clients[0]}`, and start again"
        )


def _refuse(message: str) -> NoReturn:
    raise WrongUsage(message)


# --- running --------------------------------------------------------------------------------------


def run(plan: Plan, announce: Announce | None = None) -> None:
    """Runs the plan until a stop signal. `announce` gets the API's URL once it listens."""
    packages.check()
    from engine import installation  # noqa: PLC0415
    from engine.domain.kind import WORDS  # noqa: PLC0415
    from engine.runtime.logs import log_to_stderr  # noqa: PLC0415

    log_to_stderr("background" if plan.is_child else "serve", plan.settings.log)
    if not plan.is_child:
        if plan.kind is not None:
            _check_kind(plan, plan.kind)
        check_venues(plan.settings)
        done = installation.migrate(plan.settings, plan.kind)
        assert done.kind is not None
        _LOG.info("this journal is %s: %s, journal id %s", WORDS[done.kind], done.place, done.journal_id)
        _check_kind(plan, done.kind)
        if "api" in plan.roles and not is_loopback(plan.host):
            _LOG.warning(PLAIN, plan.host)
        if done.kind == "live" and "api" in plan.roles:
            _refuse_sandbox_client(plan.settings)
        _note_settings(plan)
    has_ended = _serve_api(plan, announce) if "api" in plan.roles else _run_here(plan)
    if not has_ended:
        raise typer.Exit(1)


def _note_settings(plan: Plan) -> None:
    """Records the effective settings as an act, if they differ from the last start."""
    from engine.config.keys import read_key  # noqa: PLC0415
    from engine.installation import open_journal_datastore  # noqa: PLC0415
    from engine.registers import effective  # noqa: PLC0415

    words = plan.sandbox_words
    options = {
        "host": plan.host,
        "port": str(plan.port),
        "metrics_port": "" if plan.metrics_port is None else str(plan.metrics_port),
        "allow_local_webhooks": str(plan.allow_local).lower(),
    } | {
        option.removeprefix("--").replace("-", "_"): text
        for option, text in zip(words[::2], words[1::2], strict=True)
    }
    now = effective.effective(plan.settings, options, read_key(plan.settings))
    with contextlib.closing(open_journal_datastore(plan.settings)) as datastore:
        effective.note_change(datastore.store, ", ".join(plan.roles), now)


def _run_here(plan: Plan) -> bool:
    """Runs the background roles in threads of this process; True if all ended in time."""
    from engine.kernel import process  # noqa: PLC0415
    from engine.runtime import supervise  # noqa: PLC0415
    from order_engine import roles, watching  # noqa: PLC0415

    stop = threading.Event()
    # A terminal or systemd signals parent and child alike; the parent stops the child.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN if plan.is_child else lambda *_: stop.set())
    if plan.is_child:
        supervise.stop_when_stdin_ends(stop.set)
    with contextlib.ExitStack() as stack:
        opened = _opened(plan, stack, stop)
        if opened is None:
            return True
        journal, views = opened
        if not plan.is_child:
            roles.check_start(plan.settings, journal, views)
        made = roles.Followers(journal, views, plan.sandbox, plan.settings, allow_local=plan.allow_local)
        followers = made.of(plan.roles)
        process.tame_collector()
        process.shorten_switch_interval()
        with (
            _metrics(plan, journal, views, made.samples, own=followers) as figures,
            watching.beating(
                journal, parts=followers, reported=figures.probes, is_child=plan.is_child
            ) as health,
        ):
            health.poll()
            health.start()
            late = supervise.run_all(followers, stop)
        made.close()
        if late:
            typer.echo(f"error: unavailable: still working: {', '.join(late)}", err=True)
    return not late


def _opened(
    plan: Plan, stack: contextlib.ExitStack, stop: threading.Event
) -> tuple[Journal, Views] | None:
    """The journal and its views. A child waits for its database, which its parent reports; None if it
    was stopped meanwhile.
    """
    from order_engine import roles  # noqa: PLC0415

    while not stop.is_set():
        try:
            return stack.enter_context(roles.opened(plan.settings))
        except Unavailable:
            if not plan.is_child:
                raise
            stop.wait(POLL_IDLE_S)
    return None


def _serve_api(plan: Plan, announce: Announce | None) -> bool:
    """Runs the API here, the other roles in child processes; True if those ended in time."""
    from api.http import server  # noqa: PLC0415
    from engine.runtime.supervise import Background, stop_all  # noqa: PLC0415

    environment = environment_of(plan.settings)
    background = [
        Background(", ".join(roles), _child_command(plan, roles, number), environment)
        for number, process in enumerate(PROCESSES, 1)
        if (roles := [role for role in process if role in plan.roles])
    ]
    try:
        server.run(_answer(plan, background, announce))
    finally:
        # A second signal must not interrupt a child: it ends within its deadline anyway.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        have_ended = stop_all(background)
    return have_ended


async def _answer(plan: Plan, background: Sequence[Background], announce: Announce | None) -> None:
    import asyncio  # noqa: PLC0415  a quarter of what `--help` took

    from api.http.app import create_app  # noqa: PLC0415
    from api.http.rates import Rates  # noqa: PLC0415
    from api.http.server import serve as listen  # noqa: PLC0415
    from api.http.services import open_services  # noqa: PLC0415
    from api.http.traffic import Traffic  # noqa: PLC0415
    from api.routes import ROUTES as routes  # noqa: N811, PLC0415
    from engine.commands.declaring import required  # noqa: PLC0415
    from engine.config.keys import read_key  # noqa: PLC0415
    from engine.kernel.process import shorten_switch_interval, tame_collector  # noqa: PLC0415
    from engine.runtime.supervise import followers_of  # noqa: PLC0415
    from order_engine import roles, watching  # noqa: PLC0415

    stop, traffic = asyncio.Event(), Traffic()
    with (
        roles.opened(plan.settings) as (journal, views),
        _metrics(plan, journal, views, traffic.samples) as figures,
        watching.beating(
            journal,
            reported=[*(child.findings for child in background), *figures.probes],
            expected=_expected(plan, required(journal.datastore)),
        ) as health,
    ):
        figures.add(health.samples)
        roles.check_start(plan.settings, journal, views)
        async with open_services(
            journal,
            views,
            read_key(plan.settings),
            price_max_age_us=roles.price_max_age_us(plan.settings, required(journal.datastore)),
            fees=plan.settings.fees,
            minimum_order_value=plan.settings.minimum_order_value,
            venue_price_band=plan.settings.venue_price_band,
            quotes=plan.settings.quotes,
            price_jump_max=plan.settings.price_jump_max,
            limits=plan.settings.limits,
            rates=Rates(plan.settings.quotas, plan.settings.trusted_proxies),
            stream_quotas=plan.settings.streams,
            log_every=plan.settings.log_every,
            allows_local=plan.allow_local,
            followers=followers_of(plan.settings),
            health=health,
            traffic=traffic,
        ) as services:
            tame_collector()
            shorten_switch_interval()

            def on_ready(port: int) -> None:
                if announce:
                    announce(_url(plan.host, port))
                elif plan.port == 0:
                    typer.echo(json.dumps({"port": port}))
                    sys.stdout.flush()
                _LOG.info("listening on %s", _url(plan.host, port))
                for child in background:
                    child.start()

            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            try:
                await listen(
                    create_app(services, routes),
                    plan.host,
                    plan.port,
                    on_ready=on_ready,
                    stop=stop,
                    allows_python_parser=plan.settings.allows_python_parser,
                )
            except OSError as error:
                raise Unavailable(
                    f"{plan.host}:{plan.port}: {error.strerror}: stop the other listener, or choose"
                    " another --host or --port"
                ) from None


def _expected(plan: Plan, kind: JournalKind) -> list[str]:
    """Parts that some process must run, on any machine. Without a venue none executes."""
    from engine.runtime.supervise import followers_of  # noqa: PLC0415
    from order_engine.roles import PROJECTIONS, executes  # noqa: PLC0415

    names = [*followers_of(plan.settings), PROJECTIONS]
    return [name for name in names if name != "execution" or executes(plan.settings, kind)]


@contextmanager
def _metrics(
    plan: Plan, journal: Journal, views: Views, *sources: MetricsSource, own: Sequence[Follower] = ()
) -> Iterator[Listening]:
    """Prometheus metrics, if a port is set. A child omits the metrics of the databases."""
    from engine.audit.background_audit import audit_source  # noqa: PLC0415
    from engine.commands.declaring import required  # noqa: PLC0415
    from engine.registers.deliveries import Deliveries  # noqa: PLC0415
    from engine.registers.operations import define_operations  # noqa: PLC0415
    from engine.runtime import metrics  # noqa: PLC0415
    from engine.runtime.supervise import followers_of  # noqa: PLC0415
    from projections.metrics import views_source  # noqa: PLC0415

    datastore = journal.datastore
    asked = [
        *sources,
        metrics.kind_source(required(datastore)),
        metrics.writer_source(datastore),
        metrics.own_followers_source(own),
    ]
    if not plan.is_child:
        deliveries = Deliveries(datastore.store, define_operations(), datastore.tables)
        asked += [
            audit_source(datastore),
            metrics.followers_source(datastore, followers_of(plan.settings)),
            views_source(views, journal),
            metrics.deliveries_source(deliveries),
        ]
    figures = metrics.Listening(plan.metrics_port, asked)
    figures.start()
    try:
        yield figures
    finally:
        figures.stop()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _child_command(plan: Plan, roles: Sequence[str], number: int) -> list[str]:
    words = ("serve", "--child", "--roles", ",".join(roles), *plan.sandbox_words)
    if plan.metrics_port is not None:
        words += ("--metrics-port", str(plan.metrics_port and plan.metrics_port + number))
    if plan.allow_local:
        words += ("--allow-local-webhooks",)
    return [sys.executable, "-m", "order_engine", *words]


def _words(day: str | None, delay: str) -> tuple[str, ...]:
    return (*(("--sandbox-day", day) if day else ()), "--venue-delay", delay)
