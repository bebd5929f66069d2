"""A pod's way on its node, as people see it in its status: phases, conditions, restarts, init containers, sidecars
(pkg/kubelet/kubelet_pods.go, pkg/kubelet/status/generate.go, KEP-753, KEP-5307)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from pilothouse.api.types import Obj
from tests.unit.nodes.conftest import Simulate, Simulation, condition, container, named


def state(status: Obj, name: str = "c", group: str = "containerStatuses") -> Obj:
    return dict(named(status[group], name)["state"])


def test_a_pod_runs_and_is_ready(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web")
        await on.passes(1)
        status = await on.status("web")
        assert (status["phase"], status["observedGeneration"]) == ("Running", 1)
        assert [(c["type"], c["status"], c["observedGeneration"]) for c in status["conditions"]] == [
            (kind, "True", 1)
            for kind in ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
        ]
        (only,) = status["containerStatuses"]
        assert (only["ready"], only["started"], only["restartCount"], only["lastState"]) == (
            True,
            True,
            0,
            {},
        )
        assert only["containerID"].startswith("simulated://")
        assert only["imageID"].startswith("registry.example/app@sha256:")
        assert status["podIP"] == status["podIPs"][0]["ip"] == "10.244.0.2"
        assert status["hostIP"] == status["hostIPs"][0]["ip"] == "10.88.0.2"
        where = [message for _, reason, message in await on.events("web") if reason in ("Pulled", "Started")]
        assert where == [
            'Container image "registry.example/app:1" already present on machine and can be accessed by the pod',
            "Container started",
        ]

    simulate(scenario)


@pytest.mark.parametrize(
    ("policy", "command", "phase", "reason"),
    [
        ("Never", ["sleep", "5"], "Succeeded", "PodCompleted"),
        ("OnFailure", ["sleep", "5"], "Succeeded", "PodCompleted"),
        ("Never", ["sh", "-c", "sleep 5; exit 3"], "Failed", "PodFailed"),
    ],
)
def test_a_pod_that_ends(
    simulate: Simulate, policy: str, command: list[str], phase: str, reason: str
) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("job", container("c", *command), restartPolicy=policy)
        await on.passes(4)
        assert (await on.status("job"))["phase"] == "Running"
        await on.passes(2)
        status = await on.status("job")
        assert status["phase"] == phase
        for kind in ("Ready", "ContainersReady"):
            assert condition(status, kind)["status"] == "False"
            assert condition(status, kind)["reason"] == reason
        assert condition(status, "PodReadyToStartContainers")["status"] == "False"
        assert condition(status, "Initialized")["status"] == "True"
        ended = state(status)["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (
            (0, "Completed") if phase == "Succeeded" else (3, "Error")
        )
        assert ended["finishedAt"] == "2026-01-01T00:00:10Z"
        assert not named(status["containerStatuses"], "c")["started"]

    simulate(scenario)


def test_a_terminal_phase_never_changes(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("job", container("c", "true"), restartPolicy="Never")
        await on.passes(1)
        before = await on.status("job")
        await on.patch("job", {"metadata": {"annotations": {"pilothouse.dev/exit-code": "3"}}})
        await on.passes(600)
        assert (await on.status("job")) == before

    simulate(scenario)


def test_one_of_two_containers_ends(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("two", container("b"), container("a", "true"), restartPolicy="Never")
        await on.passes(1)
        status = await on.status("two")
        assert status["phase"] == "Running"
        assert [c["name"] for c in status["containerStatuses"]] == ["a", "b"]
        assert condition(status, "Ready")["message"] == "containers with unready status: [a]"

    simulate(scenario)


def test_restarts_back_off(simulate: Simulate) -> None:
    """The first restart is at once, then after 10 s, 20 s, 40 s, … 5 min."""

    async def scenario(on: Simulation) -> None:
        pod = await on.run("crash", container("c", "false"))
        begun_s, seen = on.now_s(), list[float]()
        count = 0
        while count < 9:
            await on.passes(1)
            now = named((await on.status("crash"))["containerStatuses"], "c")["restartCount"]
            seen += [round(on.now_s() - begun_s)] * (now - count)
            count = now
        waits = [b - a for a, b in pairwise(seen)]
        assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
        status = await on.status("crash")
        assert status["phase"] == "Running"
        waiting = state(status)["waiting"]
        assert waiting["reason"] == "CrashLoopBackOff"
        assert waiting["message"] == (
            f"back-off 5m0s restarting failed container=c pod=crash_default({pod['metadata']['uid']})"
        )
        ended = named(status["containerStatuses"], "c")["lastState"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (1, "Error")
        text = f"Back-off restarting failed container c in pod crash_default({pod['metadata']['uid']})"
        assert ("Warning", "BackOff", text) in await on.events("crash")

    simulate(scenario)


def test_ten_quiet_minutes_forget_the_back_off(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("slow", container("c", "sleep", "700"))
        await on.passes(700 * 4 + 5)
        one = named((await on.status("slow"))["containerStatuses"], "c")
        assert one["restartCount"] == 4
        assert "running" in one["state"]

    simulate(scenario)


# -- init containers and sidecars -------------------------------------------------------------------------


def test_init_containers_run_one_after_the_other(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        init = [container("a", "sleep", "10"), container("b", "sleep", "10")]
        await on.run("web", initContainers=init)
        await on.passes(5)
        status = await on.status("web")
        assert status["phase"] == "Pending"
        assert condition(status, "Initialized")["message"] == "containers with incomplete status: [a b]"
        assert condition(status, "Initialized")["reason"] == "ContainersNotInitialized"
        assert "running" in state(status, "a", "initContainerStatuses")
        assert state(status, "b", "initContainerStatuses") == {"waiting": {"reason": "PodInitializing"}}
        assert state(status) == {"waiting": {"reason": "PodInitializing"}}
        await on.passes(10)
        status = await on.status("web")
        assert condition(status, "Initialized")["message"] == "containers with incomplete status: [b]"
        first = named(status["initContainerStatuses"], "a")
        assert (first["ready"], first["started"]) == (True, False)
        await on.passes(10)
        status = await on.status("web")
        assert status["phase"] == "Running"
        assert condition(status, "Initialized")["status"] == "True"

    simulate(scenario)


@pytest.mark.parametrize(
    ("policy", "phase", "count"),
    [("Never", "Failed", 0), ("Always", "Pending", 2), ("OnFailure", "Pending", 2)],
)
def test_an_init_container_that_fails(simulate: Simulate, policy: str, phase: str, count: int) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", initContainers=[container("a", "false")], restartPolicy=policy)
        await on.passes(15)
        status = await on.status("web")
        assert status["phase"] == phase
        assert named(status["initContainerStatuses"], "a")["restartCount"] == count
        assert state(status) == {"waiting": {"reason": "PodInitializing"}}

    simulate(scenario)


def sidecar(name: str, *command: str, **more: Any) -> Obj:
    return container(name, *command, restartPolicy="Always", **more)


def test_a_sidecar_starts_before_and_ends_after(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run(
            "job",
            container("c", "sleep", "10"),
            initContainers=[sidecar("s1"), container("i", "sleep", "5"), sidecar("s2")],
            restartPolicy="Never",
            annotations={"pilothouse.dev/stop-seconds.s1": "4", "pilothouse.dev/stop-seconds.s2": "3"},
        )
        await on.passes(3)
        status = await on.status("job")
        assert "running" in state(status, "s1", "initContainerStatuses")
        assert "waiting" in state(status, "s2", "initContainerStatuses")
        await on.passes(7)
        status = await on.status("job")
        assert status["phase"] == "Running"
        assert condition(status, "Ready")["status"] == "True"
        await on.passes(6)
        status = await on.status("job")
        assert "terminated" in state(status)
        assert status["phase"] == "Running", "a sidecar still runs"
        assert condition(status, "Ready")["message"] == "containers with unready status: [c]"
        await on.passes(8)
        status = await on.status("job")
        assert status["phase"] == "Succeeded"
        ends = [state(status, n, "initContainerStatuses")["terminated"]["finishedAt"] for n in ("s2", "s1")]
        assert ends == ["2026-01-01T00:00:23Z", "2026-01-01T00:00:27Z"]
        stops = [m for _, reason, m in await on.events("job") if reason == "Killing"]
        assert sorted(stops) == ["Stopping container s1", "Stopping container s2"]

    simulate(scenario)


def test_a_sidecar_that_restarts_leaves_the_pod_running(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", initContainers=[sidecar("s", "sleep", "5")])
        await on.passes(12)
        status = await on.status("web")
        assert status["phase"] == "Running"
        assert condition(status, "Initialized")["status"] == "True"
        assert named(status["initContainerStatuses"], "s")["restartCount"] == 1
        assert condition(status, "Ready")["message"] == "containers with unready status: [s]"

    simulate(scenario)


def test_a_sidecars_startup_probe_holds_back_what_follows(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        probe = {"tcpSocket": {"port": 80}, "initialDelaySeconds": 10}
        await on.run("web", initContainers=[sidecar("s", startupProbe=probe)])
        await on.passes(9)
        assert (await on.status("web"))["phase"] == "Pending"
        await on.passes(2)
        assert (await on.status("web"))["phase"] == "Running"

    simulate(scenario)


# -- restart policies of containers -----------------------------------------------------------------------


def test_a_containers_own_restart_policy(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
        await on.run(
            "mixed",
            container("again", "sh", "-c", "exit 42", restartPolicy="Never", restartPolicyRules=rules),
            container("once", "sh", "-c", "exit 7", restartPolicy="Never", restartPolicyRules=rules),
        )
        await on.passes(15)
        status = await on.status("mixed")
        assert named(status["containerStatuses"], "again")["restartCount"] == 2
        assert named(status["containerStatuses"], "once")["restartCount"] == 0
        assert status["phase"] == "Running"

    simulate(scenario)


# -- probes -----------------------------------------------------------------------------------------------


def test_a_readiness_probe_that_fails(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        probe = {"exec": {"command": ["false"]}, "initialDelaySeconds": 5, "periodSeconds": 3}
        await on.run("web", container("c", readinessProbe=probe))
        await on.passes(3)
        assert not [e for e in await on.events("web") if e[1] == "Unhealthy"]
        await on.passes(30)
        status = await on.status("web")
        assert (status["phase"], condition(status, "Ready")["status"]) == ("Running", "False")
        (only,) = status["containerStatuses"]
        assert (only["started"], only["ready"], only["restartCount"]) == (True, False, 0)
        assert ("Warning", "Unhealthy", "Readiness probe failed: ") in await on.events("web")

    simulate(scenario)


def test_a_liveness_probe_restarts_its_container(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        probe = {"exec": {"command": ["false"]}, "periodSeconds": 5, "failureThreshold": 3}
        await on.run("web", container("c", livenessProbe=probe))
        await on.passes(9)
        assert named((await on.status("web"))["containerStatuses"], "c")["restartCount"] == 0
        await on.passes(2)
        one = named((await on.status("web"))["containerStatuses"], "c")
        assert one["restartCount"] == 1
        assert one["lastState"]["terminated"]["exitCode"] == 137
        events = await on.events("web")
        assert ("Warning", "Unhealthy", "Liveness probe failed: ") in events
        assert ("Normal", "Killing", "Container c failed liveness probe, will be restarted") in events

    simulate(scenario)


def test_readiness_gates(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", readinessGates=[{"conditionType": "example.com/up"}])
        await on.passes(1)
        ready = condition(await on.status("web"), "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
        assert ready["message"] == (
            'corresponding condition of pod readiness gate "example.com/up" does not exist.'
        )
        up = {"type": "example.com/up", "status": "True"}
        await on.patch("web", {"status": {"conditions": [up]}}, subresource="status")
        await on.passes(1)
        status = await on.status("web")
        assert condition(status, "Ready")["status"] == "True"
        assert condition(status, "example.com/up")["status"] == "True"

    simulate(scenario)


# -- what does not start ----------------------------------------------------------------------------------


def test_an_image_that_cannot_be_had(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", container("c", image="nginx:non-existent"))
        await on.passes(1)
        status = await on.status("web")
        text = (
            'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/nginx:non-existent": '
            'failed to resolve reference "docker.io/library/nginx:non-existent": '
            "docker.io/library/nginx:non-existent: not found"
        )
        assert state(status)["waiting"] == {"reason": "ErrImagePull", "message": text}
        assert status["phase"] == "Pending"
        assert condition(status, "PodReadyToStartContainers")["status"] == "True"
        await on.passes(4)
        assert state(await on.status("web"))["waiting"] == {
            "reason": "ImagePullBackOff",
            "message": f'Back-off pulling image "nginx:non-existent": ErrImagePull: {text}',
        }
        events = await on.events("web")
        assert ("Normal", "BackOff", 'Back-off pulling image "nginx:non-existent"') in events
        assert ("Warning", "Failed", "Error: ErrImagePull") in events
        assert ("Warning", "Failed", "Error: ImagePullBackOff") in events

    simulate(scenario)


def test_an_image_that_is_no_name(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", container("c", image="Nginx:"))
        await on.passes(1)
        text = (
            'Failed to apply default image tag "Nginx:": couldn\'t parse image name "Nginx:": '
            "invalid reference format: repository name (library/Nginx) must be lowercase"
        )
        assert state(await on.status("web"))["waiting"] == {"reason": "InvalidImageName", "message": text}
        events = await on.events("web")
        assert ("Warning", "InspectFailed", text) in events
        assert ("Warning", "Failed", "Error: InvalidImageName") in events

    simulate(scenario)


def test_an_image_that_is_pulled_always(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", container("c", imagePullPolicy="Always"))
        await on.passes(1)
        told = [(reason, message.split(" in ")[0]) for _, reason, message in await on.events("web")][:2]
        assert told == [
            ("Pulling", 'Pulling image "registry.example/app:1"'),
            ("Pulled", 'Successfully pulled image "registry.example/app:1"'),
        ]

    simulate(scenario)


def test_a_config_map_that_is_missing(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        from pilothouse.api.resources import CONFIG_MAPS

        await on.run("env", container("c", envFrom=[{"configMapRef": {"name": "settings"}}]))
        await on.run("volume", volumes=[{"name": "v", "configMap": {"name": "settings"}}])
        await on.passes(1)
        waiting = state(await on.status("env"))["waiting"]
        assert waiting == {
            "reason": "CreateContainerConfigError",
            "message": 'configmap "settings" not found',
        }
        status = await on.status("volume")
        assert state(status)["waiting"] == {"reason": "ContainerCreating"}
        assert condition(status, "PodReadyToStartContainers")["status"] == "False"
        text = 'MountVolume.SetUp failed for volume "v" : configmap "settings" not found'
        assert ("Warning", "FailedMount", text) in await on.events("volume")
        await on.create(CONFIG_MAPS, {"metadata": {"name": "settings"}, "data": {"a": "b"}}, "default")
        await on.passes(130)
        for name in ("env", "volume"):
            assert (await on.status(name))["phase"] == "Running"

    simulate(scenario)


# -- deadlines --------------------------------------------------------------------------------------------


def test_a_pod_past_its_deadline_is_stopped_and_has_failed(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("late", activeDeadlineSeconds=20, annotations={"pilothouse.dev/stop-seconds": "5"})
        await on.passes(22)
        status = await on.status("late")
        assert status["phase"] == "Running", "not over while something of it runs"
        assert condition(status, "Ready")["reason"] == "PodFailed"
        await on.passes(5)
        status = await on.status("late")
        assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
        assert status["message"] == "Pod was active on the node longer than the specified deadline"
        assert state(status)["terminated"]["finishedAt"] == "2026-01-01T00:00:30Z"
        events = await on.events("late")
        assert ("Normal", "DeadlineExceeded", status["message"]) in events
        assert ("Normal", "Killing", "Stopping container c") in events

    simulate(scenario)


# -- ephemeral containers ---------------------------------------------------------------------------------


def test_an_ephemeral_container_starts_in_a_running_pod(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web")
        await on.passes(1)
        debugger = {"name": "debug", "image": "busybox", "command": ["sleep", "5"]}
        await on.patch(
            "web", {"spec": {"ephemeralContainers": [debugger]}}, subresource="ephemeralcontainers"
        )
        await on.passes(1)
        status = await on.status("web")
        assert "running" in state(status, "debug", "ephemeralContainerStatuses")
        assert not named(status["ephemeralContainerStatuses"], "debug")["ready"]
        assert condition(status, "Ready")["status"] == "True"
        await on.passes(30)
        one = named((await on.status("web"))["ephemeralContainerStatuses"], "debug")
        assert (one["state"]["terminated"]["exitCode"], one["restartCount"]) == (0, 0)

    simulate(scenario)


def test_an_image_that_changes_restarts_its_container(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web")
        await on.passes(1)
        await on.patch("web", {"spec": {"containers": [{"name": "c", "image": "registry.example/app:2"}]}})
        await on.passes(1)
        status = await on.status("web")
        one = named(status["containerStatuses"], "c")
        assert (one["image"], one["restartCount"]) == ("registry.example/app:2", 1)
        assert (status["observedGeneration"], condition(status, "Ready")["observedGeneration"]) == (2, 2)
        text = "Container c definition changed, will be restarted"
        assert ("Normal", "Killing", text) in await on.events("web")

    simulate(scenario)
