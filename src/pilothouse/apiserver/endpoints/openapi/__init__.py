"""The OpenAPI documents: /openapi/v2 (JSON and protobuf), /openapi/v3 and one document per group-version.

Made when first asked for, from the definitions and the served resources, and kept compressed. What a
definition holds comes from packages; `facts` adds what no package says. Nothing here runs at start.
"""

from __future__ import annotations

from pilothouse.apiserver.endpoints.openapi.handler import OpenApi

__all__ = ["OpenApi"]
