"""Who makes a call: a token's person, a certificate's service or client, or (development) who it says it is."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from grpc_core import Call

from yinqi.kernel.clock import Clock, SystemClock
from yinqi.kernel.errors import Unauthenticated, YinqiError
from yinqi.runtime import attributes
from yinqi.runtime.client_roles import load_client_roles
from yinqi.runtime.durable_files import stamp_of
from yinqi.runtime.identity import NAME_LENGTH_MAX, Principal, principal_from, service_role, without_service_roles
from yinqi.runtime.settings import GRPC_SERVICES, Settings
from yinqi.runtime.tokens import TokenVerifier, roles_in

_log = structlog.get_logger(__name__)
_BEARER = "bearer "


class Authenticator:
    """Turns what a call brings into its Principal.

    The order: a token says who the person is, and a wrong one is never passed over; then the certificate; then, only
    where that is switched on, the caller's own word, which never makes more of a certificate than it is.

    Raises:
        ClientsFileInvalid, TokenSettingsInvalid: when made; the service does not start.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._tokens = TokenVerifier(settings, clock or SystemClock()) if settings.jwt_jwks_file else None
        self._prefix = f"spiffe://{settings.tls_trust_domain}/"
        self._clients_file = settings.tls_file(settings.tls_clients_file)
        self._stamp = stamp_of([self._clients_file])
        self._clients = load_client_roles(self._clients_file)

    def reload(self) -> None:
        """Read again what has changed; a file that cannot be used leaves what was."""
        if self._tokens is not None:
            self._tokens.reload()
        stamp = stamp_of([self._clients_file])
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._clients = load_client_roles(self._clients_file)
        except YinqiError as error:
            _log.error("roles of client certificates not taken, the old stay", error=error.message)
            return
        _log.info("roles of client certificates read again", clients=len(self._clients))

    def principal_of(self, call: Call) -> Principal:
        """Return the caller.

        Raises:
            Unauthenticated: says what is missing or wrong.
        """
        metadata = call.metadata
        authorization = str(metadata.get(attributes.AUTHORIZATION_KEY, ""))
        if authorization:
            return self._person(authorization)
        identity = str(metadata.get(attributes.IDENTITY_KEY, ""))
        roles = str(metadata.get(attributes.ROLES_KEY, ""))
        dev_enabled = self._settings.dev_identity_enabled
        if not call.is_encrypted:
            return principal_from(identity, roles, dev_identity_enabled=dev_enabled)
        names = call.uri_names
        if not names:
            if self._settings.tls_mode == "mutual":
                raise _unnamed("holds no URI")
            if not (dev_enabled and identity):
                raise Unauthenticated(
                    "IDENTITY_MISSING",
                    "Say who calls: show a client certificate, or a token as metadata authorization: Bearer ….",
                    "请出示客户端证书或令牌。",
                )
            spoken = principal_from(identity, roles, dev_identity_enabled=True)
            return Principal(spoken.name, without_service_roles(spoken.roles))
        certified = self._certified(names)
        if certified.is_service or not (dev_enabled and identity):
            return certified
        spoken = principal_from(identity, roles, dev_identity_enabled=True)
        return Principal(spoken.name, spoken.roles & certified.roles)

    def _certified(self, names: Sequence[str]) -> Principal:
        # X.509-SVID 2: exactly one URI. With two, one reader could believe the first and another the second.
        if len(names) > 1:
            raise _unnamed("holds more than one URI")
        if not names[0].startswith(self._prefix):
            raise _unnamed(f"is not of our trust domain {self._prefix}")
        kind, _, name = names[0].removeprefix(self._prefix).partition("/")
        if kind == "service" and name in GRPC_SERVICES:
            return Principal(name, frozenset({service_role(name)}))
        if kind != "client" or not name:
            raise _unnamed(f"names neither a service of ours nor a client: {self._prefix}service/… or client/…")
        roles = self._clients.get(name)
        if roles is None:
            raise Unauthenticated(
                "CLIENT_UNKNOWN",
                f"The certificate is good, but nothing is said about the client {name}: add it with its roles to "
                "YINQI_TLS_CLIENTS_FILE on the server.",
                f"证书有效，但服务端未登记客户端 {name}，请在 YINQI_TLS_CLIENTS_FILE 中登记其角色。",
            )
        return Principal(name, roles)

    def _person(self, authorization: str) -> Principal:
        if self._tokens is None:
            raise Unauthenticated(
                "TOKENS_NOT_TAKEN",
                "This server takes no tokens: YINQI_JWT_JWKS_FILE is not set.",
                "本服务未启用令牌（YINQI_JWT_JWKS_FILE 未设置）。",
            )
        if not authorization.lower().startswith(_BEARER):
            raise Unauthenticated("TOKEN_INVALID", "Metadata authorization must be: Bearer <token>.", "令牌格式有误。")
        claims = self._tokens.claims_of(authorization[len(_BEARER) :].strip())
        name = claims.get(self._settings.jwt_name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
            raise Unauthenticated(
                "TOKEN_INVALID", f"The token names nobody in the claim {self._settings.jwt_name_claim}.", "令牌无效。"
            )
        return Principal(name, without_service_roles(roles_in(claims, self._settings.jwt_roles_claim)))


def _unnamed(words: str) -> Unauthenticated:
    return Unauthenticated(
        "CERTIFICATE_UNNAMED",
        f"The client certificate {words}.",
        "客户端证书中没有可用的身份（URI SAN）。",
    )
