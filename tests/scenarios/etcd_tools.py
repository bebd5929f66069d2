"""Debian's etcdctl, as tests call it."""

from __future__ import annotations

import os
import subprocess

from tests.programs import required


class Etcdctl:
    """etcdctl on one endpoint. Called, it gives what was printed, and fails the test when it ended badly."""

    def __init__(self, *flags: str) -> None:
        self._command = (required("etcdctl"), *flags)
        self._environment = {**os.environ, "ETCDCTL_API": "3"}

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        ended = self.run(*arguments, stdin=stdin)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=30,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on, such as watch."""
        return subprocess.Popen(
            [*self._command, *arguments], stdout=subprocess.PIPE, text=True, env=self._environment
        )
