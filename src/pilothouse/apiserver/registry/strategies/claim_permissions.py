"""Who may write which part of a claim's status (pkg/registry/resource/utils.go, KEP-4817, gate
DRAResourceClaimGranularStatusAuthorization, on in 1.36;
https://kubernetes.io/docs/concepts/security/hardening-guide/dynamic-resource-allocation/).

Beside `resourceclaims/status`, a writer needs

    what it changes                      verb                             on
    status.allocation, .reservedFor      update, patch                    resourceclaims/binding, in the cluster
    status.devices, for each driver      associated-node:update (patch)   resourceclaims/driver, named as the driver, in
                                         arbitrary-node:update (patch)    the claim's namespace

The first of the two verbs for drivers serves service accounts whose token is bound to the one node that the claim is
allocated for.
"""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.apiserver.registry.strategy import Context
from pilothouse.apiserver.request import RequestInfo

_GROUP, _PLURAL = "resource.k8s.io", "resourceclaims"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_ACCOUNT = "system:serviceaccount:"


def check(ctx: Context, obj: Obj, old: Obj) -> f.Errors:
    """Errors for what the request's user may not change."""
    new, before = obj.get("status") or {}, old.get("status") or {}
    return _binding(ctx, new, before) + _devices(ctx, new, before)


def _binding(ctx: Context, new: Obj, old: Obj) -> f.Errors:
    if all((new.get(field) or None) == (old.get(field) or None) for field in ("allocation", "reservedFor")):
        return []
    why = ctx.refusal(_asked(ctx, ctx.verb, "binding"))
    if not why:
        return []
    needed = f'requires resource="resourceclaims/binding", verb="{ctx.verb}" permission: {why}'
    return [f.forbidden("status", f"changing status.allocation or status.reservedFor {needed}")]


def _devices(ctx: Context, new: Obj, old: Obj) -> f.Errors:
    errors: f.Errors = []
    drivers = changed_drivers(new, old)
    if not drivers:
        return errors
    verbs = [f"arbitrary-node:{ctx.verb}"]
    if _is_of(ctx, node_of(new.get("allocation"))):
        verbs.insert(0, f"associated-node:{ctx.verb}")
    for driver in drivers:
        asked = (_asked(ctx, verb, "driver", ctx.namespace, driver) for verb in verbs)
        reasons: list[str] = []
        for question in asked:
            why = ctx.refusal(question)
            if not why:
                break
            reasons.append(why)
        else:
            needed = f'resource="resourceclaims/driver", verb="[{" ".join(verbs)}]"'
            message = f"changing status.devices requires {needed} permission: {reasons[0]}"
            errors.append(f.forbidden("status.devices", message))
    return errors


def _asked(ctx: Context, verb: str, subresource: str, namespace: str = "", name: str = "") -> RequestInfo:
    version = ctx.group_version.partition("/")[2]
    return RequestInfo(
        True,
        "",
        verb,
        prefix="apis",
        group=_GROUP,
        version=version,
        namespace=namespace,
        resource=_PLURAL,
        subresource=subresource,
        name=name,
    )


def changed_drivers(new: Obj, old: Obj) -> list[str]:
    """Those whose devices' entries came, went or are others; sorted."""
    before, after = _by_device(old), _by_device(new)
    both = before.keys() | after.keys()
    return sorted({key[0] for key in both if before.get(key) != after.get(key)})


def _by_device(status: Obj) -> dict[tuple[str, ...], Obj]:
    return {
        tuple(str(each.get(part) or "") for part in ("driver", "pool", "device", "shareID")): each
        for each in status.get("devices") or ()
    }


def node_of(allocation: Obj | None) -> str:
    """The one node that an allocation is for by its name; "" for others."""
    terms = ((allocation or {}).get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    if len(terms) != 1 or terms[0].get("matchExpressions") or len(terms[0].get("matchFields") or ()) != 1:
        return ""
    found = terms[0]["matchFields"][0]
    values = found.get("values") or []
    is_name = found["key"] == "metadata.name" and found["operator"] == "In" and len(values) == 1
    return str(values[0]) if is_name else ""


def _is_of(ctx: Context, node: str) -> bool:
    """Whether the user is a service account on a node."""
    extra = ctx.user.extra.get(_NODE_NAME, ())
    is_account = ctx.user.name.startswith(_ACCOUNT) and ctx.user.name.count(":") == _ACCOUNT.count(":") + 1
    return bool(node) and is_account and tuple(extra) == (node,) and not names.is_dns1123_subdomain(node)
