"""Logs: one line for each record, key=value, to stderr; verbosity in upstream's --v levels.

    time=2026-01-01T12:00:00.000Z level=info logger=apiserver.storage.compactor msg="…"

What looks like a credential is blanked before it is written, whoever logged it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

PACKAGE = "pilothouse"

_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?i:\bbearer\s+)[\w.~+/=-]+"
    r"|(?i:\b(?:password|passwd|token|secret|client-key-data)\b[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]+",
    re.DOTALL,
)
_PLAIN = re.compile(r"[\w./:@%+-]+\Z")
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def redact(text: str) -> str:
    """`text` without private keys, bearer tokens, JSON web tokens and values named as secrets."""
    return _SECRETS.sub("[redacted]", text)


def levels(verbosity: int) -> tuple[int, int]:
    """The levels of our own loggers and of the libraries': --v=0 to 3 informs, 4 (upstream's debug level)
    shows our debug records, 8 the libraries' too; -1 shows warnings only."""
    if verbosity < 0:
        return logging.WARNING, logging.ERROR
    if verbosity < 4:
        return logging.INFO, logging.WARNING
    return logging.DEBUG, logging.WARNING if verbosity < 8 else logging.DEBUG


class KeyValueFormatter(logging.Formatter):
    """Values with anything but plain characters are JSON strings; `extra` fields follow the message."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        pairs = [
            ("time", moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(record.msecs):03d}Z"),
            ("level", record.levelname.lower()),
            ("logger", record.name.removeprefix(f"{PACKAGE}.")),
            ("msg", record.getMessage()),
        ]
        pairs += [(k, str(v)) for k, v in vars(record).items() if k not in _OWN_ATTRIBUTES]
        if record.exc_info:
            pairs.append(("error", self.formatException(record.exc_info)))
        return " ".join(f"{key}={_quoted(redact(value))}" for key, value in pairs)


def _quoted(value: str) -> str:
    return value if _PLAIN.match(value) else json.dumps(value, ensure_ascii=False)


def configure(verbosity: int = 0, stream: TextIO | None = None) -> None:
    """Send every record to `stream` (stderr). May be called again: the last call counts."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    own, libraries = levels(verbosity)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(libraries)
    logging.getLogger(PACKAGE).setLevel(own)
