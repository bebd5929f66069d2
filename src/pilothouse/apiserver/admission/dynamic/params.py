"""Parameters that a binding gives its policy (k8s.io/apiserver/pkg/admission/plugin/policy/generic CollectParams)."""

from __future__ import annotations

from pilothouse.api import labels
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Environment


class BadConfiguration(Exception):
    """Of a policy or a binding; its failurePolicy decides."""


def kind_of(env: Environment, spec: Obj) -> Resource | None:
    """The resource of a policy's paramKind; None when it has none. Raises BadConfiguration for one that is not
    served."""
    wanted = spec.get("paramKind")
    if wanted is None:
        return None
    group, _, version = wanted["apiVersion"].rpartition("/")
    found = env.kind(group, version, wanted["kind"])
    if found is None:
        kind = f"{group}/{version}, Kind={wanted['kind']}"
        raise BadConfiguration(f"failed to find resource referenced by paramKind: '{kind}'")
    return found


async def collect(env: Environment, kind: Resource | None, binding: Obj, namespace: str) -> list[Obj | None]:
    """One evaluation for each; [None] for a policy or binding that names none, [] where there is none and that is
    allowed. `namespace` is the request's."""
    ref = binding["spec"].get("paramRef")
    if kind is None or ref is None:
        return [None]
    where = _namespace(kind, ref, namespace)
    if ref.get("name"):
        found = await env.lister.sure(kind, ref["name"], where)
        params = [] if found is None else [found]
    elif ref.get("selector") is not None:
        selector = labels.from_label_selector(ref["selector"])
        params = [
            obj
            for obj in env.lister.list(kind, where)
            if selector.matches(obj["metadata"].get("labels") or {})
        ]
    else:
        raise BadConfiguration("one of name or selector must be provided")
    if not params and ref.get("parameterNotFoundAction") == "Deny":
        raise BadConfiguration("no params found for policy binding with `Deny` parameterNotFoundAction")
    return [await env.shapes.convert(obj, kind) for obj in params]


def _namespace(kind: Resource, ref: Obj, namespace: str) -> str:
    given: str = ref.get("namespace") or ""
    if not kind.namespaced:
        if given:
            raise BadConfiguration("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        return ""
    if not given and not namespace:
        raise BadConfiguration(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
        )
    return given or namespace
