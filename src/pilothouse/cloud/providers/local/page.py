"""What a load balancer answers for a pod in which nothing runs: an HTTP page that says so."""

from __future__ import annotations

from pilothouse.cloud.providers.local.endpoints import Endpoint

_TEXT = """\
503 Service Unavailable

Service {service}, port {port}, sends you to pod {pod} on node {node} ({address}).
That pod is simulated: it has an address and is ready, but nothing runs in it that could answer.
"""


def of(service: str, port: int, endpoint: Endpoint) -> bytes:
    """A whole HTTP/1.1 answer; the connection ends with it."""
    address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    body = _TEXT.format(
        service=service,
        port=port,
        pod=endpoint.pod or "(none)",
        node=endpoint.node or "(none)",
        address=f"{address}:{endpoint.port}",
    ).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Pilothouse-Pod: {endpoint.pod}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
