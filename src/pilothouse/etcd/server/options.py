"""What a served store can be told: etcd's flags, after parsing. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GRPC_OVERHEAD_BYTES = 512 * 1024
"""What a message may have beside its request (embed.grpcOverheadBytes)."""

SOCKET_FILE = "etcd.sock"
"""In a data directory: where a running embedded store answers processes of its owner."""
QUOTA_BYTES_DEFAULT = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With a CA every client must show a certificate of it, as etcd has it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(slots=True)
class ServerOptions:
    """etcd's defaults; `quota_bytes` 0 is etcd's own, 2 GiB."""

    name: str = "default"
    listen_client_urls: tuple[str, ...] = ()
    advertise_client_urls: tuple[str, ...] = ()
    peer_urls: tuple[str, ...] = ()
    """Nobody listens there; they are told because clients and scripts ask for them."""
    listen_metrics_urls: tuple[str, ...] = ()
    socket: Path | None = None
    """A Unix socket for the owner's own processes, which nobody else is told about."""
    tls: TlsFiles | None = None
    request_bytes_max: int = 1_572_864
    txn_ops_max: int = 128
    quota_bytes: int = 0
    auth_token: str = "simple"
    auth_token_ttl_s: float = 300.0
    bcrypt_cost: int = 10
    certificates_name_users: bool = False
    """The common name of a client's certificate is a user (--client-cert-auth)."""
    progress_interval_s: float = 600.0
    lease_ttl_s_min: int = 2
    """ceil(1.5 election timeouts of a second): below it a lease could run out in an election."""
    compaction_mode: str = "periodic"
    compaction_retention: float = 0
    """Seconds or revisions; 0 never compacts."""
