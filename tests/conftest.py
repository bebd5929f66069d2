"""What several test folders share: real tools, and a running cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

TOKENS = 'admintoken,admin,admin,system:masters\nalicetoken,alice,alice,"dev"\n'
_CLOUD_SDK = Path("/usr/lib/google-cloud-sdk/bin")


@dataclass(frozen=True)
class Running:
    """A cluster in a process of its own."""

    url: str
    kubeconfig: Path
    process: subprocess.Popen[str]


def start(directory: Path, *flags: str) -> Running:
    """`pilothouse up` on a free port; returns when it says that it is ready."""
    tokens = directory / "tokens.csv"
    tokens.write_text(TOKENS)
    kubeconfig = directory / "kubeconfig"
    arguments = [
        "up",
        "--secure-port",
        "0",
        "--kubeconfig",
        str(kubeconfig),
        "--token-auth-file",
        str(tokens),
    ]
    environment = {**os.environ, "XDG_DATA_HOME": str(directory / "data")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pilothouse", *arguments, *flags],
        stdout=subprocess.PIPE,
        stderr=(directory / "stderr").open("w"),
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("Ready in "):
        process.kill()
        pytest.fail(f"the cluster did not start: {line}{(directory / 'stderr').read_text()}")
    return Running(line.split()[4], kubeconfig, process)


def stop(running: Running) -> int:
    running.process.send_signal(signal.SIGTERM)
    return running.process.wait(timeout=20)


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The newest kubectl of the machine. A machine without one fails: the scenarios are about it."""
    beside = sorted(_CLOUD_SDK.glob("kubectl.1.*"))
    found = shutil.which("kubectl") or (str(beside[-1]) if beside else None)
    if found is None:
        pytest.fail("kubectl is not installed: the scenario tests need one, any version from 1.27 on")
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("cluster"), "--ephemeral")
    yield running
    assert stop(running) == 0
