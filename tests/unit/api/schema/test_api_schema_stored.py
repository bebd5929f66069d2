"""What storing leaves of an object."""

from __future__ import annotations

from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.schema.stored import StoredForms
from pilothouse.api.schema.types import Types


def test_an_empty_list_that_go_always_writes_reads_back_as_null() -> None:
    types, forms = Types(Definitions.load("1.36")), StoredForms()
    settle = forms.of(types.get("io.k8s.api.discovery.v1.EndpointSlice"))
    assert settle is not None
    obj = {"endpoints": [{"addresses": []}, {"addresses": ["10.0.0.1"]}], "ports": []}
    settle(obj)
    assert obj == {"endpoints": [{"addresses": None}, {"addresses": ["10.0.0.1"]}], "ports": None}


def test_a_list_that_go_leaves_out_is_left_alone() -> None:
    types, forms = Types(Definitions.load("1.36")), StoredForms()
    assert forms.of(types.get("io.k8s.api.core.v1.Secret")) is None
