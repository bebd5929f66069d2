"""kube-apiserver's flags, under upstream's names and groups, and what they make of a server's options.

`up` takes all of them too. A flag of upstream's stands in one of three ways: it works; it has no effect by nature,
and its help says why; or it is not served yet, and giving it is an error (`flags.Flag.refused`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.cli import backups
from pilothouse.cli.flags import Flag, Group, Values, no_effect, refused
from pilothouse.cli.kinds import (
    BOOL,
    BOOL_MAP,
    COUNT,
    DURATION,
    FILE,
    FILES,
    FLOAT,
    INT,
    IP,
    MAP,
    NETWORKS,
    PATH,
    PORT,
    PORT_RANGE,
    STRING,
    STRINGS,
)

if TYPE_CHECKING:
    from pilothouse.api.types import Obj
    from pilothouse.components.api_server import Etcd, Serving

RECONCILERS = ("lease", "none")
AUTHORIZATION_MODES = ("AlwaysAllow", "AlwaysDeny", "Node", "RBAC")
_TLS = "TLS 1.2 and later with OpenSSL's secure ciphers are always on"
_AUDIT = "leave it out; requests are not audited yet"
_WEBHOOK = "leave it out; authentication and authorization do not ask webhooks yet"

DATA = Group(
    "Data",
    (
        Flag("data-dir", PATH, None, "Where the cluster is kept (default $XDG_DATA_HOME/pilothouse)."),
        Flag("ephemeral", BOOL, False, "Keep everything in memory; nothing outlives the process."),
        Flag(
            "etcd-servers",
            STRINGS,
            (),
            "List of etcd servers to connect with (scheme://ip:port), comma separated. Without it the embedded store "
            "in --data-dir is used.",
        ),
        Flag("etcd-cafile", FILE, None, "SSL Certificate Authority file used to secure etcd communication."),
        Flag("etcd-certfile", FILE, None, "SSL certification file used to secure etcd communication."),
        Flag("etcd-keyfile", FILE, None, "SSL key file used to secure etcd communication."),
        Flag("etcd-prefix", STRING, "/registry", "The prefix to prepend to all resource paths in etcd."),
        refused("etcd-servers-overrides", "all resources are kept in one store; leave it out", STRINGS, ()),
        refused("storage-backend", "etcd3 is the only one; leave it out", STRING, "etcd3"),
        refused(
            "storage-media-type",
            "objects are written as JSON, which every kube-apiserver reads, and protobuf ones are read; leave it out",
            STRING,
            "application/json",
        ),
        refused(
            "encryption-provider-config", "leave it out; secrets are protected by file permissions (0600)"
        ),
        Flag(
            "etcd-compaction-interval",
            DURATION,
            300.0,
            "The interval of compaction requests: how long history is kept at least; 0 keeps it all.",
        ),
        Flag("event-ttl", DURATION, 3600.0, "How long events are kept."),
        no_effect("watch-cache", BOOL, True, "reads are always served from memory"),
        no_effect("watch-cache-sizes", STRINGS, (), "one history serves all kinds"),
        no_effect("default-watch-cache-size", COUNT, 100, "one history serves all kinds"),
        no_effect("delete-collection-workers", COUNT, 1, "objects of a collection are deleted together"),
        no_effect(
            "enable-garbage-collector", BOOL, True, "the controller of that name is chosen by --controllers"
        ),
        no_effect("etcd-count-metric-poll-period", DURATION, 60.0, "objects are counted in memory"),
        Flag(
            "etcd-db-metric-poll-interval",
            DURATION,
            30.0,
            "The interval of requests to poll etcd and update metric. 0 disables the metric collection.",
        ),
        Flag("etcd-healthcheck-timeout", DURATION, 2.0, "The timeout to use when checking etcd health."),
        Flag("etcd-readycheck-timeout", DURATION, 2.0, "The timeout to use when checking etcd readiness."),
        Flag(
            "lease-reuse-duration-seconds",
            COUNT,
            60,
            "The time in seconds that each lease is reused. A lower value could avoid large number of objects reusing "
            "the same lease. Notice that a too small value may cause performance problems at storage layer.",
        ),
    ),
)


def serving(bind_address: str, secure_port: int) -> Group:
    return Group(
        "Secure serving",
        (
            Flag("bind-address", IP, bind_address, "The address to listen on; 0.0.0.0 or :: for all."),
            Flag("secure-port", PORT, secure_port, "The HTTPS port; 0 picks a free one."),
            Flag(
                "advertise-address",
                IP,
                "",
                "The address that members of the cluster are told (default: --bind-address, or the host's own).",
            ),
            Flag("cert-dir", PATH, None, "Where the serving certificate is made (default DATA_DIR/pki)."),
            Flag("tls-cert-file", FILE, None, "A serving certificate of your own (PEM, with its chain)."),
            Flag("tls-private-key-file", FILE, None, "Its key."),
            Flag("external-hostname", STRING, "", "A further name of the server, in its certificate."),
            no_effect("tls-cipher-suites", STRINGS, (), _TLS),
            no_effect("tls-min-version", STRING, "", _TLS),
            refused("tls-sni-cert-key", "leave it out; one certificate is served"),
            no_effect("http2-max-streams-per-connection", COUNT, 0, "HTTP/1.1 is served"),
            no_effect("goaway-chance", FLOAT, 0.0, "HTTP/1.1 is served"),
            no_effect("permit-address-sharing", BOOL, False, "SO_REUSEADDR is always set"),
            refused("permit-port-sharing", "leave it out", BOOL, False),
        ),
    )


NETWORK = Group(
    "Services",
    (
        Flag(
            "service-cluster-ip-range",
            NETWORKS,
            "10.96.0.0/16",
            "Addresses of services; one range, or one of each IP family with a comma.",
        ),
        Flag("service-node-port-range", PORT_RANGE, (30000, 32767), "Node ports."),
        Flag(
            "endpoint-reconciler-type",
            STRING,
            "lease",
            "Use an endpoint reconciler (lease, none): who writes the addresses of the service kubernetes.",
        ),
        no_effect("apiserver-count", COUNT, 1, "API servers find each other by their leases"),
        refused("kubernetes-service-node-port", "the service kubernetes is of type ClusterIP", INT, 0),
    ),
)

AUTHENTICATION = Group(
    "Authentication",
    (
        Flag(
            "client-ca-file",
            FILE,
            None,
            "CAs of client certificates (PEM), beside the cluster's own in DATA_DIR/pki/ca.crt.",
        ),
        Flag("token-auth-file", FILE, None, 'Static tokens, a CSV file: token,user,uid,"group1,group2".'),
        Flag("anonymous-auth", BOOL, True, "Let requests without credentials in, as system:anonymous."),
        Flag(
            "service-account-issuer",
            STRINGS,
            ("https://kubernetes.default.svc",),
            "The issuer of service-account tokens; when repeated the first one issues, all are accepted.",
        ),
        Flag(
            "service-account-key-file",
            FILES,
            (),
            "Keys that check tokens (PEM, public or private); repeatable.",
        ),
        Flag(
            "service-account-signing-key-file",
            FILE,
            None,
            "The key that signs tokens (PEM, RSA or ECDSA; default DATA_DIR/pki/sa.key).",
        ),
        Flag("api-audiences", STRINGS, (), "Audiences that tokens may name (default: the issuers)."),
        Flag(
            "service-account-max-token-expiration",
            DURATION,
            0.0,
            "The longest life of a token that may be asked for; 0 for no limit.",
        ),
        no_effect("service-account-lookup", BOOL, True, "tokens are always checked against their account"),
        no_effect("service-account-extend-token-expiration", BOOL, True, "nodes renew tokens in time"),
        refused("service-account-jwks-uri", "the server's own address is told"),
        Flag(
            "enable-bootstrap-token-auth",
            BOOL,
            False,
            "Let in who sends a bootstrap token of kube-system, as system:bootstrap:ID.",
        ),
        refused("authentication-config", _WEBHOOK),
        refused("authentication-token-webhook-config-file", _WEBHOOK),
        no_effect("authentication-token-webhook-cache-ttl", DURATION, 120.0, "no webhook is asked"),
        no_effect("authentication-token-webhook-version", STRING, "v1beta1", "no webhook is asked"),
        *(
            refused(f"oidc-{name}", "leave it out; OpenID Connect is not checked yet")
            for name in (
                "ca-file",
                "client-id",
                "groups-claim",
                "groups-prefix",
                "issuer-url",
                "required-claim",
                "signing-algs",
                "username-claim",
                "username-prefix",
            )
        ),
        Flag(
            "requestheader-client-ca-file",
            FILE,
            None,
            "CAs whose clients are front proxies: they say in headers who asks (default: one made at first start).",
        ),
        Flag(
            "requestheader-allowed-names",
            STRINGS,
            ("front-proxy-client",),
            "Common names of front proxies' certificates; empty for all.",
        ),
        Flag(
            "requestheader-username-headers", STRINGS, ("X-Remote-User",), "Where front proxies say who asks."
        ),
        Flag("requestheader-uid-headers", STRINGS, (), "Where they say with which UID."),
        Flag("requestheader-group-headers", STRINGS, ("X-Remote-Group",), "Where they say in which groups."),
        Flag(
            "requestheader-extra-headers-prefix",
            STRINGS,
            ("X-Remote-Extra-",),
            "How headers begin in which they say more about who asks.",
        ),
    ),
)

AUTHORIZATION = Group(
    "Authorization",
    (
        Flag(
            "authorization-mode",
            STRINGS,
            ("Node", "RBAC"),
            f"Who decides, in this order: {', '.join(AUTHORIZATION_MODES)}. Node is about kubelets; the simulated "
            "ones act as an administrator.",
        ),
        refused("authorization-config", _WEBHOOK),
        refused("authorization-policy-file", "ABAC is not served; use RBAC"),
        refused("authorization-webhook-config-file", _WEBHOOK),
        no_effect("authorization-webhook-cache-authorized-ttl", DURATION, 300.0, "no webhook is asked"),
        no_effect("authorization-webhook-cache-unauthorized-ttl", DURATION, 30.0, "no webhook is asked"),
        no_effect("authorization-webhook-version", STRING, "v1beta1", "no webhook is asked"),
    ),
)

API = Group(
    "API and admission",
    (
        Flag("runtime-config", MAP, {}, "API versions to turn on or off, such as api/beta=true."),
        Flag("enable-admission-plugins", STRINGS, (), "Admission plugins beside the default ones."),
        Flag("disable-admission-plugins", STRINGS, (), "Default admission plugins to leave out."),
        Flag("admission-control-config-file", FILE, None, "An AdmissionConfiguration for single plugins."),
        Flag(
            "feature-gates",
            BOOL_MAP,
            {},
            "Upstream's feature gates, KEY=true|false. HPAScaleToZero lets autoscalers ask for zero pods; no other "
            "changes anything: a warning says so for each.",
        ),
        no_effect("allow-privileged", BOOL, True, "simulated nodes run no containers"),
        no_effect("default-not-ready-toleration-seconds", COUNT, 300, "it is always 300"),
        no_effect("default-unreachable-toleration-seconds", COUNT, 300, "it is always 300"),
        refused("emulated-version", "leave it out; Kubernetes 1.36 is served"),
        refused("emulation-forward-compatible", "leave it out", BOOL, False),
        refused("min-compatibility-version", "leave it out"),
        refused("runtime-config-emulation-forward-compatible", "leave it out", BOOL, False),
    ),
)

LIMITS = Group(
    "Limits",
    (
        Flag("max-requests-inflight", COUNT, 400, "Reading requests at once."),
        Flag("max-mutating-requests-inflight", COUNT, 200, "Writing requests at once."),
        Flag(
            "min-request-timeout",
            COUNT,
            1800,
            "Watches without a timeout end after this many seconds, or up to twice.",
        ),
        Flag(
            "request-timeout",
            DURATION,
            60.0,
            "How long a request may take, but for watches and other long-running ones (--min-request-timeout).",
        ),
        Flag(
            "enable-priority-and-fairness",
            BOOL,
            True,
            "Share the sum of the two numbers above out among priority levels, and let requests wait for their turn.",
        ),
        no_effect("max-connection-bytes-per-sec", COUNT, 0, "connections are not throttled"),
        no_effect("livez-grace-period", DURATION, 0.0, "the server listens when it is ready"),
        no_effect("shutdown-delay-duration", DURATION, 0.0, "the server stops at once"),
        no_effect("shutdown-send-retry-after", BOOL, False, "the server stops at once"),
        no_effect("shutdown-watch-termination-grace-period", DURATION, 0.0, "watches end at once"),
    ),
)

AUDIT = Group(
    "Audit",
    (
        refused("audit-policy-file", _AUDIT),
        refused("audit-log-path", _AUDIT),
        refused("audit-webhook-config-file", _AUDIT),
        *(
            no_effect(f"audit-{name}", STRING, "", "there is no audit log without --audit-log-path")
            for name in (
                "log-batch-buffer-size",
                "log-batch-max-size",
                "log-batch-max-wait",
                "log-batch-throttle-burst",
                "log-batch-throttle-enable",
                "log-batch-throttle-qps",
                "log-compress",
                "log-format",
                "log-maxage",
                "log-maxbackup",
                "log-maxsize",
                "log-mode",
                "log-truncate-enabled",
                "log-truncate-max-batch-size",
                "log-truncate-max-event-size",
                "log-version",
                "webhook-batch-buffer-size",
                "webhook-batch-max-size",
                "webhook-batch-max-wait",
                "webhook-batch-throttle-burst",
                "webhook-batch-throttle-enable",
                "webhook-batch-throttle-qps",
                "webhook-initial-backoff",
                "webhook-mode",
                "webhook-truncate-enabled",
                "webhook-truncate-max-batch-size",
                "webhook-truncate-max-event-size",
                "webhook-version",
            )
        ),
    ),
)

OTHERS = Group(
    "Others",
    (
        *(
            no_effect(f"kubelet-{name}", kind, default, "simulated nodes are reached inside the process")
            for name, kind, default in (
                ("certificate-authority", STRING, ""),
                ("client-certificate", STRING, ""),
                ("client-key", STRING, ""),
                ("preferred-address-types", STRINGS, ()),
                ("timeout", DURATION, 5.0),
                ("port", PORT, 10250),
            )
        ),
        Flag(
            "proxy-client-cert-file",
            FILE,
            None,
            "What extension API servers are shown (default: one of the front proxies' CA made at first start).",
        ),
        Flag("proxy-client-key-file", FILE, None, "Its key."),
        no_effect("enable-aggregator-routing", BOOL, False, "endpoints are always asked directly"),
        no_effect("aggregator-reject-forwarding-redirect", BOOL, True, "redirects are passed on"),
        no_effect("peer-advertise-ip", STRING, "", "the server has no peers"),
        no_effect("peer-advertise-port", STRING, "", "the server has no peers"),
        no_effect("peer-ca-file", STRING, "", "the server has no peers"),
        refused(
            "cors-allowed-origins", "leave it out; browsers of other origins are not let in", STRINGS, ()
        ),
        refused("egress-selector-config-file", "leave it out; the server connects directly"),
        refused("tracing-config-file", "leave it out; requests are not traced"),
        refused("strict-transport-security-directives", "leave it out", STRINGS, ()),
        no_effect("profiling", BOOL, True, "there is no /debug/pprof"),
        no_effect("contention-profiling", BOOL, False, "there is no /debug/pprof"),
        refused("debug-socket-path", "there is no /debug/pprof"),
        no_effect("allow-metric-labels", MAP, {}, "metrics have upstream's labels"),
        no_effect("allow-metric-labels-manifest", STRING, "", "metrics have upstream's labels"),
        no_effect("disabled-metrics", STRINGS, (), "metrics cost little"),
        no_effect("show-hidden-metrics-for-version", STRING, "", "no metric is hidden"),
        no_effect("disable-http2-serving", BOOL, False, "HTTP/1.1 is served"),
        no_effect("log-flush-frequency", DURATION, 5.0, "every line is written at once"),
        refused("logging-format", "lines are key=value", STRING, "text"),
        no_effect("vmodule", STRING, "", "verbosity is one for all: -v"),
    ),
)


def groups(bind_address: str = "127.0.0.1", secure_port: int = 6443) -> tuple[Group, ...]:
    """In the order of the help."""
    return (
        DATA,
        backups.GROUP,
        serving(bind_address, secure_port),
        NETWORK,
        AUTHENTICATION,
        AUTHORIZATION,
        API,
        LIMITS,
        AUDIT,
        OTHERS,
    )


def options(values: Values) -> Serving:
    """What the flags ask for. UsageError where two of them do not fit."""
    from pilothouse.apiserver.authn.request_header import RequestHeaders
    from pilothouse.apiserver.server import Options
    from pilothouse.cli.flags import UsageError
    from pilothouse.cli.state import default_data_dir
    from pilothouse.components.api_server import Serving

    if (values["tls-cert-file"] is None) != (values["tls-private-key-file"] is None):
        raise UsageError("--tls-cert-file and --tls-private-key-file go together: give both or none")
    if (values["proxy-client-cert-file"] is None) != (values["proxy-client-key-file"] is None):
        raise UsageError(
            "--proxy-client-cert-file and --proxy-client-key-file go together: give both or none"
        )
    modes = values["authorization-mode"]
    for mode in modes:
        if mode not in AUTHORIZATION_MODES:
            known = ", ".join(AUTHORIZATION_MODES)
            raise UsageError(f"--authorization-mode: {mode!r} is not served; choose from {known}")
    reconciler = values["endpoint-reconciler-type"]
    if reconciler not in RECONCILERS:
        raise UsageError(f"--endpoint-reconciler-type: {reconciler!r} is not served; choose lease or none")
    runtime_config = ",".join(f"{key}={value}" for key, value in values["runtime-config"].items())
    server = Options(
        service_range=values["service-cluster-ip-range"],
        service_node_ports=values["service-node-port-range"],
        advertise_address=values["advertise-address"],
        secure_port=values["secure-port"],
        token_auth_file=values["token-auth-file"],
        runtime_config=runtime_config,
        issuers=_issuers(values),
        api_audiences=values["api-audiences"],
        token_expiration_s_max=int(values["service-account-max-token-expiration"]),
        anonymous_auth=values["anonymous-auth"],
        bootstrap_token_auth=values["enable-bootstrap-token-auth"],
        authorization_modes=modes,
        enable_admission=values["enable-admission-plugins"],
        disable_admission=values["disable-admission-plugins"],
        admission_configuration=_admission(values["admission-control-config-file"]),
        compaction_interval_s=values["etcd-compaction-interval"],
        etcd_prefix=values["etcd-prefix"],
        healthcheck_timeout_s=values["etcd-healthcheck-timeout"],
        readycheck_timeout_s=values["etcd-readycheck-timeout"],
        lease_reuse_s=float(values["lease-reuse-duration-seconds"]),
        endpoint_reconciler=reconciler,
        db_size_period_s=values["etcd-db-metric-poll-interval"],
        event_ttl_s=int(values["event-ttl"]),
        fairness=values["enable-priority-and-fairness"],
        requests_inflight_max=values["max-requests-inflight"],
        mutating_inflight_max=values["max-mutating-requests-inflight"],
        watch_timeout_s_min=float(values["min-request-timeout"]),
        request_timeout_s=values["request-timeout"],
        requestheader=RequestHeaders(
            values["requestheader-allowed-names"],
            values["requestheader-username-headers"],
            values["requestheader-uid-headers"],
            values["requestheader-group-headers"],
            values["requestheader-extra-headers-prefix"],
        ),
        features=frozenset(name for name, is_on in values["feature-gates"].items() if is_on),
        flags=_shown(values),
    )
    home = values["data-dir"] or default_data_dir()
    return Serving(
        data_dir=None if values["ephemeral"] else home,
        bind_address=values["bind-address"],
        certificate_dir=values["cert-dir"],
        certificate_file=values["tls-cert-file"],
        key_file=values["tls-private-key-file"],
        host_names=(values["external-hostname"],) if values["external-hostname"] else (),
        client_ca_file=values["client-ca-file"],
        requestheader_ca_file=values["requestheader-client-ca-file"],
        proxy_certificate_file=values["proxy-client-cert-file"],
        proxy_key_file=values["proxy-client-key-file"],
        signing_key_file=values["service-account-signing-key-file"],
        key_files=values["service-account-key-file"],
        server=server,
        snapshots=backups.schedule(values, home, ephemeral=values["ephemeral"]),
        etcd=_etcd(values),
    )


def _shown(values: Values) -> dict[str, str]:
    """All of kube-apiserver's flags with their values, as /flagz shows them."""
    from pilothouse.cli.component_flags import spoken

    flags = [flag for group in groups() for flag in group.flags]
    return {flag.name: spoken(flag.kind, values[flag.name]) for flag in flags if not flag.hidden}


def _etcd(values: Values) -> Etcd | None:
    from pilothouse.cli.flags import UsageError
    from pilothouse.components.api_server import Etcd

    servers: tuple[str, ...] = values["etcd-servers"]
    files = (values["etcd-cafile"], values["etcd-certfile"], values["etcd-keyfile"])
    if not servers:
        if any(files):
            raise UsageError("--etcd-cafile, --etcd-certfile and --etcd-keyfile need --etcd-servers too")
        return None
    for url in servers:
        if not url.startswith(("http://", "https://", "unix://", "unixs://")):
            raise UsageError(f"--etcd-servers: {url!r} is no URL such as http://127.0.0.1:2379")
    if (values["etcd-certfile"] is None) != (values["etcd-keyfile"] is None):
        raise UsageError("--etcd-certfile and --etcd-keyfile go together: give both or none")
    if values["ephemeral"]:
        raise UsageError("--ephemeral keeps everything in memory, --etcd-servers in etcd: give one of them")
    return Etcd(servers, *files)


def _admission(path: Path | None) -> Mapping[str, Obj]:
    from pilothouse.apiserver.admission import configuration
    from pilothouse.cli.flags import UsageError

    if path is None:
        return {}
    try:
        return configuration.read(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"--admission-control-config-file: {error}") from None


def _issuers(values: Values) -> tuple[str, ...]:
    issuers: tuple[str, ...] = values["service-account-issuer"]
    return tuple(dict.fromkeys(issuers))


def warnings(values: Values, gates: Collection[str] = ()) -> list[str]:
    """What the caller should know about flags that were given and change nothing; `gates` are the feature gates that
    do."""
    return [
        f"feature gate {name} has no effect here{_INSTEAD.get(name, '')}"
        for name in values["feature-gates"]
        if name not in SERVED_GATES and name not in gates
    ]


SERVED_GATES = ("HPAScaleToZero",)
_POD_GROUPS = "; PodGroups are turned on by --runtime-config scheduling.k8s.io/v1alpha2=true"
_INSTEAD = {"GenericWorkload": _POD_GROUPS, "GangScheduling": _POD_GROUPS}
"""What does the same."""
