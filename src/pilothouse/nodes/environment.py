"""A container's environment, as far as its pod tells it, and what it makes of commands.

    $(NAME)                in command and args, by the kubelet (k8s.io/kubernetes/third_party/forked/golang/expansion)
    $NAME, ${NAME}, $((1 + NAME % 2))   in a script, by the shell

What is not known here (variables of the image, of config maps and secrets) stays as it is written.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping

from pilothouse.api.types import Obj

Environment = Mapping[str, str]

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z0-9_.-]+)\))")
_QUOTED = re.compile(r"'[^']*'")
_ARITHMETIC = re.compile(r"\$\(\((.*?)\)\)", re.S)
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    # As in C: towards zero, and the remainder has the sign of the dividend.
    ast.Div: lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    ast.Mod: lambda a, b: abs(a) % abs(b) * (-1 if a < 0 else 1),
}


def of_container(pod: Obj, container: Obj) -> dict[str, str]:
    """Variables with a value of their own or of the pod's metadata; later ones may name earlier ones."""
    found: dict[str, str] = {}
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if source is None:
            found[variable["name"]] = in_word(variable.get("value", ""), found)
            continue
        value = _field(pod, (source.get("fieldRef") or {}).get("fieldPath", ""))
        if value is not None:
            found[variable["name"]] = value
    return found


def _field(pod: Obj, path: str) -> str | None:
    meta = pod["metadata"]
    keyed = _KEYED.fullmatch(path)
    if keyed is not None:
        return str((meta.get(keyed[1]) or {}).get(keyed[2], ""))
    simple = {"metadata.name": "name", "metadata.namespace": "namespace", "metadata.uid": "uid"}
    return str(meta.get(simple[path], "")) if path in simple else None


def in_word(word: str, environment: Environment) -> str:
    """A word of command or args; `$$` is a dollar sign."""

    def put(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else environment.get(match[2], match[0])

    return _REFERENCE.sub(put, word)


def in_script(text: str, environment: Environment) -> str:
    """A shell's script; what stands in single quotes is left alone."""
    parts: list[str] = []
    end = 0
    for quoted in _QUOTED.finditer(text):
        parts += [_expand(text[end : quoted.start()], environment), quoted[0]]
        end = quoted.end()
    return "".join([*parts, _expand(text[end:], environment)])


def _expand(text: str, environment: Environment) -> str:
    def compute(match: re.Match[str]) -> str:
        value = _value(_VARIABLE.sub(lambda m: m[1] or m[2], match[1]), environment)
        return match[0] if value is None else str(value)

    def put(match: re.Match[str]) -> str:
        return environment.get(match[1] or match[2], match[0])

    return _VARIABLE.sub(put, _ARITHMETIC.sub(compute, text))


def _value(expression: str, environment: Environment) -> int | None:
    """A whole number; None for what is none, or uses more than + - * / %."""
    try:
        return _evaluate(ast.parse(expression.strip(), mode="eval").body, environment)
    except (SyntaxError, ValueError, ZeroDivisionError, KeyError):
        return None


def _evaluate(node: ast.expr, environment: Environment) -> int:
    match node:
        case ast.Constant(value=int() as value):
            return value
        case ast.Name(id=name):
            return int(environment[name])
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, environment)
        case ast.BinOp(left=left, op=operator, right=right):
            return _OPERATORS[type(operator)](_evaluate(left, environment), _evaluate(right, environment))
    raise ValueError(ast.dump(node))
