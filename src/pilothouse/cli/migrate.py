"""`pilothouse migrate --from X --to Y`: a control plane's data from any store to any other.

DIR                            a data directory: its embedded store, or its managed cluster
etcd://HOST:PORT[,HOST:PORT]   any etcd; http:// and https://, too
FILE                           a snapshot (a new name with an ending, such as copy.db, is a file)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pilothouse.cli import running, state
from pilothouse.cli.etcd import target
from pilothouse.cli.etcd.progress import bar
from pilothouse.cli.flags import Command, Failure, Flag, Group, UsageError, Values, verbosity
from pilothouse.cli.kinds import BOOL, DURATION, FILE, STRING
from pilothouse.etcd import embedded

if TYPE_CHECKING:
    from pilothouse.etcd.contract import Backend
    from pilothouse.etcd.embedded.backend import EmbeddedBackend
    from pilothouse.etcd.migration import Span
    from pilothouse.kit.world import World


@dataclass(frozen=True, slots=True)
class _Snapshot:
    path: Path


class _Plan(NamedTuple):
    span: Span
    overwrite: bool


_End = target.Remote | target.Managed | target.Running | target.Stopped | _Snapshot


def _run(values: Values) -> None:
    for side in ("from", "to"):
        if not values[side]:
            raise UsageError(f"--{side} is needed: a data directory, an etcd's endpoints, or a snapshot file")
    source, sink = _source(values), _sink(values)
    if source == sink:
        raise UsageError("--from and --to are the same store")
    running.serve(values, _migrate(values, source, sink))


def _source(values: Values) -> _End:
    text = values["from"]
    if "://" in text:
        return _remote("from", values)
    path = Path(text).expanduser()
    if path.is_file():
        return _Snapshot(path)
    if not path.is_dir():
        raise UsageError(f"--from: {text}: no such directory or file")
    return target.at(path)


def _sink(values: Values) -> _End:
    text = values["to"]
    if "://" in text:
        return _remote("to", values)
    path = Path(text).expanduser()
    if path.is_file() or (path.suffix and not path.is_dir()):
        if path.exists() and not values["overwrite"]:
            raise Failure(f"{path} is there already: give --overwrite to have it replaced")
        return _Snapshot(path)
    if embedded.is_in(path) or (path / "etcd").exists():
        found = target.at(path)
        if isinstance(found, target.Running):
            raise Failure(f"a control plane runs on {path}: stop it with pilothouse down --data-dir {path}")
        return found
    return target.Stopped(path, path / embedded.DIRECTORY)


def _remote(side: str, values: Values) -> target.Remote:
    scheme, _, rest = values[side].partition("://")
    ca, cert, key = (values[f"{side}-{name}"] for name in ("cacert", "cert", "key"))
    if (cert is None) != (key is None):
        raise UsageError(f"--{side}-cert and --{side}-key belong together: give both or none")
    if scheme == "etcd":
        scheme = "https" if ca is not None or cert is not None else "http"
    if scheme not in ("http", "https"):
        raise UsageError(f"--{side}: {values[side]}: no URL such as etcd://10.0.0.1:2379")
    hosts = [part.strip().rpartition("://")[2] for part in rest.split(",") if part.strip()]
    if not hosts:
        raise UsageError(f"--{side}: {values[side]}: it names no host")
    user, _, password = values[f"{side}-user"].partition(":")
    urls = tuple(f"{scheme}://{host}" for host in hosts)
    return target.Remote(target.Access(urls, ca, cert, key, user, password, values["command-timeout"]))


# -- the two ends ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def _opened_source(end: _End, world: World) -> AsyncIterator[Backend]:
    if isinstance(end, _Snapshot):
        from pilothouse.etcd.snapshots import file, store

        with file.reading(end.path) as database:
            backend = store.in_memory(database, world)
            try:
                yield backend
            finally:
                await backend.close()
        return
    from pilothouse.cli.etcd import stores

    async with stores.opened(end, world) as opened:
        yield opened


@asynccontextmanager
async def _opened_sink(end: _End, world: World, revision: int, plan: _Plan) -> AsyncIterator[Backend]:
    """What can go on from `revision` does, unless it is occupied and will be refused."""
    from pilothouse.cli.etcd import stores
    from pilothouse.etcd.contract import Range
    from pilothouse.etcd.snapshots import store

    if isinstance(end, _Snapshot):
        begun = store.begun(world, revision)
        try:
            yield begun
            await _write(begun, end.path)
        finally:
            await begun.close()
    elif isinstance(end, target.Stopped):
        claim = state.claim(end.data_dir)
        if claim is None:
            raise Failure(f"a control plane runs on {end.data_dir}: stop it first")
        try:
            async with stores.opened(end, world) as opened:
                occupied = (await opened.range(Range(*plan.span, count_only=True))).count
            if plan.overwrite or not occupied:
                store.raise_revision(end.directory, revision)
            async with stores.opened(end, world) as opened:
                yield opened
        finally:
            claim.release()
    else:
        async with stores.opened(end, world) as opened:
            yield opened


async def _write(backend: EmbeddedBackend, path: Path) -> None:
    from pilothouse.etcd.snapshots.save import save

    await save(backend.snapshot(), path)


async def _migrate(values: Values, source_end: _End, sink_end: _End) -> None:
    from pilothouse.etcd.migration import Migration, Span
    from pilothouse.etcd.snapshots.restore import BUMP
    from pilothouse.kit.world import World

    world = World()
    async with AsyncExitStack() as ends:
        source = await ends.enter_async_context(_opened_source(source_end, world))
        plan = _Plan(Span.of_prefix(values["prefix"].encode()), values["overwrite"])
        sink = await ends.enter_async_context(_opened_sink(sink_end, world, source.revision + BUMP, plan))
        migration = Migration(source, sink, plan.span, plan.overwrite)
        await migration.prepare()
        with bar("Copying", migration.total, of_bytes=False) as progress:
            await migration.copy(progress)
        with bar("Checking", migration.total, of_bytes=False) as progress:
            await migration.verify(progress)
        revision = sink.revision
    running.say(
        f"{migration.total} keys and {migration.leases} leases were copied from {values['from']} to {values['to']}, "
        "and compared key by key."
    )
    for line in _advice(sink_end, migration.revision, revision):
        running.say(line)


def _advice(end: _End, before: int, after: int) -> list[str]:
    if after > before:
        lines = [
            f"Revisions went up from {before} to {after}: clients list anew, and see no time go backwards."
        ]
    else:
        lines = [
            f"Warning: revisions go back from {before} to {after}: restart every client and controller, for what they "
            "remember is of the old store. To keep revisions, save a snapshot and restore it with --bump-revision."
        ]
    if isinstance(end, target.Stopped):
        if not (end.data_dir / "pki").exists():
            lines.append(
                "Keys and certificates are not in a store: copy the old data directory's pki to keep them valid."
            )
        lines.append(f"Next: pilothouse up --data-dir {end.data_dir}")
    return lines


def _tls(side: str) -> tuple[Flag, ...]:
    return (
        Flag(f"{side}-cacert", FILE, None, f"The CA of the etcd in --{side}."),
        Flag(f"{side}-cert", FILE, None, "The client certificate for it."),
        Flag(f"{side}-key", FILE, None, "The client certificate's key."),
        Flag(f"{side}-user", STRING, "", "NAME:PASSWORD for it."),
    )


_WHERE = "a data directory, etcd://HOST:PORT[,HOST:PORT], or a snapshot file"

COMMAND = Command(
    name="migrate",
    summary="Copy a control plane's data from one store to another.",
    run=_run,
    description=(
        "Copy the keys below a prefix, with their leases, from one store to another, and compare the two at the end. "
        "Stop what writes to the source first: if it was written to meanwhile, the copy is not complete, and that is "
        "an error. Embedded stores and files go on above the source's revision; a real etcd keeps its own, and clients "
        "must list anew. Users and roles are not copied."
    ),
    examples="""
        pilothouse migrate --from /srv/cluster --to etcd://10.0.0.1:2379,10.0.0.2:2379
        pilothouse migrate --from etcd://10.0.0.1:2379 --from-cacert ca.crt --to /srv/new
        pilothouse migrate --from backup.db --to /srv/new
    """,
    groups=(
        Group(
            "Stores",
            (
                Flag("from", STRING, "", f"The source: {_WHERE}.", label="STORE"),
                Flag("to", STRING, "", f"The target: {_WHERE}.", label="STORE"),
                Flag("prefix", STRING, "/registry/", 'The keys that are copied; "" for all.'),
                Flag("overwrite", BOOL, False, "Delete what the target has below the prefix."),
            ),
        ),
        Group(
            "Connections",
            (
                *_tls("from"),
                *_tls("to"),
                Flag("command-timeout", DURATION, 30.0, "How long one request may take."),
                verbosity(),
            ),
        ),
    ),
)
