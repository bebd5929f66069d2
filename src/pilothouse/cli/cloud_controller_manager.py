"""`pilothouse cloud-controller-manager`: the loops that talk to a cloud, alone, over HTTPS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.cli import component_flags, running, state
from pilothouse.cli.flags import Command, Failure, Flag, Group, UsageError, Values, no_effect, refused
from pilothouse.cli.kinds import BOOL, COUNT, DURATION, FILE, NETWORKS, PATH, STRING, STRINGS

if TYPE_CHECKING:
    from pilothouse.cloud.manager import Settings

_NAME = "cloud-controller-manager"
_PORT = 10258
CLOUD_PROVIDER = "cloud-provider"
_CONCURRENT = {
    "concurrent-node-syncs": "cloud-node-controller",
    "concurrent-service-syncs": "service-lb-controller",
}


def _run(values: Values) -> None:
    if values["print-rbac"]:
        _print_rbac(values[CLOUD_PROVIDER])
        return
    running.warn(component_flags.warnings(values))
    if not values[CLOUD_PROVIDER]:
        from pilothouse.cloud.registry import known

        raise UsageError(f"--{CLOUD_PROVIDER} is needed: one of {', '.join(known())}")
    running.serve(values, _serve(values))


def _print_rbac(provider: str) -> None:
    from pilothouse.cloud.permissions import manifest
    from pilothouse.cloud.registry import UnknownProvider

    try:
        print(manifest(provider), end="")
    except UnknownProvider as error:
        raise UsageError(str(error)) from None


async def _serve(values: Values) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    from pilothouse.client.leader_election import LeadershipLost
    from pilothouse.cloud.manager import chosen
    from pilothouse.cloud.registry import find
    from pilothouse.components.cloud_controller_manager import CloudControllerManager
    from pilothouse.components.standalone import Standalone
    from pilothouse.kit.metrics import new_registry
    from pilothouse.kit.world import World

    world, metrics = World(), new_registry()
    names = chosen(values["controllers"])
    stop = running.Stop()
    clients = component_flags.clients(values, world, _NAME)
    account = clients.account if values["use-service-account-credentials"] else lambda name: clients.own
    try:
        manager = CloudControllerManager(
            clients.own,
            account,
            world,
            metrics,
            _settings(values),
            open_provider=find(values[CLOUD_PROVIDER]),
            config=values["cloud-config"],
            directory=values["cloud-data-dir"] or state.default_data_dir() / "cloud",
            names=names,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    standalone = Standalone(
        clients,
        world,
        metrics,
        component_flags.election(values),
        component_flags.endpoint(values, _NAME),
        component_flags.reviewers(values, world, _NAME),
        flags=component_flags.shown(values, COMMAND),
    )

    async def work() -> None:
        standalone.watch_over(manager.checks())
        await manager.run()

    garbage.settle()
    try:
        await stop.or_crash(standalone.run(work))
    except LeadershipLost as lost:
        raise Failure(f"leaderelection lost: {lost}; start it again to wait for the lease") from None


def _settings(values: Values) -> Settings:
    from pilothouse.cloud.manager import Settings

    return Settings(
        cluster_name=values["cluster-name"],
        cluster_cidrs=tuple(str(network) for network in values["cluster-cidr"] or ()),
        configure_routes=values["configure-cloud-routes"] and values["allocate-node-cidrs"],
        node_monitor_s=values["node-monitor-period"],
        node_status_s=values["node-status-update-frequency"],
        route_s=values["route-reconciliation-period"],
        workers={_CONCURRENT[name]: values[name] for name in _CONCURRENT if name in values.given},
    )


COMMAND = Command(
    name=_NAME,
    summary="The loops that talk to a cloud, alone.",
    run=_run,
    description=(
        "Run cloud-controller-manager alone, against the API server of --kubeconfig: nodes, routes, load balancers and "
        "volumes of a cloud. kube-controller-manager then wants --cloud-provider=external. Of several copies the one "
        f"that holds the lease works. Health and metrics are on https://…:{_PORT}."
    ),
    examples="""
        pilothouse cloud-controller-manager --kubeconfig FILE --cloud-provider aws --cluster-name blue
        pilothouse cloud-controller-manager --cloud-provider aws --print-rbac | kubectl apply -f -
        pilothouse cloud-controller-manager --kubeconfig FILE --cloud-provider sim --cloud-config sim.yaml
        pilothouse cloud-controller-manager --kubeconfig FILE --cloud-provider aws --controllers '*,-route'
    """,
    groups=(
        Group(
            "Cloud",
            (
                Flag(
                    CLOUD_PROVIDER,
                    STRING,
                    "",
                    "The cloud: local, sim, aws, or one of an installed package. Needed.",
                ),
                Flag(
                    "print-rbac",
                    BOOL,
                    False,
                    "Print what this component has to be allowed with the chosen cloud, for kubectl apply -f -, and "
                    "end.",
                ),
                Flag("cloud-config", FILE, None, "The provider's own configuration."),
                Flag("cluster-name", STRING, "kubernetes", "A tag on everything that is made in the cloud."),
                Flag(
                    "cloud-data-dir",
                    PATH,
                    None,
                    "Where a provider keeps files of its own (default: $XDG_DATA_HOME/pilothouse/cloud).",
                ),
                Flag(
                    "controllers",
                    STRINGS,
                    ("*",),
                    "Loops to run: '*' all, NAME one more, -NAME one less.",
                ),
                Flag(
                    "use-service-account-credentials",
                    BOOL,
                    False,
                    "Each loop acts as a service account of its own in kube-system.",
                ),
                Flag(
                    "node-monitor-period",
                    DURATION,
                    5.0,
                    "How often nodes that are not ready are asked about.",
                ),
                Flag(
                    "node-status-update-frequency",
                    DURATION,
                    300.0,
                    "How often the addresses of all nodes are brought up to date.",
                ),
                Flag("route-reconciliation-period", DURATION, 10.0, "How often routes are compared."),
                Flag(
                    "allocate-node-cidrs",
                    BOOL,
                    False,
                    "Nodes have pod networks (kube-controller-manager allocates them): needed for routes.",
                ),
                Flag("configure-cloud-routes", BOOL, True, "Make routes, where nodes have pod networks."),
                Flag("cluster-cidr", NETWORKS, None, "Routes outside of these networks are left alone."),
                *(
                    Flag(name, COUNT, 1, f"Objects that {_CONCURRENT[name]} handles at once.")
                    for name in _CONCURRENT
                ),
            ),
        ),
        component_flags.connection_group(20, 30),
        component_flags.election_group(_NAME),
        component_flags.endpoint_group(_PORT),
        Group(
            "Not for this component",
            (
                no_effect(
                    "cidr-allocator-type", STRING, "RangeAllocator", "kube-controller-manager allocates them"
                ),
                no_effect("allow-untagged-cloud", BOOL, False, "everything that is made is tagged"),
                no_effect("controller-start-interval", DURATION, 0.0, "loops start together"),
                no_effect("min-resync-period", DURATION, 43200.0, "informers miss no event"),
                refused("external-cloud-volume-plugin", "volumes are the provider's"),
                refused("leader-migration-config", "there is one lease"),
                no_effect("enable-leader-migration", BOOL, False, "there is one lease"),
                refused("webhooks", "providers bring no webhooks"),
            ),
        ),
    ),
)
