"""Cleaner of PodCertificateRequests: each is over after a quarter of an hour, signed or not
(pkg/controller/certificates/cleaner/pcrcleaner.go, KEP-4317). Every five minutes all are looked at.

The API is beta and off unless --runtime-config turns it on; without it there is nothing to do.
"""

from __future__ import annotations

import logging
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import POD_CERTIFICATE_REQUESTS
from pilothouse.client.reconciler import Controller
from pilothouse.controllers.optional_apis import is_served
from pilothouse.kit.world import parse_timestamp

log = logging.getLogger(__name__)

AGE_S = 15 * 60.0
PERIOD_S = 5 * 60.0
_ROUND = "round"


class PodCertificateCleaner(Controller):
    name: ClassVar[str] = "podcertificaterequest-cleaner-controller"
    workers: ClassVar[int] = 1

    async def run(self) -> None:
        if await is_served(self.client, POD_CERTIFICATE_REQUESTS, self.world):
            self._requests = self.informer(POD_CERTIFICATE_REQUESTS)
            self.queue.add(_ROUND)
        await super().run()

    async def reconcile(self, key: str) -> float | None:
        now_s = self.world.now()
        for request in list(self._requests.list()):
            meta = request["metadata"]
            if now_s - parse_timestamp(meta["creationTimestamp"]) < AGE_S:
                continue
            options = {"preconditions": {"uid": meta["uid"]}}
            try:
                await self.client.delete(POD_CERTIFICATE_REQUESTS, meta["name"], meta["namespace"], options)
            except ApiError as error:
                if error.code != 404:
                    # The others are deleted all the same; this one is tried again in the next round.
                    log.warning("unable to delete %s/%s: %s", meta["namespace"], meta["name"], error)
        return PERIOD_S
