"""docs/cloud-*.md as they stand."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[3] / "docs"


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def _run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    environment = {**os.environ, "XDG_DATA_HOME": str(directory)}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def rack(tmp_path: Path) -> Path:
    """The guide's modules, installed as a package is: with metadata that importlib finds."""
    for block in _blocks("cloud-providers.md", "python"):
        match = re.match(r"# (\w+\.py)\n", block)
        assert match is not None
        (tmp_path / match[1]).write_text(block)
    info = tmp_path / "rack_cloud-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rack-cloud\nVersion: 1.0\n")
    [project] = _blocks("cloud-providers.md", "toml")
    head, points = project.split("\n", 1)
    assert head == '[project.entry-points."pilothouse.cloud_providers"]'
    (info / "entry_points.txt").write_text("[pilothouse.cloud_providers]\n" + points.replace('"', ""))
    return tmp_path


def test_the_guides_provider_runs_by_its_entry_point(rack: Path) -> None:
    done = _run(rack, "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "test_rack_cloud.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_installed_provider_is_known_to_commands(rack: Path) -> None:
    unknown = _run(rack, "pilothouse", "cloud-controller-manager", "--print-rbac", "--cloud-provider=nowhere")
    assert unknown.returncode == 2
    assert 'unknown cloud provider "nowhere"; there are aws, local, rack, sim' in unknown.stderr
    known = _run(rack, "pilothouse", "cloud-controller-manager", "--print-rbac", "--cloud-provider=rack")
    assert known.returncode == 0 and "system:cloud-controller-manager" in known.stdout
