"""Serves the documents: which exist, their hashes, caching and negotiation
(k8s.io/kube-openapi/pkg/handler and handler3)."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from pilothouse.api import errors
from pilothouse.api.catalog import Served
from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.schema.types import Types
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.openapi import custom, extensions, paths, render, v2_protobuf
from pilothouse.apiserver.endpoints.openapi.extensions import Extension
from pilothouse.apiserver.endpoints.openapi.paths import META, Operation, Path
from pilothouse.apiserver.endpoints.openapi.schemas import V2_PREFIX, V3_PREFIX, Schemas
from pilothouse.apiserver.request import Request, Response

JSON = "application/json"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What protobuf answers call themselves, also to those who ask by the old name: that one has an @, which Go's MIME
parser refuses."""
_V2_PROTOBUF_NAMES = ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", V2_PROTOBUF)
_ROOT = "/openapi/v3"
_FOREVER = "public, immutable"
_FAR_FUTURE = "Fri, 31 Dec 2100 00:00:00 GMT"

_VERSION_INFO = "io.k8s.apimachinery.pkg.version.Info"
_SINGLE: dict[str, tuple[str, str, str]] = {
    ".well-known/openid-configuration": (
        "getServiceAccountIssuerOpenIDConfiguration",
        "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
        "",
    ),
    "openid/v1/jwks": (
        "getServiceAccountIssuerOpenIDKeyset",
        "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
        "",
    ),
    "version": ("getCodeVersion", "get the version information for this server", _VERSION_INFO),
}
"""Documents of paths that are no resources: operation id, description, definition of the answer."""


class OpenApi:
    """`version` is what the documents call the server's. Resources come and go by `add` and `remove`."""

    def __init__(self, definitions: Definitions, types: Types, version: str) -> None:
        self._schemas = Schemas(definitions, types)
        self._version = version
        self._served: dict[tuple[str, str], dict[str, Served]] = {}
        self._custom: dict[tuple[str, str, str], Obj] = {}
        self._compressed: dict[str, bytes] = {}
        self._hashes: dict[str, str] = {}
        self._extensions: dict[tuple[str, str], Extension] = {}

    def set_extension(self, group: str, version: str, extension: Extension | None) -> None:
        """What an extension API server says of a version that it serves; None when it serves it no longer."""
        if self._extensions.get((group, version)) == extension:
            return
        if extension is None:
            del self._extensions[(group, version)]
        else:
            self._extensions[(group, version)] = extension
        self._changed(group, version)

    def add(self, served: Served, schema: Obj | None = None) -> None:
        """Serve a resource; `schema` is a custom resource's openAPIV3Schema ({} for none)."""
        r = served.resource
        self._served.setdefault((r.group, r.version), {})[r.plural] = served
        if schema is not None:
            self._custom[(r.group, r.version, r.plural)] = schema
            served.definition = custom.definition_name(r.group, r.version, r.kind)
        self._changed(r.group, r.version)

    def remove(self, served: Served) -> None:
        r = served.resource
        listed = self._served.get((r.group, r.version), {})
        listed.pop(r.plural, None)
        if not listed:
            self._served.pop((r.group, r.version), None)
        self._custom.pop((r.group, r.version, r.plural), None)
        self._changed(r.group, r.version)

    def _changed(self, group: str, version: str) -> None:
        if self._compressed or self._hashes:
            for name in (_name(group, version), "v2", "v2-protobuf"):
                self._compressed.pop(name, None)
                self._hashes.pop(name, None)

    async def handle(self, request: Request) -> Response:
        """/openapi/v2, /openapi/v3 and below. Others: 404 as Go's mux says it."""
        path = request.path.rstrip("/")
        if path == "/openapi/v2":
            return self._serve_v2(request)
        if path == _ROOT:
            return _answer(msgspec.json.encode({"paths": self._index()}), JSON)
        if path.startswith(_ROOT + "/"):
            for (group, version), extension in self._extensions.items():
                if path == f"{_ROOT}/{_name(group, version)}" and extension.url:
                    return await extension.handle(request)
            return self._serve_v3(request, path[len(_ROOT) + 1 :])
        return Response(
            404,
            b"404 page not found\n",
            {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"},
        )

    # -- version 3 --------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        names = {*_SINGLE, "api", "apis"}
        for group, version in self._served:
            names.add(_name(group, version))
            if group:
                names.add(f"apis/{group}")
        return sorted(names)

    def _index(self) -> Obj:
        found = {
            name: {"serverRelativeURL": f"{_ROOT}/{name}?hash={quote(self._hash(name))}"}
            for name in self._names()
        }
        for (group, version), extension in self._extensions.items():
            if extension.url:
                found[_name(group, version)] = {"serverRelativeURL": extension.url}
        return dict(sorted(found.items()))

    def _serve_v3(self, request: Request, name: str) -> Response:
        if name not in self._names():
            return Response(404, b"", {})
        digest = self._hash(name)
        headers = {"ETag": f'"{digest}"', "Vary": "Accept"}
        asked = request.param("hash")
        if asked and asked != digest:
            location = f"{_ROOT}/{name}?hash={digest}"
            return Response(301, b"", {"Location": location})
        if asked:
            headers |= {"Cache-Control": _FOREVER, "Expires": _FAR_FUTURE}
        if not _accepts(request, (JSON,)):
            raise errors.not_acceptable(f"only the following media types are accepted: {JSON}")
        return self._document(request, name, lambda: self._encode_v3(name), JSON, headers)

    def _hash(self, name: str) -> str:
        """Of what a document is made from, so that the index costs no documents."""
        found = self._hashes.get(name)
        if found is None:
            found = hashlib.sha512(repr(self._ingredients(name)).encode()).hexdigest().upper()
            self._hashes[name] = found
        return found

    def _ingredients(self, name: str) -> list[object]:
        made: list[object] = [self._version, name]
        for (group, version), resources in sorted(self._served.items()):
            if name in ("v2", _name(group, version)):
                for plural, served in sorted(resources.items()):
                    schema = self._custom.get((group, version, plural))
                    subresources = sorted(served.subresources)
                    made.append((plural, served.resource.kind, served.verbs, subresources, schema))
        if name == "v2":
            made += [(gv, e.v2) for gv, e in sorted(self._extensions.items(), key=lambda item: item[0])]
        return made

    def _encode_v3(self, name: str) -> bytes:
        found = self._paths_of(name)
        schemas = self._schemas.v3(_wanted(found))
        for key in self._customs(name):
            schemas |= custom.definitions(
                self._served[key[:2]][key[2]], self._custom[key], V3_PREFIX, v2=False
            )
        return msgspec.json.encode(render.v3(found, schemas, self._version))

    def _customs(self, name: str) -> list[tuple[str, str, str]]:
        return [key for key in self._custom if name in ("v2", _name(key[0], key[1]))]

    def _paths_of(self, name: str) -> list[Path]:
        if name in _SINGLE:
            return [_single(name)]
        if name == "api":
            return [paths.group_paths("")]
        if name == "apis":
            return [_groups()]
        for (group, version), resources in self._served.items():
            if name == _name(group, version):
                return list(paths.group_version(group, version, resources.values()))
            if name == f"apis/{group}":
                return [paths.group_paths(group)]
        return []

    # -- version 2 --------------------------------------------------------------------------------------

    def _serve_v2(self, request: Request) -> Response:
        chosen = _accepts(request, (JSON, *_V2_PROTOBUF_NAMES))
        if not chosen:
            raise errors.not_acceptable(
                f"only the following media types are accepted: {JSON}, {', '.join(_V2_PROTOBUF_NAMES)}"
            )
        headers = {"ETag": f'"{self._hash("v2")}"', "Vary": "Accept"}
        if chosen == JSON:
            return self._document(request, "v2", self._encode_v2, JSON, headers)
        return self._document(request, "v2-protobuf", self._encode_v2_protobuf, V2_PROTOBUF, headers)

    def _v2(self) -> Obj:
        found = [path for name in self._names() for path in self._paths_of(name)]
        schemas = self._schemas.v2(_wanted(found))
        for key in self._customs("v2"):
            schemas |= custom.definitions(
                self._served[key[:2]][key[2]], self._custom[key], V2_PREFIX, v2=True
            )
        document = render.v2(sorted(found, key=lambda p: p.path), schemas, self._version)
        return extensions.merged(document, [e.v2 for e in self._extensions.values() if e.v2])

    def _encode_v2(self) -> bytes:
        return msgspec.json.encode(self._v2())

    def _encode_v2_protobuf(self) -> bytes:
        return v2_protobuf.encode(self._v2())

    # -- answers ----------------------------------------------------------------------------------------

    def _document(
        self,
        request: Request,
        name: str,
        make: Callable[[], bytes],
        media_type: str,
        headers: dict[str, str],
    ) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(304, b"", headers)
        compressed = self._compressed.get(name)
        if compressed is None:
            compressed = self._compressed[name] = gzip.compress(make(), compresslevel=4, mtime=0)
        headers = {**headers, "Content-Type": media_type}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(200, compressed, headers)
        return Response(200, gzip.decompress(compressed), headers)


def _answer(body: bytes, media_type: str) -> Response:
    return Response(200, body, {"Content-Type": media_type})


def _name(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _wanted(found: list[Path]) -> set[str]:
    """The definitions of operations, and those that every document brings for its custom kinds."""
    return render.definitions_of(found) | {f"{META}.ObjectMeta", f"{META}.ListMeta"}


def _single(name: str) -> Path:
    identity, about, definition = _SINGLE[name]
    operation = Operation("get", identity, about, "", None, (), ((200, definition),), produces=(JSON,))
    return Path(f"/{name}/" if name == "version" else f"/{name}", (), [operation], name.partition("/")[0])


def _groups() -> Path:
    answers = ((200, f"{META}.APIGroupList"),)
    operation = Operation("get", "getAPIVersions", "get available API versions", "", None, (), answers)
    return Path("/apis/", (), [operation], "apis")


def _accepts(request: Request, offered: tuple[str, ...]) -> str:
    """The first offered type that the Accept header names; "" when it names none."""
    accept = request.headers.get("accept", "")
    if not accept:
        return offered[0]
    for clause in accept.split(","):
        media_type = clause.partition(";")[0].strip()
        if media_type in offered:
            return media_type
        if media_type in ("*/*", "application/*"):
            return offered[0]
    return ""
