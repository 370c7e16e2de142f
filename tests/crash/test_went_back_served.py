"""F18 with real processes: a damaged WAL, an older copy under newer views, a views file deleted while it
is served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import pytest

from tests.support.checkers import checker
from tests.support.servers.command import run
from tests.support.servers.served import (
    Clients,
    Http,
    Place,
    Served,
    token_of,
    views_are_current,
    wait_until,
)

SETTLED_S = 20.0


def place_at(tmp_path: Path) -> Place:
    place = Place(tmp_path / "data", f"sqlite:///{tmp_path}/data/journal.db", ("--sandbox",))
    place.make_client()
    return place


def orders_of(http: Http, account: str) -> set[str] | int:
    """Ids of the listed orders, or the status of another answer."""
    answer = http.ask("GET", f"/accounts/{account}/orders?limit=500")
    assert answer is not None
    return {one["id"] for one in answer.words} if answer.status == 200 else answer.status


def codes(http: Http, *paths: str) -> set[tuple[int, str]]:
    """(status, code) of GETs."""
    answers = [http.ask("GET", path) for path in paths]
    return {(one.status, one.words["code"]) for one in answers if one is not None}


def reasons(http: Http) -> set[str]:
    answer = http.ask("GET", "/health/ready")
    assert answer is not None
    return {one["code"] for one in json.loads(answer.body)["reasons"]}


def went_on(place: Place) -> None:
    """What an operator does, beside the running engine."""
    words = ("journal", "accept-loss", "--reason", "a test", "--yes", *place.words)
    done = run(*words, "--views-url", place.views_url)
    assert done.returncode == 0, done.stderr


def damage_wal(file: Path) -> None:
    """64 random bytes in the middle."""
    wal = Path(f"{file}-wal")
    with wal.open("r+b") as raw:
        raw.seek(wal.stat().st_size // 2)
        raw.write(Random(5).randbytes(64))


@pytest.mark.parametrize("what", ["a damaged WAL", "an older copy"])
def test_a_start_over_a_journal_that_went_back(tmp_path: Path, what: str) -> None:
    """200 of 360 facts were gone: start fine, ready, audit "Clean", and views that showed them."""
    place = place_at(tmp_path)
    file = tmp_path / "data" / "journal.db"
    clients = Clients(place, seed=1)
    with Served(place) as served, Http(served.port, token_of(served.port, place.credentials)) as http:
        (account,) = clients.set_up(http, 1)
        if what == "an older copy":
            run("backup", str(tmp_path / "backup"), *place.words)
        for n in range(25):
            clients.ask(http, clients.buy(account, f"{n + 10}.00"))
        wait_until("views are current", lambda: views_are_current(place), SETTLED_S)
        told = orders_of(http, account)
        served.kill()
    if what == "a damaged WAL":
        damage_wal(file)
    else:
        for end in ("-wal", "-shm"):
            Path(f"{file}{end}").unlink(missing_ok=True)
        shutil.copy(tmp_path / "backup" / "journal.db", file)
    assert isinstance(told, set)
    assert len(told) == 25
    with Served(place) as served, Http(served.port, token_of(served.port, place.credentials)) as http:
        facts = checker.head(place.journal_url)
        orders, some = f"/accounts/{account}/orders", sorted(told)[0]
        assert codes(http, orders, f"{orders}/{some}", f"/accounts/{account}", "/events") == {
            (503, "journal_went_back")
        }
        refused = clients.ask(http, clients.buy(account, "9.00"))
        assert refused is not None
        assert (refused.status, refused.words["code"]) == (503, "journal_went_back")
        wait_until("health says so", lambda: "journal_went_back" in reasons(http), 5)
        assert checker.head(place.journal_url) == facts
        went_on(place)
        wait_until("it goes on", lambda: isinstance(orders_of(http, account), set), SETTLED_S)
        left = orders_of(http, account)
        assert isinstance(left, set)
        assert left < told
        done = http.ask("POST", orders, clients.buy(account, "9.00").body)
        assert done is not None
        assert done.status == 201
        wait_until(
            "it is listed", lambda: orders_of(http, account) == {*left, done.words["id"]}, SETTLED_S
        )
        for order in sorted(told - left)[:2]:
            assert codes(http, f"{orders}/{order}") == {(404, "not_found")}


def test_views_that_are_deleted_while_they_are_served(tmp_path: Path) -> None:
    """The API went on reading the unlinked file after the projections had been started again."""
    place = place_at(tmp_path)
    clients = Clients(place, seed=2)
    with Served(place) as served, Http(served.port, token_of(served.port, place.credentials)) as http:
        (account,) = clients.set_up(http, 1)
        for n in range(5):
            clients.ask(http, clients.buy(account, f"{n + 10}.00"))
        wait_until("views are current", lambda: views_are_current(place), SETTLED_S)
        told = orders_of(http, account)
        for end in ("", "-wal", "-shm"):
            (tmp_path / "data" / f"views.db{end}").unlink(missing_ok=True)
        views = tmp_path / "data" / "views.db"
        wait_until("it is noticed", views.exists, 5)
        clients.ask(http, clients.buy(account, "77.00"))
        seen: list[set[str] | int] = []

        def is_whole() -> bool:
            seen.append(orders_of(http, account))
            return isinstance(seen[-1], set) and len(seen[-1]) == 6

        wait_until("the new order is listed", is_whole, SETTLED_S)
        wrong = [one for one in seen if isinstance(one, set) and not one >= told]  # type: ignore[operator]
        assert wrong == []
        assert {one for one in seen if isinstance(one, int)} <= {503}
