"""docs/cloud-*.md as they stand."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

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


def test_a_storm_of_the_simulated_cloud_prints_what_its_page_says(tmp_path: Path) -> None:
    [config] = _blocks("cloud-sim.md", "yaml")
    [program] = _blocks("cloud-sim.md", "python")
    [printed] = _blocks("cloud-sim.md", "text")
    (tmp_path / "sim.yaml").write_text(config)
    (tmp_path / "storm.py").write_text(program)
    done = _run(tmp_path, "storm")
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed


def test_the_local_clouds_configuration(tmp_path: Path) -> None:
    from ipaddress import ip_network

    from pilothouse.cloud.providers.local.config import Config, read

    [config] = _blocks("cloud-local.md", "yaml")
    (tmp_path / "local.yaml").write_text(config)
    assert read(tmp_path / "local.yaml") == Config(ip_network("127.42.0.0/16"), "", 100 * 2**30)
    assert read(tmp_path / "local.yaml") == Config(), "the page shows the defaults"


def test_the_policy_for_aws_allows_the_calls_that_are_made_and_no_others() -> None:
    boto3 = pytest.importorskip("boto3")
    [policy] = _blocks("cloud-aws.md", "json")
    allowed = {action for statement in json.loads(policy)["Statement"] for action in statement["Action"]}
    calls: set[str] = set()
    for service, prefix in (("ec2", "ec2"), ("elbv2", "elasticloadbalancing")):
        client = boto3.client(service, region_name="eu-west-1")
        methods = client.meta.method_to_api_mapping
        calls |= {f"{prefix}:{methods[word]}" for word in _words() if word in methods}
    assert allowed - calls == {"ec2:CreateTags", "elasticloadbalancing:AddTags"}, "what is made carries tags"
    assert calls <= allowed


def _words() -> set[str]:
    """The string literals of the provider's modules."""
    source = Path(__file__).parents[3] / "src" / "pilothouse" / "cloud" / "providers" / "aws"
    trees = [ast.walk(ast.parse(file.read_text())) for file in source.glob("*.py")]
    return {
        n.value for tree in trees for n in tree if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }
