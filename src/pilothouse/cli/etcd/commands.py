"""Which commands stand below `pilothouse etcd`, and which one a command line means.

A command is named by one or two words; the longest name that fits goes first. Without one, `pilothouse etcd` serves.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import NamedTuple

from pilothouse.cli.flags import Command, UsageError, Values


class Entry(NamedTuple):
    """Imported when it is called; `attribute` is the `Command` in the module."""

    module: str
    attribute: str
    summary: str


COMMANDS = {
    "member list": Entry("pilothouse.cli.etcd.member", "LIST", "The members of a cluster."),
    "member add": Entry("pilothouse.cli.etcd.member", "ADD", "One more, as a learner first."),
    "member remove": Entry("pilothouse.cli.etcd.member", "REMOVE", "One less."),
    "member promote": Entry("pilothouse.cli.etcd.member", "PROMOTE", "Give a learner its vote."),
    "status": Entry("pilothouse.cli.etcd.status", "COMMAND", "Versions, sizes, leader and raft index."),
    "health": Entry("pilothouse.cli.etcd.health", "COMMAND", "Whether every member takes writes."),
    "snapshot save": Entry("pilothouse.cli.etcd.snapshot", "SAVE", "Copy a store to a file."),
    "snapshot status": Entry("pilothouse.cli.etcd.snapshot", "STATUS", "What a snapshot holds."),
    "snapshot restore": Entry("pilothouse.cli.etcd.snapshot", "RESTORE", "Make a new store of it."),
    "defrag": Entry("pilothouse.cli.etcd.defrag", "COMMAND", "Give free space back, member by member."),
}


def choose(arguments: Sequence[str]) -> tuple[Command, list[str]] | None:
    """The command that the first words name, and what follows them; None when they name none and begin with a flag
    or nothing. UsageError for words that name no command."""
    words = [word for word in arguments[:2]]
    for length in (2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and name in COMMANDS:
            return load(name), list(arguments[length:])
    if not words or words[0].startswith("-"):
        return None
    raise _unknown(words)


def load(name: str) -> Command:
    entry = COMMANDS[name]
    command: Command = getattr(importlib.import_module(entry.module), entry.attribute)
    return command


def _unknown(words: list[str]) -> UsageError:
    below = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if below:
        return UsageError(f"pilothouse etcd {words[0]} wants one of: {', '.join(below)}")
    near = difflib.get_close_matches(words[0], {name.split()[0] for name in COMMANDS}, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UsageError(f"unknown command 'etcd {words[0]}'{hint} (there are: {', '.join(COMMANDS)})")


def _serve(values: Values) -> int:
    raise UsageError(f"pilothouse etcd wants one of: {', '.join(COMMANDS)}")


COMMAND = Command(
    name="etcd",
    summary="The store as a service, and what an operator does with any etcd.",
    run=_serve,
    description="Commands: " + ", ".join(COMMANDS) + ".",
)
