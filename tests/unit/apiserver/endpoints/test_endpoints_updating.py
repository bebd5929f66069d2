"""Updates that meet: each is done again, whole, over what came between."""

from __future__ import annotations

import asyncio

from pilothouse.api.resources import CONFIG_MAPS
from pilothouse.api.types import Obj
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world


def _config_map(number: int) -> Obj:
    meta = {"name": "shared", "namespace": "default", "labels": {f"writer-{number}": "yes"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {f"key-{number}": "x"}}


def test_updates_that_meet_are_all_whole() -> None:
    async def scenario() -> list[Obj]:
        options = ClusterOptions(secure_port=None, nodes=0, controllers=())
        async with Cluster(options, simulated_world(1)) as cluster:
            client = cluster.client()
            await client.create(CONFIG_MAPS, _config_map(0), "default")
            return await asyncio.gather(*(client.update(CONFIG_MAPS, _config_map(n)) for n in range(1, 6)))

    answers = run_virtual(scenario())
    assert len({a["metadata"]["resourceVersion"] for a in answers}) == 5
    for number, answer in enumerate(answers, 1):
        assert answer["data"] == {f"key-{number}": "x"}
        assert answer["metadata"]["labels"] == {f"writer-{number}": "yes"}
        owned = answer["metadata"]["managedFields"][-1]["fieldsV1"]
        assert set(owned["f:data"]) == {".", f"f:key-{number}"}
