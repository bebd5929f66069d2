"""`pilothouse down`."""

from __future__ import annotations

from pilothouse.cli import state
from pilothouse.cli.flags import Command, Failure, Flag, Group, Values
from pilothouse.cli.kinds import PATH


def _run(values: Values) -> None:
    directory = values["data-dir"] or state.default_data_dir()
    try:
        pid = state.read_pid(directory)
        if pid is None:
            raise Failure(f"no cluster runs on {directory}; start one with: pilothouse up")
        ended = state.stop(pid)
    except OSError as error:
        raise Failure(f"cannot stop the cluster on {directory}: {error.strerror or error}") from None
    if not ended:
        raise Failure(f"process {pid} has not ended yet; see {directory / state.LOG_FILE}, or: kill -9 {pid}")
    print(f"Stopped the cluster on {directory}.")


COMMAND = Command(
    name="down",
    summary="Stop one that runs in the background.",
    run=_run,
    description="Stop a cluster and wait until it has ended.",
    examples="""
        pilothouse down
        pilothouse down --data-dir /srv/cluster
    """,
    groups=(
        Group(
            "Flags",
            (Flag("data-dir", PATH, None, "Its data directory (default $XDG_DATA_HOME/pilothouse)."),),
        ),
    ),
)
