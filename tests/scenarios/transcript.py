"""Transcripts: commands and what they print, as a person can read and review them.

    # What this part shows. A comment ends with the line.
    $ kubectl create deployment web --image=nginx
    | deployment.apps/web created
    $ kubectl get pods
    | NAME         READY   STATUS    RESTARTS   AGE
    | web-<hash>   1/1     Running   0          <age>
    @ kubectl>=1.31 within=10s
    $ kubectl wait --for=create configmap/later <<END
    > a line of the command's here-document
    > END
    ! error: a line of standard error
    = 1

Lines that begin with `$` and `>` are run by bash; `|` is a line of standard output, `!` of standard error, `=` the
exit status when it is not 0. An answer's line may be bound to versions of kubectl: `|<1.31 text`, `!>=1.31 text`.
`@` is about the next command: `kubectl>=1.31` runs it with such a version only, `within=10s` repeats it until the
answer fits or the time is over.

`<age>` and its like stand for what changes between runs (`PLACEHOLDERS`); a line `| ...` stands for any number of
lines. Two or more blanks inside a line match any two or more: columns are as wide as what stands in them.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

_NAMED = r"[bcdfghjklmnpqrstvwxz2456789]"  # upstream's alphabet of generated names: no vowels, no look-alikes

PLACEHOLDERS: Mapping[str, str] = {
    "<uid>": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
    r"|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [+-]\d{4} [A-Z]+",
    "<server>": r"https://[\w.]+:\d+",
    "<ip>": r"\d{1,3}(?:\.\d{1,3}){3}",
    "<hash>": _NAMED + r"{5,10}",
    "<age>": r"<invalid>|\d{1,3}s|\d+m(?:\d{1,2}s)?|\d+h(?:\d+m)?|\d+d(?:\d+h)?",
    "<n>": r"\d+",
    "<node>": r"node-\d",
    "<path>": r"/[\w./-]+",
    "<version>": r"v\d+\.\d+\.\d+[\w.+-]*",
    "<blob>": r"[\w+/=.-]{24,}",
    "<any>": r".*",
}
"""What a placeholder stands for. `<ns>` is the transcript's own namespace."""

_BOUND = r"(?P<bound>(?:<=|>=|<|>)\d+\.\d+)?"
_ANSWER = re.compile(r"(?P<mark>[|!=])" + _BOUND + r"(?: (?P<text>.*))?$")
_OPTION = re.compile(r"kubectl(?P<bound>(?:<=|>=|<|>)\d+\.\d+)|within=(?P<within>\d+)s")
_TOKEN = re.compile("(" + "|".join(map(re.escape, [*PLACEHOLDERS, "<ns>"])) + r"| {2,})")
_SKIP = "..."


class MalformedTranscript(ValueError):
    """A line that is none of the format's; the message names it."""


class Version(NamedTuple):
    """Of kubectl."""

    major: int
    minor: int

    def meets(self, bound: str | None) -> bool:
        """`bound` is like `>=1.31`; None is met by all."""
        if not bound:
            return True
        sign, numbers = re.match(r"([<>]=?)(.*)", bound).groups()  # type: ignore[union-attr]
        other = Version(*map(int, numbers.split(".")))
        return {"<": self < other, "<=": self <= other, ">": self > other, ">=": self >= other}[sign]


class Answer(NamedTuple):
    """One expected line: its mark, its text, and the versions that print it."""

    mark: str
    text: str
    bound: str | None = None

    def __str__(self) -> str:
        return f"{self.mark}{self.bound or ''} {self.text}".rstrip()


@dataclass(frozen=True)
class Step:
    """A command and its answer. `head` are the comments, blank lines and options before it, as written."""

    line: int
    head: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    bounds: tuple[str, ...] = ()
    within_s: float = 0

    def expected(self, version: Version) -> list[str]:
        """The lines that this version prints."""
        return [str(a._replace(bound=None)) for a in self.answers if version.meets(a.bound)]


def parse(text: str) -> list[Step]:
    """The steps of a transcript. A malformed line is an error that names it."""
    steps: list[Step] = []
    step = Step(1)
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line[0] in "#@$":
            if step.command:
                steps.append(step)
                step = Step(number)
            step = _opened(step, line, number)
        elif line[0] == ">" and step.command and not step.answers:
            step = replace(step, command=(*step.command, line[2:]))
        elif (answer := _ANSWER.match(line)) and step.command:
            added = Answer(answer["mark"], answer["text"] or "", answer["bound"])
            step = replace(step, answers=(*step.answers, added))
        else:
            raise MalformedTranscript(f"line {number}: {line!r}")
    return [*steps, step] if step.command else steps


def _opened(step: Step, line: str, number: int) -> Step:
    if line.startswith("$ "):
        return replace(step, line=number, command=(line[2:],))
    step = replace(step, head=(*step.head, line))
    for word in line[1:].split() if line.startswith("@") else ():
        option = _OPTION.fullmatch(word)
        if option is None:
            raise MalformedTranscript(f"line {number}: {word!r} is no option")
        if option["bound"]:
            step = replace(step, bounds=(*step.bounds, option["bound"]))
        else:
            step = replace(step, within_s=float(option["within"]))
    return step


class Session:
    """Where a transcript's commands run: a shell, an empty folder, a namespace that is kubectl's default."""

    def __init__(
        self, kubectl: Path, version: Version, kubeconfig: Path, folder: Path, namespace: str
    ) -> None:
        self.version = version
        self.namespace = namespace
        self._folder = folder / "work"
        self._folder.mkdir()
        (folder / "bin").mkdir()
        (folder / "bin" / "kubectl").symlink_to(kubectl)
        (folder / "kubeconfig").write_bytes(kubeconfig.read_bytes())
        self._environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(folder / "kubeconfig"),
            # Discovery is asked for once per cluster and version, not once per transcript.
            "KUBECACHEDIR": str(kubeconfig.parent / f"cache-{version.minor}"),
            "NS": namespace,
            "TZ": "UTC",
            "LC_ALL": "C",
        }

    def run(self, command: str, timeout_s: float = 60) -> list[str]:
        """What a command printed, as a transcript's answer lines. What lasts too long is ended with all it started."""
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            stderr += f"killed after {timeout_s:g} s\n"
        lines = [f"| {line}".rstrip() for line in stdout.splitlines()]
        lines += [f"! {line}".rstrip() for line in stderr.splitlines()]
        return lines + ([f"= {process.returncode}"] if process.returncode else [])

    def answer(self, step: Step) -> list[str]:
        """Run a step's command, until its answer fits or its time is over."""
        expected = step.expected(self.version)
        deadline = time.monotonic() + step.within_s
        while True:
            got = self.run("\n".join(step.command))
            if fits(expected, got, self.namespace) or time.monotonic() >= deadline:
                return got
            time.sleep(0.1)


def fits(expected: list[str], got: list[str], namespace: str) -> bool:
    """Whether an answer is the expected one."""
    lines = (r"(?:[|!].*\n)*?" if _is_skip(e) else _pattern(e, namespace) + "\n" for e in expected)
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in got)) is not None


def _is_skip(line: str) -> bool:
    return line[2:] == _SKIP


def _pattern(line: str, namespace: str) -> str:
    def one(part: str) -> str:
        if part == "<ns>":
            return re.escape(namespace)
        if part in PLACEHOLDERS:
            return f"(?:{PLACEHOLDERS[part]})"
        return " {2,}" if part.startswith("  ") else re.escape(part)

    indented = re.match(r". *", line)
    assert indented is not None  # every line has its mark
    return re.escape(indented[0]) + "".join(one(p) for p in _TOKEN.split(line[indented.end() :]))


def difference(expected: list[str], got: list[str], namespace: str) -> str:
    """The lines of both, as a diff. A line of the answer that fits an expected one is shown as that one."""
    patterns = [(e, re.compile(_pattern(e, namespace))) for e in expected if not _is_skip(e)]
    seen = [next((e for e, pattern in patterns if pattern.fullmatch(line)), line) for line in got]
    return "\n".join(line.rstrip() for line in difflib.ndiff(expected, seen) if not line.startswith("? "))


def play(text: str, session: Session) -> Iterator[tuple[Step, list[str]]]:
    """Each step that is for the session's version, with what it answered."""
    for step in parse(text):
        if all(session.version.meets(bound) for bound in step.bounds):
            yield step, session.answer(step)


def rewritten(text: str, session: Session) -> str:
    """The transcript with what was answered now where that does not fit, placeholders put in.

    For an author, who reviews what changed: lines that fit stay as they were written.
    """
    answered = dict(play(text, session))
    out: list[str] = []
    for step in parse(text):
        out += [*step.head, f"$ {step.command[0]}", *(f"> {line}".rstrip() for line in step.command[1:])]
        got = answered.get(step)
        if got is None or fits(step.expected(session.version), got, session.namespace):
            out += map(str, step.answers)
        else:
            out += (_generalised(line, session.namespace) for line in got)
    return "\n".join(out) + "\n"


_GENERAL = (
    ("<uid>", PLACEHOLDERS["<uid>"]),
    ("<time>", PLACEHOLDERS["<time>"]),
    ("<server>", PLACEHOLDERS["<server>"]),
    ("<ip>", rf"(?<![\w.]){PLACEHOLDERS['<ip>']}(?![\w.])"),
    ("<blob>", r"\b[0-9a-f]{64}\b|\beyJ[\w.-]+"),
    ("<hash>-<hash>", rf"(?<=-){_NAMED}{{8,10}}-{_NAMED}{{5}}\b"),
    ("<hash>", rf"(?<=kube-api-access-){_NAMED}{{5}}|(?<=debugger-){_NAMED}{{5}}|(?<=some-){_NAMED}{{5}}"),
    ("<hash>", rf"\b(?=\w*\d){_NAMED}{{9,10}}\b"),
    ("<age>", r"(?:(?<=  )|(?<=\A\| ))\d{1,2}s(?= ago|  |$)|(?<=  )<invalid>"),
    ("<node>", r"\bnode-[012]\b"),
    ("<path>", r"/tmp/[\w./-]+"),
    ("<n>", r"(?<=resourceVersion: \")\d+|(?<=\"resourceVersion\": \")\d+|(?<=:)3[0-2]\d{3}(?=/)"),
)


def _generalised(line: str, namespace: str) -> str:
    line = line.replace(namespace, "<ns>")
    for placeholder, pattern in _GENERAL:
        line = re.sub(pattern, placeholder, line)
    return line
