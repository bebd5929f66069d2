"""What certificates a node may ask for (NodeRestriction's admitCSR and admitPodCertificateRequest, KEP-4317): those of
its own name, and those of the pods that run on it.

A UID that does not fit may be the cache's fault: that is a 500, after which the kubelet tries again, and no 403.
"""

from __future__ import annotations

import binascii
from base64 import b64decode

from cryptography import x509
from cryptography.x509.oid import NameOID

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.resources import NODES, PODS, SERVICE_ACCOUNTS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes
from pilothouse.apiserver.registry.lister import Lister

_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
_USER_PREFIX = "system:node:"
_MIRROR = "kubernetes.io/config.mirror"


def check_signing_request(node: str, a: Attributes) -> None:
    """403 for the credentials of anybody else."""
    spec = (a.obj or {}).get("spec") or {}
    if a.operation != "CREATE" or a.subresource or spec.get("signerName") not in _SIGNERS:
        return
    try:
        request = x509.load_pem_x509_csr(b64decode(spec.get("request") or ""))
    except (ValueError, binascii.Error) as error:
        raise a.forbidden(f"unable to parse csr: {error}") from None
    names = [str(part.value) for part in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names[-1:] != [_USER_PREFIX + node]:
        raise a.forbidden(f"can only create a node CSR with CN={_USER_PREFIX}{node}")


class PodCertificates:
    """Checks one request for a pod's certificate against the node, the pod and the account that it names."""

    def __init__(self, lister: Lister) -> None:
        self._lister = lister

    def check(self, node: str, a: Attributes) -> None:
        if a.operation != "CREATE":
            raise a.forbidden(f"unexpected operation {a.operation}")
        if a.subresource:
            raise a.forbidden(f"unexpected subresource {a.subresource}")
        spec = (a.obj or {})["spec"]
        self._check_node(node, a, spec)
        self._check_account(a, spec, self._pod(a, spec))

    def _check_node(self, node: str, a: Attributes, spec: Obj) -> None:
        if spec["nodeName"] != node:
            raise a.forbidden(
                f"PodCertificateRequest.Spec.NodeName={go_quote(spec['nodeName'])}, which is not the requesting node "
                f"{go_quote(node)}"
            )
        uid = self._found(NODES, node, "", f"node {go_quote(node)}")["metadata"]["uid"]
        if uid != spec["nodeUID"]:
            raise _again(
                f"{_for_pod(a, spec)} names node UID {go_quote(spec['nodeUID'])}, inconsistent with the running node "
                f"({go_quote(uid)})"
            )

    def _pod(self, a: Attributes, spec: Obj) -> Obj:
        where = go_quote(f"{a.namespace}/{spec['podName']}")
        pod = self._found(PODS, spec["podName"], a.namespace, f"pod {where}")
        uid = pod["metadata"]["uid"]
        if uid != spec["podUID"]:
            raise _again(
                f"{_for_pod(a, spec)} contains pod UID ({go_quote(spec['podUID'])}) which differs from running pod "
                f"{go_quote(uid)}"
            )
        if (pod["spec"].get("nodeName") or "") != spec["nodeName"]:
            raise a.forbidden(
                f"pod {where} is not running on node {go_quote(spec['nodeName'])} named in the PodCertificateRequest"
            )
        if _MIRROR in (pod["metadata"].get("annotations") or {}):
            raise a.forbidden(f"pod {where} is a mirror pod")
        return pod

    def _check_account(self, a: Attributes, spec: Obj, pod: Obj) -> None:
        name, actual = spec["serviceAccountName"], pod["spec"].get("serviceAccountName") or ""
        if name != actual:
            raise a.forbidden(
                f"{_for_pod(a, spec)} contains serviceAccountName ({go_quote(name)}) that differs from running pod "
                f"({go_quote(actual)})"
            )
        where = go_quote(f"{a.namespace}/{name}")
        uid = self._found(SERVICE_ACCOUNTS, name, a.namespace, f"service account {where}")["metadata"]["uid"]
        if uid != spec["serviceAccountUID"]:
            raise _again(
                f"{_for_pod(a, spec)} names service account UID {go_quote(spec['serviceAccountUID'])}, which differs "
                f"from the running service account ({go_quote(uid)})"
            )

    def _found(self, resource: Resource, name: str, namespace: str, what: str) -> Obj:
        found = self._lister.get(resource, name, namespace)
        if found is None:
            missing = f"{resource.kind.lower()} {go_quote(name)} not found"
            raise _again(f"while retrieving {what} named in the PodCertificateRequest: {missing}")
        return found


def _for_pod(a: Attributes, spec: Obj) -> str:
    return f"PodCertificateRequest for pod {go_quote(a.namespace + '/' + spec['podName'])}"


def _again(why: str) -> errors.ApiError:
    return errors.ApiError(500, "", why)
