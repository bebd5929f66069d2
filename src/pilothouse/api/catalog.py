"""The table of built-in resources of a Kubernetes version.

Group, version, kind, plural, scope, verbs and subresources are data of the package `lightkube-models`, read
as text (importing its dataclasses would take a second); what no package says is in the small tables below,
as upstream's registries and discovery have it. A resource is in the catalog when the version's OpenAPI
definitions know its kind.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pilothouse.api.resources import Resource
from pilothouse.api.schema.definitions import Definitions

DEFAULT_VERSION = "1.36"

_CLASS = re.compile(
    r"^class \w+\(res\.(?P<base>\w+).*?"
    r"resource=res\.ResourceDef\('(?P<group>[^']*)', '(?P<version>[^']*)', '(?P<kind>[^']*)'\),"
    r"(?:\s*parent=res\.ResourceDef\('(?P<parent_group>[^']*)', '(?P<parent_version>[^']*)', '(?P<parent>[^']*)'\),)?"
    r"\s*plural='(?P<plural>[^']*)',\s*verbs=\[(?P<verbs>[^\]]*)\],(?:\s*action='(?P<action>[^']*)',)?",
    re.MULTILINE | re.DOTALL,
)

_VERBS = {
    "post": "create",
    "put": "update",
    "patch": "patch",
    "get": "get",
    "list": "list",
    "global_list": "list",
    "watch": "watch",
    "global_watch": "watch",
    "delete": "delete",
    "deletecollection": "deletecollection",
}

GROUP_ORDER = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
    "lifecycle.k8s.io",
)
"""Groups as discovery lists them (aggregator priorities in cmd/kube-apiserver/app/aggregator.go)."""

SHORT_NAMES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "componentstatuses"): ("cs",),
    ("", "configmaps"): ("cm",),
    ("", "endpoints"): ("ep",),
    ("", "events"): ("ev",),
    ("", "limitranges"): ("limits",),
    ("", "namespaces"): ("ns",),
    ("", "nodes"): ("no",),
    ("", "persistentvolumeclaims"): ("pvc",),
    ("", "persistentvolumes"): ("pv",),
    ("", "pods"): ("po",),
    ("", "replicationcontrollers"): ("rc",),
    ("", "resourcequotas"): ("quota",),
    ("", "serviceaccounts"): ("sa",),
    ("", "services"): ("svc",),
    ("apiextensions.k8s.io", "customresourcedefinitions"): ("crd", "crds"),
    ("apps", "daemonsets"): ("ds",),
    ("apps", "deployments"): ("deploy",),
    ("apps", "replicasets"): ("rs",),
    ("apps", "statefulsets"): ("sts",),
    ("autoscaling", "horizontalpodautoscalers"): ("hpa",),
    ("batch", "cronjobs"): ("cj",),
    ("certificates.k8s.io", "certificatesigningrequests"): ("csr",),
    ("events.k8s.io", "events"): ("ev",),
    ("networking.k8s.io", "ingresses"): ("ing",),
    ("networking.k8s.io", "ipaddresses"): ("ip",),
    ("networking.k8s.io", "networkpolicies"): ("netpol",),
    ("policy", "poddisruptionbudgets"): ("pdb",),
    ("scheduling.k8s.io", "priorityclasses"): ("pc",),
    ("storage.k8s.io", "storageclasses"): ("sc",),
    ("storage.k8s.io", "volumeattributesclasses"): ("vac",),
}

CATEGORIES: dict[tuple[str, str], tuple[str, ...]] = {
    **{
        key: ("all",)
        for key in (
            ("", "pods"),
            ("", "replicationcontrollers"),
            ("", "services"),
            ("apps", "daemonsets"),
            ("apps", "deployments"),
            ("apps", "replicasets"),
            ("apps", "statefulsets"),
            ("autoscaling", "horizontalpodautoscalers"),
            ("batch", "cronjobs"),
            ("batch", "jobs"),
        )
    },
    **{
        key: ("api-extensions",)
        for key in (
            ("apiextensions.k8s.io", "customresourcedefinitions"),
            ("apiregistration.k8s.io", "apiservices"),
            ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
            ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
            ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
            ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
            ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        )
    },
}

SINGULAR = {"endpoints": "endpoints"}
"""Singular names that are not simply the lower-case kind."""

STORAGE_VERSION: dict[tuple[str, str], tuple[str, str]] = {
    ("events.k8s.io", "events"): ("", "v1"),
    ("autoscaling", "horizontalpodautoscalers"): ("autoscaling", "v2"),
}
"""Group-version that is stored, where it is not the newest GA one of the group."""

_CONNECT_VERBS = ("create", "delete", "get", "patch", "update")
_CONNECT_SUBRESOURCES: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("pods", "attach"): ("PodAttachOptions", ("create", "get")),
    ("pods", "exec"): ("PodExecOptions", ("create", "get")),
    ("pods", "portforward"): ("PodPortForwardOptions", ("create", "get")),
    ("pods", "proxy"): ("PodProxyOptions", _CONNECT_VERBS),
    ("pods", "log"): ("Pod", ("get",)),
    ("services", "proxy"): ("ServiceProxyOptions", _CONNECT_VERBS),
    ("nodes", "proxy"): ("NodeProxyOptions", _CONNECT_VERBS),
}
_SINCE = {("csinodes", "status"): (1, 37)}
"""Subresources that the data of newer versions brings, and the version that has them first."""


@dataclass(frozen=True, slots=True)
class Subresource:
    """`group` and `version` are those of its kind (autoscaling/v1 for scale)."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


@dataclass(slots=True)
class Served:
    """A resource at one version."""

    resource: Resource
    singular: str
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: dict[str, Subresource] = field(default_factory=dict)
    definition: str = ""
    """The name of its OpenAPI definition."""
    storage: Resource | None = None
    """The version it is stored in; None for kinds that are not stored (reviews, bindings)."""
    listed_as: str = ""
    """The list's kind where it is not called after the resource's (custom resources)."""
    custom: bool = False

    @property
    def list_kind(self) -> str:
        return self.listed_as or f"{self.resource.kind}List"


class Catalog:
    """The resources that a server serves. `runtime_config` is upstream's --runtime-config."""

    def __init__(self, version: str = DEFAULT_VERSION, runtime_config: str = "") -> None:
        self.version = version
        self.definitions = Definitions.load(version)
        enabled = _Enabled(runtime_config)
        known = _read(self.definitions)
        self._served = {key: s for key, s in known.items() if enabled(s.resource)}
        self._by_kind = {
            (s.resource.group, s.resource.version, s.resource.kind): s for s in self._served.values()
        }

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def find(self, group: str, version: str, plural: str) -> Served | None:
        return self._served.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> Served | None:
        return self._by_kind.get((group, version, kind))

    def is_registered(self, group: str, version: str, kind: str) -> bool:
        """Whether upstream's scheme knows a kind, served or not (lists and options included)."""
        return self.definitions.by_kind(group, version, kind) is not None

    def groups(self) -> dict[str, list[str]]:
        """Versions per group, preferred first, groups in discovery's order."""
        found: dict[str, set[str]] = {}
        for s in self:
            found.setdefault(s.resource.group, set()).add(s.resource.version)
        ordered = sorted(found, key=lambda g: GROUP_ORDER.index(g) if g in GROUP_ORDER else len(GROUP_ORDER))
        return {g: sorted(found[g], key=version_priority) for g in ordered}


def version_priority(version: str) -> tuple[int, int, int]:
    """GA before beta before alpha, higher numbers first (version.CompareKubeAwareVersionStrings)."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (3, 0, 0)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0))


class _Enabled:
    """Which group-versions are on: GA ones, and what --runtime-config says."""

    def __init__(self, runtime_config: str) -> None:
        self._said: dict[str, bool] = {}
        for part in filter(None, (p.strip() for p in runtime_config.split(","))):
            name, _, value = part.partition("=")
            if value not in ("", "true", "false"):
                raise ValueError(
                    f'--runtime-config: {part}: use KEY=true or KEY=false, such as "api/beta=true"'
                )
            self._said[name] = value != "false"

    def __call__(self, resource: Resource) -> bool:
        stage = "alpha" if "alpha" in resource.version else "beta" if "beta" in resource.version else "ga"
        group_version = resource.group_version
        for name in (f"{group_version}/{resource.plural}", group_version, f"api/{stage}", "api/all"):
            if name in self._said:
                return self._said[name]
        return stage == "ga"


def _models_directory() -> Path:
    spec = importlib.util.find_spec("lightkube")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package lightkube-models is not installed: reinstall pilothouse")
    for location in spec.submodule_search_locations:
        directory = Path(location) / "resources"
        if directory.is_dir():
            return directory
    raise RuntimeError("the package lightkube-models is incomplete: reinstall pilothouse")


def _read(definitions: Definitions) -> dict[tuple[str, str, str], Served]:
    served: dict[tuple[str, str, str], Served] = {}
    resources: list[re.Match[str]] = []
    subresources: list[re.Match[str]] = []
    for path in sorted(_models_directory().glob("*_v*.py")):
        for block in re.split(r"^(?=class )", path.read_text(), flags=re.MULTILINE):
            match = _CLASS.match(block)
            if match is None:
                continue
            if match["action"]:
                subresources.append(match)
            else:
                resources.append(match)
                _add(served, match, match["version"], definitions)
    for match in subresources:
        _add_subresource(served, match, definitions)
    _add_gone(served, resources, subresources, definitions)
    _add_connect(served)
    _add_component_statuses(served, definitions)
    _set_storage(served.values())
    for one in served.values():
        one.subresources = dict(sorted(one.subresources.items()))
    return dict(sorted(served.items(), key=lambda entry: entry[1].resource.plural))


def _add(
    served: dict[tuple[str, str, str], Served], match: re.Match[str], version: str, definitions: Definitions
) -> None:
    group, kind, plural = match["group"], match["kind"], match["plural"]
    definition = definitions.by_kind(group, version, kind)
    if definition is None or plural == "componentstatuses":
        return
    resource = Resource(group, version, plural, kind, match["base"].startswith("Namespaced"))
    verbs = {_VERBS[v.strip(" '")] for v in match["verbs"].split(",") if v.strip()}
    if "list" in verbs:
        verbs.add("watch")
    key = (group, plural)
    served[(group, version, plural)] = Served(
        resource,
        SINGULAR.get(plural, kind.lower()),
        tuple(sorted(verbs)),
        SHORT_NAMES.get(key, ()),
        CATEGORIES.get(key, ()),
        definition=definition,
    )


def _add_subresource(
    served: dict[tuple[str, str, str], Served], match: re.Match[str], definitions: Definitions
) -> None:
    group = match["parent_group"] if match["parent"] else match["group"]
    version = match["parent_version"] if match["parent"] else match["version"]
    parent = served.get((group, version, match["plural"]))
    if parent is None or (match["plural"], match["action"]) in _CONNECT_SUBRESOURCES:
        return
    if definitions.by_kind(match["group"], match["version"], match["kind"]) is None:
        return
    if _SINCE.get((match["plural"], match["action"]), (0, 0)) > definitions.version:
        return
    name = match["action"]
    parent.subresources[name] = Subresource(
        name, match["group"], match["version"], match["kind"], _verbs(match)
    )


def _add_gone(
    served: dict[tuple[str, str, str], Served],
    resources: list[re.Match[str]],
    subresources: list[re.Match[str]],
    definitions: Definitions,
) -> None:
    """Versions that a later Kubernetes, whose models are installed, no longer has: as another version of the
    same kind."""
    models = {(m["group"], m["kind"]): m for m in resources}
    known = {(s.resource.group, s.resource.version, s.resource.kind) for s in served.values()}
    for group, version, kind in definitions.listed_kinds():
        model = models.get((group, kind))
        if model is None or (group, version, kind) in known:
            continue
        _add(served, model, version, definitions)
        parent = served.get((group, version, model["plural"]))
        for sub in subresources:
            same = (sub["group"], sub["version"], sub["plural"]) == (group, model["version"], model["plural"])
            if parent is not None and same:
                verbs = _verbs(sub)
                name = sub["action"]
                parent.subresources[name] = Subresource(name, group, version, sub["kind"], verbs)


def _verbs(match: re.Match[str]) -> tuple[str, ...]:
    return tuple(sorted({_VERBS[v.strip(" '")] for v in match["verbs"].split(",") if v.strip()}))


def _add_connect(served: dict[tuple[str, str, str], Served]) -> None:
    for (plural, name), (kind, verbs) in _CONNECT_SUBRESOURCES.items():
        parent = served.get(("", "v1", plural))
        if parent is not None:
            parent.subresources[name] = Subresource(name, "", "v1", kind, verbs)


def _add_component_statuses(served: dict[tuple[str, str, str], Served], definitions: Definitions) -> None:
    definition = definitions.by_kind("", "v1", "ComponentStatus")
    if definition is not None:
        resource = Resource("", "v1", "componentstatuses", "ComponentStatus", False)
        served[("", "v1", "componentstatuses")] = Served(
            resource, "componentstatus", ("get", "list"), ("cs",), definition=definition
        )


def _set_storage(all_served: Iterable[Served]) -> None:
    by_resource: dict[tuple[str, str], list[Served]] = {}
    for s in all_served:
        if "get" in s.verbs and "create" in s.verbs:
            by_resource.setdefault((s.resource.group, s.resource.plural), []).append(s)
    for (group, plural), versions in by_resource.items():
        stored_group, stored_version = STORAGE_VERSION.get((group, plural), (group, ""))
        preferred = min(versions, key=lambda s: version_priority(s.resource.version)).resource.version
        version = stored_version or preferred
        for s in versions:
            r = s.resource
            s.storage = Resource(stored_group, version, plural, r.kind, r.namespaced)
