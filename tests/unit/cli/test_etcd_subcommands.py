"""Commands of commands: `pilothouse etcd` serves, `pilothouse etcd NAME` is somebody else."""

from __future__ import annotations

import sys
import types

import pytest

from pilothouse.cli import main
from pilothouse.cli.etcd.main import COMMAND, SUBCOMMANDS
from pilothouse.cli.flags import Command, help_text


def _module(name: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(name)
    module.COMMAND = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """`etcd member list` is there, and notes its arguments."""
    calls: list[tuple[str, ...]] = []

    def run(values: object) -> None:
        calls.append(values.arguments)  # type: ignore[attr-defined]

    _module("fake_list", Command("etcd member list", "List.", run, argument="NAME"), monkeypatch)
    member = Command("etcd member", "Members.", run, subcommands={"list": ("fake_list", "List them.")})
    _module("fake_member", member, monkeypatch)
    monkeypatch.setitem(SUBCOMMANDS, "member", ("fake_member", "Members of a cluster."))
    return calls


def test_words_lead_to_the_innermost_command(ran: list[tuple[str, ...]]) -> None:
    assert main.run(["etcd", "member", "list", "x"]) == 0
    assert ran == [("x",)]


def test_help_of_each(ran: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["help", "etcd", "member", "list"]) == 0
    assert capsys.readouterr().out.startswith("Usage: pilothouse etcd member list")
    assert "Commands:\n  member  Members of a cluster.\n" in help_text(COMMAND)


def test_a_word_that_is_no_command(ran: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["etcd", "membr"]) == 2
    assert (
        "unknown command 'membr'; did you mean 'member'? (see: pilothouse etcd --help)"
        in capsys.readouterr().err
    )
