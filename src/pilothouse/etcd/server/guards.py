"""All that may refuse a request before its service sees it, one after the other."""

from __future__ import annotations

from google.protobuf.message import Message

from pilothouse.etcd.server.core import Call, Guard


class Guards:
    """See `core.Guard`. The first that refuses is the one that is heard."""

    def __init__(self, *guards: Guard) -> None:
        self._guards = guards

    async def check(self, call: Call, request: Message) -> None:
        for guard in self._guards:
            await guard.check(call, request)
