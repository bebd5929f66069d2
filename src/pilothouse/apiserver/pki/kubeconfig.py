"""kubeconfig files: how kubectl and the components find the server and prove who they are."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from pilothouse.kit.certificates import KeyPair
from pilothouse.kit.files import write_private


def write(path: Path, server: str, authority_pem: str, user: str, credential: KeyPair) -> None:
    """A kubeconfig with everything embedded, readable by its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "pilothouse",
                "cluster": {"server": server, "certificate-authority-data": _base64(authority_pem.encode())},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _base64(credential.certificate.read_bytes()),
                    "client-key-data": _base64(credential.key.read_bytes()),
                },
            }
        ],
        "contexts": [{"name": "pilothouse", "context": {"cluster": "pilothouse", "user": user}}],
        "current-context": "pilothouse",
    }
    data = yaml.safe_dump(document, sort_keys=False).encode()
    if not _holds(path, data):
        write_private(path, data)


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file is as it should be: then a full disk is no hindrance."""
    try:
        return path.read_bytes() == data and path.stat().st_mode & 0o077 == 0
    except FileNotFoundError:
        return False


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
