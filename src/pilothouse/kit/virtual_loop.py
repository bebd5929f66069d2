"""An event loop whose time is virtual: when nothing is ready, its clock jumps to the next timer.

Not a mock: it is asyncio's own selector loop with another idea of waiting. An hour of cluster life takes as
long as its work takes, and the same program runs in the same order every time. Work handed to a thread
(`run_in_executor`) is waited for in real time, because nobody can tell when it ends; sockets to the outside
world are looked at, but never waited for.

    ready callbacks? ──yes──▶ run them
         │ no
    work in a thread? ──yes──▶ really wait
         │ no
    a timer? ──yes──▶ the clock jumps to it
         │ no
    Deadlock: nothing can ever happen again
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

_Ready = list[tuple[selectors.SelectorKey, int]]


class Deadlock(RuntimeError):
    """Every task waits for something that cannot come: no timer, no callback, no thread is left."""


class _JumpingSelector(selectors.DefaultSelector):
    """Reports what is ready, and instead of sleeping moves the virtual clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.threads_busy = 0
        self.describe: Callable[[], str] = str

    def select(self, timeout: float | None = None) -> _Ready:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.threads_busy:
            return super().select(None)
        if timeout is None:
            raise Deadlock(f"nothing can ever happen again; waiting: {self.describe()}")
        self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at time 0. Use it through `run_virtual`, or as the loop factory of an `asyncio.Runner`."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._jumping.describe = self._describe_waiting

    def time(self) -> float:
        return self._jumping.now_s

    @property
    def _clock_resolution(self) -> float:
        """By how much timers may fire early: not at all. asyncio's nanosecond would never pass for a loop that waits
        for a moment less than that away: its timer fires, and the clock has not moved."""
        return math.ulp(self._jumping.now_s)

    @_clock_resolution.setter
    def _clock_resolution(self, seconds: float) -> None:
        """asyncio sets what a real clock has."""

    def run_in_executor(  # type: ignore[override]  # the stubs bind func's parameters to args
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._jumping.threads_busy += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._jumping.threads_busy -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        # It waits for a thread that run_in_executor did not start.
        self._jumping.threads_busy += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._jumping.threads_busy -= 1

    def _describe_waiting(self) -> str:
        names = sorted(task.get_name() for task in asyncio.all_tasks(self))
        return ", ".join(names) or "nothing"


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new VirtualLoop, then cancel what it left behind. Raises what it
    raises, and Deadlock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
