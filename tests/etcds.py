"""Real etcd processes (Debian's `etcd-server`) for tests: on free ports, in memory, without waiting for disks."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from pilothouse.etcd.cluster.ports import is_free
from tests.programs import required

_IN_MEMORY = Path("/dev/shm")


_FIRST_PORT, _PORTS = 12000, 18000
_next_port = itertools.count(os.getpid() * 97)
_CLAIMS = Path(tempfile.gettempdir()) / "pilothouse-test-ports"
_claimed: dict[int, int] = {}
"""By port the file that holds its lock, which this process keeps open."""


def free_port() -> int:
    """Below the ports that the system gives to connections: one of those could take the place of a member that is
    down for a moment, which then cannot come back. No other process of tests gets it before `give_back`."""
    _CLAIMS.mkdir(exist_ok=True)
    for _ in range(_PORTS):
        port = _FIRST_PORT + next(_next_port) % _PORTS
        if port not in _claimed and _claim(port):
            if is_free(port):
                return port
            give_back(port)
    raise RuntimeError("all ports for tests are taken: another run of tests has them")


def give_back(port: int) -> None:
    os.close(_claimed.pop(port))


def _claim(port: int) -> bool:
    handle = os.open(_CLAIMS / str(port), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    _claimed[port] = handle
    return True


class Etcd:
    """One process, alone or a member of `cluster` (name → peer port)."""

    def __init__(
        self,
        name: str = "default",
        cluster: dict[str, int] | None = None,
        flags: tuple[str, ...] = (),
        scheme: str = "http",
    ) -> None:
        peers = cluster or {name: free_port()}
        port = free_port()
        self._ports = (port, peers[name])
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.directory = Path(
            tempfile.mkdtemp(prefix="etcd-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None)
        )
        own_peer = f"http://127.0.0.1:{peers[name]}"
        members = ",".join(f"{n}=http://127.0.0.1:{port}" for n, port in peers.items())
        # Elections in 50 ms for one alone; a cluster on a busy machine must not lose its leader by that.
        election_ms = 500 if cluster else 50
        self._arguments = [
            required("etcd"),
            *("--name", name, "--data-dir", str(self.directory / "data")),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", own_peer, "--initial-advertise-peer-urls", own_peer),
            *("--initial-cluster", members),
            *("--heartbeat-interval", str(election_ms // 10), "--election-timeout", str(election_ms)),
            *("--logger", "zap", "--log-level", "panic", "--pre-vote"),
            *flags,
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._arguments, stdout=subprocess.DEVNULL, stderr=(self.directory / "stderr").open("w")
        )

    def pause(self) -> None:
        """Stop the process, and return once each of its threads stands: until then one may still answer."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        for port in self._ports:
            give_back(port)


class SpareEtcds:
    """New, empty etcds; the next one starts while a test works with the last."""

    def __init__(self) -> None:
        self._spare: Etcd | None = None

    def take(self) -> Etcd:
        taken = self._spare or Etcd()
        self._spare = Etcd()
        return taken

    def close(self) -> None:
        if self._spare is not None:
            self._spare.remove()


def three_members(*flags: str) -> list[Etcd]:
    """A cluster of three that still has to elect its leader."""
    peers = {f"m{n}": free_port() for n in range(3)}
    return [Etcd(name, peers, flags) for name in peers]
