"""docs/controllers.md as it stands, and what its controllers rest on."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS
from pilothouse.api.types import Obj
from pilothouse.client import predicates
from pilothouse.client.reconciler import Controller
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.operator import Operator
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

PAGE = Path(__file__).parents[3] / "docs" / "controllers.md"


def write_files(directory: Path) -> list[str]:
    """The page's files, by the comment in their first line."""
    found = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for name, text in found:
        (directory / name).write_text(text)
    return [name for name, _ in found]


def test_the_page_works_as_it_stands(tmp_path: Path) -> None:
    assert write_files(tmp_path) == ["greetings.py", "main.py", "test_greetings.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "test_greetings.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("test", "old", "new", "matters"),
    [
        (predicates.generation_changed, {"generation": 1}, {"generation": 2}, True),
        (predicates.generation_changed, {"generation": 1, "labels": {}}, {"generation": 1}, False),
        (predicates.generation_changed, {}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, True),
        (predicates.labels_changed, {"labels": {"a": "1"}}, {"labels": {"a": "2"}}, True),
        (predicates.annotations_changed, {"labels": {"a": "1"}}, {"labels": {"a": "2"}}, False),
        (predicates.content_changed, {"generation": 1}, {"generation": 2}, False),
        (predicates.never, {"generation": 1}, {"generation": 2}, False),
    ],
)
def test_predicates(test: predicates.Changed, old: Obj, new: Obj, matters: bool) -> None:
    assert test({"metadata": old}, {"metadata": new}) is matters
    negated = predicates.all_of(test, predicates.never)
    assert negated({"metadata": old}, {"metadata": new}) is False
    assert predicates.any_of(test, predicates.never)({"metadata": old}, {"metadata": new}) is matters


class Writes(Controller):
    """What it does is in its config maps' data."""

    name: ClassVar[str] = "writes"

    def setup(self) -> None:
        self.maps = self.watch(CONFIG_MAPS, labelSelector="mine=yes")
        self.seen: list[str] = []

    async def reconcile(self, key: str) -> float | None:
        self.seen.append(key)
        found = self.maps.get(key)
        if found is not None:
            child = {"metadata": {"name": f"{found['metadata']['name']}-child"}, "data": {"by": "writes"}}
            await self.apply(CONFIG_MAPS, child, owner=(CONFIG_MAPS, found))
        return None


async def with_writes(steps: Any) -> None:
    world = simulated_world(1)
    async with Cluster(ClusterOptions(secure_port=None, nodes=0), world) as cluster:
        client = cluster.client()
        async with Operator([Writes], client, world) as operator:
            body: Obj = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "m", "labels": {"mine": "yes"}},
            }
            await client.create(CONFIG_MAPS, body, "default")
            await asyncio.sleep(1)
            await steps(client, operator.controllers[0])


def test_applying_the_same_again_writes_nothing_and_keeps_what_others_wrote() -> None:
    async def steps(client: Any, controller: Writes) -> None:
        await client.patch(CONFIG_MAPS, "m-child", {"data": {"note": "mine"}}, "default")
        before = await client.get(CONFIG_MAPS, "m-child", "default")
        await controller.reconcile("default/m")
        after = await client.get(CONFIG_MAPS, "m-child", "default")
        assert after["data"] == {"by": "writes", "note": "mine"}
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        [ref] = after["metadata"]["ownerReferences"]
        assert (ref["kind"], ref["name"], ref["controller"]) == ("ConfigMap", "m", True)

    run_virtual(with_writes(steps))


def test_a_finalizer_is_set_on_the_revision_that_was_seen() -> None:
    async def steps(client: Any, controller: Writes) -> None:
        old = await client.get(CONFIG_MAPS, "m", "default")
        await client.patch(CONFIG_MAPS, "m", {"data": {"a": "1"}}, "default")
        with pytest.raises(ApiError) as caught:
            await controller.set_finalizer(CONFIG_MAPS, old, "example.com/f", wanted=True)
        assert caught.value.code == 409
        new = await client.get(CONFIG_MAPS, "m", "default")
        await controller.set_finalizer(CONFIG_MAPS, new, "example.com/f", wanted=True)
        held = await client.get(CONFIG_MAPS, "m", "default")
        assert held["metadata"]["finalizers"] == ["example.com/f"]
        await controller.set_finalizer(CONFIG_MAPS, held, "example.com/f", wanted=True)
        same = await client.get(CONFIG_MAPS, "m", "default")
        assert same["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]

    run_virtual(with_writes(steps))
