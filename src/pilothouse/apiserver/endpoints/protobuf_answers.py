"""Answers in protobuf, for clients that like it better than JSON: typed Go clients do.

Handlers answer JSON; this is the last step before the wire, for resources and for errors. Kinds without a message
(custom resources, Tables) stay JSON, which such clients read as well. An event is encoded once for all its watchers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import Any

import msgspec

from pilothouse.api import errors
from pilothouse.api.protobuf import Codec
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.negotiation import JSON, PROTOBUF, negotiate
from pilothouse.apiserver.request import Request, Response
from pilothouse.kit.caching import cached_texts

WATCH = f"{PROTOBUF};stream=watch"
_FRAMES_MAX = 4096

_decode = msgspec.json.Decoder().decode


KindOf = Callable[[Request], str]
"""The kind of the resource that a request names; "" for none."""


@cached_texts(512)
def wanted(accept: str) -> bool:
    """Whether protobuf is what is answered in."""
    try:
        return negotiate(accept).protobuf
    except errors.ApiError:
        return False


class ProtobufAnswers:
    def __init__(self, codec: Codec, kind_of: KindOf) -> None:
        self._codec = codec
        self._kind_of = kind_of
        self._frame = lru_cache(maxsize=_FRAMES_MAX)(self._make_frame)

    def of(self, request: Request, response: Response) -> Response:
        """The same answer in protobuf, or the answer itself when nobody asked or there is no such form."""
        if request.in_process or not wanted(request.headers.get("accept", "")):
            return response
        if response.headers.get("Content-Type") != JSON or not (
            request.info.is_resource or response.status >= 400
        ):
            return response
        if isinstance(response.body, bytes):
            return self._whole(response, response.body)
        if request.info.verb == "watch" and self._has_message(request):
            headers = {**response.headers, "Content-Type": WATCH}
            return Response(response.status, self._frames(response.body), headers)
        return response

    def _has_message(self, request: Request) -> bool:
        if "as=PartialObjectMetadata" in request.headers["accept"]:
            return True
        info = request.info
        return self._codec.knows(info.group, info.version, self._kind_of(request))

    def _whole(self, response: Response, body: bytes) -> Response:
        encoded = self._encoded(_decode(body))
        if encoded is None:
            return response
        return Response(response.status, encoded, {**response.headers, "Content-Type": PROTOBUF})

    def _encoded(self, value: Any) -> bytes | None:
        if not isinstance(value, dict) or "kind" not in value:
            return None
        group, _, version = value.get("apiVersion", "").rpartition("/")
        return self._codec.encode(value) if self._codec.knows(group, version, value["kind"]) else None

    async def _frames(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield b"".join([self._frame(line) for line in chunk.split(b"\n") if line])
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    def _make_frame(self, line: bytes) -> bytes:
        event: Obj = _decode(line)
        encoded = self._encoded(event["object"])
        assert encoded is not None, "the kind has a message, and so has a Status"
        return self._codec.watch_frame(event["type"], encoded)
