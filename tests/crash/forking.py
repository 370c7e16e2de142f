"""`order-engine` whose background processes are forks of it: `python -m tests.crash.forking WORDS`."""

from __future__ import annotations

from functools import partial

import tests.crash.preloaded  # noqa: F401
from tests.crash.nursery import fork_background
from tests.crash.points import live

if __name__ == "__main__":
    fork_background(partial(live, (), is_child=True))
    live((), is_child=False)
