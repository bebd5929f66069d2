"""docs/simulate.md as it stands: its files, what its commands print, and its program.

PILOTHOUSE_TRANSCRIPTS=rewrite puts what the commands print now into the page, to be read before it is committed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pilothouse.cli import main

FILE = Path(__file__).parents[3] / "docs" / "simulate.md"
PAGE = FILE.read_text()
REWRITE = os.environ.get("PILOTHOUSE_TRANSCRIPTS") == "rewrite"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's YAML blocks, under the names in their first lines."""
    for name, text in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", PAGE, re.M | re.S):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("block", re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S))
def test_commands_print_what_stands_below_them(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, _, wanted = block.partition("\n")
    assert command.startswith("$ pilothouse ")
    assert main.run(command.split()[2:]) == 0
    printed = capsys.readouterr().out
    if REWRITE:
        FILE.write_text(FILE.read_text().replace(block, f"{command}\n{printed}"))
    else:
        assert printed == wanted


@pytest.mark.parametrize("program", re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S))
def test_the_program_runs(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(program, "simulate.md", "exec"), {})
    *placements, cost, report = capsys.readouterr().out.splitlines()
    assert placements[0].startswith("Deployment/web bound ")
    assert len(placements) == 5
    assert cost.endswith("[('large', 1)]")
    assert report.startswith("('worker-1',)")
