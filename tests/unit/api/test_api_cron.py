"""Cron schedules, with the cases of github.com/robfig/cron v3 (spec_test.go, parser_test.go)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pilothouse.api import cron


def next_after(text: str, time: str) -> str | None:
    found = cron.parse(text).next(datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp())
    return None if found is None else datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("text", "after", "wanted"),
    [
        ("0/15 * * * *", "2012-07-09 14:45:00", "2012-07-09 15:00:00"),
        ("0/15 * * * *", "2012-07-09 14:59:59", "2012-07-09 15:00:00"),
        ("20-35/15 * * * *", "2012-07-09 15:45:00", "2012-07-09 16:20:00"),
        ("20-35/15 * * * *", "2012-07-09 23:46:00", "2012-07-10 00:20:00"),
        ("20-35/15 10-16/2 * * *", "2012-07-09 23:46:00", "2012-07-10 10:20:00"),
        ("0 0 9 Apr-Oct ?", "2012-07-09 23:35:00", "2012-08-09 00:00:00"),
        ("0 0 */5 Apr,Aug,Oct Mon", "2012-07-09 23:35:00", "2012-08-01 00:00:00"),
        ("0 0 */5 Oct Mon", "2012-07-09 23:35:00", "2012-10-01 00:00:00"),
        ("0 0 29 Feb ?", "2012-07-09 23:35:00", "2016-02-29 00:00:00"),
        ("0 0 29 Feb Mon", "2012-07-09 23:35:00", "2013-02-04 00:00:00"),
        ("* * * * *", "2012-07-09 23:59:59", "2012-07-10 00:00:00"),
        ("0 0 1 1 *", "2012-12-31 23:59:00", "2013-01-01 00:00:00"),
        ("@weekly", "2012-07-09 00:00:00", "2012-07-15 00:00:00"),
        ("@every 1h30m", "2012-07-09 00:00:10", "2012-07-09 01:30:10"),
        ("@every 10ms", "2012-07-09 00:00:10", "2012-07-09 00:00:11"),
        ("0 0 31 Feb ?", "2012-07-09 23:35:00", None),
    ],
)
def test_next_time(text: str, after: str, wanted: str | None) -> None:
    assert next_after(text, after) == wanted


@pytest.mark.parametrize(
    ("text", "after", "wanted"),
    [
        # 2012-03-11, New York: 2:00 to 3:00 does not come
        ("TZ=America/New_York 30 2 11 Mar ?", "2012-03-11 05:00:00", "2013-03-11 06:30:00"),
        ("TZ=America/New_York 0 * * * ?", "2012-03-11 06:00:00", "2012-03-11 07:00:00"),
        ("TZ=America/New_York 0 3 * * ?", "2012-03-11 05:00:00", "2012-03-11 07:00:00"),
        # 2012-11-04, New York: 1:00 to 2:00 comes twice
        ("TZ=America/New_York 0 1 * * ?", "2012-11-04 04:00:00", "2012-11-04 05:00:00"),
        ("TZ=America/New_York 0 1 * * ?", "2012-11-04 05:00:00", "2012-11-04 06:00:00"),
        ("CRON_TZ=Asia/Tokyo 0 6 * * *", "2012-07-09 00:00:00", "2012-07-09 21:00:00"),
    ],
)
def test_wall_clocks_of_zones(text: str, after: str, wanted: str) -> None:
    assert next_after(text, after) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("@unknown", "unrecognized descriptor: @unknown"),
        ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
        ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
    ],
)
def test_refusals_in_the_librarys_words(text: str, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        cron.parse(text)
    assert str(refused.value) == why
