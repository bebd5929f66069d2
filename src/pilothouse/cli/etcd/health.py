"""`pilothouse etcd health`: whether every member takes part; exit code 1 if one does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pilothouse.cli.etcd import printing, target
from pilothouse.cli.flags import Command, Values

if TYPE_CHECKING:
    from pilothouse.etcd.cluster.client import EtcdClient
    from pilothouse.kit.world import World


def _run(values: Values) -> int:
    from pilothouse.cli.etcd import connect
    from pilothouse.etcd.cluster import members

    as_json = printing.is_json(values)
    timeout_s = values["command-timeout"]

    async def check(client: EtcdClient, endpoint: str, world: World) -> tuple[str, str, float]:
        began_s = world.clock.monotonic()
        error = await members.check_health(client, endpoint, timeout_s)
        return endpoint, error, world.clock.monotonic() - began_s

    async def work(found: target.Target, client: EtcdClient, world: World) -> int:
        checks = await asyncio.gather(*(check(client, url, world) for url in client.endpoints))
        if as_json:
            printing.show_json([_document(*result) for result in checks])
        else:
            rows = [
                (url, "unhealthy" if error else "healthy", _took(took_s), error)
                for url, error, took_s in checks
            ]
            printing.show_table(("ENDPOINT", "HEALTH", "TOOK", "ERROR"), rows)
        return int(any(error for _, error, _ in checks))

    return connect.run(values, "health", work)


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _document(endpoint: str, error: str, took_s: float) -> dict[str, object]:
    return {
        "endpoint": endpoint,
        "health": not error,
        "took": _took(took_s),
        **({"error": error} if error else {}),
    }


COMMAND = Command(
    name="etcd health",
    summary="Whether every member takes writes.",
    run=_run,
    description=(
        "Ask every endpoint for a read that needs the quorum, and for alarms. Exit code 1 if one of them is unhealthy."
    ),
    groups=(target.GROUP, printing.OUTPUT),
)
