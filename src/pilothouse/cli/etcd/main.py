"""`pilothouse etcd`: without a subcommand it serves the store, with one it does what an operator does."""

from __future__ import annotations

from dataclasses import replace

from pilothouse.cli.etcd import serve
from pilothouse.cli.flags import Subcommand

COMMAND = replace(
    serve.COMMAND,
    subcommands={
        "member": Subcommand(
            "pilothouse.cli.etcd.member", "The members of a cluster: list, add, remove, promote."
        ),
        "status": Subcommand("pilothouse.cli.etcd.status", "Versions, sizes, leader and raft index."),
        "health": Subcommand("pilothouse.cli.etcd.health", "Whether every member takes writes."),
        "snapshot": Subcommand("pilothouse.cli.etcd.snapshot", "Copies of a store: save, status, restore."),
        "defrag": Subcommand("pilothouse.cli.etcd.defrag", "Give free space back, member by member."),
    },
    index={},
)
