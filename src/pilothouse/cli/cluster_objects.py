"""Where commands that only look get a cluster's objects from, and with which configuration a scheduler looks at them.

--kubeconfig FILE   an API server, with the rights of the file's user
--data-dir DIR      a cluster of this machine: its API server when it runs, else its store
--snapshot PATH     what `kubectl get nodes,pods,… -A -o yaml` printed, a folder of manifests, a snapshot of etcd
none of them        $KUBECONFIG, then the default data directory
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.api.types import Obj
from pilothouse.cli import running, scheduler_config, state
from pilothouse.cli.flags import Failure, Flag, Group, UsageError, Values
from pilothouse.cli.kinds import FILE, PATH
from pilothouse.etcd import embedded

if TYPE_CHECKING:
    from pilothouse.api.resources import Resource
    from pilothouse.etcd.contract import Backend
    from pilothouse.whatif.snapshot import Snapshot

GROUP = Group(
    "Which cluster",
    (
        Flag("kubeconfig", FILE, None, "A cluster that runs, with the rights of the file's user."),
        Flag("data-dir", PATH, None, "A cluster of this machine, whether it runs or not."),
        Flag(
            "snapshot",
            PATH,
            None,
            "What kubectl get nodes,pods,… -A -o yaml (or json) printed, a folder of such files, or an etcd snapshot.",
        ),
        Flag(
            "scheduler-config",
            FILE,
            None,
            "The scheduler's KubeSchedulerConfiguration (default: the default one); its extenders are not asked.",
        ),
    ),
)
_SOURCES = ("kubeconfig", "data-dir", "snapshot")
_BBOLT_MAGIC = b"\xed\xda\x0c\xed"
_UNINTERESTING = ("events", "leases", "secrets", "configmaps")


def configuration(values: Values) -> Obj | None:
    """Complete; None for the default one. Failure."""
    file = values["scheduler-config"]
    return scheduler_config.read(file) if file is not None else None


def load(values: Values, config: Obj | None, *, more: Iterable[Resource] = ()) -> Snapshot:
    """The objects that a scheduler looks at, and `more`. Failure and UsageError; what may not be read is warned of."""
    from pilothouse.whatif.kinds import BadObject
    from pilothouse.whatif.listing import resources

    given = [name for name in _SOURCES if values[name] is not None]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} name two clusters: give one of them")
    try:
        if values["snapshot"] is not None:
            return _from_path(values["snapshot"])
        kubeconfig = _kubeconfig(values)
        if kubeconfig is not None:
            return _from_server(kubeconfig, [*resources(config), *more])
        return _from_store(values["data-dir"] or state.default_data_dir())
    except BadObject as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(running.os_error(error)) from None
    except ValueError as error:
        raise Failure(str(error)) from None


def _kubeconfig(values: Values) -> Path | None:
    """None for a cluster that does not run."""
    if values["kubeconfig"] is not None:
        return Path(values["kubeconfig"])
    if values["data-dir"] is None:
        named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
        if named:
            return named[0]
    directory: Path = values["data-dir"] or state.default_data_dir()
    file = directory / "kubeconfig"
    return file if file.is_file() and state.read_pid(directory) is not None else None


def _from_server(file: Path, wanted: list[Resource]) -> Snapshot:
    import asyncio

    from pilothouse.api.errors import ApiError

    try:
        snapshot, warnings = asyncio.run(_listed(file, wanted))
    except (ApiError, ConnectionError) as error:
        raise Failure(f"the API server of {file}: {error}") from None
    running.warn(warnings)
    return snapshot


async def _listed(file: Path, wanted: list[Resource]) -> tuple[Snapshot, list[str]]:
    from pilothouse.client import kubeconfig
    from pilothouse.client.resource_client import ResourceClient
    from pilothouse.kit.world import World
    from pilothouse.whatif import listing

    client = ResourceClient(kubeconfig.transport(kubeconfig.load(file), World(), "pilothouse"))
    warnings: list[str] = []
    try:
        return await listing.taken(client, dict.fromkeys(wanted), warnings), warnings
    finally:
        await client.close()


def _from_path(path: Path) -> Snapshot:
    from pilothouse.whatif.reading import read
    from pilothouse.whatif.snapshot import Snapshot

    if (path / embedded.DIRECTORY).is_dir():
        return _from_store(path)
    if path.is_file() and _is_etcds(path):
        return _from_etcd_snapshot(path)
    return Snapshot(read(path))


def _is_etcds(path: Path) -> bool:
    """A bbolt file: its first page's header, then the magic number."""
    with path.open("rb") as file:
        return file.read(20)[16:] == _BBOLT_MAGIC


# -- stores ---------------------------------------------------------------------------------------------------


def _from_store(directory: Path) -> Snapshot:
    from pilothouse.cli.etcd import target

    if not directory.is_dir():
        raise Failure(
            f"{directory}: no such directory; name a cluster with --kubeconfig, --data-dir or --snapshot"
        )
    found = target.at(directory)
    if isinstance(found, target.Stopped):
        return _stopped(found)
    raise Failure(
        f"a control plane runs on {directory}, and its kubeconfig is elsewhere: name it with --kubeconfig"
    )


def _stopped(found: object) -> Snapshot:
    import asyncio

    from pilothouse.cli.etcd import stores, target
    from pilothouse.etcd.contract import StoreError
    from pilothouse.kit.world import World

    assert isinstance(found, target.Stopped)

    async def read() -> Snapshot:
        async with stores.opened(found, World()) as backend:
            return await _of_backend(backend)

    claim = state.claim(found.data_dir)
    if claim is None:
        raise Failure(f"a control plane runs on {found.data_dir}: try again when it is ready")
    try:
        return asyncio.run(read())
    except StoreError as error:
        raise Failure(str(error)) from None
    finally:
        claim.release()


def _from_etcd_snapshot(path: Path) -> Snapshot:
    import asyncio

    from pilothouse.etcd.contract import StoreError
    from pilothouse.etcd.snapshots import file, store
    from pilothouse.kit.world import World

    async def read() -> Snapshot:
        with file.reading(path) as database:
            backend = store.in_memory(database, World())
            try:
                return await _of_backend(backend)
            finally:
                await backend.close()

    try:
        return asyncio.run(read())
    except StoreError as error:
        raise Failure(str(error)) from None


async def _of_backend(backend: Backend) -> Snapshot:
    import msgspec

    from pilothouse.etcd.contract import Range, prefix_end
    from pilothouse.whatif.snapshot import Snapshot

    prefix = b"/registry/"
    snapshot = Snapshot()
    for kv in (await backend.range(Range(prefix, prefix_end(prefix)))).kvs:
        kind = kv.key.removeprefix(prefix).split(b"/")[0].decode(errors="replace")
        if kind in _UNINTERESTING or not kv.value.startswith(b"{"):
            continue
        obj = msgspec.json.decode(kv.value)
        if isinstance(obj, dict) and obj.get("kind") and obj.get("apiVersion"):
            snapshot.add(obj)
    return snapshot
