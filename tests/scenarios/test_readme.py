"""What the README tells people to type works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import Running

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def _block(starts_with: str) -> str:
    """The indented block that starts with a command."""
    match = re.search(rf"^    {re.escape(starts_with)}.*\n(?:    .*\n)*", README, re.M)
    assert match, f"the README has no block that starts with {starts_with}"
    return "\n".join(line.removeprefix("    ") for line in match[0].splitlines())


def test_the_tour_works(cluster: Running, kubectl: str) -> None:
    tour = "\n".join(line for line in _block("export KUBECONFIG").splitlines() if "export" not in line)
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    environment["PATH"] = f"{Path(kubectl).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", tour], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'deployment "web" successfully rolled out' in done.stdout
    assert len(re.findall(r"^web-\S+ +1/1 +Running", done.stdout, re.M)) == 3, done.stdout


@pytest.mark.parametrize("example", re.findall(r"^```python\n(.*?)^```", README, re.M | re.S))
def test_the_library_example_runs(example: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'ConfigMap'" in done.stdout


def test_the_packages_that_the_test_command_installs_are_named() -> None:
    assert _block("pip install '.[test]'").endswith("&& ./check")
    assert "pytest" in str(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    )
    assert os.access(ROOT / "check", os.X_OK)
