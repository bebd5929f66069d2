"""GET with watch=true: a stream of changes, one JSON document a line.

What waits is written in one go, and an event is encoded once for all its watchers (see
`storage.watch_cache`). A selector turns an update that enters or leaves the selection into ADDED or DELETED.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints import negotiation, render, selection
from pilothouse.apiserver.endpoints.negotiation import JSON, Form
from pilothouse.apiserver.endpoints.options import ListOptions, list_options
from pilothouse.apiserver.endpoints.options import revision as parse_revision
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.storage.watch_cache import Change, Watcher

BOOKMARK_PERIOD_S = 60.0
LAST_BOOKMARK_S = 2.0
"""How long before its end a watch gets a last bookmark: a client goes on from there with little to catch up on."""
_PIECE_BYTES = 256 * 1024
"""Many events go out in pieces of about this size: a beginning is as large as a list, and its client may be slow."""
GATHER_S_PER_WATCHER = 0.00025
GATHER_S_MAX = 0.05
"""After a write, what comes within this time goes out in the next one: the first event of a burst is not held up,
and however many watch a busy resource, their writes take about a tenth of the loop's time (one is some 25 us)."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


async def watch(request: Request, scope: Scope) -> Response:
    form = negotiation.form_of(request, watch=True)
    options = list_options(request, watch=True)
    selected = selection.predicate(scope, options)
    revision, initial = _start(options)
    namespace = scope.namespace(request)
    watcher = await scope.rest.store.watch(namespace, revision, initial_events=initial, predicate=selected)
    stream = _Stream(request, scope, watcher, options, form)
    if request.in_process:
        return Response(200, b"", stream=stream.objects())
    return Response(200, stream.lines(), {"Content-Type": JSON})


def _start(options: ListOptions) -> tuple[int | None, bool]:
    """The revision to watch from (None: now, 0: any), and whether the present objects come first as ADDED."""
    text = options.resource_version
    try:
        revision = parse_revision(text) if text else 0
    except ValueError as error:
        raise errors.ApiError(500, "", f"resourceVersion: Invalid value: {go_quote(text)}: {error}") from None
    if options.send_initial_events is not None:
        return (revision if text else None), options.send_initial_events
    return (revision if text else None), not revision


class _Stream:
    def __init__(
        self, request: Request, scope: Scope, watcher: Watcher, options: ListOptions, form: Form
    ) -> None:
        self._request = request
        self._scope = scope
        self._watcher = watcher
        self._form = form
        self._bookmarks = options.bookmarks
        self._announce_end = bool(options.send_initial_events) and options.bookmarks
        self._columns_sent = False
        world = scope.shared.world
        self._clock = world.clock
        timeout_s = options.timeout_s
        if not timeout_s or timeout_s < 0:
            timeout_s = int(scope.shared.watch_timeout_s_min * (1 + world.random.random()))
        self._deadline = world.clock.monotonic() + timeout_s

    async def lines(self) -> AsyncIterator[bytes]:
        """Chunks for the wire."""
        cached = self._scope.rest.store.cached
        plain = (
            not self._form.target and self._form.media_type == JSON and self._scope.kind.from_storage is None
        )
        try:
            encode = self._plain if plain else self._line
            async for batch in self._batches():
                for piece in _pieces(batch, encode):
                    yield piece
                await self._clock.sleep(min(GATHER_S_MAX, cached.watcher_count * GATHER_S_PER_WATCHER))
        except errors.ApiError as error:
            yield _encode("ERROR", error.status())
        finally:
            self._watcher.close()

    async def objects(self) -> AsyncIterator[list[tuple[str, Obj]]]:
        """Batches for a caller in the same process."""
        convert = self._scope.to_request_version
        try:
            async for batch in self._batches():
                yield [
                    ("BOOKMARK", self._bookmark(c)) if c.item is None else (c.type, convert(c.item.obj))
                    for c in batch
                ]
        finally:
            self._watcher.close()

    async def _batches(self) -> AsyncIterator[list[Change]]:
        """Changes until the time is over, with a bookmark now and then."""
        now = self._clock.monotonic()
        bookmark_at = self._next_bookmark(now)
        while now < self._deadline:
            if now >= bookmark_at:
                bookmark_at = self._next_bookmark(now)
                if self._bookmarks:
                    yield [Change.bookmark(self._watcher.revision)]
            batch = await self._watcher.next(max(min(bookmark_at, self._deadline) - now, 0))
            if batch is None:
                return
            if not self._announce_end:
                batch = [c for c in batch if not c.initial_end]
            if batch:
                if self._scope.kind.from_storage is not None:
                    await self._scope.ready(c.item.obj for c in batch if c.item is not None)
                yield batch
            now = self._clock.monotonic()

    def _next_bookmark(self, now: float) -> float:
        """In a minute, or shortly before the end (k8s.io/apiserver/pkg/storage/cacher nextBookmarkTime)."""
        last = self._deadline - LAST_BOOKMARK_S
        return min(now + BOOKMARK_PERIOD_S, last) if last > now else now + BOOKMARK_PERIOD_S

    def _plain(self, change: Change) -> bytes:
        if change.item is None:
            return _encode("BOOKMARK", self._bookmark(change))
        return change.line

    def _line(self, change: Change) -> bytes:
        if change.item is None:
            obj = self._bookmark(change)
            return _encode("BOOKMARK", self._transformed(obj) if self._form.target else obj)
        obj = self._scope.to_request_version(change.item.obj)
        return _encode(change.type, self._transformed(obj))

    def _transformed(self, obj: Obj) -> Obj:
        if self._form.target == "Table":
            revision = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            answer = render.table(
                self._request, self._scope.kind, [obj], revision, self._form, columns=not self._columns_sent
            )
            self._columns_sent = True
            return answer
        if self._form.target:
            return render.partial(obj, self._form.target_version)
        return obj

    def _bookmark(self, change: Change) -> Obj:
        resource = self._scope.kind.resource
        meta: dict[str, Any] = {"resourceVersion": str(change.revision)}
        if change.initial_end:
            meta["annotations"] = {INITIAL_EVENTS_END: "true"}
        return {"kind": resource.kind, "apiVersion": resource.group_version, "metadata": meta}


def _pieces(batch: list[Change], encode: Callable[[Change], bytes]) -> Iterator[bytes]:
    part: list[bytes] = []
    size = 0
    for change in batch:
        line = encode(change)
        part.append(line)
        size += len(line)
        if size >= _PIECE_BYTES:
            yield b"".join(part)
            part.clear()
            size = 0
    if part:
        yield b"".join(part)


def _encode(kind: str, obj: Obj) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), render.encode(obj))
