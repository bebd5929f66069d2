"""Certificates, as kube-apiserver's flags name them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilothouse.etcd.cluster.backend import open_cluster
from pilothouse.etcd.cluster.client import EtcdClient
from pilothouse.etcd.cluster.tls import Tls
from pilothouse.etcd.contract import Put, StoreError, StoreUnavailable
from pilothouse.kit.world import World
from tests.etcds import Etcd


class _Authority:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        self.file = self._write("ca.crt", self._sign("test CA", self._key, ca=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._write(f"{name}.crt", self._sign(name, key, ca=False))
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return certificate, self._write(f"{name}.key", pem)

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, content: bytes) -> Path:
        path = self._directory / name
        path.write_bytes(content)
        return path


@pytest.fixture
def authority(tmp_path: Path) -> _Authority:
    return _Authority(tmp_path)


@pytest.fixture
def etcd(authority: _Authority) -> Iterator[Etcd]:
    certificate, key = authority.issue("server")
    etcd = Etcd(
        flags=(
            *("--cert-file", str(certificate), "--key-file", str(key)),
            *("--trusted-ca-file", str(authority.file), "--client-cert-auth"),
        ),
        scheme="https",
    )
    yield etcd
    etcd.remove()


async def test_a_client_with_a_certificate(etcd: Etcd, authority: _Authority) -> None:
    certificate, key = authority.issue("client")
    client = EtcdClient([etcd.url], Tls(authority.file, certificate, key), World())
    backend = await open_cluster(World(), client)
    assert (await backend.put(Put(b"a", b"1"))).revision == 2
    watch = backend.watch(b"a", b"", 2)
    assert [event.kv.value for event in await watch.next()] == [b"1"]
    await backend.close()


@pytest.mark.parametrize("trust", ["no certificate", "another authority"])
async def test_a_client_who_is_not_let_in(
    etcd: Etcd, authority: _Authority, tmp_path: Path, trust: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tls = Tls(authority.file) if trust == "no certificate" else Tls(_Authority(elsewhere).file)
    client = EtcdClient([etcd.url], tls, World(), timeout_s=2)
    with pytest.raises(StoreUnavailable, match=f"no etcd member of {etcd.url} answered in 2 s"):
        await open_cluster(World(), client)
    await client.close()


async def test_files_that_are_missing_are_named(authority: _Authority, tmp_path: Path) -> None:
    client = EtcdClient(["https://127.0.0.1:1"], Tls(tmp_path / "none.crt"), World(), timeout_s=1)
    with pytest.raises(StoreError, match=r"cannot read .*none\.crt: No such file or directory"):
        await open_cluster(World(), client)
    with pytest.raises(StoreError, match=r"--etcd-certfile and --etcd-keyfile"):
        Tls(authority.file, authority.file, None).credentials()
