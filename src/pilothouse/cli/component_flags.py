"""Flags that kube-scheduler and kube-controller-manager have in common, and what they make of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pilothouse.cli.flags import Command, Flag, Group, UsageError, Values, no_effect, refused, verbosity
from pilothouse.cli.kinds import (
    BOOL,
    BOOL_MAP,
    COUNT,
    DURATION,
    FILE,
    FLOAT,
    INT,
    IP,
    MAP,
    PATH,
    PORT,
    STRING,
    STRINGS,
    Kind,
)

if TYPE_CHECKING:
    from pilothouse.client.resource_client import ResourceClient
    from pilothouse.components.endpoint import EndpointOptions
    from pilothouse.components.standalone import Clients, Connection, Election
    from pilothouse.kit.world import World

_TLS = "TLS 1.2 and later with OpenSSL's secure ciphers are always on"
_STDERR = "every line is written at once, to stderr"
_PROXY = "leave it out; front proxies are not trusted here"


def connection_group(upstream_qps: int, upstream_burst: int) -> Group:
    limit = f"(upstream's default is {upstream_qps} with bursts of {upstream_burst})"
    return Group(
        "API server",
        (
            Flag(
                "kubeconfig", FILE, None, "Where the API server is and who this component is to it. Needed."
            ),
            Flag("master", STRING, "", "The API server's URL, in place of the kubeconfig's."),
            Flag("kube-api-qps", FLOAT, 0.0, f"Requests a second; 0 or less for no limit {limit}."),
            Flag(
                "kube-api-burst", INT, upstream_burst, "Requests at once, where --kube-api-qps limits them."
            ),
            no_effect("kube-api-content-type", STRING, "", "components speak JSON"),
            verbosity(),
        ),
    )


def election_group(name: str) -> Group:
    return Group(
        "Leader election",
        (
            Flag("leader-elect", BOOL, True, "Wait for the lease before working, and end when it is lost."),
            Flag("leader-elect-lease-duration", DURATION, 15.0, "How long others wait for a silent leader."),
            Flag(
                "leader-elect-renew-deadline",
                DURATION,
                10.0,
                "How long a leader tries to renew before it ends.",
            ),
            Flag("leader-elect-retry-period", DURATION, 2.0, "Between two tries."),
            Flag("leader-elect-resource-name", STRING, name, "The lease's name."),
            Flag("leader-elect-resource-namespace", STRING, "kube-system", "Its namespace."),
            refused("leader-elect-resource-lock", "only leases are served", STRING, "leases"),
        ),
    )


def endpoint_group(port: int) -> Group:
    return Group(
        "Health and metrics",
        (
            Flag("bind-address", IP, "0.0.0.0", "The address to listen on."),
            Flag("secure-port", PORT, port, "The HTTPS port; 0 serves nothing."),
            Flag(
                "cert-dir",
                PATH,
                None,
                "Where a serving certificate is kept (default: one is made for each run).",
            ),
            Flag("tls-cert-file", FILE, None, "A serving certificate of your own (PEM)."),
            Flag("tls-private-key-file", FILE, None, "Its key."),
            Flag("client-ca-file", FILE, None, "CAs of client certificates (PEM)."),
            Flag(
                "authentication-kubeconfig",
                FILE,
                None,
                "For asking the API server whose a token is (default: every token is refused).",
            ),
            Flag(
                "authorization-kubeconfig",
                FILE,
                None,
                "For asking the API server what a user may (default: only the paths below are open).",
            ),
            Flag(
                "authorization-always-allow-paths",
                STRINGS,
                ("/healthz", "/readyz", "/livez"),
                "Paths that everybody may read.",
            ),
            no_effect(
                "authentication-skip-lookup", BOOL, False, "client CAs come from --client-ca-file alone"
            ),
            no_effect(
                "authentication-tolerate-lookup-failure",
                BOOL,
                True,
                "client CAs come from --client-ca-file alone",
            ),
            no_effect("authentication-token-webhook-cache-ttl", DURATION, 10.0, "it is always 10s"),
            no_effect("authorization-webhook-cache-authorized-ttl", DURATION, 10.0, "it is always 10s"),
            no_effect("authorization-webhook-cache-unauthorized-ttl", DURATION, 10.0, "it is always 10s"),
            refused("requestheader-client-ca-file", _PROXY),
            *(
                no_effect(
                    f"requestheader-{name}", STRINGS, (), "it belongs to --requestheader-client-ca-file"
                )
                for name in (
                    "allowed-names",
                    "extra-headers-prefix",
                    "group-headers",
                    "uid-headers",
                    "username-headers",
                )
            ),
            no_effect("tls-cipher-suites", STRINGS, (), _TLS),
            no_effect("tls-min-version", STRING, "", _TLS),
            no_effect("tls-curve-preferences", STRINGS, (), "OpenSSL's groups are offered"),
            refused("tls-sni-cert-key", "leave it out; one certificate is served"),
            no_effect("http2-max-streams-per-connection", COUNT, 0, "HTTP/1.1 is served"),
            no_effect("disable-http2-serving", BOOL, False, "HTTP/1.1 is served"),
            no_effect("permit-address-sharing", BOOL, False, "SO_REUSEADDR is always set"),
            refused("permit-port-sharing", "leave it out", BOOL, False),
            no_effect("profiling", BOOL, True, "there is no /debug/pprof"),
            no_effect("contention-profiling", BOOL, True, "there is no /debug/pprof"),
            no_effect("allow-metric-labels", MAP, {}, "metrics have upstream's labels"),
            no_effect("allow-metric-labels-manifest", STRING, "", "metrics have upstream's labels"),
            no_effect("disabled-metrics", STRINGS, (), "metrics cost little"),
            no_effect("show-hidden-metrics-for-version", STRING, "", "no metric is hidden"),
            no_effect("log-flush-frequency", DURATION, 5.0, "every line is written at once"),
            refused("logging-format", "lines are key=value", STRING, "text"),
            no_effect("log-json-info-buffer-size", STRING, "", _STDERR),
            no_effect("log-json-split-stream", BOOL, False, _STDERR),
            no_effect("log-text-info-buffer-size", STRING, "", _STDERR),
            no_effect("log-text-split-stream", BOOL, False, _STDERR),
            Flag("version", BOOL, False, "Print the Kubernetes version and end."),
            no_effect("vmodule", STRING, "", "verbosity is one for all: -v"),
            Flag(
                "feature-gates",
                BOOL_MAP,
                {},
                "Upstream's feature gates. The scheduler knows GenericWorkload and GangScheduling, which together let "
                "PodGroups count, StorageCapacityScoring, VolumeLimitScaling and DRADeviceTaintRules, the controller "
                "manager those that its controllers need; no other changes anything (a warning each).",
            ),
            refused("emulated-version", "leave it out; Kubernetes 1.36 is served"),
            no_effect("emulation-forward-compatible", BOOL, False, "no other version is emulated"),
            refused("min-compatibility-version", "leave it out"),
        ),
    )


def warnings(values: Values, gates: Collection[str] = ()) -> list[str]:
    """`gates` are the feature gates that have one."""
    return [
        f"feature gate {name} has no effect here" for name in values["feature-gates"] if name not in gates
    ]


def show_version() -> None:
    """--version, as upstream prints it."""
    from pilothouse.api.catalog import DEFAULT_VERSION
    from pilothouse.apiserver.server import version_document

    print(f"Kubernetes {version_document(DEFAULT_VERSION)['gitVersion']}")


def shown(values: Values, command: Command) -> dict[str, str]:
    """All flags of a command with their values, as /flagz shows them."""
    return {name: spoken(flag.kind, values[name]) for name, flag in command.index.items() if not flag.hidden}


def spoken(kind: Kind, value: Any) -> str:
    """A flag's value as pflag's String() writes it; "" for a file that was not named."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ",".join(str(part) for part in value) + "]"
    if isinstance(value, dict):
        return ",".join(f"{key}={str(part).lower()}" for key, part in sorted(value.items()))
    return str(value) if isinstance(value, str) else kind.show(value)


def connection(values: Values) -> Connection:
    """UsageError without a kubeconfig."""
    from pilothouse.components.standalone import Connection

    if values["kubeconfig"] is None:
        raise UsageError(
            "--kubeconfig is needed; pilothouse kube-apiserver writes one for each component into its data directory"
        )
    return Connection(
        values["kubeconfig"], values["master"], values["kube-api-qps"], values["kube-api-burst"]
    )


def election(values: Values) -> Election:
    """UsageError for periods that do not fit (as client-go refuses them)."""
    from pilothouse.client.leader_election import Timings
    from pilothouse.components.standalone import Election

    timings = Timings(
        values["leader-elect-lease-duration"],
        values["leader-elect-renew-deadline"],
        values["leader-elect-retry-period"],
    )
    if timings.lease_s <= timings.renew_deadline_s:
        raise UsageError("--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline")
    if timings.renew_deadline_s <= timings.retry_s * 1.2:
        raise UsageError(
            "--leader-elect-renew-deadline must be greater than 1.2 times --leader-elect-retry-period"
        )
    if timings.retry_s <= 0 or timings.lease_s < 1:
        raise UsageError("--leader-elect-* must be greater than zero, the lease duration at least 1s")
    return Election(
        values["leader-elect-resource-name"],
        values["leader-elect-resource-namespace"],
        values["leader-elect"],
        timings,
    )


def endpoint(values: Values, name: str) -> EndpointOptions:
    from pilothouse.components.endpoint import EndpointOptions

    if (values["tls-cert-file"] is None) != (values["tls-private-key-file"] is None):
        raise UsageError("--tls-cert-file and --tls-private-key-file go together: give both or none")
    return EndpointOptions(
        name,
        values["bind-address"],
        values["secure-port"],
        values["cert-dir"],
        values["tls-cert-file"],
        values["tls-private-key-file"],
        values["client-ca-file"],
        values["authorization-always-allow-paths"],
    )


def reviewers(values: Values, world: World, name: str) -> tuple[ResourceClient | None, ResourceClient | None]:
    """Who asks the API server about tokens, and who about access."""
    from pilothouse.components.standalone import Clients, Connection

    def client(flag: str) -> ResourceClient | None:
        path = values[flag]
        return Clients(Connection(path, values["master"]), world, name).own if path is not None else None

    return client("authentication-kubeconfig"), client("authorization-kubeconfig")


def clients(values: Values, world: World, name: str) -> Clients:
    from pilothouse.components.standalone import Clients

    return Clients(connection(values), world, name)
