"""ClusterTrustBundleAttest: whoever says what a signer's trust anchors are must be allowed to attest for it
(plugin/pkg/admission/certificates/ctbattest)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission import signers
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin, Target

_COLLECTORS_FIELDS = ("ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation")
"""What the garbage collector may touch without attesting anything (rbac.IsOnlyMutatingGCFields)."""


class ClusterTrustBundleAttest(Plugin):
    name: ClassVar[str] = "ClusterTrustBundleAttest"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset(((signers.GROUP, "clustertrustbundles", ""),))

    def __init__(self, env: Environment) -> None:
        self._env = env

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None
        signer = a.obj["spec"].get("signerName", "")
        if not signer or (a.old is not None and _said(a.obj) == _said(a.old)):
            return
        if not signers.is_authorized(self._env, a.user, "attest", signer):
            raise a.forbidden(f"user not permitted to attest for signerName {go_quote(signer)}")


def _said(bundle: Obj) -> Obj:
    metadata = {k: v for k, v in bundle["metadata"].items() if k not in _COLLECTORS_FIELDS}
    return {**bundle, "metadata": metadata}
