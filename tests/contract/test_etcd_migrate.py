"""`pilothouse migrate` and `pilothouse snapshot` as people call them, between a real etcd, directories and files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pilothouse.cli import main
from tests.programs import required
from tests.real_etcd import real_etcd
from tests.scenarios.processes import eventually, ready_line, running

KEYS = {f"/registry/pods/default/pod-{i:03d}": f"value {i}" for i in range(300)}


def etcdctl(address: str, *arguments: str, stdin: str = "") -> str:
    return subprocess.run(
        [required("etcdctl"), "--endpoints", address, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        env={"ETCDCTL_API": "3"},
    ).stdout


def fill(address: str) -> None:
    keys = list(KEYS.items())
    for begin in range(0, len(keys), 100):
        puts = "\n".join(f'put {key} "{value}"' for key, value in keys[begin : begin + 100])
        etcdctl(address, "txn", stdin=f"\n{puts}\n\n\n")


def contents(address: str) -> dict[str, str]:
    lines = etcdctl(address, "get", "/registry/", "--prefix").splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))


def revision(address: str) -> int:
    return int(json.loads(etcdctl(address, "get", "x", "-w", "json"))["header"]["revision"])


def test_there_and_back_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """etcd ▶ file ▶ directory ▶ another etcd ▶ directory: the same keys and values everywhere."""
    copy, home, other = str(tmp_path / "copy.db"), str(tmp_path / "home"), str(tmp_path / "other")
    with real_etcd(tmp_path / "one") as one:
        fill(one)
        assert main.run(["migrate", "--from", f"etcd://{one}", "--to", copy]) == 0
        before = revision(one)
    assert "300 keys and 0 leases were copied" in capsys.readouterr().out
    assert main.run(["snapshot", "status", copy, "-w", "json"]) == 0
    raised = json.loads(capsys.readouterr().out)["revision"]
    assert raised > before + 1_000_000_000
    assert main.run(["migrate", "--from", copy, "--to", home]) == 0
    assert "Revisions went up" in capsys.readouterr().out
    with real_etcd(tmp_path / "two") as two:
        assert main.run(["migrate", "--from", home, "--to", f"http://{two}"]) == 0
        assert "Warning: revisions go back" in capsys.readouterr().out
        assert contents(two) == KEYS
        assert main.run(["migrate", "--from", home, "--to", f"http://{two}"]) == 1
        assert "give --overwrite" in capsys.readouterr().err
        assert main.run(["migrate", "--from", f"http://{two}", "--to", other]) == 0


def test_a_snapshot_of_an_etcd_is_restored_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy, home = str(tmp_path / "copy.db"), str(tmp_path / "home")
    with real_etcd(tmp_path / "one") as one:
        fill(one)
        assert main.run(["etcd", "snapshot", "save", copy, "--endpoints", one]) == 0
        newest = revision(one)
    assert f"Snapshot saved at {copy}" in capsys.readouterr().out
    for form in ("simple", "table", "json"):
        assert main.run(["snapshot", "status", copy, "-w", form]) == 0
        assert capsys.readouterr().out == etcdctl("", "snapshot", "status", copy, "-w", form)
    assert main.run(["snapshot", "restore", copy, "--data-dir", home]) == 0
    assert f"go on from {newest + 1_000_000_000}" in capsys.readouterr().out
    assert main.run(["snapshot", "restore", copy, "--data-dir", home]) == 1
    assert "not empty" in capsys.readouterr().err
    again = str(tmp_path / "again.db")
    assert main.run(["snapshot", "save", again, "--data-dir", home]) == 0
    with real_etcd(tmp_path / "two") as two:
        assert main.run(["migrate", "--from", again, "--to", f"etcd://{two}"]) == 0
        assert contents(two) == KEYS


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    home = str(tmp_path / "home")
    for arguments, code, text in (
        (["migrate", "--to", home], 2, "--from is needed"),
        (["migrate", "--from", str(tmp_path / "none"), "--to", home], 2, "no such directory or file"),
        (["migrate", "--from", str(tmp_path), "--to", home], 1, "there is no store in"),
        (
            ["migrate", "--from", "etcd://127.0.0.1:1", "--to", home, "--command-timeout", "1s"],
            1,
            "127.0.0.1:1",
        ),
        (["migrate", "--from", "ftp://x", "--to", home], 2, "no URL such as"),
        (["migrate", "--from", str(tmp_path / "junk.db"), "--to", home], 1, "no checksum"),
        (["snapshot", "save"], 2, "wants one file"),
        (["snapshot", "status", str(tmp_path / "none.db")], 1, "No such file"),
        (["snapshot", "status", str(tmp_path / "junk.db")], 1, "no bbolt database"),
        (["snapshot", "restore", str(tmp_path / "junk.db")], 2, "--data-dir"),
        (["snapshot", "restore", str(tmp_path / "junk.db"), "--data-dir", home], 1, "no checksum"),
        (
            ["snapshot", "restore", "x", "--data-dir", home, "--mark-compacted=false"],
            2,
            "needs --mark-compacted",
        ),
        (
            ["snapshot", "save", str(tmp_path / "a.db"), "--data-dir", str(tmp_path)],
            1,
            "there is no store in",
        ),
    ):
        assert main.run(arguments) == code, arguments
        captured = capsys.readouterr()
        assert text in captured.err, captured.err
        assert captured.err.count("\n") == 1, captured.err


def test_a_served_store_is_saved_by_etcdctl_and_by_the_clock(tmp_path: Path) -> None:
    """`pilothouse etcd --snapshot-every`, and what etcdctl takes from it while it runs, hold the same."""
    home, log, copy = tmp_path / "home", tmp_path / "log", tmp_path / "copy.db"
    flags = ("--listen-client-urls", "http://127.0.0.1:0", "--snapshot-every", "1s", "--snapshot-keep", "0")
    with running("etcd", "--data-dir", str(home), *flags, log=log) as process:
        address = ready_line(process, log).split()[4].rstrip(",").removeprefix("http://")
        fill(address)
        newest = revision(address)
        etcdctl(address, "snapshot", "save", str(copy))

        def saved() -> list[Path]:
            return list((home / "snapshots").glob(f"snapshot-*-r{newest}.db"))

        eventually(lambda: bool(saved()))
        ours = etcdctl("", "snapshot", "status", str(saved()[0]))
    assert ours == etcdctl("", "snapshot", "status", str(copy))
    with real_etcd(tmp_path / "two") as two:
        assert main.run(["migrate", "--from", str(copy), "--to", f"etcd://{two}"]) == 0
        assert contents(two) == KEYS
