"""Token controller: fills secrets of type service-account-token, and removes those whose account is gone
(k8s.io/kubernetes/pkg/controller/serviceaccount/tokens_controller.go)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import SECRETS, SERVICE_ACCOUNTS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of, split_key
from pilothouse.client.reconciler import Controller, Environment

TYPE = "kubernetes.io/service-account-token"
NAME = "kubernetes.io/service-account.name"
UID = "kubernetes.io/service-account.uid"

MakeToken = Callable[[Obj, Obj], str]
"""(account, secret) → a token without expiry."""


class TokenController(Controller):
    name: ClassVar[str] = "serviceaccount-token-controller"
    queue_name: ClassVar[str] = "serviceaccount_tokens_secret"

    def __init__(self, env: Environment, make_token: MakeToken, root_ca: str) -> None:
        super().__init__(env)
        self._make_token = make_token
        self._root_ca = root_ca

    def setup(self) -> None:
        self._secrets = self.watch(SECRETS, keys=_own_if_token, fieldSelector=f"type={TYPE}")
        self._accounts = self.watch(SERVICE_ACCOUNTS, keys=self._secrets_of)
        self._accounts.add_index("namespace", lambda account: (account["metadata"]["namespace"],))

    def _secrets_of(self, account: Obj) -> Iterable[str]:
        meta = account["metadata"]
        return [
            key_of(s)
            for s in self._secrets.list()
            if s["metadata"]["namespace"] == meta["namespace"]
            and (s["metadata"].get("annotations") or {}).get(NAME) == meta["name"]
        ]

    async def reconcile(self, key: str) -> float | None:
        secret = self._secrets.get(key)
        if secret is None:
            await self._drop_references(*split_key(key))
            return None
        if secret.get("type") != TYPE:
            return None
        meta = secret["metadata"]
        annotations = meta.get("annotations") or {}
        account = await self._account(meta["namespace"], annotations.get(NAME, ""))
        wanted_uid = annotations.get(UID)
        if account is None or (wanted_uid and wanted_uid != account["metadata"]["uid"]):
            await self._delete(secret)
            return None
        wanted = self._filled(secret, account)
        if wanted is not None:
            await self._update_unless_gone(SECRETS, wanted)
        return None

    async def _account(self, namespace: str, name: str) -> Obj | None:
        found = self._accounts.get(f"{namespace}/{name}")
        if found is not None or not name:
            return found
        try:
            return await self.client.get(SERVICE_ACCOUNTS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    async def _delete(self, secret: Obj) -> None:
        namespace, name = split_key(key_of(secret))
        options: Obj = {"preconditions": {"uid": secret["metadata"]["uid"]}}
        try:
            await self.client.delete(SECRETS, name, namespace, options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def _drop_references(self, namespace: str, name: str) -> None:
        """A token secret that is gone is no longer named by its account."""
        for account in self._accounts.by_index("namespace", namespace):
            named = account.get("secrets") or []
            kept = [ref for ref in named if ref.get("name") != name]
            if kept != named:
                typed = {**account, "apiVersion": "v1", "kind": "ServiceAccount"}
                await self._update_unless_gone(SERVICE_ACCOUNTS, {**typed, "secrets": kept})

    async def _update_unless_gone(self, resource: Resource, wanted: Obj) -> None:
        try:
            await self.client.update(resource, wanted)
        except ApiError as error:
            if error.code != 404:
                raise

    def _filled(self, secret: Obj, account: Obj) -> Obj | None:
        """The secret with everything a token secret has; None when it has it already. A token and a namespace that
        are there are left as they are (secretUpdateNeeded)."""
        data = dict(secret.get("data") or {})
        root_ca = _base64(self._root_ca)
        if data.get("token") and data.get("namespace") and data.get("ca.crt") == root_ca:
            return None
        meta = dict(secret["metadata"])
        if not data.get("token"):
            data["token"] = _base64(self._make_token(account, secret))
        if not data.get("namespace"):
            data["namespace"] = _base64(meta["namespace"])
        data["ca.crt"] = root_ca
        meta["annotations"] = {
            **(meta.get("annotations") or {}),
            UID: account["metadata"]["uid"],
            NAME: account["metadata"]["name"],
        }
        return {**secret, "apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}


def _own_if_token(secret: Obj) -> Iterable[str]:
    return (key_of(secret),) if secret.get("type") == TYPE else ()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
