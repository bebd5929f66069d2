"""Service-account tokens: signed, bound, checked against what they are bound to
(https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/, KEP-1205)."""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from pilothouse.api.field import go_quote
from pilothouse.api.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.authn import legacy_tokens
from pilothouse.apiserver.authn.legacy_tokens import LegacyTokens, TokenRefused, TokenUses
from pilothouse.apiserver.pki.keys import PublicKey
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.certificates import PrivateKey
from pilothouse.kit.world import World, parse_timestamp

LEGACY_ISSUER = legacy_tokens.ISSUER
GROUP = "system:serviceaccounts"
_CACHE_MAX = 4096
_DELETED_LEEWAY_S = 60.0
"""A pod that is ending may use its token a little longer (go-jose's DefaultLeeway)."""
_CURVES = {"secp256r1": ("ES256", "P-256"), "secp384r1": ("ES384", "P-384"), "secp521r1": ("ES512", "P-521")}
"""Algorithm and JSON Web Key name of a curve."""

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


class Key(NamedTuple):
    """A public key that checks tokens; `algorithm` as in a token's header."""

    public: PublicKey
    id: str
    algorithm: str


def key(public: PublicKey) -> Key:
    """The key's name is upstream's: the digest of its DER form. ValueError for a curve without an algorithm."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    algorithm = "RS256"
    if isinstance(public, ec.EllipticCurvePublicKey):
        if public.curve.name not in _CURVES:
            raise ValueError(f"the curve {public.curve.name} signs no tokens: use P-256, P-384 or P-521")
        algorithm = _CURVES[public.curve.name][0]
    return Key(public, _b64(hashlib.sha256(der).digest()), algorithm)


class Signer:
    """Makes tokens. `issuer` is a URL, audiences default to it. `others` are keys whose tokens are accepted beside
    its own."""

    def __init__(
        self, private: PrivateKey, issuer: str, world: World, others: Iterable[PublicKey] = ()
    ) -> None:
        self._private = private
        self.issuer = issuer
        self._world = world
        own = key(private.public_key())
        self.keys = list({k.id: k for k in (own, *map(key, others))}.values())
        self.key_id = own.id
        self._algorithm = own.algorithm

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
        import jwt

        return jwt.encode(payload, self._private, algorithm=self._algorithm, headers={"kid": self.key_id})

    def key_set(self) -> Obj:
        """The JSON Web Key Set at /openid/v1/jwks."""
        return {"keys": [_web_key(k) for k in self.keys]}

    def discovery(self, jwks_uri: str) -> Obj:
        """The document at /.well-known/openid-configuration."""
        return {
            "issuer": self.issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({k.algorithm for k in self.keys}),
        }


_INVALIDATED = "service account token has been invalidated"


class ServiceAccountTokens:
    """Checks tokens: signature, times, audience, and that account and bound object are still the same."""

    def __init__(
        self,
        signer: Signer,
        audiences: Sequence[str],
        lister: Lister,
        world: World,
        issuers: Sequence[str] = (),
        uses: TokenUses | None = None,
    ) -> None:
        self._uses = uses or TokenUses(world, CollectorRegistry())
        self._legacy = LegacyTokens(lister, self._uses)
        self._keys = signer.keys
        self._issuers = frozenset((signer.issuer, *issuers, LEGACY_ISSUER))
        self._audiences = tuple(audiences)
        self._lister = lister
        self._world = world
        self._claims: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def authenticate(self, token: str) -> UserInfo | None:
        try:
            found = self.check(token, self._audiences)
        except TokenRefused:
            return None
        return found[0] if found is not None else None

    def check(self, token: str, audiences: Sequence[str]) -> tuple[UserInfo, list[str]] | None:
        """The user and the audiences that both sides mean; None for a token that is none of ours. TokenRefused."""
        claims = self._verified(token)
        if claims is None:
            return None
        is_legacy = claims["iss"] == LEGACY_ISSUER
        # Tokens of secrets name no audience: they are meant for this server.
        meant = self._audiences if is_legacy else claims.get("aud") or ()
        meant = (meant,) if isinstance(meant, str) else meant
        shared = [a for a in audiences if a in meant]
        if not shared:
            raise TokenRefused(
                f"token audiences {_quoted(meant)} is invalid for the target audiences {_quoted(audiences)}"
            )
        if is_legacy:
            meta = self._legacy.account(claims, token)["metadata"]
            return user_info(meta["namespace"], meta["name"], meta["uid"]), shared
        now = self._world.now()
        if claims.get("exp", 0) < now:
            raise TokenRefused("service account token has expired")
        if claims.get("nbf", 0) > now:
            raise TokenRefused("service account token is not valid yet")
        user = self._bound_user(claims)
        self._uses.valid.inc()
        return user, shared

    def _verified(self, token: str) -> dict[str, Any] | None:
        known = self._claims.get(token)
        if known is not None:
            return known
        claims = next(filter(None, (_claims(token, k) for k in self._keys)), None)
        if claims is None or claims.get("iss") not in self._issuers:
            return None
        self._claims[token] = claims
        if len(self._claims) > _CACHE_MAX:
            self._claims.popitem(last=False)
        return claims

    def warning(self, token: str) -> str:
        """What a client that uses a good token should be told; "" for nothing."""
        claims = self._claims.get(token)  # a good one was looked at a moment ago
        if claims is None or claims["iss"] != LEGACY_ISSUER or not self._legacy.is_generated(claims):
            return ""
        return legacy_tokens.WARNING

    def _bound_user(self, claims: dict[str, Any]) -> UserInfo:
        private = claims.get("kubernetes.io") or {}
        namespace, account = private.get("namespace", ""), private.get("serviceaccount") or {}
        self._check_account(namespace, account.get("name", ""), account.get("uid", ""))
        extra: dict[str, tuple[str, ...]] = {_CREDENTIAL_ID: (f"JTI={claims.get('jti', '')}",)}
        for kind, resource in (("secret", SECRETS), ("pod", PODS)):
            if private.get(kind):
                self._check_bound(kind, resource, namespace, private[kind])
        if "pod" in private:
            extra[_POD_NAME] = (private["pod"]["name"],)
            extra[_POD_UID] = (private["pod"]["uid"],)
        if "node" in private:
            node = private["node"]
            if "pod" not in private and not self._same(NODES, node["name"], "", node.get("uid", "")):
                raise TokenRefused(_INVALIDATED)
            extra[_NODE_NAME] = (node["name"],)
            extra[_NODE_UID] = (node.get("uid", ""),)
        return user_info(namespace, account["name"], account["uid"], extra)

    def _check_account(self, namespace: str, name: str, uid: str) -> None:
        account = self._lister.get(SERVICE_ACCOUNTS, name, namespace)
        if account is None:
            raise TokenRefused(f"serviceaccounts {go_quote(name)} not found")
        if self._is_long_deleted(account):
            raise TokenRefused("service account has been deleted")
        actual = account["metadata"].get("uid", "")
        if not uid or actual != uid:
            raise TokenRefused(f"service account UID ({actual}) does not match claim ({uid})")

    def _check_bound(self, kind: str, resource: Resource, namespace: str, ref: dict[str, Any]) -> None:
        obj = self._lister.get(resource, ref.get("name", ""), namespace)
        if obj is None or self._is_long_deleted(obj):
            raise TokenRefused(_INVALIDATED)
        actual = obj["metadata"].get("uid", "")
        if actual != ref.get("uid"):
            raise TokenRefused(
                f"{kind} UID ({actual}) does not match service account {kind} ref claim ({ref.get('uid', '')})"
            )

    def _same(
        self, resource: Resource, name: str, namespace: str, uid: str, leeway_s: float = _DELETED_LEEWAY_S
    ) -> bool:
        """Whether an object is still the one that a token names, and not deleted for longer than `leeway_s`
        (pkg/serviceaccount/claims.go)."""
        obj = self._lister.get(resource, name, namespace)
        if obj is None or not uid or obj["metadata"].get("uid") != uid:
            return False
        return not self._is_long_deleted(obj, leeway_s)

    def _is_long_deleted(self, obj: Obj, leeway_s: float = _DELETED_LEEWAY_S) -> bool:
        deleted = obj["metadata"].get("deletionTimestamp")
        return bool(deleted) and parse_timestamp(deleted) + leeway_s < self._world.now()


def _quoted(texts: Sequence[str]) -> str:
    """%q of a list of strings."""
    return "[" + " ".join(go_quote(text) for text in texts) + "]"


def _claims(token: str, with_key: Key) -> dict[str, Any] | None:
    """What a token says; None unless the key signed it. Times and audiences are the caller's to check."""
    import jwt

    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    try:
        found: dict[str, Any] = jwt.decode(
            token,
            with_key.public,
            algorithms=[with_key.algorithm],
            options=options,  # type: ignore[arg-type]
        )
    except jwt.InvalidTokenError:
        return None
    return found


def _web_key(of: Key) -> Obj:
    public = of.public
    common: Obj = {"use": "sig", "kid": of.id, "alg": of.algorithm}
    if isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_numbers()
        size = (public.curve.key_size + 7) // 8
        x, y = (_b64(number.to_bytes(size, "big")) for number in (point.x, point.y))
        return {**common, "kty": "EC", "crv": _CURVES[public.curve.name][1], "x": x, "y": y}
    numbers = public.public_numbers()
    n, e = (_b64(v.to_bytes((v.bit_length() + 7) // 8, "big")) for v in (numbers.n, numbers.e))
    return {**common, "kty": "RSA", "n": n, "e": e}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
