"""What pods and a service make of endpoints: shared by the EndpointSlice and the Endpoints controller."""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.controllers.pods import is_ready, is_terminal, is_terminating


def belongs(pod: Obj, service: Obj) -> bool:
    """Whether a service's selector names a pod."""
    selector = service["spec"].get("selector")
    if not selector or pod["metadata"]["namespace"] != service["metadata"]["namespace"]:
        return False
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(k) == v for k, v in selector.items())


def should_be_in(pod: Obj, *, include_terminating: bool) -> bool:
    """Pods with an address that are not finished (endpoint.ShouldPodBeInEndpoints)."""
    status = pod.get("status") or {}
    if is_terminal(pod) or not (status.get("podIP") or status.get("podIPs")):
        return False
    return include_terminating or not is_terminating(pod)


def addresses(pod: Obj, family: str) -> list[str]:
    """A pod's addresses of one family (IPv4, IPv6)."""
    status = pod["status"]
    ips = [i["ip"] for i in status.get("podIPs") or ()] or [status["podIP"]]
    return [ip for ip in ips if (":" in ip) == (family == "IPv6")]


def is_headless(service: Obj) -> bool:
    """Whether a service has no address of its own (IsServiceIPSet)."""
    return service["spec"].get("clusterIP", "") in ("", "None")


def conditions(pod: Obj, service: Obj) -> Obj:
    """ready, serving and terminating (KEP-1672)."""
    serving = is_ready(pod)
    going = is_terminating(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not going)
    return {"ready": ready, "serving": serving, "terminating": going}


def target(pod: Obj) -> Obj:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


def find_port(pod: Obj, port: Obj) -> int | None:
    """A service port on a pod: the target's number, or that of the container port with its name."""
    wanted = port.get("targetPort") or port["port"]
    if isinstance(wanted, int):
        return wanted
    protocol = port.get("protocol", "TCP")
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*pod["spec"].get("containers", ()), *sidecars):
        for candidate in container.get("ports") or ():
            if candidate.get("name") == wanted and candidate.get("protocol", "TCP") == protocol:
                number: int = candidate["containerPort"]
                return number
    return None


def ports_of(pod: Obj, service: Obj) -> list[Obj]:
    """The endpoint ports of a pod; those that cannot be resolved are left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = find_port(pod, port)
        if number is None:
            continue
        entry: Obj = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": number}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        found.append(entry)
    return found


def changed(old: Obj, new: Obj) -> bool:
    """Whether a pod's update can matter to endpoints."""
    a, b = old.get("status") or {}, new.get("status") or {}
    return (
        a.get("podIP") != b.get("podIP")
        or a.get("podIPs") != b.get("podIPs")
        or a.get("phase") != b.get("phase")
        or is_ready(old) != is_ready(new)
        or old["metadata"].get("labels") != new["metadata"].get("labels")
        or is_terminating(old) != is_terminating(new)
        or any(old["spec"].get(f) != new["spec"].get(f) for f in ("nodeName", "hostname", "subdomain"))
    )
