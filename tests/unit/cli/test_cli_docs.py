"""Commands and flags that the documentation tells people to type exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from pilothouse.cli import main
from pilothouse.cli.flags import Command

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LINES = sorted(
    {
        line
        for page in PAGES
        for line in re.findall(r"(?:^    |`|&& )(pilothouse [a-z][^\n`&]*)", page.read_text(), re.M)
    }
)


def _commands(words: list[str]) -> tuple[list[Command], list[str]]:
    """What a line means (`list|add` is two), and the words behind it."""
    found = [main.load(words[0])]
    rest = words[1:]
    while rest and found[0].subcommands and not rest[0].startswith("-"):
        entries = [found[0].subcommands[name] for name in rest.pop(0).split("|")]
        found = [getattr(importlib.import_module(e.module), e.attribute) for e in entries]
    return found, rest


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_documentation_means_a_command(line: str) -> None:
    commands, rest = _commands(line.replace("\\", "").split()[1:])
    flags = {word.removeprefix("--").partition("=")[0] for word in rest if word.startswith("--")}
    for command in commands:
        assert flags - {"help"} <= set(command.index), line
