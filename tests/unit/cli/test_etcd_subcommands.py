"""Commands of commands: `pilothouse etcd` serves, `pilothouse etcd NAME` is somebody else."""

from __future__ import annotations

import sys
import types

import pytest

from pilothouse.cli import main
from pilothouse.cli.etcd.main import COMMAND
from pilothouse.cli.flags import Command, Subcommand, help_text


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """`etcd member list` notes its arguments."""
    calls: list[tuple[str, ...]] = []

    def run(values: object) -> None:
        calls.append(values.arguments)  # type: ignore[attr-defined]

    module = types.ModuleType("fake_list")
    module.COMMAND = Command("etcd member list", "List.", run, argument="NAME")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_list", module)
    from pilothouse.cli.etcd import member

    monkeypatch.setitem(dict_of(member.COMMAND), "list", Subcommand("fake_list", "List them."))
    return calls


def dict_of(command: Command) -> dict[str, Subcommand]:
    assert isinstance(command.subcommands, dict)
    return command.subcommands


def test_words_lead_to_the_innermost_command(ran: list[tuple[str, ...]]) -> None:
    assert main.run(["etcd", "member", "list", "x"]) == 0
    assert ran == [("x",)]


def test_help_of_each(ran: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["help", "etcd", "member", "list"]) == 0
    assert capsys.readouterr().out.startswith("Usage: pilothouse etcd member list")
    assert "Commands:\n  member    The members of a cluster: list, add, remove, promote.\n" in help_text(
        COMMAND
    )


def test_a_word_that_is_no_command(ran: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["etcd", "membr"]) == 2
    assert (
        "unknown command 'membr'; did you mean 'member'? (see: pilothouse etcd --help)"
        in capsys.readouterr().err
    )
