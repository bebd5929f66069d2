"""A real etcd for tests to compare with (Debian's `etcd-server` and `etcd-client`)."""

from __future__ import annotations

import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.etcds import free_port
from tests.programs import required


@contextmanager
def real_etcd(
    directory: Path,
    *flags: str,
    scheme: str = "http",
    ca: Path | None = None,
    pair: tuple[Path, Path] | None = None,
) -> Iterator[str]:
    """The address (HOST:PORT) of a single etcd that is ready; it ends with the block. With https, `ca` and `pair` are
    what it is asked with whether it is ready."""
    tls = None
    if ca is not None and pair is not None:
        tls = ssl.create_default_context(cafile=str(ca))
        tls.load_cert_chain(*pair)
    client, peer = free_port(), free_port()
    directory.mkdir(parents=True, exist_ok=True)
    command = [
        required("etcd"),
        "--name=default",
        f"--data-dir={directory / 'data'}",
        f"--listen-client-urls={scheme}://127.0.0.1:{client}",
        f"--advertise-client-urls={scheme}://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        *flags,
    ]
    log = directory / "etcd.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_until_healthy(f"{scheme}://127.0.0.1:{client}/health", tls, process, log)
        yield f"127.0.0.1:{client}"
    finally:
        process.terminate()
        process.wait(timeout=15)


def _wait_until_healthy(
    url: str, tls: ssl.SSLContext | None, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1, context=tls) as answer:
                if b'"true"' in answer.read():
                    return
        except OSError:
            assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "etcd did not get ready: " + log.read_text()
        time.sleep(0.05)
