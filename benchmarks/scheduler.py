"""Upstream's scheduler_perf workloads against our API server and scheduler, in one process.

    python -m benchmarks.scheduler --config FILE --workload CASE/WORKLOAD [--json FILE] [--ephemeral]
    python -m benchmarks.scheduler --config FILE [FILE …] --label performance | --all [--json FILE]
    python -m benchmarks.scheduler --config FILE [FILE …] --list
    python -m benchmarks.scheduler --config FILE --workload CASE/WORKLOAD --set initNodes=15000

A FILE may be a directory: all performance-config.yaml below it.

Measured as upstream measures: once a second, how many of the measured pods got a node. Beside the average stands
the threshold that upstream's own CI asks for, and `overall`, all pods over the time from the first creation to the
last binding. Nodes are objects without kubelets, as upstream's. `--set` gives a parameter of the workload another
value, so that one workload can be measured on clusters of several sizes. The store is durable (each write is on the
disk before its answer) unless `--ephemeral` is given.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import uvloop

from benchmarks.report import Report, arguments
from benchmarks.scheduler_perf import memory
from benchmarks.scheduler_perf.cluster import BenchmarkCluster
from benchmarks.scheduler_perf.metrics import histograms
from benchmarks.scheduler_perf.read import (
    THROUGHPUT,
    Case,
    Workload,
    WorkloadError,
    labelled,
    read,
    select,
    with_params,
)
from benchmarks.scheduler_perf.resolve import resolved
from benchmarks.scheduler_perf.run import Run
from pilothouse.api.errors import ApiError

UNIT = "pods/s"
_FILE_NAME = "performance-config.yaml"


async def measure(report: Report, case: Case, workload: Workload, *, durable: bool, topic: str) -> None:
    """One workload on a cluster of its own; its figures go into `report`."""
    operations = resolved(case, workload)
    name = f"{case.name}/{workload.name}"
    print(f"{name}: {'durable' if durable else 'ephemeral'} store", file=sys.stderr)
    features = [gate for gate, is_on in workload.gates.items() if is_on]
    async with BenchmarkCluster(durable=durable, config=case.scheduler_config, features=features) as cluster:
        run = Run(cluster, case)
        await run.perform(operations)
        for number, window in enumerate(run.windows):
            prefix = f"{name}/{window.name}" if number else name
            figures = window.throughput.figures()
            for bucket, value in figures.items():
                report.add(f"{prefix}/{bucket}", value, UNIT)
            report.add(f"{prefix}/overall", window.throughput.overall, UNIT)
            report.add(f"{prefix}/cpu", window.cpu_us, "us/pod")
            if workload.selector.name == THROUGHPUT and workload.threshold(topic):
                bucket = workload.selector.bucket
                reached = figures["average" if bucket == "Average" else bucket]
                report.add(f"{prefix}/threshold", workload.threshold(topic), UNIT)
                report.add(f"{prefix}/of_threshold", reached / workload.threshold(topic), "ratio")
        for figure in histograms(cluster.metrics, case.metrics, workload.selector, workload.threshold(topic)):
            report.add(f"{name}/{figure.name}", figure.value, figure.unit)
        per_node, per_pod = memory.per_node_and_pod(cluster.table)
        report.add(f"{name}/table_per_node", per_node, "B")
        report.add(f"{name}/table_per_pod", per_pod, "B")


def _each(options: argparse.Namespace, chosen: list[tuple[Path, Case, Workload]]) -> int:
    """Every workload in a process of its own, so that none inherits what another left."""
    figures, failed = [], 0
    for file, case, workload in chosen:
        with tempfile.NamedTemporaryFile(suffix=".json") as answers:
            command = [sys.executable, "-m", "benchmarks.scheduler", "--config", str(file)]
            command += ["--workload", f"{case.name}/{workload.name}", "--json", answers.name]
            command += ["--topic", options.topic] + (["--ephemeral"] if options.ephemeral else [])
            command += [part for name, value in options.set for part in ("--set", f"{name}={value}")]
            if subprocess.run(command, check=False).returncode:
                failed += 1
                continue
            figures += json.loads(Path(answers.name).read_text())
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if failed:
        print(f"{failed} of {len(chosen)} workloads failed; see above", file=sys.stderr)
    return 1 if failed else 0


def _files(paths: list[Path]) -> list[Path]:
    """A directory stands for all performance-config.yaml below it. ValueError when there is none."""
    found: list[Path] = []
    for path in paths:
        below = sorted(path.rglob(_FILE_NAME)) if path.is_dir() else [path]
        if not below:
            raise WorkloadError(f"{path}: there is no {_FILE_NAME} in it")
        found += below
    return found


def _chosen(options: argparse.Namespace) -> list[tuple[Path, Case, Workload]]:
    """A named workload is taken from the first file that has its case."""
    files = {file: read(file) for file in _files(options.config)}
    if not options.workload:
        found = [(f, *pair) for f, cases in files.items() for pair in labelled(cases, options.label)]
    else:
        found = [_named(files, name) for name in options.workload]
    given = dict(options.set)
    return [(file, case, with_params(workload, given)) for file, case, workload in found]


def _named(files: Mapping[Path, list[Case]], name: str) -> tuple[Path, Case, Workload]:
    case, workload = select([case for cases in files.values() for case in cases], name)
    file = next(file for file, cases in files.items() if any(case is one for one in cases))
    return file, case, workload


def _param(text: str) -> tuple[str, int]:
    """NAME=NUMBER; sizes are all numbers."""
    name, _, value = text.partition("=")
    try:
        return name, int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER") from None


def _arguments() -> argparse.Namespace:
    parser = arguments("Run upstream's scheduler_perf workloads.")
    parser.add_argument("--config", type=Path, nargs="+", required=True, metavar="FILE|DIRECTORY")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--workload", nargs="+", metavar="CASE/WORKLOAD")
    which.add_argument(
        "--label",
        help="all workloads with these labels: a,-b for those that have a and not b",
    )
    which.add_argument("--all", dest="label", action="store_const", const="", help="all workloads")
    which.add_argument("--list", action="store_true", help="name the workloads and what they are labelled")
    parser.add_argument("--ephemeral", action="store_true", help="keep the store in memory")
    parser.add_argument("--topic", default="", help="which of several thresholds to compare with")
    parser.add_argument(
        "--set",
        type=_param,
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="give a workload's parameter another value; may be given several times",
    )
    parser.add_argument("--profile", type=Path, metavar="FILE", help="write cProfile's statistics to FILE")
    options = parser.parse_args()
    if options.list:
        options.label = ""
    return options


def main() -> int:
    options = _arguments()
    try:
        chosen = _chosen(options)
        if options.list:
            for _, case, workload in chosen:
                print(f"{case.name}/{workload.name}  {' '.join(sorted(workload.labels))}".rstrip())
            return 0
        if len(chosen) != 1:
            return _each(options, chosen)
        report = Report()
        _, case, workload = chosen[0]
        work = measure(report, case, workload, durable=not options.ephemeral, topic=options.topic)
        profile = cProfile.Profile() if options.profile is not None else None
        if profile is not None:
            profile.enable()
        uvloop.run(work)
        if profile is not None:
            profile.dump_stats(options.profile)
        report.write(options.json)
    except (ValueError, ApiError, OSError) as error:
        print(f"benchmarks.scheduler: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
