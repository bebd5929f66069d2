"""The command's entry: which subcommands there are, and how each ends.

    0 done    1 failed    2 wrong usage    130 interrupted

A subcommand's module is imported when it is called, so that help is quick. Errors are one line on stderr; a
traceback shows only with PILOTHOUSE_TRACEBACK=1.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from pilothouse import __version__
from pilothouse.cli.flags import DETACHED, Command, Failure, HelpWanted, UsageError, columns, help_text

_COMMANDS = {
    "up": ("pilothouse.cli.up", "Start a whole control plane with simulated nodes."),
    "down": ("pilothouse.cli.down", "Stop one that runs in the background."),
    "kube-apiserver": ("pilothouse.cli.kube_apiserver", "The API server alone."),
    "kube-controller-manager": ("pilothouse.cli.kube_controller_manager", "The controllers alone."),
    "kube-scheduler": ("pilothouse.cli.kube_scheduler", "The scheduler alone."),
    "cloud-controller-manager": (
        "pilothouse.cli.cloud_controller_manager",
        "The loops that talk to a cloud, alone.",
    ),
    "etcd": ("pilothouse.cli.etcd.main", "The store alone, as etcd v3; or what an operator does with one."),
    "snapshot": (
        "pilothouse.cli.etcd.snapshot",
        "Save, check and restore a store: etcd snapshot, for short.",
    ),
    "migrate": ("pilothouse.cli.migrate", "Copy a control plane's data from one store to another."),
    "nodes": ("pilothouse.cli.nodes", "Simulated nodes alone."),
    "explain": ("pilothouse.cli.explain", "Why a pod goes where it goes, or nowhere."),
    "simulate": ("pilothouse.cli.simulate", "Where pods would go, and which nodes would have to be added."),
    "version": ("pilothouse.cli.version", "Print the versions of Pilothouse and of its Kubernetes."),
}
_EXAMPLES = """\
  pilothouse up                 a cluster on https://127.0.0.1:6443, kept on disk
  pilothouse up --ephemeral -d  one in memory, in the background
  pilothouse down               stop it"""


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; its exit code."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except UsageError as error:
        return _complain(error, 2)
    except Failure as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("PILOTHOUSE_TRACEBACK"):
            raise
        text = f"unexpected {type(error).__name__}: {error}; PILOTHOUSE_TRACEBACK=1 shows where; please report it"
        return _complain(text, 1)
    return code


def _complain(error: object, code: int) -> int:
    line = "Error: " + " ".join(str(error).split("\n"))
    if os.environ.get(DETACHED):
        print(line, flush=True)
    print(line, file=sys.stderr)
    return code


def _dispatch(arguments: Sequence[str]) -> int:
    name, *rest = arguments or ("help",)
    if name in ("-h", "--help", "-help"):
        name = "help"
    if name in ("--version", "-version"):
        name = "version"
    if name == "help" and rest:
        name, rest = rest[0], [*rest[1:], "--help"]
    if name == "help":
        print(overview())
        return 0
    command = load(name)
    while rest and command.subcommands and not rest[0].startswith("-"):
        command, rest = _subcommand(command, rest[0]), rest[1:]
    try:
        values = command.parse(rest)
    except HelpWanted:
        print(help_text(command))
        return 0
    return command.run(values) or 0


def load(name: str) -> Command:
    """A subcommand by name. UsageError for one that there is not."""
    entry = _COMMANDS.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, _COMMANDS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        what = "flag" if name.startswith("-") else "command"
        raise UsageError(f"unknown {what} {name!r}{hint} (see: pilothouse --help)")
    command: Command = importlib.import_module(entry[0]).COMMAND
    return command


def _subcommand(command: Command, name: str) -> Command:
    """A command of a command. UsageError for one that there is not."""
    entry = command.subcommands.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, command.subcommands, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"unknown command {name!r}{hint} (see: pilothouse {command.name} --help)")
    found: Command = getattr(importlib.import_module(entry.module), entry.attribute)
    return found


def names() -> list[str]:
    return list(_COMMANDS)


def overview() -> str:
    """What `pilothouse` says without arguments."""
    commands = columns((name, text) for name, (_, text) in _COMMANDS.items())
    return (
        f"Pilothouse {__version__}: a whole Kubernetes control plane in one process.\n\n"
        "Usage: pilothouse COMMAND [flags]\n\n"
        f"Examples:\n{_EXAMPLES}\n\nCommands:\n{commands}\n\n"
        "pilothouse COMMAND --help tells more about each."
    )
