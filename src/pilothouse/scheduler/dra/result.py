"""What was found, as a claim's status.allocation says it (k8s.io/api/resource/v1 AllocationResult)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pilothouse.api import node_selector
from pilothouse.api.types import Obj
from pilothouse.scheduler.dra import capacity
from pilothouse.scheduler.dra.allocator import Grant
from pilothouse.scheduler.dra.requests import Request, Wanted


def allocation(wanted: Wanted, grants: Sequence[Grant], node: str, share_id: Callable[[], str]) -> Obj:
    """`share_id` makes the UIDs that tell shares of a device apart."""
    devices: Obj = {"results": [_result(grant, share_id) for grant in grants]}
    config = list(_config(wanted, grants))
    if config:
        devices["config"] = config
    found: Obj = {"devices": devices}
    selector = _node_selector(grants, node)
    if selector is not None:
        found["nodeSelector"] = selector
    return found


def _result(grant: Grant, share_id: Callable[[], str]) -> Obj:
    request, device = grant.request, grant.device
    found: Obj = {"request": request.full_name, **device.id._asdict()}
    if request.admin:
        found["adminAccess"] = True
    if request.tolerations:
        found["tolerations"] = [dict(each) for each in request.tolerations]
    for key in ("bindingConditions", "bindingFailureConditions"):
        if device.raw.get(key):
            found[key] = list(device.raw[key])
    if grant.share is not None:
        found["shareID"] = share_id()
        if grant.share:
            found["consumedCapacity"] = capacity.texts(device, grant.share)
    return found


def _config(wanted: Wanted, grants: Sequence[Grant]) -> Iterable[Obj]:
    """What drivers are told: first of the classes, then of the claim, each with the requests that it is for. For all
    of them none is named."""
    chosen = _chosen(wanted, grants)
    spec = wanted.claim["spec"]["devices"]
    for config, names in _of_classes(chosen):
        everybody = len(names) == len(wanted.requests)
        yield {"source": "FromClass", **({} if everybody else {"requests": names}), **config}
    for config in spec.get("config") or ():
        names = config.get("requests") or []
        rest = {key: value for key, value in config.items() if key != "requests"}
        if not names or len(names) == len(wanted.requests):
            yield {"source": "FromClaim", **rest}
        elif any(r.full_name in names or r.parent in names for r in chosen):
            yield {"source": "FromClaim", "requests": list(names), **rest}


def _chosen(wanted: Wanted, grants: Sequence[Grant]) -> list[Request]:
    """Of each request the alternative that was taken."""
    taken = {id(grant.request) for grant in grants}
    return [r for alternatives in wanted.requests for r in alternatives if id(r) in taken]


def _of_classes(chosen: Iterable[Request]) -> Iterable[tuple[Any, list[str]]]:
    names: dict[str, list[str]] = {}
    classes: dict[str, Obj] = {}
    for request in chosen:
        name = request.device_class["metadata"]["name"]
        classes[name] = request.device_class
        names.setdefault(name, []).append(request.full_name)
    for name, found in classes.items():
        for config in found["spec"].get("config") or ():
            yield config, names[name]


def _node_selector(grants: Sequence[Grant], node: str) -> Obj | None:
    """Where the devices can be used: on the one node that a device is of, or wherever all of them can be reached."""
    fields: list[Obj] = []
    expressions: list[Obj] = []
    for grant in grants:
        where = grant.device.where
        if where.get("nodeName") or grant.device.raw.get("bindsToNode"):
            only = {"key": node_selector.NAME_FIELD, "operator": "In", "values": [node]}
            return {"nodeSelectorTerms": [{"matchFields": [only]}]}
        for term in (where.get("nodeSelector") or {}).get("nodeSelectorTerms") or ():
            _add_new(fields, term.get("matchFields") or ())
            _add_new(expressions, term.get("matchExpressions") or ())
    term = {key: each for key, each in (("matchFields", fields), ("matchExpressions", expressions)) if each}
    return {"nodeSelectorTerms": [term]} if term else None


def _add_new(known: list[Obj], more: Iterable[Obj]) -> None:
    known += [each for each in more if each not in known]
