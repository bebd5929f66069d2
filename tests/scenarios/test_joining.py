"""A real kubectl joins a machine with a bootstrap token, on a cluster that is told to let it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import start, stop
from tests.scenarios import kubectls, transcript
from tests.scenarios.transcript import Session

FLAGS = (
    "--ephemeral",
    "--nodes=0",
    "--enable-bootstrap-token-auth",
    "--enable-admission-plugins=NodeRestriction",
    "--runtime-config=certificates.k8s.io/v1beta1=true",
    "--controllers=*,bootstrap-signer-controller,token-cleaner-controller",
)


def test_a_machine_joins_with_a_bootstrap_token(tmp_path: Path) -> None:
    found = kubectls.oldest_and_newest()
    if not found:
        pytest.skip(kubectls.MISSING)
    cluster = start(tmp_path, *FLAGS)
    try:
        session = Session(found[-1].path, found[-1].version, cluster.kubeconfig, tmp_path, "default")
        for step, got in transcript.play((Path(__file__).parent / "joining.txt").read_text(), session):
            expected = step.expected(session.version)
            assert transcript.fits(expected, got, "default"), transcript.difference(expected, got, "default")
    finally:
        assert stop(cluster) == 0
