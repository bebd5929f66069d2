"""`up --etcd-members`: the etcd cluster beneath a control plane, as the flags and the data directory say.

no members asked for, none remembered     the embedded store: nothing to do here
members remembered in DATA_DIR/etcd       they are started, whatever the flag says
members asked for, nothing there          a new cluster
members asked for, an embedded store      refused: its objects would be gone from sight
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.cli.etcd.printing import progress
from pilothouse.cli.flags import Failure, Flag, UsageError, Values
from pilothouse.cli.kinds import COUNT, STRING
from pilothouse.etcd import embedded
from pilothouse.etcd.cluster.layout import Home

if TYPE_CHECKING:
    from pilothouse.etcd.cluster.managed import ManagedCluster

FLAGS = (
    Flag(
        "etcd-members",
        COUNT,
        0,
        "Keep the objects in an etcd cluster of so many members (3 outlive the loss of one), each a real etcd process "
        "of its own below DATA_DIR/etcd; 0 is the embedded store.",
    ),
    Flag(
        "etcd-binary",
        STRING,
        "",
        "The etcd to run for --etcd-members (default: etcd on PATH, else the one of pilothouse[etcd]).",
        label="FILE",
    ),
)


class Managing:
    """The cluster that runs beneath this `up`; `stop` it after the control plane."""

    def __init__(self, cluster: ManagedCluster, temporary: Path | None) -> None:
        self.cluster = cluster
        self._temporary = temporary

    async def stop(self) -> None:
        await self.cluster.stop()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


def wanted(values: Values, home: Path) -> bool:
    """Whether there is a cluster to run. Failure and UsageError for what does not fit. Imports nothing of etcd's."""
    remembered = not values["ephemeral"] and Home(home).read() is not None
    if values["etcd-servers"]:
        if values["etcd-members"]:
            raise UsageError("--etcd-servers names a cluster, --etcd-members makes one: give one of them")
        if remembered:
            raise Failure(
                f"{home} has an etcd cluster of its own: leave --etcd-servers out, or use another --data-dir"
            )
        return False
    if remembered:
        return True
    if not values["etcd-members"]:
        if values["etcd-binary"]:
            raise UsageError("--etcd-binary belongs to --etcd-members: say how many members there shall be")
        return False
    if not values["ephemeral"] and embedded.is_in(home):
        raise Failure(
            f"{home} has an embedded store, and its objects would be out of sight: start the etcd cluster on another "
            f"--data-dir and move them with: pilothouse migrate --from {home} --to DIR"
        )
    return True


def refuse_alone(values: Values, home: Path) -> None:
    """kube-apiserver alone would not see what the members in its data directory hold: Failure."""
    if not values["etcd-servers"] and not values["ephemeral"] and Home(home).read() is not None:
        raise Failure(
            f"the objects in {home} are in an etcd cluster, which pilothouse up runs: name it with --etcd-servers and "
            "another --data-dir"
        )


async def start(values: Values, home: Path) -> Managing:
    """The cluster, which serves."""
    from pilothouse.etcd.cluster import binary
    from pilothouse.etcd.cluster.managed import ManagedCluster
    from pilothouse.kit.world import World

    found = binary.find(values["etcd-binary"])
    if found.warning:
        progress(f"Warning: {found.warning}")
    temporary = Path(tempfile.mkdtemp(prefix="pilothouse-etcd-")) if values["ephemeral"] else None
    place = Home(temporary or home)
    if temporary is not None:
        progress(f"etcd lives in {temporary} (its commands take --data-dir {temporary})")
    cluster = ManagedCluster(place, World(), found, progress, durable=temporary is None)
    try:
        await cluster.start(values["etcd-members"])
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Managing(cluster, temporary)
