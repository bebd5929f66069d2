"""Root CA publisher: the ConfigMap kube-root-ca.crt in every namespace, with which pods trust the API server
(k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS, NAMESPACES
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller, Environment, is_terminating_namespace
from pilothouse.controllers.service_account import is_active

NAME = "kube-root-ca.crt"
_DESCRIBED = "kubernetes.io/description"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class RootCaPublisher(Controller):
    name: ClassVar[str] = "root-ca-cert-publisher"
    queue_name: ClassVar[str] = "root_ca_cert_publisher"

    def __init__(self, env: Environment, root_ca: str) -> None:
        super().__init__(env)
        self._root_ca = root_ca

    def setup(self) -> None:
        self._namespaces = self.watch(NAMESPACES)
        self._maps = self.watch(CONFIG_MAPS, keys=_namespace_of_ours, fieldSelector=f"metadata.name={NAME}")

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or not is_active(namespace):
            return None
        present = self._maps.get(f"{key}/{NAME}")
        if present is None:
            await self._create(key)
        elif not self._is_right(present):
            await self.client.update(CONFIG_MAPS, self._mended(present))
        return None

    def _is_right(self, present: Obj) -> bool:
        annotations = present["metadata"].get("annotations") or {}
        return present.get("data") == {"ca.crt": self._root_ca} and bool(annotations.get(_DESCRIBED))

    def _mended(self, present: Obj) -> Obj:
        """Data and description as they should be; the rest is its owner's."""
        meta = present["metadata"]
        annotations = {**(meta.get("annotations") or {}), _DESCRIBED: _DESCRIPTION}
        return {
            **present,
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**meta, "annotations": annotations},
            "data": {"ca.crt": self._root_ca},
        }

    async def _create(self, namespace: str) -> None:
        try:
            await self.client.create(CONFIG_MAPS, self._wanted(namespace), namespace)
        except ApiError as error:
            if error.code != 404 and not is_terminating_namespace(error):
                raise

    def _wanted(self, namespace: str) -> Obj:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": namespace,
                "annotations": {_DESCRIBED: _DESCRIPTION},
            },
            "data": {"ca.crt": self._root_ca},
        }


def _namespace_of_ours(obj: Obj) -> Iterable[str]:
    return (obj["metadata"]["namespace"],) if obj["metadata"]["name"] == NAME else ()
