"""`pilothouse kube-scheduler`: the scheduler alone, over HTTPS."""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.cli import component_flags, running, scheduler_config
from pilothouse.cli.flags import Command, Failure, Flag, Group, Values, refused
from pilothouse.cli.kinds import DURATION, FILE, INT, PATH
from pilothouse.scheduler import features

_NAME = "kube-scheduler"
_PORT = 10259


def _run(values: Values) -> None:
    if values["version"]:
        component_flags.show_version()
        return
    running.warn(component_flags.warnings(values, features.KNOWN))
    config = scheduler_config.configuration(values)
    running.warn(scheduler_config.warnings(values, config))
    if values["write-config-to"] is not None:
        scheduler_config.write(values["write-config-to"], config)
        running.say(f"Wrote configuration to: {values['write-config-to']}")
        return
    running.serve(values, _serve(scheduler_config.settled(values, config), config))


async def _serve(values: Values, config: Obj) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    import msgspec

    from pilothouse.client.leader_election import LeadershipLost
    from pilothouse.components.scheduler import SchedulerComponent
    from pilothouse.components.standalone import Standalone
    from pilothouse.kit.metrics import new_registry
    from pilothouse.kit.world import World
    from pilothouse.scheduler.config.profiles import ProfileError

    world, metrics = World(), new_registry()
    stop = running.Stop()
    clients = component_flags.clients(values, world, _NAME)
    try:
        scheduler = SchedulerComponent(
            clients.own,
            world,
            metrics,
            config,
            unschedulable_s_max=values["pod-max-in-unschedulable-pods-duration"],
            features=scheduler_config.features(values),
        )
    except ProfileError as error:
        raise Failure(str(error)) from None
    standalone = Standalone(
        clients,
        world,
        metrics,
        component_flags.election(values),
        component_flags.endpoint(values, _NAME),
        component_flags.reviewers(values, world, _NAME),
        readiness={"informer-sync": scheduler.problem},
        pages={"/configz": lambda: msgspec.json.encode({"componentconfig": config})},
        trees={"/explain/": scheduler.explanation},
        flags=component_flags.shown(values, COMMAND),
    )
    garbage.settle()
    try:
        await stop.or_crash(standalone.run(scheduler.run))
    except LeadershipLost as lost:
        raise Failure(f"Leaderelection lost: {lost}; start it again to wait for the lease") from None


COMMAND = Command(
    name=_NAME,
    summary="The scheduler alone.",
    run=_run,
    description=(
        "Run kube-scheduler alone, against the API server of --kubeconfig. Of several copies the one that holds the "
        f"lease works. Health, metrics, /configz, /flagz, /statusz and /explain/namespaces/NAMESPACE/pods/NAME are on "
        f"https://…:{_PORT}."
    ),
    examples="""
        pilothouse kube-scheduler --kubeconfig /srv/cluster/kube-scheduler.kubeconfig
        pilothouse kube-scheduler --kubeconfig FILE --secure-port 0 --leader-elect=false
        pilothouse kube-scheduler --config scheduler.yaml
        pilothouse kube-scheduler --write-config-to scheduler.yaml
    """,
    groups=(
        Group(
            "Scheduling",
            (
                Flag(
                    "config",
                    FILE,
                    None,
                    "A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): profiles, plugins and their "
                    "arguments, extenders. It goes before --kubeconfig and --kube-api-*.",
                ),
                Flag(
                    "write-config-to",
                    PATH,
                    None,
                    "Write the complete configuration to this file and end.",
                ),
                Flag(
                    "pod-max-in-unschedulable-pods-duration",
                    DURATION,
                    300.0,
                    "How long a pod that fits nowhere waits for an event that helps before it is tried again anyway.",
                ),
                refused(
                    "percentage-of-nodes-to-score",
                    "set percentageOfNodesToScore in a --config file",
                    INT,
                    0,
                ),
            ),
        ),
        component_flags.connection_group(50, 100),
        component_flags.election_group(_NAME),
        component_flags.endpoint_group(_PORT),
    ),
)
