"""A served store or a real etcd in a process of its own, for as long as a benchmark needs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.servers import free_port

_PATIENCE_S = 120.0


class StoreKind(NamedTuple):
    name: str
    command: Callable[[], list[str]]


def _etcd() -> list[str]:
    binary = shutil.which("etcd")
    if binary is None:
        raise SystemExit("etcd is not on the PATH: install it (Debian: apt-get install etcd-server)")
    return [
        binary,
        "--listen-peer-urls",
        f"http://127.0.0.1:{free_port()}",
        "--quota-backend-bytes",
        str(8 << 30),
    ]


REAL = StoreKind("etcd", _etcd)
SERVED = StoreKind(
    "served", lambda: [sys.executable, "-m", "pilothouse", "etcd", "--quota-backend-bytes", str(8 << 30)]
)


class Store:
    """Running, on `address`; `ready_s` from its start to its first answer."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, ready_s: float) -> None:
        self.process = process
        self.address = address
        self.ready_s = ready_s

    @classmethod
    @contextlib.contextmanager
    def start(cls, kind: StoreKind, directory: Path) -> Iterator[Store]:
        directory.mkdir(parents=True, exist_ok=True)
        address = f"127.0.0.1:{free_port()}"
        url = f"http://{address}"
        command = [*kind.command(), "--data-dir", str(directory / "data")]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        log_file = directory.with_suffix(".log")
        with open(log_file, "wb") as log:
            began_s = time.perf_counter()
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait_healthy(process, url, log_file)
            yield cls(process, address, time.perf_counter() - began_s)
        finally:
            process.terminate()
            process.wait()

    def memory_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the store has ended")


def _wait_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end_s = time.perf_counter() + _PATIENCE_S
    while process.poll() is None and time.perf_counter() < end_s:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/health", timeout=5)
            return
        time.sleep(0.01)
    raise SystemExit(f"the store did not become healthy: {log.read_text()[-2000:]}")
