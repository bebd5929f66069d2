"""What --from and --to of `pilothouse migrate` may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.cli import migrate
from pilothouse.cli.etcd.target import Remote, Stopped
from pilothouse.cli.flags import Failure, UsageError


def sink(to: str, *flags: str) -> object:
    return migrate._sink(migrate.COMMAND.parse(["--to", to, *flags]))


def test_endpoints_with_and_without_certificates(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.touch()
    plain = sink("etcd://10.0.0.1:2379,10.0.0.2:2379")
    assert isinstance(plain, Remote)
    assert plain.access.endpoints == ("http://10.0.0.1:2379", "http://10.0.0.2:2379")
    secure = sink("etcd://10.0.0.1:2379", "--to-cacert", str(ca), "--to-user", "root:secret")
    assert isinstance(secure, Remote)
    assert secure.access.endpoints == ("https://10.0.0.1:2379",)
    assert (secure.access.cacert, secure.access.user, secure.access.password) == (ca, "root", "secret")
    repeated = sink("https://a:1,https://b:2")
    assert isinstance(repeated, Remote)
    assert repeated.access.endpoints == ("https://a:1", "https://b:2")
    with pytest.raises(UsageError, match="--to-cert and --to-key"):
        sink("etcd://a:1", "--to-cert", str(ca))


def test_a_new_name_with_an_ending_is_a_file(tmp_path: Path) -> None:
    assert isinstance(sink(str(tmp_path / "copy.db")), migrate._Snapshot)
    assert isinstance(sink(str(tmp_path / "home")), Stopped)
    (tmp_path / "v1.2").mkdir()
    assert isinstance(sink(str(tmp_path / "v1.2")), Stopped)


def test_a_file_that_is_there_is_replaced_on_demand_only(tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    path.touch()
    with pytest.raises(Failure, match="--overwrite"):
        sink(str(path))
    assert isinstance(sink(str(path), "--overwrite"), migrate._Snapshot)
