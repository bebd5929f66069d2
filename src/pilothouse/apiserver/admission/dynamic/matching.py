"""As what a webhook or a policy sees a request, if it sees it at all
(k8s.io/apiserver/pkg/admission/plugin/webhook/generic ShouldCallHook, plugin/policy/matching).

A request for v1beta1 of a resource matches a rule for v1 of it, if its matchPolicy is Equivalent: then the objects are
shown in v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from pilothouse.api import errors, labels
from pilothouse.api.resources import NAMESPACES, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic import rules
from pilothouse.apiserver.admission.plugin import Attributes, Environment, ObjectKind


class Match(NamedTuple):
    """The resource and the kind as which a request is shown."""

    resource: Resource
    kind: ObjectKind


class Request(NamedTuple):
    """What a request is for, as its client put it. `is_own`: its object is of the resource's own kind, not a Scale or
    the like. `namespace` is a namespace's own name where the request is for one."""

    resource: Resource
    kind: ObjectKind
    is_own: bool
    namespace: str
    name: str

    def match(self, resource: Resource) -> Match:
        if not self.is_own:
            return Match(resource, self.kind)
        return Match(resource, ObjectKind(resource.group, resource.version, resource.kind))


def request_of(a: Attributes) -> Request:
    r = a.resource
    is_own = a.kind == (r.group, r.version, r.kind)
    group, _, version = (a.group_version or r.group_version).rpartition("/")
    resource = r if (group, version) == (r.group, r.version) else replace(r, group=group, version=version)
    kind = ObjectKind(group, version, r.kind) if is_own else a.kind
    namespace = a.namespace
    if (group, r.plural) == ("", "namespaces"):
        namespace = a.name
    return Request(resource, kind, is_own, namespace, a.name)


class Matcher:
    def __init__(self, env: Environment) -> None:
        self._env = env

    def webhook(self, hook: Obj, a: Attributes, request: Request) -> Match | None:
        """None when the webhook is not about the request. ApiError when it is, and a selector cannot be told."""
        return self._match(hook, hook.get("rules") or (), hook.get("matchPolicy"), a, request)

    def policy(self, match: Obj, a: Attributes, request: Request) -> Match | None:
        """The same of a policy's matchConstraints or a binding's matchResources; no rules match everything."""
        match_policy = match.get("matchPolicy")
        excluded = match.get("excludeResourceRules") or ()
        if excluded and self._by_rules(excluded, match_policy, a, request) is not None:
            return None
        return self._match(match, match.get("resourceRules"), match_policy, a, request)

    def _match(
        self,
        selectors: Obj,
        wanted: Sequence[Obj] | None,
        match_policy: str | None,
        a: Attributes,
        request: Request,
    ) -> Match | None:
        """Rules first, which are cheap: most requests are none of a webhook's business. A selector that cannot be told
        is an error unless the other one says no."""
        if wanted or "rules" in selectors:
            found = self._by_rules(wanted or (), match_policy, a, request)
        else:
            found = request.match(request.resource)
        if found is None:
            return None
        failed: errors.ApiError | None = None
        for selected in (self._in_namespaces, self._of_objects):
            try:
                if not selected(selectors, a, request):
                    return None
            except errors.ApiError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return found

    def _by_rules(
        self, wanted: Sequence[Obj], match_policy: str | None, a: Attributes, request: Request
    ) -> Match | None:
        def holds(rule: Obj, resource: Resource) -> bool:
            names = rule.get("resourceNames")
            return rules.matches(rule, a, resource, request.namespace) and (not names or a.name in names)

        for rule in wanted:
            if holds(rule, request.resource):
                return request.match(request.resource)
        if match_policy == "Exact":
            return None
        equivalents: Sequence[Resource] | None = None
        for rule in wanted:
            if equivalents is None:
                equivalents = self._env.shapes.equivalents(request.resource, a.subresource)
            for resource in equivalents:
                if resource != request.resource and holds(rule, resource):
                    return request.match(resource)
        return None

    def _in_namespaces(self, selectors: Obj, a: Attributes, request: Request) -> bool:
        """Objects outside of namespaces are always selected, namespaces by their own labels."""
        selector = _selector(selectors, "namespaceSelector")
        if selector.empty:
            return True
        is_namespace = request.resource.plural == "namespaces" and not request.resource.group
        if not request.namespace and not is_namespace:
            return True
        if is_namespace and not a.subresource and a.operation in ("CREATE", "UPDATE"):
            return selector.matches(_labels(a.obj))
        namespace = self._env.lister.get(NAMESPACES, request.namespace)
        if namespace is None:
            raise errors.not_found("", "namespaces", request.namespace)
        return selector.matches(_labels(namespace))

    def _of_objects(self, selectors: Obj, a: Attributes, request: Request) -> bool:
        """By the labels of the new object or of the old one."""
        selector = _selector(selectors, "objectSelector")
        if selector.empty:
            return True
        return any(obj is not None and selector.matches(_labels(obj)) for obj in (a.obj, a.old))


T = TypeVar("T")


class Relevant(Generic[T]):
    """Of all webhooks or policies those whose rules name a kind of write: most name few kinds, and most writes are of
    kinds that nobody names. `rules_of` gives rules (none: everything) and matchPolicy."""

    def __init__(self, env: Environment, rules_of: Callable[[T], tuple[Sequence[Obj], str | None]]) -> None:
        self._shapes = env.shapes
        self._rules_of = rules_of
        self._all: list[T] = []
        self._generation = -1
        self._kept: dict[tuple[str, ...], list[T]] = {}

    def of(self, all_: list[T], a: Attributes) -> list[T]:
        """`all_` is another list whenever one of them changed."""
        generation = self._shapes.generation()
        if all_ is not self._all or generation != self._generation:
            self._kept.clear()
            self._all, self._generation = all_, generation
        r = a.resource
        key = (a.operation, r.group, r.version, r.plural, a.group_version, a.subresource)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = [one for one in all_ if self._names(one, a)]
        return found

    def _names(self, one: T, a: Attributes) -> bool:
        wanted, match_policy = self._rules_of(one)
        if not wanted:
            return True
        own = request_of(a).resource
        resources = (
            (own,) if match_policy == "Exact" else (own, *self._shapes.equivalents(own, a.subresource))
        )
        return any(rules.names(rule, a, resource) for rule in wanted for resource in resources)


def _labels(obj: Obj | None) -> Mapping[str, str]:
    found: Mapping[str, str] = ((obj or {}).get("metadata") or {}).get("labels") or {}
    return found


def _selector(holder: Obj, key: str) -> labels.Selector:
    """An absent selector selects everything here: defaulting has made one of it for what is stored."""
    try:
        return labels.from_label_selector(holder.get(key) or {})
    except ValueError as error:
        raise errors.internal(str(error)) from None
