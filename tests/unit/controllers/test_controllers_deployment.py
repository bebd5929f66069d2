"""Deployment (https://kubernetes.io/docs/concepts/workloads/controllers/deployment/,
k8s.io/kubernetes/pkg/controller/deployment)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import DEPLOYMENTS, NAMESPACES, REPLICA_SETS, RESOURCE_QUOTAS
from pilothouse.api.types import Obj
from pilothouse.controllers import deployment_rules as rules
from pilothouse.controllers.pods import condition

REVISION = "deployment.kubernetes.io/revision"
PAUSE = "registry.k8s.io/pause:"


def deployment(annotations: Obj | None = None, image: str = "3.10", **spec: Any) -> Obj:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": PAUSE + image}]},
    }
    return {
        "metadata": {"name": "web", "annotations": annotations or {}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


async def set_image(lab: Any, image: str) -> None:
    spec = {"containers": [{"name": "c", "image": PAUSE + image}]}
    await lab.patch(DEPLOYMENTS, "web", {"spec": {"template": {"spec": spec}}}, patch_type="strategic")


async def progress(lab: Any) -> tuple[str, str, str]:
    found = condition(await lab.get(DEPLOYMENTS, "web"), "Progressing")
    assert found is not None
    return found["status"], found["reason"], found["message"]


async def sets(lab: Any) -> dict[str, Obj]:
    """By revision."""
    return {rs["metadata"]["annotations"][REVISION]: rs for rs in await lab.list(REPLICA_SETS)}


async def reasons(lab: Any) -> list[tuple[str, str]]:
    return [(e[1], e[2]) for e in await lab.events("web")]


def test_the_revision_annotation_is_no_new_generation(simulate: Any) -> None:
    """Annotations count as a change of a deployment, unless they come with its status, as the controller's do."""

    async def scenario(lab: Any) -> None:
        await lab.create(DEPLOYMENTS, deployment())
        await lab.wait(5)
        await set_image(lab, "3.9")
        await lab.wait(60)
        found = await lab.get(DEPLOYMENTS, "web")
        assert found["metadata"]["annotations"][REVISION] == "2"
        assert (found["metadata"]["generation"], found["status"]["observedGeneration"]) == (2, 2)

    simulate(scenario)


def test_a_rollout_from_start_to_end(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(DEPLOYMENTS, deployment(minReadySeconds=5))
        await lab.wait(30)
        await set_image(lab, "3.9")
        await lab.wait(90)
        found = await lab.get(DEPLOYMENTS, "web")
        status = {k: v for k, v in found["status"].items() if k != "conditions"}
        assert status == {
            "observedGeneration": 2,
            "replicas": 2,
            "updatedReplicas": 2,
            "readyReplicas": 2,
            "availableReplicas": 2,
            "terminatingReplicas": 0,
        }
        by_revision = await sets(lab)
        old, new = by_revision["1"]["metadata"]["name"], by_revision["2"]["metadata"]["name"]
        assert await progress(lab) == (
            "True",
            "NewReplicaSetAvailable",
            f'ReplicaSet "{new}" has successfully progressed.',
        )
        available = condition(found, "Available")
        assert available is not None
        assert (available["status"], available["reason"], available["message"]) == (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
        told = [e for e in await reasons(lab) if e[0] == "ScalingReplicaSet"]
        assert sorted(told) == sorted(
            ("ScalingReplicaSet", f"Scaled {what}")
            for what in (
                f"up replica set {old} from 0 to 2",
                f"up replica set {new} from 0 to 1",
                f"down replica set {old} from 2 to 1",
                f"up replica set {new} from 1 to 2",
                f"down replica set {old} from 1 to 0",
            )
        )

    simulate(scenario)


def test_the_deadline_passes_and_a_later_success_clears_it(simulate: Any) -> None:
    """What `kubectl rollout status` waits for: status False, reason ProgressDeadlineExceeded."""

    async def scenario(lab: Any) -> None:
        hang = {"pilothouse.dev/ready-seconds": "100000"}
        stuck = deployment(progressDeadlineSeconds=20)
        stuck["spec"]["template"]["metadata"]["annotations"] = hang
        stuck["spec"]["template"]["spec"]["nodeSelector"] = {"no": "such"}
        await lab.create(DEPLOYMENTS, stuck)
        await lab.wait(10)
        [rs] = await lab.names(REPLICA_SETS)
        assert await progress(lab) == ("True", "ReplicaSetUpdated", f'ReplicaSet "{rs}" is progressing.')
        await lab.wait(20)
        assert await progress(lab) == (
            "False",
            "ProgressDeadlineExceeded",
            f'ReplicaSet "{rs}" has timed out progressing.',
        )
        patch = {"nodeSelector": None}
        await lab.patch(DEPLOYMENTS, "web", {"spec": {"template": {"spec": patch}}})
        await lab.wait(60)
        assert (await progress(lab))[:2] == ("True", "NewReplicaSetAvailable")

    simulate(scenario)


def test_paused_and_resumed(simulate: Any) -> None:
    """Paused: resized, not rolled."""

    async def scenario(lab: Any) -> None:
        await lab.create(DEPLOYMENTS, deployment())
        await lab.wait(10)
        await lab.patch(DEPLOYMENTS, "web", {"spec": {"paused": True}})
        await lab.wait(5)
        assert await progress(lab) == ("Unknown", "DeploymentPaused", "Deployment is paused")
        await set_image(lab, "3.9")
        await lab.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}})
        await lab.wait(20)
        assert {r: rs["spec"]["replicas"] for r, rs in (await sets(lab)).items()} == {"1": 3}
        await lab.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}})
        await lab.wait(60)
        assert {r: rs["spec"]["replicas"] for r, rs in (await sets(lab)).items()} == {"1": 0, "2": 3}
        assert (await progress(lab))[:2] == ("True", "NewReplicaSetAvailable")

    simulate(scenario)


def test_sizes_annotated_change_only_with_a_resize(simulate: Any) -> None:
    """A new maxSurge alone is no resize: what a set was computed from stays (scaleReplicaSetAndRecordEvent)."""

    async def scenario(lab: Any) -> None:
        await lab.create(DEPLOYMENTS, deployment())
        await lab.wait(10)
        patch = {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 2}}}}
        await lab.patch(DEPLOYMENTS, "web", patch)
        await lab.wait(10)
        [rs] = await lab.list(REPLICA_SETS)
        assert rs["metadata"]["annotations"][rules.MAX_REPLICAS] == "3"
        await lab.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 4}})
        await lab.wait(10)
        [rs] = await lab.list(REPLICA_SETS)
        assert rs["metadata"]["annotations"][rules.MAX_REPLICAS] == "6"
        assert rs["metadata"]["annotations"][rules.DESIRED_REPLICAS] == "4"

    simulate(scenario)


def test_annotations_reach_the_set_of_a_paused_deployment(simulate: Any) -> None:
    """`kubectl rollout history` shows the change-cause that the set carries."""

    async def scenario(lab: Any) -> None:
        await lab.create(DEPLOYMENTS, deployment(paused=True))
        await lab.wait(5)
        assert await lab.names(REPLICA_SETS) == [], "nothing is made while paused"
        await lab.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}})
        await lab.wait(10)
        await lab.patch(DEPLOYMENTS, "web", {"spec": {"paused": True}})
        cause = {"kubernetes.io/change-cause": "because"}
        await lab.patch(DEPLOYMENTS, "web", {"metadata": {"annotations": cause}})
        await lab.wait(5)
        assert (await sets(lab))["1"]["metadata"]["annotations"]["kubernetes.io/change-cause"] == "because"

    simulate(scenario)


def test_an_earlier_template_takes_up_its_set_again(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(DEPLOYMENTS, deployment(revisionHistoryLimit=1))
        await lab.wait(20)
        for image in ("3.9", "3.10"):
            await set_image(lab, image)
            await lab.wait(60)
        by_revision = await sets(lab)
        assert sorted(by_revision) == ["2", "3"]
        assert by_revision["3"]["metadata"]["annotations"][rules.REVISION_HISTORY] == "1"
        assert (await lab.get(DEPLOYMENTS, "web"))["metadata"]["annotations"][REVISION] == "3"
        await set_image(lab, "3.8")
        await lab.wait(60)
        assert sorted(await sets(lab)) == ["3", "4"], "the history limit"

    simulate(scenario)


def test_rollback_by_the_deprecated_annotation(simulate: Any) -> None:
    """What extensions/v1beta1 clients left behind still works; 0 is the last revision."""

    async def scenario(lab: Any) -> None:
        await lab.create(DEPLOYMENTS, deployment({"note": "first"}))
        await lab.wait(20)
        await lab.patch(DEPLOYMENTS, "web", {"metadata": {"annotations": {"note": "second"}}})
        await set_image(lab, "3.9")
        await lab.wait(60)
        for asked, told in (
            ("7", ("DeploymentRollbackRevisionNotFound", "Unable to find the revision to rollback to.")),
            (
                "2",
                (
                    "DeploymentRollbackTemplateUnchanged",
                    'The rollback revision contains the same template as current deployment "web"',
                ),
            ),
            ("0", ("DeploymentRollback", 'Rolled back deployment "web" to revision 1')),
        ):
            await lab.patch(DEPLOYMENTS, "web", {"metadata": {"annotations": {rules.ROLLBACK_TO: asked}}})
            await lab.wait(60)
            assert told in await reasons(lab)
            found = await lab.get(DEPLOYMENTS, "web")
            assert rules.ROLLBACK_TO not in found["metadata"]["annotations"]
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == PAUSE + "3.10"
        assert rules.HASH_LABEL not in found["spec"]["template"]["metadata"]["labels"]
        assert found["metadata"]["annotations"][REVISION] == "3"

    simulate(scenario)


def test_recreate_waits_for_the_old_pods_to_be_gone(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        slow = deployment(strategy={"type": "Recreate"})
        slow["spec"]["template"]["metadata"]["annotations"] = {"pilothouse.dev/stop-seconds": "20"}
        await lab.create(DEPLOYMENTS, slow)
        await lab.wait(10)
        await set_image(lab, "3.9")
        await lab.wait(10)
        assert {r: rs["spec"]["replicas"] for r, rs in (await sets(lab)).items()} == {"1": 0}
        status = (await lab.get(DEPLOYMENTS, "web"))["status"]
        assert (status.get("replicas", 0), status["terminatingReplicas"]) == (0, 2)
        await lab.wait(40)
        assert {r: rs["spec"]["replicas"] for r, rs in (await sets(lab)).items()} == {"1": 0, "2": 2}

    simulate(scenario)


def test_a_name_that_is_taken_counts_as_a_collision(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        found = await lab.create(DEPLOYMENTS, deployment(paused=True))
        name = f"web-{rules.template_hash(found['spec']['template'], 0)}"
        other = {
            "selector": {"matchLabels": {"app": "other"}},
            "template": {"metadata": {"labels": {"app": "other"}}, "spec": found["spec"]["template"]["spec"]},
            "replicas": 0,
        }
        await lab.create(REPLICA_SETS, {"metadata": {"name": name}, "spec": other})
        await lab.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}})
        await lab.wait(20)
        status = (await lab.get(DEPLOYMENTS, "web"))["status"]
        assert (status["collisionCount"], status["availableReplicas"]) == (1, 2)
        assert len(await lab.names(REPLICA_SETS)) == 2

    simulate(scenario)


def test_a_set_that_cannot_be_made_is_told(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        hard = {"hard": {"count/replicasets.apps": "0"}}
        await lab.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": hard})
        await lab.wait(5)
        await lab.create(DEPLOYMENTS, deployment())
        await lab.wait(5)
        status, reason, message = await progress(lab)
        assert (status, reason) == ("False", "ReplicaSetCreateError")
        assert message.startswith('Failed to create new replica set "web-')
        assert ("ReplicaSetCreateError", message) in await reasons(lab)

    simulate(scenario)


def test_failures_of_sets_show_in_the_deployment(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}})
        await lab.wait(5)
        await lab.create(DEPLOYMENTS, deployment())
        await lab.wait(10)
        found = condition(await lab.get(DEPLOYMENTS, "web"), "ReplicaFailure")
        assert found is not None
        assert (found["status"], found["reason"]) == ("True", "FailedCreate")
        assert "exceeded quota: q" in found["message"]
        await lab.delete(RESOURCE_QUOTAS, "q")
        await lab.wait(60)
        assert condition(await lab.get(DEPLOYMENTS, "web"), "ReplicaFailure") is None

    simulate(scenario)


def test_a_namespace_that_goes_is_no_failure(simulate: Any) -> None:
    """Nothing can be made there any more, and nobody needs to be told (NamespaceTerminating)."""

    async def scenario(lab: Any) -> None:
        await lab.create(NAMESPACES, {"metadata": {"name": "going", "finalizers": ["example.com/wait"]}})
        held = deployment(paused=True)
        held["metadata"] |= {"finalizers": ["example.com/wait"], "namespace": "going"}
        typed = {"apiVersion": "apps/v1", "kind": "Deployment", **held}
        await lab.client.create(DEPLOYMENTS, typed, "going")
        await lab.delete(NAMESPACES, "going")
        await lab.client.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}}, "going")
        await lab.wait(20)
        found = await lab.client.get(DEPLOYMENTS, "web", "going")
        progressing = condition(found, "Progressing")
        assert progressing is None or progressing["reason"] != "ReplicaSetCreateError"

    simulate(scenario)
