"""Job, as https://kubernetes.io/docs/concepts/workloads/controllers/job/ and its KEPs describe it."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import JOBS, PODS
from pilothouse.api.types import Obj
from pilothouse.controllers import job_indexes, job_policies
from pilothouse.controllers import job_rules as rules


def job(
    command: str, *, restart: str = "Never", annotations: dict[str, str] | None = None, **spec: Any
) -> Obj:
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", command]}
    template: Obj = {"spec": {"restartPolicy": restart, "containers": [container]}}
    if annotations:
        template["metadata"] = {"annotations": annotations}
    return {"metadata": {"name": "j"}, "spec": {"template": template, **spec}}


def conditions(found: Obj) -> list[tuple[str, str, str]]:
    return [(c["type"], c["status"], c["reason"]) for c in found["status"].get("conditions") or ()]


def test_runs_to_its_completions(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("exit 0", completions=3, parallelism=2))
        await lab.wait(20)
        found = await lab.get(JOBS, "j")
        status = found["status"]
        assert (status["succeeded"], status["ready"], status["terminating"]) == (3, 0, 0)
        assert status["uncountedTerminatedPods"] == {}
        assert conditions(found) == [
            ("SuccessCriteriaMet", "True", "CompletionsReached"),
            ("Complete", "True", "CompletionsReached"),
        ]
        pods = await lab.pods()
        assert len(pods) == 3
        assert not any(p["metadata"].get("finalizers") for p in pods)
        reasons = [reason for _, reason, _, component in await lab.events("j")]
        assert sorted(reasons) == ["Completed", *["SuccessfulCreate"] * 3]

    simulate(scenario)


def test_failed_pods_are_replaced_with_growing_delays_up_to_the_limit(simulate: Any) -> None:
    """ "recreated … with an exponential back-off delay (10s, 20s, 40s …) capped at six minutes"; the code says ten."""

    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("exit 1", backoffLimit=2))
        await lab.wait(5)
        assert len(await lab.pods()) == 1
        await lab.wait(9)
        assert len(await lab.pods()) == 2
        await lab.wait(15)
        assert len(await lab.pods()) == 2
        await lab.wait(10)
        found = await lab.get(JOBS, "j")
        assert found["status"]["failed"] == 3
        assert conditions(found) == [
            ("FailureTarget", "True", "BackoffLimitExceeded"),
            ("Failed", "True", "BackoffLimitExceeded"),
        ]
        assert ("Warning", "BackoffLimitExceeded", rules.LIMIT_REACHED, "job-controller") in await lab.events(
            "j"
        )

    simulate(scenario)


def test_deadline_ends_running_pods(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("sleep 500", activeDeadlineSeconds=30, parallelism=2, completions=2))
        await lab.wait(20)
        assert (await lab.get(JOBS, "j"))["status"]["active"] == 2
        await lab.wait(60)
        found = await lab.get(JOBS, "j")
        assert conditions(found)[-1] == ("Failed", "True", "DeadlineExceeded")
        assert found["status"]["failed"] == 2
        assert await lab.pods() == []

    simulate(scenario)


def test_indexed_jobs_give_each_pod_its_index(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("exit 0", completionMode="Indexed", completions=4, parallelism=4))
        await lab.wait(10)
        assert (await lab.get(JOBS, "j"))["status"]["completedIndexes"] == "0-3"
        pods = sorted(await lab.pods(), key=lambda p: p["metadata"]["name"])
        for index, pod in enumerate(pods):
            meta = pod["metadata"]
            assert meta["name"].startswith(f"j-{index}-")
            assert meta["annotations"][job_indexes.ANNOTATION] == str(index)
            assert meta["labels"][job_indexes.ANNOTATION] == str(index)
            assert pod["spec"]["hostname"] == f"j-{index}"
            assert pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"

    simulate(scenario)


def test_back_off_limit_per_index(simulate: Any) -> None:
    """KEP-3850: an index fails on its own, its failures are counted in an annotation of its pods."""

    async def scenario(lab: Any) -> None:
        wanted = job("exit 1", completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=1)
        await lab.create(JOBS, wanted)
        await lab.wait(8)
        await lab.wait(12)
        counts = {p["metadata"]["annotations"][rules.FAILURE_COUNT] for p in await lab.pods()}
        assert counts == {"0", "1"}
        await lab.wait(10)
        found = await lab.get(JOBS, "j")
        assert (found["status"]["failedIndexes"], found["status"]["failed"]) == ("0,1", 4)
        assert conditions(found)[-1] == ("Failed", "True", "FailedIndexes")

    simulate(scenario)


def test_suspending_deletes_pods_and_resuming_starts_the_clock_anew(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("sleep 500", suspend=True))
        await lab.wait(5)
        found = await lab.get(JOBS, "j")
        assert conditions(found) == [("Suspended", "True", "JobSuspended")]
        assert "startTime" not in found["status"]
        await lab.patch(JOBS, "j", {"spec": {"suspend": False}})
        await lab.wait(5)
        found = await lab.get(JOBS, "j")
        assert conditions(found) == [("Suspended", "False", "JobResumed")]
        assert found["status"]["active"] == 1
        assert found["status"]["startTime"]
        await lab.patch(JOBS, "j", {"spec": {"suspend": True}})
        await lab.wait(60)
        assert await lab.pods() == []
        assert (await lab.get(JOBS, "j"))["status"].get("failed", 0) == 0

    simulate(scenario)


def test_fewer_pods_when_parallelism_falls(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("sleep 500", parallelism=3, completions=3))
        await lab.wait(5)
        await lab.patch(JOBS, "j", {"spec": {"parallelism": 1}})
        await lab.wait(60)
        assert len(await lab.pods()) == 1
        assert (await lab.get(JOBS, "j"))["status"].get("failed", 0) == 0

    simulate(scenario)


def test_work_queue_jobs_end_with_the_first_success(simulate: Any) -> None:
    """spec.completions unset: "when any Pod has terminated with success, no new Pods are created"."""

    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("sleep 5", parallelism=2))
        await lab.wait(30)
        found = await lab.get(JOBS, "j")
        assert found["status"]["succeeded"] == 2
        assert conditions(found)[-1] == ("Complete", "True", "CompletionsReached")

    simulate(scenario)


def test_deleting_a_job_frees_its_pods(simulate: Any) -> None:
    """Pods of a job that is gone are not held by its finalizer."""

    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("sleep 500", parallelism=2, completions=2))
        await lab.wait(5)
        assert all(p["metadata"]["finalizers"] == [rules.FINALIZER] for p in await lab.pods())
        await lab.delete(JOBS, "j", propagationPolicy="Background")
        await lab.wait(60)
        assert await lab.pods() == []

    simulate(scenario)


def test_orphans_are_freed_too(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("sleep 500"))
        await lab.wait(5)
        await lab.delete(JOBS, "j", propagationPolicy="Orphan")
        await lab.wait(10)
        (pod,) = await lab.pods()
        assert not pod["metadata"].get("finalizers")
        assert not pod["metadata"].get("ownerReferences")

    simulate(scenario)


def test_a_pod_that_is_deleted_counts_as_failed_and_is_replaced(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("sleep 500"))
        await lab.wait(5)
        (name,) = await lab.names(PODS)
        await lab.delete(PODS, name)
        await lab.wait(60)
        found = await lab.get(JOBS, "j")
        assert (found["status"]["failed"], found["status"]["active"]) == (1, 1)
        assert name not in await lab.names(PODS)

    simulate(scenario)


def test_finished_jobs_go_after_their_time(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("exit 0", ttlSecondsAfterFinished=60))
        await lab.wait(30)
        assert conditions(await lab.get(JOBS, "j"))[-1][0] == "Complete"
        await lab.wait(60)
        with pytest.raises(ApiError, match="not found"):
            await lab.get(JOBS, "j")
        assert await lab.pods() == []

    simulate(scenario)


def test_jobs_of_other_controllers_are_left_alone(simulate: Any) -> None:
    """KEP-4368."""

    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("exit 0", managedBy="example.com/other"))
        await lab.wait(10)
        assert await lab.pods() == []
        assert (await lab.get(JOBS, "j"))["status"] == {}

    simulate(scenario)


# -- rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "0", "0,1", "0-2", "0-2,4,5,7-9"])
def test_indexes_are_written_as_they_are_read(text: str) -> None:
    assert job_indexes.render(job_indexes.parse(text, 100)) == text


def test_indexes_beyond_the_completions_do_not_count() -> None:
    assert job_indexes.parse("1,3-9,12", 5) == {1, 3, 4}


def failed_pod(code: int, *types: str) -> Obj:
    return {
        "metadata": {"name": "p", "namespace": "n"},
        "status": {
            "phase": "Failed",
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}],
            "conditions": [{"type": t, "status": "True"} for t in types],
        },
    }


def test_pod_failure_policy_takes_the_first_rule_that_matches() -> None:
    """KEP-3329."""
    policy = {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
            {"action": "Count", "onExitCodes": {"containerName": "c", "operator": "NotIn", "values": [1]}},
        ]
    }
    assert not job_policies.failure(policy, failed_pod(42, "DisruptionTarget")).counts
    verdict = job_policies.failure(policy, failed_pod(42))
    assert (
        verdict.message == "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 1"
    )
    assert job_policies.failure(policy, failed_pod(2)).action == "Count"
    assert job_policies.failure(policy, failed_pod(1)).action == ""


def test_success_policy_wants_indexes_a_count_or_both() -> None:
    """KEP-3998."""
    rule = {"succeededIndexes": "0-2", "succeededCount": 2}
    assert job_policies.success({"rules": [rule]}, 10, {0, 5}) is None
    assert (
        job_policies.success({"rules": [{"succeededCount": 9}, rule]}, 10, {0, 1})
        == "Matched rules at index 1"
    )


@pytest.mark.parametrize(("failures", "delay_s"), [(0, 0), (1, 10), (2, 20), (4, 80), (7, 600), (900, 600)])
def test_back_off_doubles_to_ten_minutes(failures: int, delay_s: float) -> None:
    assert rules.backoff_left_s(failures, 100.0, 100.0) == delay_s


def test_too_many_failed_indexes_end_the_job(simulate: Any) -> None:
    """KEP-3850, spec.maxFailedIndexes: exceeding it ends what still runs."""

    async def scenario(lab: Any) -> None:
        command = "[ $JOB_COMPLETION_INDEX -lt 2 ] && exit 1; sleep 500"
        wanted = job(
            command,
            completionMode="Indexed",
            completions=4,
            parallelism=4,
            backoffLimitPerIndex=0,
            maxFailedIndexes=1,
        )
        await lab.create(JOBS, wanted)
        await lab.wait(60)
        found = await lab.get(JOBS, "j")
        assert found["status"]["failedIndexes"] == "0,1"
        assert conditions(found) == [
            ("FailureTarget", "True", "MaxFailedIndexesExceeded"),
            ("Failed", "True", "MaxFailedIndexesExceeded"),
        ]
        assert found["status"].get("active", 0) == 0

    simulate(scenario)


def test_the_success_policy_ends_the_job_and_the_rest_of_its_pods(simulate: Any) -> None:
    """KEP-3998: SuccessCriteriaMet first, Complete when nothing terminates any more; what was stopped is no failure."""

    async def scenario(lab: Any) -> None:
        command = "[ $JOB_COMPLETION_INDEX = 0 ] && exit 0; sleep 500"
        policy = {"rules": [{"succeededIndexes": "0"}]}
        wanted = job(command, completionMode="Indexed", completions=3, parallelism=3, successPolicy=policy)
        await lab.create(JOBS, wanted)
        await lab.wait(60)
        found = await lab.get(JOBS, "j")
        assert conditions(found) == [
            ("SuccessCriteriaMet", "True", "SuccessPolicy"),
            ("Complete", "True", "SuccessPolicy"),
        ]
        assert found["status"]["completedIndexes"] == "0"

    simulate(scenario)


def test_pods_that_terminate_are_replaced_only_once_they_have_failed_if_asked(simulate: Any) -> None:
    """KEP-3939: podReplacementPolicy Failed."""

    async def scenario(lab: Any) -> None:
        slow = {"pilothouse.dev/stop-seconds": "20"}
        await lab.create(JOBS, job("sleep 500", annotations=slow, podReplacementPolicy="Failed"))
        await lab.wait(5)
        await lab.delete(PODS, (await lab.names(PODS))[0])
        await lab.wait(10)
        status = (await lab.get(JOBS, "j"))["status"]
        assert (len(await lab.pods()), status["terminating"], status.get("active", 0)) == (1, 1, 0)
        await lab.wait(40)
        status = (await lab.get(JOBS, "j"))["status"]
        assert (status["active"], status["failed"], status["terminating"]) == (1, 1, 0)

    simulate(scenario)


def test_elastic_indexed_jobs_shrink_and_grow_with_both_numbers(simulate: Any) -> None:
    """KEP-3715: completions may follow parallelism."""

    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job("sleep 60", completionMode="Indexed", completions=4, parallelism=4))
        await lab.wait(5)
        await lab.patch(JOBS, "j", {"spec": {"completions": 2, "parallelism": 2}})
        await lab.wait(10)
        indexes = {p["metadata"]["annotations"][rules.INDEX_LABEL] for p in await lab.pods()}
        assert indexes == {"0", "1"}
        await lab.patch(JOBS, "j", {"spec": {"completions": 3, "parallelism": 3}})
        await lab.wait(100)
        found = await lab.get(JOBS, "j")
        assert (found["status"]["completedIndexes"], found["status"]["succeeded"]) == ("0-2", 3)

    simulate(scenario)
