"""A real etcdctl prints against `pilothouse etcd` what it prints against a real etcd.

Each of `etcdctl/*.txt` is played against both, and both must print what is written there: the same, but for lines that
are bound to a version, where etcd 3.6, whose API is served, does otherwise than Debian's 3.4.
`PILOTHOUSE_TRANSCRIPTS=rewrite pytest tests/scenarios/test_etcdctl.py` writes what was answered, for a review.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.etcds import free_port
from tests.real_etcd import real_etcd
from tests.scenarios.etcdctl_session import HERE, Session
from tests.scenarios.processes import running
from tests.scenarios.transcript import Step, Version, parse

TRANSCRIPTS = sorted(HERE.glob("*.txt"))
REWRITE = os.environ.get("PILOTHOUSE_TRANSCRIPTS") == "rewrite"
FLAGS = {"quota": ("--quota-backend-bytes=3000000",)}
"""What the servers of a transcript are started with."""


@contextmanager
def pilothouse_etcd(directory: Path, *flags: str) -> Iterator[str]:
    """The address (HOST:PORT) of a `pilothouse etcd` that is ready."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    directory.mkdir(parents=True)
    log = directory / "log"
    command = ["etcd", f"--data-dir={directory / 'data'}", f"--listen-client-urls={url}"]
    with running(*command, f"--advertise-client-urls={url}", *flags, log=log) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Ready in "), line + log.read_text()
        yield f"127.0.0.1:{port}"


THEIRS, OURS = Version(3, 4), Version(3, 6)
"""Debian's etcd, and the version whose API is served."""


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_etcdctl_prints_the_same(path: Path, tmp_path: Path) -> None:
    steps = parse(path.read_text())
    flags = FLAGS.get(path.stem, ())
    with real_etcd(tmp_path / "etcd", *flags) as endpoint:
        session = Session(endpoint, tmp_path / "theirs")
        theirs = [session.answer(step) for step in steps]
    with pilothouse_etcd(tmp_path / "ours", *flags) as endpoint:
        session = Session(endpoint, tmp_path / "work")
        ours = [session.answer(step) for step in steps]
    answers = list(zip(steps, theirs, ours, strict=True))
    if REWRITE:
        path.write_text("".join(f"{line}\n" for answered in answers for line in _written(*answered)))
        return
    failures = []
    for step, *both in answers:
        for name, version, answer in zip(
            ("a real etcd", "pilothouse etcd"), (THEIRS, OURS), both, strict=True
        ):
            expected = step.expected(version)
            if answer != expected:
                diff = difflib.unified_diff(expected, answer, "written", name, lineterm="", n=9)
                failures.append(f"{path.name}:{step.line}: $ {step.command[0]}\n" + "\n".join(diff))
    assert not failures, "\n\n".join(failures)


def _written(step: Step, theirs: list[str], ours: list[str]) -> Iterator[str]:
    """A step as the transcript has it. What differs is bound to versions: to be reviewed, and explained."""
    yield from step.head
    yield f"$ {step.command[0]}"
    yield from (f"> {line}".rstrip() for line in step.command[1:])
    for kind, a, b, c, d in difflib.SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from theirs[a:b]
        else:
            yield from (f"{line[0]}<3.6{line[1:]}" for line in theirs[a:b])
            yield from (f"{line[0]}>=3.6{line[1:]}" for line in ours[c:d])


_COMMANDS = """
alarm disarm|alarm list|auth disable|auth enable|check datascale|compaction|defrag|del|elect|endpoint hashkv|
endpoint health|endpoint status|get|lease grant|lease keep-alive|lease list|lease revoke|lease timetolive|lock|
make-mirror|member add|member list|member promote|member remove|member update|move-leader|put|role add|role delete|
role get|role grant-permission|role list|role revoke-permission|snapshot restore|snapshot save|snapshot status|txn|
user add|user delete|user get|user grant-role|user list|user passwd|user revoke-role|version|watch
"""
"""All of etcdctl 3.4 but `check perf`, which is a benchmark, `migrate`, from version 2, `completion` and `help`."""


@pytest.mark.parametrize("command", _COMMANDS.replace("\n", "").split("|"))
def test_every_command_is_played(command: str) -> None:
    text = "".join(path.read_text() for path in TRANSCRIPTS)
    assert re.search(rf"etcdctl {command}\b", text)
