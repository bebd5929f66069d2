"""Stages on a cluster, in virtual time: what people see of pods and nodes that stage files drive."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pilothouse.api.resources import NODES

if TYPE_CHECKING:
    from conftest import Simulate, Simulation

READY = """\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.podIP, operator: DoesNotExist}
  next:
    statusTemplate: |
      {{ $now := Now }}
      phase: Running
      startTime: {{ $now | Quote }}
      hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
      podIP: {{ PodIPWith .spec.nodeName (or .spec.hostNetwork false) .metadata.uid | Quote }}
      conditions:
      - {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
      containerStatuses:
      {{ range .spec.containers }}
      - name: {{ .name | Quote }}
        image: {{ .image | Quote }}
        ready: true
        restartCount: 0
        state: {running: {startedAt: {{ $now | Quote }}}}
      {{ end }}
"""
DELETE = """\
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-delete}
spec:
  resourceRef: {kind: Pod}
  selector:
    matchExpressions: [{key: .metadata.deletionTimestamp, operator: Exists}]
  delay: {durationMilliseconds: 60000}
  next:
    finalizers: {empty: true}
    event: {type: Normal, reason: Removed, message: It is gone.}
    delete: true
"""
CHAOS = """\
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-falls}
spec:
  resourceRef: {kind: Pod}
  selector:
    matchAnnotations: {chaos: "yes"}
    matchExpressions: [{key: .status.phase, operator: In, values: [Running]}]
  delay:
    durationMilliseconds: 1000
    durationFrom: {expressionFrom: '.metadata.annotations["after"]'}
  next:
    event: {type: Warning, reason: Fell, message: It fell.}
    statusTemplate: |
      phase: Failed
      reason: Fell
"""


@pytest.fixture
def stages(tmp_path: Path) -> Path:
    return tmp_path / "stages.yaml"


def test_pods_do_what_the_stages_say(simulate: Simulate, stages: Path) -> None:
    stages.write_text(READY + DELETE)

    async def scenario(on: Simulation) -> None:
        await on.run("web", nodeName="node-0", terminationGracePeriodSeconds=5)
        await on.passes(1)
        status = await on.status("web")
        assert (status["phase"], status["hostIP"]) == ("Running", "10.88.0.2")
        assert status["podIPs"] == [{"ip": status["podIP"]}]
        assert re.fullmatch(r"10\.244\.0\.\d+", status["podIP"])
        assert [c["type"] for c in status["conditions"] if c["status"] == "True"] == ["Ready"]
        assert "containerID" not in status["containerStatuses"][0]
        await on.delete("web")
        await on.passes(59)
        assert not await on.is_gone("web")
        await on.passes(2)
        assert await on.is_gone("web")
        assert await on.events("web") == [("Normal", "Removed", "It is gone.")]

    simulate(scenario, stages=(stages,))


def test_addresses_differ_and_are_free_again(simulate: Simulate, stages: Path) -> None:
    stages.write_text(READY)

    async def scenario(on: Simulation) -> None:
        for number in range(300):
            await on.run(f"p{number}")
            await on.passes(1)
            address = (await on.status(f"p{number}"))["podIP"]
            if number % 3:
                await on.delete(f"p{number}", 0)
        assert address.startswith("10.244.0.")
        kept = [(await on.status(f"p{n}"))["podIP"] for n in range(0, 300, 3)]
        assert len(set(kept)) == 100

    simulate(scenario, stages=(stages,))


def test_what_no_stage_ends_ends_by_itself(simulate: Simulate, stages: Path) -> None:
    stages.write_text(READY)

    async def scenario(on: Simulation) -> None:
        await on.run("web")
        await on.passes(1)
        await on.delete("web")
        await on.passes(1)
        assert await on.is_gone("web")

    simulate(scenario, stages=(stages,))


def test_a_pod_lives_its_own_life_until_a_stage_selects_it(simulate: Simulate, stages: Path) -> None:
    stages.write_text(CHAOS)

    async def scenario(on: Simulation) -> None:
        await on.run("web")
        await on.run("odd", annotations={"chaos": "yes", "after": "90s"})
        await on.passes(80)
        assert (await on.status("odd"))["phase"] == "Running"
        assert "containerID" in (await on.status("odd"))["containerStatuses"][0]
        await on.passes(15)
        assert (await on.status("web"))["phase"] == "Running"
        status = await on.status("odd")
        assert (status["phase"], status["reason"]) == ("Failed", "Fell")
        assert ("Warning", "Fell", "It fell.") in await on.events("odd")
        await on.passes(600)
        assert (await on.status("odd"))["phase"] == "Failed"

    simulate(scenario, stages=(stages,))


def test_a_change_begins_the_wait_anew(simulate: Simulate, stages: Path) -> None:
    stages.write_text(CHAOS)

    async def scenario(on: Simulation) -> None:
        await on.run("odd", annotations={"chaos": "yes", "after": "60s"})
        await on.passes(50)
        await on.patch("odd", {"metadata": {"labels": {"a": "b"}}})
        await on.passes(50)
        assert (await on.status("odd"))["phase"] == "Running"
        await on.passes(11)
        assert (await on.status("odd"))["phase"] == "Failed"

    simulate(scenario, stages=(stages,))


def test_stages_in_a_row_without_waiting_for_the_watch(simulate: Simulate, stages: Path) -> None:
    step = """\
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {{name: step-{0}}}
spec:
  resourceRef: {{kind: Pod}}
  selector:
    matchExpressions: [{{key: '.metadata.labels.step // "0"', operator: In, values: ["{0}"]}}]
  immediateNextStage: true
  next:
    patches: [{{root: metadata, type: merge, template: 'labels: {{step: "{1}"}}'}}]
"""
    stages.write_text("".join(step.format(n, n + 1) for n in range(5)))

    async def scenario(on: Simulation) -> None:
        before = int((await on.run("web"))["metadata"]["resourceVersion"])
        await on.passes(1)
        pod = await on.pod("web")
        assert pod["metadata"]["labels"]["step"] == "5"
        assert int(pod["metadata"]["resourceVersion"]) - before < 10
        assert pod["metadata"]["managedFields"][-1]["manager"] == "pilothouse-stages"

    simulate(scenario, stages=(stages,))


NODE = """\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: node-initialize}
spec:
  resourceRef: {kind: Node}
  selector:
    matchExpressions:
    - key: '.status.conditions.[] | select( .type == "Ready" ) | .status'
      operator: NotIn
      values: ["True"]
  next:
    statusTemplate: |
      conditions:
      {{ range NodeConditions }}
      - {type: {{ .type }}, status: {{ .status | Quote }}, reason: {{ .reason }}, lastHeartbeatTime: {{ Now }}}
      {{ end }}
      addresses: [{type: InternalIP, address: {{ NodeIP }}}]
      capacity: {cpu: "2", memory: 4Gi, pods: "3"}
"""


def test_a_node_has_what_its_stage_says(simulate: Simulate, stages: Path) -> None:
    stages.write_text(NODE)

    async def scenario(on: Simulation) -> None:
        node = await on.node()
        assert node["status"]["allocatable"] == {"cpu": "2", "memory": "4Gi", "pods": "3"}
        assert node["status"]["addresses"] == [{"type": "InternalIP", "address": "10.88.0.2"}]
        await on.passes(3600)
        assert (await on.node())["status"]["conditions"] == node["status"]["conditions"]
        renewed = (await on.lease())["spec"]["renewTime"]
        assert renewed > "2026-01-01T00:59:50"
        for name in "abcd":
            await on.run(name)
        await on.passes(1)
        assert (await on.status("d"))["reason"] == "OutOfpods"

    simulate(scenario, stages=(stages,))


def test_a_stopped_node_plays_nothing(simulate: Simulate, stages: Path) -> None:
    stages.write_text(READY)

    async def scenario(on: Simulation) -> None:
        stopped = {"metadata": {"annotations": {"pilothouse.dev/stopped": "true"}}}
        await on.client.patch(NODES, "node-0", stopped)
        await on.passes(1)
        await on.run("web", tolerations=[{"operator": "Exists"}])
        await on.passes(5)
        assert (await on.status("web"))["phase"] == "Pending"
        await on.client.patch(
            NODES, "node-0", {"metadata": {"annotations": {"pilothouse.dev/stopped": None}}}
        )
        await on.passes(5)
        assert (await on.status("web"))["phase"] == "Running"

    simulate(scenario, stages=(stages,))


def test_a_stage_that_fails_is_tried_again(
    simulate: Simulate, stages: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = '{{ if not .metadata.labels }}{{ fail "no labels" }}{{ end }}'
    stages.write_text(READY.replace("phase: Running", f"{refusing}\n      phase: Running"))

    async def scenario(on: Simulation) -> None:
        await on.run("web")
        await on.passes(2)
        assert "Pod default/web: stage pod-ready: " in caplog.text
        assert "no labels" in caplog.text
        await on.patch("web", {"metadata": {"labels": {"a": "b"}}})
        await on.passes(2)
        assert (await on.status("web"))["phase"] == "Running"

    simulate(scenario, stages=(stages,))
