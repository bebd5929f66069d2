"""CronJob, as https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ describes it. The simulated world
starts at 2026-01-01T00:00:00Z."""

from __future__ import annotations

from typing import Any

from pilothouse.api import cron
from pilothouse.api.resources import CRON_JOBS, JOBS
from pilothouse.api.types import Obj
from pilothouse.controllers import cronjob_rules as rules
from pilothouse.kit.world import parse_timestamp


def cron_job(schedule: str = "* * * * *", *, command: str = "exit 0", **spec: Any) -> Obj:
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", command]}
    template = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
    return {"metadata": {"name": "cj"}, "spec": {"schedule": schedule, "jobTemplate": template, **spec}}


def test_a_job_at_every_time_and_the_last_three_are_kept(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CRON_JOBS, cron_job())
        await lab.wait(50)
        assert await lab.names(JOBS) == []
        await lab.wait(10)
        (first,) = await lab.list(JOBS)
        minutes = int(parse_timestamp("2026-01-01T00:01:00Z")) // 60
        assert first["metadata"]["name"] == f"cj-{minutes}"
        assert first["metadata"]["annotations"][rules.SCHEDULED_ANNOTATION] == "2026-01-01T00:01:00Z"
        await lab.wait(245)
        assert await lab.names(JOBS) == [f"cj-{minutes + n}" for n in (2, 3, 4)]
        status = (await lab.get(CRON_JOBS, "cj"))["status"]
        assert status["lastScheduleTime"] == "2026-01-01T00:05:00Z"
        assert "active" not in status
        assert status["lastSuccessfulTime"] >= "2026-01-01T00:05:00Z"
        told = {
            reason for _, reason, _, component in await lab.events("cj") if component == "cronjob-controller"
        }
        assert told >= {"SuccessfulCreate", "SawCompletedJob", "SuccessfulDelete"}

    simulate(scenario)


def test_forbid_skips_while_a_job_runs(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CRON_JOBS, cron_job("* * * * *", command="sleep 500", concurrencyPolicy="Forbid"))
        await lab.wait(300)
        assert len(await lab.names(JOBS)) == 1
        status = (await lab.get(CRON_JOBS, "cj"))["status"]
        assert [ref["name"] for ref in status["active"]] == await lab.names(JOBS)
        assert any(reason == "JobAlreadyActive" for _, reason, *_ in await lab.events("cj"))

    simulate(scenario)


def test_replace_deletes_the_running_job(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CRON_JOBS, cron_job("* * * * *", command="sleep 500", concurrencyPolicy="Replace"))
        await lab.wait(90)
        first = await lab.names(JOBS)
        await lab.wait(60)
        second = await lab.names(JOBS)
        assert len(first) == len(second) == 1
        assert first != second
        await lab.wait(60)
        assert len(await lab.pods()) == 1

    simulate(scenario)


def test_a_finished_job_that_cannot_be_deleted_keeps_nothing_else_back(simulate: Any, kept: set[str]) -> None:
    async def scenario(lab: Any) -> None:
        minutes = int(parse_timestamp("2026-01-01T00:00:00Z")) // 60
        kept.add(f"cj-{minutes + 1}")
        await lab.create(CRON_JOBS, cron_job(successfulJobsHistoryLimit=0))
        await lab.wait(210)
        assert await lab.names(JOBS) == [f"cj-{minutes + 1}"]
        status = (await lab.get(CRON_JOBS, "cj"))["status"]
        assert status["lastScheduleTime"] == "2026-01-01T00:03:00Z"
        assert status["lastSuccessfulTime"] >= "2026-01-01T00:03:00Z"
        assert any(reason == "FailedDelete" for _, reason, *_ in await lab.events("cj"))

    simulate(scenario)


def test_suspended_ones_start_nothing(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CRON_JOBS, cron_job("* * * * *", suspend=True))
        await lab.wait(300)
        assert await lab.names(JOBS) == []

    simulate(scenario)


def test_a_new_schedule_counts_from_its_next_time_on(simulate: Any) -> None:
    """updateCronJob: the cron job is looked at when the new schedule is due, not for what it would have missed."""

    async def scenario(lab: Any) -> None:
        await lab.create(CRON_JOBS, cron_job("0 0 1 6 *"))
        await lab.wait(130)
        await lab.patch(CRON_JOBS, "cj", {"spec": {"schedule": "* * * * *"}})
        await lab.wait(30)
        assert await lab.names(JOBS) == []
        await lab.wait(20)
        (job,) = await lab.list(JOBS)
        assert job["metadata"]["annotations"][rules.SCHEDULED_ANNOTATION] == "2026-01-01T00:03:00Z"

    simulate(scenario)


def test_times_are_those_of_the_zone(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CRON_JOBS, cron_job("2 9 * * *", timeZone="Asia/Tokyo"))
        await lab.wait(125)
        (job,) = await lab.list(JOBS)
        when = job["metadata"]["annotations"][rules.SCHEDULED_ANNOTATION]
        assert when == "2026-01-01T09:02:00+09:00"

    simulate(scenario)


def test_jobs_of_a_deleted_cron_job_go_with_it(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CRON_JOBS, cron_job("* * * * *"))
        await lab.wait(150)
        assert await lab.names(JOBS)
        await lab.delete(CRON_JOBS, "cj")
        await lab.wait(30)
        assert await lab.names(JOBS) == []

    simulate(scenario)


# -- rules --------------------------------------------------------------------------------------------------


def stored(created: str, last: str = "", **spec: Any) -> Obj:
    status = {"lastScheduleTime": last} if last else {}
    return {"metadata": {"name": "cj", "creationTimestamp": created}, "spec": spec, "status": status}


def test_after_a_long_pause_only_the_last_time_counts() -> None:
    """ "If … more than 100 missed schedules …, then it does not start the Job": since 1.21 it starts the last one and
    warns."""
    cj = stored("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
    found = rules.due(cj, cron.parse("*/10 * * * *"), parse_timestamp("2026-01-03T00:05:00Z"))
    assert found.recent_s == parse_timestamp("2026-01-03T00:00:00Z")
    assert found.missed_many


def test_the_starting_deadline_limits_how_far_back_is_looked() -> None:
    cj = stored("2026-01-01T00:00:00Z", startingDeadlineSeconds=120)
    hourly = cron.parse("0 * * * *")
    assert rules.due(cj, hourly, parse_timestamp("2026-01-01T05:01:00Z")).recent_s is not None
    assert rules.due(cj, hourly, parse_timestamp("2026-01-01T05:03:00Z")).recent_s is None


def test_it_wakes_a_moment_after_the_next_time() -> None:
    cj = stored("2026-01-01T00:00:00Z", "2026-01-01T04:00:00Z")
    delay_s = rules.next_delay_s(cj, cron.parse("0 * * * *"), parse_timestamp("2026-01-01T04:30:00Z"))
    assert delay_s is not None
    assert round(delay_s, 3) == 1800.1


def test_allowed_jobs_run_beside_each_other(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CRON_JOBS, cron_job(command="sleep 500", concurrencyPolicy="Allow"))
        await lab.wait(190)
        status = (await lab.get(CRON_JOBS, "cj"))["status"]
        assert sorted(ref["name"] for ref in status["active"]) == await lab.names(JOBS)
        assert len(status["active"]) == 3

    simulate(scenario)


def test_a_job_that_somebody_deleted_is_no_longer_active(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CRON_JOBS, cron_job("0 * * * *", command="sleep 9000"))
        await lab.wait(3610)
        (name,) = await lab.names(JOBS)
        await lab.delete(JOBS, name, propagationPolicy="Background")
        await lab.wait(30)
        assert "active" not in (await lab.get(CRON_JOBS, "cj"))["status"]
        told = [(reason, message) for _, reason, message, _ in await lab.events("cj")]
        assert ("MissingJob", f"Active job went missing: {name}") in told

    simulate(scenario)
