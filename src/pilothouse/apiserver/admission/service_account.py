"""ServiceAccount: every pod runs as an account, with a token mounted where clients look for it
(plugin/pkg/admission/serviceaccount)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.field import go_quote
from pilothouse.api.resources import SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Environment, Operation, Plugin, Target
from pilothouse.apiserver.admission.pod_references import references

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_EXPIRATION_S = 3607
"""An hour and seven seconds, upstream's mark for tokens that it may extend."""
_MIRROR = "kubernetes.io/config.mirror"
_MODE = 0o644
_DEFAULT = "default"
_ATTEMPTS = 10
_WAIT_S = 0.1
_ENFORCE = "kubernetes.io/enforce-mountable-secrets"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
"""What Go reads as true."""


class ServiceAccount(Plugin):
    name: ClassVar[str] = "ServiceAccount"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS,))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister
        self._world = env.world

    async def admit(self, a: Attributes) -> None:
        pod = a.obj
        assert pod is not None
        if _MIRROR in (pod["metadata"].get("annotations") or {}):
            return
        spec = pod["spec"]
        name = spec.get("serviceAccountName") or _DEFAULT
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._account(a, name)
        if _mounts_token(account, spec):
            self._mount(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(s) for s in account["imagePullSecrets"]]

    async def _account(self, a: Attributes, name: str) -> Obj:
        """The account `default` of a new namespace is being made: it is waited for."""
        attempts = _ATTEMPTS if name == _DEFAULT else 1
        for attempt in range(attempts):
            if attempt:
                await self._world.clock.sleep(_WAIT_S * (1 + self._world.random.random()))
            account = await self._lister.sure(SERVICE_ACCOUNTS, name, a.namespace)
            if account is not None:
                return account
        missing = f"serviceaccount {go_quote(name)} not found"
        raise a.forbidden(f"error looking up service account {a.namespace}/{name}: {missing}")

    async def validate(self, a: Attributes) -> None:
        pod = a.obj
        assert pod is not None
        if _MIRROR in (pod["metadata"].get("annotations") or {}):
            _check_mirror(a, pod["spec"])
            return
        name = pod["spec"].get("serviceAccountName", "")
        account = await self._account(a, name)
        annotations = account["metadata"].get("annotations") or {}
        if annotations.get(_ENFORCE, "") in _TRUE:
            _check_secrets(a, pod["spec"], account)

    def _mount(self, spec: Obj) -> None:
        """The projected volume, and a mount in each container that has none there."""
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        bare = [c for c in containers if not _has_mount(c)]
        if not bare:
            return
        volume = _present_volume(spec)
        if not volume:
            volume = f"kube-api-access-{self._world.suffix()}"
            spec["volumes"] = [*(spec.get("volumes") or ()), _volume(volume)]
        for container in bare:
            mount = {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}
            container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _mounts_token(account: Obj, spec: Obj) -> bool:
    """The pod's own wish goes before its account's; both unset means yes."""
    for said in (spec, account):
        if said.get("automountServiceAccountToken") is not None:
            return bool(said["automountServiceAccountToken"])
    return True


def _has_mount(container: Obj) -> bool:
    return any(m.get("mountPath") == MOUNT_PATH for m in container.get("volumeMounts") or ())


def _present_volume(spec: Obj) -> str:
    for volume in spec.get("volumes") or ():
        if volume["name"].startswith("kube-api-access-") and "projected" in volume:
            return str(volume["name"])
    return ""


def _volume(name: str) -> Obj:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_EXPIRATION_S, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": _MODE,
        },
    }


def _check_mirror(a: Attributes, spec: Obj) -> None:
    """A mirror pod shows what a node runs anyway: it gets nothing from the cluster."""
    if spec.get("serviceAccountName"):
        raise a.forbidden("a mirror pod may not reference service accounts")
    if "secrets" in references(spec):
        raise a.forbidden("a mirror pod may not reference secrets")
    sources = [s for v in spec.get("volumes") or () for s in (v.get("projected") or {}).get("sources") or ()]
    if any(source.get("serviceAccountToken") is not None for source in sources):
        raise a.forbidden("a mirror pod may not use ServiceAccountToken volume projections")


def _check_secrets(a: Attributes, spec: Obj, account: Obj) -> None:
    """Pods of an account that says so use its own secrets alone."""
    name = account["metadata"]["name"]
    mountable = {ref.get("name") for ref in account.get("secrets") or ()}
    because = f"because service account {name} does not reference that secret"
    for volume in spec.get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName", "")
        if secret and secret not in mountable:
            raise a.forbidden(f'volume with secret.secretName="{secret}" is not allowed {because}')
    for key, called in (("initContainers", "init container"), ("containers", "container")):
        for container in spec.get(key) or ():
            for env in container.get("env") or ():
                secret = ((env.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name", "")
                if secret and secret not in mountable:
                    raise a.forbidden(
                        f"{called} {container['name']} with envVar {env['name']} referencing "
                        f'secret.secretName="{secret}" is not allowed {because}'
                    )
    pulled = {ref.get("name") for ref in account.get("imagePullSecrets") or ()}
    for i, ref in enumerate(spec.get("imagePullSecrets") or ()):
        if ref.get("name") not in pulled:
            raise a.forbidden(
                f'imagePullSecrets[{i}].name="{ref.get("name", "")}" is not allowed because service account {name} '
                "does not reference that imagePullSecret"
            )
