"""What a simulated container does, by its command, its pod's annotations, its probes and hooks; what images mean."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.nodes import images
from pilothouse.nodes.addresses import PodAddresses, node_address, pod_range
from pilothouse.nodes.behaviour import NEVER, Plan, image_problem, of_command, plan

RUNS: tuple[float | None, int, list[str]] = (None, 0, [])


def does(found: Plan) -> tuple[float | None, int, list[str]]:
    return found.run_s, found.exit_code, [line.text for line in found.lines]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], RUNS),
        (["nginx", "-g", "daemon off;"], RUNS),
        (["true"], (0.0, 0, [])),
        (["/bin/false"], (0.0, 1, [])),
        (["sleep", "1m", "30"], (90.0, 0, [])),
        (["sleep", "infinity"], RUNS),
        (["sleep", "soon"], RUNS),
        (["echo", "-n", "a", "b"], (0.0, 0, ["a b"])),
    ],
)
def test_a_plain_command(words: list[str], expected: Any) -> None:
    assert does(of_command(words)) == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 3", (0.0, 3, [])),
        ("exit 300", (0.0, 44, [])),
        ("sleep 2; echo a; sleep 3; exit 4", (5.0, 4, ["a"])),
        ("false; exit", (0.0, 1, [])),
        ("false && echo no; echo yes", (0.0, 0, ["yes"])),
        ("false || echo yes", (0.0, 0, ["yes"])),
        ("true || echo no", (0.0, 0, [])),
        ("set -e; false; echo no", (0.0, 1, [])),
        ("set -e; false || true; echo yes", (0.0, 0, ["yes"])),
        ("set -eu\nsleep 1\nexit 2\n", (1.0, 2, [])),
        ("echo 'a; b' # exit 9\nexit 5", (0.0, 5, ["a; b"])),
        ("echo a &&\n  echo b", (0.0, 0, ["a", "b"])),
        ("exec sleep 5", (5.0, 0, [])),
        ("echo up; while true; do sleep 1; done", (None, 0, ["up"])),
        ("echo up; exec nginx", (None, 0, ["up"])),
        ("echo x | tee /log; exit 1", RUNS),
        ("sleep 5 & wait", RUNS),
        ("echo 'open", RUNS),
    ],
)
def test_a_script(script: str, expected: Any) -> None:
    assert does(of_command(["sh", "-c", script])) == expected


def test_set_e_by_flag() -> None:
    assert does(of_command(["/bin/sh", "-ec", "false; echo no"])) == (0.0, 1, [])


def of_pod(container: dict[str, Any], **annotations: str) -> Plan:
    keys = {f"pilothouse.dev/{k.replace('__', '.').replace('_', '-')}": v for k, v in annotations.items()}
    return plan({"metadata": {"annotations": keys}}, {"name": "c", **container})


def test_annotations_say_more_than_a_command() -> None:
    found = of_pod({"command": ["sleep", "5"]}, run_seconds="7", exit_code="3", log_lines="a\nb")
    assert does(found) == (7.0, 3, ["a", "b"])
    assert of_pod({}, exit_code="2").run_s == 0.0
    assert of_pod({}, ready_after_seconds="never").ready_after_s == NEVER
    assert (of_pod({}, start_seconds="4").start_s, of_pod({}, stop_seconds="6").stop_s) == (4.0, 6.0)


def test_annotations_for_one_container() -> None:
    assert of_pod({}, run_seconds__c="3", run_seconds="9").run_s == 3.0
    assert of_pod({}, run_seconds__d="3").run_s is None


def test_annotations_that_are_no_numbers_count_as_absent() -> None:
    for text in ("soon", "-1", "nan", "inf"):
        assert of_pod({"command": ["sleep", "5"]}, run_seconds=text).run_s == 5.0


FAILS = {"exec": {"command": ["false"]}}
PASSES = {"httpGet": {"path": "/", "port": 80}}


@pytest.mark.parametrize(
    ("probes", "run_s", "started_s", "ready_s"),
    [
        ({"readinessProbe": {**PASSES, "initialDelaySeconds": 4}}, None, 0.0, 4.0),
        ({"readinessProbe": {**PASSES, "successThreshold": 3, "periodSeconds": 2}}, None, 0.0, 4.0),
        ({"startupProbe": {**PASSES, "initialDelaySeconds": 4}, "readinessProbe": PASSES}, None, 4.0, 4.0),
        ({"readinessProbe": FAILS}, None, 0.0, NEVER),
        ({"livenessProbe": {**FAILS, "periodSeconds": 5}}, 10.0, 0.0, 0.0),
        ({"livenessProbe": {**FAILS, "periodSeconds": 5, "initialDelaySeconds": 3}}, 13.0, 0.0, 0.0),
        (
            {
                "startupProbe": {**PASSES, "initialDelaySeconds": 20},
                "livenessProbe": {**FAILS, "initialDelaySeconds": 5, "failureThreshold": 1},
            },
            20.0,
            20.0,
            20.0,
        ),
        ({"startupProbe": {**FAILS, "failureThreshold": 2}, "livenessProbe": PASSES}, 10.0, NEVER, NEVER),
    ],
)
def test_probes(probes: dict[str, Any], run_s: float | None, started_s: float, ready_s: float) -> None:
    found = of_pod(probes)
    assert (found.run_s, found.started_after_s, found.ready_after_s) == (run_s, started_s, ready_s)
    assert found.exit_code == (0 if run_s is None else 137)


def test_a_pre_stop_hook_comes_before_the_stop() -> None:
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "3"]}}}}
    found = of_pod(hook, stop_seconds="2")
    assert (found.hook_s, found.stop_s) == (3.0, 2.0)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("team/app:1", "docker.io/team/app:1"),
        ("localhost/app", "localhost/app:latest"),
        ("registry:5000/app:1.2", "registry:5000/app:1.2"),
        ("index.docker.io/nginx:1", "docker.io/library/nginx:1"),
        (f"a.example/app@sha256:{'0' * 64}", f"a.example/app@sha256:{'0' * 64}"),
    ],
)
def test_an_image_in_full(text: str, full: str) -> None:
    assert str(images.parse(text)) == full


@pytest.mark.parametrize(
    "text", ["", "UPPER", "a b", "nginx:", "nginx:1:2", "-a", "app@sha256:12", "http://x/y"]
)
def test_no_image(text: str) -> None:
    with pytest.raises(images.InvalidReference, match="invalid reference format"):
        images.parse(text)


@pytest.mark.parametrize(
    ("image", "policy", "reason"),
    [
        ("nginx", "Always", None),
        ("nginx:non-existent", "Always", "ErrImagePull"),
        ("nginx:non-existent", "Never", "ErrImageNeverPull"),
        ("Nginx", "Always", "InvalidImageName"),
    ],
)
def test_images_that_cannot_be_had(image: str, policy: str, reason: str | None) -> None:
    found = image_problem({"metadata": {}}, {"name": "c", "image": image, "imagePullPolicy": policy})
    assert (found and found.reason) == reason


# -- addresses --------------------------------------------------------------------------------------------


def test_addresses_of_pods_come_from_their_nodes_range() -> None:
    taken = PodAddresses()
    assert [taken.take(1) for _ in range(2)] == ["10.244.1.2", "10.244.1.3"]
    assert pod_range(1) == "10.244.1.0/24"
    assert node_address(1) == "10.88.0.3"


def test_an_address_that_is_free_again_is_taken_last() -> None:
    taken = PodAddresses()
    first = taken.take(0)
    taken.release(0, first)
    others = [taken.take(0) for _ in range(252)]
    assert first not in others
    assert taken.take(0) == first


def test_an_address_in_use_is_not_given() -> None:
    taken = PodAddresses()
    taken.mark(0, "10.244.0.2")
    assert taken.take(0) == "10.244.0.3"


def test_ranges_of_many_nodes_differ() -> None:
    ranges = {pod_range(index) for index in range(10_000)}
    assert len(ranges) == 10_000
