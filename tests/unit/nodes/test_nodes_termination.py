"""How pods end when they are told to: grace, its shortening, the order of what ends, what their status says last
(pkg/kubelet/pod_workers.go, pkg/kubelet/kuberuntime)."""

from __future__ import annotations

from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from tests.unit.nodes.conftest import Simulate, Simulation, container, named

SLOW = {"pilothouse.dev/stop-seconds": "20"}


async def last_status(on: Simulation, name: str) -> Obj:
    """What the object said before it went: a finalizer keeps it."""
    return await on.status(name)


async def held(on: Simulation, name: str, *containers: Obj, **more: object) -> None:
    await on.run(name, *containers, **more)  # type: ignore[arg-type]
    await on.patch(name, {"metadata": {"finalizers": ["example.com/hold"]}})
    await on.passes(1)


def test_a_pod_is_gone_when_its_containers_have_ended(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", annotations=SLOW)
        await on.passes(1)
        await on.delete("web")
        await on.passes(19)
        pod = await on.pod("web")
        assert pod["metadata"]["deletionGracePeriodSeconds"] == 30
        assert pod["status"]["phase"] == "Running"
        await on.passes(2)
        assert await on.is_gone("web")
        assert ("Normal", "Killing", "Stopping container c") in await on.events("web")

    simulate(scenario)


def test_grace_runs_out(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await held(on, "web", annotations={"pilothouse.dev/stop-seconds": "600"})
        await on.delete("web", 10)
        await on.passes(11)
        status = await last_status(on, "web")
        assert status["phase"] == "Failed"
        assert named(status["containerStatuses"], "c")["state"]["terminated"]["exitCode"] == 137

    simulate(scenario)


def test_a_shorter_grace_counts_from_when_it_is_given(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await held(on, "web", annotations={"pilothouse.dev/stop-seconds": "600"})
        await on.delete("web", 300)
        await on.passes(100)
        await on.delete("web", 10)
        await on.passes(8)
        assert (await on.status("web"))["phase"] == "Running"
        await on.passes(4)
        ended = named((await on.status("web"))["containerStatuses"], "c")["state"]["terminated"]
        assert ended["finishedAt"] == "2026-01-01T00:01:56Z"

    simulate(scenario)


def test_what_ended_well_succeeded(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await held(on, "web")
        await on.delete("web")
        await on.passes(1)
        status = await last_status(on, "web")
        assert status["phase"] == "Succeeded"
        await on.patch("web", {"metadata": {"finalizers": None}})
        await on.passes(1)
        assert await on.is_gone("web")

    simulate(scenario)


def test_a_pod_that_never_started_has_failed(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await held(on, "web", container("c", image="nginx:non-existent"))
        await on.delete("web")
        await on.passes(1)
        status = await last_status(on, "web")
        assert status["phase"] == "Failed"
        ended = named(status["containerStatuses"], "c")["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")

    simulate(scenario)


def test_sidecars_end_after_the_rest_in_reverse_order(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        stops = {"c": 3, "s1": 4, "s2": 5}
        await held(
            on,
            "web",
            initContainers=[container(n, restartPolicy="Always") for n in ("s1", "s2")],
            annotations={f"pilothouse.dev/stop-seconds.{n}": str(s) for n, s in stops.items()},
        )
        await on.delete("web")
        await on.passes(15)
        status = await last_status(on, "web")
        entries = [*status["containerStatuses"], *status["initContainerStatuses"]]
        ends = [(named(entries, n)["state"]["terminated"]["finishedAt"])[-3:] for n in ("c", "s2", "s1")]
        assert ends == ["09Z", "14Z", "18Z"]

    simulate(scenario)


def test_sidecars_have_two_seconds_even_when_grace_is_used_up(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await held(
            on,
            "web",
            initContainers=[container("s", restartPolicy="Always")],
            annotations={"pilothouse.dev/stop-seconds": "600"},
        )
        await on.delete("web", 10)
        await on.passes(15)
        status = await last_status(on, "web")
        assert named(status["initContainerStatuses"], "s")["state"]["terminated"]["finishedAt"][-3:] == "18Z"

    simulate(scenario)


def test_a_pre_stop_hook_takes_its_time(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", container("c", lifecycle={"preStop": {"sleep": {"seconds": 7}}}))
        await on.passes(1)
        await on.delete("web")
        await on.passes(6)
        assert not await on.is_gone("web")
        await on.passes(2)
        assert await on.is_gone("web")

    simulate(scenario)


def test_a_pod_deleted_at_once_is_gone_and_its_place_free(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        resources = {"requests": {"cpu": "10"}}
        await on.run("web", container("c", resources=resources))
        await on.passes(1)
        await on.delete("web", 0)
        assert await on.is_gone("web")
        await on.run("next", container("c", resources=resources))
        await on.passes(1)
        assert (await on.status("next"))["phase"] == "Running"

    simulate(scenario)


def test_a_finished_pod_that_is_deleted_goes_at_once(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("job", container("c", "true"), restartPolicy="Never", annotations=SLOW)
        await on.passes(1)
        await on.delete("job")
        await on.passes(1)
        assert await on.is_gone("job")
        assert (await on.client.list(PODS))["items"] == []

    simulate(scenario)
