"""`pilothouse kube-controller-manager`: the controllers alone, over HTTPS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.cli import autoscaling_flags, component_flags, controller_certificates, running
from pilothouse.cli.flags import Command, Failure, Flag, Group, UsageError, Values, no_effect, refused
from pilothouse.cli.kinds import BOOL, COUNT, DURATION, FILE, FLOAT, NETWORKS, STRING, STRINGS

if TYPE_CHECKING:
    from pilothouse.controllers.manager import Settings
    from pilothouse.controllers.node_ipam import PodNetworks
    from pilothouse.kit.world import World

_NAME = "kube-controller-manager"
_PORT = 10257
_CONCURRENT = {
    "concurrent-deployment-syncs": (5, "deployment-controller"),
    "concurrent-endpoint-syncs": (5, "endpoints-controller"),
    "concurrent-service-endpoint-syncs": (5, "endpointslice-controller"),
    "concurrent-gc-syncs": (20, "garbage-collector-controller"),
    "concurrent-namespace-syncs": (10, "namespace-controller"),
    "concurrent-replicaset-syncs": (5, "replicaset-controller"),
    "concurrent-rc-syncs": (5, "replicationcontroller-controller"),
    "concurrent-serviceaccount-token-syncs": (5, "serviceaccount-token-controller"),
    "concurrent-statefulset-syncs": (5, "statefulset-controller"),
    "concurrent-daemonset-syncs": (2, "daemonset-controller"),
    "concurrent-job-syncs": (5, "job-controller"),
    "concurrent-cron-job-syncs": (5, "cronjob-controller"),
    "concurrent-resource-quota-syncs": (5, "resourcequota-controller"),
    "concurrent-horizontal-pod-autoscaler-syncs": (5, "horizontal-pod-autoscaler-controller"),
    "concurrent-ephemeralvolume-syncs": (5, "ephemeral-volume-controller"),
    "concurrent-ttl-after-finished-syncs": (5, "ttl-after-finished-controller"),
    "concurrent-device-taint-eviction-syncs": (8, "device-taint-eviction-controller"),
    "concurrent-resource-claim-syncs": (50, "resourceclaim-controller"),
    "concurrent-disruption-syncs": (5, "disruption-controller"),
    "concurrent-disruption-stale-pod-syncs": (5, "disruption-controller"),
    "concurrent-validating-admission-policy-status-syncs": (5, "validatingadmissionpolicy-status-controller"),
    "mirroring-concurrent-service-endpoint-syncs": (5, "endpointslice-mirroring-controller"),
}
_ATTACHED = "what is attached is always read from the VolumeAttachments"
_CLOUD = "the cloud controller manager has it"
_RECYCLER = (
    "volumes are not scrubbed: the Recycle policy is deprecated, and here as upstream without a plugin"
)


def _gates() -> set[str]:
    from pilothouse.controllers.names import APIS, GATES

    return {*APIS, *(gate for gates in GATES.values() for gate in gates)}


def _run(values: Values) -> None:
    if values["version"]:
        component_flags.show_version()
        return
    running.warn(component_flags.warnings(values, {*_gates(), autoscaling_flags.GATE}))
    running.serve(values, _serve(values))


async def _serve(values: Values) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    import msgspec

    from pilothouse.cli.kube_controller_manager_config import configuration
    from pilothouse.client.leader_election import LeadershipLost
    from pilothouse.components.controller_manager import ControllerManager
    from pilothouse.components.standalone import Standalone
    from pilothouse.controllers.manager import chosen
    from pilothouse.kit.metrics import new_registry
    from pilothouse.kit.world import World

    world, metrics = World(), new_registry()
    names = values["controllers"] if "controllers" in values.given else ("*",)
    chosen(names)
    _pod_networks(values)
    _check_slices(values["max-endpoints-per-slice"])
    stop = running.Stop()
    clients = component_flags.clients(values, world, _NAME)
    settings = _settings(values, clients.authority, world)
    standalone = Standalone(
        clients,
        world,
        metrics,
        component_flags.election(values),
        component_flags.endpoint(values, _NAME),
        component_flags.reviewers(values, world, _NAME),
        pages={"/configz": lambda: msgspec.json.encode(configuration(values, COMMAND))},
        flags=component_flags.shown(values, COMMAND),
    )

    async def work() -> None:
        account = clients.account if values["use-service-account-credentials"] else lambda name: clients.own
        manager = ControllerManager(clients.own, account, world, metrics, settings, names)
        standalone.watch_over(manager.checks())
        await manager.run()

    garbage.settle()
    try:
        await stop.or_crash(standalone.run(work))
    except LeadershipLost as lost:
        raise Failure(f"leaderelection lost: {lost}; start it again to wait for the lease") from None


def _settings(values: Values, authority: str, world: World) -> Settings:
    from pilothouse.apiserver.authn.service_account import LEGACY_ISSUER, Signer
    from pilothouse.controllers.manager import Settings
    from pilothouse.controllers.node_zones import Rates
    from pilothouse.kit.certificates import private_key

    root_ca, key = values["root-ca-file"], values["service-account-private-key-file"]
    return Settings(
        root_ca=root_ca.read_text() if root_ca is not None else authority,
        make_token=Signer(private_key(key), LEGACY_ISSUER, world).legacy if key is not None else None,
        workers={_CONCURRENT[name][1]: values[name] for name in _CONCURRENT if name in values.given},
        node_grace_s=values["node-monitor-grace-period"],
        node_startup_grace_s=values["node-startup-grace-period"],
        node_rates=Rates(
            values["node-eviction-rate"],
            values["secondary-node-eviction-rate"],
            values["unhealthy-zone-threshold"],
            values["large-cluster-size-threshold"],
        ),
        quota_sync_s=values["resource-quota-sync-period"],
        terminated_pods_max=values["terminated-pod-gc-threshold"],
        mirrored_max=values["mirroring-max-endpoints-per-subset"],
        autoscaling=autoscaling_flags.settings(values),
        slice_max=values["max-endpoints-per-slice"],
        endpoints_batch_s=values["endpoint-updates-batch-period"],
        slices_batch_s=values["endpointslice-updates-batch-period"],
        mirrors_batch_s=values["mirroring-endpointslice-updates-batch-period"],
        force_detach=not values["disable-force-detach-on-timeout"],
        pod_networks=_pod_networks(values),
        features=values["feature-gates"],
        token_clean_up_s=values["legacy-service-account-token-clean-up-period"],
        certificate_signers=controller_certificates.signers(values),
    )


def _check_slices(most: int) -> None:
    if most < 1:
        raise UsageError(f"--max-endpoints-per-slice: cannot be less than 1, but got {most}")
    if most > 1000:
        raise UsageError(f"--max-endpoints-per-slice: cannot be more than 1000, but got {most}")


def _pod_networks(values: Values) -> PodNetworks | None:
    from pilothouse.controllers.node_ipam import pod_networks

    if values["cloud-provider"] not in ("", "external"):
        raise UsageError(
            f'--cloud-provider: "{values["cloud-provider"]}" is not built in; say external and run a cloud controller '
            "manager, or leave it out"
        )
    if not values["allocate-node-cidrs"]:
        return None
    if not values["cluster-cidr"]:
        raise UsageError("--allocate-node-cidrs needs --cluster-cidr: what nodes get a part of")
    try:
        return pod_networks(
            values["cluster-cidr"],
            values["service-cluster-ip-range"],
            values["node-cidr-mask-size"],
            {4: values["node-cidr-mask-size-ipv4"], 6: values["node-cidr-mask-size-ipv6"]},
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


COMMAND = Command(
    name=_NAME,
    summary="The controllers alone.",
    run=_run,
    description=(
        "Run kube-controller-manager alone, against the API server of --kubeconfig. Of several copies the one that "
        f"holds the lease works. On https://…:{_PORT} are /healthz with a check of each controller, /metrics, "
        "/configz, /flagz and /statusz."
    ),
    examples="""
        pilothouse kube-controller-manager --kubeconfig /srv/cluster/kube-controller-manager.kubeconfig \\
          --use-service-account-credentials --service-account-private-key-file /srv/cluster/pki/sa.key
        pilothouse kube-controller-manager --kubeconfig FILE --controllers '*,-garbage-collector-controller'
    """,
    groups=(
        Group(
            "Controllers",
            (
                Flag(
                    "controllers",
                    STRINGS,
                    ("*",),
                    "Controllers to run: '*' all that are on by default, NAME one more, -NAME one less.",
                ),
                Flag(
                    "use-service-account-credentials",
                    BOOL,
                    False,
                    "Each controller acts as a service account of its own in kube-system. Without it all act as the "
                    "kubeconfig's user, who needs the rights of all.",
                ),
                Flag(
                    "service-account-private-key-file", FILE, None, "Signs the tokens of token secrets (PEM)."
                ),
                Flag(
                    "root-ca-file",
                    FILE,
                    None,
                    "Published as kube-root-ca.crt (default: the kubeconfig's CA).",
                ),
                Flag(
                    "legacy-service-account-token-clean-up-period",
                    DURATION,
                    31536000.0,
                    "How long a token that an older cluster made by itself must be unused before it is retired.",
                ),
                Flag("node-monitor-grace-period", DURATION, 50.0, "After this silence a node is Unknown."),
                Flag("node-startup-grace-period", DURATION, 60.0, "The same for a node that has just come."),
                Flag(
                    "node-eviction-rate", FLOAT, 0.1, "Nodes of a zone that are tainted NoExecute, a second."
                ),
                Flag(
                    "secondary-node-eviction-rate",
                    FLOAT,
                    0.01,
                    "The same when much of a large zone is down; in small ones it is 0 then.",
                ),
                Flag(
                    "unhealthy-zone-threshold",
                    FLOAT,
                    0.55,
                    "Share of a zone's nodes (three at least) from which on much of it is down.",
                ),
                Flag("large-cluster-size-threshold", COUNT, 50, "Zones of more nodes are large."),
                Flag(
                    "terminated-pod-gc-threshold",
                    COUNT,
                    12500,
                    "Finished pods that may exist before the oldest are deleted; 0 for any number.",
                ),
                *(
                    Flag(
                        f"{which}-updates-batch-period",
                        DURATION,
                        0.0,
                        f"How long changes of {what} are gathered before something is written; 0: not at all.",
                    )
                    for which, what in (
                        ("endpoint", "pods, for Endpoints,"),
                        ("endpointslice", "pods, for EndpointSlices,"),
                        ("mirroring-endpointslice", "mirrored EndpointSlices"),
                    )
                ),
                Flag("max-endpoints-per-slice", COUNT, 100, "Endpoints of one slice, 1000 at most."),
                Flag(
                    "mirroring-max-endpoints-per-subset",
                    COUNT,
                    1000,
                    "Addresses of one subset of Endpoints that are mirrored into slices.",
                ),
                Flag(
                    "disable-force-detach-on-timeout",
                    BOOL,
                    False,
                    "Detach volumes from a dead node only when it is tainted node.kubernetes.io/out-of-service, not "
                    "after six minutes.",
                ),
                no_effect(
                    "node-monitor-period",
                    DURATION,
                    5.0,
                    "nodes are looked at when something changes or is due",
                ),
                *(
                    Flag(name, COUNT, default, f"Objects that {controller} handles at once.")
                    for name, (default, controller) in _CONCURRENT.items()
                ),
            ),
        ),
        autoscaling_flags.GROUP,
        Group("Certificates", controller_certificates.flags()),
        component_flags.connection_group(20, 30),
        component_flags.election_group(_NAME),
        component_flags.endpoint_group(_PORT),
        Group(
            "Networks of nodes",
            (
                Flag(
                    "allocate-node-cidrs",
                    BOOL,
                    False,
                    "Give each node a network for its pods. Simulated nodes bring their own, which are kept.",
                ),
                Flag(
                    "cluster-cidr",
                    NETWORKS,
                    "",
                    "What nodes get a part of: a network, or one of each IP family with a comma.",
                ),
                Flag(
                    "service-cluster-ip-range",
                    NETWORKS,
                    "",
                    "Networks of services: no node gets a part of them.",
                ),
                Flag("node-cidr-mask-size", COUNT, 0, "Mask size of a node's part (24, or 64 for IPv6)."),
                Flag(
                    "node-cidr-mask-size-ipv4", COUNT, 0, "The same for IPv4 where there are both families."
                ),
                Flag(
                    "node-cidr-mask-size-ipv6", COUNT, 0, "The same for IPv6 where there are both families."
                ),
                refused(
                    "cidr-allocator-type",
                    "leave it out; other allocators belong to a cloud's own manager",
                    STRING,
                    "RangeAllocator",
                ),
                Flag(
                    "cloud-provider",
                    STRING,
                    "",
                    "'external': a cloud controller manager prepares nodes, and deletes those that have gone. No cloud "
                    "is built in.",
                ),
            ),
        ),
        Group(
            "Not for this cluster",
            (
                no_effect("cluster-name", STRING, "kubernetes", "it names resources of a cloud"),
                no_effect("configure-cloud-routes", BOOL, True, "there is no cloud"),
                refused("cloud-config", "give it to the cloud controller manager"),
                refused(
                    "external-cloud-volume-plugin", "leave it out; volumes of a cloud come by CSI drivers"
                ),
                no_effect(
                    "enable-garbage-collector", BOOL, True, "the controller is chosen by --controllers"
                ),
                no_effect("enable-dynamic-provisioning", BOOL, True, "volumes are simulated"),
                no_effect("enable-hostpath-provisioner", BOOL, False, "volumes are simulated"),
                no_effect("flex-volume-plugin-dir", STRING, "", "volumes are simulated"),
                no_effect("enable-leader-migration", BOOL, False, "there is one lease"),
                refused("leader-migration-config", "there is one lease"),
                no_effect("controller-start-interval", DURATION, 0.0, "controllers start together"),
                no_effect("controller-shutdown-timeout", DURATION, 10.0, "controllers end at once"),
                no_effect("min-resync-period", DURATION, 43200.0, "informers miss no event"),
                no_effect(
                    "namespace-sync-period", DURATION, 300.0, "namespaces are looked at when they change"
                ),
                Flag(
                    "resource-quota-sync-period", DURATION, 300.0, "How often all quotas are counted again."
                ),
                no_effect("attach-detach-reconcile-sync-period", DURATION, 60.0, _ATTACHED),
                no_effect("disable-attach-detach-reconcile-sync", BOOL, False, _ATTACHED),
                no_effect("concurrent-service-syncs", COUNT, 1, _CLOUD),
                no_effect("route-reconciliation-period", DURATION, 10.0, _CLOUD),
                *(
                    no_effect(f"pv-recycler-{name}", kind, default, _RECYCLER)
                    for name, kind, default in (
                        ("increment-timeout-nfs", COUNT, 30),
                        ("minimum-timeout-hostpath", COUNT, 60),
                        ("minimum-timeout-nfs", COUNT, 300),
                        ("pod-template-filepath-hostpath", STRING, ""),
                        ("pod-template-filepath-nfs", STRING, ""),
                        ("timeout-increment-hostpath", COUNT, 30),
                    )
                ),
                no_effect(
                    "pvclaimbinder-sync-period", DURATION, 15.0, "claims are looked at when they change"
                ),
            ),
        ),
    ),
)
