"""kube-apiserver put together: store, registries, door and pipeline of one server.

Start order: the store's content → bootstrap objects → serving. `handle` is the whole server to whoever
shares its process; HTTPS is one way to it.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography import x509
from prometheus_client import CollectorRegistry, generate_latest

from pilothouse import __version__
from pilothouse.api import errors
from pilothouse.api.catalog import Catalog
from pilothouse.api.kubelet import Kubelets, Usages
from pilothouse.api.protobuf import MAGIC, Codec
from pilothouse.api.resources import CONFIG_MAPS, SECRETS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver import zpages
from pilothouse.apiserver.admission.chain import Chain as AdmissionChain
from pilothouse.apiserver.admission.chain import chain as admission_chain
from pilothouse.apiserver.admission.dynamic_metrics import DynamicMetrics
from pilothouse.apiserver.admission.metrics import AdmissionMetrics
from pilothouse.apiserver.admission.plugin import Environment
from pilothouse.apiserver.aggregation.aggregator import Aggregator
from pilothouse.apiserver.authn.bootstrap_tokens import BootstrapTokens
from pilothouse.apiserver.authn.chain import Chain, TokenMethod
from pilothouse.apiserver.authn.impersonation import Impersonation
from pilothouse.apiserver.authn.legacy_tokens import TokenUses
from pilothouse.apiserver.authn.request_header import RequestHeader, RequestHeaders
from pilothouse.apiserver.authn.service_account import ServiceAccountTokens, Signer
from pilothouse.apiserver.authn.token_file import TokenFile
from pilothouse.apiserver.authn.x509 import ClientCertificates
from pilothouse.apiserver.authz import escalation
from pilothouse.apiserver.authz.escalation import EscalationGuard
from pilothouse.apiserver.authz.modes import Modes
from pilothouse.apiserver.authz.node import NodeAuthorizer
from pilothouse.apiserver.authz.node_graph import NodeGraph
from pilothouse.apiserver.authz.rbac import Rbac
from pilothouse.apiserver.bootstrap.objects import Facts, Made, authentication_data, joined_data, objects
from pilothouse.apiserver.builtin import Builtins
from pilothouse.apiserver.customresources.serving import CustomResources
from pilothouse.apiserver.endpoint_reconciler import EndpointReconciler
from pilothouse.apiserver.endpoints import negotiation, render, writing
from pilothouse.apiserver.endpoints.apply.compare import Walkers
from pilothouse.apiserver.endpoints.apply.field_set import LEAF
from pilothouse.apiserver.endpoints.apply.manager import FieldManager, Version
from pilothouse.apiserver.endpoints.apply.reset_fields import reset_fields
from pilothouse.apiserver.endpoints.discovery import Discovery
from pilothouse.apiserver.endpoints.drafts import Drafts
from pilothouse.apiserver.endpoints.health import START_HOOKS, Health
from pilothouse.apiserver.endpoints.openapi import OpenApi
from pilothouse.apiserver.endpoints.protobuf_answers import ProtobufAnswers
from pilothouse.apiserver.endpoints.scope import Scope, Shared
from pilothouse.apiserver.endpoints.subresources import table as subresources
from pilothouse.apiserver.fairness.config import Config as FairnessConfig
from pilothouse.apiserver.fairness.dumps import PREFIX as DUMPS
from pilothouse.apiserver.fairness.dumps import Dumps
from pilothouse.apiserver.fairness.metrics import FairnessMetrics
from pilothouse.apiserver.fairness.traffic import Traffic
from pilothouse.apiserver.legacy_token_tracking import LegacyTokenTracking
from pilothouse.apiserver.limits import InFlight
from pilothouse.apiserver.metrics import RequestMetrics
from pilothouse.apiserver.pipeline import Pipeline, refusal
from pilothouse.apiserver.registry import conversion
from pilothouse.apiserver.registry.allocators.services import ServiceAllocators
from pilothouse.apiserver.registry.cached_lister import CachedLister
from pilothouse.apiserver.registry.kind import Kind
from pilothouse.apiserver.registry.rest import Guard, Rest
from pilothouse.apiserver.registry.strategy import Context, Strategy
from pilothouse.apiserver.request import LOOPBACK, Request, RequestInfo, Response, UserInfo
from pilothouse.apiserver.router import PathHandler, Router
from pilothouse.apiserver.served_kinds import ServedKinds
from pilothouse.apiserver.state_metrics import StateMetrics
from pilothouse.apiserver.storage import keys
from pilothouse.apiserver.storage.compactor import Compactor
from pilothouse.apiserver.storage.foreign import translator
from pilothouse.apiserver.storage.leases import LeaseManager
from pilothouse.apiserver.storage.master_leases import MasterLeases
from pilothouse.apiserver.storage.range_allocation import RangeAllocation
from pilothouse.apiserver.storage.requests import StoreRequests
from pilothouse.apiserver.storage.store import ResourceStore, failure
from pilothouse.apiserver.storage.watch_cache import WatchCache
from pilothouse.apiserver.webhook_client import WebhookClient
from pilothouse.etcd.contract import Backend, Range, StoreError
from pilothouse.kit.certificates import KeyPair
from pilothouse.kit.world import World

if TYPE_CHECKING:
    from pilothouse.apiserver.resource_metrics.serving import ResourceMetrics

log = logging.getLogger(__name__)

_EVENT_TTL_S = 3600
_RAW = negotiation.Form(pretty=True)
"""Of documents that are no objects: always JSON, always indented (responsewriters.WriteRawJSON)."""
_COMPONENTS = Resource("", "v1", "componentstatuses", "ComponentStatus", False)
_ERROR_NAMES = {_COMPONENTS: replace(_COMPONENTS, plural="componentstatus")}
"""Resources that errors call otherwise (registry/core/componentstatus)."""
_NO_DATA = "error getting data from etcd"
_REPAIR_PERIOD_S = 180.0
"""Of addresses and ports (portallocator/controller)."""
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


@dataclass(slots=True)
class Options:
    """What a server is told. Times in seconds, sizes in bytes."""

    service_range: str = "10.96.0.0/16"
    service_node_ports: tuple[int, int] = (30000, 32767)
    advertise_address: str = "127.0.0.1"
    secure_port: int = 6443
    token_auth_file: Path | None = None
    runtime_config: str = ""
    kubernetes_version: str = "1.36"
    issuers: tuple[str, ...] = ("https://kubernetes.default.svc",)
    """Of service-account tokens; the first one issues, all are accepted."""
    api_audiences: tuple[str, ...] = ()
    """Audiences that are this server; () for the issuers."""
    token_expiration_s_max: int = 0
    """The longest life of a token that may be asked for; 0 for no limit."""
    anonymous_auth: bool = True
    bootstrap_token_auth: bool = False
    authorization_modes: tuple[str, ...] = ("Node", "RBAC")
    enable_admission: tuple[str, ...] = ()
    disable_admission: tuple[str, ...] = ()
    admission_configuration: Mapping[str, Obj] = field(default_factory=dict)
    """By plugin."""
    compaction_interval_s: float = 300.0
    etcd_prefix: str = "/registry"
    healthcheck_timeout_s: float = 2.0
    readycheck_timeout_s: float = 2.0
    lease_reuse_s: float = 60.0
    endpoint_reconciler: str = "lease"
    db_size_period_s: float = 30.0
    """How often the size of a shared store is asked for (--etcd-db-metric-poll-interval)."""
    event_ttl_s: int = _EVENT_TTL_S
    fairness: bool = True
    """Requests are queued by FlowSchemas; the sum of the next two numbers is shared out."""
    requests_inflight_max: int = 400
    mutating_inflight_max: int = 200
    watch_timeout_s_min: float = 1800.0
    request_timeout_s: float = 60.0
    """For requests that are not long-running, body included."""
    features: frozenset[str] = frozenset()
    """Upstream's feature gates that are on; HPAScaleToZero is known."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """All flags with their values, for /flagz."""
    client_ca_pem: str = ""
    requestheader_ca_pem: str = ""
    """Whose certificates make a front proxy; "" trusts none."""
    requestheader: RequestHeaders = field(default_factory=RequestHeaders)
    proxy_certificate: KeyPair | None = None
    """What extension API servers are shown."""

    @property
    def audiences(self) -> tuple[str, ...]:
        return self.api_audiences or self.issuers


_OPEN_PATHS = ("/healthz", "/livez", "/readyz")
_ZPAGES = ("/flagz", "/statusz")


def _as_handler(answer: zpages.Answer) -> PathHandler:
    async def handle(request: Request) -> Response:
        return answer(request)

    return handle


class ApiServer:
    """`signer` makes and checks service-account tokens."""

    def __init__(
        self, backend: Backend, world: World, signer: Signer, options: Options, metrics: CollectorRegistry
    ) -> None:
        self.options = options
        self.metrics = metrics
        self.signer = signer
        self._backend = backend
        self._world = world
        self.catalog = Catalog(options.kubernetes_version, options.runtime_config)
        self.lister = CachedLister()
        self._prefix = keys.root(options.etcd_prefix)
        self._cache = WatchCache(backend, self._prefix.encode(), world, translator(self._foreign))
        self._requests = StoreRequests() if backend.shared else None
        if self._requests is not None:
            metrics.register(self._requests)
        self._leases = LeaseManager(backend, world, options.lease_reuse_s)
        self._compactor = Compactor(backend, world, options.compaction_interval_s)
        self._rbac = Rbac(self.lister)
        nodes = NodeAuthorizer(NodeGraph(self.lister))
        self.authorizer = Modes(self._rbac, options.authorization_modes, nodes)
        system = self.objects = SystemObjects(self)
        self._webhooks = WebhookClient(self.lister)
        self.admission: AdmissionChain = admission_chain(
            Environment(
                self.lister,
                world,
                system,
                self.authorizer.authorize,
                self.resource_of,
                options.admission_configuration,
                ServedKinds(lambda: self.router, lambda: self._builtins),
                partial(self._webhooks.post, tell_timeout=True),
                DynamicMetrics(metrics),
            ),
            options.enable_admission,
            options.disable_admission,
            AdmissionMetrics(metrics),
            self._is_served,
        )
        self.discovery = Discovery(f"{options.advertise_address}:{options.secure_port}")
        self.router = Router(self.discovery)
        self.codec = Codec(self.catalog.definitions)
        book = RangeAllocation(backend, f"{self._prefix}ranges/servicenodeports", *options.service_node_ports)
        services = ServiceAllocators(
            options.service_range,
            options.service_node_ports,
            self.lister,
            system,
            world,
            book if backend.shared else None,
        )
        self._chores: list[asyncio.Task[None]] = []
        self._shared = Shared(
            world,
            self.lister,
            self.catalog,
            services,
            self.codec,
            options.watch_timeout_s_min,
            self._refusal,
        )
        self._builtins = Builtins(self.catalog, options.features)
        self.openapi = OpenApi(
            self.catalog.definitions,
            self._builtins.types,
            version_document(options.kubernetes_version)["gitVersion"],
        )
        self._rests: dict[tuple[str, str], Rest] = {}
        self._token_uses = TokenUses(world, metrics, system)
        self.tokens = ServiceAccountTokens(
            signer, options.audiences, self.lister, world, options.issuers, self._token_uses
        )
        self._token_tracking = LegacyTokenTracking(system, self.lister, world)
        self.authenticator = self._authenticator()
        self.components: dict[str, Callable[[], str]] = {}
        """What is wrong with the components of this process ("scheduler", "controller-manager"); "" for nothing."""
        self.kubelets: Kubelets | None = None
        """The door to the nodes' kubelets, for those that are in this process."""
        self.resource_metrics: ResourceMetrics | None = None
        """Serves metrics.k8s.io where what containers use is known in this process."""
        self.token_fields = self._token_fields()
        self._endpoints: EndpointReconciler | None = None
        self._ready = False
        self._stopping = False
        self._add_builtins()
        self._aggregator = Aggregator(self, options.proxy_certificate)
        self._custom = CustomResources(
            self, SystemObjects(self), self._builtins.types.get(_OBJECT_META), self._describe_meta
        )
        self._add_paths()
        for entry in subresources.handlers(self):
            self.router.add_subresource(*entry)
        seats = options.requests_inflight_max + options.mutating_inflight_max
        fair = options.fairness and seats > 0
        limits = (0, 0) if fair else (options.requests_inflight_max, options.mutating_inflight_max)
        in_flight = InFlight(*limits)
        traffic = Traffic(world, in_flight, self._stored)
        self._fairness = FairnessConfig(self, traffic, seats) if fair else None
        if self._fairness is not None:
            metrics.register(
                FairnessMetrics(traffic, lambda: self._fairness.counts if self._fairness else ())
            )
            self.router.add_path(DUMPS, Dumps(traffic, world).handle)
        metrics.register(
            StateMetrics(
                in_flight,
                self.lister.stores,
                version_document(options.kubernetes_version),
                lambda: self._cache.bookmarks,
            )
        )
        self.pipeline = Pipeline(
            world,
            self.authenticator,
            Impersonation(self.authorizer.authorize, refusal).apply,
            self.authorizer,
            traffic,
            RequestMetrics(metrics, self.router.serves),
            self.router.handle,
            ProtobufAnswers(self.codec, self._kind_of).of,
            options.request_timeout_s,
        )

    def know_usages(self, usages: Usages) -> ResourceMetrics:
        """Be able to serve metrics.k8s.io; what it takes is not loaded before."""
        from pilothouse.apiserver.resource_metrics.serving import ResourceMetrics

        self.resource_metrics = ResourceMetrics(self, usages)
        return self.resource_metrics

    def _stored(self, group: str, resource: str) -> tuple[int, int]:
        store = self.lister.store(group, resource)
        return (len(store.cached), store.cached.estimated_bytes()) if store is not None else (0, 0)

    def _describe_meta(self, path: str) -> str:
        return self.catalog.definitions.describe(_OBJECT_META, path.removeprefix("metadata."))

    def _kind_of(self, request: Request) -> str:
        info = request.info
        scope = self.router.scope(info.group, info.version, info.resource)
        return scope.kind.resource.kind if scope is not None else ""

    def _is_served(self, resource: Resource) -> bool:
        """Of what is built in."""
        return self.catalog.find(resource.group, resource.version, resource.plural) is not None

    def resource_of(self, group: str, version: str, kind: str) -> Resource | None:
        """The resource that is served for a kind, custom ones too."""
        for scope in self.router.scopes():
            r = scope.kind.resource
            if (r.group, r.version, r.kind) == (group, version, kind):
                return r
        return None

    @property
    def world(self) -> World:
        return self._world

    # -- putting together -------------------------------------------------------------------------------

    def _authenticator(self) -> Chain:
        certificates = None
        if self.options.client_ca_pem:
            authorities = x509.load_pem_x509_certificates(self.options.client_ca_pem.encode())
            certificates = ClientCertificates(self._world, authorities)
        proxies = None
        if self.options.requestheader_ca_pem:
            authorities = x509.load_pem_x509_certificates(self.options.requestheader_ca_pem.encode())
            proxies = RequestHeader(self._world, authorities, self.options.requestheader)
        methods: list[TokenMethod] = []
        if self.options.token_auth_file is not None:
            methods.append(TokenFile(self.options.token_auth_file))
        methods.append(self.tokens)
        if self.options.bootstrap_token_auth:
            methods.append(BootstrapTokens(self.lister, self._world))
        fresh = self._fresh if self._backend.shared else None
        return Chain(
            certificates,
            methods,
            proxies=proxies,
            anonymous=self.options.anonymous_auth,
            fresh=fresh,
            warning=self.tokens.warning,
        )

    async def _fresh(self) -> None:
        for store in self.lister.stores():
            await store.fresh()
            return

    def _foreign(self, value: bytes, stored: Resource) -> Obj | None:
        """A value of an upstream server: protobuf, or of another version. None when it is as it should be."""
        if value.startswith(MAGIC):
            obj = self.codec.decode(value)
        else:
            obj = msgspec.json.decode(value)
        if obj["kind"] != stored.kind:
            raise ValueError(f"it is a {obj['kind']}, no {stored.kind}")
        group, _, version = obj["apiVersion"].rpartition("/")
        if obj["apiVersion"] != stored.group_version:
            was = replace(stored, group=group, version=version)
            to_storage, _ = conversion.pair(was, stored)
            obj = to_storage(obj) if to_storage is not None else obj
        elif not value.startswith(MAGIC):
            return None
        return self._builtins.decode(stored.group, stored.version, stored.kind, obj).obj

    def _add_builtins(self) -> None:
        for served in self.catalog:
            self.add_kind(self._builtins.kind(served))
            self.discovery.add(served)
            self.openapi.add(served)

    def add_kind(
        self,
        kind: Kind,
        rest: Rest | None = None,
        versions: dict[str, Version] | None = None,
        walkers: Walkers | None = None,
    ) -> Scope:
        """Serve a kind. Versions of a built-in resource share a registry; those of custom ones differ in what
        they validate, and bring their own; the same goes for what field ownership must know."""
        if rest is None:
            rest = self.rest(kind.storage, kind.strategy).facing(
                _ERROR_NAMES.get(kind.resource, kind.resource)
            )
        scope = Scope(
            kind=kind,
            rest=rest,
            shared=self._shared,
            fields=self._field_manager(kind, "", versions, walkers),
            status_fields=self._field_manager(kind, "status", versions, walkers),
            known_kind=self.catalog.is_registered,
            drafts=Drafts() if kind.strategy.from_templates else None,
        )
        self.router.add_scope(scope)
        return scope

    def rest(self, resource: Resource, strategy: Strategy) -> Rest:
        key = (resource.group, resource.plural)
        found = self._rests.get(key)
        if found is None:
            is_event = resource.plural == "events" and resource.group == ""
            store = ResourceStore(
                self._backend,
                self._cache,
                resource,
                leases=self._leases if is_event else None,
                ttl_s=(lambda obj: self.options.event_ttl_s) if is_event else None,
                requests=self._requests,
                world=self._world,
            )
            self.lister.add(store)
            found = Rest(resource, strategy, store, self.admission, self._guard(resource))
            found.stored_form = self._builtins.stored_form(resource) or found.stored_form
            self._rests[key] = found
        return found

    def _refusal(self, user: UserInfo, asked: RequestInfo) -> str:
        decision = self.authorizer.authorize(user, asked)
        return "" if decision.allowed else refusal(user, asked, decision.reason).message

    def _guard(self, resource: Resource) -> Guard | None:
        if resource.group != escalation.GROUP:
            return None
        return EscalationGuard(self._rbac, self.authorizer.authorize, resource.plural).check

    async def open_store(self, resource: Resource) -> ResourceStore:
        """The store of a custom resource, with what it holds already."""
        store = ResourceStore(
            self._backend, self._cache, resource, custom=True, requests=self._requests, world=self._world
        )
        try:
            await self._cache.fill(store.cached)
        except StoreError as error:
            self._cache.drop(store.cached)
            raise failure(error) from error
        self.lister.add(store)
        return store

    def close_store(self, store: ResourceStore) -> None:
        """Forget a custom resource; its watches end."""
        self.lister.remove(store)
        self._cache.drop(store.cached)

    def _field_manager(
        self, kind: Kind, subresource: str, versions: dict[str, Version] | None, walkers: Walkers | None
    ) -> FieldManager:
        def empty() -> Obj:
            return kind.decode({"metadata": {}}).obj

        r = kind.resource
        reset = reset_fields(
            r.group,
            r.plural,
            subresource,
            has_status="status" in kind.subresources,
            custom_fields=kind.type.fields if kind.custom else (),
        )
        return FieldManager(
            kind.type, r.group_version, reset, empty, kind=r.kind, versions=versions, walkers=walkers
        )

    def _token_fields(self) -> FieldManager:
        """Of TokenRequest, which is no resource of its own."""
        group, version, kind = "authentication.k8s.io", "v1", "TokenRequest"
        type_ = self._builtins.type_of(group, version, kind)
        empty = partial(self.decode, group, version, kind, {"metadata": {}})
        return FieldManager(type_, f"{group}/{version}", LEAF, empty, kind=kind)

    def decode(self, group: str, version: str, kind: str, value: Obj) -> Obj:
        """A kind without a resource of its own (Scale, Binding, Eviction, TokenRequest) in round-trip form."""
        return self._builtins.decode(group, version, kind, value).obj

    def viewed(self, kind: Kind, group: str, version: str, name: str) -> Kind:
        """A kind as a subresource shows it."""
        return self._builtins.viewed(kind, group, version, name)

    def _add_paths(self) -> None:
        health = Health(
            {"ping": self._ping, "log": self._ping, "etcd": self.reads},
            {
                "etcd-readiness": self._writes,
                "informer-sync": self._readiness,
            },
            dict.fromkeys(START_HOOKS, self._hooks),
            {"shutdown": self._shutdown},
        )
        for path in ("/healthz/", "/livez/", "/readyz/"):
            self.router.add_path(path, health.handle)
        self.router.add_path("/version", self._version)
        self.router.add_path("/metrics", self._metrics)
        self._add_zpages()
        self.router.add_path("/openapi/", self.openapi.handle)
        self.router.add_path("/.well-known/openid-configuration", self._oidc)
        self.router.add_path("/openid/v1/jwks", self._jwks)
        self.router.add_path("", self._root)

    def _add_zpages(self) -> None:
        pages = zpages.pages(
            "kube-apiserver",
            self._world,
            self.options.flags,
            (*_OPEN_PATHS, *_ZPAGES, "/metrics", "/version"),
        )
        for path, answer in pages.items():
            self.router.add_path(path, _as_handler(answer))

    # -- life -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the store and make sure of the bootstrap objects."""
        await self._cache.start()
        facts = self._facts()
        await asyncio.gather(*(self._ensure(made) for made in objects(facts, self.catalog)))
        self._compare_authority()
        await self._publish_front_proxy(facts)
        await self._repair_services()
        await self._custom.start()
        self._aggregator.start()
        if self._fairness is not None:
            self._fairness.start()
        self._compactor.start()
        await self._token_tracking.start()
        if self.options.endpoint_reconciler == "lease":
            leases = MasterLeases(self._backend, self._prefix) if self._backend.shared else None
            self._endpoints = EndpointReconciler(facts, SystemObjects(self), self._world, leases)
            await self._endpoints.start()
        if self._backend.shared:
            self.router.catch_up = self._custom.catch_up
            loop = asyncio.get_running_loop()
            self._chores.append(loop.create_task(self._keep_repairing(), name="repairs"))
            if self.options.db_size_period_s > 0 and hasattr(self._backend, "status"):
                self._chores.append(loop.create_task(self._keep_measuring(), name="store size"))
        self._ready = True

    def _compare_authority(self) -> None:
        """Servers on one store that do not know each other's certificates are not one cluster's."""
        found = self.lister.get(CONFIG_MAPS, "extension-apiserver-authentication", "kube-system") or {}
        known = (found.get("data") or {}).get("client-ca-file", "")
        if known and self.options.client_ca_pem and not _shares(known, self.options.client_ca_pem):
            log.warning(
                "the store belongs to a cluster with another certificate authority: client certificates and tokens "
                "of its other servers are not accepted here; stop this server, copy the folder pki/ of theirs into "
                "its --data-dir, and start it again"
            )

    async def _publish_front_proxy(self, facts: Facts) -> None:
        """Tell extension API servers of this server's front proxies, too: the object may be an older server's, or
        others' that know other ones."""
        found = self.lister.get(CONFIG_MAPS, "extension-apiserver-authentication", "kube-system")
        if found is None:
            return
        known = (found.get("data") or {}).get("client-ca-file", "")
        if known and self.options.client_ca_pem and not _shares(known, self.options.client_ca_pem):
            return  # another cluster's
        data = joined_data(found.get("data") or {}, authentication_data(facts))
        if data != found.get("data"):
            try:
                await self.objects.put(CONFIG_MAPS, {**found, "data": data})
            except errors.ApiError as error:
                log.warning("front proxies are not made known: %s", error)

    async def _repair_services(self) -> None:
        try:
            for store in self.lister.stores():
                await store.fresh()
                break
            await self._shared.services.repair(alone=not self._backend.shared)
        except errors.ApiError as error:
            log.error("addresses and services were not compared: %s", error)

    async def _keep_repairing(self) -> None:
        while True:
            await self._world.clock.sleep(_REPAIR_PERIOD_S)
            await self._repair_services()

    async def _keep_measuring(self) -> None:
        store: Any = self._backend
        while self._requests is not None:
            try:
                self._requests.size = (await store.status()).db_size
            except StoreError as error:
                log.debug("the size of the store is not known: %s", error)
            await self._world.clock.sleep(self.options.db_size_period_s)

    def _facts(self) -> Facts:
        options = self.options
        return Facts(
            options.service_range,
            options.advertise_address,
            options.secure_port,
            options.client_ca_pem,
            options.requestheader_ca_pem,
            self._world.timestamp(),
            options.requestheader,
        )

    async def ensure_mandatory(self, resource: Resource, names: tuple[str, ...]) -> None:
        """Make bootstrap objects anew that somebody deleted."""
        missing = [name for name in names if self.lister.get(resource, name) is None]
        if not missing or self._stopping:
            return
        for made in objects(self._facts(), self.catalog):
            if made.obj["kind"] == resource.kind and made.obj["metadata"]["name"] in missing:
                await self._ensure(made)

    async def _ensure(self, made: Made) -> None:
        """Make a bootstrap object that is missing; one that somebody changed is left alone."""
        obj = made.obj
        group, _, version = obj["apiVersion"].rpartition("/")
        served = self.catalog.by_kind(group, version, obj["kind"])
        if served is None:
            return
        scope = self.router.scope(group, version, served.resource.plural)
        assert scope is not None
        meta = obj["metadata"]
        key = scope.rest.key(meta.get("namespace", ""), meta["name"])
        if scope.rest.store.get(key) is not None:
            return
        obj = scope.kind.decode(obj).obj
        scope.kind.default(obj)
        obj["metadata"].update(uid=self._world.uid(), creationTimestamp=self._world.timestamp())
        if scope.rest.strategy.generation:
            obj["metadata"]["generation"] = 1
        now = self._world.timestamp()
        obj = scope.fields.update(None, obj, made.maker, "", now)
        for part, values in made.filled.items():
            obj[part] = {**(obj.get(part) or {}), **values}
        if made.applied:
            identity = {
                "kind": obj["kind"],
                "apiVersion": obj["apiVersion"],
                "metadata": {"name": meta["name"]},
            }
            status = {**identity, "status": made.applied}
            obj = writing.field_manager(scope, "status").apply(
                obj, status, made.applier, "status", now, force=True
            )
        try:
            await scope.rest.store.create(key, obj)
        except errors.ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            log.debug("%s was made by another server just now", key)

    async def stop(self) -> None:
        self._stopping = True
        await self._token_tracking.stop()
        await self._token_uses.stop()
        if self._endpoints is not None:
            await self._endpoints.stop()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self.resource_metrics is not None:
            await self.resource_metrics.stop()
        await self._aggregator.stop()
        if self._fairness is not None:
            await self._fairness.stop()
        await self._custom.stop()
        await self._webhooks.close()
        await self._compactor.stop()
        await self._cache.stop()

    def handle(self, request: Request) -> Awaitable[Response]:
        return self.pipeline.handle(request)

    # -- paths ------------------------------------------------------------------------------------------

    async def reads(self) -> str:
        """A store that refuses writes still serves reads and watches: no reason to restart (as upstream's check,
        which reads one key)."""
        try:
            async with asyncio.timeout(self.options.healthcheck_timeout_s):
                await self._backend.range(Range(f"{self._prefix}health".encode()))
        except StoreError as error:
            return f"{_NO_DATA}: {error}"
        except TimeoutError:
            return f"{_NO_DATA}: context deadline exceeded"
        return ""

    async def _writes(self) -> str:
        try:
            async with asyncio.timeout(self.options.readycheck_timeout_s):
                return await self._backend.health()
        except TimeoutError:
            return f"{_NO_DATA}: context deadline exceeded"

    async def _ping(self) -> str:
        return ""

    async def _readiness(self) -> str:
        return "" if self._ready else "the watch cache is not filled yet"

    async def _hooks(self) -> str:
        return "" if self._ready else "not finished"

    async def _shutdown(self) -> str:
        return "the server is shutting down" if self._stopping else ""

    async def _version(self, request: Request) -> Response:
        if request.method != "GET":
            raise errors.method_not_supported()
        return render.document(version_document(self.options.kubernetes_version), _RAW)

    async def _metrics(self, request: Request) -> Response:
        body = generate_latest(self.metrics)
        return Response(200, body, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _oidc(self, request: Request) -> Response:
        address = f"https://{self.options.advertise_address}:{self.options.secure_port}/openid/v1/jwks"
        return render.document(self.signer.discovery(address), negotiation.Form())

    async def _jwks(self, request: Request) -> Response:
        response = render.document(self.signer.key_set(), negotiation.Form())
        response.headers["Content-Type"] = "application/jwk-set+json"
        return response

    async def _root(self, request: Request) -> Response:
        return render.document({"paths": self.router.paths()}, _RAW)


class SystemObjects:
    """Objects that the server makes and keeps for itself (`allocators.services.Objects`,
    `admission.plugin.Objects`), past the pipeline."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def create(self, resource: Resource, obj: Obj) -> bool:
        scope = self._server.router.scope(resource.group, resource.version, resource.plural)
        assert scope is not None
        world = self._server.world
        obj["metadata"].update(uid=world.uid(), creationTimestamp=world.timestamp())
        obj = scope.fields.update(None, obj, "kube-apiserver", "", world.timestamp())
        meta = obj["metadata"]
        try:
            await scope.rest.store.create(scope.rest.key(meta.get("namespace", ""), meta["name"]), obj)
        except errors.ApiError as error:
            if error.reason == "AlreadyExists":
                return False
            raise
        return True

    async def make(self, resource: Resource, obj: Obj) -> bool:
        """With all that a client's create goes through; False when it exists."""
        scope = self._server.router.scope(resource.group, resource.version, resource.plural)
        assert scope is not None
        world = self._server.world
        made = scope.kind.decode(obj).obj
        scope.kind.default(made)
        made = scope.fields.update(None, made, "kube-apiserver", "", world.timestamp())
        namespace = made["metadata"].get("namespace", "")
        ctx = Context(world, self._server.lister, LOOPBACK, namespace)
        try:
            await scope.rest.create(ctx, made, {})
        except errors.ApiError as error:
            if error.reason == "AlreadyExists":
                return False
            raise
        return True

    async def update_status(self, resource: Resource, obj: Obj) -> None:
        scope = self._server.router.scope(resource.group, resource.version, resource.plural)
        assert scope is not None
        world, meta = self._server.world, obj["metadata"]
        ctx = Context(world, self._server.lister, LOOPBACK, meta.get("namespace", ""), "status")
        fields = scope.status_fields or scope.fields

        async def change(old: Obj | None) -> Obj:
            if old is None:
                raise errors.not_found(resource.group, resource.plural, meta["name"])
            # `obj` stems from a cache: its metadata stay as they are.
            wanted = {**obj, "metadata": dict(meta)}
            return fields.update(old, wanted, "kube-apiserver", "status", world.timestamp())

        await scope.rest.update(ctx, meta["name"], change, {})

    async def apply_status(self, resource: Resource, name: str, status: Obj, manager: str) -> None:
        """As server-side apply by `manager`."""
        scope = self._server.router.scope(resource.group, resource.version, resource.plural)
        assert scope is not None
        world = self._server.world
        applied = {
            "kind": resource.kind,
            "apiVersion": resource.group_version,
            "metadata": {"name": name},
            "status": status,
        }

        async def change(old: Obj | None) -> Obj:
            if old is None:
                raise errors.not_found(resource.group, resource.plural, name)
            manage = writing.field_manager(scope, "status")
            return manage.apply(old, applied, manager, "status", world.timestamp(), force=True)

        await scope.rest.update(Context(world, self._server.lister, LOOPBACK, "", "status"), name, change, {})

    async def label(self, namespace: str, name: str, uid: str, labels: dict[str, str]) -> None:
        """Set labels of a secret (`legacy_tokens.Labels`)."""
        scope = self._server.router.scope(SECRETS.group, SECRETS.version, SECRETS.plural)
        assert scope is not None
        world = self._server.world

        async def change(old: Obj | None) -> Obj:
            if old is None:
                raise errors.not_found(SECRETS.group, SECRETS.plural, name)
            meta = old["metadata"]
            wanted = {**old, "metadata": {**meta, "labels": {**(meta.get("labels") or {}), **labels}}}
            return scope.fields.update(old, wanted, "kube-apiserver", "", world.timestamp())

        ctx = Context(world, self._server.lister, LOOPBACK, namespace)
        await scope.rest.update(ctx, name, change, {}, uid=uid)

    async def delete(self, resource: Resource, name: str, namespace: str = "") -> None:
        scope = self._server.router.scope(resource.group, resource.version, resource.plural)
        assert scope is not None
        key = scope.rest.key(namespace, name)
        item = scope.rest.store.get(key)
        if item is None:
            await scope.rest.store.fresh()
            item = scope.rest.store.get(key)
        while item is not None and await scope.rest.store.delete(key, item) is None:
            item = scope.rest.store.get(key)

    async def put(self, resource: Resource, obj: Obj) -> None:
        """Store an object's content, new or in place of what is there, past validation: a server that listens on the
        loopback address alone has no other to tell. Nothing when it is the same."""
        scope = self._server.router.scope(resource.group, resource.version, resource.plural)
        assert scope is not None
        store, meta = scope.rest.store, obj["metadata"]
        wanted = scope.kind.decode(obj).obj
        scope.kind.default(wanted)
        await store.fresh()
        key = store.key(meta["namespace"], meta["name"])
        while True:
            item = store.get(key)
            if item is None:
                if await self.create(resource, {**wanted, "metadata": dict(wanted["metadata"])}):
                    return
                continue
            new = _with_content(item.obj, wanted)
            if new == item.obj:
                return
            new = scope.fields.update(item.obj, new, "kube-apiserver", "", self._server.world.timestamp())
            if await store.replace(key, item, new) is not None:
                return


def _shares(known: str, own: str) -> bool:
    """Whether two bundles of certificates have one in common."""
    end = "-----END CERTIFICATE-----"
    return any(part.strip() in own for part in known.split(end) if part.strip())


def _with_content(old: Obj, wanted: Obj) -> Obj:
    """`old` with all that `wanted` says; metadata but for labels stay."""
    labels = {**(old["metadata"].get("labels") or {}), **(wanted["metadata"].get("labels") or {})}
    meta = {**old["metadata"], "labels": labels} if labels else old["metadata"]
    return {**old, **wanted, "metadata": meta}


def version_document(version: str) -> Obj:
    """What /version answers (k8s.io/apimachinery/pkg/version Info)."""
    major, minor = version.split(".")
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"v{version}.1+pilothouse.{__version__}",
        "gitCommit": "unknown",
        "gitTreeState": "",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
