"""`pilothouse nodes`: simulated nodes alone, over HTTPS."""

from __future__ import annotations

from pilothouse.cli import component_flags, running
from pilothouse.cli.flags import Command, Flag, Group, UsageError, Values
from pilothouse.cli.kinds import COUNT, STRING

_EVENTS = ("none", "warnings", "all")


def _run(values: Values) -> None:
    if values["events"] not in _EVENTS:
        raise UsageError(f"--events: choose one of {', '.join(_EVENTS)}")
    running.serve(values, _serve(values))


async def _serve(values: Values) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    from pilothouse.components.simulated_nodes import SimulatedNodes
    from pilothouse.kit.world import World

    world = World()
    stop = running.Stop()
    clients = component_flags.clients(values, world, "kubelet")
    nodes = SimulatedNodes(clients.own, world, count=values["count"], events=values["events"])
    garbage.settle()
    try:
        await stop.or_crash(nodes.run())
    finally:
        await clients.close()


COMMAND = Command(
    name="nodes",
    summary="Simulated nodes alone.",
    run=_run,
    description=(
        "Run simulated nodes alone, against the API server of --kubeconfig: they register, send heartbeats, and run "
        "the pods that are bound to them. Logs and exec need the nodes in the API server's process (pilothouse up)."
    ),
    examples="""
        pilothouse nodes --kubeconfig /srv/cluster/nodes.kubeconfig --count 100
    """,
    groups=(
        Group(
            "Nodes",
            (
                Flag("count", COUNT, 3, "How many: node-0, node-1, …"),
                Flag("events", STRING, "warnings", f"Which events they write: {', '.join(_EVENTS)}."),
            ),
        ),
        component_flags.connection_group(50, 100),
    ),
)
