"""An upgrade in place: the installed code is replaced under a running `serve` of the release before.

Its children are started as `python -m engine.cli`, which has become `order_engine`; each that ends is
started again, from the new code.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from order_engine_client import Client, Order
from tests.support.engines.sandboxes import sandbox
from tests.support.servers.command import ROOT
from tests.support.servers.served import wait_until

PACKAGES = ("engine", "projections", "api", "order_engine")
WITHIN_S = 60.0


def install(site: Path) -> None:
    """This release, in the place of what is there, with its bytecode."""
    for package in PACKAGES:
        shutil.rmtree(site / package, ignore_errors=True)
        shutil.copytree(ROOT / package, site / package)


def isolate(site: Path) -> None:
    """Hides the checkout, as which the engine is installed here, from processes that run from `site`."""
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "sys.meta_path[:] = [one for one in sys.meta_path if '__editable__' not in str(one)]\n"
    )


def install_former(site: Path) -> None:
    """The same with the command where it was before there were rooms: in `engine.cli` only."""
    install(site)
    shutil.rmtree(site / "engine" / "cli")
    (site / "order_engine").rename(site / "engine" / "cli")
    for path in site.rglob("*.py"):
        code = path.read_text()
        moved = re.sub(r'(?<=[ "])order_engine(?=[ ."])', "engine.cli", code)
        if moved != code:
            path.write_text(moved)


def children(parent: int) -> dict[int, list[str]]:
    """Process -> its command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, owner = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(owner) == parent and state != "Z":
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found[int(folder.name)] = [word.decode() for word in words if word]
    return found


@contextmanager
def served(site: Path, data: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The process of a sandbox that runs from `site`, and what it printed."""
    launcher = site / "launch.py"
    launcher.write_text(
        f"import os, sys\nos.chdir({str(site)!r})\nos.environ['PYTHONPATH'] = {str(site)!r}\n"
        "open('pid', 'w').write(str(os.getpid()))\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'engine.cli', *sys.argv[1:]])\n"
    )
    with sandbox(data, command=[sys.executable, str(launcher)]) as told:
        yield int((site / "pid").read_text()), told


def test_children_of_the_former_release_restart_from_the_replaced_code(tmp_path: Path) -> None:
    site, started = tmp_path / "site", tmp_path / "started"
    site.mkdir()
    isolate(site)
    install_former(site)
    with (
        served(site, tmp_path / "data") as (parent, told),
        Client(told["url"], told["client_id"], told["client_secret"]) as client,
    ):

        def settled() -> Order:
            order = client.buy(told["account"], "ins_demo_bond", "100.00")
            return client.wait_for_order(told["account"], order.id, within_s=WITHIN_S)

        first, before = settled(), children(parent)
        assert all(words[1:3] == ["-m", "engine.cli"] for words in before.values()), before
        assert not (site / "order_engine").exists()
        install(site)
        with (site / "order_engine" / "__init__.py").open("a") as new:
            new.write(f"\nopen({str(started)!r}, 'a').write('.')\n")
        for child in before:
            os.kill(child, signal.SIGKILL)

        def all_are_new() -> bool:
            now = children(parent)
            return len(now) == len(before) > 0 and not {*now} & {*before}

        wait_until("every child runs again", all_are_new, WITHIN_S)
        second = settled()
        assert (first.status, second.status) == ("settled", "settled")
        assert second.traded_quantity == first.traded_quantity
        assert {order.id for order in client.orders(told["account"])} == {first.id, second.id}
        assert len(started.read_text()) >= len(before), "children that did not run the new code"


def test_the_former_address_of_the_command_runs_the_same() -> None:
    words = ["--version"]
    done = [
        subprocess.run([sys.executable, "-m", module, *words], cwd=ROOT, capture_output=True, check=True)
        for module in ("engine.cli", "order_engine")
    ]
    assert done[0].stdout == done[1].stdout != b""
