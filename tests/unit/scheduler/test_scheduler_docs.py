"""The examples of docs/scheduling/README.md do what the page says, in virtual time."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import yaml

from pilothouse.api.catalog import Catalog
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES, PODS, RESOURCE_CLAIMS, RESOURCE_QUOTAS, RESOURCE_SLICES
from pilothouse.api.types import Obj
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.scheduler import build
from pilothouse.scheduler.config.load import parse
from pilothouse.scheduler.config.plugin_sets import OWN
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.nominator import Nominator
from tests.unit.scheduler.test_scheduler_gangs import Gangland, gangland

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "scheduling" / "README.md").read_text()
EXAMPLES = dict(re.findall(r"^```yaml\n# (.*?)\n(.*?)^```", PAGE, re.M | re.S))
CATALOG = Catalog("1.36", "scheduling.k8s.io/v1alpha2=true")


async def apply(c: Gangland, example: str) -> None:
    for obj in yaml.safe_load_all(EXAMPLES[example]):
        group, _, version = obj["apiVersion"].rpartition("/")
        served = CATALOG.by_kind(group, version, obj["kind"])
        assert served is not None, obj
        await c.client.create(served.resource, obj, "default" if served.resource.namespaced else "")
    await c.settle()


async def a_copy(c: Gangland, example: str, name: str) -> None:
    """One more of the example's last pod."""
    obj = list(yaml.safe_load_all(EXAMPLES[example]))[-1]
    obj["metadata"]["name"] = name
    await c.client.create(PODS, obj, "default")
    await c.settle()


async def place(c: Gangland, name: str) -> str:
    found: Obj = await c.client.get(PODS, name, "default")
    return str(found["spec"].get("nodeName", ""))


async def change_node(c: Gangland, name: str, labels: dict[str, str] | None = None, **spec: object) -> None:
    await c.client.patch(NODES, name, {"metadata": {"labels": labels or {}}, "spec": spec})


async def gang(c: Gangland) -> None:
    await c.node("a", "6")
    await apply(c, "gang")
    assert await c.places("worker") == ["", ""]
    await a_copy(c, "gang", "worker-2")
    assert await c.places("worker") == ["a", "a", "a"]


async def gang_by_label(c: Gangland) -> None:
    await c.node("a")
    await apply(c, "gang by label")
    assert await c.places("nginx") == [""]
    await a_copy(c, "gang by label", "nginx-1")
    assert await c.places("nginx") == ["a", "a"]


async def quota_of_a_group(c: Gangland) -> None:
    await c.node("a")
    await apply(c, "quota of a group")
    assert await place(c, "within") == "a"
    quota = await c.client.get(RESOURCE_QUOTAS, "training", "default")
    counted = {"status": {"hard": quota["spec"]["hard"], "used": {"pods": "1", "requests.cpu": "2"}}}
    await c.client.patch(
        RESOURCE_QUOTAS, "training", counted, "default", subresource="status"
    )  # as its controller
    with pytest.raises(ApiError, match="exceeded quota: training"):
        await a_copy(c, "quota of a group", "beyond")


async def hardware(c: Gangland) -> None:
    await c.node("a")
    await c.node("b")
    gpu = {"status": {"capacity": {"example.com/gpu": "1"}, "allocatable": {"example.com/gpu": "1"}}}
    for name in ("a", "b"):
        await c.client.patch(NODES, name, gpu, subresource="status")
    await change_node(c, "b", {"feature.node.kubernetes.io/cpu-cpuid.AVX512F": "true"})
    await c.settle()
    await apply(c, "hardware")
    assert await place(c, "render") == "b"
    await a_copy(c, "hardware", "render-2")
    assert "Insufficient example.com/gpu" in (await c.condition("render-2"))["message"]


async def devices(c: Gangland) -> None:
    boards = {
        "a": [("1", "40Gi"), ("2", "40Gi")],
        "b": [("1", "10Gi"), ("1", "40Gi"), ("1", "40Gi")],
        "c": [],
    }
    for node, cards in boards.items():
        await c.node(node)
        listed = [
            {
                "name": f"gpu-{n}",
                "attributes": {"board": {"string": board}},
                "capacity": {"memory": {"value": size}},
            }
            for n, (board, size) in enumerate(cards)
        ]
        pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": "gpu.example.com", "nodeName": node, "pool": pool, "devices": listed}
        await c.client.create(RESOURCE_SLICES, {"metadata": {"name": node}, "spec": spec})
    await apply(c, "devices")
    assert await place(c, "train") == "b"
    claim = await c.client.get(RESOURCE_CLAIMS, "two-cards", "default")
    found = [each["device"] for each in claim["status"]["allocation"]["devices"]["results"]]
    assert found == ["gpu-1", "gpu-2"]
    await a_copy(c, "devices", "train-2")
    assert await place(c, "train-2") == "b"


async def software(c: Gangland) -> None:
    await c.node("a")
    await c.node("b")
    await change_node(c, "a", {"kubernetes.io/os": "linux"})
    await change_node(c, "b", {"kubernetes.io/os": "windows"})
    await c.settle()
    await apply(c, "software")
    assert await place(c, "legacy") == "b"


async def policy(c: Gangland) -> None:
    await c.node("a")
    await change_node(c, "a", taints=[{"key": "dedicated", "value": "batch", "effect": "NoSchedule"}])
    await apply(c, "policy")
    assert (await c.condition("held"))["reason"] == "SchedulingGated"
    await c.client.patch(PODS, "held", {"spec": {"schedulingGates": None}}, "default")
    await c.settle()
    assert await place(c, "held") == "a"


async def affinity(c: Gangland) -> None:
    for name in ("a", "b"):
        await c.node(name)
        await change_node(c, name, {"kubernetes.io/hostname": name})
    await c.settle()
    await apply(c, "affinity")
    assert sorted(await c.places("replica")) == ["a", "b"]


async def data_locality(c: Gangland) -> None:
    for name, zone in (("a", "1"), ("b", "1"), ("c", "2")):
        await c.node(name)
        await change_node(c, name, {"topology.kubernetes.io/zone": zone})
    await apply(c, "data locality")
    assert 'were too far from data set "imagenet"' in (await c.condition("train"))["message"]
    held = "data-set.scheduling.pilothouse.dev/"
    await change_node(c, "a", {f"{held}labels": "true"})
    await change_node(c, "b", {f"{held}imagenet": "true"})
    await c.settle(12)
    assert await place(c, "train") == "b", "150Gi weigh more than 2Gi"


async def interference(c: Gangland) -> None:
    await c.node("a")
    await apply_one(c, "interference", 0)
    await c.node("b")
    await c.pod("other", cpu="2", nodeName="b")
    await c.settle()
    await apply_one(c, "interference", 1)
    assert (await place(c, "scan"), await place(c, "lookup")) == ("a", "b"), "though b is fuller"


async def apply_one(c: Gangland, example: str, number: int) -> None:
    obj = list(yaml.safe_load_all(EXAMPLES[example]))[number]
    await c.client.create(PODS, obj, "default")
    await c.settle()


async def deadlines(c: Gangland) -> None:
    """The clock starts at midnight of 2026-01-01."""
    await c.node("a")
    await apply(c, "deadlines")
    assert await place(c, "nightly-report") == "a"
    await c.settle(5.5 * 3600)
    await a_copy(c, "deadlines", "second")
    assert await place(c, "second") == ""
    text = "deadline 2026-01-01T06:00:00Z cannot be met: "
    text += "the pod runs for 45m0s and had to start by 2026-01-01T05:15:00Z"
    assert ("DeadlineCannotBeMet", text) in await c.events("second")
    assert text in (await c.condition("second"))["message"]


async def configuration(c: Gangland) -> None:
    config = parse(EXAMPLES["configuration"].encode())
    informers = Informers(c.client, c.world)
    recorder = EventRecorder(c.client, "x", c.world)
    made = build.profiles(build.checked(config), Handle(c.client, informers, c.world, recorder, Nominator()))
    profile = made["default-scheduler"]
    names = {plugin.name for plugin in profile.plugins}
    assert names & set(OWN) == {"Deadlines", "DataLocality", "Interference"}
    assert (profile.weights["Interference"], profile.weights["DataLocality"]) == (5, 2)


CHECKS: Mapping[str, Callable[[Gangland], Awaitable[None]]] = {
    "gang": gang,
    "gang by label": gang_by_label,
    "quota of a group": quota_of_a_group,
    "hardware": hardware,
    "devices": devices,
    "software": software,
    "policy": policy,
    "affinity": affinity,
    "data locality": data_locality,
    "interference": interference,
    "deadlines": deadlines,
    "configuration": configuration,
}


def test_every_example_of_the_page_is_checked() -> None:
    assert list(EXAMPLES) == list(CHECKS)
    assert PAGE.count("```yaml") == len(EXAMPLES)


@pytest.mark.parametrize("example", CHECKS)
def test_the_example_does_what_the_page_says(example: str) -> None:
    async def main() -> None:
        async with gangland() as c:
            await CHECKS[example](c)

    run_virtual(main())
