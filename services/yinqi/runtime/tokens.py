"""Tokens of people: JWT signed by an identity provider (OIDC), checked against its key set in a file.

Source: RFC 7519 (claims), RFC 7515 (signature), RFC 7517 (key set), RFC 8725 (what to be strict about).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import KeySet

from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import FailedPrecondition, Unauthenticated
from yinqi.runtime.durable_files import stamp_of
from yinqi.runtime.settings import Settings

_log = structlog.get_logger(__name__)
_TOKEN_LENGTH_MAX = 8 * 1024
_REMEMBERED_MAX = 1024
# A shared secret would let every service make tokens, and "none" anybody.
_ALGORITHMS = frozenset({"EdDSA", "Ed25519", "ES256", "ES384", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"})


class TokenSettingsInvalid(FailedPrecondition):
    """Tokens cannot be checked with these settings or this key set."""


class TokenVerifier:
    """Checks tokens.

    A token that was good is remembered until it expires or the keys change; checking a signature costs more than a call.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        if not settings.jwt_issuer or not settings.jwt_audience:
            raise _wrong("YINQI_JWT_ISSUER and YINQI_JWT_AUDIENCE must say whose tokens are taken and for whom")
        self._algorithms = [name.strip() for name in settings.jwt_algorithms.split(",") if name.strip()]
        if not self._algorithms or not _ALGORITHMS.issuperset(self._algorithms):
            raise _wrong(f"YINQI_JWT_ALGORITHMS: allowed are {', '.join(sorted(_ALGORITHMS))}")
        self._settings = settings
        self._clock = clock
        self._file = Path(settings.jwt_jwks_file)
        self._stamp = stamp_of([self._file])
        self._keys = _key_set(self._file)
        self._remembered: dict[str, Mapping[str, Any]] = {}

    def reload(self) -> None:
        """Read the key set again if its file has changed; one that cannot be used leaves the old in force."""
        stamp = stamp_of([self._file])
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = _key_set(self._file)
        except TokenSettingsInvalid as error:
            _log.error("key set of tokens not taken, the old stays", error=error.message)
            return
        self._remembered.clear()
        _log.info("key set of tokens read again", keys=len(self._keys.keys))

    def claims_of(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token that is good now.

        Raises:
            Unauthenticated: TOKEN_EXPIRED or TOKEN_INVALID; says which check failed, never what the token holds.
        """
        if len(token) > _TOKEN_LENGTH_MAX:
            raise _bad("is longer than 8 KiB")
        claims = self._remembered.get(token)
        if claims is None:
            claims = self._verified(token)
        self._check(claims)
        if token not in self._remembered:
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[token] = claims
        return claims

    def _verified(self, token: str) -> Mapping[str, Any]:
        try:
            decoded = jwt.decode(token, self._keys, algorithms=self._algorithms)
        except (JoseError, ValueError):
            raise _bad("is not signed by a key of the identity provider, with an allowed algorithm") from None
        if "kid" not in decoded.header:
            raise _bad("does not name its key (kid)")
        if self._keys.get_by_kid(str(decoded.header["kid"])).alg not in (None, decoded.header["alg"]):
            raise _bad("is signed with another algorithm than its key's")
        return decoded.claims

    def _check(self, claims: Mapping[str, Any]) -> None:
        registry = jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=self._settings.jwt_leeway_s,
            iss={"essential": True, "value": self._settings.jwt_issuer},
            aud={"essential": True, "value": self._settings.jwt_audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            registry.validate(dict(claims))
        except ExpiredTokenError:
            raise Unauthenticated(
                "TOKEN_EXPIRED", "The token has expired; sign in again.", "令牌已过期，请重新登录。"
            ) from None
        except JoseError as error:
            claim = getattr(error, "claim", "")
            raise _bad(f"has a wrong or missing claim {claim}".rstrip()) from None


def roles_in(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    """Return the roles that a claim names: a list, or words separated by spaces; a dot in the path goes deeper."""
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        found = found.split()
    return frozenset(role for role in found if isinstance(role, str)) if isinstance(found, list) else frozenset()


def _key_set(file: Path) -> KeySet:
    try:
        content = json.loads(file.read_text("utf-8"))
        keys = KeySet.import_key_set(content)
    except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
        raise _wrong(f"{file} (YINQI_JWT_JWKS_FILE) is no JSON Web Key Set: {type(error).__name__}") from None
    for key in content["keys"]:
        if key.get("kty") == "oct":
            raise _wrong(f"{file} (YINQI_JWT_JWKS_FILE) holds a shared secret; only public keys are taken")
        if not key.get("kid"):
            raise _wrong(f"{file} (YINQI_JWT_JWKS_FILE) holds a key without kid; rotation needs names")
    return keys


def _wrong(words: str) -> TokenSettingsInvalid:
    return TokenSettingsInvalid("TOKEN_SETTINGS_INVALID", f"{words}.", "令牌校验配置有误，请修正后重启。")


def _bad(words: str) -> Unauthenticated:
    return Unauthenticated("TOKEN_INVALID", f"The token {words}.", "令牌无效。")
