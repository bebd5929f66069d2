"""`pilothouse etcd snapshot save|status|restore`, and `pilothouse snapshot …` for short.

The files are etcd's: `etcdctl snapshot status` and `restore` read what `save` wrote, and the other way round.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.cli import running, state
from pilothouse.cli.etcd import printing, target
from pilothouse.cli.etcd.managing import FLAGS as MEMBER_FLAGS
from pilothouse.cli.etcd.progress import bar
from pilothouse.cli.flags import Command, Failure, Flag, Group, UsageError, Values, verbosity
from pilothouse.cli.kinds import BOOL, COUNT, PATH, STRING
from pilothouse.etcd.contract import StoreError

if TYPE_CHECKING:
    from pilothouse.kit.world import World

_FORMATS = ("simple", "table", "json")
_BUMP = 1_000_000_000


def _file(values: Values, command: str) -> Path:
    if len(values.arguments) != 1:
        raise UsageError(f"{command} wants one file: pilothouse {command} FILE")
    return Path(values.arguments[0]).expanduser()


# -- save -----------------------------------------------------------------------------------------------------


def _save(values: Values) -> None:
    path = _file(values, "etcd snapshot save")
    if path.is_dir():
        raise UsageError(f"{path} is a directory: name the file to write")
    running.serve(values, _saved(target.find(values), path))


async def _saved(found: target.Target, path: Path) -> None:
    from pilothouse.etcd.snapshots.save import save
    from pilothouse.kit.world import World

    async with _store(found, World()) as store:
        size = (await store.status()).db_size
        with bar("Saving", size) as progress:
            saved = await save(store.snapshot(), path, progress)
    running.say(f"Snapshot saved at {path} ({printing.size(saved)})")


def _store(found: target.Target, world: World) -> Any:
    """A context manager of the store that is meant."""
    from pilothouse.cli.etcd import stores

    return stores.opened(found, world)


# -- status ---------------------------------------------------------------------------------------------------


def _status(values: Values) -> None:
    path = _file(values, "etcd snapshot status")
    if values["write-out"] not in _FORMATS:
        raise UsageError(f"--write-out: {values['write-out']!r}: choose one of {', '.join(_FORMATS)}")
    from pilothouse.etcd.snapshots import file

    try:
        found = file.status(path)
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None
    except StoreError as error:
        raise Failure(str(error)) from None
    if values["write-out"] == "json":
        print(json.dumps(_document(found), separators=(",", ":")))
        return
    row = (f"{found.hash:x}", str(found.revision), str(found.total_keys), printing.size(found.total_size))
    if values["write-out"] == "simple":
        print(", ".join(row))
    else:
        print(_framed(("HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"), row))


def _document(found: Any) -> dict[str, Any]:
    """With etcdctl's names; the version as newer etcdutl tells it."""
    return {
        "hash": found.hash,
        "revision": found.revision,
        "totalKey": found.total_keys,
        "totalSize": found.total_size,
        **({"version": found.version} if found.version else {}),
    }


def _framed(headings: tuple[str, ...], row: tuple[str, ...]) -> str:
    """etcdctl's table (tablewriter): headings in the middle, values to the right."""
    widths = [max(len(h), len(v)) for h, v in zip(headings, row, strict=True)]
    line = "+" + "+".join("-" * (w + 2) for w in widths) + "+"
    head = "|" + "|".join(f" {h:^{w}} " for h, w in zip(headings, widths, strict=True)) + "|"
    body = "|" + "|".join(f" {v:>{w}} " for v, w in zip(row, widths, strict=True)) + "|"
    return "\n".join((line, head, line, body, line))


# -- restore --------------------------------------------------------------------------------------------------


def _restore(values: Values) -> None:
    path = _file(values, "etcd snapshot restore")
    data_dir = values["data-dir"]
    if data_dir is None:
        raise UsageError("restore makes a new data directory: name it with --data-dir")
    bump = _bump(values)
    try:
        claim = state.claim(data_dir)
        if claim is None:
            raise Failure(f"a cluster runs on {data_dir}: restore into a new directory")
        try:
            if values["etcd-members"]:
                _restored_cluster(values, path, data_dir, bump)
            else:
                _restored(path, data_dir, bump, check_hash=not values["skip-hash-check"])
        finally:
            claim.release()
    except StoreError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(running.os_error(error)) from None


def _bump(values: Values) -> int:
    """The two flags go together, as etcdutl's."""
    bump: int = values["bump-revision"]
    if values["mark-compacted"] and not bump:
        if "mark-compacted" in values.given:
            raise UsageError("--mark-compacted belongs to --bump-revision: give a number above 0")
        return 0
    if bump and not values["mark-compacted"]:
        raise UsageError(
            "--bump-revision needs --mark-compacted: clients with old revisions would miss changes otherwise"
        )
    return bump


def _restored(path: Path, data_dir: Path, bump: int, *, check_hash: bool) -> None:
    from pilothouse.etcd.snapshots import file
    from pilothouse.etcd.snapshots.restore import check_empty, restore

    check_empty(data_dir)
    with ExitStack() as reading:
        with bar("Checking", path.stat().st_size) as checked:
            database = reading.enter_context(file.reading(path, check_hash=check_hash, progress=checked))
        with bar("Restoring", 0, of_bytes=False) as progress:
            done = restore(database, data_dir, bump, progress)
    running.say(f"Restored {path} to {data_dir}: {done.rows} rows, {done.leases} leases.")
    if bump:
        running.say(
            f"Revisions go on from {done.revision}: the snapshot's {done.old_revision} and {bump} more, so that no "
            "client sees time go backwards; what is older counts as compacted (--bump-revision 0 turns this off)."
        )
    else:
        running.say(
            f"Revisions go on from {done.revision}: restart clients that saw newer ones, or they will miss changes."
        )
    if not (data_dir / "pki").exists():
        running.say(
            "Keys and certificates are no part of a snapshot: copy the old data directory's pki here, or kubeconfigs "
            "and service-account tokens are made anew."
        )
    running.say(f"Next: pilothouse up --data-dir {data_dir}")


def _restored_cluster(values: Values, path: Path, data_dir: Path, bump: int) -> None:
    from pilothouse.etcd.cluster import binary, layout
    from pilothouse.etcd.cluster import restore as members
    from pilothouse.etcd.snapshots.bump import bump as bumped
    from pilothouse.etcd.snapshots.restore import check_empty
    from pilothouse.kit.world import World

    check_empty(data_dir)
    check_hash = not values["skip-hash-check"]
    tool = members.find_tool(binary.find(values["etcd-binary"]))
    new = layout.new_layout(values["etcd-members"], World())
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".restore-") as place:
        source = path
        if bump:
            source = Path(place) / "snapshot.db"
            bumped(path, source, bump, check_hash=check_hash)
        home = layout.Home(data_dir)
        members.restore_members(
            source, home, new, tool, check_hash=check_hash or bool(bump), say=printing.progress
        )
    running.say(f"Restored {path} to {values['etcd-members']} members in {data_dir}.")
    running.say(f"Next: pilothouse up --data-dir {data_dir}")


_WORDS = Group("Output", (verbosity(),))

SAVE = Command(
    name="etcd snapshot save",
    summary="Copy a store to a file, while it goes on.",
    run=_save,
    argument="FILE",
    description=(
        "Copy a store at one revision to a file with a checksum, while it is written to. Of any etcd (--endpoints), "
        "of a cluster of this machine (--data-dir), running or not. etcdctl and etcdutl read the file, too."
    ),
    examples="""
        pilothouse etcd snapshot save backup.db
        pilothouse etcd snapshot save backup.db --endpoints 10.0.0.1:2379 --cacert ca.crt --cert a.crt --key a.key
    """,
    groups=(target.GROUP, _WORDS),
)
STATUS = Command(
    name="etcd snapshot status",
    summary="What a snapshot holds, and whether it is whole.",
    run=_status,
    argument="FILE",
    description="Read a snapshot to the end: its hash (etcdctl's), newest revision, rows and size.",
    groups=(
        Group(
            "Output",
            (
                Flag(
                    "write-out",
                    STRING,
                    "simple",
                    "What to print: simple, table or json.",
                    short="w",
                    label="simple|table|json",
                ),
            ),
        ),
    ),
)
RESTORE = Command(
    name="etcd snapshot restore",
    summary="Make a new store of a snapshot.",
    run=_restore,
    argument="FILE",
    description=(
        "Make a new data directory for `pilothouse up` of a snapshot, an etcd's or one of ours. Revisions are raised "
        "and everything older is marked as compacted, so that clients who saw newer revisions than the snapshot has "
        "list anew instead of missing changes. With --etcd-members it becomes a cluster that `up` runs; for another "
        "etcd's data directory use etcdctl or etcdutl."
    ),
    examples="""
        pilothouse etcd snapshot restore backup.db --data-dir /srv/cluster
        pilothouse etcd snapshot restore backup.db --data-dir /srv/cluster --etcd-members 3
    """,
    groups=(
        Group(
            "Restoring",
            (
                Flag(
                    "data-dir", PATH, None, "The new data directory; only pki and kubeconfigs may be in it."
                ),
                Flag(
                    "bump-revision",
                    COUNT,
                    _BUMP,
                    "How much higher revisions go on; 0 leaves them as they are.",
                ),
                *MEMBER_FLAGS,
                Flag("mark-compacted", BOOL, True, "Count everything up to the new revision as compacted."),
                Flag("skip-hash-check", BOOL, False, "Read a file without or in spite of its checksum."),
            ),
        ),
    ),
)


def _which(values: Values) -> None:
    raise UsageError("pilothouse snapshot wants one of: save, status, restore")


COMMAND = Command(
    name="snapshot",
    summary="Save, check and restore a store: etcd snapshot, for short.",
    run=_which,
    description=(
        "Commands: save FILE, status FILE, restore FILE. Each has its own --help. The files are etcd's own format."
    ),
    examples="""
        pilothouse snapshot save backup.db
        pilothouse snapshot status backup.db
        pilothouse snapshot restore backup.db --data-dir /srv/new
    """,
)
