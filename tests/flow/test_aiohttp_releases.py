"""The suites of HTTP and of webhooks on the oldest release of aiohttp that is allowed, a middle one and
the newest: `make test-full`."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITES = (
    "tests/flow/test_http_abuse.py",
    "tests/flow/test_heads.py",
    "tests/flow/test_request_ends.py",
    "tests/flow/test_event_stream.py",
    "tests/flow/test_rate_limits.py",
    "tests/flow/test_webhook_sending.py",
    "tests/flow/test_webhooks_http.py",
    "tests/flow/test_ssrf.py",
    "tests/crash/test_stop.py",
)


def allowed() -> str:
    """aiohttp's range in setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = setup["options"]["install_requires"].split("\n")
    return next(line for line in required if line.startswith("aiohttp"))


def oldest() -> str:
    return allowed().partition(",")[0].replace(">=", "==")


@pytest.mark.full
@pytest.mark.parametrize("release", [oldest(), "aiohttp==3.14.2", allowed()])
def test_release(release: str, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path]
    subprocess.run([*install, release], check=True)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}  # before what is installed
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4_000:]
