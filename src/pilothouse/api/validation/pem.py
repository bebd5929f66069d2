"""PEM as Go's encoding/pem reads it: blocks wherever they stand, anything between them ignored."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import NamedTuple

from cryptography import x509


class PemBlock(NamedTuple):
    label: str
    data: bytes
    has_headers: bool


_BLOCK = re.compile(rb"(?:^|\n)-----BEGIN ([^\n]*?)-----[ \t\r]*\n(.*?)-----END \1-----", re.DOTALL)


def pem_blocks(text: bytes) -> list[PemBlock]:
    """The well-formed blocks, in order; malformed ones are passed over."""
    blocks = []
    for match in _BLOCK.finditer(text):
        head, separator, body = match[2].partition(b"\n\n")
        has_headers = bool(separator) and b":" in head
        try:
            data = b64decode(b"".join((body if has_headers else match[2]).split()), validate=True)
        except binascii.Error:
            continue
        blocks.append(PemBlock(match[1].decode("utf-8", "replace"), data, has_headers))
    return blocks


def ca_bundle_error(text: bytes) -> str:
    """Why no client could trust by this bundle, or "" (k8s.io/client-go/transport rootCertPool): one good
    certificate makes a good bundle."""
    blocks = pem_blocks(text)
    certificates = [block for block in blocks if block.label == "CERTIFICATE" and not block.has_headers]
    if any(_is_certificate(block.data) for block in certificates):
        return ""
    if certificates:
        return "failed to parse certificate: x509: malformed certificate"
    return "no valid certificate authority data seen" if blocks else "unable to parse bytes as PEM block"


def _is_certificate(der: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(der)
    except ValueError:
        return False
    return True
