"""Devices of simulated nodes, from the annotation to a pod that has one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from nodes_simulation import Simulation, container

from pilothouse.api.catalog import Catalog
from pilothouse.api.resources import DEVICE_CLASSES, EVENTS, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES, Resource
from pilothouse.api.types import Obj
from pilothouse.nodes.devices import DevicesError, read

DOCS = Path(__file__).parents[3] / "docs" / "devices.md"
Simulate = Callable[..., Any]
TEMPLATES = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
TWO = (
    "gpu.example.com: {count: 2, name: gpu, attributes: {model: A100, cores: 108}, capacity: {memory: 40Gi}}"
)


def test_devices_are_counted_or_listed() -> None:
    text = """
        gpu.example.com: {count: 1, name: gpu, attributes: {model: A, n: 2, ok: true}, capacity: {memory: 1Gi}}
        nic.example.com:
        - {name: eth, attributes: {speed: {int: 9}, driver: {version: 1.2.3}}, allowMultipleAllocations: true}
    """
    (gpu,), (nic,) = read(text).values()
    attributes = {"model": {"string": "A"}, "n": {"int": 2}, "ok": {"bool": True}}
    assert gpu == {"name": "gpu-0", "attributes": attributes, "capacity": {"memory": {"value": "1Gi"}}}
    assert nic["attributes"] == {"speed": {"int": 9}, "driver": {"version": "1.2.3"}}
    assert nic["allowMultipleAllocations"] is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "while parsing"),
        ("x", "names of their drivers"),
        ("d: 3", "d: a list of devices or a count"),
        ("d: {count: -1}", "d: count must be a whole number from 0 on, not -1"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, said: str) -> None:
    with pytest.raises(DevicesError, match=said):
        read(text)


async def _annotate(s: Simulation, text: str | None) -> None:
    await s.client.patch(NODES, "node-0", {"metadata": {"annotations": {"pilothouse.dev/devices": text}}})
    await s.passes(2)


async def _slices(s: Simulation) -> dict[str, Obj]:
    found = await s.client.list(RESOURCE_SLICES)
    return {each["metadata"]["name"]: each["spec"] for each in found["items"]}


def test_a_nodes_devices_follow_its_annotation(simulate: Simulate) -> None:
    async def scenario(s: Simulation) -> None:
        await _annotate(s, TWO)
        (spec,) = (await _slices(s)).values()
        assert [each["name"] for each in spec["devices"]] == ["gpu-0", "gpu-1"]
        assert (spec["nodeName"], spec["pool"]["generation"]) == ("node-0", 1)
        await _annotate(s, TWO.replace("count: 2", "count: 130"))
        made = await _slices(s)
        assert [len(made[name]["devices"]) for name in sorted(made)] == [128, 2]
        assert {
            (each["pool"]["generation"], each["pool"]["resourceSliceCount"]) for each in made.values()
        } == {(2, 2)}
        await _annotate(s, TWO + "\nnic.example.com: {count: 1}")
        assert sorted(await _slices(s)) == ["node-0-gpu.example.com", "node-0-nic.example.com"]
        await _annotate(s, None)
        assert await _slices(s) == {}

    simulate(scenario)


def test_the_page_on_devices_works_as_it_stands(simulate: Simulate) -> None:
    """docs/devices.md: its annotation, then its objects; and the annotation that explains the form."""
    page = DOCS.read_text()
    said = re.search(r"kubectl annotate node node-0 'pilothouse.dev/devices=(.*)'", page)
    objects, form = re.findall(r"```yaml\n(.*?)```", page, re.S)
    assert said is not None
    annotation = said[1]
    assert [device["name"] for device in read(form)["nic.example.com"]] == ["eth-0", "eth-1"]

    async def scenario(s: Simulation) -> None:
        await _annotate(s, annotation)
        for obj in yaml.safe_load_all(objects):
            group, _, version = obj["apiVersion"].rpartition("/")
            served = Catalog().by_kind(group, version, obj["kind"])
            assert served is not None
            await s.create(served.resource, obj, "default" if served.resource.namespaced else "")
        await s.passes(10)
        assert (await s.status("train"))["phase"] == "Running"
        await _annotate(s, form)
        assert sorted(await _slices(s)) == ["node-0-gpu.example.com", "node-0-nic.example.com"]

    simulate(scenario)


def test_devices_that_make_no_sense_are_told_of(simulate: Simulate) -> None:
    async def scenario(s: Simulation) -> None:
        await _annotate(s, "gpu.example.com: 3")
        await _annotate(s, "Not_A_Driver: {count: 1}")
        told = [
            e["message"] for e in (await s.client.list(EVENTS))["items"] if e["reason"] == "InvalidDevices"
        ]
        assert len(told) == 2
        assert (
            told[0]
            == "pilothouse.dev/devices: gpu.example.com: a list of devices or a count of them is expected"
        )
        assert "Not_A_Driver" in told[1]

    simulate(scenario)


def test_a_pod_gets_a_device_of_a_simulated_node(simulate: Simulate) -> None:
    async def scenario(s: Simulation) -> None:
        await _annotate(s, TWO)
        await s.create(DEVICE_CLASSES, {"metadata": {"name": "gpu"}, "spec": {}})
        devices = {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}
        template = {"metadata": {"name": "gpu"}, "spec": {"spec": {"devices": devices}}}
        await s.create(TEMPLATES, template, "default")
        claims = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
        one = container(resources={"claims": [{"name": "gpu"}]})
        await s.run("train", one, nodeName=None, resourceClaims=claims)
        await s.passes(10)
        assert (await s.status("train"))["phase"] == "Running"
        (claim,) = (await s.client.list(RESOURCE_CLAIMS, "default"))["items"]
        (result,) = claim["status"]["allocation"]["devices"]["results"]
        assert (result["pool"], result["device"]) == ("node-0", "gpu-0")
        assert [holder["name"] for holder in claim["status"]["reservedFor"]] == ["train"]
        await s.delete("train")
        await s.passes(40)
        assert (await s.client.list(RESOURCE_CLAIMS, "default"))["items"] == []

    simulate(scenario)
