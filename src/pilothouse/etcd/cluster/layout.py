"""Where a managed etcd cluster keeps its things, and what is remembered of it between two starts.

    DATA_DIR/etcd/              0700
      cluster.json              members, their ports, how far each has come (0600, replaced whole)
      pki/                      a CA for this cluster alone, and the client certificate of its users
      NAME/                     one member
        data/                   etcd's own --data-dir
        server.crt .key peer.crt .key
        log  log.1              what it says, bounded
        pid                     the process, for a next start that finds it left over

A member's way:

    (new)      ──first start──▶ started      the first members: they form the cluster together
    (joining)  ──first start──▶ started      added later: they join one that exists
    started    ──removed──▶ no entry, its directory is deleted
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pilothouse.etcd.contract import StoreError
from pilothouse.kit.files import write_private

FORMAT = 1
NEW, JOINING, STARTED = "new", "joining", "started"


@dataclass(frozen=True, slots=True)
class Member:
    """One member as it is remembered. `id` is etcd's, 0 until it is known."""

    name: str
    client_port: int
    peer_port: int
    stage: str = NEW
    id: int = 0
    is_learner: bool = False

    @property
    def client_url(self) -> str:
        return f"https://127.0.0.1:{self.client_port}"

    @property
    def peer_url(self) -> str:
        return f"https://127.0.0.1:{self.peer_port}"


@dataclass(frozen=True, slots=True)
class Layout:
    """What cluster.json holds. `token` tells this cluster's members from those of any other."""

    token: str
    members: tuple[Member, ...]

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.client_url for member in self.members)

    def member(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    def with_member(self, changed: Member) -> Layout:
        """The member of this name replaced, or added at the end."""
        if self.member(changed.name) is None:
            return replace(self, members=(*self.members, changed))
        return replace(self, members=tuple(changed if m.name == changed.name else m for m in self.members))

    def without(self, name: str) -> Layout:
        return replace(self, members=tuple(m for m in self.members if m.name != name))


class Home:
    """The directory of a managed cluster."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.directory = data_dir / "etcd"
        self.state_file = self.directory / "cluster.json"
        self.pki = self.directory / "pki"
        self.ca = self.pki / "ca.crt"
        self.client_certificate = self.pki / "client.crt"
        self.client_key = self.pki / "client.key"

    def member(self, name: str) -> Path:
        return self.directory / name

    def read(self) -> Layout | None:
        """None where there is no managed cluster; StoreError for a state file that cannot be read."""
        try:
            text = self.state_file.read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return _decode(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"cannot read {self.state_file}: {error}; bring back a copy of it, or choose another --data-dir"
            ) from error

    def write(self, layout: Layout) -> None:
        """Durable when it returns, and never half."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = {
            "format": FORMAT,
            "token": layout.token,
            "members": [asdict(member) for member in layout.members],
        }
        write_private(self.state_file, json.dumps(document, indent=2).encode() + b"\n")


def _decode(document: dict[str, Any]) -> Layout:
    if document["format"] != FORMAT:
        raise ValueError(f"it has format {document['format']}, this version reads {FORMAT}")
    return Layout(document["token"], tuple(Member(**member) for member in document["members"]))
