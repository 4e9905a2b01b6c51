"""Who calls, and what they may do. How a caller is known: authentication.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf import descriptor_pool

from yinqi.api.common.v1 import access_pb2
from yinqi.kernel.errors import PermissionDenied, Unauthenticated

# A sister service's role is the end of its certificate's URI: spiffe://yinqi/service/payment holds "service/payment". An RPC
# names the very services that may call it, so that a stolen certificate is good for that service's calls alone.
SERVICE_KIND = "service"
NAME_LENGTH_MAX = 100

# Roles of which a caller needs one, by full method name ("/package.Service/Method"); None: anybody may call.
AccessPolicy = Callable[[str], frozenset[str] | None]


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of an RPC.

    Attributes:
        name: person or program.
        roles: what it may act as. `all_roles` is the dev principal, which may do everything.
    """

    name: str
    roles: frozenset[str] = frozenset()
    all_roles: bool = False

    @property
    def is_service(self) -> bool:
        """Whether a sister service's certificate (or, in development, its word) stands behind the call."""
        return any(map(is_service_role, self.roles))

    def has_any(self, allowed: frozenset[str]) -> bool:
        """Return whether one of the roles is held."""
        return self.all_roles or not self.roles.isdisjoint(allowed)


def service_role(name: str) -> str:
    """Return the role of a service."""
    return f"{SERVICE_KIND}/{name}"


def is_service_role(role: str) -> bool:
    """Return whether a role is a service's own: neither a person, a client nor the dev word over TLS ever holds it."""
    return role.partition("/")[0] == SERVICE_KIND


def without_service_roles(roles: Iterable[str]) -> frozenset[str]:
    """Return the roles that others than services may hold."""
    return frozenset(role for role in roles if not is_service_role(role))


DEV_PRINCIPAL = Principal("dev", all_roles=True)
_current: ContextVar[Principal | None] = ContextVar("yinqi_principal", default=None)


def current_principal() -> Principal:
    """Return the caller of the RPC being served.

    Raises:
        Unauthenticated: outside an RPC.
    """
    principal = _current.get()
    if principal is None:
        raise Unauthenticated("NO_CALLER", "There is no caller here.")
    return principal


def set_current_principal(principal: Principal) -> None:
    """Make `principal` the caller for the rest of this task (each RPC runs in a task of its own)."""
    _current.set(principal)


def roles_from_proto(method: str) -> frozenset[str] | None:
    """Return the roles the `.proto` names beside the RPC; a method without any may be called by nobody."""
    service, _, name = method.lstrip("/").rpartition("/")
    if service.startswith("grpc."):  # health and reflection
        return None
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    except KeyError:
        return frozenset()
    return frozenset(descriptor.GetOptions().Extensions[access_pb2.allowed_roles])


@lru_cache(maxsize=1024)  # The same few callers come again and again.
def principal_from(identity: str, roles: str, *, dev_identity_enabled: bool) -> Principal:
    """Return the caller from its metadata (name; roles separated by commas).

    Raises:
        Unauthenticated: no identity, and the dev identity is switched off.
    """
    if not identity:
        if dev_identity_enabled:
            return DEV_PRINCIPAL
        raise Unauthenticated(
            "IDENTITY_MISSING",
            "Say who calls: over TLS with a client certificate, or with a token (metadata authorization: Bearer …).",
            "请通过客户端证书或令牌表明身份。",
        )
    if len(identity) > NAME_LENGTH_MAX or not identity.isprintable():
        raise Unauthenticated(
            "IDENTITY_INVALID", f"x-yinqi-identity must be 1 to {NAME_LENGTH_MAX} printable characters."
        )
    if not dev_identity_enabled:
        raise Unauthenticated(
            "DEV_IDENTITY_DISABLED",
            "This server does not believe x-yinqi-identity (YINQI_DEV_IDENTITY_ENABLED is false).",
        )
    return Principal(identity, frozenset(role.strip() for role in roles.split(",") if role.strip()))


def require_role(principal: Principal, allowed: frozenset[str] | None, method: str) -> None:
    """Return if the caller may call the method.

    Raises:
        PermissionDenied: names the roles that may.
    """
    if allowed is None or (allowed and principal.has_any(allowed)):
        return
    names = ", ".join(sorted(allowed)) or "nobody (the RPC names no roles)"
    raise PermissionDenied(
        "ROLE_MISSING",
        f"{method} needs one of these roles: {names}.",
        f"调用 {method} 需要以下角色之一：{names}。",
        metadata={"roles_allowed": ",".join(sorted(allowed)), "method": method},
    )
