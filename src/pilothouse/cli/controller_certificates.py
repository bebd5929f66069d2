"""The flags of kube-controller-manager's certificate controllers, and the CAs that they name
(cmd/kube-controller-manager/app/certificates.go)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.cli.flags import Flag, UsageError, Values
from pilothouse.cli.kinds import DURATION, FILE

if TYPE_CHECKING:
    from pilothouse.controllers.certificate_authority import CertificateAuthority

_SIGNERS = {
    "kubelet-serving": "kubernetes.io/kubelet-serving",
    "kubelet-client": "kubernetes.io/kube-apiserver-client-kubelet",
    "kube-apiserver-client": "kubernetes.io/kube-apiserver-client",
    "legacy-unknown": "kubernetes.io/legacy-unknown",
}
"""By the middle of their flags."""
_BOTH = "cannot specify default and per controller certs at the same time"


def flags() -> tuple[Flag, ...]:
    return (
        Flag("cluster-signing-cert-file", FILE, None, "The CA that signs for all signers (PEM)."),
        Flag("cluster-signing-key-file", FILE, None, "Its key."),
        *(
            flag
            for middle, signer in _SIGNERS.items()
            for flag in (
                Flag(
                    f"cluster-signing-{middle}-cert-file",
                    FILE,
                    None,
                    f"The CA that signs for {signer} alone; signers without one of their own sign nothing then.",
                ),
                Flag(f"cluster-signing-{middle}-key-file", FILE, None, "Its key."),
            )
        ),
        Flag(
            "cluster-signing-duration",
            DURATION,
            31536000.0,
            "The longest life of a certificate that is signed; requests may ask for less.",
        ),
    )


def signers(values: Values) -> dict[str, CertificateAuthority]:
    """The CA of each signer that has one. UsageError for flags that do not fit, or files that hold no CA."""
    common = _pair(values, "cluster-signing")
    own = {
        signer: pair
        for middle, signer in _SIGNERS.items()
        if (pair := _pair(values, f"cluster-signing-{middle}")) is not None
    }
    if common is not None and own:
        raise UsageError(_BOTH)
    if common is not None:
        own = dict.fromkeys(_SIGNERS.values(), common)
    return {signer: _authority(pair, values["cluster-signing-duration"]) for signer, pair in own.items()}


def _pair(values: Values, prefix: str) -> tuple[Path, Path] | None:
    certificate, key = values[f"{prefix}-cert-file"], values[f"{prefix}-key-file"]
    if (certificate is None) != (key is None):
        raise UsageError(f"--{prefix}-cert-file and --{prefix}-key-file go together: give both or none")
    return (certificate, key) if certificate is not None else None


def _authority(pair: tuple[Path, Path], duration_s: float) -> CertificateAuthority:
    from pilothouse.controllers.certificate_authority import CertificateAuthority

    try:
        return CertificateAuthority(*pair, duration_s)
    except (OSError, ValueError) as error:
        raise UsageError(f"--cluster-signing-cert-file and its kin: {error}") from None
