"""Opening a server's store on an etcd cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.components.api_server import Etcd
from pilothouse.components.etcd import open_cluster
from pilothouse.etcd.contract import StoreError, StoreUnavailable
from pilothouse.kit.world import World
from tests.etcds import free_port


async def test_an_etcd_that_is_not_there_is_named_in_one_line() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnavailable) as refused:
        await open_cluster(Etcd((url,), start_timeout_s=0.5), World())
    message = str(refused.value)
    assert url in message
    assert message.endswith("; start etcd, or correct --etcd-servers")
    assert "\n" not in message


async def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    etcd = Etcd(("https://127.0.0.1:1",), ca_file=tmp_path / "missing.pem", start_timeout_s=0.5)
    with pytest.raises(StoreError, match=r"missing\.pem"):
        await open_cluster(etcd, World())


def test_grpc_is_not_imported_without_an_etcd() -> None:
    code = (
        "import sys, pilothouse.cluster, pilothouse.components.api_server, pilothouse.cli.main;"
        "from pilothouse.cluster import load_components; load_components();"
        "sys.exit(1 if {'grpc', 'google.protobuf'} & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
