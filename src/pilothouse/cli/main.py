"""The command's entry: subcommands are loaded when they are called, so that help is quick."""

from __future__ import annotations

import importlib
import sys

import click

from pilothouse import __version__

_COMMANDS = {
    "up": ("pilothouse.cli.up", "Start a whole control plane with simulated nodes."),
    "down": ("pilothouse.cli.down", "Stop one that runs in the background."),
}


class _Lazy(click.Group):
    """A group that imports a subcommand's module only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(entry[0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pilothouse")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Pilothouse: a whole Kubernetes control plane in one process.

    \b
    Examples:
      pilothouse up                 a cluster on https://127.0.0.1:6443, kept on disk
      pilothouse up --ephemeral -d  one in memory, in the background
      pilothouse down               stop it
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run, with one line on stderr for an error."""
    try:
        cli(prog_name="pilothouse")
    except KeyboardInterrupt:
        sys.exit(130)
