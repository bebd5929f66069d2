"""Flags with Go's conventions, as people know them from Kubernetes' own programs.

    --name=value   --name value   -name value   --switch   --switch=false   -v=2   -v 2   -v2
    --list a,b --list c   gives (a, b, c)       --      ends the flags

Not a general command-line library: no positional arguments but those a command asks for, no environment
variables, no completion. Why not click's options: docs/decisions/0010.
"""

from __future__ import annotations

import difflib
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pilothouse.cli.kinds import BOOL, STRING, Kind

DETACHED = "PILOTHOUSE_DETACHED"
"""Set in the environment of a process that `up -d` started: its errors go to stdout too, where `up` reads them."""


class UsageError(Exception):
    """A wrong call: one line that says what to do instead. Exit code 2."""


class Failure(Exception):
    """What was asked for could not be done: one line that says why and what to do next. Exit code 1."""


class HelpWanted(Exception):
    """--help was among the arguments."""


@dataclass(frozen=True, slots=True)
class Flag:
    """`no_effect` says why upstream's flag changes nothing here; `refused` what to do instead of a flag that is not
    served, which is an error wherever it is given (but for its upstream default)."""

    name: str
    kind: Kind
    default: Any
    help: str
    short: str = ""
    label: str = ""
    no_effect: str = ""
    refused: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Flags under one heading of the help."""

    title: str
    flags: tuple[Flag, ...]


class Values(Mapping[str, Any]):
    """Parsed flags by name; `given` are those that the caller set."""

    def __init__(
        self, values: dict[str, Any], given: frozenset[str], arguments: tuple[str, ...] = ()
    ) -> None:
        self._values = values
        self.given = given
        self.arguments = arguments

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


Run = Callable[[Values], int | None]


class Subcommand(NamedTuple):
    """A command below another; its module is imported when it is called, and `attribute` is the Command in it."""

    module: str
    summary: str
    attribute: str = "COMMAND"


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: `run` gives the exit code (None: 0), or raises UsageError or Failure."""

    name: str
    summary: str
    run: Run
    groups: tuple[Group, ...] = ()
    description: str = ""
    examples: str = ""
    argument: str = ""
    """The name of positional arguments, "" for a command that takes none."""
    subcommands: Mapping[str, Subcommand] = field(default_factory=dict)
    """By name; the command itself is what runs without one."""
    index: dict[str, Flag] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for group in self.groups:
            for flag in group.flags:
                assert flag.name not in self.index, flag.name
                self.index[flag.name] = flag

    def parse(self, arguments: Sequence[str]) -> Values:
        """Raises UsageError, and HelpWanted for --help."""
        return _Parser(self).run(arguments)


class _Parser:
    def __init__(self, command: Command) -> None:
        self._command = command
        self._index = command.index
        self._short = {flag.short: flag for flag in command.index.values() if flag.short}
        self._values = {flag.name: flag.default for flag in command.index.values()}
        self._given: set[str] = set()
        self._positional: list[str] = []

    def run(self, arguments: Sequence[str]) -> Values:
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if argument == "--":
                self._positional += rest
                break
            if argument == "-" or not argument.startswith("-"):
                self._positional.append(argument)
            else:
                self._flag(argument, rest)
        if self._positional and not self._command.argument:
            raise self._error(
                f"unexpected argument {self._positional[0]!r}: {self._command.name} takes flags only"
            )
        return Values(self._values, frozenset(self._given), tuple(self._positional))

    def _flag(self, argument: str, rest: list[str]) -> None:
        name, equals, text = argument.lstrip("-").partition("=")
        if name in ("help", "h") and not equals:
            raise HelpWanted
        is_long = argument.startswith("--")
        flag = self._find(name, is_long)
        if flag is None and not is_long and name[:1] in self._short:
            flag, equals, text = self._short[name[0]], "=", argument[2:].removeprefix("=")
        if flag is None:
            raise self._unknown(argument.partition("=")[0], name)
        if not equals:
            if flag.kind is BOOL:
                text = "true"
            elif rest:
                text = rest.pop(0)
            else:
                raise self._error(f"--{flag.name} needs a value: --{flag.name} {_label(flag)}")
        self._set(flag, text)

    def _find(self, name: str, is_long: bool) -> Flag | None:
        if not is_long and name in self._short:
            return self._short[name]
        if len(name) == 1 and is_long and name in self._short:
            return self._short[name]
        return self._index.get(name) or self._index.get(name.replace("_", "-"))

    def _set(self, flag: Flag, text: str) -> None:
        try:
            value = flag.kind.parse(text)
        except ValueError as error:
            raise self._error(f'--{flag.name}: "{text}": {error}') from None
        if flag.refused and value != flag.default:
            raise UsageError(f"--{flag.name} is not served yet: {flag.refused}")
        if flag.kind.add is not None and flag.name in self._given:
            value = flag.kind.add(self._values[flag.name], value)
        self._values[flag.name] = value
        self._given.add(flag.name)

    def _unknown(self, shown: str, name: str) -> UsageError:
        near = difflib.get_close_matches(name, list(self._index), n=1, cutoff=0.5)
        hint = f"; did you mean --{near[0]}?" if near else ""
        return self._error(f"unknown flag {shown}{hint}")

    def _error(self, text: str) -> UsageError:
        return UsageError(f"{text} (see: pilothouse {self._command.name} --help)")


def _label(flag: Flag) -> str:
    return flag.label or flag.kind.label


# -- help -----------------------------------------------------------------------------------------------------


def help_text(command: Command, width: int = 0) -> str:
    """What --help prints."""
    width = width or min(shutil.get_terminal_size((100, 24)).columns, 110)
    usage = f"Usage: pilothouse {command.name}"
    usage += " [COMMAND]" if command.subcommands else ""
    usage += " [flags]" if command.groups else ""
    usage += f" [{command.argument}]" if command.argument else ""
    parts = [usage, textwrap.fill(command.description or command.summary, width)]
    if command.examples:
        parts.append("Examples:\n" + textwrap.indent(textwrap.dedent(command.examples).strip("\n"), "  "))
    if command.subcommands:
        parts.append(
            "Commands:\n" + columns((name, entry.summary) for name, entry in command.subcommands.items())
        )
    for group in command.groups:
        shown = [flag for flag in group.flags if not (flag.hidden or flag.refused or flag.no_effect)]
        if shown:
            parts.append(f"{group.title}:\n" + "\n".join(_flag_help(flag, width) for flag in shown))
    parts += _remarks(command, width)
    return "\n\n".join(parts)


def _remarks(command: Command, width: int) -> Iterator[str]:
    """Upstream's flags that are taken and change nothing, by reason, and those that are errors."""
    reasons: dict[str, list[str]] = {}
    for flag in command.index.values():
        if flag.no_effect:
            reasons.setdefault(flag.no_effect, []).append(f"--{flag.name}")
    if reasons:
        lines = [_wrapped(f"{', '.join(names)}: {why}", width) for why, names in reasons.items()]
        yield "Upstream's flags that are taken and have no effect here, by their nature:\n" + "\n".join(lines)
    refused = [f"--{flag.name}" for flag in command.index.values() if flag.refused]
    if refused:
        title = "Upstream's flags that are not served yet; giving one is an error that says what to do:\n"
        yield title + _wrapped(", ".join(refused), width)


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent="  ",
        subsequent_indent="      ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _flag_help(flag: Flag, width: int) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    head = f"  {short}--{flag.name} {_label(flag)}".rstrip()
    default = flag.kind.show(flag.default) if flag.default not in (None, "", (), {}) else ""
    text = flag.help + (f" (default {default})" if default else "")
    body = textwrap.wrap(text, max(width - 10, 40))
    return "\n".join([head, *(f"          {line}" for line in body)])


def columns(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns, the first as wide as it must be."""
    rows = list(rows)
    widest = max(len(first) for first, _ in rows)
    return "\n".join(f"  {first:<{widest}}  {second}" for first, second in rows)


def verbosity() -> Flag:
    from pilothouse.cli.kinds import INT

    return Flag("v", INT, 0, "Log verbosity: 4 shows debug records, 8 the libraries' too.", short="v")


def no_effect(name: str, kind: Kind, default: Any, why: str, help: str = "") -> Flag:
    """A flag of upstream's that changes nothing here, by nature."""
    return Flag(name, kind, default, help or "As upstream.", no_effect=why)


def refused(name: str, what: str, kind: Kind = STRING, default: Any = "") -> Flag:
    """A flag of upstream's that is not served; `what` tells what to do instead."""
    return Flag(name, kind, default, "", refused=what)
