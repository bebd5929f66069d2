"""`pilothouse up`: the whole control plane in one process, in the foreground or in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from pilothouse.api.types import Obj
from pilothouse.cli import autoscaling_flags, kube_apiserver_flags, running, scheduler_config, state
from pilothouse.cli.etcd import managing
from pilothouse.cli.flags import (
    DETACHED,
    Command,
    Failure,
    Flag,
    Group,
    UsageError,
    Values,
    verbosity,
)
from pilothouse.cli.kinds import BOOL, COUNT, FILE, PATH, PORT, STRING, STRINGS
from pilothouse.cli.nodes import STAGE_FILE
from pilothouse.scheduler.features import STORAGE_CAPACITY_SCORING, VOLUME_LIMIT_SCALING

_READY = "Ready "
_GATES = (STORAGE_CAPACITY_SCORING, VOLUME_LIMIT_SCALING)
"""Of the scheduler. PodGroups count where their API is served."""


_METRICS = ("auto", "true", "false")


def _run(values: Values) -> None:
    if values["metrics-api"] not in _METRICS:
        raise UsageError(f"--metrics-api: choose one of {', '.join(_METRICS)}")
    home = values["data-dir"] or state.default_data_dir()
    scheduler = None
    if values["scheduler-config"] is not None:
        scheduler = scheduler_config.read(values["scheduler-config"], _features(values))
    if values["detach"]:
        _detach(values, home)
        return
    claim = _claim(values, home)
    try:
        running.warn(kube_apiserver_flags.warnings(values, _GATES))
        running.serve(values, _serve(values, home, scheduler))
    finally:
        if claim is not None:
            claim.release()


def _features(values: Values) -> tuple[str, ...]:
    return tuple(name for name in scheduler_config.features(values) if name in _GATES)


def _claim(values: Values, home: Path) -> state.Claim | None:
    """The right to this directory. A cluster in memory that names its own kubeconfig needs none."""
    try:
        claim = state.claim(home)
    except OSError as error:
        raise Failure(f"cannot write to {home}: {error.strerror}; choose another --data-dir") from None
    if claim is None and not (values["ephemeral"] and values["kubeconfig"] and values["data-dir"] is None):
        raise _second(values, home)
    return claim


def _second(values: Values, home: Path) -> Failure:
    pid = state.read_pid(home)
    process = f" (process {pid})" if pid is not None else ""
    what = f"a cluster runs on {home} already{process}; stop it with: pilothouse down --data-dir {home}"
    if values["ephemeral"] and values["data-dir"] is None:
        what += ", or give this one a --data-dir or a --kubeconfig of its own"
    return Failure(what)


async def _serve(values: Values, home: Path, scheduler: Obj | None) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    import asyncio

    from pilothouse.cluster import Cluster, ClusterOptions, load_components

    serving = kube_apiserver_flags.options(values)
    options = ClusterOptions(
        data_dir=serving.data_dir,
        bind_address=serving.bind_address,
        secure_port=serving.server.secure_port,
        nodes=values["nodes"],
        kubeconfig=values["kubeconfig"] or home / "kubeconfig",
        controllers=values["controllers"] or ("*",),
        stages=values["stage-file"],
        server=serving.server,
        serving=serving,
        scheduler=scheduler,
        scheduler_port=values["scheduler-secure-port"],
        features=_features(values),
        metrics_api=values["metrics-api"],
        autoscaling=autoscaling_flags.settings(values) if _scales(values) else None,
        cloud="" if values["cloud-provider"] == "none" else values["cloud-provider"],
        cloud_config=values["cloud-config"],
    )
    stop = running.Stop()
    etcd = await managing.start(values, home) if managing.wanted(values, home) else None
    if etcd is not None:
        serving.open_store = etcd.cluster.open_backend
    cluster = Cluster(options)
    try:
        await cluster.start_server()
        await asyncio.to_thread(load_components)
        cluster.start_components()
        await cluster.open_scheduler_port()
        seconds = time.monotonic() - running.started()
        running.say(f"{_READY}in {seconds:.2f} s: {cluster.server_url}  kubeconfig: {cluster.kubeconfig}")
        if sys.stdout.isatty():
            running.say(_hint(cluster.kubeconfig))
        garbage.settle()
        await stop.or_crash(cluster.wait())
    finally:
        await cluster.stop()
        if etcd is not None:
            await etcd.stop()


def _scales(values: Values) -> bool:
    """Whether anything is said about autoscaling: the defaults need not be loaded to be known."""
    own = {flag.name for flag in autoscaling_flags.GROUP.flags}
    return bool(own & values.given) or autoscaling_flags.GATE in values["feature-gates"]


def _hint(kubeconfig: Path | None) -> str:
    return f"Next: export KUBECONFIG={kubeconfig} && kubectl get nodes"


def _detach(values: Values, home: Path) -> None:
    """Start the same command in a process of its own and wait for its line."""
    if state.read_pid(home) is not None:
        raise _second(values, home)
    try:
        child, log = _start(home)
    except OSError as error:
        raise Failure(f"cannot write to {home}: {error.strerror}; choose another --data-dir") from None
    assert child.stdout is not None
    try:
        line = child.stdout.readline().decode().strip()
    except KeyboardInterrupt:
        child.terminate()
        raise
    if not line.startswith(_READY):
        code = child.wait()
        told = line.removeprefix("Error: ") or _cause(log)
        raise (UsageError if code == 2 else Failure)(f"{told} (the log is {log})")
    running.say(line)
    if sys.stdout.isatty():
        running.say(_hint(Path(line.rpartition("kubeconfig: ")[2])))


def _start(home: Path) -> tuple[subprocess.Popen[bytes], Path]:
    state.make_directory(home)
    log = home / state.LOG_FILE
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with open(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "pilothouse", *sys.argv[1:], "--detach=false"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
            env={**os.environ, DETACHED: "1"},
        )
    return child, log


def _cause(log: Path) -> str:
    """What a process that crashed wrote last."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else "it ended without a word"


_CLUSTER = Group(
    "Cluster",
    (
        Flag("nodes", COUNT, 3, "Simulated nodes: each has 16 CPUs, 64 GiB and room for 220 pods."),
        STAGE_FILE,
        Flag(
            "kubeconfig",
            PATH,
            None,
            "Where to write the administrator's kubeconfig (default DATA_DIR/kubeconfig).",
        ),
        *managing.FLAGS,
        Flag("controllers", STRINGS, ("*",), "Controllers to run: '*' all, NAME one more, -NAME one less."),
        Flag(
            "scheduler-config",
            FILE,
            None,
            "A KubeSchedulerConfiguration for the scheduler: profiles, plugins and their arguments, extenders.",
        ),
        Flag(
            "scheduler-secure-port",
            PORT,
            0,
            "Where the scheduler serves health, metrics, /configz and /explain/namespaces/NAMESPACE/pods/NAME over "
            "HTTPS, upstream's is 10259; 0 serves nothing (its metrics are among the API server's anyway).",
        ),
        Flag(
            "metrics-api",
            STRING,
            "auto",
            "Whether metrics.k8s.io is served (kubectl top, autoscaling): auto as soon as a pod's annotations or a "
            "stage file say what containers use, true from the start, false never.",
        ),
        Flag("detach", BOOL, False, "Run in the background; return when it is ready.", short="d"),
        Flag(
            "cloud-provider",
            STRING,
            "local",
            "The cloud behind services, nodes and volumes: local (this machine), sim, aws, one of an installed "
            "package, or none.",
        ),
        Flag("cloud-config", FILE, None, "The cloud provider's own configuration."),
        verbosity(),
    ),
)

COMMAND = Command(
    name="up",
    summary="Start a whole control plane with simulated nodes.",
    run=_run,
    description=(
        "Start a whole control plane in one process: API server, store, scheduler, controllers, simulated nodes. "
        "It runs until it is interrupted. Takes kube-apiserver's flags, too, and those of the autoscaler."
    ),
    examples="""
        pilothouse up
        pilothouse up --ephemeral --nodes 100
        pilothouse up --data-dir /srv/cluster --secure-port 0 -d
    """,
    groups=(_CLUSTER, autoscaling_flags.GROUP, *kube_apiserver_flags.groups()),
)
