"""The certificates of a managed cluster: one CA for it alone, as kubeadm has one for its etcd.

member, to clients    serves; also calls, since etcd's own HTTP gateway calls the client port with it
member, to peers      serves and calls; its common name is all that peers accept, so a client is no peer
client                common name root: whoever may read the data directory stays in charge when `auth enable`
                      is done (etcd takes the common name for the user)
"""

from __future__ import annotations

from pathlib import Path

from pilothouse.etcd.cluster.layout import Home
from pilothouse.kit.certificates import Authority, KeyPair
from pilothouse.kit.world import World

PEER_NAME = "etcd-peer"
_HOSTS = ("localhost", "127.0.0.1", "::1")


class Pki:
    """Made at the first start, renewed at a start when they are old."""

    def __init__(self, home: Home, world: World) -> None:
        home.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._authority = Authority(home.pki, world, common_name="etcd-ca")
        self.client = self._authority.client("client", "root")

    @property
    def ca(self) -> Path:
        return self._authority.files.certificate

    def server(self, directory: Path) -> KeyPair:
        return self._authority.peer("server", "etcd-server", _HOSTS, directory)

    def peer(self, directory: Path) -> KeyPair:
        return self._authority.peer("peer", PEER_NAME, _HOSTS, directory)
