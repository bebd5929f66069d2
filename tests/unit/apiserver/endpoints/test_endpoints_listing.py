"""Continue tokens that are none (k8s.io/apiserver/pkg/storage/continue.go)."""

from __future__ import annotations

import base64

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.apiserver.endpoints.listing import Position, decode_continue, encode_continue


def wrapped(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("ab!d", "illegal base64 data at input byte 2"),
        ("abc=", "illegal base64 data at input byte 3"),
        ("abcde", "illegal base64 data at input byte 4"),
        (wrapped("nope"), "invalid character 'o' in literal null (expecting 'u')"),
        (wrapped("[]"), "json: cannot unmarshal array into Go value of type storage.continueToken"),
        (
            wrapped('{"v": "meta.k8s.io/v1", "rv": "1"}'),
            "json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
        ),
        (wrapped('{"v": "v2", "rv": 1}'), 'server does not recognize this encoded version "v2"'),
        (
            wrapped('{"v": "meta.k8s.io/v1", "start": "a"}'),
            "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ),
        (wrapped('{"v": "meta.k8s.io/v1", "rv": 1, "start": "../x"}'), "../x"),
    ],
)
def test_a_token_that_is_none(token: str, why: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_continue(token)
    assert caught.value.code == 400
    assert caught.value.message == f"invalid continue token: continue key is not valid: {why}"


def test_a_token_says_where_it_goes_on() -> None:
    assert decode_continue(encode_continue(Position(7, "default/a\0"))) == Position(7, "default/a\0")
