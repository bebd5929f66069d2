"""--cluster-signing-*: which CA signs for whom (cmd/kube-controller-manager/app/certificates.go)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.cli import controller_certificates
from pilothouse.cli.flags import UsageError
from pilothouse.cli.kube_controller_manager import COMMAND
from pilothouse.controllers.certificate_authority import CertificateAuthority
from tests.unit.controllers.certificate_builders import NOW, write_ca

ALL = [
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/legacy-unknown",
]


def signers(*flags: str) -> dict[str, CertificateAuthority]:
    return controller_certificates.signers(COMMAND.parse(list(flags)))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_ca(tmp_path, NOW)


def test_nobody_signs_unless_told() -> None:
    assert signers() == {}


def test_one_ca_for_all(pair: tuple[Path, Path]) -> None:
    found = signers(f"--cluster-signing-cert-file={pair[0]}", f"--cluster-signing-key-file={pair[1]}")
    assert sorted(found) == ALL
    assert found[ALL[0]].life_s(None) == 365 * 24 * 3600


def test_a_ca_of_its_own_for_one_is_for_that_one_alone(pair: tuple[Path, Path]) -> None:
    found = signers(
        f"--cluster-signing-kubelet-client-cert-file={pair[0]}",
        f"--cluster-signing-kubelet-client-key-file={pair[1]}",
        "--cluster-signing-duration=1h",
    )
    assert list(found) == ["kubernetes.io/kube-apiserver-client-kubelet"]
    assert found["kubernetes.io/kube-apiserver-client-kubelet"].life_s(None) == 3600


def test_what_does_not_fit_is_said(pair: tuple[Path, Path], tmp_path: Path) -> None:
    both = (f"--cluster-signing-cert-file={pair[0]}", f"--cluster-signing-key-file={pair[1]}")
    own = tuple(flag.replace("signing-", "signing-kubelet-serving-", 1) for flag in both)
    with pytest.raises(UsageError, match="cannot specify default and per controller certs at the same time"):
        signers(*both, *own)
    with pytest.raises(UsageError, match="go together"):
        signers(both[0])
    (tmp_path / "ca.key").write_text("no key")
    with pytest.raises(UsageError, match="holds no private key"):
        signers(*both)
