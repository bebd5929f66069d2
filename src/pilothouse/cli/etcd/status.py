"""`pilothouse etcd status`: what every endpoint says of itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pilothouse.cli.etcd import printing, target
from pilothouse.cli.flags import Command, Values
from pilothouse.etcd.contract import StoreError

if TYPE_CHECKING:
    from pilothouse.etcd.cluster.client import EtcdClient
    from pilothouse.kit.world import World

_HEADINGS = (
    "ENDPOINT", "ID", "VERSION", "DB SIZE", "IN USE", "IS LEADER", "IS LEARNER", "RAFT TERM", "RAFT INDEX",
    "APPLIED INDEX", "ERRORS",
)  # fmt: skip


def _run(values: Values) -> int:
    from pilothouse.cli.etcd import connect
    from pilothouse.etcd.cluster import members

    as_json = printing.is_json(values)

    async def ask(client: EtcdClient, endpoint: str) -> tuple[str, Any, str]:
        try:
            return endpoint, await members.status_of(client, endpoint, values["command-timeout"]), ""
        except StoreError as error:
            return endpoint, None, str(error)

    async def work(found: target.Target, client: EtcdClient, world: World) -> int:
        answers = await asyncio.gather(*(ask(client, url) for url in client.endpoints))
        if as_json:
            printing.show_json([_document(*answer) for answer in answers])
        else:
            printing.show_table(_HEADINGS, [_row(*answer) for answer in answers])
        return int(any(error for _, _, error in answers))

    return connect.run(values, "status", work)


def _row(endpoint: str, status: Any, error: str) -> tuple[str, ...]:
    if status is None:
        return (endpoint, *("",) * (len(_HEADINGS) - 2), error)
    return (
        endpoint,
        f"{status.header.member_id:x}",
        status.version,
        printing.size(status.dbSize),
        printing.size(status.dbSizeInUse),
        str(status.leader == status.header.member_id).lower(),
        str(status.isLearner).lower(),
        str(status.raftTerm),
        str(status.raftIndex),
        str(status.raftAppliedIndex),
        ", ".join(status.errors),
    )


def _document(endpoint: str, status: Any, error: str) -> dict[str, Any]:
    if status is None:
        return {"endpoint": endpoint, "error": error}
    return {
        "endpoint": endpoint,
        "id": f"{status.header.member_id:x}",
        "version": status.version,
        "revision": status.header.revision,
        "dbSize": status.dbSize,
        "dbSizeInUse": status.dbSizeInUse,
        "isLeader": status.leader == status.header.member_id,
        "isLearner": status.isLearner,
        "raftTerm": status.raftTerm,
        "raftIndex": status.raftIndex,
        "raftAppliedIndex": status.raftAppliedIndex,
        "errors": list(status.errors),
    }


COMMAND = Command(
    name="etcd status",
    summary="Versions, sizes, leader and raft index.",
    run=_run,
    description="Ask every endpoint for its status. Exit code 1 if one of them does not answer.",
    groups=(target.GROUP, printing.OUTPUT),
)
