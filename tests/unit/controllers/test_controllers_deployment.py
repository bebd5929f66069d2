"""Deployment (https://kubernetes.io/docs/concepts/workloads/controllers/deployment/)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import DEPLOYMENTS
from pilothouse.api.types import Obj

REVISION = "deployment.kubernetes.io/revision"


def deployment(**spec: Any) -> Obj:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]},
    }
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


def test_the_revision_annotation_is_no_new_generation(simulate: Any) -> None:
    """Annotations count as a change of a deployment, unless they come with its status, as the controller's do."""

    async def scenario(lab: Any) -> None:
        await lab.create(DEPLOYMENTS, deployment())
        await lab.wait(5)
        image = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.9"}]}
        await lab.patch(DEPLOYMENTS, "web", {"spec": {"template": {"spec": image}}}, patch_type="strategic")
        await lab.wait(60)
        found = await lab.get(DEPLOYMENTS, "web")
        assert found["metadata"]["annotations"][REVISION] == "2"
        assert (found["metadata"]["generation"], found["status"]["observedGeneration"]) == (2, 2)

    simulate(scenario)
