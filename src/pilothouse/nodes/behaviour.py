"""What a simulated container does: run for ever, or end as its command plainly would.

Understood, also behind `sh -c` and chained by `;` or `&&`: `true`, `false`, `:`, `exit N`, `sleep N`, `echo …`.
Annotations on the pod say more than a command can, per container NAME (or for all without it):

    pilothouse.dev/run-seconds[.NAME]        how long it runs
    pilothouse.dev/exit-code[.NAME]          with which code it ends
    pilothouse.dev/ready-after-seconds[.NAME]  when it turns ready
    pilothouse.dev/image-missing             the image cannot be pulled
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from pilothouse.api.types import Obj

PREFIX = "pilothouse.dev/"
_SHELLS = ("sh", "/bin/sh", "bash", "/bin/bash")
_IMAGE = re.compile(
    r"^[a-zA-Z0-9][a-zA-Z0-9._-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[\w][\w.-]{0,127})?(@[a-z0-9]+:[a-fA-F0-9]+)?$"
)
_SUFFIXES = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Plan(NamedTuple):
    """`run_s` None: until it is told to end. `lines` is what it prints."""

    run_s: float | None = None
    exit_code: int = 0
    ready_after_s: float = 0.0
    lines: tuple[str, ...] = ()


def plan(pod: Obj, container: Obj) -> Plan:
    """What this container of this pod does."""
    commanded = _command([*(container.get("command") or ()), *(container.get("args") or ())])
    annotations = pod["metadata"].get("annotations") or {}
    name = container["name"]
    run_s = _number(annotations, "run-seconds", name)
    code = _number(annotations, "exit-code", name)
    ready = _number(annotations, "ready-after-seconds", name)
    if code is not None and run_s is None and commanded.run_s is None:
        run_s = 0.0
    return Plan(
        run_s if run_s is not None else commanded.run_s,
        int(code) if code is not None else commanded.exit_code,
        ready if ready is not None else 0.0,
        commanded.lines,
    )


def _number(annotations: dict[str, str], key: str, container: str) -> float | None:
    text = annotations.get(f"{PREFIX}{key}.{container}", annotations.get(f"{PREFIX}{key}"))
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _command(words: list[str]) -> Plan:
    if not words:
        return Plan()
    if words[0] in _SHELLS and len(words) >= 3 and words[1] == "-c":
        return _script(words[2])
    return _simple(words) or Plan()


def _script(text: str) -> Plan:
    """A chain of simple commands; anything else runs for ever."""
    lines: list[str] = []
    run_s, code = 0.0, 0
    for part in re.split(r"\s*(?:;|&&|\n)\s*", text.strip()):
        if not part:
            continue
        try:
            words = shlex.split(part)
        except ValueError:
            return Plan()
        step = _simple(words)
        if step is None or step.run_s is None:
            return Plan(lines=tuple(lines))
        run_s += step.run_s
        lines += step.lines
        code = step.exit_code
        if words[0] == "exit" or (code and "&&" in text):
            break
    return Plan(run_s, code, 0.0, tuple(lines))


def _simple(words: list[str]) -> Plan | None:
    name = words[0].rpartition("/")[2]
    if name in ("true", ":"):
        return Plan(0.0, 0)
    if name == "false":
        return Plan(0.0, 1)
    if name == "echo":
        return Plan(0.0, 0, 0.0, (" ".join(words[1:]),))
    if name == "exit":
        code = words[1] if len(words) > 1 else "0"
        return Plan(0.0, int(code) & 0xFF) if code.isdigit() else None
    if name == "sleep" and len(words) > 1:
        return _sleep(words[1])
    return None


def _sleep(text: str) -> Plan | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is not None:
        return Plan(float(match[1]) * _SUFFIXES[match[2]], 0)
    return Plan() if text in ("infinity", "inf") else None


def image_problem(pod: Obj, image: str) -> str:
    """InvalidImageName, ErrImagePull, or "" for an image that can be had."""
    if not _IMAGE.match(image):
        return "InvalidImageName"
    missing = (pod["metadata"].get("annotations") or {}).get(f"{PREFIX}image-missing", "")
    if image.endswith(":non-existent") or missing in ("true", "1", image):
        return "ErrImagePull"
    return ""
