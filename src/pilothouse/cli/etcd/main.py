"""`pilothouse etcd`: without a subcommand it serves the store, with one it does what an operator does."""

from __future__ import annotations

from dataclasses import replace

from pilothouse.cli.etcd import serve
from pilothouse.cli.etcd.commands import COMMANDS

COMMAND = replace(
    serve.COMMAND,
    subcommands={name: (entry.module, entry.summary) for name, entry in COMMANDS.items()},
    index={},
)
