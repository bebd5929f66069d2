"""Long-running loops that belong together: they start by name, stop together, and none dies in silence.

Not asyncio.TaskGroup: tasks come and go while the group lives, and the owner decides when to wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

log = logging.getLogger(__name__)


class Tasks:
    """The tasks of one component. The first crash is logged, kept, and raised by `wait` and `stop`.

    As a context manager it stops at the block's end.
    """

    def __init__(self, component: str) -> None:
        self.component = component
        self._tasks: dict[asyncio.Task[Any], None] = {}
        """In the order in which they began, which is the same in every run of a seed; a set's is not."""
        self._crash: BaseException | None = None
        self._changed = asyncio.Event()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def names(self) -> list[str]:
        """What runs now."""
        return sorted(task.get_name() for task in self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` beside the rest. Its normal end is no event, an exception a crash of the component."""
        if self._stopping:
            work.close()
            raise RuntimeError(f"{self.component} is stopping: {name} cannot start")
        task = asyncio.get_running_loop().create_task(work, name=f"{self.component}/{name}")
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s crashed", task.get_name(), exc_info=error)
            if self._crash is None:
                self._crash = error
        self._changed.set()

    async def wait(self) -> None:
        """Until every task has ended or one has crashed; raises the crash."""
        while self._tasks and self._crash is None:
            self._changed.clear()
            await self._changed.wait()
        self._raise_crash()

    async def stop(self) -> None:
        """Cancel what still runs, wait until it is gone, and raise what crashed first."""
        self._stopping = True
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._raise_crash()

    def _raise_crash(self) -> None:
        if self._crash is not None:
            raise self._crash

    async def __aenter__(self) -> Tasks:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.stop()
            return
        try:
            await self.stop()
        except Exception as crash:
            if crash is not error:
                raise crash from error
