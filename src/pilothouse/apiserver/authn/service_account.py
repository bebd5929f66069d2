"""Service-account tokens: signed, bound, checked against what they are bound to
(https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/, KEP-1205)."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pilothouse.api.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.world import World

LEGACY_ISSUER = "kubernetes/serviceaccount"
GROUP = "system:serviceaccounts"
_CACHE_MAX = 4096
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_NODE_UID = "authentication.kubernetes.io/node-uid"
_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


def user_name(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def user_info(
    namespace: str, name: str, uid: str, extra: dict[str, tuple[str, ...]] | None = None
) -> UserInfo:
    return UserInfo(user_name(namespace, name), uid, (GROUP, f"{GROUP}:{namespace}"), extra or {})


class Signer:
    """Makes tokens. `issuer` is a URL, audiences default to it."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, issuer: str, world: World) -> None:
        self._key = key
        self.issuer = issuer
        self._world = world
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        import hashlib

        self.key_id = _b64(hashlib.sha256(public).digest())

    def bound(
        self, account: Obj, audiences: Sequence[str], ttl_s: int, bound: Obj | None, node: Obj | None = None
    ) -> tuple[str, int]:
        """A bound token and its expiry (seconds since 1970). `bound` is the Pod, Secret or Node."""
        now = int(self._world.now())
        meta = account["metadata"]
        claims: dict[str, Any] = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        if bound is not None:
            reference = {"name": bound["metadata"]["name"], "uid": bound["metadata"]["uid"]}
            claims[bound["kind"].lower()] = reference
        if node is not None:
            claims["node"] = {"name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}
        payload = {
            "aud": list(audiences) or [self.issuer],
            "exp": now + ttl_s,
            "iat": now,
            "iss": self.issuer,
            "jti": self._world.uid(),
            "kubernetes.io": claims,
            "nbf": now,
            "sub": user_name(meta["namespace"], meta["name"]),
        }
        return self._sign(payload), now + ttl_s

    def legacy(self, account: Obj, secret: Obj) -> str:
        """A token without expiry for a secret of type service-account-token."""
        meta, prefix = account["metadata"], LEGACY_ISSUER
        payload = {
            "iss": LEGACY_ISSUER,
            f"{prefix}/namespace": meta["namespace"],
            f"{prefix}/secret.name": secret["metadata"]["name"],
            f"{prefix}/service-account.name": meta["name"],
            f"{prefix}/service-account.uid": meta["uid"],
            "sub": user_name(meta["namespace"], meta["name"]),
        }
        return self._sign(payload)

    def _sign(self, payload: dict[str, Any]) -> str:
        return jwt.encode(payload, self._key, algorithm="ES256", headers={"kid": self.key_id})

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def key_set(self) -> Obj:
        """The JSON Web Key Set at /openid/v1/jwks."""
        numbers = self.public_key().public_numbers()
        key = {
            "use": "sig",
            "kty": "EC",
            "kid": self.key_id,
            "crv": "P-256",
            "alg": "ES256",
            "x": _b64(numbers.x.to_bytes(32, "big")),
            "y": _b64(numbers.y.to_bytes(32, "big")),
        }
        return {"keys": [key]}

    def discovery(self, jwks_uri: str) -> Obj:
        """The document at /.well-known/openid-configuration."""
        return {
            "issuer": self.issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }


class ServiceAccountTokens:
    """Checks tokens: signature, times, audience, and that account and bound object are still the same."""

    def __init__(self, signer: Signer, audiences: Sequence[str], lister: Lister, world: World) -> None:
        self._key = signer.public_key()
        self._issuer = signer.issuer
        self._audiences = tuple(audiences)
        self._lister = lister
        self._world = world
        self._claims: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def authenticate(self, token: str) -> UserInfo | None:
        found = self.check(token, self._audiences)
        return found[0] if found is not None else None

    def check(self, token: str, audiences: Sequence[str]) -> tuple[UserInfo, list[str]] | None:
        """The user and the audiences that both sides mean; None for a token that is not good (any more)."""
        claims = self._verified(token)
        if claims is None:
            return None
        if claims["iss"] == LEGACY_ISSUER:
            user = self._legacy_user(claims)
            return (user, list(audiences)) if user is not None else None
        now = self._world.now()
        if claims.get("exp", 0) < now or claims.get("nbf", 0) > now:
            return None
        shared = [a for a in audiences if a in claims.get("aud", ())]
        if not shared:
            return None
        user = self._bound_user(claims)
        return (user, shared) if user is not None else None

    def _verified(self, token: str) -> dict[str, Any] | None:
        known = self._claims.get(token)
        if known is not None:
            return known
        options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, algorithms=["ES256"], options=options)  # type: ignore[arg-type]
        except jwt.InvalidTokenError:
            return None
        if claims.get("iss") not in (self._issuer, LEGACY_ISSUER):
            return None
        self._claims[token] = claims
        if len(self._claims) > _CACHE_MAX:
            self._claims.popitem(last=False)
        return claims

    def _legacy_user(self, claims: dict[str, Any]) -> UserInfo | None:
        prefix = LEGACY_ISSUER
        namespace = claims.get(f"{prefix}/namespace", "")
        name = claims.get(f"{prefix}/service-account.name", "")
        uid = claims.get(f"{prefix}/service-account.uid", "")
        secret = self._lister.get(SECRETS, claims.get(f"{prefix}/secret.name", ""), namespace)
        if secret is None or secret["metadata"].get("deletionTimestamp"):
            return None
        return user_info(namespace, name, uid) if self._same(SERVICE_ACCOUNTS, name, namespace, uid) else None

    def _bound_user(self, claims: dict[str, Any]) -> UserInfo | None:
        private = claims.get("kubernetes.io") or {}
        namespace, account = private.get("namespace", ""), private.get("serviceaccount") or {}
        if not self._same(SERVICE_ACCOUNTS, account.get("name", ""), namespace, account.get("uid", "")):
            return None
        extra: dict[str, tuple[str, ...]] = {_CREDENTIAL_ID: (f"JTI={claims.get('jti', '')}",)}
        for kind, resource in (("pod", PODS), ("secret", SECRETS)):
            ref = private.get(kind)
            if ref and not self._same(resource, ref["name"], namespace, ref["uid"]):
                return None
        if "pod" in private:
            extra[_POD_NAME] = (private["pod"]["name"],)
            extra[_POD_UID] = (private["pod"]["uid"],)
        if "node" in private:
            node = private["node"]
            if "pod" not in private and not self._same(NODES, node["name"], "", node.get("uid", "")):
                return None
            extra[_NODE_NAME] = (node["name"],)
            extra[_NODE_UID] = (node.get("uid", ""),)
        return user_info(namespace, account["name"], account["uid"], extra)

    def _same(self, resource: Resource, name: str, namespace: str, uid: str) -> bool:
        obj = self._lister.get(resource, name, namespace)
        return obj is not None and obj["metadata"].get("uid") == uid


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
