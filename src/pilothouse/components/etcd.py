"""The store of an API server on an etcd cluster. Imports gRPC: import it only where there is one."""

from __future__ import annotations

from pilothouse.components.api_server import Etcd
from pilothouse.etcd.cluster.backend import open_cluster as connect
from pilothouse.etcd.cluster.client import EtcdClient
from pilothouse.etcd.cluster.tls import Tls
from pilothouse.etcd.contract import Backend, StoreError, StoreUnavailable
from pilothouse.kit.world import World

_REQUEST_TIMEOUT_S = 10.0
"""How long a request goes from member to member before its client is told that there is none."""


async def open_cluster(etcd: Etcd, world: World) -> Backend:
    """Once a member has answered. StoreUnavailable when none does in time."""
    client = EtcdClient(etcd.endpoints, _tls(etcd), world, timeout_s=etcd.start_timeout_s)
    try:
        backend = await connect(world, client)
    except StoreUnavailable as error:
        await client.close()
        raise StoreUnavailable(f"{error}; start etcd, or correct --etcd-servers") from error
    except StoreError:
        await client.close()
        raise
    client.timeout_s = _REQUEST_TIMEOUT_S
    return backend


def _tls(etcd: Etcd) -> Tls | None:
    if not any(url.startswith("https://") for url in etcd.endpoints):
        return None
    return Tls(etcd.ca_file, etcd.certificate_file, etcd.key_file)
