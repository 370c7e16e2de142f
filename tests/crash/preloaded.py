"""What processes of tests import sooner or later: forks of a server that has imported this have it."""

from __future__ import annotations

import contextlib

import api.app
import api.routes
import api.server
import api.services
import engine.supervise
from engine import calendar, sqlite
from engine.cli import main, roles

with contextlib.suppress(ImportError):
    import uvloop

MODULES = (api.app, api.routes, api.server, api.services, engine.supervise, main, roles, uvloop)

calendar.prepare()
sqlite.driver()
