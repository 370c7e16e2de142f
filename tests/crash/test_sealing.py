"""A sealer is killed at its worst moments: no two things that it signed contradict one another."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.config.settings import Settings
from engine.kernel.errors import JournalDamaged
from engine.proof import merkle, sealing
from engine.proof.checkpoint import read_note
from engine.proof.outlets import Directory
from engine.proof.seals import Nodes, Seals
from tests.crash.processes import Crew
from tests.support.engines.sealers import House, check_cancelled, opened

FACTS = 300


def seal_and_die(url: str, data: str, point: str) -> None:
    """The whole life of a process: it seals, and publishes, and is killed at a point on the way."""
    folder = Path(data)
    keep, write = Seals.keep, Directory._write

    def die(note: str) -> None:
        (folder / "diary").write_text(note)
        os.kill(os.getpid(), signal.SIGKILL)

    def dying_keep(self: Seals, seal: Any, *words: Any) -> None:
        if point == "signed":
            die(seal.note)
        keep(self, seal, *words)
        if point == "kept":
            die(seal.note)

    def dying_write(self: Directory, path: Path, text: str) -> None:
        if point == "named" and path.name == "latest":
            die(text)
        write(self, path, text)
        if point == "published" and path.name == "latest":
            die(text)

    Seals.keep = dying_keep  # type: ignore[method-assign]
    Directory._write = dying_write  # type: ignore[method-assign]
    with opened(Settings(data=folder, journal_url=url)) as house:
        house.seal()
        house.publisher(outlet_of(house, folder)).turn(check_cancelled)


def outlet_of(house: House, folder: Path) -> Directory:
    return Directory(folder / "seals", house.signer.public.name)


def contradicted(house: House, folder: Path) -> list[int]:
    """Sizes of all that was ever signed which the journal's tree does not have."""
    notes = {path.read_text() for path in (folder / "seals").iterdir() if path.name[0] != "."}
    notes |= {seal.note for seal in house.seals.every()} | {(folder / "diary").read_text()}
    signed = {read_note(note)[0] for note in notes}
    fetch = Nodes(house.journal.datastore, house.operations).fetch
    return [one.size for one in signed if merkle.root(one.size, fetch) != one.root]


def killed(house: House, folder: Path, point: str) -> None:
    (folder / "seals").mkdir()
    house.add(FACTS)
    with Crew() as crew:
        child = crew.start(seal_and_die, house.url, str(folder), point)
        child.join(30)
        assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("point", ["signed", "kept", "named", "published"])
def test_what_a_killed_sealer_signed_is_a_part_of_what_the_next_one_signs(
    journal_url: str, tmp_path: Path, point: str
) -> None:
    with opened(Settings(data=tmp_path, journal_url=journal_url)) as house:
        killed(house, tmp_path, point)
        house.add(FACTS)
        outlet = outlet_of(house, tmp_path)
        house.sealer(outlet=outlet).seal(check_cancelled)
        house.publisher(outlet).turn(check_cancelled)
        assert not contradicted(house, tmp_path)
        last = outlet.last()
        assert last is not None
        assert (last.size, last.note) == (2 * FACTS, house.last().note)


def test_a_sealer_that_looks_at_nothing_contradicts_itself(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: it seals whatever it finds, here a chain that was forged while it was dead."""
    with opened(Settings(data=tmp_path, journal_url=sqlite_url)) as house:
        killed(house, tmp_path, "published")
        house.edit("UPDATE journal SET version = version + 1000 WHERE position = 290")
        house.recompute(290)
        house.add(FACTS)
        with pytest.raises(JournalDamaged):
            house.seal()
        monkeypatch.setattr(sealing, "check_seal", lambda *_: None)
        monkeypatch.setattr(sealing.Sealing, "_begin", lambda _: merkle.Frontier())
        monkeypatch.setattr(
            Seals, "keep", lambda self, seal, *_: (tmp_path / "diary").write_text(seal.note)
        )
        house.sealer().seal(check_cancelled)
        assert contradicted(house, tmp_path) == [FACTS]
