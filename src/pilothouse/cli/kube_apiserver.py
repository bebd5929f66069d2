"""`pilothouse kube-apiserver`: the API server alone, on the embedded store or on an etcd cluster."""

from __future__ import annotations

import time
from pathlib import Path

from pilothouse.cli import kube_apiserver_flags, running, state
from pilothouse.cli.etcd import managing
from pilothouse.cli.flags import Command, Flag, Group, Values, verbosity
from pilothouse.cli.kinds import PATH


def _run(values: Values) -> None:
    home = values["data-dir"] or state.default_data_dir()
    managing.refuse_alone(values, home)
    running.warn(kube_apiserver_flags.warnings(values))
    running.serve(values, _serve(values, home))


async def _serve(values: Values, home: Path) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    from pilothouse.components import credentials
    from pilothouse.components.api_server import ServedApi
    from pilothouse.kit.metrics import new_registry
    from pilothouse.kit.world import World

    served = ServedApi(kube_apiserver_flags.options(values), World(), new_registry())
    stop = running.Stop()
    try:
        await served.start()
        kubeconfig = values["kubeconfig"] or home / credentials.ADMIN.file
        _, certificate, user, groups = credentials.ADMIN
        served.write_kubeconfig(kubeconfig, certificate, user, groups)
        credentials.write_all(served, home)
        seconds = time.monotonic() - running.started()
        running.say(f"Ready in {seconds:.2f} s: {served.url}  kubeconfig: {kubeconfig}")
        garbage.settle()
        await stop.wait()
    finally:
        await served.stop()


COMMAND = Command(
    name="kube-apiserver",
    summary="The API server alone.",
    run=_run,
    description=(
        "Run kube-apiserver alone, on the embedded store in --data-dir (one server at a time) or on etcd "
        "(--etcd-servers, any number of servers). Certificates are made in --data-dir at the first start, with a "
        "kubeconfig for the administrator and one for each other component. Servers on one etcd must share "
        "DATA_DIR/pki: copy it from the first one before the others start."
    ),
    examples="""
        pilothouse kube-apiserver --data-dir /srv/cluster
        pilothouse kube-apiserver --data-dir /srv/cluster --etcd-servers http://127.0.0.1:2379
        pilothouse kube-scheduler --kubeconfig /srv/cluster/kube-scheduler.kubeconfig
    """,
    groups=(
        Group(
            "Component",
            (
                Flag(
                    "kubeconfig",
                    PATH,
                    None,
                    "Where to write the administrator's (default DATA_DIR/kubeconfig).",
                ),
                verbosity(),
            ),
        ),
        *kube_apiserver_flags.groups("0.0.0.0"),
    ),
)
