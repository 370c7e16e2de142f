"""One run: a seed decides the world, its faults and every next step, until nothing is left to do."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

from engine.commands import decisions
from engine.commands.command import Outcome
from engine.domain.pricing import Price
from engine.domain.stored import engine_codec
from engine.journal.append import Appender
from engine.journal.journal import Journal
from engine.journal.pages import StoredRow
from engine.kernel import chain
from engine.kernel.errors import OutcomeUnknown, Refused, Unavailable
from engine.kernel.fact import Recorded
from engine.kernel.ids import IdSource
from tests.laws.simulation import audit
from tests.laws.simulation.database import (
    Broken,
    Database,
    SimulatedDatastore,
    SimulatedJournal,
    UnthreadedWriter,
)
from tests.laws.simulation.people import (
    DAY_US,
    TENANT,
    TERMS,
    Client,
    Exchange,
    Followers,
    Request,
    advance_clock,
    is_definite,
)
from tests.laws.simulation.process import Answer, Lost, Process
from tests.laws.simulation.servicing import TERMS_OF_LIVES, Investor, Servicer
from tests.support.engines.desks import HOUR_US, THURSDAY_US, Prices
from tests.support.engines.prepared import make_journal

CODEC = engine_codec()
LOWEST = {"bond": 80, "bill": 8}
"""The lowest price of a type; 20 of others."""
STEPS_MAX = 60_000
DEPTH_MAX = 3
FAULTS: dict[str, tuple[float, ...]] = {
    "pause": (0, 0.1, 0.3),  # others go on while somebody waits for the database
    "refused": (0, 0, 0.02, 0.06),
    "broken": (0, 0, 0.02, 0.06),
    "done": (0.5,),  # what a connection broke over was done
    "outage": (0, 0, 0, 0.004),  # a while of nothing but broken connections
    "unanswered": (0, 0, 0.05),  # a commit that fails and has happened
    "late": (0, 0.5, 0.9),  # a broken insert may take effect later
    "unreadable": (0, 0, 0.02, 0.05),
    "full": (0, 0, 0.02),
    "crash": (0, 0, 0.001, 0.005),
    "hang up": (0, 0, 0.03),
    "jump": (0, 0.002, 0.01),
}
"""Fault -> how often it strikes when it can; the seed picks one."""
BOUNDS: dict[str, tuple[int, ...]] = {
    "commands.entries.STATES_CACHED_MAX": (12, 50_000),
    "commands.state_cache.FOLLOWED_FACTS_MAX": (0, 6, 2_000),
    "commands.repeats.COMMANDS_REMEMBERED_MAX": (2, 20_000),
    "commands.decider.SNAPSHOT_EVERY": (5, 200),
}


class Simulated:
    """Everybody's journal is one database in memory."""

    def __init__(self, dialect: str = "sqlite") -> None:
        self.database = Database(dialect)

    def open(self, process: Process) -> tuple[Journal, UnthreadedWriter]:
        store = SimulatedDatastore(self.database, process, process)
        return SimulatedJournal(store, self.database, CODEC), store.writer

    def rows(self, after: int) -> list[StoredRow]:
        return self.database.rows[after:]

    @property
    def head(self) -> int:
        return self.database.head.position

    @property
    def digest(self) -> bytes:
        return self.database.head.digest

    def close(self) -> None:
        pass


class Real:
    """Everybody has opened one real journal; only the writers' threads are not there."""

    def __init__(self, url: str) -> None:
        self._url = url
        make_journal(url)
        self._opened = contextlib.ExitStack()
        self._reader = self._opened.enter_context(Journal(url, CODEC))

    def open(self, process: Process) -> tuple[Journal, UnthreadedWriter]:
        opened = self._opened.enter_context(Journal(self._url, CODEC))
        appender: Appender = opened.datastore._appender
        opened.datastore.writer = UnthreadedWriter(appender.write, process)
        return opened, opened.datastore.writer

    def rows(self, after: int) -> list[StoredRow]:
        return self._reader.datastore.pages.log(after, 10_000)

    @property
    def head(self) -> int:
        return self._reader.head

    @property
    def digest(self) -> bytes:
        return self._reader.datastore.pages.head().digest

    def close(self) -> None:
        self._opened.close()


class Simulation:
    """A world that a seed has made up. `run` it once; then `exchanges` and `facts` say what happened.

    In one that `has_lives` instruments pay, are split and mature, and bills roll over.
    """

    def __init__(
        self, seed: int, storage: Simulated | Real | None = None, *, has_lives: bool = False
    ) -> None:
        self.random = Random(seed)
        pick = self.random.choice
        self.faults = {fault: pick(rates) for fault, rates in FAULTS.items()}
        self.bounds = {bound: pick(sizes) for bound, sizes in BOUNDS.items()}
        dialect = pick(("sqlite", "postgresql"))
        self.storage = storage or Simulated(dialect)
        if storage is not None:  # nobody but the schedule and crashes: what any database can do
            kept = ("crash", "hang up", "jump")
            self.faults = {name: rate for name, rate in self.faults.items() if name in kept}
        self.at_us = THURSDAY_US
        self.prices = Prices()
        self.is_counting = seed % 2 == 1
        self.accounts: list[str] = []
        self.exchanges: list[Exchange] = []
        self.commands: set[bytes] = set()
        self.failed: set[bytes] = set()
        self.steps = 0
        self.struck: Counter[str] = Counter()
        self._facts: list[Recorded] = []
        self._ready: list[Callable[[], None]] = []
        self._depth = 0
        self._down_until_us = 0
        self._is_calm = True
        self.processes: list[Process] = []
        for number in range(pick((2, 2, 3))):
            self.processes.append(Process(self, number, self._skew()))
        self.terms = TERMS_OF_LIVES if has_lives else TERMS
        kind, times = (Investor, 2) if has_lives else (Client, 1)
        self.clients = [
            kind(self, f"c{number}", times * pick((6, 9, 12))) for number in range(pick((2, 3, 4)))
        ]
        self.servicer = Servicer(self, "s", 50) if has_lives else None
        if self.servicer is not None:
            self.clients.append(self.servicer)
        self.followers = Followers(self)

    def run(self) -> str:
        """Runs and checks it all; the digest of what was recorded and answered."""
        try:
            with contextlib.ExitStack() as changes:
                for bound, size in self.bounds.items():
                    changes.enter_context(patch(f"engine.{bound}", size))
                self._begin()
                self._is_calm = False
                for client in self.clients:
                    self.soon(client.next)
                self._until(lambda: all(client.is_done for client in self.clients))
                self._end()
            self._check()
            return self._digest()
        except Broken as broken:
            raise AssertionError(str(broken)) from broken
        finally:
            self.storage.close()

    def _digest(self) -> str:
        said = hashlib.sha256(self.storage.digest)
        for one in self.exchanges:
            said.update(repr((one.command, one.arrived, one.answered, _word(one.answer))).encode())
        return said.hexdigest()

    # --- what processes and people ask ---------------------------------------------------------------

    def soon(self, step: Callable[[], None]) -> None:
        self._ready.append(step)

    def happens(self, fault: str) -> bool:
        rate = self.faults.get(fault, 0)
        if fault == "broken" and self.at_us < self._down_until_us:
            rate = 1
        if not rate or self._is_calm or self.random.random() >= rate:
            return False
        self.struck[fault] += 1
        return True

    def choose(self, count: int) -> int:
        return self.random.randrange(count)

    def go_on(self) -> None:
        if self._depth < DEPTH_MAX and self.happens("pause"):
            self._depth += 1
            for _ in range(self.random.randrange(1, 10)):
                self._step()
            self._depth -= 1

    def is_locked(self) -> bool:
        return isinstance(self.storage, Simulated) and self.storage.database.holder is not None

    def open_journal(self, process: Process) -> tuple[Journal, UnthreadedWriter]:
        return self.storage.open(process)

    def new_ids(self) -> IdSource:
        return IdSource(lambda: self.at_us // 1000, self.random.getrandbits)

    @property
    def facts(self) -> list[Recorded]:
        """What is in the journal."""
        for position, version, name, stream, command, body, _ in self.storage.rows(len(self._facts)):
            envelope, fact = CODEC.decode(name, body, command)
            self._facts.append(Recorded(fact, str(stream), version, position, envelope))
        return self._facts

    def ask(self, request: Request, then: Callable[[Answer], None]) -> None:
        process = self.random.choice(self.processes)
        command = request.at(process, lambda: self.random.randbytes(16))
        self.commands.add(command.id)
        arrived = self.storage.head

        def heard(answer: Answer) -> None:
            if is_definite(answer):
                self.exchanges.append(Exchange(request, command.id, arrived, self.storage.head, answer))
            elif not isinstance(answer, Lost | Unavailable):
                raise Broken(f"{request.what} {request.words} was answered {answer!r}") from answer
            elif not isinstance(answer, Lost | OutcomeUnknown) and not command.is_repeatable:
                self.failed.add(command.id)
            self.soon(self.followers.look)
            then(answer)

        task = process.start(command, heard)
        if self.happens("hang up"):
            self.soon(task.lose)

    # --- one step after the other --------------------------------------------------------------------

    def _step(self) -> None:
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Broken("it does not come to an end")
        self.at_us += self.random.randrange(1, 4_000)
        if not self._is_calm:
            self._misfortune()
        ready = self._ready
        if not ready:
            return
        place = self.random.randrange(len(ready))
        ready[place], ready[-1] = ready[-1], ready[place]
        ready.pop()()

    def _until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            if not self._ready:
                raise Broken("somebody waits for ever")
            self._step()

    def _misfortune(self) -> None:
        if self.happens("crash"):
            self._crash(self.random.randrange(len(self.processes)))
        if self.happens("outage"):
            self._down_until_us = self.at_us + self.random.randrange(100_000, 3_000_000)
        if self.happens("jump"):
            self.random.choice(self.processes).ahead_us = self._skew()
            self._move_prices()
        if isinstance(self.storage, Simulated):
            database = self.storage.database
            if database.network and not database.holder and self.random.random() < 0.2:
                self.struck["late arrival"] += 1
                database.deliver(self.random.randrange(len(database.network)))

    def _crash(self, number: int) -> None:
        dead, self.processes[number] = (
            self.processes[number],
            Process(self, number, self._skew()),
        )
        dead.crash()

    def _skew(self) -> int:
        minute = HOUR_US // 60
        return self.random.choice((0, 0, 10 * minute, -10 * minute, HOUR_US, -HOUR_US, -self.at_us // 2))

    def _move_prices(self) -> None:
        for terms in self.terms.values():
            low = LOWEST.get(terms.instrument_type, 20)
            price = Decimal(self.random.randrange(low * 100, low * 150)) / 100
            self.prices[terms.symbol] = Price(price, price, self.at_us)

    # --- beginning and end ---------------------------------------------------------------------------

    def _begin(self) -> None:
        """Instruments, accounts and some cash, with nobody in the way."""
        self._move_prices()
        for instrument, terms in self.terms.items():
            self._now("list", decisions.put_instrument, instrument=instrument, terms=terms)
        ids = self.new_ids()
        times = 5 if self.servicer else 1
        for cash in (self.random.choice((100, 160, 220)), self.random.choice((0, 100))):
            account = ids.new("acc")
            self.accounts.append(account)
            words: dict[str, Any] = {"tenant": TENANT, "account": account}
            self._now(
                "open", decisions.open_account, base_currency="USD", funding_currencies=(), **words
            )
            if cash:
                words["payment"] = ids.new("dep")
                amount = {"currency": "USD", "amount": Decimal(cash * times)}
                self._now("fund", decisions.create_payment, kind="deposit", **amount, **words)
                self._now("fund", decisions.end_payment, is_completed=True, **words)

    def _now(self, what: str, function: Any, **words: Any) -> None:
        answers: list[Answer] = []
        decide = partial(function, **words)
        self.ask(Request(what, lambda _: decide), answers.append)
        self._until(lambda: bool(answers))
        if not isinstance(answers[0], Outcome):
            raise Broken(f"{what}: {answers[0]!r}")

    def _end(self) -> None:
        """Faults stop: everybody has an answer, and every order comes to its end."""
        self._is_calm = True
        self._until(lambda: not self._ready)
        if self.followers.open:
            raise Broken("somebody waits for ever")
        for _ in range(6):
            self._now("advance", advance_clock, by_us=9 * DAY_US)
            self.at_us += HOUR_US
            for process in self.processes:
                process.ahead_us = 2 * DAY_US  # past all that was recorded
            self._move_prices()
            for symbol, price in self.prices.items():
                self.prices[symbol] = Price(price.bid, price.ask, self.processes[0].now_us())
            self.followers.look()
            is_over = not self.followers.push()
            self._until(lambda: not self._ready)
            if self.servicer is not None:
                self._serve(self.servicer)
            elif is_over:
                return
        if self.servicer is not None and not self.followers.push():
            return
        raise Broken(f"orders do not end: {self.followers.status}")

    def _serve(self, servicer: Servicer) -> None:
        """Actions and rollovers that are due come to every account."""
        for request in servicer.last_requests():
            self.ask(request, lambda _: None)
            self._until(lambda: not self._ready)

    def _check(self) -> None:
        before = chain.GENESIS
        for position, version, name, stream, command, body, digest in self.storage.rows(0):
            key = str(stream).encode()
            content = chain.content(version, key, name.encode(), command or b"", body)
            before = chain.link(before, position, content)
            if before != digest:
                raise Broken(f"I11: the chain is broken at {position}")
        audit.check(self.facts, self.exchanges, self.commands, self.failed)


def _word(answer: Answer) -> str:
    if isinstance(answer, Outcome):
        return f"{answer.offset} {answer.is_repeat} {len(answer.facts)}"
    return answer.code if isinstance(answer, Refused) else repr(answer)
