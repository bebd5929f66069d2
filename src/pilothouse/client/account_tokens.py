"""Tokens of a service account, asked for and renewed by a component that may ask for them
(k8s.io/controller-manager/pkg/clientbuilder, --use-service-account-credentials)."""

from __future__ import annotations

import asyncio
import logging

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_TTL_S = 3600
_RENEW_AFTER = 0.8
"""Of its life, after which a token is renewed."""


class AccountTokens:
    """The account is made when it is missing. ConnectionError or ApiError while the server gives no token."""

    def __init__(self, client: Client, namespace: str, account: str, world: World) -> None:
        self._client = client
        self._namespace = namespace
        self._account = account
        self._world = world
        self._token = ""
        self._renew_at = 0.0
        self._asking = asyncio.Lock()

    async def current(self) -> str:
        async with self._asking:
            if not self._token or self._world.clock.monotonic() >= self._renew_at:
                await self._renew()
            return self._token

    def refused(self) -> None:
        self._token = ""

    async def _renew(self) -> None:
        try:
            answer = await self._request()
        except ApiError as error:
            if error.code != 404:
                raise
            await self._make_account()
            answer = await self._request()
        self._token = answer["status"]["token"]
        self._renew_at = self._world.clock.monotonic() + _TTL_S * _RENEW_AFTER
        log.debug("token of %s/%s renewed", self._namespace, self._account)

    async def _request(self) -> Obj:
        body: Obj = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": self._account, "namespace": self._namespace},
            "spec": {"expirationSeconds": _TTL_S},
        }
        return await self._client.create(
            SERVICE_ACCOUNTS, body, self._namespace, name=self._account, subresource="token"
        )

    async def _make_account(self) -> None:
        meta = {"name": self._account, "namespace": self._namespace}
        body: Obj = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
        try:
            await self._client.create(SERVICE_ACCOUNTS, body, self._namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
