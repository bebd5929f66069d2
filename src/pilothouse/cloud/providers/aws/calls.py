"""Calls to AWS: on threads, held back, with an end, and with errors for people.

boto3 waits while it talks, so each call has a thread of a small pool. botocore tries again with back-off where AWS says
so (mode "standard"); a token bucket keeps a burst of ours from being throttled for everybody in the account.

    ClientError ─┬─ …NotFound, …Malformed ──▶ NotFound
                 ├─ …LimitExceeded, TooMany…, Insufficient… ──▶ NoRoom
                 └─ anything else, and no answer ──▶ CloudError
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError
from prometheus_client import CollectorRegistry

from pilothouse.client.throttle import TokenBucket
from pilothouse.cloud.provider import CloudError, NoRoom, NotFound
from pilothouse.cloud.providers.aws.config import Config
from pilothouse.cloud.providers.aws.metrics import Metrics
from pilothouse.kit.world import World

CONNECT_S = 5
READ_S = 30
ATTEMPTS = 5
THREADS = 8

Answer = dict[str, Any]


class Aws:
    """One account and region. `call` and `pages` take a service ("ec2", "elbv2") and a method of boto3's client."""

    def __init__(self, config: Config, world: World, metrics: CollectorRegistry) -> None:
        self._config = config
        self._metrics = Metrics(metrics)
        self._world = world
        self._boto = BotoConfig(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"mode": "standard", "max_attempts": ATTEMPTS},
            max_pool_connections=THREADS,
            user_agent_extra="pilothouse",
        )
        try:
            self._session = boto3.session.Session(region_name=config.region or None)
            if self._session.region_name is None:
                raise ValueError(
                    "the provider aws needs a region: set AWS_REGION, or region in --cloud-config"
                )
        except BotoCoreError as error:
            raise ValueError(f"aws: {error}") from None
        self._clients: dict[str, Any] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="aws")

    @property
    def region(self) -> str:
        return str(self._session.region_name)

    async def call(self, service: str, method: str, **arguments: Any) -> Answer:
        client = self._client(service)
        answer: Answer = await self._run(service, method, lambda: getattr(client, method)(**arguments))
        return answer

    async def pages(self, service: str, method: str, key: str, **arguments: Any) -> list[Any]:
        """All items under `key`, of as many pages as there are; a token for each page."""
        client = self._client(service)
        if not client.can_paginate(method):
            return list((await self.call(service, method, **arguments))[key])
        pages = iter(client.get_paginator(method).paginate(**arguments))
        found: list[Any] = []
        while (page := await self._run(service, method, lambda: next(pages, None))) is not None:
            found += page[key]
        return found

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            try:
                self._clients[service] = self._session.client(service, config=self._boto)
            except BotoCoreError as error:
                raise CloudError(f"aws {service}: {error}") from error
            calls = self._config.calls_per_s
            self._buckets[service] = TokenBucket(calls, max(1, int(calls)), self._world)
        return self._clients[service]

    async def _run(self, service: str, method: str, work: Any) -> Any:
        await self._buckets[service].wait()
        action = self._clients[service].meta.method_to_api_mapping[method]
        try:
            with self._metrics.call(action, self._world):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except ClientError as error:
            raise translated(error) from error
        except BotoCoreError as error:
            raise CloudError(f"aws {service}: {error}") from error

    async def close(self) -> None:
        """Calls that are under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()


def code_of(error: CloudError) -> str:
    """AWS's error code behind an error of ours; "" for none."""
    cause = error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""


def translated(error: ClientError) -> CloudError:
    details = error.response.get("Error", {})
    code = str(details.get("Code", ""))
    text = f"{error.operation_name}: {code}: {details.get('Message', '')}"
    if code.endswith((".NotFound", "NotFound", "NotFoundException")):
        return NotFound(text)
    if "LimitExceeded" in code or code.startswith(("TooMany", "Insufficient", "MaxIOPS")):
        return NoRoom(text)
    return CloudError(text)


# -- tags ---------------------------------------------------------------------------------------------------


def cluster_tag(cluster: str) -> str:
    return f"kubernetes.io/cluster/{cluster}"


def tags(cluster: str, name: str, **more: str) -> list[Answer]:
    """Of something that is made: the cluster's mark, a name for people, and what else there is."""
    found = {cluster_tag(cluster): "owned", "Name": name, **more}
    return [{"Key": key, "Value": value} for key, value in found.items()]


def tags_of(item: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or ()}


def filters(**values: str | Iterable[str]) -> list[Answer]:
    """Filters of Describe…: underscores become hyphens, and two of them a colon (tag__Name)."""
    return [
        {
            "Name": name.replace("__", ":").replace("_", "-"),
            "Values": [value] if isinstance(value, str) else list(value),
        }
        for name, value in values.items()
    ]


def owned(cluster: str) -> Answer:
    """The filter for what this cluster made."""
    return {"Name": f"tag:{cluster_tag(cluster)}", "Values": ["owned"]}
