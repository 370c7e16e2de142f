"""The role `webhooks` beside an engine of `http_engine`, in a thread or turn by turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic, sleep
from typing import Any

from api.outbound.bodies import Bodies
from api.outbound.courier import Courier, Post, Tools
from api.outbound.sender import Sender
from engine.commands.desk import Desk
from engine.followers.follow import Follower
from engine.journal.leases import Leases
from engine.journal.writer import Lease
from engine.kernel.process import WEBHOOKS
from engine.registers.deliveries import Deliveries
from engine.registers.operations import define_operations
from engine.registers.personal import Personal
from tests.support.servers.http_engine import Engine, ok
from tests.support.servers.http_server import WAIT_S, Client


def tools_of(engine: Engine, **words: Any) -> Tools:
    """A courier's dependencies. `words` are the sender's and the tools' own."""
    own = {name: words.pop(name) for name in ("jitter", "now_us", "monotonic") if name in words}
    datastore, operations = engine.journal.datastore, define_operations()
    services = engine.services
    make = partial(Sender, **{"allows_local": True, **words})
    return Tools(
        engine.journal,
        engine.views,
        Deliveries(datastore.store, operations, datastore.tables),
        services.endpoints,
        Bodies(engine.views, Personal(datastore.store, operations)),
        Post(datastore.bell.ring, make),
        **own,
    )


@contextmanager
def sending(engine: Engine, *, holder: str = "test", **words: Any) -> Iterator[Follower]:
    """The follower, running."""
    tools = tools_of(engine, **words)
    datastore = engine.journal.datastore
    leases = Leases(datastore.store, datastore.tables, holder)

    def begin(lease: Lease) -> Courier:
        return Courier(tools, Desk(engine.journal).under(lease), lease)

    follower = Follower(WEBHOOKS, begin, leases, engine.journal)
    thread = threading.Thread(target=follower.run, daemon=True)
    thread.start()
    try:
        yield follower
    finally:
        follower.stop()
        thread.join(WAIT_S)
        tools.post.close()
    assert not thread.is_alive()


def webhook(client: Client, url: str, **words: Any) -> dict[str, Any]:
    """A new one."""
    made: dict[str, Any] = ok(client.post("/webhooks", {"url": url, **words}), 201)
    return made


def deliveries(client: Client, **query: str) -> list[dict[str, Any]]:
    """The tenant's newest 500."""
    words = "&".join(f"{name}={text}" for name, text in query.items())
    found: list[dict[str, Any]] = ok(client.get(f"/webhook-deliveries?limit=500&{words}"))
    return found


def until(fits: Callable[[], Any]) -> Any:
    """The result of `fits`, once it is true."""
    deadline = monotonic() + WAIT_S
    while monotonic() < deadline:
        found = fits()
        if found:
            return found
        sleep(0.01)
    raise TimeoutError
