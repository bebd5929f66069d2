"""Processes that a benchmark measures: `pilothouse up`, the bare handler, and the load generator beside them."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOKEN = "benchmark"


class Server:
    """A running `pilothouse up`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, directory: Path, ready_s: float) -> None:
        self.process = process
        self.port = port
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.ready_s = ready_s

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type},
        )
        with urllib.request.urlopen(request, context=insecure(), timeout=120) as answer:
            return json.load(answer)

    def cpu_s(self) -> float:
        """Processor time of the process so far, in user and kernel mode."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Resident memory of the process."""
        return resident_mb(str(self.process.pid))


def resident_mb(pid: str) -> float:
    """Resident memory of a process, or of this one ("self")."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the server has ended")


def insecure() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def pilothouse(*flags: str, durable: bool = True) -> Iterator[Server]:
    """`pilothouse up` on a free port until the block ends; ready when it is entered."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        directory = Path(name)
        (directory / "tokens.csv").write_text(f"{TOKEN},benchmark,benchmark,system:masters\n")
        port = free_port()
        command = [sys.executable, "-m", "pilothouse", "up", "--secure-port", str(port)]
        command += ["--token-auth-file", str(directory / "tokens.csv")]
        command += ["--kubeconfig", str(directory / "kubeconfig")]
        command += ["--data-dir", str(directory / "data")] if durable else ["--ephemeral"]
        # An installed program has its bytecode; one that is run from its sources must be allowed to keep it.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        with open(directory / "log", "wb") as log:
            began_s = time.perf_counter()
            process = subprocess.Popen([*command, *flags], stdout=log, stderr=log, env=environment)
        try:
            _wait_ready(process, port, directory)
            yield Server(process, port, directory, time.perf_counter() - began_s)
        finally:
            process.terminate()
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    context = insecure()
    while process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context, timeout=1)
            return
        time.sleep(0.005)
    raise SystemExit(f"pilothouse up ended: {(directory / 'log').read_text()}")


@contextlib.contextmanager
def bare(directory: Path) -> Iterator[int]:
    """The bare handler with a certificate of its own; its port."""
    certificate, key = directory / "bare.crt", directory / "bare.key"
    _certificate(certificate, key)
    command = [sys.executable, "-m", "benchmarks.bare", str(certificate), str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _certificate(certificate: Path, key: Path) -> None:
    from pilothouse.kit.certificates import Authority
    from pilothouse.kit.world import World

    pair = Authority(certificate.parent / "bare-ca", World()).server("bare", ["127.0.0.1"])
    certificate.write_bytes(Path(pair.certificate).read_bytes())
    key.write_bytes(Path(pair.key).read_bytes())


class Generator:
    """The load generator in its own process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.http_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ},
        )

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait()

    def order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(
            json.dumps({"host": "127.0.0.1", "token": TOKEN, **order}), file=self._process.stdin, flush=True
        )
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
