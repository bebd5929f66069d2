"""`pilothouse etcd defrag`: one member after the other, the leader last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.cli import running
from pilothouse.cli.etcd import printing, target
from pilothouse.cli.flags import Command, Failure, Flag, Group, Values
from pilothouse.cli.kinds import DURATION

if TYPE_CHECKING:
    from pilothouse.etcd.cluster.client import EtcdClient
    from pilothouse.kit.world import World

_LIMIT = Group("Defragmentation", (Flag("timeout", DURATION, 600.0, "How long one member may take."),))


def _run(values: Values) -> int:
    as_json = printing.is_json(values)
    found = target.find(values)
    if isinstance(found, target.Stopped):
        return _stopped(values, found, as_json)
    from pilothouse.cli.etcd import connect
    from pilothouse.etcd.cluster import members

    async def work(found: target.Target, client: EtcdClient, world: World) -> int:
        states = await members.survey(client)
        down = [state.label for state in states if state.status is None]
        if down and len(states) > 1:
            raise Failure(
                f"{', '.join(down)} does not answer, and the next to defragment would be down meanwhile, too: bring it "
                "back first"
            )
        rows = []
        for state in members.defrag_order(states):
            endpoint = state.client_urls[0] if len(states) > 1 else client.endpoints[0]
            before = state.status.dbSize
            await members.defragment(client, endpoint, values["timeout"])
            await members.healthy_again(client, endpoint, world)
            after = (await members.status_of(client, endpoint)).dbSize
            printing.progress(f"{state.label}: {printing.size(before)} to {printing.size(after)}")
            rows.append((endpoint, before, after))
        _show(rows, as_json)
        return 0

    return connect.run(values, "defrag", work)


def _stopped(values: Values, found: target.Stopped, as_json: bool) -> int:
    """The embedded store's own files: nobody else has them open meanwhile."""
    from pilothouse.etcd.embedded.backend import open_backend
    from pilothouse.etcd.embedded.log import SqliteLog
    from pilothouse.kit.world import World

    async def work() -> None:
        backend = await open_backend(World(), SqliteLog(found.directory))
        try:
            before = (await backend.status()).db_size
            await backend.defragment()
            after = (await backend.status()).db_size
        finally:
            await backend.close()
        _show([(str(found.directory), before, after)], as_json)

    running.serve(values, work())
    return 0


def _show(rows: list[tuple[str, int, int]], as_json: bool) -> None:
    if as_json:
        printing.show_json([{"endpoint": e, "before": before, "after": after} for e, before, after in rows])
    else:
        table = [(endpoint, printing.size(before), printing.size(after)) for endpoint, before, after in rows]
        printing.show_table(("ENDPOINT", "BEFORE", "AFTER"), table)


COMMAND = Command(
    name="etcd defrag",
    summary="Give free space back, member by member.",
    run=_run,
    description=(
        "Defragment every member, one after the other and the leader last, each serving again before the next. A "
        "member answers nobody while it defragments."
    ),
    groups=(_LIMIT, target.GROUP, printing.OUTPUT),
)
