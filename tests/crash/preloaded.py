"""What processes of tests import sooner or later: forks of a server that has imported this have it."""

from __future__ import annotations

import contextlib

import api.app
import api.routes
import api.server
import api.services
import engine.demo
import engine.doctor
import engine.installation
import engine.migrations
import engine.supervise
from engine import calendar, sqlite
from engine.cli import checks, main, roles

with contextlib.suppress(ImportError):
    import uvloop

MODULES = (
    api.app, api.routes, api.server, api.services, engine.demo, engine.doctor, engine.installation,
    engine.migrations, engine.supervise, checks, main, roles, uvloop,
)  # fmt: skip

calendar.prepare()
sqlite.driver()
