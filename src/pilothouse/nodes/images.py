"""Image references as a container runtime reads them (github.com/distribution/reference).

A reference is [DOMAIN[:PORT]/]PATH[:TAG][@DIGEST]; without a domain it is one of docker.io, without a path before
its name one of docker.io/library, without tag and digest it means `latest`. Nothing is pulled here.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import NamedTuple

_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_PART}(?:\.{_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-zA-Z][a-zA-Z0-9]*(?:[-_+.][a-zA-Z][a-zA-Z0-9]*)*:[0-9a-fA-F]{32,}")


class InvalidReference(ValueError):
    """Its text is the runtime's: `invalid reference format…`."""


class Reference(NamedTuple):
    domain: str
    path: str
    tag: str
    digest: str

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}{'@' + self.digest if self.digest else ''}"


@lru_cache(maxsize=1024)
def parse(text: str) -> Reference:
    """The full reference that `text` means. InvalidReference if it means none."""
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidReference("invalid reference format")
    domain, path = _split_domain(name)
    path, colon, tag = path.partition(":")
    if path != path.lower():
        raise InvalidReference(f"invalid reference format: repository name ({path}) must be lowercase")
    if (colon and not _TAG.fullmatch(tag)) or not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
        raise InvalidReference("invalid reference format")
    return Reference(domain, path, tag or ("" if digest else "latest"), digest)


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_domain = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not is_domain:
        domain, path = "docker.io", name
    else:
        domain, path = first, rest
    if domain == "index.docker.io":
        domain = "docker.io"
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return domain, path


@lru_cache(maxsize=1024)
def image_id(text: str) -> str:
    """What a runtime reports as a pulled image's id: its repository and a digest, made up from the reference."""
    reference = parse(text)
    digest = reference.digest or f"sha256:{hashlib.sha256(str(reference).encode()).hexdigest()}"
    return f"{reference.repository}@{digest}"
