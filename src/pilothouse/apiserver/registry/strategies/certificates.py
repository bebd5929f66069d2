"""Strategies of the kinds in certificates.k8s.io (pkg/registry/certificates).

status     issues: sets the certificate once, and conditions other than Approved and Denied
approval   decides: sets Approved or Denied
"""

from __future__ import annotations

from typing import Any, ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import certificates as validation
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

GROUP = "certificates.k8s.io"


class CertificateSigningRequestStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    name_message: ClassVar[str] = "path"
    field_names: ClassVar[tuple[str, ...]] = ("spec.signerName",)

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        """Write down who asks; nobody can ask in another's name."""
        super().prepare_for_create(ctx, obj)
        obj["status"] = {}
        spec, user = obj["spec"], ctx.user
        asker: dict[str, Any] = {
            "username": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra.items()},
        }
        for key, value in asker.items():
            if value:
                spec[key] = value
            else:
                spec.pop(key, None)

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """Neither what was asked nor what came of it changes here."""
        obj["spec"], obj["status"] = old["spec"], old["status"]

    def prepare_for_status_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        obj["spec"] = old["spec"]
        conditions = [_timed(c, old, ctx.world.timestamp()) for c in obj["status"].get("conditions") or ()]
        if ctx.subresource == "approval":
            obj["status"] = dict(old["status"])
            obj["status"].pop("conditions", None)
        if conditions:
            obj["status"] = {**obj["status"], "conditions": conditions}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.certificate_signing_request(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.certificate_signing_request_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        decides = ctx.subresource == "approval"
        return validation.certificate_signing_request_update(
            obj, old, may_decide=decides, may_issue=not decides
        )

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.signerName": obj["spec"].get("signerName", "")}


def _timed(condition: Obj, old: Obj, now: str) -> Obj:
    """A condition with the times that its writer left out: last updated now; in this state since it was."""
    same = (
        before.get("lastTransitionTime")
        for before in old["status"].get("conditions") or ()
        if (before.get("type"), before.get("status")) == (condition.get("type"), condition.get("status"))
    )
    out = dict(condition)
    out["lastUpdateTime"] = condition.get("lastUpdateTime") or now
    if not condition.get("lastTransitionTime"):
        out["lastTransitionTime"] = next((time for time in same if time), now)
    return out


STRATEGIES: dict[tuple[str, str], Strategy] = {
    (GROUP, "CertificateSigningRequest"): CertificateSigningRequestStrategy(),
}
