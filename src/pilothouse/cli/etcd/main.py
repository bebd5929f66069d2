"""`pilothouse etcd`: without a subcommand it serves the store, with one it does what an operator does.

A subcommand's module has a COMMAND, which may have subcommands of its own (`member list`).
"""

from __future__ import annotations

from dataclasses import replace

from pilothouse.cli.etcd import serve

SUBCOMMANDS: dict[str, tuple[str, str]] = {}
"""Module and summary by name."""

COMMAND = replace(serve.COMMAND, subcommands=SUBCOMMANDS, index={})
