"""Both wheels, built and tried in empty environments: `python -m tests.support.checkers.dist [FOLDER]`.

The engine's runs the sandbox and `serve` with `/docs`, the client's the README's example.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

from tests.support.engines.sandboxes import sandbox
from tests.support.servers.command import ROOT, environment

PROJECTS = {"order_engine": ROOT, "order_engine_client": ROOT / "client"}
"""The name in a wheel's file name -> the folder that it is built from."""
WITHIN_S = 60.0
DAY = ("--sandbox", "--sandbox-day", "100ms")
"""Business days short enough to see an order settle."""


def run(*words: str | Path, **variables: str) -> str:
    """Standard output of a command, away from the checkout. Raises for one that fails."""
    with tempfile.TemporaryDirectory(prefix="order-engine-dist-") as nowhere:
        done = subprocess.run(
            [*map(str, words)], cwd=nowhere, env=environment(**variables), text=True,
            capture_output=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{words}: status {done.returncode}\n{done.stderr}")
    return done.stdout


def build(folder: Path) -> dict[str, Path]:
    """Name -> wheel. What an earlier build has left could get into a wheel: it is removed first."""
    for name, project in PROJECTS.items():
        shutil.rmtree(project / "build" / "lib", ignore_errors=True)
        for old in folder.glob(f"{name}-*.whl"):
            old.unlink()
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--wheel-dir", folder, *PROJECTS.values())  # fmt: skip
    for project in PROJECTS.values():
        shutil.rmtree(project / "build" / "lib", ignore_errors=True)
    return {name: next(folder.glob(f"{name}-*.whl")) for name in PROJECTS}


def install(wheel: Path, folder: Path) -> Path:
    """The folder of commands of a new environment that has this wheel, and what it asks for."""
    venv.create(folder, with_pip=True)
    commands = folder / "bin"
    run(commands / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    return commands


def imported_from(commands: Path, module: str) -> str:
    """Where an environment finds a module; empty: it does not."""
    code = f"from importlib.util import find_spec as f; s = f({module!r}); print(s.origin if s else '')"
    return run(commands / "python", "-c", code).strip()


@contextmanager
def serving(command: Path, data: Path) -> Iterator[str]:
    """The address of `serve`, until the block ends."""
    process = subprocess.Popen(
        [command, "serve", "--data", data, "--port", "0", *DAY], cwd=data, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def get(url: str) -> str:
    """The text of a page. Raises for an error."""
    with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:
        text: str = answer.read().decode()
        return text


def pages(url: str) -> list[str]:
    """`/docs` and each file that it refers to; all are answered. Raises otherwise."""
    page = get(f"{url}/docs")
    files = [file for file in re.findall(r'(?:src|href)="([^"]+)"', page) if ":" not in file]
    assert len(files) > 1, page
    for file in files:
        assert get(urljoin(f"{url}/docs", file)), file
    assert json.loads(get(f"{url}/openapi.json"))["paths"]
    return files


def example(commands: Path, url: str, told: Mapping[str, str]) -> str:
    """How the order of the README's Python ended. Raises unless it settled."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    names = {"CLIENT": "client_id", "SECRET": "client_secret", "ACCOUNT": "account"}
    variables = {name: told[key] for name, key in names.items()}
    ended = run(commands / "python", "-c", code, API=url, **variables).splitlines()[1]
    assert ended == "settled 0.99 0.50", ended
    return ended


def check(folder: Path) -> Iterator[str]:
    """The things built and tried, line by line. Raises for what does not work."""
    wheels = build(folder)
    yield f"built {', '.join(wheel.name for wheel in wheels.values())}"
    with tempfile.TemporaryDirectory(prefix="order-engine-dist-") as given:
        place = Path(given)
        engine = install(wheels["order_engine"], place / "engine")
        client = install(wheels["order_engine_client"], place / "client")
        assert imported_from(engine, "engine").startswith(str(place))
        assert imported_from(client, "order_engine_client").startswith(str(place))
        assert not imported_from(engine, "order_engine_client")
        assert not imported_from(client, "engine")
        yield "installed each in an environment of its own"
        data = place / "data"
        with sandbox(data, command=[str(engine / "order-engine")]) as told:
            yield f"sandbox: {example(client, told['url'], told)}"
        with serving(engine / "order-engine", data) as url:
            yield f"serve: {', '.join(pages(url))}; {example(client, url, told)}"


def main(words: Sequence[str]) -> None:
    """Builds into the folder that is named."""
    folder = Path(words[0]).absolute()
    folder.mkdir(exist_ok=True)
    for line in check(folder):
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or [os.fspath(ROOT / "dist")])
