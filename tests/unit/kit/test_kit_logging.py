import io
import logging

import pytest

from pilothouse.kit.logging import configure, redact


@pytest.fixture
def output():
    root = logging.getLogger()
    handlers, level, own = list(root.handlers), root.level, logging.getLogger("pilothouse").level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("pilothouse").setLevel(own)


def test_one_line_of_pairs_for_each_record(output: io.StringIO) -> None:
    configure(0, output)
    logging.getLogger("pilothouse.etcd").warning("disk\nfull: %d bytes", 7, extra={"path": "/data"})
    line = output.getvalue()
    assert line.startswith("time=20")
    assert line.endswith('Z level=warning logger=etcd msg="disk\\nfull: 7 bytes" path=/data\n')
    assert line.count("\n") == 1


def test_a_traceback_stays_on_the_line(output: io.StringIO) -> None:
    configure(0, output)
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("pilothouse.x").exception("failed")
    assert output.getvalue().count("\n") == 1
    assert "ValueError: bad" in output.getvalue()


@pytest.mark.parametrize(
    ("verbosity", "ours", "theirs"),
    [(-1, False, False), (0, False, False), (4, True, False), (8, True, True)],
)
def test_verbosity(output: io.StringIO, verbosity: int, ours: bool, theirs: bool) -> None:
    configure(verbosity, output)
    logging.getLogger("pilothouse.x").debug("our-detail")
    logging.getLogger("aiohttp.x").debug("their-detail")
    assert ("our-detail" in output.getvalue()) is ours
    assert ("their-detail" in output.getvalue()) is theirs


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer abc.DEF-1_2",
        "token=hunter2hunter2",
        '{"password": "hunter2hunter2"}',
        "eyJhbGciOi.eyJpc3MiOi.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nxyz\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_no_secret_is_written(secret: str) -> None:
    text = redact(f"before {secret} after")
    assert "[redacted]" in text
    for part in ("abc.DEF", "hunter2", "eyJ", "MIIE"):
        assert part not in text
    assert text.startswith("before ")
    assert text.endswith(" after")


def test_ordinary_words_stay() -> None:
    text = "secret default/db updated; pod tokens 3; bearers of news"
    assert redact(text) == text
