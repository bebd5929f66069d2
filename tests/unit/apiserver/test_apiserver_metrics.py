"""/metrics under upstream's names (https://kubernetes.io/docs/reference/instrumentation/metrics/)."""

from __future__ import annotations

import re

from pilothouse.api.resources import CONFIG_MAPS
from pilothouse.apiserver.request import Request, UserInfo
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

ADMIN = UserInfo("admin", groups=("system:masters", "system:authenticated"))


async def _scraped(cluster: Cluster) -> str:
    answer = await cluster.api.handle(Request("GET", "/metrics", user=ADMIN))
    assert answer.status == 200
    assert isinstance(answer.body, bytes)
    return answer.body.decode()


def test_the_server_tells_what_it_holds_and_does() -> None:
    async def main() -> None:
        cluster = Cluster(ClusterOptions(secure_port=None, nodes=0), simulated_world(1))
        await cluster.start_server()
        client = cluster.client()
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
        await client.create(CONFIG_MAPS, body, "default")
        watch, narrow = client.watch(CONFIG_MAPS), client.watch(CONFIG_MAPS, "default")
        await anext(watch)
        await anext(narrow)
        text = await _scraped(cluster)
        assert re.search(r'^apiserver_storage_objects{resource="configmaps"} [1-9]', text, re.M)
        assert re.search(r'^apiserver_resource_objects{group="apps",resource="deployments"} 0', text, re.M)
        assert re.search(
            r'^apiserver_longrunning_requests{.*resource="configmaps".*verb="WATCH",version="v1"} 1',
            text,
            re.M,
        )
        assert re.search(
            r'^apiserver_request_total{code="201",.*resource="configmaps".*verb="POST"', text, re.M
        )
        assert re.search(r'^apiserver_current_inflight_requests{request_kind="mutating"} 0', text, re.M)
        assert re.search(r'^kubernetes_build_info{.*git_version="v1\.36\.', text, re.M)
        assert re.search(r"^process_resident_memory_bytes [1-9]", text, re.M)
        scopes = re.findall(r'^apiserver_longrunning_requests{.*"configmaps",scope="(\w+)"', text, re.M)
        assert scopes == ["cluster", "namespace"]
        assert "_created" not in text
        await watch.aclose()  # type: ignore[attr-defined]
        await narrow.aclose()  # type: ignore[attr-defined]
        await cluster.world.clock.sleep(1)
        assert not re.search(r'^apiserver_longrunning_requests{.*"configmaps"', await _scraped(cluster), re.M)
        await cluster.stop()

    run_virtual(main())
