"""What a process that runs on tells the interpreter: how its lock changes hands, and when garbage is looked for."""

from __future__ import annotations

import gc
import sys

SWITCH_S = 0.001  # the lock changes hands this often: the views' thread must not hold up answers
COLLECT_AT = (10_000, 10, 10)  # new objects before the collector looks, in place of 700: a tenth of a fan-out's time


def tune() -> None:
    """May be called again."""
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*COLLECT_AT)


def settled() -> None:
    """Once a process has all that it was started with: what is there now stays, and need not be looked at again."""
    gc.collect()
    gc.freeze()
