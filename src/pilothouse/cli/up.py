"""`pilothouse up`: the whole control plane in one process, in the foreground or in the background."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from pilothouse.cli import state

_STARTED = time.monotonic()


def _port_range(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    first, dash, last = value.partition("-")
    if not dash or not first.isdigit() or not last.isdigit() or int(first) > int(last):
        raise click.BadParameter(f"{value!r} is no range of ports such as 30000-32767")
    return int(first), int(last)


def _network(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no network such as 10.96.0.0/16") from None


@click.command("up", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the cluster is kept.")
@click.option("--ephemeral", is_flag=True, help="Keep everything in memory.")
@click.option("--bind-address", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--secure-port", default=6443, show_default=True, type=click.IntRange(0, 65535), help="0: a free one."
)
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(0), help="Simulated nodes.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Where to write the kubeconfig.")
@click.option("-d", "--detach", is_flag=True, help="Run in the background; return when it is ready.")
@click.option("--token-auth-file", type=click.Path(path_type=Path, exists=True), help="Static tokens (CSV).")
@click.option("--runtime-config", default="", help="API versions to turn on or off, such as api/beta=true.")
@click.option(
    "--service-cluster-ip-range",
    default="10.96.0.0/16",
    show_default=True,
    callback=_network,
    help="Addresses of services.",
)
@click.option(
    "--service-node-port-range",
    default="30000-32767",
    show_default=True,
    callback=_port_range,
    help="Node ports.",
)
@click.option(
    "--anonymous-auth/--no-anonymous-auth", default=True, help="Let anonymous requests in (to little)."
)
@click.option("--enable-admission-plugins", default="", help="Admission plugins to add, comma-separated.")
@click.option(
    "--disable-admission-plugins", default="", help="Admission plugins to leave out, comma-separated."
)
@click.option("--controllers", default="*", show_default=True, help="Controllers to run: *, NAME, -NAME.")
@click.option("-v", "--v", "verbosity", default=0, type=int, help="Log verbosity.")
def command(**flags: Any) -> None:
    """Start a whole control plane: API server, store, scheduler, controllers, simulated nodes.

    \b
    Examples:
      pilothouse up
      pilothouse up --ephemeral --nodes 100
      pilothouse up --data-dir /srv/cluster --secure-port 0 -d
    """
    if flags["detach"]:
        _detach(flags)
        return
    _run(flags)


def _home(flags: dict[str, Any]) -> Path:
    data_dir: Path | None = flags["data_dir"]
    return data_dir or state.default_data_dir()


def _refuse_second(flags: dict[str, Any]) -> None:
    home = _home(flags)
    pid = state.read_pid(home)
    if pid is not None and (not flags["ephemeral"] or flags["data_dir"] is not None):
        raise click.ClickException(
            f"a cluster runs on {home} already (process {pid}); stop it with: pilothouse down --data-dir {home}"
        )


def _run(flags: dict[str, Any]) -> None:
    _refuse_second(flags)
    import uvloop

    from pilothouse.etcd.contract import StoreError
    from pilothouse.kit.logging import configure

    configure(flags["verbosity"])
    try:
        uvloop.run(_serve(flags))
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {flags['bind_address']}:{flags['secure_port']}: {error.strerror or error}; "
            "choose another port with --secure-port (0 picks a free one)"
        ) from None


async def _serve(flags: dict[str, Any]) -> None:
    from pilothouse.kit import garbage

    garbage.hold()
    from pilothouse.cluster import Cluster, ClusterOptions

    home = _home(flags)
    options = ClusterOptions(
        data_dir=None if flags["ephemeral"] else home,
        bind_address=flags["bind_address"],
        secure_port=flags["secure_port"],
        nodes=flags["nodes"],
        kubeconfig=flags["kubeconfig"] or home / "kubeconfig",
        controllers=tuple(filter(None, flags["controllers"].split(","))),
        server=_server_options(flags),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    cluster = Cluster(options)
    try:
        await cluster.start()
        state.write_pid(home)
        seconds = time.monotonic() - _process_started()
        click.echo(f"Ready in {seconds:.2f} s: {cluster.server_url}  kubeconfig: {cluster.kubeconfig}")
        sys.stdout.flush()
        garbage.settle()
        await stop.wait()
    finally:
        await cluster.stop()
        state.remove_pid(home)


def _process_started() -> float:
    """When this process began, on the monotonic clock: importing counts too."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return _STARTED
    return time.monotonic() - (uptime - ticks / os.sysconf("SC_CLK_TCK"))


def _server_options(flags: dict[str, Any]) -> Any:
    from pilothouse.apiserver.server import Options

    return Options(
        service_range=flags["service_cluster_ip_range"],
        service_node_ports=flags["service_node_port_range"],
        token_auth_file=flags["token_auth_file"],
        runtime_config=flags["runtime_config"],
        anonymous_auth=flags["anonymous_auth"],
        enable_admission=tuple(filter(None, flags["enable_admission_plugins"].split(","))),
        disable_admission=tuple(filter(None, flags["disable_admission_plugins"].split(","))),
    )


def _detach(flags: dict[str, Any]) -> None:
    """Start the same command in a process of its own and wait for its line."""
    _refuse_second(flags)
    home = _home(flags)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments = [a for a in sys.argv[1:] if a not in ("-d", "--detach")]
    log_path = home / state.LOG_FILE
    with open(os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as log_file:
        child = subprocess.Popen(
            [sys.executable, "-m", "pilothouse", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log_file,
            start_new_session=True,
        )
    assert child.stdout is not None
    line = child.stdout.readline().decode().strip()
    if not line:
        child.wait()
        message = log_path.read_text().strip().removeprefix("Error: ") or "it ended without a word"
        raise click.ClickException(f"{message.splitlines()[-1]}\nThe log is {log_path}")
    click.echo(line)
