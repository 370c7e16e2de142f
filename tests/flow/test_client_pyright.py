"""Pyright sees the client's methods, their results, and the types of events' data."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
from order_engine_client import AsyncClient, Client, OrderEvent, TradeEvent, verify_webhook

def blocking(client: Client) -> None:
    reveal_type(client.buy("a", "i", 1))
    reveal_type(client.orders("a"))
    for event in client.follow_events():
        match event:
            case OrderEvent():
                reveal_type(event.data)
            case TradeEvent():
                reveal_type(event.data.price)
            case _:
                pass
    reveal_type(verify_webhook(b"", {}, "s"))
    client.buy("a", "i")

async def awaiting(client: AsyncClient) -> None:
    reveal_type(await client.buy("a", "i", 1))
    reveal_type(client.orders("a"))
"""
REVEALED = [
    "Order", "Iterator[Order]", "Order", "Decimal", "Event", "Order", "AsyncIterator[Order]",
]  # fmt: skip


@pytest.mark.full
def test_pyright_shows_signatures_and_types(tmp_path: Path) -> None:
    assert shutil.which("npm"), "no Node.js: `apt-get install nodejs npm`"
    words = ["npm", "install", "--no-audit", "--prefix", str(tmp_path), "pyright@1"]
    subprocess.run(words, check=True, capture_output=True)
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(ROOT / "client")], "typeCheckingMode": "strict"})
    )
    done = subprocess.run(
        [str(tmp_path / "node_modules/.bin/pyright"), "--outputjson", "--pythonpath", sys.executable,
         "code.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)["generalDiagnostics"]
    types = [one["message"].split('"')[-2] for one in found if one["severity"] == "information"]
    assert types == REVEALED
    (error,) = [one for one in found if one["severity"] == "error"]
    assert 'Argument missing for parameter "cash_amount"' in error["message"]
    examples = sorted(map(str, (ROOT / "examples").glob("*.py")))
    subprocess.run(
        [str(tmp_path / "node_modules/.bin/pyright"), "--pythonpath", sys.executable, *examples],
        cwd=tmp_path, check=True,
    )  # fmt: skip
