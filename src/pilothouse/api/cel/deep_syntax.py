"""A parser for what cel-expr-python's does not read as cel-go's does: what is nested deeper than 32, and a few more.

It is for texts that are well-formed: it makes the tree that cel-go would, and has few words for errors.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from math import isinf
from typing import Any, NamedTuple

from pilothouse.api.cel.macros import Builder, MacroError, expand
from pilothouse.api.cel.nodes import CelSyntaxError, Entry, Expr, Tree

DEPTH_MAX = 250
_FRAMES = 5_000
"""Python's own limit is too low for 250 levels, here and in what walks the tree."""

_TOKEN = re.compile(
    r"""
    (?P<space> (?: [\t\ \r\n\f]+ | //[^\n]* )+ )
    | (?P<float> (?: [0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ ) )
    | (?P<int> (?: 0x[0-9a-fA-F]+ | [0-9]+ ) [uU]? )
    | (?P<text> [bB]? (?:
          [rR] (?: \"\"\".*?\"\"\" | '''.*?''' | "[^"\n\r]*" | '[^'\n\r]*' )
        | \"\"\" (?: \\. | [^\\] )*? \"\"\" | ''' (?: \\. | [^\\] )*? '''
        | " (?: \\. | [^"\\\n\r] )* " | ' (?: \\. | [^'\\\n\r] )* '
      ) )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<escaped> `[A-Za-z0-9_.\-/\ ]+` )
    | (?P<op> && | \|\| | == | != | <= | >= | [-+*/%!<>?:.,()\[\]{}] )
    """,
    re.VERBOSE | re.DOTALL,
)
_EXPONENT = re.compile(r"[0-9.][eE][+]?[0-9]{3}")
_RESERVED = {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop"}
_RESERVED |= {"namespace", "package", "return", "var", "void", "while"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
_LEVELS: tuple[dict[str, str], ...] = (
    {"<": "_<_", "<=": "_<=_", ">=": "_>=_", ">": "_>_", "==": "_==_", "!=": "_!=_", "in": "@in"},
    {"+": "_+_", "-": "_-_"},
    {"*": "_*_", "/": "_/_", "%": "_%_"},
)


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def too_deep(what: str) -> CelSyntaxError:
    return CelSyntaxError(f"ERROR: <input>:-1:0: {what}")


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise error_at(text, at, f"Syntax error: token recognition error at: '{text[at]}'")
        if (kind := match.lastgroup or "") != "space":
            tokens.append(_Token(kind, match[0], at))
        at = match.end()
    tokens.append(_Token("end", "<EOF>", len(text)))
    return tokens


def error_at(text: str, at: int, message: str) -> CelSyntaxError:
    """As cel-go's issues print one: where it is, the line, a mark under it."""
    line = text.count("\n", 0, at)
    start = text.rfind("\n", 0, at) + 1
    shown = text.split("\n")[line]
    dots = "." * (at - start)
    return CelSyntaxError(f"ERROR: <input>:{line + 1}:{at - start + 1}: {message}\n | {shown}\n | {dots}^")


def refuse_unsupported(text: str) -> None:
    """What cel-expr-python takes and cel-go, as Kubernetes sets it up, does not. Raises CelSyntaxError."""
    if "`" not in text and not _EXPONENT.search(text):
        return
    errors: list[str] = []
    for token in _tokens(text):
        if token.kind == "escaped":
            errors.append(str(error_at(text, token.at, "unsupported syntax: '`'")))
        elif token.kind == "float" and isinf(float(token.text)):
            errors.append(str(error_at(text, token.at, "invalid double literal")))
    if errors:
        raise CelSyntaxError("\n".join(errors))


def parse_deep(text: str, literal: Callable[[str], Any]) -> Tree:
    """`literal`: what a number or a quoted text on its own is. Raises CelSyntaxError."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _FRAMES))
    parser = _Parser(text, literal)
    root = parser.expr()
    if parser.next.kind != "end":
        raise parser.unexpected()
    return Tree(root, parser.build.positions)


class _Parser:
    def __init__(self, text: str, literal: Callable[[str], Any]) -> None:
        self.text = text
        self.literal = literal
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0
        self.build = Builder()

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def found(self, *texts: str) -> _Token | None:
        token = self.next
        return self.take() if token.kind in ("op", "name") and token.text in texts else None

    def expect(self, text: str) -> _Token:
        if token := self.found(text):
            return token
        raise self.unexpected()

    def unexpected(self) -> CelSyntaxError:
        token = self.next
        return error_at(self.text, token.at, f"Syntax error: mismatched input '{token.text}'")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise too_deep(f"expression recursion limit exceeded: {DEPTH_MAX}")

    # From the loosest to the tightest.

    def expr(self) -> Expr:
        before = self.depth
        self.deeper()
        node = self.logic("||", "_||_", partial(self.logic, "&&", "_&&_", partial(self.binary, 0)))
        if question := self.found("?"):
            at = self.build.id(question.at)
            then = self.logic("||", "_||_", partial(self.logic, "&&", "_&&_", partial(self.binary, 0)))
            self.expect(":")
            node = Expr(at, "call", name="_?_:_", args=[node, then, self.expr()])
        self.depth = before
        return node

    def logic(self, operator: str, name: str, term: Callable[[], Expr]) -> Expr:
        terms = [term()]
        operators: list[int] = []
        while token := self.found(operator):
            operators.append(self.build.id(token.at))
            terms.append(term())
        return self.balanced(name, terms, operators, 0, len(operators) - 1) if operators else terms[0]

    def balanced(self, name: str, terms: list[Expr], operators: list[int], low: int, high: int) -> Expr:
        middle = (low + high + 1) // 2
        left = terms[middle] if middle == low else self.balanced(name, terms, operators, low, middle - 1)
        right = (
            terms[middle + 1] if middle == high else self.balanced(name, terms, operators, middle + 1, high)
        )
        return Expr(operators[middle], "call", name=name, args=[left, right])

    def binary(self, level: int) -> Expr:
        if level == len(_LEVELS):
            return self.unary()
        before = self.depth
        node = self.binary(level + 1)
        names = _LEVELS[level]
        while token := self.found(*names):
            self.deeper()
            at = self.build.id(token.at)
            node = Expr(at, "call", name=names[token.text], args=[node, self.binary(level + 1)])
        self.depth = before
        return node

    def unary(self) -> Expr:
        for sign, name in (("!", "!_"), ("-", "-_")):
            tokens: list[_Token] = []
            while token := self.found(sign):
                tokens.append(token)
            if not tokens:
                continue
            if sign == "-" and len(tokens) == 1 and self.next.kind in ("int", "float"):
                number = self.next.text
                if not number.endswith(("u", "U")):
                    return self.member(self.number("-", tokens[0].at))
            node = self.member(self.primary())
            return self.build.call(tokens[0].at, name, node) if len(tokens) % 2 else node
        return self.member(self.primary())

    def member(self, node: Expr) -> Expr:
        before = self.depth
        while token := self.found(".", "["):
            self.deeper()
            optional = self.found("?")
            if token.text == "[":
                at = self.build.id(token.at)
                name = "_[?_]" if optional else "_[_]"
                node = Expr(at, "call", name=name, args=[node, self.expr()])
                self.expect("]")
                continue
            if self.next.kind not in ("name", "escaped") or self.next.text in (*_WORDS, "in"):
                raise self.unexpected()
            part = self.take()
            if part.kind == "escaped":
                raise error_at(self.text, part.at, "unsupported syntax: '`'")
            if optional:
                constant = self.build.const(self.place(node), part.text)
                node = self.build.call(token.at, "_?._", node, constant)
            elif bracket := self.found("("):
                node = self.called(bracket, part.text, node)
            else:
                node = Expr(self.build.id(token.at), "select", name=part.text, target=node)
        self.depth = before
        return node

    def place(self, node: Expr) -> int:
        return self.build.positions[node.id]

    def primary(self) -> Expr:
        token = self.next
        match token.kind:
            case "int" | "float":
                return self.number()
            case "text":
                return self.build.const(token.at, self.literal(self.take().text))
            case "name" if token.text in _WORDS:
                return self.build.const(token.at, _WORDS[self.take().text])
            case "name" if token.text != "in":
                return self.name("")
        self.at += 1
        match token.text:
            case ".":
                if self.next.kind == "name" and self.next.text not in (*_WORDS, "in"):
                    return self.name(".")
            case "(":
                node = self.expr()
                self.expect(")")
                return node
            case "[":
                return self.elements(token)
            case "{":
                return self.entries(token, "")
        self.at -= 1
        raise self.unexpected()

    def number(self, sign: str = "", at: int | None = None) -> Expr:
        token = self.take()
        return self.build.const(token.at if at is None else at, self.literal(sign + token.text))

    def name(self, dot: str) -> Expr:
        start = self.at
        token = self.take()
        if message := self.struct_name():
            return self.entries(self.take(), dot + message)
        self.at = start + 1
        if not dot and token.text in _RESERVED:
            raise error_at(self.text, token.at, f"reserved identifier: {token.text}")
        if bracket := self.found("("):
            return self.called(bracket, dot + token.text, None)
        return self.build.ident(token.at, dot + token.text)

    def struct_name(self) -> str:
        """The name, if it is one with fields that follow."""
        parts = [self.tokens[self.at - 1].text]
        while self.next.text == "." and self.tokens[self.at + 1].kind == "name":
            parts.append(self.tokens[self.at + 1].text)
            self.at += 2
        return ".".join(parts) if self.next.text == "{" else ""

    def called(self, bracket: _Token, name: str, target: Expr | None) -> Expr:
        at = self.build.id(bracket.at)
        args: list[Expr] = []
        if not self.found(")"):
            args.append(self.expr())
            while self.found(","):
                args.append(self.expr())
            self.expect(")")
        call = Expr(at, "call", name=name, target=target, args=args)
        try:
            return expand(self.build, bracket.at, call) or call
        except MacroError as error:
            raise error_at(self.text, self.place(error.node), str(error)) from None

    def elements(self, bracket: _Token) -> Expr:
        node = self.build.list(bracket.at)
        optional: set[int] = set()
        while not self.found("]"):
            if self.found("?"):
                optional.add(len(node.args))
            node.args.append(self.expr())
            if not self.found(","):
                self.expect("]")
                break
        node.optional = frozenset(optional)
        return node

    def entries(self, brace: _Token, name: str) -> Expr:
        node = Expr(self.build.id(brace.at), "struct" if name else "map", name=name)
        while not self.found("}"):
            optional = self.found("?") is not None
            key: Expr | str = self.field() if name else self.expr()
            at = self.build.id(self.expect(":").at)
            node.entries.append(Entry(at, key, self.expr(), optional))
            if not self.found(","):
                self.expect("}")
                break
        return node

    def field(self) -> str:
        if self.next.kind != "name":
            raise self.unexpected()
        return self.take().text
