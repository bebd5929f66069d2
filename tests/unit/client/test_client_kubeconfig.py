"""Reading kubeconfig files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from pilothouse.client import kubeconfig

_TEXT = """
apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: there, context: {cluster: away, user: someone}}
- {name: here, context: {cluster: home, user: me}}
clusters:
- {name: home, cluster: {server: "https://127.0.0.1:6443", certificate-authority: ca.crt}}
users:
- {name: me, user: {client-certificate-data: %s, client-key: me.key}}
"""


def _write(directory: Path, text: str) -> Path:
    path = directory / "kubeconfig"
    path.write_text(text)
    return path


def test_the_current_context_with_data_and_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("CA")
    (tmp_path / "me.key").write_text("KEY")
    path = _write(tmp_path, _TEXT % base64.b64encode(b"CERT").decode())
    found = kubeconfig.load(path)
    assert (found.server, found.authority) == ("https://127.0.0.1:6443", "CA")
    assert (found.certificate, found.key) == ("CERT", "KEY")
    assert kubeconfig.load(path, "https://other:1").server == "https://other:1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("just text", "holds no kubeconfig"),
        ("a: [", "it is no YAML"),
        ("current-context: x\ncontexts: []", "no context is named 'x'"),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
            "clusters: [{name: c, cluster: {server: s}}]\nusers: [{name: u, user: {exec: {}}}]",
            "'exec', which is not served",
        ),
    ],
)
def test_what_is_wrong_is_told(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=why):
        kubeconfig.load(_write(tmp_path, text))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        kubeconfig.load(tmp_path / "absent")
