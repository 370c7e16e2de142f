"""Where seals are published: a directory, and a real receiver by HTTP that fails and recovers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.config.settings import SEALS_TO, Settings, read_settings
from engine.followers.follow import Follower
from engine.journal.leases import Leases
from engine.kernel.errors import BadSettings, JournalDamaged, Unavailable
from engine.kernel.process import PUBLISHING
from engine.proof.checkpoint import Checkpoint, Signer, open_note
from engine.proof.outlets import Directory, Receiver, open_outlet
from engine.proof.seals import Seal
from tests.support.engines.sealers import House, check_cancelled, opened


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    with opened(Settings(data=tmp_path, journal_url=sqlite_url)) as house:
        yield house


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "seals"
    path.mkdir()
    return path


def directory(house: House, folder: Path) -> Directory:
    return Directory(folder, house.signer.public.name)


def sealed(house: House, count: int) -> Seal:
    house.add(count)
    return house.seal()


# --- a directory ----------------------------------------------------------------------------------


def test_each_seal_has_a_file_and_the_newest_is_latest(house: House, folder: Path) -> None:
    outlet = directory(house, folder)
    assert outlet.last() is None
    publisher = house.publisher(outlet)
    publisher.turn(check_cancelled)  # nothing was sealed yet
    seals = [sealed(house, 3), sealed(house, 2)]
    publisher.turn(check_cancelled)
    assert publisher.offset == 5
    outlet.put(seals[0].__class__(5, seals[1].root, seals[1].note, 0))  # once more: nothing changes
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "000000000000000005": seals[1].note, "latest": seals[1].note,
    }  # fmt: skip
    last = outlet.last()
    assert last is not None
    assert open_note(last.note, house.keys).size == 5


def test_another_place_is_given_the_newest_seal_though_nothing_is_new(
    house: House, folder: Path
) -> None:
    sealed(house, 3)
    house.publisher(directory(house, folder)).turn(check_cancelled)
    for path in folder.iterdir():
        path.unlink()
    publisher = house.publisher(directory(house, folder))
    assert publisher.offset == 3
    publisher.turn(check_cancelled)
    assert sorted(path.name for path in folder.iterdir()) == ["000000000000000003", "latest"]
    (folder / "latest").unlink()
    publisher.turn(check_cancelled)
    assert not (folder / "latest").exists()  # by the same one it is not published again


def test_a_crash_while_writing_leaves_the_last_seal_whole(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet, first = directory(house, folder), sealed(house, 3)
    outlet.put(first)
    second = sealed(house, 2)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            outlet.put(second)
    assert (folder / "latest").read_text() == first.note
    outlet.put(second)
    assert (folder / "latest").read_text() == second.note


def test_a_directory_that_is_not_mounted_is_waited_for(house: House, tmp_path: Path) -> None:
    outlet = Directory(tmp_path / "mnt", house.signer.public.name)
    seal = sealed(house, 1)
    with pytest.raises(Unavailable, match="no directory"):
        outlet.last()
    with pytest.raises(Unavailable, match="no directory"):
        outlet.put(seal)
    (tmp_path / "mnt").mkdir()
    outlet.put(seal)


def test_the_seal_of_another_journal_is_not_overwritten(house: House, folder: Path) -> None:
    other = Signer("order-engine/other", b"\1" * 32)
    note = other.sign(Checkpoint(other.public.name, 99, bytes(32)))
    (folder / "latest").write_text(note)
    with pytest.raises(BadSettings, match="another journal"):
        directory(house, folder).put(sealed(house, 1))
    (folder / "latest").write_text("a shopping list")
    with pytest.raises(BadSettings, match="no seal"):
        directory(house, folder).put(house.last())
    assert (folder / "latest").read_text() == "a shopping list"


def test_what_was_published_must_still_be_there(house: House, folder: Path) -> None:
    """The journal and its own seals were cut off together: only the directory knows."""
    outlet = directory(house, folder)
    sealed(house, 5)
    outlet.put(sealed(house, 5))
    house.edit("DELETE FROM seals WHERE size > 5", "DELETE FROM journal WHERE position > 5")
    house.recompute(5)
    assert house.seal().size == 5  # without the directory nobody would know
    with pytest.raises(JournalDamaged, match="ends at position 5") as caught:
        house.sealer(outlet=outlet).seal(check_cancelled)
    assert caught.value.context["position"] == 6
    with pytest.raises(JournalDamaged, match="cut off"):
        outlet.put(house.last())
    house.add(5)  # as many facts as before, others
    with pytest.raises(JournalDamaged, match="not those that were sealed") as caught:
        house.sealer(outlet=outlet).seal(check_cancelled)
    assert caught.value.context["position"] == 6
    with pytest.raises(JournalDamaged, match="another seal"):
        outlet.put(house.seal())


def test_an_unsigned_latest_accuses_nobody_in_our_name(house: House, folder: Path) -> None:
    stranger = Signer(house.signer.public.name, b"\1" * 32)
    (folder / "latest").write_text(stranger.sign(Checkpoint(stranger.public.name, 1, bytes(32))))
    house.add(1)
    with pytest.raises(BadSettings, match="none of this journal's"):
        house.sealer(outlet=directory(house, folder)).turn(check_cancelled)
    assert house.journal.datastore.damage.mark is None


# --- a receiver -----------------------------------------------------------------------------------


@dataclass
class Receiving:
    """A receiver that answers as it is told to, and keeps what came."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers; afterwards 201."""
    kept: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Receiving]:
    state = Receiving()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status = state.answers.pop(0) if state.answers else 201
            state.seen.append((self.path, body, self.headers["Content-Type"]))
            if status == 201:
                state.kept[self.path] = body
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1:{state.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_receiver_that_fails_and_recovers_has_the_newest_seal(house: House) -> None:
    """Sealing goes on meanwhile; pauses grow; what was kept once is sent no second time."""
    sealer = house.sealer()
    with receiving() as receiver:
        outlet = Receiver(f"http://127.0.0.1:{receiver.port}/seals/")
        store, tables = house.journal.datastore.store, house.journal.datastore.tables
        follower = Follower(
            PUBLISHING,
            lambda lease: house.publisher_under(lease, outlet),
            Leases(store, tables, "here"),
            house.journal,
            jitter=lambda: 0.0,
        )
        receiver.answers[:] = [503, 500, 302, 404]
        rests = []
        for _ in range(4):
            house.add(10)
            sealer.seal(check_cancelled)
            rests.append(follower.turn())
            assert follower.state == "failing"
        assert rests == [0.1, 0.2, 0.4, 0.8]
        assert not receiver.kept
        follower.turn()
        assert follower.state == "running"
        follower.turn()
        follower.end()
    assert receiver.kept == {"/seals/40": house.last().note}
    assert [path for path, _, _ in receiver.seen] == [f"/seals/{n}" for n in (10, 20, 30, 40, 40)]
    assert {media for _, _, media in receiver.seen} == {"text/plain; charset=utf-8"}


def test_a_receiver_that_is_not_there_or_does_not_speak(house: House) -> None:
    seal = sealed(house, 1)
    with receiving() as receiver:
        gone = f"http://127.0.0.1:{receiver.port}/secret-path"
    with pytest.raises(Unavailable) as caught:
        Receiver(gone).put(seal)
    assert "secret-path" not in str(caught.value)
    assert Receiver(gone).last() is None


def test_what_can_be_an_outlet(tmp_path: Path) -> None:
    for text in (str(tmp_path), "https://seals.example/a/b", "http://127.0.0.1:9/x", "http://[::1]/"):
        assert read_settings(environ={SEALS_TO: text}).seals_to == text
        open_outlet(text, "order-engine/1")
    assert "secret" not in repr(read_settings(environ={SEALS_TO: "https://h.example/secret"}))
    assert read_settings(environ={SEALS_TO: ""}).seals_to is None
    for text in ("seals", "http://seals.example", "ftp://h/x", "https://", "https://u:p@h/x", "https://h/x?a=1",
                 "https://h:0/", "https://h:x/", "https://[/", "https://h/\n"):  # fmt: skip
        with pytest.raises(BadSettings, match=SEALS_TO) as caught:
            read_settings(environ={SEALS_TO: text})
        assert "u:p" not in str(caught.value)
