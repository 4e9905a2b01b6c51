"""A policy directory: `policy.toml`, two people's signatures beside it, and the keys those must be made with.

`policy_keys.toml` is the anchor: it is put there by hand, on each machine that enforces the policy. Whoever changes the
policy, a role or a person's key changes `policy.toml`, so two people's signatures are needed for each of them.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from yinqi.crypto import CryptoError, sm3
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.errors import AmountInvalid, FailedPrecondition, FieldViolation
from yinqi.kernel.money import currency_exponent, parse_money
from yinqi.orders.keys import POLICY_CONTEXT, Algorithm, PrivateKey, PublicKey, Signed, verify_all
from yinqi.orders.policy import MAKER, VOUCHER, Delegation, Need, Policy, Rule, Tier

POLICY_FILE = "policy.toml"
KEYS_FILE = "policy_keys.toml"
SIGNERS_MIN = 2
_KEY_ID = r"^[A-Za-z0-9._-]{1,64}$"
_PLACES_MAX = 5
_Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
_Person = Annotated[str, Field(min_length=1, max_length=100)]


class PolicyInvalid(FailedPrecondition):
    """The policy cannot be used; the message names every fault and what is allowed. Nothing starts with it."""


class RegisteredKey(NamedTuple):
    """A key of the policy. The days, both included, are those in which it may sign."""

    person: str
    public: PublicKey
    first_day: date
    last_day: date

    def is_valid_at(self, instant: datetime) -> bool:
        """Return whether it may have signed then."""
        return self.first_day <= instant.astimezone(BANK_ZONE).date() <= self.last_day


class PolicyFiles(NamedTuple):
    """A policy directory as it was read, for those who prove it elsewhere. `signatures`: key id and hexadecimal digits."""

    content: bytes
    anchors: bytes
    signatures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SignedPolicy:
    """A policy whose signatures hold, with the keys of its people.

    Attributes:
        order_lifetime: the longest an order may say it can be handed in.
        signers: the people who signed this version.
        digest: SM3 of the file, hexadecimal.
    """

    policy: Policy
    keys: Mapping[str, RegisteredKey]
    order_lifetime: timedelta
    signers: tuple[str, ...]
    digest: str = ""

    def public_keys(self) -> dict[str, PublicKey]:
        """Return what checks signatures, by key."""
        return {key_id: key.public for key_id, key in self.keys.items()}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class _Key(_Model):
    id: str = Field(pattern=_KEY_ID)
    person: _Person
    algorithm: Algorithm
    public_key: str
    first_day: date = date(1970, 1, 1)
    last_day: date = date(9999, 12, 31)


class _PersonEntry(_Model):
    name: _Person
    roles: tuple[_Role, ...]


class _Tier(_Model):
    up_to: str = ""
    needs: dict[_Role, Annotated[int, Field(ge=1, le=_PLACES_MAX)]] = {}
    one_time_code: bool = False


class _Rule(_Model):
    accounts: tuple[str, ...] = Field(min_length=1)
    categories: tuple[str, ...] = Field(min_length=1)
    currency: str
    by: str = Field("line", pattern="^(line|order)$")
    window_days: int = Field(0, ge=0, le=366)
    allow_vouched: bool = False
    maker_may_approve: bool = False
    tier: tuple[_Tier, ...] = Field(min_length=1)


class _Delegation(_Model):
    giver: _Person
    taker: _Person
    role: _Role
    first_day: date
    last_day: date


class _File(_Model):
    version: int = Field(ge=1)
    company: str = Field(min_length=1, max_length=140)
    release_days: int = Field(30, ge=0, le=366)
    order_lifetime_hours: int = Field(24, ge=1, le=720)
    clock_skew_s: int = Field(300, ge=0, le=3600)
    person: tuple[_PersonEntry, ...] = Field(min_length=1)
    key: tuple[_Key, ...] = Field(min_length=1)
    rule: tuple[_Rule, ...] = Field(min_length=1)
    delegation: tuple[_Delegation, ...] = ()


M = TypeVar("M", bound=_Model)


class _Anchors(_Model):
    key: tuple[_Key, ...]


_CATEGORIES = frozenset("SUPP SALA TAXS INTC SWEP TOPG ZABA TREA *".split())


def load_policy(directory: Path, *, version_min: int = 0) -> SignedPolicy:
    """Read and prove the policy of a directory.

    Args:
        version_min: the highest version used before; an older one is a downgrade.
    Raises:
        PolicyInvalid: a file is missing or wrong, fewer than two people's signatures hold, or it is a downgrade.
    """
    content = _read(directory / POLICY_FILE)
    signed = read_policy(content, directory / POLICY_FILE)
    signers = _signers(directory, content)
    if len(signers) < SIGNERS_MIN:
        raise wrong(
            directory / POLICY_FILE,
            f"needs the signatures of {SIGNERS_MIN} people whose keys are in {KEYS_FILE}; valid are those of "
            f"{', '.join(signers) or 'nobody'}. Each signs with `yinqi policy sign`",
            f"需要 {SIGNERS_MIN} 人签名",
        )
    if signed.policy.version < version_min:
        raise wrong(
            directory / POLICY_FILE,
            f"version {signed.policy.version} is older than version {version_min}, which was in force before; "
            "give a changed policy a higher version",
            f"版本 {signed.policy.version} 低于已生效的版本 {version_min}",
        )
    return replace(signed, signers=signers)


def read_policy(content: bytes, file: Path = Path(POLICY_FILE)) -> SignedPolicy:
    """Read a policy without asking who signed it: for people who are about to.

    Raises:
        PolicyInvalid: names every fault.
    """
    found = _parsed(_File, content, file)
    if faults := list(_contradictions(found)):
        raise _faulty(file, faults)
    policy = Policy(
        version=found.version,
        company=found.company,
        roles={one.name: frozenset(one.roles) for one in found.person},
        rules=tuple(_rule(one) for one in found.rule),
        delegations=tuple(Delegation(d.giver, d.taker, d.role, d.first_day, d.last_day) for d in found.delegation),
        release_days=found.release_days,
        clock_skew=timedelta(seconds=found.clock_skew_s),
    )
    lifetime = timedelta(hours=found.order_lifetime_hours)
    return SignedPolicy(policy, _keys(found.key), lifetime, (), sm3(content).hex())


def policy_files(directory: Path) -> PolicyFiles:
    """Read a policy directory without judging it.

    Raises:
        PolicyInvalid: a file is missing.
    """
    anchors = _read(directory / KEYS_FILE)
    signatures = tuple(
        (key_id, _read(file).decode("ascii", "replace").strip())
        for key_id in sorted(_keys(_parsed(_Anchors, anchors, directory / KEYS_FILE).key))
        if (file := directory / f"{POLICY_FILE}.{key_id}.sig").exists()
    )
    return PolicyFiles(_read(directory / POLICY_FILE), anchors, signatures)


def policy_item(policy: PolicyFiles) -> dict[str, Any]:
    """Return the item of an evidence bundle that shows a policy and who signed it."""
    return {
        "kind": "policy",
        "content": policy.content.decode("utf-8"),
        "keys": policy.anchors.decode("utf-8"),
        "signatures": [{"key_id": key_id, "signature": signature} for key_id, signature in policy.signatures],
    }


def sign_policy(directory: Path, key: PrivateKey) -> Path:
    """Sign the policy as it stands; return the file with the signature.

    Raises:
        PolicyInvalid: the policy is wrong, or the key is none of `policy_keys.toml`.
    """
    content = _read(directory / POLICY_FILE)
    read_policy(content, directory / POLICY_FILE)
    anchors = _keys(_parsed(_Anchors, _read(directory / KEYS_FILE), directory / KEYS_FILE).key)
    if key.key_id not in anchors or anchors[key.key_id].public != key.public_key():
        raise wrong(directory / KEYS_FILE, f"has no key {key.key_id!r} with that public key", "没有该密钥")
    file = directory / f"{POLICY_FILE}.{key.key_id}.sig"
    file.write_text(key.sign(POLICY_CONTEXT, content).signature.hex() + "\n", "ascii")
    return file


def _signers(directory: Path, content: bytes) -> tuple[str, ...]:
    anchors = _keys(_parsed(_Anchors, _read(directory / KEYS_FILE), directory / KEYS_FILE).key)
    signed: list[Signed] = []
    for key_id in anchors:
        file = directory / f"{POLICY_FILE}.{key_id}.sig"
        if file.exists():
            try:
                signed.append(Signed(content, key_id, bytes.fromhex(file.read_text("ascii").strip())))
            except ValueError:
                raise wrong(file, "must hold one signature, 128 hexadecimal digits", "应为 128 位十六进制") from None
    holds = verify_all(POLICY_CONTEXT, signed, {key_id: key.public for key_id, key in anchors.items()})
    return tuple(sorted({anchors[one.key_id].person for one, held in zip(signed, holds, strict=True) if held}))


def _contradictions(found: _File) -> Iterator[FieldViolation]:
    roles = {one.name: set(one.roles) for one in found.person}
    known = {role for its in roles.values() for role in its}
    for what, names in (
        ("person", [one.name for one in found.person]),
        ("key", [one.id for one in found.key]),
        ("public_key", [one.public_key.lower() for one in found.key]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                yield _fault(what, f"{name[:64]!r} is there {count} times", "重复")
    for index, key in enumerate(found.key):
        if key.person not in roles:
            yield _fault(f"key.{index}.person", f"{key.person!r} is no [[person]]", "不是已登记的人员")
        try:
            _public(key).verify_many([], [])
        except (ValueError, CryptoError):
            yield _fault(f"key.{index}.public_key", _KEY_FORMS, "公钥格式不符")
    for index, one in enumerate(found.delegation):
        for field, person in (("giver", one.giver), ("taker", one.taker)):
            if person not in roles:
                yield _fault(f"delegation.{index}.{field}", f"{person!r} is no [[person]]", "不是已登记的人员")
        if one.role not in roles.get(one.giver, ()):
            yield _fault(f"delegation.{index}.role", f"{one.giver!r} does not hold {one.role!r}", "授权人没有该角色")
        if one.role in (MAKER, VOUCHER):
            yield _fault(f"delegation.{index}.role", f"{one.role!r} cannot be lent", "该角色不可授权")
        if one.last_day < one.first_day:
            yield _fault(f"delegation.{index}.last_day", "must not be before first_day", "不得早于起始日")
    for index, rule in enumerate(found.rule):
        yield from _rule_faults(index, rule, known)


def _rule_faults(index: int, rule: _Rule, known: set[str]) -> Iterator[FieldViolation]:
    for category in rule.categories:
        if category not in _CATEGORIES:
            yield _fault(
                f"rule.{index}.categories", f"{category!r}: allowed are {', '.join(sorted(_CATEGORIES))}", "类别未知"
            )
    last = 0
    for place, tier in enumerate(rule.tier):
        field = f"rule.{index}.tier.{place}"
        try:
            limit = _limit(tier.up_to, rule.currency)
        except AmountInvalid as error:
            yield _fault(f"{field}.up_to", error.message, error.message_zh)
            continue
        if limit is None and place < len(rule.tier) - 1:
            yield _fault(f"{field}.up_to", "only the last tier may be without limit", "只有最后一档可以不设上限")
        if limit is not None and limit <= last:
            yield _fault(f"{field}.up_to", "must be above the tier before", "须高于上一档")
        last = limit if limit is not None else last
        if sum(tier.needs.values()) > _PLACES_MAX:
            yield _fault(f"{field}.needs", f"at most {_PLACES_MAX} approvals", f"最多 {_PLACES_MAX} 个审批")
        if tier.one_time_code and not tier.needs:
            yield _fault(f"{field}.one_time_code", "nobody approves here, so nobody gives a code", "该档无须审批")
        for role in tier.needs:
            if role in (MAKER, VOUCHER) or role not in known:
                yield _fault(
                    f"{field}.needs", f"{role!r} is no approver's role that a [[person]] holds", "没有人担任该角色"
                )


_KEY_FORMS = "must be 130 hexadecimal digits beginning with 04 (SM2) or 64 (Ed25519)"


def _public(key: _Key) -> PublicKey:
    return PublicKey(key.algorithm, bytes.fromhex(key.public_key))


def _keys(keys: Sequence[_Key]) -> dict[str, RegisteredKey]:
    try:
        return {key.id: RegisteredKey(key.person, _public(key), key.first_day, key.last_day) for key in keys}
    except ValueError:
        raise wrong(Path(KEYS_FILE), f"public_key {_KEY_FORMS}", "公钥格式不符") from None


def _rule(rule: _Rule) -> Rule:
    return Rule(
        accounts=frozenset(rule.accounts),
        categories=frozenset(rule.categories),
        currency=rule.currency,
        tiers=tuple(
            Tier(
                _limit(tier.up_to, rule.currency),
                tuple(Need(role, n) for role, n in sorted(tier.needs.items())),
                tier.one_time_code,
            )
            for tier in rule.tier
        ),
        is_by_order=rule.by == "order",
        window=timedelta(days=rule.window_days),
        allow_vouched=rule.allow_vouched,
        maker_may_approve=rule.maker_may_approve,
    )


def _limit(text: str, currency: str) -> int | None:
    currency_exponent(currency)
    return parse_money(text, currency).minor_units if text else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise wrong(file, error.strerror or "cannot be read", "无法读取") from None


def _parsed(kind: type[M], content: bytes, file: Path) -> M:
    try:
        found: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise wrong(file, f"is not TOML: {error}", "不是有效的 TOML") from None
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise _faulty(
            file, [_fault(".".join(map(str, one["loc"])), one["msg"], "取值无效") for one in error.errors()]
        ) from None


def _fault(field: str, words: str, words_zh: str) -> FieldViolation:
    return FieldViolation(field, "INVALID", f"{field}: {words}", f"{field}：{words_zh}")


def _faulty(file: Path, faults: Sequence[FieldViolation]) -> PolicyInvalid:
    words = "; ".join(one.description for one in faults)
    return PolicyInvalid("POLICY_INVALID", f"{file}: {words}.", f"{file} 有 {len(faults)} 处错误。", faults)


def wrong(file: Path, words: str, words_zh: str) -> PolicyInvalid:
    """Return the error that names a file of the policy and what is wrong with it."""
    return PolicyInvalid("POLICY_INVALID", f"{file}: {words}.", f"{file}：{words_zh}。")
