"""Whether strangers can tell by the time of a refusal which clients exist.

    python -m bench.token_timing

Answers to wrong credentials, without HTTP, whose own noise would hide the difference: an unknown client
and a disabled one beside a known one with a wrong secret. They take turns, in an order that chance
decides each round, in one process; the ratio of medians must be within 5 % of 1. The last line is the
control: malformed credentials, which are refused before a client is looked up, must be found out.

    --journal-url URL   another database than a SQLite file made for this
    --tries N           of each kind (2 000)
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

from api.http.auth import grant
from api.http.tokens import Tokens
from engine.config.settings import read_settings
from engine.installation import Installation, migrate, open_installation
from engine.kernel.ids import IdSource

APART_MAX = 0.05
BLOCKS = 20
KNOWN, CONTROL = "wrong secret", "malformed request"


def forms(installation: Installation) -> dict[str, bytes]:
    """Requests, by the kind of client that they name."""
    clients = installation.clients
    known, disabled = (clients.create("acme", ["read", "trade"]) for _ in range(2))
    clients.disable(disabled.client.id)
    rotated = clients.create("acme", ["read", "trade"])
    clients.rotate(rotated.client.id, overlap_us=3_600_000_000)
    named = {
        KNOWN: (known.client.id, known.secret[::-1]),
        "unknown client": (IdSource().new("cli"), known.secret),
        "disabled client": (disabled.client.id, disabled.secret),
        "rotated client": (rotated.client.id, known.secret),
    }
    words = {"grant_type": "client_credentials"}
    asked = {
        name: urlencode(words | {"client_id": one, "client_secret": secret}).encode()
        for name, (one, secret) in named.items()
    }
    return asked | {CONTROL: urlencode({"client_id": known.client.id}).encode()}


def measure(
    asked: dict[str, Callable[[], object]], tries: int, chance: random.Random
) -> dict[str, list[int]]:
    """Nanoseconds of each try, by name."""
    times: dict[str, list[int]] = {name: [] for name in asked}
    names = list(asked)
    for number in range(tries + tries // 10):
        chance.shuffle(names)
        for name in names:
            began = time.perf_counter_ns()
            asked[name]()
            took = time.perf_counter_ns() - began
            if number >= tries // 10:  # the first are for warming up
                times[name].append(took)
    return times


def ratio(of: list[int], to: list[int]) -> tuple[float, float, float]:
    """Ratio of the medians, and the smallest and largest of blocks of tries that ran side by side."""
    size = max(1, len(of) // BLOCKS)
    each = [
        statistics.median(of[start : start + size]) / statistics.median(to[start : start + size])
        for start in range(0, len(of) - size + 1, size)
    ]
    return statistics.median(of) / statistics.median(to), min(each), max(each)


def run(installation: Installation, tries: int, seed: int) -> bool:
    """Prints the table; whether all is as it must be."""
    tokens = Tokens("bench", installation.signing, installation.clients)
    asked = {
        name: lambda form=form: grant(installation.clients, tokens, form, None)
        for name, form in forms(installation).items()
    }
    times = measure(asked, tries, random.Random(seed))
    print(f"{tries} tries of each, seed {seed}\n")
    print("| refused | median, us | to a wrong secret (least-most of 20 blocks) |\n|---|---|---|")
    is_right = True
    for name, taken in times.items():
        middle, least, most = ratio(taken, times[KNOWN])
        is_right &= (abs(middle - 1) > APART_MAX) == (name == CONTROL)
        told = f"{middle:.3f} ({least:.3f}-{most:.3f})"
        print(f"| {name} | {statistics.median(taken) / 1_000:.1f} | {told} |")
    return is_right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--journal-url")
    parser.add_argument("--tries", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        settings = read_settings(
            data=str(Path(directory) / "data"), journal_url=given.journal_url, environ={}
        )
        migrate(settings, "sandbox")
        with closing(open_installation(settings)) as installation:
            is_right = run(installation, given.tries, given.seed)
    if not is_right:
        print(f"\nmore than {APART_MAX:.0%} apart, or the control was not found out", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
