"""A cluster with parts of the API switched off: what does not need them works on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import DEPLOYMENTS, DEVICE_CLASSES, NODES, PODS
from pilothouse.apiserver.server import Options
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world


@pytest.mark.parametrize(
    "off", ["resource.k8s.io/v1=false", "policy/v1=false,storage.k8s.io/v1=false,resource.k8s.io/v1=false"]
)
def test_pods_are_scheduled_and_run(off: str, caplog: pytest.LogCaptureFixture) -> None:
    """kube-apiserver --runtime-config; the scheduler and the controllers must not wait for what nobody serves."""
    caplog.set_level(logging.ERROR)

    async def main() -> None:
        server = Options(runtime_config=off)
        async with Cluster(ClusterOptions(secure_port=None, nodes=2, server=server), simulated_world(1)) as c:
            client = c.client()
            with pytest.raises(ApiError) as caught:
                await client.list(DEVICE_CLASSES)
            assert caught.value.code == 404
            template = {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            }
            spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
            await client.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec}, "default")
            await asyncio.sleep(5)
            said = {"metadata": {"annotations": {"pilothouse.dev/devices": "gpu.example.com: {count: 1}"}}}
            await client.patch(NODES, "node-0", said)
            await asyncio.sleep(30)
            pods = (await client.list(PODS, "default"))["items"]
            assert [pod["status"]["phase"] for pod in pods] == ["Running", "Running"]

    run_virtual(main())
    assert caplog.records == []
