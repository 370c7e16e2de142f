"""What processes of tests import sooner or later: forks of a server that has imported this have it."""

from __future__ import annotations

import contextlib
from functools import cache

import rich.traceback
import structlog.stdlib
import typer.main

import api.http.app
import api.http.server
import api.http.services
import api.routes
import engine.installation
import engine.journal.migrations
import engine.registers.effective
import engine.runtime.doctor
import engine.runtime.logs
import engine.runtime.metrics
import engine.runtime.supervise
import engine.sandbox.demo
from engine.domain import calendar
from engine.journal import sqlite
from engine.kernel import process
from order_engine import checks, main, roles, watching

with contextlib.suppress(ImportError):
    import uvloop

MODULES = (
    api.http.app,
    api.routes,
    api.http.server,
    api.http.services,
    engine.sandbox.demo,
    engine.runtime.doctor,
    engine.registers.effective,
    engine.installation,
    engine.runtime.logs,
    engine.runtime.metrics,
    engine.journal.migrations,
    engine.runtime.supervise,
    rich.traceback,
    structlog.stdlib,
    checks,
    main,
    roles,
    uvloop,
    watching,
)

typer.main.get_command = cache(typer.main.get_command)
typer.main.get_command(main.app)  # built here, not in each fork, which takes 50 ms
calendar.prepare()
sqlite.driver()
process.tame_collector()  # else each fork looks through all of this, and copies it
