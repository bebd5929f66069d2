"""Forms of names and values (k8s.io/apimachinery/pkg/util/validation).

Each function returns the messages for what is wrong, none when the value is well-formed.
"""

from __future__ import annotations

import ipaddress
import re

from pilothouse.kit.caching import cached_texts

LABEL_MAX = 63
SUBDOMAIN_MAX = 253

_DNS1123_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS1123_SUBDOMAIN = _DNS1123_LABEL + r"(\." + _DNS1123_LABEL + ")*"
_DNS1035_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED_NAME})?"
_PERCENT = "[0-9]+%"
_CONFIG_MAP_KEY = "[-._a-zA-Z0-9]+"
_ENV_VAR_NAME = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_RELAXED_ENV_VAR_NAME_BAD = re.compile(r"[^\x20-\x3c\x3e-\x7e]")
_HTTP_HEADER = "[-A-Za-z0-9]+"
_PORT_NAME = re.compile("^[-a-z0-9]+$")
_SUBDOMAIN_UNDERSCORE = "[a-z0-9_]([-_a-z0-9]*[a-z0-9])?" + r"(\." + "[a-z0-9_]([-_a-z0-9]*[a-z0-9])?" + ")*"
_WILDCARD = r"\*\." + _DNS1123_SUBDOMAIN

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character"
)
_DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character"
)
_NAME_PART_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character"
)


def regex_error(message: str, pattern: str, *examples: str) -> str:
    """validation.RegexError: the message, examples, and the pattern."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = ""
    for i, example in enumerate(examples):
        shown += (" or " if i else "") + f"'{example}', "
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def max_characters(length: int) -> str:
    """What upstream says of DNS names; of labels' keys and values it counts bytes."""
    return f"must be no more than {length} characters"


def max_length(length: int) -> str:
    return f"must be no more than {length} bytes"


_FULL: dict[str, re.Pattern[str]] = {}


def full(pattern: str, value: str) -> bool:
    compiled = _FULL.get(pattern)
    if compiled is None:
        compiled = _FULL[pattern] = re.compile(pattern)
    return compiled.fullmatch(value) is not None


@cached_texts(4096)
def _subdomain(value: str) -> tuple[str, ...]:
    out = []
    if len(value.encode()) > SUBDOMAIN_MAX:
        out.append(max_characters(SUBDOMAIN_MAX))
    if not full(_DNS1123_SUBDOMAIN, value):
        out.append(regex_error(_SUBDOMAIN_TEXT, _DNS1123_SUBDOMAIN, "example.com"))
    return tuple(out)


def is_dns1123_subdomain(value: str) -> list[str]:
    return list(_subdomain(value))


@cached_texts(4096)
def _label(value: str) -> tuple[str, ...]:
    out = []
    if len(value.encode()) > LABEL_MAX:
        out.append(max_characters(LABEL_MAX))
    if not full(_DNS1123_LABEL, value):
        if full(_DNS1123_SUBDOMAIN, value):
            out.append("must not contain dots")
        else:
            out.append(regex_error(_LABEL_TEXT, _DNS1123_LABEL, "my-name", "123-abc"))
    return tuple(out)


def is_dns1123_label(value: str) -> list[str]:
    return list(_label(value))


def is_dns1035_label(value: str) -> list[str]:
    out = []
    if len(value.encode()) > LABEL_MAX:
        out.append(max_characters(LABEL_MAX))
    if not full(_DNS1035_LABEL, value):
        out.append(regex_error(_DNS1035_TEXT, _DNS1035_LABEL, "my-name", "abc-123"))
    return out


def is_dns1123_subdomain_underscore(value: str) -> list[str]:
    """A subdomain that may have underscores: what a DNS search path may be (KEP-4427)."""
    out = []
    if len(value.encode()) > SUBDOMAIN_MAX:
        out.append(max_length(SUBDOMAIN_MAX))
    if not full(_SUBDOMAIN_UNDERSCORE, value):
        text = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        out.append(regex_error(text, _SUBDOMAIN_UNDERSCORE, "example.com"))
    return out


def is_wildcard_dns1123_subdomain(value: str) -> list[str]:
    if full(_WILDCARD, value):
        return []
    text = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
        "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return [regex_error(text, _WILDCARD, "*.example.com")]


@cached_texts(8192)
def _qualified(value: str) -> tuple[str, ...]:
    out: list[str] = []
    parts = value.split("/")
    if len(parts) == 1:
        name = parts[0]
    elif len(parts) == 2:
        prefix, name = parts
        if not prefix:
            out.append("prefix part must be non-empty")
        else:
            out += [f"prefix part {m}" for m in _subdomain(prefix)]
    else:
        text = f"a qualified name {_NAME_PART_TEXT}"
        out.append(
            regex_error(text, _QUALIFIED_NAME, "MyName", "my.name", "123-abc")
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
        return tuple(out)
    if not name:
        out.append("name part must be non-empty")
    elif len(name.encode()) > LABEL_MAX:
        out.append(f"name part {max_length(LABEL_MAX)}")
    if not full(_QUALIFIED_NAME, name):
        out.append(
            "name part " + regex_error(_NAME_PART_TEXT, _QUALIFIED_NAME, "MyName", "my.name", "123-abc")
        )
    return tuple(out)


def is_qualified_name(value: str) -> list[str]:
    return list(_qualified(value))


def is_qualified_label_key(value: str) -> list[str]:
    """A label key (content.IsLabelKey): a qualified name whose many-slashes text calls it a label key."""
    found = list(_qualified(value))
    return [m.replace("a qualified name must", "a valid label key must") for m in found]


@cached_texts(8192)
def _value(value: str) -> tuple[str, ...]:
    out = []
    if len(value.encode()) > LABEL_MAX:
        out.append(max_length(LABEL_MAX))
    if not full(_LABEL_VALUE, value):
        out.append(regex_error(_LABEL_VALUE_TEXT, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return tuple(out)


def is_label_value(value: str) -> list[str]:
    return list(_value(value))


def is_port_number(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else ["must be between 1 and 65535, inclusive"]


def is_port_name(value: str) -> list[str]:
    """An IANA service name of at most 15 characters."""
    out = []
    if len(value) > 15:
        out.append("must be no more than 15 characters")
    if not _PORT_NAME.match(value):
        out.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        out.append("must contain at least one letter (a-z)")
    if "--" in value:
        out.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        out.append("must not begin or end with a hyphen")
    return out


def is_percent(value: str) -> list[str]:
    if full(_PERCENT, value):
        return []
    text = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_error(text, _PERCENT, "1%", "93%")]


def is_config_map_key(value: str) -> list[str]:
    out = []
    if len(value.encode()) > SUBDOMAIN_MAX:
        out.append(f"must be no more than {SUBDOMAIN_MAX} characters")
    if not full(_CONFIG_MAP_KEY, value):
        text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        out.append(regex_error(text, _CONFIG_MAP_KEY, "key.name", "KEY_NAME", "key-name"))
    return out + _not_dots(value)


def _not_dots(value: str) -> list[str]:
    if value == ".":
        return ["must not be '.'"]
    if value == "..":
        return ["must not be '..'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def is_env_var_name(value: str) -> list[str]:
    """The relaxed form (KEP-4369): printable ASCII but '='."""
    if not value:
        return ["environment variable name must be non-empty"]
    if _RELAXED_ENV_VAR_NAME_BAD.search(value):
        return [
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        ]
    return []


def is_http_header_name(value: str) -> list[str]:
    if full(_HTTP_HEADER, value):
        return []
    return [
        regex_error(
            "a valid HTTP header must consist of alphanumeric characters or '-'",
            _HTTP_HEADER,
            "X-Header-Name",
        )
    ]


def is_ip(value: str) -> list[str]:
    """A canonical-enough IP address of either family."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"


def is_http_path(value: str) -> bool:
    return full(_HTTP_PATH, value)


def http_path_text() -> str:
    """What IsDomainPrefixedPath says of a path."""
    return regex_error("Invalid path", _HTTP_PATH)


def path_segment(value: str) -> list[str]:
    """path.IsValidPathSegmentName: what RBAC names and the like may be."""
    out = [f"may not be '{bad}'" for bad in (".", "..") if value == bad]
    return out + [f"may not contain '{bad}'" for bad in ("/", "%") if bad in value]
