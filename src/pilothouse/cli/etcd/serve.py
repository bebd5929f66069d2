"""`pilothouse etcd`: the embedded store, served as etcd v3."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.cli import backups, running, state
from pilothouse.cli.flags import (
    Command,
    Failure,
    Flag,
    Group,
    UsageError,
    Values,
    no_effect,
    refused,
    verbosity,
)
from pilothouse.cli.kinds import BOOL, COUNT, DURATION, FILE, INT, PATH, STRING, STRINGS
from pilothouse.etcd import embedded
from pilothouse.kit.durations import duration_s

if TYPE_CHECKING:
    from pilothouse.etcd.server.options import ServerOptions, TlsFiles
    from pilothouse.etcd.snapshots.backups import Schedule

_URLS = "http://localhost:2379"
_PEERS = "http://localhost:2380"
_NO_RAFT = "there is no Raft here"
_NO_PEERS = "there are no peers"
_TCP_KEEPALIVE = "TCP's keep-alive finds clients that are gone, in a minute and a half"
_CLUSTER = (
    "this serves one store alone; for a cluster start pilothouse up --etcd-members 3, or move the data with "
    "pilothouse migrate"
)


def _run(values: Values) -> None:
    home = values["data-dir"] or state.default_data_dir()
    _refuse_cluster(values)
    options = _options(values)
    directory = store_directory(home)
    running.serve(values, _serve(options, home, directory, backups.schedule(values, home)))


def store_directory(home: Path) -> Path:
    """Where the store of a data directory is: that of `pilothouse up` has it in `store`, and so has a new one; a
    store's own directory is taken, too. Failure for a real etcd's."""
    if (home / "member").is_dir():
        raise Failure(
            f"{home} holds a real etcd's data, which is not read here: start that etcd and copy from it with "
            "pilothouse migrate, or choose another --data-dir"
        )
    return home if (home / embedded.FILE).exists() else home / embedded.DIRECTORY


def _refuse_cluster(values: Values) -> None:
    """Scripts give the cluster's flags for one member, too: that is what this is."""
    members = [member for member in values["initial-cluster"].split(",") if member]
    if len(members) > 1:
        raise UsageError(f"--initial-cluster names {len(members)} members: {_CLUSTER}")
    if values["initial-cluster-state"] not in ("new", "existing"):
        raise UsageError("--initial-cluster-state must be new or existing")


def _options(values: Values) -> ServerOptions:
    from pilothouse.etcd.server.options import ServerOptions

    return ServerOptions(
        name=values["name"],
        listen_client_urls=values["listen-client-urls"],
        advertise_client_urls=values["advertise-client-urls"],
        peer_urls=values["initial-advertise-peer-urls"],
        listen_metrics_urls=values["listen-metrics-urls"],
        tls=_tls(values),
        request_bytes_max=values["max-request-bytes"],
        txn_ops_max=values["max-txn-ops"],
        quota_bytes=values["quota-backend-bytes"],
        auth_token=values["auth-token"],
        auth_token_ttl_s=values["auth-token-ttl"],
        bcrypt_cost=values["bcrypt-cost"],
        certificates_name_users=values["client-cert-auth"],
        progress_interval_s=_progress_interval_s(values),
        compaction_mode=_mode(values),
        compaction_retention=_retention(values),
    )


def _tls(values: Values) -> TlsFiles | None:
    from pilothouse.etcd.server.options import TlsFiles

    certificate, key, ca = values["cert-file"], values["key-file"], values["trusted-ca-file"]
    if (certificate is None) != (key is None):
        raise UsageError("--cert-file and --key-file go together: give both or none")
    if values["client-cert-auth"] and ca is None:
        raise UsageError("--client-cert-auth needs --trusted-ca-file, the CA of the clients' certificates")
    if certificate is None or key is None:
        if ca is not None:
            raise UsageError("--trusted-ca-file needs --cert-file and --key-file")
        return None
    return TlsFiles(certificate, key, ca)


def _progress_interval_s(values: Values) -> float:
    """The flag lost its prefix in etcd 3.6."""
    new, old = "watch-progress-notify-interval", "experimental-watch-progress-notify-interval"
    return float(values[new] if new in values.given else values[old])


def _mode(values: Values) -> str:
    mode: str = values["auto-compaction-mode"]
    if mode not in ("periodic", "revision"):
        raise UsageError(f"--auto-compaction-mode: {mode!r} is neither periodic nor revision")
    return mode


def _retention(values: Values) -> float:
    """A number is hours or revisions; a duration has a unit."""
    text: str = values["auto-compaction-retention"]
    if re.fullmatch(r"\d+", text):
        return float(text) * (3600 if values["auto-compaction-mode"] == "periodic" else 1)
    if values["auto-compaction-mode"] == "revision":
        raise UsageError(f"--auto-compaction-retention: {text!r} is no number of revisions")
    try:
        return duration_s(text)
    except ValueError as error:
        raise UsageError(f"--auto-compaction-retention: {text!r}: {error}, and no number of hours") from None


async def _serve(options: ServerOptions, home: Path, directory: Path, snapshots: Schedule | None) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    from pilothouse.etcd.embedded.backend import open_backend
    from pilothouse.etcd.embedded.log import SqliteLog
    from pilothouse.etcd.server.options import SOCKET_FILE
    from pilothouse.etcd.server.server import EtcdServer
    from pilothouse.etcd.snapshots.backups import Backups
    from pilothouse.kit.tasks import Tasks
    from pilothouse.kit.world import World

    stop = running.Stop()
    world = World()
    copies = Tasks("snapshots")
    backend = await open_backend(world, SqliteLog(directory))
    options.socket = home / SOCKET_FILE
    try:
        server = EtcdServer(backend, backend, world, options)
        try:
            await server.start()
            if snapshots is not None:
                copies.start(
                    "schedule", Backups(backend, snapshots, world, server.service.core.metrics.registry).run()
                )
            seconds = time.monotonic() - running.started()
            running.say(f"Ready in {seconds:.2f} s: {','.join(server.urls)}  data: {home}")
            garbage.settle()
            await stop.wait()
        finally:
            await server.stop()
            await copies.stop()
    finally:
        await backend.close()


_GROUPS = (
    Group(
        "Member",
        (
            Flag("name", STRING, "default", "How this member is called in lists."),
            Flag(
                "data-dir",
                PATH,
                None,
                "Where the data is, that of pilothouse up too (default $XDG_DATA_HOME/pilothouse).",
            ),
            Flag(
                "listen-client-urls",
                STRINGS,
                (_URLS,),
                "Where to listen: http, https, unix or unixs; port 0 picks a free one.",
                label="URL,…",
            ),
            Flag(
                "advertise-client-urls",
                STRINGS,
                (),
                "What clients are told about where to find this member (default: where it listens).",
                label="URL,…",
            ),
            Flag(
                "listen-metrics-urls",
                STRINGS,
                (),
                "Further addresses, for /metrics and /health alone.",
                label="URL,…",
            ),
            Flag(
                "quota-backend-bytes",
                INT,
                0,
                "The size from which on writes are refused (0: etcd's 2 GiB; below 0: none).",
            ),
            Flag("max-txn-ops", COUNT, 128, "Operations in a transaction."),
            Flag("max-request-bytes", COUNT, 1_572_864, "Size of a request."),
            Flag("auto-compaction-mode", STRING, "periodic", "By time (periodic) or by revision."),
            Flag(
                "auto-compaction-retention",
                STRING,
                "0",
                "How much history is kept: hours, a duration such as 30m, or revisions; 0 never compacts.",
            ),
            Flag(
                "watch-progress-notify-interval",
                DURATION,
                600.0,
                "How often watches that want it are told how far they are (kube-apiserver: 5s is usual).",
            ),
            Flag(
                "experimental-watch-progress-notify-interval",
                DURATION,
                600.0,
                "Its name before etcd 3.6.",
                hidden=True,
            ),
            no_effect(
                "grpc-keepalive-min-time", DURATION, 5.0, "10,000 pings a minute are too many, fewer are not"
            ),
            no_effect("grpc-keepalive-interval", DURATION, 7200.0, _TCP_KEEPALIVE),
            no_effect("grpc-keepalive-timeout", DURATION, 20.0, _TCP_KEEPALIVE),
            verbosity(),
        ),
    ),
    Group(
        "Security",
        (
            Flag("cert-file", FILE, None, "The serving certificate (PEM), for https."),
            Flag("key-file", FILE, None, "Its key."),
            Flag(
                "trusted-ca-file", FILE, None, "The CA of clients' certificates; every client must show one."
            ),
            Flag("client-cert-auth", BOOL, False, "Clients must show a certificate of --trusted-ca-file."),
            Flag(
                "auth-token",
                STRING,
                "simple",
                "What clients show instead of a password: simple, or "
                "jwt,sign-method=…,priv-key=FILE,pub-key=FILE,ttl=5m.",
            ),
            Flag("auth-token-ttl", COUNT, 300, "Seconds that a simple token lives after its last use."),
            Flag("bcrypt-cost", COUNT, 10, "How hard passwords are hashed, 4 to 31."),
            refused("client-crl-file", "leave it out; revoke by a CA of their own for clients"),
            refused("client-cert-allowed-hostname", "leave it out; give roles by --trusted-ca-file"),
            refused("auto-tls", "give --cert-file and --key-file", BOOL, False),
            no_effect("cipher-suites", STRINGS, (), "TLS 1.2 and later with secure ciphers are always on"),
            no_effect("tls-min-version", STRING, "", "TLS 1.2 and later with secure ciphers are always on"),
            no_effect("tls-max-version", STRING, "", "TLS 1.2 and later with secure ciphers are always on"),
            no_effect("cors", STRING, "*", "browsers are not served"),
            no_effect("host-whitelist", STRING, "*", "browsers are not served"),
        ),
    ),
    Group(
        "As etcd's of one member",
        (
            no_effect("listen-peer-urls", STRINGS, (_PEERS,), _NO_PEERS),
            Flag("initial-advertise-peer-urls", STRINGS, (_PEERS,), "Shown in the member list.", hidden=True),
            Flag("initial-cluster", STRING, "", "One member at most.", hidden=True),
            Flag("initial-cluster-state", STRING, "new", "As etcd's.", hidden=True),
            no_effect("initial-cluster-token", STRING, "etcd-cluster", _NO_PEERS),
            no_effect("strict-reconfig-check", BOOL, True, _NO_PEERS),
            *(
                no_effect(name, PATH, None, _NO_PEERS)
                for name in ("peer-cert-file", "peer-key-file", "peer-trusted-ca-file", "peer-crl-file")
            ),
            no_effect("peer-client-cert-auth", BOOL, False, _NO_PEERS),
            no_effect("peer-auto-tls", BOOL, False, _NO_PEERS),
            no_effect("peer-cert-allowed-cn", STRING, "", _NO_PEERS),
            no_effect("peer-cert-allowed-hostname", STRING, "", _NO_PEERS),
            no_effect("wal-dir", PATH, None, _NO_RAFT),
            no_effect("snapshot-count", COUNT, 100_000, _NO_RAFT),
            no_effect("max-snapshots", COUNT, 5, _NO_RAFT),
            no_effect("max-wals", COUNT, 5, _NO_RAFT),
            no_effect("heartbeat-interval", COUNT, 100, _NO_RAFT),
            no_effect("election-timeout", COUNT, 1000, _NO_RAFT),
            no_effect("initial-election-tick-advance", BOOL, True, _NO_RAFT),
            no_effect("pre-vote", BOOL, True, _NO_RAFT),
            no_effect("initial-corrupt-check", BOOL, False, _NO_RAFT),
            no_effect("experimental-initial-corrupt-check", BOOL, False, _NO_RAFT),
            no_effect("corrupt-check-time", DURATION, 0.0, _NO_RAFT),
            no_effect("experimental-corrupt-check-time", DURATION, 0.0, _NO_RAFT),
            no_effect("backend-batch-interval", DURATION, 0.0, "commits are grouped as they come"),
            no_effect("backend-batch-limit", COUNT, 0, "commits are grouped as they come"),
            no_effect("compaction-batch-limit", COUNT, 1000, "compaction gives way by itself"),
            no_effect("experimental-compaction-batch-limit", COUNT, 1000, "compaction gives way by itself"),
            no_effect("max-concurrent-streams", COUNT, 0, "a connection may have 4,096"),
            no_effect("enable-v2", BOOL, False, "the v2 API is gone from etcd, too"),
            no_effect("enable-pprof", BOOL, False, "there is no /debug/pprof"),
            no_effect("enable-grpc-gateway", BOOL, True, "the JSON gateway is always on"),
            no_effect("metrics", STRING, "basic", "histograms are always there"),
            no_effect("logger", STRING, "zap", "logs go to stderr; -v says how much"),
            no_effect("log-outputs", STRINGS, ("default",), "logs go to stderr; -v says how much"),
            no_effect("log-level", STRING, "info", "logs go to stderr; -v says how much"),
            no_effect("log-format", STRING, "json", "logs go to stderr; -v says how much"),
            *(
                no_effect(
                    f"{prefix}warning-{what}-duration", DURATION, default, "slow requests are not logged"
                )
                for prefix in ("", "experimental-")
                for what, default in (("apply", 0.1), ("unary-request", 0.3))
            ),
            refused("discovery", _CLUSTER),
            refused("discovery-srv", _CLUSTER),
            refused("discovery-endpoints", _CLUSTER, STRINGS, ()),
            refused("force-new-cluster", "leave it out; there is always one member", BOOL, False),
            refused("config-file", "give its settings as flags"),
            refused("proxy", "leave it out", STRING, "off"),
        ),
    ),
)

COMMAND = Command(
    name="etcd",
    summary="The store alone, as etcd v3; or what an operator does with one.",
    run=_run,
    description=(
        "Serve the embedded store as etcd v3: gRPC and the JSON gateway, /health and /metrics, on one port. etcdctl, "
        "every etcd client and kube-apiserver can be pointed at it. Flags are etcd's."
    ),
    examples="""
        pilothouse etcd --data-dir /srv/etcd
        etcdctl --endpoints localhost:2379 put greeting hello
        pilothouse etcd --listen-client-urls https://0.0.0.0:2379 --cert-file server.crt --key-file server.key
    """,
    groups=(*_GROUPS, backups.GROUP),
)
