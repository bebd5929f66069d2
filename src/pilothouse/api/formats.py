"""`format` of strings (k8s.io/kube-openapi/pkg/validation/strfmt). Formats that upstream does not know say
nothing about a value."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import date
from email.utils import parseaddr
from urllib.parse import urlsplit

from pilothouse.api.validation import names

Check = Callable[[str], bool]


def _matches(pattern: str, flags: int = 0) -> Check:
    compiled = re.compile(pattern, flags | re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


def _is_date(text: str) -> bool:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))")


def _is_date_time(text: str) -> bool:
    day, separator, rest = text.lower().partition("t")
    match = _TIME.fullmatch(rest)
    if not separator or match is None or not _is_date(day):
        return False
    return match[1] <= "23" and match[2] <= "59" and match[3] <= "59"


def _is_uri(text: str) -> bool:
    """net/url ParseRequestURI: absolute, or a path from the root."""
    if not text or any(ch <= " " or ch == "\x7f" for ch in text) or re.search(r"%(?![0-9a-fA-F]{2})", text):
        return False
    if text.startswith("/"):
        return True
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", text.partition(":")[0])) and ":" in text


def _is_email(text: str) -> bool:
    _, address = parseaddr(text, strict=True)
    local, at, domain = address.rpartition("@")
    return bool(at and local and domain) and " " not in address


def _is_ip(separator: str) -> Check:
    def check(text: str) -> bool:
        if separator not in text or "%" in text:
            return False
        try:
            ipaddress.ip_address(_sloppy(text))
        except ValueError:
            return False
        return True

    return check


def _sloppy(text: str) -> str:
    """Go's old parser takes leading zeros in IPv4 numbers as decimal."""
    return re.sub(r"(?<![0-9a-fA-F:])0+(?=\d)", "", text) if "." in text else text


def _is_cidr(text: str) -> bool:
    address, slash, bits = text.partition("/")
    if not slash or not bits.isdigit() or "%" in text:
        return False
    try:
        ipaddress.ip_network(f"{_sloppy(address)}/{int(bits)}", strict=False)
    except ValueError:
        return False
    return True


_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_CARD = re.compile(
    r"(?:4[0-9]{12}(?:[0-9]{3})?|(5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11}"
    r"|6[27][0-9]{14})",
    re.ASCII,
)


def _is_credit_card(text: str) -> bool:
    digits = re.sub("[^0-9]+", "", text)
    if _CARD.fullmatch(digits) is None:
        return False
    values = [int(d) for d in reversed(digits)]
    return sum(_LUHN_DOUBLED[v] if i % 2 else v for i, v in enumerate(values)) % 10 == 0


def _is_isbn(length: int) -> Check:
    def check(text: str) -> bool:
        digits = re.sub(r"[\s-]+", "", text)
        if length == 10:
            if re.fullmatch(r"[0-9]{9}X|[0-9]{10}", digits) is None:
                return False
            total = sum((i + 1) * int(d) for i, d in enumerate(digits[:9]))
            return (total + 10 * (10 if digits[9] == "X" else int(digits[9]))) % 11 == 0
        if re.fullmatch(r"[0-9]{13}", digits) is None:
            return False
        return sum((3 if i % 2 else 1) * int(d) for i, d in enumerate(digits)) % 10 == 0

    return check


_GO_DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_WORD_DURATION = re.compile(
    r"(?:\s*\d+\s*(?:nano|ns|micro|us|µs|milli|ms|s|sec|m|min|h|hr|hour|d|day|w|wk|week)[a-z]*)+", re.ASCII
)


def _is_duration(text: str) -> bool:
    return _GO_DURATION.fullmatch(text) is not None or _WORD_DURATION.fullmatch(text) is not None


_HEX = "[0-9a-fA-F]"
_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})"
_BYTE = r"(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])"
_is_isbn10, _is_isbn13 = _is_isbn(10), _is_isbn(13)


def _is_hostname(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    if len(text) > 255 or not all(0 < len(label) <= 63 for label in labels):
        return False
    return all(re.fullmatch(r"[^\W_](?:[\w-]*[^\W_])?", label) and "_" not in label for label in labels)


_CHECKS: dict[str, Check] = {
    "bsonobjectid": _matches(_HEX + "{24}"),
    "byte": _matches(_BASE64),
    "cidr": _is_cidr,
    "creditcard": _is_credit_card,
    "date": _is_date,
    "datetime": _is_date_time,
    "duration": _is_duration,
    "email": _is_email,
    "hexcolor": _matches(f"#?({_HEX}{{3}}|{_HEX}{{6}})"),
    "hostname": _is_hostname,
    "ipv4": _is_ip("."),
    "ipv6": _is_ip(":"),
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "k8slongname": lambda text: not names.is_dns1123_subdomain(text),
    "k8sshortname": lambda text: not names.is_dns1123_label(text),
    "mac": _matches(
        f"(?:{_HEX}{{2}}([:-]))(?:{_HEX}{{2}}\\1){{4}}{_HEX}{{2}}|{_HEX}{{4}}\\.{_HEX}{{4}}\\.{_HEX}{{4}}"
    ),
    "password": lambda text: True,
    "rgbcolor": _matches(rf"rgb\(\s*{_BYTE}\s*,\s*{_BYTE}\s*,\s*{_BYTE}\s*\)"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _is_uri,
    "uuid": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid3": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?3{_HEX}{{3}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid4": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?4{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
    "uuid5": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?5{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
}


def checker(name: str) -> Check | None:
    """The test of a format; None for one that upstream strips (StripUnsupportedFormatsPostProcess)."""
    return _CHECKS.get(name.replace("-", "").lower() if name else "")


def named(name: str) -> Check:
    """The test of a format that upstream knows."""
    return _CHECKS[name.replace("-", "")]
