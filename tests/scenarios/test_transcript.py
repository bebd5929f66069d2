"""The transcripts' own format: what is read, what fits, what a failure shows."""

from __future__ import annotations

import pytest

from tests.scenarios.transcript import Answer, MalformedTranscript, Version, difference, fits, parse


def test_a_step_has_its_command_with_what_it_reads_and_its_answer() -> None:
    text = "# About it.\n@ kubectl>=1.31 within=3s\n$ cat <<END\n> a\n> END\n| a\n!<1.30 old\n= 3\n\n$ true\n"
    first, second = parse(text)
    assert first.command == ("cat <<END", "a", "END")
    assert first.answers == (Answer("|", "a"), Answer("!", "old", "<1.30"), Answer("=", "3"))
    assert (first.bounds, first.within_s, first.line) == ((">=1.31",), 3, 3)
    assert (second.command, second.answers) == (("true",), ())


@pytest.mark.parametrize("line", ["| an answer to nothing", "$ true\nfree text", "@ kubctl>=1.2\n$ true"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(MalformedTranscript, match=r"line [12]: "):
        parse(line)


def test_lines_are_for_the_versions_that_they_name() -> None:
    (step,) = parse("$ true\n|>=1.31 new\n|<1.31 old\n| both\n")
    assert step.expected(Version(1, 31)) == ["| new", "| both"]
    assert step.expected(Version(1, 9)) == ["| old", "| both"]


@pytest.mark.parametrize(
    ("expected", "got", "fit"),
    [
        (["| web-<hash>-<hash>   1/1   <age>"], ["| web-6fb7c5d4bd-xk2lp  1/1     12s"], True),
        (["| web"], ["! web"], False),
        (["|   web"], ["| web"], False),
        (["| a b"], ["| a  b"], False),
        (["| in <ns>"], ["| in t-1"], True),
        (["| a", "| ...", "| z"], ["| a", "| b", "! c", "| z"], True),
        (["| a", "| ..."], ["| a"], True),
        (["| a", "| ..."], ["| b"], False),
        (["| a.c (x)"], ["| abc (x)"], False),
        (["| a"], ["| a", "= 1"], False),
    ],
)
def test_what_fits(expected: list[str], got: list[str], fit: bool) -> None:
    assert fits(expected, got, "t-1") is fit


def test_a_difference_shows_what_fits_as_it_was_written() -> None:
    shown = difference(["| up <age>", "| b"], ["| up 5s", "| c"], "t-1")
    assert shown.splitlines() == ["  | up <age>", "- | b", "+ | c"]
