"""`pilothouse down`."""

from __future__ import annotations

from pathlib import Path

import click

from pilothouse.cli import state


@click.command("down")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The cluster's data directory.")
def command(data_dir: Path | None) -> None:
    """Stop a cluster and wait until it has ended.

    \b
    Examples:
      pilothouse down
      pilothouse down --data-dir /srv/cluster
    """
    directory = data_dir or state.default_data_dir()
    pid = state.read_pid(directory)
    if pid is None:
        raise click.ClickException(f"no cluster runs on {directory}; start one with: pilothouse up")
    if not state.stop(pid):
        raise click.ClickException(
            f"process {pid} has not ended yet; see its log, or end it with: kill -9 {pid}"
        )
    click.echo(f"Stopped the cluster on {directory}.")
