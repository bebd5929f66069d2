"""The certificates with which a client meets etcd, by the names of kube-apiserver's flags (--etcd-cafile, …)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import grpc

from pilothouse.etcd.contract import StoreError


class Tls(NamedTuple):
    """Files in PEM. Without `ca_file` the system's authorities are trusted; `cert_file` and `key_file` come together.
    `server_name` is what the server's certificate must be made out to, if not to the host of the URL."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Read anew for each channel, so that a renewed certificate is used by the next connection."""
        if (self.cert_file is None) != (self.key_file is None):
            raise StoreError(
                "a client certificate for etcd needs both files: --etcd-certfile and --etcd-keyfile"
            )
        return grpc.ssl_channel_credentials(_read(self.ca_file), _read(self.key_file), _read(self.cert_file))


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; name a PEM file that can be read") from error
