"""What a killed process left behind of keys and certificates is made anew."""

from __future__ import annotations

import stat
from pathlib import Path

from pilothouse.kit.certificates import Authority
from pilothouse.kit.files import write_private
from pilothouse.kit.world import World


def test_a_ca_key_without_its_certificate(tmp_path: Path) -> None:
    first = Authority(tmp_path, World())
    first.files.certificate.unlink()
    made = Authority(tmp_path, World())
    assert made.certificate.public_key() == made._key.public_key()


def test_a_key_whose_certificate_is_of_the_one_before(tmp_path: Path) -> None:
    authority = Authority(tmp_path, World())
    pair = authority.server("apiserver", ["localhost"])
    old = pair.certificate.read_bytes()
    other = authority.client("other", "somebody")
    write_private(pair.key, other.key.read_bytes())
    assert authority.server("apiserver", ["localhost"]).certificate.read_bytes() != old


def test_a_certificate_of_another_ca_of_the_same_name(tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign", World()).client("admin", "admin")
    authority = Authority(tmp_path / "own", World())
    pair = authority.client("admin", "admin")
    write_private(pair.key, foreign.key.read_bytes())
    write_private(pair.certificate, foreign.certificate.read_bytes())
    again = authority.client("admin", "admin")
    assert again.certificate.read_bytes() != foreign.certificate.read_bytes()


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "somebody elses"
    target.write_text("")
    for name in ("kubeconfig", "kubeconfig.new"):
        (tmp_path / name).symlink_to(target)
    write_private(tmp_path / "kubeconfig", b"secret")
    assert target.read_text() == ""
    assert not (tmp_path / "kubeconfig").is_symlink()
    assert stat.S_IMODE((tmp_path / "kubeconfig").stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kubeconfig", "kubeconfig.new", "somebody elses"]
