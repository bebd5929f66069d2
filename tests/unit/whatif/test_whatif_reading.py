"""Objects from files, as kubectl prints them and as people write them; and from a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.api.errors import ApiError, forbidden, not_found
from pilothouse.api.resources import LIMIT_RANGES, NODES, PODS, PRIORITY_CLASSES, Resource
from pilothouse.api.types import Obj
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.whatif import Snapshot, listing
from pilothouse.whatif.kinds import BadObject
from pilothouse.whatif.reading import parse, read
from tests.unit.whatif.clusters import node, pod

DOCUMENTS = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: a, creationTimestamp: 2026-02-03T04:05:06Z}}
---
---
{"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "web"}, "spec": {"containers": []}}]}
"""


def test_documents_lists_and_typed_lists(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(DOCUMENTS)
    assert [(obj["kind"], obj["metadata"]["name"]) for obj in read(file)] == [("Node", "a"), ("Pod", "web")]
    snapshot = Snapshot(read(file))
    found = snapshot.get(NODES, "a")
    assert found is not None
    assert found["metadata"]["creationTimestamp"] == "2026-02-03T04:05:06Z"
    assert [pod["metadata"]["namespace"] for pod in snapshot.list(PODS)] == ["default"]


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.json").write_text(
        '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}}'
    )
    (tmp_path / "a.yml").write_text("{apiVersion: v1, kind: Node, metadata: {name: a}}")
    (tmp_path / "README.md").write_text("no object")
    assert [obj["metadata"]["name"] for obj in read(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("text", ["just words", "[1, 2]", "kind: Pod", "a: b: c", "{"])
def test_what_holds_no_objects(text: str) -> None:
    with pytest.raises(BadObject, match=r"^file\.yaml: "):
        parse(text.encode(), "file.yaml")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(BadObject, match=r"no \.yaml, \.yml, \.json file is in it"):
        read(tmp_path)


class Server:
    """Lists what it has; pods are somebody else's."""

    def __init__(self, forbidden_plural: str) -> None:
        self._forbidden = forbidden_plural

    async def list(self, resource: Resource, namespace: str = "", **params: str) -> Obj:
        if resource.plural == self._forbidden:
            raise forbidden(resource.group, resource.plural, "", "not yours")
        if resource == PRIORITY_CLASSES:
            raise not_found(resource.group, resource.plural, "")
        found = {NODES: [node("a")], PODS: [pod("web")]}.get(resource, [])
        return {"items": [{k: v for k, v in obj.items() if k not in ("kind", "apiVersion")} for obj in found]}


def test_a_cluster_is_listed_and_what_may_not_be_read_is_told() -> None:
    warnings: list[str] = []
    wanted = (NODES, PODS, LIMIT_RANGES, PRIORITY_CLASSES)
    snapshot = run_virtual(listing.taken(Server("limitranges"), wanted, warnings))  # type: ignore[arg-type]
    assert [obj["kind"] for obj in (*snapshot.list(NODES), *snapshot.list(PODS))] == ["Node", "Pod"]
    assert len(warnings) == 1
    assert warnings[0].endswith("not yours; taken to be none")
    with pytest.raises(ApiError):
        run_virtual(listing.taken(Server("pods"), wanted, warnings))  # type: ignore[arg-type]


def test_the_scheduler_itself_says_what_it_looks_at() -> None:
    found = {resource.plural for resource in listing.resources()}
    assert {"nodes", "pods", "namespaces", "services", "poddisruptionbudgets"} <= found
