"""Tokens of people: who signed, for whom, from when until when; and keys that change."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from yinqi.kernel.clock import FixedClock
from yinqi.kernel.errors import Unauthenticated, YinqiError
from yinqi.runtime.settings import Settings
from yinqi.runtime.tokens import TokenSettingsInvalid, TokenVerifier, roles_in

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
UNSIGNED = b'{"alg":"none","kid":"first"}'
SECRET = b'{"alg":"HS256","kid":"first"}'
ISSUER = "https://login.example.com/"
FIRST = ECKey.generate_key("P-256", {"kid": "first", "alg": "ES256", "use": "sig"})
SECOND = ECKey.generate_key("P-256", {"kid": "second", "alg": "ES256", "use": "sig"})


def write_keys(folder: Path, *keys: Key) -> Path:
    file = folder / "jwks.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))
    return file


def made(key: Key = FIRST, algorithm: str = "ES256", header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return a good token, apart from the changes; a claim that is None is left out."""
    now = int(NOW.timestamp())
    claims = {
        "iss": ISSUER,
        "aud": "yinqi",
        "sub": "zhang",
        "exp": now + 600,
        "iat": now,
        "roles": ["payment_approver"],
    }
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.kid, **(header or {})}, claims, key, [algorithm])


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Bench:
    """A verifier, its clock and its key file."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.clock = FixedClock(NOW)
        own = Settings(jwt_jwks_file=str(write_keys(folder, FIRST)), jwt_issuer=ISSUER, **settings)
        self.verifier = TokenVerifier(own, self.clock)

    def refusal(self, token: str) -> Unauthenticated:
        with pytest.raises(Unauthenticated) as caught:
            self.verifier.claims_of(token)
        assert token not in caught.value.message
        return caught.value


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_good_token_gives_its_claims(bench: Bench) -> None:
    assert bench.verifier.claims_of(made())["sub"] == "zhang"
    assert bench.verifier.claims_of(made(aud=["other", "yinqi"]))["sub"] == "zhang"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"iss": "https://login.example.org/"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "another-service"}, "aud"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"nbf": int(NOW.timestamp()) + 31}, "nbf"),
        ({"iat": int(NOW.timestamp()) + 31}, "iat"),
    ],
)
def test_a_wrong_or_missing_claim_is_named(bench: Bench, changes: dict[str, Any], word: str) -> None:
    error = bench.refusal(made(**changes))
    assert error.reason == "TOKEN_INVALID"
    assert word in error.message


def test_an_expired_token_says_so_and_the_leeway_is_thirty_seconds(bench: Bench) -> None:
    now = int(NOW.timestamp())
    assert bench.verifier.claims_of(made(exp=now - 29))
    assert bench.refusal(made(exp=now - 30)).reason == "TOKEN_EXPIRED"
    assert bench.verifier.claims_of(made(nbf=now + 30))


def test_a_remembered_token_expires_all_the_same(bench: Bench) -> None:
    token = made()
    assert bench.verifier.claims_of(token)
    bench.clock.advance(timedelta(seconds=630))
    assert bench.refusal(token).reason == "TOKEN_EXPIRED"


def test_a_token_of_another_key_is_refused_even_under_a_known_name(bench: Bench) -> None:
    assert bench.refusal(made(SECOND)).reason == "TOKEN_INVALID"
    assert bench.refusal(made(SECOND, header={"kid": "first"})).reason == "TOKEN_INVALID"


def test_every_flipped_character_is_refused(bench: Bench) -> None:
    token = made()
    for position, character in enumerate(token):
        if character == ".":
            continue
        last_of_a_part = token[position + 1 : position + 2] in ("", ".")
        other = "A" if character != "A" else "B"
        if last_of_a_part:  # the last character's low bits carry nothing
            other = "A" if character > "a" else "z"
        forged = token[:position] + other + token[position + 1 :]
        assert bench.refusal(forged).reason == "TOKEN_INVALID", position


def test_a_token_without_signature_or_signed_with_the_public_key_as_a_secret_is_refused(bench: Bench) -> None:
    head, body, _ = made().split(".")
    assert bench.refusal(f"{head}.{body}.").reason == "TOKEN_INVALID"
    assert bench.refusal(f"{encoded(UNSIGNED)}.{body}.").reason == "TOKEN_INVALID"
    signed = f"{encoded(SECRET)}.{body}"
    seal = hmac.digest(FIRST.as_pem(private=False), signed.encode(), "sha256")
    assert bench.refusal(f"{signed}.{encoded(seal)}").reason == "TOKEN_INVALID"


def test_a_token_that_does_not_name_its_key_is_refused(bench: Bench) -> None:
    now = int(NOW.timestamp())
    claims = {"iss": ISSUER, "aud": "yinqi", "sub": "zhang", "exp": now + 600}
    assert "kid" in bench.refusal(jwt.encode({"alg": "ES256"}, claims, FIRST)).message


def test_rubbish_is_refused(bench: Bench) -> None:
    for token in ("?", "?.?.?", "....", "é.ü.ö", "x" * 9000, "eyJhbGciOiJFUzI1NiJ9.W10.AA"):
        assert bench.refusal(token).reason == "TOKEN_INVALID"


def test_new_keys_are_taken_and_those_gone_count_no_more(bench: Bench) -> None:
    token = made()
    assert bench.verifier.claims_of(token)
    write_keys(bench.folder, FIRST, SECOND)
    bench.verifier.reload()
    assert bench.verifier.claims_of(token)
    assert bench.verifier.claims_of(made(SECOND))
    write_keys(bench.folder, SECOND)
    bench.verifier.reload()
    assert bench.refusal(token).reason == "TOKEN_INVALID"


def test_a_broken_key_file_leaves_the_keys_in_force(bench: Bench) -> None:
    (bench.folder / "jwks.json").write_text("{")
    bench.verifier.reload()
    assert bench.verifier.claims_of(made())


@pytest.mark.parametrize(
    ("keys", "settings", "word"),
    [
        ([OctKey.generate_key(256, {"kid": "s"})], {}, "shared secret"),
        ([FIRST], {"jwt_issuer": ""}, "YINQI_JWT_ISSUER"),
        ([FIRST], {"jwt_algorithms": "HS256"}, "YINQI_JWT_ALGORITHMS"),
        ([FIRST], {"jwt_algorithms": "none"}, "YINQI_JWT_ALGORITHMS"),
        ([FIRST], {"jwt_jwks_file": "/nowhere/jwks.json"}, "YINQI_JWT_JWKS_FILE"),
    ],
)
def test_what_cannot_be_safe_is_not_started_with(
    tmp_path: Path, keys: list[Key], settings: dict[str, Any], word: str
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=isinstance(key, OctKey)) for key in keys]}))
    with pytest.raises(TokenSettingsInvalid, match=word):
        TokenVerifier(Settings(**{"jwt_jwks_file": str(file), "jwt_issuer": ISSUER, **settings}), FixedClock(NOW))


def test_a_key_without_a_name_is_not_started_with(tmp_path: Path) -> None:
    nameless = {name: value for name, value in FIRST.as_dict(private=False).items() if name != "kid"}
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [nameless]}))
    with pytest.raises(TokenSettingsInvalid, match="without kid"):
        TokenVerifier(Settings(jwt_jwks_file=str(file), jwt_issuer=ISSUER), FixedClock(NOW))


def test_an_algorithm_that_is_not_switched_on_is_refused(tmp_path: Path) -> None:
    rsa = RSAKey.generate_key(2048, {"kid": "rsa"})
    file = write_keys(tmp_path, rsa)
    own = Settings(jwt_jwks_file=str(file), jwt_issuer=ISSUER, jwt_algorithms="PS256")
    verifier = TokenVerifier(own, FixedClock(NOW))
    assert verifier.claims_of(made(rsa, "PS256"))
    with pytest.raises(YinqiError, match="allowed algorithm"):
        verifier.claims_of(made(rsa, "RS256"))


@pytest.mark.parametrize(
    ("claims", "path", "roles"),
    [
        ({"roles": ["a", "b"]}, "roles", {"a", "b"}),
        ({"scope": "a b"}, "scope", {"a", "b"}),
        ({"realm_access": {"roles": ["a", 7]}}, "realm_access.roles", {"a"}),
        ({"realm_access": "a"}, "realm_access.roles", set()),
        ({"roles": {"a": True}}, "roles", set()),
        ({}, "roles", set()),
    ],
)
def test_roles_are_found_where_the_provider_puts_them(claims: dict[str, Any], path: str, roles: set[str]) -> None:
    assert roles_in(claims, path) == roles
