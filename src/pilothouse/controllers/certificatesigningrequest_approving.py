"""Approving controller: kubelets' client certificates need nobody's approval where RBAC says so
(pkg/controller/certificates/approver/sarapprove.go,
https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#approval).

    asks for its own user's name       may it `create certificatesigningrequests/selfnodeclient`?
    asks for any node's credentials    may it `create certificatesigningrequests/nodeclient`?

A SubjectAccessReview about who sent the request answers; while the answer is no, it is asked again, less and less
often, since a role may come later.
"""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CERTIFICATE_SIGNING_REQUESTS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller, Environment, TryAgain
from pilothouse.controllers import certificate_requests as requests
from pilothouse.controllers.certificatesigningrequest_signing import BACKOFF_S
from pilothouse.kit.work_queue import ExponentialLimiter, RateLimitedQueue

_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)
_SELF = "selfnodeclient"
_ANY = "nodeclient"
_MESSAGES = {
    _SELF: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    _ANY: "Auto approving kubelet client certificate after SubjectAccessReview.",
}


class CertificateApprovingController(Controller):
    name: ClassVar[str] = "csrapproving"

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self.queue = RateLimitedQueue(
            self.name, env.world, env.metrics, limiter=ExponentialLimiter(*BACKOFF_S)
        )

    def setup(self) -> None:
        self._requests = self.watch(CERTIFICATE_SIGNING_REQUESTS)

    async def reconcile(self, key: str) -> float | None:
        csr = self._requests.get(key)
        if csr is None or (csr.get("status") or {}).get("certificate") or requests.is_decided(csr):
            return None
        rights = needed_rights(csr)
        for right in rights:
            if await self._may(csr, right):
                await self._approve(csr, _MESSAGES[right])
                return None
        if rights:
            tried = " ".join(rights)
            raise TryAgain(f'recognized csr "{key}" as [{tried}] but subject access review was not approved')
        return None

    async def _may(self, csr: Obj, right: str) -> bool:
        spec = csr["spec"]
        review = {
            "apiVersion": _REVIEWS.group_version,
            "kind": _REVIEWS.kind,
            "spec": {
                "user": spec.get("username", ""),
                "uid": spec.get("uid", ""),
                "groups": spec.get("groups") or [],
                "extra": spec.get("extra") or {},
                "resourceAttributes": {
                    "group": CERTIFICATE_SIGNING_REQUESTS.group,
                    "resource": CERTIFICATE_SIGNING_REQUESTS.plural,
                    "verb": "create",
                    "subresource": right,
                },
            },
        }
        answer = await self.client.create(_REVIEWS, review)
        return bool(answer["status"].get("allowed"))

    async def _approve(self, csr: Obj, message: str) -> None:
        wanted = requests.with_condition(csr, "Approved", "AutoApproved", message)
        try:
            await self.client.update(CERTIFICATE_SIGNING_REQUESTS, wanted, subresource="approval")
        except ApiError as error:
            if error.code != 404:
                raise


def needed_rights(csr: Obj) -> list[str]:
    """The subresources of which one must be the sender's to create; none for what is not approved here."""
    asked = requests.read(csr)
    if not requests.is_kubelet_client(csr, asked):
        return []
    return [_SELF, _ANY] if csr["spec"].get("username", "") == asked.common_name else [_ANY]
