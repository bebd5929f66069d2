"""How an etcd member is started: its flags. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pilothouse.etcd.cluster.binary import Version
from pilothouse.etcd.cluster.layout import NEW, Layout, Member
from pilothouse.etcd.cluster.pki import PEER_NAME
from pilothouse.kit.certificates import KeyPair


class Certificates(NamedTuple):
    ca: Path
    server: KeyPair
    peer: KeyPair


def member_flags(
    member: Member,
    layout: Layout,
    data: Path,
    certificates: Certificates,
    peer_urls: Mapping[str, str],
) -> list[str]:
    """`peer_urls` are those that members give each other, by name. The initial-… flags are read at a member's first
    start only."""
    initial = ",".join(f"{name}={url}" for name, url in peer_urls.items())
    return [
        f"--name={member.name}",
        f"--data-dir={data}",
        f"--listen-client-urls={member.client_url}",
        f"--advertise-client-urls={member.client_url}",
        f"--listen-peer-urls={member.peer_url}",
        f"--initial-advertise-peer-urls={peer_urls[member.name]}",
        f"--initial-cluster={initial}",
        f"--initial-cluster-state={'new' if member.stage == NEW else 'existing'}",
        f"--initial-cluster-token={layout.token}",
        f"--cert-file={certificates.server.certificate}",
        f"--key-file={certificates.server.key}",
        f"--trusted-ca-file={certificates.ca}",
        "--client-cert-auth",
        f"--peer-cert-file={certificates.peer.certificate}",
        f"--peer-key-file={certificates.peer.key}",
        f"--peer-trusted-ca-file={certificates.ca}",
        "--peer-client-cert-auth",
        f"--peer-cert-allowed-cn={PEER_NAME}",
    ]


def common_flags(version: Version, *, durable: bool) -> list[str]:
    """What every member of ours is told, by etcd's version."""
    interval = "watch-progress-notify-interval"
    flags = [
        "--logger=zap",
        "--log-outputs=stderr",
        # A member that was paused and comes back does not unseat a leader that all others follow.
        "--pre-vote=true",
        # As upstream asks of etcd for its watch cache (kubeadm's etcd manifest).
        f"--{interval}=5s" if version >= (3, 6, 0) else f"--experimental-{interval}=5s",
    ]
    if not durable and version >= (3, 5, 0):
        flags.append("--unsafe-no-fsync")
    return flags


def foreign_command(name: str, members: Iterable[tuple[str, str]], peer_urls: Iterable[str]) -> str:
    """What to type on another machine to start a member that was added; `members` are (name, peer URL), itself
    among them."""
    initial = ",".join(f"{member}={url}" for member, url in members)
    own = ",".join(peer_urls)
    flags = [
        "etcd",
        f"--name={name}",
        f"--initial-cluster={initial}",
        "--initial-cluster-state=existing",
        f"--initial-advertise-peer-urls={own}",
        f"--listen-peer-urls={own}",
    ]
    return shlex.join(flags)
