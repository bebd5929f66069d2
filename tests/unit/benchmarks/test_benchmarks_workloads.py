"""The workloads of benchmarks/workloads: files in every form that upstream's directories have, run to their figures."""

from __future__ import annotations

import pstats
import textwrap
from pathlib import Path

import pytest

import benchmarks
from benchmarks.report import Report
from benchmarks.scheduler import _chosen, _files, measure
from benchmarks.scheduler_perf import run
from benchmarks.scheduler_perf.fields import OPCODES
from benchmarks.scheduler_perf.read import Case, Workload, labelled, read, select
from benchmarks.scheduler_perf.resolve import resolved

DIRECTORY = Path(benchmarks.__file__).parent / "workloads"
FILES = _files([DIRECTORY])
SHORT = [(file, *pair) for file in FILES for pair in labelled(read(file), "short")]
IN_TESTS_OF_THEIR_OWN = {"startCollectingProfile", "stopCollectingProfile"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether pods are scheduled is looked at more often than upstream does."""
    monkeypatch.setattr(run, "_POLL_S", 0.02)
    monkeypatch.setattr(run, "_PATIENCE_S", 20.0)


@pytest.mark.parametrize(
    ("file", "case", "workload"), SHORT, ids=[f"{f.parent.name}-{c.name}-{w.name}" for f, c, w in SHORT]
)
async def test_a_workload_runs_to_its_figures(file: Path, case: Case, workload: Workload) -> None:
    report = Report()
    await measure(report, case, workload, durable=False, topic="")
    figures = {figure["name"]: figure["value"] for figure in report.figures}
    assert figures[f"{case.name}/{workload.name}/average"] > 0


def test_every_operation_is_in_some_workload() -> None:
    cases = [case for file in FILES for case in read(file)]
    used = {operation.opcode for case in cases for operation in case.operations}
    assert used == set(OPCODES) - IN_TESTS_OF_THEIR_OWN
    for case in cases:
        for workload in case.workloads:
            assert resolved(case, workload)


class _Options:
    def __init__(self, *config: Path, workload: list[str], label: str = "") -> None:
        self.config, self.workload, self.label = list(config), workload, label
        self.set: list[tuple[str, int]] = []


def test_a_workload_is_found_in_any_of_several_files() -> None:
    options = _Options(DIRECTORY, workload=["Gangs/small", "Basic/small"])
    found = [(file.parent.name, workload.name) for file, _, workload in _chosen(options)]  # type: ignore[arg-type]
    assert found == [("podgroup", "small"), ("basic", "small")]


def test_a_directory_without_workloads_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no performance-config"):
        _files([tmp_path])


async def test_a_profile_is_what_pstats_reads(tmp_path: Path) -> None:
    case = f"""
        - name: Profiled
          workloadTemplate:
          - {{opcode: createNodes, count: 1}}
          - {{opcode: startCollectingProfile, type: CPU, filePath: {tmp_path}/made/cpu.prof}}
          - {{opcode: createPods, count: 3, collectMetrics: true}}
          - {{opcode: stopCollectingProfile, type: cpu}}
          workloads: [{{name: one}}]
    """
    (tmp_path / "config.yaml").write_text(textwrap.dedent(case))
    await measure(Report(), *select(read(tmp_path / "config.yaml"), "Profiled/one"), durable=False, topic="")
    assert any("create" in name for _, _, name in pstats.Stats(str(tmp_path / "made/cpu.prof")).stats)  # type: ignore[attr-defined]


@pytest.mark.parametrize("gates", ["{GenericWorkload: true, GangScheduling: true}", "{}"])
async def test_the_gates_of_a_workload_reach_the_scheduler(tmp_path: Path, gates: str) -> None:
    """Half a gang is not bound where gangs count, and pods of no gang are where they do not."""
    templates = DIRECTORY / "podgroup" / "templates"
    text = f"""
        - name: Half
          featureGates: {gates}
          workloadTemplate:
          - {{opcode: createNodes, count: 1}}
          - opcode: createPodGroups
            count: 1
            namespace: gangs
            templatePath: {templates}/group.yaml
            templateParams: {{each: 4}}
          - opcode: createPods
            count: 2
            namespace: gangs
            podTemplatePath: {templates}/member.yaml
            templateParams: {{each: 4}}
            skipWaitToCompletion: true
          - {{opcode: sleep, duration: 300ms}}
          - {{opcode: checkPodScheduled, namespace: gangs, expectedScheduled: $scheduled, duration: 10s}}
          - {{opcode: startCollectingMetrics, namespaces: [gangs]}}
          - {{opcode: stopCollectingMetrics}}
          workloads: [{{name: one, params: {{scheduled: {str(gates == "{}").lower()}}}}}]
    """
    (tmp_path / "config.yaml").write_text(textwrap.dedent(text))
    await measure(Report(), *select(read(tmp_path / "config.yaml"), "Half/one"), durable=False, topic="")
