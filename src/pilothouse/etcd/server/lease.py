"""The Lease service: grant, revoke, keep alive, time to live, leases (etcd: server/lease/lessor.go)."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.etcd.contract import LeaseNotFound
from pilothouse.etcd.server.core import Call, Requests, Send, Service, Streaming, Unary
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Refused

_TTL_S_MAX = 9_000_000_000


class LeaseService(Service):
    def handlers(self) -> Mapping[str, Unary | Streaming]:
        return {
            "LeaseGrant": self.grant,
            "LeaseRevoke": self.revoke,
            "LeaseTimeToLive": self.time_to_live,
            "LeaseLeases": self.leases,
            "LeaseKeepAlive": self.keep_alive,
        }

    async def grant(self, request: pb.LeaseGrantRequest, call: Call) -> pb.LeaseGrantResponse:
        if request.TTL > _TTL_S_MAX:
            raise Refused("etcdserver: too large lease TTL")
        ttl_s = max(request.TTL, self.core.options.lease_ttl_s_min)
        granted = await self.core.backend.lease_grant(ttl_s, request.ID)
        self.core.metrics.leases_granted.inc()
        return pb.LeaseGrantResponse(header=self.core.headers.now(), ID=granted.id, TTL=granted.granted_ttl_s)

    async def revoke(self, request: pb.LeaseRevokeRequest, call: Call) -> pb.LeaseRevokeResponse:
        await self.core.backend.lease_revoke(request.ID)
        self.core.metrics.leases_revoked.inc()
        return pb.LeaseRevokeResponse(header=self.core.headers.now())

    async def time_to_live(
        self, request: pb.LeaseTimeToLiveRequest, call: Call
    ) -> pb.LeaseTimeToLiveResponse:
        """A lease that there is not has -1."""
        status = await self.core.backend.lease_status(request.ID)
        return pb.LeaseTimeToLiveResponse(
            header=self.core.headers.now(),
            ID=status.id,
            TTL=status.ttl_s,
            grantedTTL=status.granted_ttl_s,
            keys=status.keys if request.keys else [],
        )

    async def leases(self, request: pb.LeaseLeasesRequest, call: Call) -> pb.LeaseLeasesResponse:
        ids = await self.core.backend.leases()
        return pb.LeaseLeasesResponse(
            header=self.core.headers.now(), leases=[pb.LeaseStatus(ID=i) for i in ids]
        )

    async def keep_alive(self, requests: Requests, send: Send, call: Call) -> None:
        """One answer for each request; TTL 0 for a lease that there is not."""
        async for request in requests:
            await self.core.guard.check(call, request)
            header = self.core.headers.now()
            try:
                ttl_s = (await self.core.backend.lease_keep_alive(request.ID)).ttl_s
            except LeaseNotFound:
                ttl_s = 0
            await send(pb.LeaseKeepAliveResponse(header=header, ID=request.ID, TTL=ttl_s))
