"""ServiceAccount controller: the account `default` in every active namespace
(k8s.io/kubernetes/pkg/controller/serviceaccount)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NAMESPACES, SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller, is_terminating_namespace

DEFAULT = "default"


class ServiceAccountController(Controller):
    name: ClassVar[str] = "serviceaccount-controller"
    queue_name: ClassVar[str] = "serviceaccount"

    def setup(self) -> None:
        self._namespaces = self.watch(NAMESPACES)
        self._accounts = self.watch(SERVICE_ACCOUNTS, keys=_namespace_of_default)

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or not is_active(namespace):
            return None
        if self._accounts.get(f"{key}/{DEFAULT}") is None:
            await ensure(self, key)
        return None


async def ensure(controller: Controller, namespace: str) -> None:
    """Make the account unless it is there or the namespace is going."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": DEFAULT, "namespace": namespace},
    }
    try:
        await controller.client.create(SERVICE_ACCOUNTS, account, namespace)
    except ApiError as error:
        if error.code not in (404, 409) and not is_terminating_namespace(error):
            raise


def is_active(namespace: Obj) -> bool:
    phase = (namespace.get("status") or {}).get("phase")
    return phase == "Active" and not namespace["metadata"].get("deletionTimestamp")


def _namespace_of_default(account: Obj) -> Iterable[str]:
    meta = account["metadata"]
    return (meta["namespace"],) if meta["name"] == DEFAULT else ()
