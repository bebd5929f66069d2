"""--admission-control-config-file: what single plugins are told
(https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-AdmissionConfiguration).

    apiVersion: apiserver.config.k8s.io/v1
    kind: AdmissionConfiguration
    plugins:
    - name: PodSecurity
      configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, …}
    - name: EventRateLimit
      path: eventconfig.yaml          # beside this file
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pilothouse.api.types import Obj

_KIND = "AdmissionConfiguration"
_GROUP = "apiserver.config.k8s.io/"


def read(path: Path) -> Mapping[str, Obj]:
    """By plugin. ValueError for a file that says something else, OSError for one that cannot be read."""
    document = _load(path)
    if document.get("kind") != _KIND or not str(document.get("apiVersion", "")).startswith(_GROUP):
        raise ValueError(f"{path} holds no {_KIND} of {_GROUP}v1")
    found: dict[str, Obj] = {}
    for plugin in document.get("plugins") or ():
        if not isinstance(plugin, dict) or not plugin.get("name"):
            raise ValueError(f"{path}: a plugin without a name")
        given = plugin.get("configuration")
        if given is None and plugin.get("path"):
            given = _load(path.parent / plugin["path"])
        if given is not None:
            found[plugin["name"]] = given
    return found


def _load(path: Path) -> Obj:
    try:
        document: Any = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no object")
    return document
