"""The flags of scheduled snapshots, for every command that keeps a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.cli.flags import Flag, Group, UsageError, Values
from pilothouse.cli.kinds import COUNT, DURATION, PATH

if TYPE_CHECKING:
    from pilothouse.etcd.snapshots.backups import Schedule

GROUP = Group(
    "Backups",
    (
        Flag(
            "snapshot-every", DURATION, 0.0, "Save a snapshot of the store this often, such as 30m; 0: never."
        ),
        Flag("snapshot-keep", COUNT, 5, "How many scheduled snapshots are kept; 0: all."),
        Flag("snapshot-dir", PATH, None, "Where they are saved (default DATA_DIR/snapshots)."),
    ),
)
_EVERY_S_MIN = 1.0


def schedule(values: Values, home: Path, *, ephemeral: bool = False) -> Schedule | None:
    """What the flags ask for. UsageError where they do not fit."""
    every_s, directory = values["snapshot-every"], values["snapshot-dir"]
    if not every_s:
        for name in ("snapshot-keep", "snapshot-dir"):
            if name in values.given:
                raise UsageError(f"--{name} belongs to --snapshot-every: say how often")
        return None
    if every_s < _EVERY_S_MIN:
        raise UsageError("--snapshot-every: a second is the least")
    if directory is None and ephemeral:
        raise UsageError("an ephemeral cluster's snapshots need a place: name it with --snapshot-dir")
    from pilothouse.etcd.snapshots.backups import Schedule

    return Schedule(every_s, values["snapshot-keep"], directory or home / "snapshots")
