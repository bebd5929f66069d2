"""Real kubectls, the oldest and the newest of the machine, play the transcripts of `transcripts/`.

`PILOTHOUSE_TRANSCRIPTS=rewrite pytest tests/scenarios/test_kubectl.py -k "newest and NAME"` writes what was
answered into the transcripts, for their authors to review.
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Running, start, stop
from tests.scenarios import kubectls, transcript
from tests.scenarios.kubectls import Kubectl
from tests.scenarios.transcript import Session

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
REWRITE = os.environ.get("PILOTHOUSE_TRANSCRIPTS") == "rewrite"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One cluster for all transcripts of a test worker."""
    running = start(tmp_path_factory.mktemp("transcripts"), "--ephemeral")
    yield running
    assert stop(running) == 0


@pytest.fixture(params=["oldest", "newest"])
def client(request: pytest.FixtureRequest) -> Kubectl:
    found = kubectls.oldest_and_newest()
    if found and (request.param == "newest" or len(found) == 2):
        return found[-1] if request.param == "newest" else found[0]
    if os.environ.get("CI") and not found:
        pytest.fail(kubectls.MISSING)
    pytest.skip(kubectls.MISSING)


@pytest.fixture
def session(
    shared: Running, client: Kubectl, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Session]:
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    session = Session(client.path, client.version, shared.kubeconfig, tmp_path, namespace)
    ready = "until kubectl get serviceaccount default >/dev/null 2>&1; do sleep 0.05; done"
    made = f"kubectl create namespace $NS && kubectl config set-context --current --namespace=$NS && {ready}"
    failure = "\n".join(line for line in session.run(made) if line.startswith(("!", "=")))
    assert not failure, f"no namespace to play in: {failure}"
    yield session
    session.run("kubectl delete namespace $NS --wait=false")


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, session: Session) -> None:
    text = path.read_text()
    if REWRITE:
        path.write_text(transcript.rewritten(text, session))
        return
    failures = []
    for step, got in transcript.play(text, session):
        expected = step.expected(session.version)
        if not transcript.fits(expected, got, session.namespace):
            shown = transcript.difference(expected, got, session.namespace)
            failures.append(f"{path.name}:{step.line}: $ {step.command[0]}\n{shown}")
    assert not failures, "\n\n".join(failures)


PLAYED = """
create deployment|create service|create configmap|create secret|create job|create cronjob|create role |
create rolebinding|create clusterrole |create clusterrolebinding|create serviceaccount|create quota|create ingress|
create poddisruptionbudget|create priorityclass|create namespace|create token|create -f
apply -f|apply .*--prune|apply .*--dry-run=server|apply .*--dry-run=client|apply --server-side|
apply .*--force-conflicts|apply -k|apply view-last-applied|apply set-last-applied
get .*-o wide|get .*-o json|get .*-o yaml|get .*-o name|get .*-o jsonpath|get .*-o go-template|
get .*-o custom-columns|get .*--show-labels|get .*--sort-by|get .*-L |get .*-w|get .*--field-selector|get .*-A |
get .*--chunk-size|get --raw|get .*--subresource|get .*-l
describe pod|describe deployment|describe replicaset|describe rc|describe daemonset|describe statefulset|
describe job|describe cronjob|describe service|describe node|explain .*--recursive|edit
label|annotate|scale|autoscale|run|expose|diff|events|cluster-info|api-resources|api-versions|version|kustomize
rollout status|rollout history|rollout undo|rollout restart|rollout pause|rollout resume
delete .*--cascade=foreground|delete .*--cascade=orphan|delete .*--force|delete .*--now|delete -f|delete -k
drain|cordon|uncordon|taint|auth can-i --list|auth whoami|auth reconcile
wait --for=condition|wait --for=jsonpath|wait --for=delete|wait --for=create
config view|config use-context|replace -f|replace --force
patch .*--type=merge|patch .*--type=json|patch .*-p|patch .*--subresource=status|patch .*--subresource=scale
set image|set env|set resources|set serviceaccount|set selector|set subject
top nodes|top pods|logs|exec|attach|cp|port-forward|proxy|debug|certificate approve|certificate deny
"""
"""What the transcripts have to play, as regular expressions of kubectl's arguments."""

_WITHOUT_A_CLUSTER = {"completion", "plugin", "kubectl", "help", "options", "kuberc"}


def _commands() -> str:
    """Every line of every command, with kubectl's flags where they are."""
    steps = (step for path in TRANSCRIPTS for step in transcript.parse(path.read_text()))
    return "\n".join("\n".join(step.command) for step in steps)


def test_every_command_has_its_transcript() -> None:
    commands = _commands()
    patterns = [p.strip("\n") for p in PLAYED.replace("\n", "|").split("|") if p]
    assert [p for p in patterns if not re.search(rf"\bkubectl {p}", commands)] == []


def test_no_command_of_the_newest_kubectl_is_left_out() -> None:
    found = kubectls.oldest_and_newest()
    if not found:
        pytest.skip(kubectls.MISSING)
    text = subprocess.run([found[-1].path, "--help"], capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  ([a-z-]+) +[A-Z]", text, re.MULTILINE)) - _WITHOUT_A_CLUSTER
    commands = _commands()
    assert [c for c in sorted(listed) if not re.search(rf"\bkubectl {c}\b", commands)] == []
