"""Python's cycle collector, set for a process that keeps many objects and makes few cycles.

A store's objects are trees of dicts: reference counts free them, but every collection walks them. With the defaults
(a young collection each 700 allocations, a full one whenever a quarter is new) a server that fills up spends a tenth
of its time walking, and a full collection of 10,000 pods stops it for tenths of a second.
"""

from __future__ import annotations

import gc

_YOUNG_MAX = 50_000
_MIDDLE_MAX = 50
_OLD_MAX = 100


def hold() -> None:
    """While a process starts nearly all that is made stays: there is nothing to collect."""
    gc.disable()


def settle() -> None:
    """Call it once a process is ready: what exists now (code, schemas) is never walked again, and what comes is
    walked seldom. Cycles are still found."""
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX, _MIDDLE_MAX, _OLD_MAX)
    gc.enable()
