"""Publisher of the API servers' CA: one ClusterTrustBundle of the signer kubernetes.io/kube-apiserver-serving, with
which pods trust the API server (pkg/controller/certificates/clustertrustbundlepublisher, KEP-3257).

The name ends in a digest of the content, so a new CA is a new bundle, and the old one is deleted. The API is beta and
off unless --runtime-config turns it on; without it there is nothing to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CLUSTER_TRUST_BUNDLES, Resource
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.controllers.optional_apis import is_served

SIGNER = "kubernetes.io/kube-apiserver-serving"
_VERSIONS = ("v1beta1", "v1alpha1")
_ALL = "bundles"


class ClusterTrustBundlePublisher(Controller):
    name: ClassVar[str] = "kube-apiserver-serving-clustertrustbundle-publisher-controller"
    workers: ClassVar[int] = 1

    def __init__(self, env: Environment, root_ca: str) -> None:
        super().__init__(env)
        self._root_ca = root_ca
        self._name = bundle_name(SIGNER, root_ca)

    async def run(self) -> None:
        served = await self._served() if self._root_ca else None
        if served is not None:
            self._resource = served
            self._bundles = self.watch(served, keys=_all, fieldSelector=f"spec.signerName={SIGNER}")
            self.queue.add(_ALL)
        await super().run()

    async def _served(self) -> Resource | None:
        for version in _VERSIONS:
            resource = replace(CLUSTER_TRUST_BUNDLES, version=version)
            if await is_served(self.client, resource, self.world):
                return resource
        return None

    async def reconcile(self, key: str) -> float | None:
        present = self._bundles.get(self._name)
        if present is None:
            await self.client.create(self._resource, self._wanted({"metadata": {"name": self._name}}))
        elif present["spec"]["trustBundle"] != self._root_ca:
            await self.client.update(self._resource, self._wanted(present))
        for other in [b["metadata"]["name"] for b in self._bundles.list()]:
            if other != self._name:
                await self._delete(other)
        return None

    def _wanted(self, present: Obj) -> Obj:
        return {
            **present,
            "apiVersion": self._resource.group_version,
            "kind": self._resource.kind,
            "spec": {"signerName": SIGNER, "trustBundle": self._root_ca},
        }

    async def _delete(self, name: str) -> None:
        try:
            await self.client.delete(self._resource, name)
        except ApiError as error:
            if error.code != 404:
                raise


def bundle_name(signer: str, bundle: str) -> str:
    """`DOMAIN:PATH:` and the first twelve bytes of the content's digest."""
    return f"{signer.replace('/', ':')}:{hashlib.sha256(bundle.encode()).digest()[:12].hex()}"


def _all(_: Obj) -> Iterable[str]:
    return (_ALL,)
