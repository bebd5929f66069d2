"""Who may approve, sign or attest for a signer (plugin/pkg/admission/certificates IsAuthorizedForSignerName)."""

from __future__ import annotations

from pilothouse.apiserver.admission.plugin import Environment
from pilothouse.apiserver.request import RequestInfo, UserInfo

GROUP = "certificates.k8s.io"


def is_authorized(env: Environment, user: UserInfo, verb: str, signer: str) -> bool:
    """By the signer's own name, or by its whole domain: `example.com/*`."""
    domain = signer.partition("/")[0]
    return any(_may(env, user, verb, name) for name in (signer, f"{domain}/*"))


def _may(env: Environment, user: UserInfo, verb: str, name: str) -> bool:
    info = RequestInfo(True, "", verb, "apis", GROUP, "*", resource="signers", name=name)
    return env.authorize(user, info).allowed
