"""What a simulated container does: run until it is told to end, or end as its command plainly would.

Understood as a command, also behind `sh -c` and chained by `;`, `&&`, `||` or new lines: `true`, `false`, `:`,
`exit N`, `sleep N`, `echo …`, with `exec` and `set -e` before them. Anything else runs. Nothing is executed.

Annotations on the pod say more than a command can, for one container with its name behind a dot
(`pilothouse.dev/exit-code.web: "3"`), for all without:

    pilothouse.dev/start-seconds     how long it takes to create (Pending, ContainerCreating); default 0
    pilothouse.dev/run-seconds       how long it runs
    pilothouse.dev/exit-code         with which code it ends; without run-seconds it ends at once
    pilothouse.dev/ready-after-seconds  when it turns ready after its start; "never" for never
    pilothouse.dev/stop-seconds      how long it takes to end when told to (at most its grace period); default 0
    pilothouse.dev/log-lines         what it prints at its start, one line each
    pilothouse.dev/image-missing     "true", or the image that cannot be pulled

Values that are no numbers count as absent. Probes pass at the first try, unless their command is one that plainly
fails; `initialDelaySeconds` and thresholds count.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pilothouse.api.types import Obj
from pilothouse.nodes import images

PREFIX = "pilothouse.dev/"
INVALID_IMAGE_NAME = "InvalidImageName"
ERR_IMAGE_PULL = "ErrImagePull"
ERR_IMAGE_NEVER_PULL = "ErrImageNeverPull"
NEVER = math.inf
SIGKILL = 137

_MISSING_TAG = ":non-existent"
_SHELLS = ("sh", "/bin/sh", "bash", "/bin/bash", "ash", "/bin/ash")
_SUFFIXES = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NO_ANNOTATIONS: Mapping[str, str] = {}


class Line(NamedTuple):
    """What a container prints, `after_s` its start."""

    after_s: float
    text: str


class Plan(NamedTuple):
    """One run of a container. `run_s` None: until it is told to end. Times count from its start."""

    run_s: float | None = None
    exit_code: int = 0
    lines: tuple[Line, ...] = ()
    start_s: float = 0.0
    """How long it takes to create."""
    started_after_s: float = 0.0
    """When its startup probe has passed."""
    ready_after_s: float = 0.0
    """When it is ready; NEVER for never."""
    hook_s: float = 0.0
    """How long its preStop hook takes."""
    stop_s: float = 0.0
    """How long it takes to end when told to, after its hook."""
    stop_code: int = 0
    killed_by: str = ""
    """The probe that ends it: liveness or startup."""


RUNS = Plan()


def plan(pod: Obj, container: Obj) -> Plan:
    """What this container of this pod does."""
    words = container.get("command"), container.get("args")
    annotations = pod["metadata"].get("annotations") or _NO_ANNOTATIONS
    plain = not (annotations and any(key.startswith(PREFIX) for key in annotations))
    if plain and not (words[0] or words[1]) and not container.keys() & _SHAPING:
        return RUNS
    commanded = of_command([*(words[0] or ()), *(words[1] or ())])
    probed = _probed(commanded, container)
    return probed if plain else _annotated(probed, annotations, container["name"])


_SHAPING = {"readinessProbe", "startupProbe", "livenessProbe", "lifecycle"}


# -- annotations ----------------------------------------------------------------------------------------


def _annotated(base: Plan, annotations: Mapping[str, str], name: str) -> Plan:
    def text(key: str) -> str | None:
        return annotations.get(f"{PREFIX}{key}.{name}", annotations.get(PREFIX + key))

    def number(key: str, default: float) -> float:
        found = _number(text(key))
        return default if found is None else found

    run_s, code = _number(text("run-seconds")), _number(text("exit-code"))
    if run_s is None:
        run_s = 0.0 if code is not None and base.run_s is None else base.run_s
    never_ready = text("ready-after-seconds") == "never"
    printed = text("log-lines")
    return base._replace(
        run_s=run_s,
        exit_code=base.exit_code if code is None else int(code) & 0xFF,
        start_s=number("start-seconds", base.start_s),
        ready_after_s=NEVER if never_ready else number("ready-after-seconds", base.ready_after_s),
        stop_s=number("stop-seconds", base.stop_s),
        lines=base.lines if printed is None else tuple(Line(0.0, line) for line in printed.splitlines()),
    )


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


# -- commands -------------------------------------------------------------------------------------------


def of_command(words: list[str]) -> Plan:
    """What a command does; `words` is command and args of a container, empty for the image's own."""
    if not words:
        return RUNS
    if words[0] in _SHELLS and len(words) >= 3 and words[1] in ("-c", "-ec", "-exc", "-xc"):
        return _script(words[2], exits="e" in words[1])
    return _simple(words) or RUNS


_AND, _OR, _THEN, _UNKNOWN = "&&", "||", ";", "?"


def _script(text: str, *, exits: bool) -> Plan:
    """A chain of simple commands. After one that is none of them nothing is known: it runs. `exits`: set -e."""
    at_s, code = 0.0, 0
    lines: list[Line] = []
    for before, words, after in _chain(text):
        if (before == _AND and code) or (before == _OR and not code):
            continue
        if words[0] == "set" and all(word[:1] in "-+" for word in words[1:]):
            exits = exits or any(word[0] == "-" and "e" in word for word in words[1:])
            code = 0
            continue
        if _UNKNOWN in (before, after):
            return Plan(lines=tuple(lines))
        step = _exit(words, code) if words[0] == "exit" else _simple(words)
        if step is None or step.run_s is None:
            return Plan(lines=tuple(lines), stop_code=0 if step is None else SIGKILL)
        lines += [Line(at_s, line.text) for line in step.lines]
        at_s += step.run_s
        code = step.exit_code
        if words[0] == "exit" or (exits and code and after not in (_AND, _OR)):
            break
    return Plan(at_s, code, tuple(lines), stop_code=SIGKILL)


def _chain(text: str) -> Iterator[tuple[str, list[str], str]]:
    """The commands of a script, each with the operators before and after it; "?" for an operator that is none of
    ours."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|<>()\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    before, words, in_comment = _THEN, list[str](), False
    try:
        for token in lexer:
            in_comment = (in_comment and "\n" not in token) or token.startswith("#")
            if in_comment:
                continue
            operator = _operator(token)
            if not operator:
                words.append(token)
                continue
            if words:
                yield before, _bare(words), operator
            elif operator != _THEN:
                # Nothing before `&&`: a line that goes on.
                before = operator
                continue
            before, words = operator, []
    except ValueError:
        yield before, [_UNKNOWN], _THEN
        return
    if words:
        yield before, _bare(words), _THEN


def _operator(token: str) -> str:
    """ "" for a word. Line ends around an operator are nothing."""
    if not token or set(token) - set(";&|<>()\n"):
        return ""
    bare = token.strip("\n")
    return bare if bare in (_AND, _OR) else _THEN if not bare.strip(";\n") else _UNKNOWN


def _bare(words: list[str]) -> list[str]:
    return words[1:] if words[0] == "exec" and len(words) > 1 else words


def _simple(words: list[str]) -> Plan | None:
    """None: not one of the simple commands."""
    name = words[0].rpartition("/")[2]
    if any(word in (">", ">>", "|", "&", "<") for word in words):
        return None
    if name in ("true", ":"):
        return Plan(0.0)
    if name == "false":
        return Plan(0.0, 1)
    if name == "echo":
        return Plan(0.0, 0, tuple(Line(0.0, line) for line in _echo(words[1:]).split("\n")))
    if name == "exit":
        return _exit(words, 0)
    if name == "sleep" and len(words) > 1:
        return _sleep(words[1:])
    return None


def _exit(words: list[str], last: int) -> Plan | None:
    """Without a number, the code of what came before."""
    code = words[1] if len(words) > 1 else str(last)
    return Plan(0.0, int(code) & 0xFF) if code.isdecimal() else None


def _echo(words: list[str]) -> str:
    while words and words[0] in ("-n", "-e", "-ne", "-en"):
        words = words[1:]
    return " ".join(words)


def _sleep(words: list[str]) -> Plan | None:
    total_s = 0.0
    for word in words:
        if word in ("infinity", "inf"):
            return Plan(None, stop_code=SIGKILL)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", word)
        if match is None:
            return None
        total_s += float(match[1]) * _SUFFIXES[match[2]]
    return Plan(total_s, stop_code=SIGKILL)


# -- probes and hooks -----------------------------------------------------------------------------------


def _probed(base: Plan, container: Obj) -> Plan:
    """The plan under its probes: when they have passed, and when one that plainly fails gets it killed."""
    startup, ready, live = (container.get(f"{kind}Probe") for kind in ("startup", "readiness", "liveness"))
    started_s = _passes_after(startup) if startup else 0.0
    ready_s = max(started_s, _passes_after(ready)) if ready else started_s
    killed_s = min(
        _fails_after(startup) if startup else NEVER,
        _fails_after(live, started_s) if live and started_s < NEVER else NEVER,
    )
    run_s, code, killed_by = base.run_s, base.exit_code, ""
    if killed_s < (NEVER if run_s is None else run_s):
        run_s, code = killed_s, SIGKILL
        killed_by = "startup" if startup and plainly_fails(startup) else "liveness"
    hook = ((container.get("lifecycle") or {}).get("preStop") or {}) if "lifecycle" in container else {}
    return base._replace(
        run_s=run_s,
        exit_code=code,
        killed_by=killed_by,
        started_after_s=started_s,
        ready_after_s=ready_s,
        hook_s=_hook_s(hook) if hook else 0.0,
    )


def plainly_fails(probe: Obj) -> bool:
    """Its command is one that is known to fail."""
    does = of_command((probe.get("exec") or {}).get("command") or [])
    return does.run_s is not None and does.exit_code != 0


def _passes_after(probe: Obj) -> float:
    if plainly_fails(probe):
        return NEVER
    again = (probe.get("successThreshold", 1) - 1) * probe.get("periodSeconds", 10)
    return float(probe.get("initialDelaySeconds", 0) + again)


def _fails_after(probe: Obj, begins_s: float = 0.0) -> float:
    """`begins_s`: probes other than the startup probe are not tried before that has passed."""
    if not plainly_fails(probe):
        return NEVER
    tries = (probe.get("failureThreshold", 3) - 1) * probe.get("periodSeconds", 10)
    return float(max(probe.get("initialDelaySeconds", 0), begins_s) + tries)


def _hook_s(hook: Obj) -> float:
    if "sleep" in hook:
        return float(hook["sleep"].get("seconds", 0))
    return of_command((hook.get("exec") or {}).get("command") or []).run_s or 0.0


# -- images ---------------------------------------------------------------------------------------------


class ImageProblem(NamedTuple):
    """Why a container waits for its image, as its kubelet puts it."""

    reason: str
    message: str


def image_problem(pod: Obj, container: Obj) -> ImageProblem | None:
    """None for an image that can be had."""
    image = container.get("image", "")
    try:
        reference = images.parse(image)
    except images.InvalidReference as error:
        why = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {error}'
        return ImageProblem(INVALID_IMAGE_NAME, why)
    annotations = pod["metadata"].get("annotations") or _NO_ANNOTATIONS
    if not image.endswith(_MISSING_TAG) and not _is_missing(annotations, container["name"], image):
        return None
    if container.get("imagePullPolicy") == "Never":
        text = f'Container image "{image}" is not present with pull policy of Never'
        return ImageProblem(ERR_IMAGE_NEVER_PULL, text)
    return ImageProblem(
        ERR_IMAGE_PULL,
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{reference}": '
        f'failed to resolve reference "{reference}": {reference}: not found',
    )


def _is_missing(annotations: Mapping[str, str], name: str, image: str) -> bool:
    if not annotations:
        return False
    said = annotations.get(f"{PREFIX}image-missing.{name}", annotations.get(f"{PREFIX}image-missing", ""))
    return said in ("true", "1", image) if said else False
