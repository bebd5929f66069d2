"""`pilothouse kube-scheduler`: the scheduler alone, over HTTPS."""

from __future__ import annotations

from pilothouse.cli import component_flags, running
from pilothouse.cli.flags import Command, Failure, Group, Values, refused
from pilothouse.cli.kinds import INT, STRING

_NAME = "kube-scheduler"
_PORT = 10259


def _run(values: Values) -> None:
    running.warn(component_flags.warnings(values))
    running.serve(values, _serve(values))


async def _serve(values: Values) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    from pilothouse.client.leader_election import LeadershipLost
    from pilothouse.components.scheduler import SchedulerComponent
    from pilothouse.components.standalone import Standalone
    from pilothouse.kit.metrics import new_registry
    from pilothouse.kit.world import World

    world, metrics = World(), new_registry()
    stop = running.Stop()
    clients = component_flags.clients(values, world, _NAME)
    standalone = Standalone(
        clients,
        world,
        metrics,
        component_flags.election(values),
        component_flags.endpoint(values, _NAME),
        component_flags.reviewers(values, world, _NAME),
    )

    async def work() -> None:
        await SchedulerComponent(clients.own, world, metrics).run()

    garbage.settle()
    try:
        await stop.or_crash(standalone.run(work))
    except LeadershipLost as lost:
        raise Failure(f"Leaderelection lost: {lost}; start it again to wait for the lease") from None


COMMAND = Command(
    name=_NAME,
    summary="The scheduler alone.",
    run=_run,
    description=(
        "Run kube-scheduler alone, against the API server of --kubeconfig. Of several copies the one that holds the "
        f"lease works. Health and metrics are on https://…:{_PORT}."
    ),
    examples="""
        pilothouse kube-scheduler --kubeconfig /srv/cluster/kube-scheduler.kubeconfig
        pilothouse kube-scheduler --kubeconfig FILE --secure-port 0 --leader-elect=false
    """,
    groups=(
        component_flags.connection_group(50, 100),
        component_flags.election_group(_NAME),
        component_flags.endpoint_group(_PORT),
        Group(
            "Scheduling",
            (
                refused("config", "leave it out; the default profile is served"),
                refused("write-config-to", "leave it out; the default profile is served"),
                refused("pod-max-in-unschedulable-pods-duration", "it is always 5m0s", STRING, "5m0s"),
                refused("percentage-of-nodes-to-score", "all nodes are looked at", INT, 0),
            ),
        ),
    ),
)
