"""Which container of a pod is meant, and whose kubelet has it: what log, exec and attach share
(pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.kubelet import Kubelets
from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister


def container_of(pod: Obj, wanted: str) -> str:
    """The container that a request means; 400 with upstream's text when it is none or not clear."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    names: dict[str, list[str]] = {
        group: [c["name"] for c in spec.get(group) or ()]
        for group in ("containers", "initContainers", "ephemeralContainers")
    }
    if wanted:
        if not any(wanted in group for group in names.values()):
            raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    main = names["containers"]
    if len(main) == 1:
        return main[0]
    text = f"a container name must be specified for pod {name}"
    if main:
        text += f", choose one of: [{' '.join(main)}]"
        if names["initContainers"]:
            text += f" or one of the init containers: [{' '.join(names['initContainers'])}]"
        if names["ephemeralContainers"]:
            text += f" or one of the ephemeral containers: [{' '.join(names['ephemeralContainers'])}]"
    raise errors.bad_request(text)


def kubelet_of(kubelets: Kubelets | None, lister: Lister, node_name: str, path: str) -> Kubelets:
    """The door to a node's kubelet; 404 for a node that is not there, 500 when nothing answers."""
    node = lister.get(NODES, node_name)
    if node is None:
        raise errors.not_found("", "nodes", node_name)
    if kubelets is not None and kubelets.reaches(node_name):
        return kubelets
    status = node.get("status") or {}
    known = [a["address"] for a in status.get("addresses") or ()]
    if not known:
        raise errors.ApiError(500, "", "no preferred addresses found; known addresses: []")
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port", 10250)
    where = f"{known[0]}:{port}"
    url = go_quote(f"https://{where}{path}")
    raise errors.ApiError(500, "", f"Get {url}: dial tcp {where}: connect: connection refused")
