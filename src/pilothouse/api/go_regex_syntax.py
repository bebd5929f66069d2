"""What is wrong with a regular expression, in the words of Go's regexp/syntax (RE2 syntax, Perl flags).

    regexp_error("(a")    error parsing regexp: missing closing ): `(a`

Only the first mistake is told. Whether an expression matches is `go_regex`'s business.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

_REPEAT_MAX = 1000
_BAD_CLASS = "invalid character class range"
_BAD_ESCAPE = "invalid escape sequence"
_BAD_NAME = "invalid named capture"
_BAD_COUNT = "invalid repeat count"


class _Bad(Exception):
    def __init__(self, code: str, part: str) -> None:
        super().__init__(f"error parsing regexp: {code}: `{part}`")


def regexp_error(pattern: str) -> str:
    """ "" for a pattern that Go compiles."""
    try:
        _Parser(pattern).parse()
    except _Bad as error:
        return str(error)
    return ""


@dataclass(slots=True)
class _Group:
    """An open group, or the whole. `repeatable`: what was read last can be repeated; `repeats` is how often that
    is repeated already, `repeats_max` the most of anything in the group."""

    repeatable: bool = False
    repeats: int = 1
    repeats_max: int = 1

    def atom(self, repeats: int = 1) -> None:
        self.repeatable = True
        self.repeats = repeats
        self.repeats_max = max(self.repeats_max, repeats)


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._groups = [_Group()]
        self._last_repeat = -1
        """Where the repetition begins that was read just now; -1 when something else was."""

    @property
    def _rest(self) -> str:
        return self._text[self._at :]

    def parse(self) -> None:
        while self._at < len(self._text):
            before = self._at
            step = _STEPS.get(self._text[before])
            if step is None:
                self._literal()
            elif not step(self):
                self._last_repeat = -1
                continue
            if self._text[before] not in "*+?{":
                self._last_repeat = -1
        if len(self._groups) > 1:
            raise _Bad("missing closing )", self._text)

    def _literal(self) -> bool:
        self._at += 1
        self._groups[-1].atom()
        return True

    # Groups

    def _open(self) -> bool:
        if self._text.startswith("(?", self._at):
            self._special_group()
        else:
            self._at += 1
            self._groups.append(_Group())
        return True

    def _special_group(self) -> None:
        start = self._at
        for prefix, longer_than in (("(?P<", 4), ("(?<", 3)):
            if self._rest.startswith(prefix) and len(self._rest) > longer_than:
                self._named_group(len(prefix))
                return
        match = re.compile(r"\(\?(?:[imsU]*|[imsU]*-[imsU]+)(:|\))").match(self._text, start)
        if match is None:
            raise _Bad("invalid or unsupported Perl syntax", self._text[start : self._flags_end(start)])
        self._at = match.end()
        if match[1] == ":":
            self._groups.append(_Group())

    def _flags_end(self, start: int) -> int:
        """After the first character that is no flag."""
        match = re.compile(r"\(\?[imsU]*(?:-[imsU]*)?").match(self._text, start)
        return min((match.end() if match is not None else start) + 1, len(self._text))

    def _named_group(self, name_at: int) -> None:
        end = self._rest.find(">")
        if end < 0:
            raise _Bad(_BAD_NAME, self._rest)
        if re.fullmatch("[A-Za-z0-9_]+", self._rest[name_at:end]) is None:
            raise _Bad(_BAD_NAME, self._rest[: end + 1])
        self._at += end + 1
        self._groups.append(_Group())

    def _alternative(self) -> bool:
        self._at += 1
        self._groups[-1].repeatable = False
        return True

    def _close(self) -> bool:
        if len(self._groups) == 1:
            raise _Bad("unexpected )", self._text)
        self._at += 1
        inner = self._groups.pop()
        self._groups[-1].atom(inner.repeats_max)
        return True

    # Repetitions

    def _repeat(self) -> bool:
        self._at += 1
        self._repeated(self._at - 1, None)
        return True

    def _count(self) -> bool:
        match = re.compile(r"\{(0|[1-9]\d*)(?:(,)(0|[1-9]\d*)?)?\}").match(self._text, self._at)
        if match is None:
            return self._literal()
        start, self._at = self._at, match.end()
        least = int(match[1])
        most = int(match[3]) if match[3] else (-1 if match[2] else least)
        if least > _REPEAT_MAX or most > _REPEAT_MAX or 0 <= most < least:
            raise _Bad(_BAD_COUNT, match[0])
        self._repeated(start, max(most, least) if max(most, least) >= 2 else None)
        return True

    def _repeated(self, start: int, times: int | None) -> None:
        """`times` is None where it does not multiply."""
        group = self._groups[-1]
        if self._text.startswith("?", self._at):
            self._at += 1
        if self._last_repeat >= 0:
            raise _Bad("invalid nested repetition operator", self._text[self._last_repeat : self._at])
        if not group.repeatable:
            raise _Bad("missing argument to repetition operator", self._text[start : self._at])
        if times is not None:
            if times * group.repeats > _REPEAT_MAX:
                raise _Bad(_BAD_COUNT, self._text[start : self._at])
            group.atom(times * group.repeats)
        self._last_repeat = start

    # Escapes and classes

    def _escaped(self) -> bool:
        following = self._text[self._at + 1 : self._at + 2]
        if following == "C":
            raise _Bad(_BAD_ESCAPE, r"\C")
        if following == "Q":
            end = self._text.find(r"\E", self._at)
            has_text = end != self._at + 2 and self._at + 2 < len(self._text)
            self._at = len(self._text) if end < 0 else end + 2
            if has_text:
                self._groups[-1].atom()
            return True
        if following and following in "AbBzdDsSwW":
            self._at += 2
        elif following and following in "pP":
            self._unicode_class()
        else:
            self._escape()
        self._groups[-1].atom()
        return True

    def _escape(self) -> str:
        """The character that an escape stands for."""
        start = self._at
        if start + 1 >= len(self._text):
            raise _Bad("trailing backslash at end of expression", "")
        match = _ESCAPE.match(self._text, start)
        if match is None:
            partial = _PARTIAL_ESCAPE.match(self._text, start)
            raise _Bad(_BAD_ESCAPE, partial[0] if partial is not None else self._text[start : start + 2])
        self._at = match.end()
        return _character(match)

    def _unicode_class(self) -> None:
        start = self._at
        if self._text.startswith("{", start + 2):
            end = self._text.find("}", start)
            if end < 0:
                raise _Bad(_BAD_CLASS, self._rest)
            name = self._text[start + 3 : end].removeprefix("^")
            self._at = end + 1
        else:
            name = self._text[start + 2 : start + 3]
            self._at = start + 2 + len(name)
        if name not in _UNICODE:
            raise _Bad(_BAD_CLASS, self._text[start : self._at])

    def _class(self) -> bool:
        start = self._at
        self._at += 1
        if self._text.startswith("^", self._at):
            self._at += 1
        first = True
        while first or not self._text.startswith("]", self._at):
            first = False
            if not self._named_class():
                self._class_range(start)
        self._at += 1
        self._groups[-1].atom()
        return True

    def _named_class(self) -> bool:
        """`[:alpha:]`, `\\pL` or `\\d` inside brackets."""
        if self._text.startswith("[:", self._at):
            end = self._text.find(":]", self._at + 2)
            if end >= 0:
                name = self._text[self._at : end + 2]
                if name.replace("^", "", 1) not in _POSIX:
                    raise _Bad(_BAD_CLASS, name)
                self._at = end + 2
                return True
        following = self._text[self._at + 1 : self._at + 2]
        if not self._text.startswith("\\", self._at) or not following:
            return False
        if following in "pP":
            self._unicode_class()
            return True
        if following in "dDsSwW":
            self._at += 2
            return True
        return False

    def _class_range(self, start: int) -> None:
        range_at = self._at
        low = high = self._class_character(start)
        if self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
            self._at += 1
            high = self._class_character(start)
        if high < low:
            raise _Bad(_BAD_CLASS, self._text[range_at : self._at])

    def _class_character(self, start: int) -> str:
        if self._at >= len(self._text):
            raise _Bad("missing closing ]", self._text[start:])
        if self._text[self._at] == "\\":
            return self._escape()
        self._at += 1
        return self._text[self._at - 1]


_STEPS: dict[str, Callable[[_Parser], bool]] = {
    "(": _Parser._open,
    "|": _Parser._alternative,
    ")": _Parser._close,
    "*": _Parser._repeat,
    "+": _Parser._repeat,
    "?": _Parser._repeat,
    "{": _Parser._count,
    "[": _Parser._class,
    "\\": _Parser._escaped,
}
_ESCAPE = re.compile(
    r"\\(?:(?P<octal>[1-7][0-7]{1,2}|0[0-7]{0,2})|x\{(?P<braced>[0-9A-Fa-f]+)\}|x(?P<hex>[0-9A-Fa-f]{2})"
    r"|(?P<letter>[afnrtv])|(?P<other>[\x00-/:-@\[-`{-\x7f]))"
)
_PARTIAL_ESCAPE = re.compile(r"\\x(?:\{[0-9A-Fa-f]*[^0-9A-Fa-f]?|.{0,2})|\\.", re.DOTALL)
"""What of a bad escape was read when it turned out to be bad."""
_LETTERS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_RUNE_MAX = 0x10FFFF


def _character(match: re.Match[str]) -> str:
    if match["other"] is not None:
        return match["other"]
    if match["letter"] is not None:
        return _LETTERS[match["letter"]]
    digits, base = (
        (match["octal"], 8) if match["octal"] is not None else (match["braced"] or match["hex"], 16)
    )
    code = int(digits, base)
    if code > _RUNE_MAX:
        raise _Bad(_BAD_ESCAPE, match[0])
    return chr(code)


_POSIX = frozenset(
    f"[:{name}:]"
    for name in (
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    )
)  # fmt: skip
_SCRIPTS = """
Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo
Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Common
Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs
Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi Gurmukhi Han Hangul
Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi
Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki
Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean
Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi
Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong
Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian
Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi
Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese
Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan
Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square
"""
_CATEGORIES = {unicodedata.category(chr(code)) for code in (*range(0x3000), 0xD800, 0xE000, 0x10FFFF)}
_UNICODE = frozenset(_SCRIPTS.split()) | _CATEGORIES | {name[0] for name in _CATEGORIES} | {"Any", "ASCII"}
