"""Which kubectls this machine has."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.scenarios.transcript import Version

MISSING = (
    "NO KUBECTL: the transcripts need kubectl, best the oldest and the newest from 1.27 on, as `kubectl` or "
    "`kubectl.1.NN` on the PATH or in a folder that PILOTHOUSE_KUBECTLS names (https://dl.k8s.io/v1.27.16/bin/...)"
)
_CLOUD_SDK = "/usr/lib/google-cloud-sdk/bin"


class Kubectl(NamedTuple):
    version: Version
    path: Path


@cache
def installed() -> tuple[Kubectl, ...]:
    """All that are found, one per version, the oldest first. Dispatchers, which pick one of the others, are none."""
    found = {k.version: k for path in _candidates() if (k := _asked(path)) is not None}
    return tuple(found[version] for version in sorted(found))


def _candidates() -> Iterator[Path]:
    folders = (*os.environ.get("PILOTHOUSE_KUBECTLS", "").split(":"), _CLOUD_SDK, *os.get_exec_path())
    for folder in filter(None, folders):
        yield from sorted(Path(folder).glob("kubectl.1.*"))
        if (plain := Path(folder) / "kubectl").is_file():
            yield plain


def _asked(path: Path) -> Kubectl | None:
    done = subprocess.run(
        [path, "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode != 0:
        return None
    version = json.loads(done.stdout)["clientVersion"]
    if "dispatcher" in version["gitVersion"]:
        return None
    return Kubectl(Version(int(version["major"]), int(version["minor"].rstrip("+"))), path)


def oldest_and_newest() -> tuple[Kubectl, ...]:
    """The two ends, or the only one, or none."""
    found = installed()
    return (found[0], found[-1]) if len(found) > 1 else found
