"""Real kubectls, the oldest and the newest of the machine, play the transcripts of `transcripts/`.

`PILOTHOUSE_TRANSCRIPTS=rewrite pytest tests/scenarios/test_kubectl.py -k "newest and NAME"` writes what was
answered into the transcripts, for their authors to review.
"""

from __future__ import annotations

import os
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
