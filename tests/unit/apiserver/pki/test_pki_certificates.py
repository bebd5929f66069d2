"""The cluster's CA and its leaves: kept while they are good, made anew when they are not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pilothouse.apiserver.authn.service_account import Signer
from pilothouse.apiserver.pki.keys import public_keys, signing_key
from pilothouse.kit.certificates import Authority, KeyPair
from pilothouse.kit.world import World

_DAY_S = 86_400


class At(World):
    """A world whose clock shows a given time."""

    def __init__(self, unix_s: float) -> None:
        super().__init__()
        self._unix_s = unix_s

    def now(self) -> float:
        return self._unix_s


NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()


def _not_before(pair: KeyPair) -> float:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).not_valid_before_utc.timestamp()


@pytest.mark.parametrize(
    ("later_s", "kept"),
    [(0, True), (300 * _DAY_S, True), (340 * _DAY_S, False), (-_DAY_S, False)],
    ids=["at once", "still fresh", "soon over", "the clock went back"],
)
def test_a_leaf_is_kept_while_it_is_valid(later_s: float, kept: bool, tmp_path: Path) -> None:
    first = Authority(tmp_path, At(NOW))
    made = first.server("apiserver", ["localhost"]).certificate.read_bytes()
    second = Authority(tmp_path, At(NOW + later_s))
    pair = second.server("apiserver", ["localhost"])
    assert (pair.certificate.read_bytes() == made) is kept
    assert _not_before(pair) <= NOW + later_s
    assert second.pem == first.pem
    assert second.certificate.not_valid_before_utc.timestamp() <= NOW + later_s


def test_a_new_name_makes_a_new_serving_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, At(NOW))
    made = authority.server("apiserver", ["localhost", "127.0.0.1"]).certificate.read_bytes()
    assert authority.server("apiserver", ["127.0.0.1"]).certificate.read_bytes() == made
    assert authority.server("apiserver", ["example.org"]).certificate.read_bytes() != made


def test_keys_are_the_owners_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki", At(NOW))
    pair = authority.client("admin", "kubernetes-admin", ("system:masters",))
    for path in (authority.files.key, pair.key):
        assert path.stat().st_mode & 0o777 == 0o600


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(("kind", "algorithm"), [("rsa", "RS256"), ("p384", "ES384"), ("p256", "ES256")])
def test_tokens_are_signed_with_the_key_that_is_named(kind: str, algorithm: str, tmp_path: Path) -> None:
    key = (
        rsa.generate_private_key(65537, 2048)
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())
    )
    path = tmp_path / "sa.key"
    path.write_bytes(_pem(key))
    other = tmp_path / "old.pub"
    other.write_bytes(
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    signer = Signer(signing_key(path), "https://issuer", At(NOW), public_keys(other))
    keys = signer.key_set()["keys"]
    assert [k["alg"] for k in keys] == [algorithm, "ES256"]
    assert signer.discovery("x")["id_token_signing_alg_values_supported"] == sorted({algorithm, "ES256"})


def test_a_file_without_a_key_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sa.key"
    path.write_text("no key")
    with pytest.raises(ValueError, match="holds no private key in PEM"):
        signing_key(path)
    with pytest.raises(ValueError, match="holds no key in PEM"):
        public_keys(path)
