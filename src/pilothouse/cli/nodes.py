"""`pilothouse nodes`: simulated nodes alone, over HTTPS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.cli import component_flags, running
from pilothouse.cli.flags import Command, Flag, Group, UsageError, Values
from pilothouse.cli.kinds import COUNT, FILES, STRING

if TYPE_CHECKING:
    from pilothouse.kit.world import World
    from pilothouse.nodes.stages.read import StageSet

STAGE_FILE = Flag(
    "stage-file",
    FILES,
    (),
    "kwok Stages for pods and nodes, in place of what simulated nodes do by themselves, and kwok's ResourceUsages "
    "(repeatable).",
)
_EVENTS = ("none", "warnings", "all")


def _run(values: Values) -> None:
    if values["events"] not in _EVENTS:
        raise UsageError(f"--events: choose one of {', '.join(_EVENTS)}")
    if values["cloud-provider"] not in ("", "external"):
        raise UsageError("--cloud-provider: 'external', or nothing for nodes that no cloud describes")
    running.serve(values, _serve(values))


async def _serve(values: Values) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    from pilothouse.components.simulated_nodes import SimulatedNodes
    from pilothouse.kit.world import World

    world = World()
    stages = _stages(values, world)
    stop = running.Stop()
    clients = component_flags.clients(values, world, "kubelet")
    nodes = SimulatedNodes(
        clients.own,
        world,
        count=values["count"],
        events=values["events"],
        stages=stages,
        external_cloud=values["cloud-provider"] == "external",
    )
    garbage.settle()
    try:
        await stop.or_crash(nodes.run())
    finally:
        await clients.close()


def _stages(values: Values, world: World) -> StageSet | None:
    if not values["stage-file"]:
        return None
    from pilothouse.nodes.stages.read import read

    return read(values["stage-file"], world)


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
        pilothouse nodes --kubeconfig /srv/cluster/nodes.kubeconfig --stage-file pod-fast.yaml
    """,
    groups=(
        Group(
            "Nodes",
            (
                Flag("count", COUNT, 3, "How many: node-0, node-1, …"),
                STAGE_FILE,
                Flag(
                    "cloud-provider",
                    STRING,
                    "",
                    "'external': nodes wait until a cloud-controller-manager has described them.",
                ),
                Flag("events", STRING, "warnings", f"Which events they write: {', '.join(_EVENTS)}."),
            ),
        ),
        component_flags.connection_group(50, 100),
    ),
)
