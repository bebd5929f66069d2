"""What a pod refers to and may not be there: config maps, secrets and claims, as volumes or environment.

A kubelet does not start a pod whose volumes cannot be mounted (it stays ContainerCreating, with FailedMount events),
nor a container whose environment cannot be made (CreateContainerConfigError).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, SECRETS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Client

_ROOT_CA = "kube-root-ca.crt"
"""Every namespace has it and every pod mounts it: not worth a look each time."""


class Missing(NamedTuple):
    """`mount` is what FailedMount says, "" when all volumes are there; `config` what each container lacks."""

    mount: str
    config: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.mount or self.config)


NOTHING = Missing("", {})


class _Wanted(NamedTuple):
    resource: Resource
    name: str
    keys: tuple[str, ...]
    optional: bool


def needs_look(pod: Obj) -> bool:
    """Whether the pod refers to anything that has to be looked up."""
    spec = pod["spec"]
    for volume in spec.get("volumes") or ():
        if any(True for _ in _of_volume(pod, volume)):
            return True
    return any(True for _, container in _containers(spec) for _ in _of_container(container))


async def look(client: Client, pod: Obj) -> Missing:
    """What is missing now. ApiError when the server cannot say."""
    namespace = pod["metadata"].get("namespace", "")
    known: dict[tuple[str, str], Obj | None] = {}

    async def find(wanted: _Wanted) -> Obj | None:
        key = (wanted.resource.plural, wanted.name)
        if key not in known:
            known[key] = await _get(client, wanted.resource, wanted.name, namespace)
        return known[key]

    mount = ""
    for volume in pod["spec"].get("volumes") or ():
        for wanted in _of_volume(pod, volume):
            why = _lacks_volume(wanted, await find(wanted), namespace)
            if why and not mount:
                mount = _mount_text(volume["name"], wanted, why)
    config: dict[str, str] = {}
    for name, container in _containers(pod["spec"]):
        for wanted in _of_container(container):
            why = _lacks_env(wanted, await find(wanted), namespace)
            if why:
                config.setdefault(name, why)
    return Missing(mount, config) if mount or config else NOTHING


async def _get(client: Client, resource: Resource, name: str, namespace: str) -> Obj | None:
    try:
        return await client.get(resource, name, namespace)
    except ApiError as error:
        if error.code == 404:
            return None
        raise


def _containers(spec: Obj) -> Iterator[tuple[str, Obj]]:
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            yield container["name"], container


def _of_volume(pod: Obj, volume: Obj) -> Iterator[_Wanted]:
    if "configMap" in volume:
        source = volume["configMap"]
        yield _wanted(CONFIG_MAPS, source.get("name", ""), source)
    elif "secret" in volume:
        source = volume["secret"]
        yield _wanted(SECRETS, source.get("secretName", ""), source)
    elif "persistentVolumeClaim" in volume:
        yield _Wanted(PERSISTENT_VOLUME_CLAIMS, volume["persistentVolumeClaim"]["claimName"], (), False)
    elif "ephemeral" in volume:
        name = f"{pod['metadata']['name']}-{volume['name']}"
        yield _Wanted(PERSISTENT_VOLUME_CLAIMS, name, (), False)
    elif "projected" in volume:
        for source in volume["projected"].get("sources") or ():
            if "configMap" in source and source["configMap"].get("name") != _ROOT_CA:
                yield _wanted(CONFIG_MAPS, source["configMap"].get("name", ""), source["configMap"])
            elif "secret" in source:
                yield _wanted(SECRETS, source["secret"].get("name", ""), source["secret"])


def _wanted(resource: Resource, name: str, source: Obj) -> _Wanted:
    keys = tuple(item["key"] for item in source.get("items") or ())
    return _Wanted(resource, name, keys, bool(source.get("optional")))


def _of_container(container: Obj) -> Iterator[_Wanted]:
    for source in container.get("envFrom") or ():
        for field, resource in (("configMapRef", CONFIG_MAPS), ("secretRef", SECRETS)):
            if field in source:
                ref = source[field]
                yield _Wanted(resource, ref.get("name", ""), (), bool(ref.get("optional")))
    for variable in container.get("env") or ():
        value = variable.get("valueFrom") or {}
        for field, resource in (("configMapKeyRef", CONFIG_MAPS), ("secretKeyRef", SECRETS)):
            if field in value:
                ref = value[field]
                yield _Wanted(resource, ref.get("name", ""), (ref["key"],), bool(ref.get("optional")))


def _keys(obj: Obj) -> set[str]:
    return {*(obj.get("data") or ()), *(obj.get("binaryData") or ())}


def _singular(resource: Resource) -> str:
    return resource.kind.lower()


def _lacks_volume(wanted: _Wanted, found: Obj | None, namespace: str) -> str:
    if wanted.resource is PERSISTENT_VOLUME_CLAIMS:
        return _lacks_claim(wanted, found, namespace)
    if found is None:
        return "" if wanted.optional else f'{_singular(wanted.resource)} "{wanted.name}" not found'
    for key in wanted.keys:
        if key not in _keys(found) and not wanted.optional:
            kind = "configmap references non-existent config" if wanted.resource is CONFIG_MAPS else ""
            return f"{kind or 'references non-existent secret'} key: {key}"
    return ""


def _lacks_claim(wanted: _Wanted, found: Obj | None, namespace: str) -> str:
    where = f"error processing PVC {namespace}/{wanted.name}"
    if found is None:
        why = f'persistentvolumeclaims "{wanted.name}" not found'
        return f"{where}: failed to fetch PVC from API server: {why}"
    if (found.get("status") or {}).get("phase") != "Bound":
        return f"{where}: PVC is not bound"
    return ""


def _mount_text(volume: str, wanted: _Wanted, why: str) -> str:
    if wanted.resource is PERSISTENT_VOLUME_CLAIMS:
        return (
            f"Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], "
            f"failed to process volumes=[{volume}]: {why}"
        )
    return f'MountVolume.SetUp failed for volume "{volume}" : {why}'


def _lacks_env(wanted: _Wanted, found: Obj | None, namespace: str) -> str:
    if wanted.optional:
        return ""
    if found is None:
        return f'{_singular(wanted.resource)} "{wanted.name}" not found'
    for key in wanted.keys:
        if key not in _keys(found):
            return f"couldn't find key {key} in {wanted.resource.kind} {namespace}/{wanted.name}"
    return ""
