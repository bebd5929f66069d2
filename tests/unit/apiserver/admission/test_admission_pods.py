"""Plugins that look at pods (plugin/pkg/admission/…, one section each)."""

from __future__ import annotations

import pytest

from pilothouse.api.resources import NODES, RUNTIME_CLASSES
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission import tolerations
from pilothouse.apiserver.admission.always_pull_images import AlwaysPullImages
from pilothouse.apiserver.admission.extended_resource_toleration import ExtendedResourceToleration
from pilothouse.apiserver.admission.hard_anti_affinity import LimitPodHardAntiAffinityTopology
from pilothouse.apiserver.admission.pod_node_selector import PodNodeSelector
from pilothouse.apiserver.admission.pod_toleration_restriction import PodTolerationRestriction
from pilothouse.apiserver.admission.pod_topology_labels import PodTopologyLabels
from pilothouse.apiserver.admission.runtime_class import RuntimeClass
from tests.admission import Bench, attributes, container, pod, refusal

# RuntimeClass: plugin/pkg/admission/runtimeclass, KEP-688


def runtime_class(**more: object) -> Bench:
    bench = Bench()
    bench.store(RUNTIME_CLASSES, {"metadata": {"name": "vm"}, "handler": "vm", **more})
    return bench


async def test_a_pod_gets_its_runtime_classs_overhead_and_nodes() -> None:
    scheduling = {
        "nodeSelector": {"runtime": "vm"},
        "tolerations": [{"key": "vm", "operator": "Exists", "effect": "NoSchedule"}],
    }
    plugin = RuntimeClass(runtime_class(overhead={"podFixed": {"cpu": "50m"}}, scheduling=scheduling).env())
    made = pod(runtimeClassName="vm", nodeSelector={"disk": "ssd"})
    await plugin.admit(attributes("CREATE", made))
    assert made["spec"]["overhead"] == {"cpu": "50m"}
    assert made["spec"]["nodeSelector"] == {"disk": "ssd", "runtime": "vm"}
    assert made["spec"]["tolerations"] == scheduling["tolerations"]
    await plugin.validate(attributes("CREATE", made))


async def test_what_contradicts_the_runtime_class_is_refused() -> None:
    bench = runtime_class(
        overhead={"podFixed": {"cpu": "50m"}}, scheduling={"nodeSelector": {"runtime": "vm"}}
    )
    plugin = RuntimeClass(bench.env())
    work = plugin.admit(attributes("CREATE", pod(runtimeClassName="vm", nodeSelector={"runtime": "runc"})))
    assert await refusal(work) == (
        'pods "p" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[runtime] = vm; '
        "pod.spec.nodeSelector[runtime] = runc"
    )
    work = plugin.admit(attributes("CREATE", pod(runtimeClassName="vm", overhead={"cpu": "1"})))
    assert "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead" in await refusal(work)
    work = plugin.validate(attributes("CREATE", pod(overhead={"cpu": "1"})))
    assert await refusal(work) == (
        'pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead'
    )
    work = plugin.admit(attributes("CREATE", pod(runtimeClassName="absent")))
    assert await refusal(work) == 'pods "p" is forbidden: pod rejected: RuntimeClass "absent" not found'


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        (
            [{"key": "a", "operator": "Equal", "value": "1"}],
            [{"key": "a", "operator": "Exists"}],
            [{"key": "a", "operator": "Exists"}],
        ),
        ([{"operator": "Exists"}], [{"key": "a", "operator": "Exists"}], [{"operator": "Exists"}]),
        (
            [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
            [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}],
            [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}],
        ),
        ([{"key": "a"}], [{"key": "b"}], [{"key": "a"}, {"key": "b"}]),
    ],
)
def test_tolerations_that_another_one_covers_go(
    first: list[Obj], second: list[Obj], merged: list[Obj]
) -> None:
    """pkg/util/tolerations MergeTolerations."""
    assert tolerations.merge(first, second) == merged


# PodTopologyLabels: KEP-4742


async def test_a_pod_and_a_binding_get_the_nodes_zone() -> None:
    bench = Bench()
    zone = {"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1", "other": "x"}
    bench.store(NODES, {"metadata": {"name": "n", "labels": zone}})
    plugin = PodTopologyLabels(bench.env())
    bound = pod(nodeName="n")
    bound["metadata"]["labels"] = {"topology.kubernetes.io/zone": "mine"}
    await plugin.admit(attributes("CREATE", bound))
    assert bound["metadata"]["labels"] == {
        "topology.kubernetes.io/zone": "mine",
        "topology.kubernetes.io/region": "r1",
    }
    binding: Obj = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    await plugin.admit(attributes("CREATE", binding, subresource="binding"))
    assert binding["metadata"]["labels"] == {k: zone[k] for k in zone if k != "other"}
    free = pod()
    await plugin.admit(attributes("CREATE", free))
    assert "labels" not in free["metadata"]


# AlwaysPullImages


async def test_images_are_always_pulled() -> None:
    plugin = AlwaysPullImages()
    made = pod(
        initContainers=[container("i")],
        volumes=[{"name": "v", "image": {"reference": "r", "pullPolicy": "Never"}}],
    )
    assert await refusal(plugin.validate(attributes("CREATE", made))) == (
        'pods "p" is forbidden: [spec.initContainers[0].imagePullPolicy: Unsupported value: "IfNotPresent": supported '
        'values: "Always", spec.containers[0].imagePullPolicy: Unsupported value: "IfNotPresent": supported values: '
        '"Always", spec.volumes[0].image.pullPolicy: Unsupported value: "Never": supported values: "Always"]'
    )
    await plugin.admit(attributes("CREATE", made))
    await plugin.validate(attributes("CREATE", made))
    assert made["spec"]["volumes"][0]["image"]["pullPolicy"] == "Always"


async def test_pods_from_before_the_plugin_stay_usable() -> None:
    plugin, old = AlwaysPullImages(), pod()
    await plugin.validate(attributes("UPDATE", pod(), old))
    changed = pod(containers=[{**container(), "image": "new"}])
    assert "imagePullPolicy" in await refusal(plugin.validate(attributes("UPDATE", changed, old)))


# ExtendedResourceToleration


async def test_pods_tolerate_the_taint_of_the_devices_they_ask_for() -> None:
    made = pod(containers=[container("c", {"example.com/gpu": "1", "cpu": "1"}, {"example.com/gpu": "1"})])
    await ExtendedResourceToleration().admit(attributes("CREATE", made))
    await ExtendedResourceToleration().admit(attributes("CREATE", made))
    assert made["spec"]["tolerations"] == [
        {"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]


# PodNodeSelector


async def test_a_namespace_says_where_its_pods_run() -> None:
    bench = Bench()
    bench.namespace(annotations={"scheduler.alpha.kubernetes.io/node-selector": "env=test, disk=ssd"})
    plugin = PodNodeSelector(
        bench.env({"PodNodeSelector": {"podNodeSelectorPluginConfig": {"ns": "env=test,disk=ssd"}}})
    )
    made = pod()
    await plugin.admit(attributes("CREATE", made))
    assert made["spec"]["nodeSelector"] == {"env": "test", "disk": "ssd"}
    work = plugin.admit(attributes("CREATE", pod(nodeSelector={"env": "prod"})))
    assert await refusal(work) == (
        'pods "p" is forbidden: pod node label selector conflicts with its namespace node label selector'
    )
    work = plugin.admit(attributes("CREATE", pod(nodeSelector={"gpu": "yes"})))
    assert await refusal(work) == (
        'pods "p" is forbidden: pod node label selector labels conflict with its namespace whitelist'
    )


async def test_the_cluster_has_a_default_selector() -> None:
    bench = Bench()
    bench.namespace()
    given = {"podNodeSelectorPluginConfig": {"clusterDefaultNodeSelector": "pool=general"}}
    made = pod()
    await PodNodeSelector(bench.env({"PodNodeSelector": given})).admit(attributes("CREATE", made))
    assert made["spec"]["nodeSelector"] == {"pool": "general"}


# PodTolerationRestriction


async def test_a_namespace_says_what_its_pods_tolerate() -> None:
    bench = Bench()
    prefix = "scheduler.alpha.kubernetes.io/"
    bench.namespace(
        annotations={
            prefix + "defaultTolerations": '[{"key": "a", "operator": "Exists"}]',
            prefix + "tolerationsWhitelist": '[{"key": "a", "operator": "Exists"}]',
        }
    )
    plugin = PodTolerationRestriction(bench.env())
    made = pod()
    await plugin.admit(attributes("CREATE", made))
    assert made["spec"]["tolerations"] == [{"key": "a", "operator": "Exists"}]
    await plugin.validate(attributes("CREATE", made))
    work = plugin.validate(attributes("CREATE", pod(tolerations=[{"operator": "Exists"}])))
    assert "conflict with its namespace whitelist" in await refusal(work)
    work = plugin.admit(attributes("CREATE", pod(tolerations=[{"key": "a", "value": "x"}])))
    assert (
        await refusal(work)
        == 'pods "p" is forbidden: pod tolerations conflict with its namespace tolerations'
    )


# LimitPodHardAntiAffinityTopology


async def test_hard_anti_affinity_is_about_nodes_alone() -> None:
    term = {"topologyKey": "topology.kubernetes.io/zone"}
    rules = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    work = LimitPodHardAntiAffinityTopology().validate(attributes("CREATE", pod(affinity=rules)))
    assert await refusal(work) == (
        'pods "p" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey '
        "topology.kubernetes.io/zone but only key kubernetes.io/hostname is allowed"
    )
