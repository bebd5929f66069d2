"""Playing `etcdctl/*.txt`: commands of a real etcdctl against a server, and what they print, made comparable.

The format is that of `transcript.py`. An answer is made comparable by `Normaliser`, which is short on purpose: what
is not in it must be the same whether an etcd answers or we do.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from tests.etcds import free_port
from tests.programs import required
from tests.scenarios.transcript import Step

HERE = Path(__file__).parent / "etcdctl"

_RULES = (
    # A lease, in the hexadecimal of etcdctl's words or the decimal of its JSON.
    (r"\b[0-9a-f]{15,16}\b", "<id>"),
    (r"\b\d{17,19}\b", "<id>"),
    # How long, and when.
    (r"took (?:= )?[\d.]+[µmn]?s", "took <time>"),
    (r'("took":|"Took" : )"?[\d.]+[µmn]?s"?', r"\1<time>"),
    (r"(healthy: |\| *(?:true|false) \| *)[\d.]+[µmn]?s", r"\1<time>"),
    (r'"ts":"[^"]*"|"caller":"[^"]*"', "<where>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d+\S*", "<time>"),
    (r"\bclient-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<client>"),
    # The size of the database, the version of the server, and the place in the log of Raft.
    (r"\b[\d.]+ [kM]B\b", "<size>"),
    (r'("dbSize(?:InUse)?":|"DBSize" : )\d+', r"\1<size>"),
    (r"\b3\.\d+\.\d+\b", "<version>"),
    (r'("raft(?:Applied)?Index":|"Raft(?:Applied)?Index" : )\d+', r"\1<index>"),
    (r"(?<=\| ) *(\d+) \| *\d+ \| *\d+ \|(?= )", r"\1 | <index> | <index> |"),
    (r"(, <size>, \w+, \w+, \d+), \d+, \d+,", r"\1, <index>, <index>,"),
    # Tables are as wide as what stands in them.
    (r"-{3,}", "--"),
    (r"(?<=[|+,]) +| +(?=[|+,])", " "),
)


class Session:
    """A shell in an empty folder whose etcdctl speaks with one server."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        first, second = free_port(), free_port()
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C",
            "BASH_ENV": str(HERE / "helpers.sh"),
            "ETCDCTL_API": "3",
            "ETCDCTL_ENDPOINTS": endpoint,
            # A busy machine is no difference.
            "ETCDCTL_COMMAND_TIMEOUT": "30s",
            "ETCDCTL_DIAL_TIMEOUT": "20s",
            "FREE_PORT_1": str(first),
            "FREE_PORT_2": str(second),
        }
        required("etcdctl")
        required("curl")
        self._rules = [(re.compile(pattern), to) for pattern, to in (*self._known(endpoint), *_RULES)]

    def _known(self, endpoint: str) -> list[tuple[str, str]]:
        """What this server calls itself."""
        listed = json.loads(self._run("etcdctl member list -w json")[0])
        header, member = listed["header"], listed["members"][0]
        self._environment["MEMBER"] = f"{member['ID']:x}"
        names = [(str(member["ID"]), "<member>"), (f"{member['ID']:x}", "<member>")]
        names += [(str(header["cluster_id"]), "<cluster>"), (endpoint, "<endpoint>")]
        names += [(url.removeprefix("http://"), "<peer>") for url in member.get("peerURLs", ())]
        return [(re.escape(name), to) for name, to in names]

    def answer(self, step: Step) -> list[str]:
        stdout, stderr, status = self._run("\n".join(step.command))
        lines = [f"| {line}".rstrip() for line in stdout.splitlines()]
        lines += [f"! {line}".rstrip() for line in stderr.splitlines()]
        return [self._comparable(line) for line in lines] + ([f"= {status}"] if status else [])

    def _comparable(self, line: str) -> str:
        for pattern, to in self._rules:
            line = line[:2] + pattern.sub(to, line[2:])
        return line.rstrip()

    def _run(self, command: str, timeout_s: float = 60) -> tuple[str, str, int]:
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
            _end(process)
            stdout, stderr = process.communicate()
            stderr += f"killed after {timeout_s:g} s\n"
        _end(process)
        return stdout, stderr, process.returncode


def _end(process: subprocess.Popen[str]) -> None:
    """What a command left behind, too."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
