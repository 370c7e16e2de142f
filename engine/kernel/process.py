"""Helpers of every process: follower names, and process behaviour.

tame_collector             relieves the garbage collector in a process that keeps many states
lower_priority             lowers the priority of background processes shorten_switch_interval    lets
writers get the interpreter soon
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Final

from engine.kernel.limits import GC_MIDDLE, GC_OBJECTS, GC_YOUNG, SWITCH_S

EXECUTION: Final = "execution"
"""Sends orders to their venue, and records its reports."""
SETTLEMENT: Final = "settlement"
"""Settles trades when they are due."""
SERVICING: Final = "servicing"
"""Pays coupons, dividends and redemptions, and applies splits, on their day."""
ROLLOVERS: Final = "rollovers"
"""Reinvests maturing bills."""
SEALING: Final = "sealing"
"""Makes seals."""
PUBLISHING: Final = "publishing"
"""Sends seals elsewhere."""
WEBHOOKS: Final = "webhooks"
"""Enqueues deliveries and sends them."""
OUTLET: Final = "outlet"
"""Publishes events to a message broker, if there is one."""
FOLLOWERS: Final = (EXECUTION, SETTLEMENT, SERVICING, ROLLOVERS, SEALING, WEBHOOKS)
"""The followers that every installation runs: they complete, settle, seal and announce orders, and
service what is held."""
_NICE: Final = 5


def tame_collector() -> None:
    """Exempts existing objects from garbage collection, and collects the rest less often.

    Facts and states are trees and need no collector; searching a cache of them for cycles cost a fifth
    of an order's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, GC_YOUNG, GC_MIDDLE)


def lower_priority() -> None:
    """Lowers the priority of this process and its children below those that serve."""
    if hasattr(os, "setpriority"):
        now = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(now, _NICE))


def shorten_switch_interval() -> None:
    """Makes threads yield the interpreter after SWITCH_S.

    A writer gives it up at each statement, while it holds the journal's file. At Python's 5 ms it then
    waited as long for threads that decide, seven times an append, and the other processes with it.
    """
    sys.setswitchinterval(SWITCH_S)
