"""A cluster in a thread of its own, for programs and tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from pilothouse.cluster import Cluster, ClusterOptions


class BackgroundCluster:
    """Started when it is made; `stop` ends it. `kubeconfig` is what clients need."""

    def __init__(self, options: ClusterOptions) -> None:
        self._options = options
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self.cluster = Cluster(options)
        self._thread = threading.Thread(target=self._run, name="pilothouse", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def kubeconfig(self) -> Path:
        assert self.cluster.kubeconfig is not None
        return self.cluster.kubeconfig

    @property
    def url(self) -> str:
        return self.cluster.server_url

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self.cluster.start()
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for it
            self._failure = error
            self._ready.set()
            return
        self._ready.set()
        await self._end.wait()
        await self.cluster.stop()

    def stop(self) -> None:
        if self._loop is not None and self._end is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(timeout=20)
