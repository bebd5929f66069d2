"""Which API servers are alive: each keeps /registry/masterleases/ADDRESS, which goes away 15 s after its last sign of
life (pkg/controlplane/reconcilers/lease.go). The value is an Endpoints object, as upstream writes it."""

from __future__ import annotations

import msgspec

from pilothouse.apiserver.storage.store import failure
from pilothouse.etcd.contract import Backend, LeaseNotFound, Put, Range, StoreError, prefix_end

TTL_S = 15
"""DefaultEndpointReconcilerTTL."""


class MasterLeases:
    """`root` is the prefix of all keys, with its slash. ApiError when the store fails."""

    def __init__(self, backend: Backend, root: str) -> None:
        self._backend = backend
        self._prefix = f"{root}masterleases/".encode()
        self._lease = 0

    async def refresh(self, address: str) -> None:
        """Another 15 s."""
        try:
            if not await self._is_kept(address):
                self._lease = (await self._backend.lease_grant(TTL_S)).id
                await self._backend.put(Put(self._prefix + address.encode(), _value(address), self._lease))
        except StoreError as error:
            raise failure(error) from error

    async def _is_kept(self, address: str) -> bool:
        """Renew the lease; False when it ran out, or when a server that was here before took the key along."""
        if not self._lease:
            return False
        try:
            if (await self._backend.lease_keep_alive(self._lease)).ttl_s <= 0:
                return False
        except LeaseNotFound:
            return False
        found = await self._backend.range(Range(self._prefix + address.encode(), keys_only=True))
        return bool(found.kvs) and found.kvs[0].lease == self._lease

    async def addresses(self) -> list[str]:
        """Of all that are alive, sorted."""
        try:
            found = await self._backend.range(Range(self._prefix, prefix_end(self._prefix), keys_only=True))
        except StoreError as error:
            raise failure(error) from error
        return sorted(kv.key[len(self._prefix) :].decode() for kv in found.kvs)

    async def remove(self, address: str) -> None:
        """At the end of a server: its key goes with the lease."""
        lease, self._lease = self._lease, 0
        try:
            if lease:
                await self._backend.lease_revoke(lease)
        except LeaseNotFound:
            return
        except StoreError as error:
            raise failure(error) from error


def _value(address: str) -> bytes:
    return msgspec.json.encode(
        {
            "kind": "Endpoints",
            "apiVersion": "v1",
            "metadata": {"creationTimestamp": None},
            "subsets": [{"addresses": [{"ip": address}]}],
        }
    )
