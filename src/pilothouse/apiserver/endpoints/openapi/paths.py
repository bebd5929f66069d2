"""Paths and operations of a served resource, as upstream's installer names and numbers them
(k8s.io/apiserver/pkg/endpoints/installer.go).

An operation here is the form that both document versions are rendered from: what it does, its parameters by
name, and the definitions of its body and answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pilothouse.api.catalog import Served, Subresource

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
STATUS = f"{META}.Status"
DELETE_OPTIONS = f"{META}.DeleteOptions"
PATCH = f"{META}.Patch"
WATCH_EVENT = f"{META}.WatchEvent"
RESOURCE_LIST = f"{META}.APIResourceList"
GROUP = f"{META}.APIGroup"

PRODUCES = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
)
PRODUCES_STREAM = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/cbor",
    "application/cbor-seq",
)
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
)
CUSTOM_PATCH_TYPES = tuple(t for t in PATCH_TYPES if "strategic" not in t)


class Parameter(NamedTuple):
    """`place` is query or path."""

    name: str
    type: str
    description: str
    place: str = "query"


_ALL_PARAMETERS = (
    Parameter("pretty", "string", "Indent the answer: 'true' for people who read it."),
    Parameter("dryRun", "string", "Do everything but store the result. The only value is All."),
    Parameter("fieldManager", "string", "Who makes the change: at most 128 printable characters."),
    Parameter(
        "fieldValidation", "string", "What to do with unknown or duplicate fields: Ignore, Warn or Strict."
    ),
    Parameter("force", "boolean", "Take fields over from other managers; for apply patches only."),
    Parameter("gracePeriodSeconds", "integer", "Seconds until the object is deleted; 0 deletes at once."),
    Parameter(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object that can no longer be read from the store, whatever that breaks.",
    ),
    Parameter("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    Parameter("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
    Parameter("labelSelector", "string", "Only objects whose labels match."),
    Parameter("fieldSelector", "string", "Only objects whose fields match."),
    Parameter("resourceVersion", "string", "The resource version that the answer is based on."),
    Parameter("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    Parameter("timeoutSeconds", "integer", "End the list or watch after so many seconds."),
    Parameter("limit", "integer", "At most so many objects; the answer says how to go on."),
    Parameter("continue", "string", "Where an earlier answer stopped."),
    Parameter("watch", "boolean", "Send changes as they come instead of a list."),
    Parameter("allowWatchBookmarks", "boolean", "Send BOOKMARK events with a recent resource version."),
    Parameter(
        "sendInitialEvents", "boolean", "Begin a watch with what there is and a bookmark that ends it."
    ),
    Parameter("name", "string", "The object's name.", "path"),
    Parameter("namespace", "string", "The object's namespace.", "path"),
    Parameter("path", "string", "The rest of the path, handed on as it is.", "path"),
    Parameter("container", "string", "The container; the only one when the pod has one."),
    Parameter("stdin", "boolean", "Pass standard input on."),
    Parameter("stdout", "boolean", "Send standard output."),
    Parameter("stderr", "boolean", "Send standard error."),
    Parameter("tty", "boolean", "Allocate a terminal."),
    Parameter("command", "string", "The command to run and its arguments."),
    Parameter("ports", "integer", "The ports to forward."),
    Parameter("follow", "boolean", "Go on sending the log as it grows."),
    Parameter("insecureSkipTLSVerifyBackend", "boolean", "Do not verify the kubelet's certificate."),
    Parameter("limitBytes", "integer", "At most so many bytes."),
    Parameter("previous", "boolean", "The log of the container that ran before."),
    Parameter("sinceSeconds", "integer", "Only what is younger than so many seconds."),
    Parameter("stream", "string", "All, Stdout or Stderr."),
    Parameter("tailLines", "integer", "Only the last lines."),
    Parameter("timestamps", "boolean", "Begin each line with its time."),
)
PARAMETERS = {p.name: p for p in _ALL_PARAMETERS}

_LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_DELETE = (
    "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents",
    "propagationPolicy",
)  # fmt: skip
_DELETE_COLLECTION = tuple(
    sorted({*_DELETE, *(p for p in _LIST if p not in ("allowWatchBookmarks", "watch"))})
)
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_PATCH = (*_WRITE, "force")
_CONNECT: dict[tuple[str, str], tuple[str, ...]] = {
    ("pods", "attach"): ("container", "stderr", "stdin", "stdout", "tty"),
    ("pods", "exec"): ("command", "container", "stderr", "stdin", "stdout", "tty"),
    ("pods", "portforward"): ("ports",),
    ("pods", "proxy"): ("path",),
    ("services", "proxy"): ("path",),
    ("nodes", "proxy"): ("path",),
}
_LOG = (
    "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds", "stream",
    "tailLines", "timestamps",
)  # fmt: skip
_METHODS = {"create": "post", "update": "put", "patch": "patch", "delete": "delete", "get": "get"}
_PROXY_METHODS = ("delete", "get", "head", "options", "patch", "post", "put")


@dataclass(slots=True)
class Operation:
    """`answers` are (code, definition), "" for plain text; `kind` is (group, version, kind)."""

    method: str
    id: str
    description: str
    action: str
    kind: tuple[str, str, str] | None
    parameters: tuple[str, ...]
    answers: tuple[tuple[int, str], ...]
    body: str = ""
    consumes: tuple[str, ...] = ("*/*",)
    produces: tuple[str, ...] = PRODUCES
    deprecated: bool = False


@dataclass(slots=True)
class Path:
    path: str
    parameters: tuple[str, ...]
    operations: list[Operation]
    tag: str


def camel(group: str) -> str:
    """RbacAuthorization for rbac.authorization.k8s.io, Core for the core group."""
    parts = re.split(r"[.\-]", (group or "core").removesuffix(".k8s.io"))
    return "".join(p[:1].upper() + p[1:] for p in parts)


def tag(group: str, version: str = "") -> str:
    """rbacAuthorization_v1."""
    name = camel(group)
    name = name[0].lower() + name[1:]
    return f"{name}_{version}" if version else name


def group_version(group: str, version: str, all_served: Iterable[Served]) -> Iterator[Path]:
    """Every path of a group-version, its own first."""
    prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
    identity = f"get{camel(group)}{_capital(version)}APIResources"
    read = Operation("get", identity, "get available resources", "", None, (), ((200, RESOURCE_LIST),))
    yield Path(f"{prefix}/", (), [read], tag(group, version))
    for served in all_served:
        yield from _Resource(served).paths()


def group_paths(group: str) -> Path:
    """/apis/GROUP/, or /api/ for the core group."""
    definition = GROUP if group else f"{META}.APIVersions"
    what = f"get{camel(group)}API{'Group' if group else 'Versions'}"
    about = "get information of a group" if group else "get available API versions"
    read = Operation("get", what, about, "", None, (), ((200, definition),))
    return Path(f"/apis/{group}/" if group else "/api/", (), [read], tag(group))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class _Resource:
    """The paths of one resource at one version."""

    def __init__(self, served: Served) -> None:
        self._served = served
        r = self._resource = served.resource
        self._kind = (r.group, r.version, r.kind)
        self._tag = tag(r.group, r.version)
        self._names = (camel(r.group) + _capital(r.version), "Namespaced" if r.namespaced else "")
        self._scope: tuple[str, ...] = ("namespace",) if r.namespaced else ()
        inner = "/namespaces/{namespace}" if r.namespaced else ""
        self._collection = f"{r.prefix}{inner}/{r.plural}"
        self._list = f"{served.definition.rpartition('.')[0]}.{served.list_kind}" if served.definition else ""
        self._patch_types = PATCH_TYPES if served.definition.startswith("io.k8s.") else CUSTOM_PATCH_TYPES

    def paths(self) -> Iterator[Path]:
        yield from self._of(self._collection, self._scope, self._collection_operations())
        item = f"{self._collection}/{{name}}"
        yield from self._of(item, ("name", *self._scope), self._item_operations())
        for name in sorted(self._served.subresources):
            sub = self._served.subresources[name]
            at = f"{item}/{name}"
            yield from self._of(at, ("name", *self._scope), self._sub_operations(sub))
            if name == "proxy":
                rest = list(self._proxy(sub, "WithPath"))
                yield from self._of(f"{at}/{{path}}", ("name", *self._scope, "path"), rest)
        r = self._resource
        if r.namespaced and "list" in self._served.verbs:
            yield Path(
                f"{r.prefix}/{r.plural}",
                (*_LIST, "pretty"),
                [self._list_operation(everywhere=True)],
                self._tag,
            )
        if "watch" in self._served.verbs:
            yield from self._watches()

    def _of(self, path: str, parameters: tuple[str, ...], operations: list[Operation]) -> Iterator[Path]:
        if operations:
            yield Path(path, (*parameters, "pretty"), operations, self._tag)

    def _id(self, verb: str, before: str = "", after: str = "") -> str:
        start, scope = self._names
        return f"{verb}{start}{before}{scope}{self._resource.kind}{after}"

    def _made(self) -> tuple[tuple[int, str], ...]:
        return tuple((code, self._served.definition) for code in (200, 201, 202))

    def _collection_operations(self) -> list[Operation]:
        verbs, kind, definition = self._served.verbs, self._resource.kind, self._served.definition
        found = []
        if "list" in verbs:
            found.append(self._list_operation(everywhere=False))
        if "create" in verbs:
            about = f"create {'an' if kind[0] in 'AEIOU' else 'a'} {kind}"
            found.append(
                Operation(
                    "post", self._id("create"), about, "post", self._kind, _WRITE, self._made(), definition
                )
            )
        if "deletecollection" in verbs:
            found.append(
                Operation(
                    "delete",
                    self._id("delete", "Collection"),
                    f"delete collection of {kind}",
                    "deletecollection",
                    self._kind,
                    _DELETE_COLLECTION,
                    ((200, STATUS),),
                    DELETE_OPTIONS,
                )
            )
        return found

    def _list_operation(self, *, everywhere: bool) -> Operation:
        kind = self._resource.kind
        start, scope = self._names
        identity = f"list{start}{kind}ForAllNamespaces" if everywhere else f"list{start}{scope}{kind}"
        return Operation(
            "get",
            identity,
            f"list or watch objects of kind {kind}",
            "list",
            self._kind,
            () if everywhere else _LIST,
            ((200, self._list),),
            produces=PRODUCES_STREAM,
        )

    def _item_operations(self) -> list[Operation]:
        verbs, definition = self._served.verbs, self._served.definition
        found = []
        if "get" in verbs:
            found.append(self._read(self._id("read"), "read the specified", definition, self._kind))
        if "update" in verbs:
            found.append(self._replace(self._id("replace"), "replace the specified", definition, self._kind))
        if "patch" in verbs:
            found.append(
                self._patch(self._id("patch"), "partially update the specified", definition, self._kind)
            )
        if "delete" in verbs:
            answer = definition if self._resource.plural in ("pods", "services") else STATUS
            found.append(
                Operation(
                    "delete",
                    self._id("delete"),
                    f"delete {'an' if self._resource.kind[0] in 'AEIOU' else 'a'} {self._resource.kind}",
                    "delete",
                    self._kind,
                    _DELETE,
                    ((200, answer), (202, answer)),
                    DELETE_OPTIONS,
                )
            )
        return found

    def _read(self, identity: str, about: str, definition: str, kind: tuple[str, str, str]) -> Operation:
        about = f"{about} {self._resource.kind}"
        return Operation("get", identity, about, "get", kind, (), ((200, definition),))

    def _replace(self, identity: str, about: str, definition: str, kind: tuple[str, str, str]) -> Operation:
        answers = ((200, definition), (201, definition))
        about = f"{about} {self._resource.kind}"
        return Operation("put", identity, about, "put", kind, _WRITE, answers, definition)

    def _patch(self, identity: str, about: str, definition: str, kind: tuple[str, str, str]) -> Operation:
        answers = ((200, definition), (201, definition))
        about = f"{about} {self._resource.kind}"
        return Operation(
            "patch", identity, about, "patch", kind, _PATCH, answers, PATCH, consumes=self._patch_types
        )

    def _sub_operations(self, sub: Subresource) -> list[Operation]:
        if sub.name == "proxy":
            return list(self._proxy(sub))
        if (self._resource.plural, sub.name) in _CONNECT:
            return list(self._connect(sub))
        after = _capital(sub.name)
        kind = (sub.group, sub.version, sub.kind)
        definition = self._definition(sub)
        of = f"{sub.name} of the specified"
        found = []
        if sub.name == "log":
            read = self._read(self._id("read", after="Log"), f"read {of}", "", self._kind)
            read.parameters, read.produces = _LOG, ("text/plain", *PRODUCES)
            return [read]
        if "get" in sub.verbs:
            found.append(self._read(self._id("read", after=after), f"read {of}", definition, kind))
        if "update" in sub.verbs:
            found.append(self._replace(self._id("replace", after=after), f"replace {of}", definition, kind))
        if "patch" in sub.verbs:
            found.append(
                self._patch(self._id("patch", after=after), f"partially update {of}", definition, kind)
            )
        if "create" in sub.verbs:
            found.append(
                Operation(
                    "post",
                    self._id("create", after=after),
                    f"create {sub.name} of a {self._resource.kind}",
                    "post",
                    kind,
                    _WRITE,
                    tuple((code, definition) for code in (200, 201, 202)),
                    definition,
                )
            )
        return found

    def _definition(self, sub: Subresource) -> str:
        """Of a subresource's kind: its resource's own, or the one of another group (scale)."""
        r = self._resource
        if (sub.group, sub.version, sub.kind) == (r.group, r.version, r.kind):
            return self._served.definition
        name = sub.group.partition(".")[0] or "core"
        return f"io.k8s.api.{name}.{sub.version}.{sub.kind}"

    def _connect(self, sub: Subresource) -> Iterator[Operation]:
        parameters = _CONNECT[(self._resource.plural, sub.name)]
        for verb in sub.verbs:
            method = _METHODS[verb]
            yield self._connection(method, sub, _capital(method), _capital(sub.name), parameters)

    def _proxy(self, sub: Subresource, after: str = "") -> Iterator[Operation]:
        for method in _PROXY_METHODS:
            yield self._connection(
                method, sub, _capital(method), f"Proxy{after}", ("path",) if not after else ()
            )

    def _connection(
        self, method: str, sub: Subresource, verb: str, after: str, parameters: tuple[str, ...]
    ) -> Operation:
        start, scope = self._names
        return Operation(
            method,
            f"connect{start}{verb}{scope}{self._resource.kind}{after}",
            f"connect {method.upper()} requests to {sub.name} of {self._resource.kind}",
            "connect",
            (sub.group, sub.version, sub.kind),
            parameters,
            ((200, ""),),
            produces=("*/*",),
        )

    def _watches(self) -> Iterator[Path]:
        """The deprecated /watch/ paths."""
        r = self._resource
        start, scope = self._names
        kind = r.kind
        inner = "/namespaces/{namespace}" if r.namespaced else ""
        collection = f"{r.prefix}/watch{inner}/{r.plural}"
        yield self._watch(collection, self._scope, f"watch{start}{scope}{kind}List", "watchlist")
        yield self._watch(f"{collection}/{{name}}", ("name", *self._scope), self._id("watch"), "watch")
        if r.namespaced:
            path = f"{r.prefix}/watch/{r.plural}"
            yield self._watch(path, (), f"watch{start}{kind}ListForAllNamespaces", "watchlist")

    def _watch(self, path: str, parameters: tuple[str, ...], identity: str, action: str) -> Path:
        what = "individual changes to a list of" if action == "watchlist" else "changes to an object of kind"
        about = (
            f"watch {what} {self._resource.kind}. deprecated: use the 'watch' parameter with a list operation"
        )
        operation = Operation(
            "get",
            identity,
            about + (" instead." if action == "watchlist" else " instead, filtered to a single item."),
            action,
            self._kind,
            (),
            ((200, WATCH_EVENT),),
            produces=PRODUCES_STREAM,
        )
        return Path(path, (*_LIST, *parameters, "pretty"), [operation], self._tag)
