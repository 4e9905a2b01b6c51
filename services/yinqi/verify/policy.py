"""A policy as two people signed it: whose keys are in it, and what it asks for."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

from yinqi.verify import keys
from yinqi.verify.bundle import Bundle, Item
from yinqi.verify.claims import Broken, Claim, proved, reading
from yinqi.verify.forms import from_hex, listed, text
from yinqi.verify.trust import Trust

_CONTEXT = b"yinqi/policy/v1\x00"
_SIGNERS_MIN = 2
_CHINA = timezone(timedelta(hours=8))
_NO_CENTS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())
_THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())


class Registered(NamedTuple):
    """A key of the policy."""

    person: str
    key: keys.PublicKey
    first_day: date
    last_day: date

    def is_valid_at(self, instant: datetime) -> bool:
        """Return whether it may have signed then; days are China's."""
        return self.first_day <= instant.astimezone(_CHINA).date() <= self.last_day


class Vote(NamedTuple):
    """Who approved, and when."""

    person: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Policy:
    """A proven policy."""

    line: int
    version: int
    people: Mapping[str, Registered]
    content: Mapping[str, Any]

    def roles_of(self, person: str) -> list[str]:
        """Return the roles a person holds himself."""
        return [role for one in self.content["person"] if one["name"] == person for role in one["roles"]]

    def rule_of(self, account: str, category: str, currency: str) -> Mapping[str, Any] | None:
        """Return the first rule that fits a line."""
        for rule in self.content["rule"]:
            fits = rule["currency"] == currency and {"*", account} & set(rule["accounts"])
            if fits and {"*", category} & set(rule["categories"]):
                return dict(rule)
        return None


def policies(bundle: Bundle, trust: Trust) -> Iterator[tuple[Policy, Claim]]:
    """Yield each policy of the bundle as proven, the gateway's first: the last door judges by it."""
    for service in ("gateway", "payment"):
        for item in bundle.parts[service].of_kind("policy"):
            with reading(item.line):
                yield _proven(item, service, trust)


def _proven(item: Item, service: str, trust: Trust) -> tuple[Policy, Claim]:
    value = item.value
    content, anchors = text(value["content"]), _registered(tomllib.loads(text(value["keys"]))["key"])
    signers = set[str]()
    for one in listed(value["signatures"]):
        anchor = anchors[text(one["key_id"])]
        if trust.policy_keys and _raw(anchor.key) not in trust.policy_keys.get(one["key_id"], frozenset()):
            raise Broken(item.line, f"is signed with key {one['key_id']}, which is not trusted", "策略签名密钥不可信")
        if not anchor.key.signed(_CONTEXT + content.encode("utf-8"), from_hex(one["signature"])):
            raise Broken(item.line, f"carries a signature of {anchor.person} that does not hold", "策略签名无效")
        signers.add(anchor.person)
    if len(signers) < _SIGNERS_MIN:
        raise Broken(item.line, "is a policy that fewer than two people signed", "策略签名人数不足")
    found = tomllib.loads(content)
    names = ", ".join(sorted(signers))
    return Policy(item.line, found["version"], _registered(found["key"]), found), proved(
        item.line,
        f"version {found['version']} of the policy that {service} works by was signed by {names}",
        f"{service} 所用策略第 {found['version']} 版由 {names} 签署",
    )


def _registered(entries: Sequence[Mapping[str, Any]]) -> dict[str, Registered]:
    return {
        one["id"]: Registered(
            one["person"],
            keys.from_raw(bytes.fromhex(one["public_key"])),
            one.get("first_day", date.min),
            one.get("last_day", date.max),
        )
        for one in entries
    }


def _raw(key: keys.PublicKey) -> str:
    return key.der[-65:].hex() if len(key.der) > 65 else key.der[-32:].hex()


def minor_units(amount: str, currency: str) -> int:
    """Return a decimal amount in minor units, by ISO 4217. Raises ValueError."""
    try:
        value = Decimal(amount).scaleb(0 if currency in _NO_CENTS else 3 if currency in _THREE_DECIMALS else 2)
    except ArithmeticError:
        raise ValueError("not an amount") from None
    if value != int(value):
        raise ValueError("finer than the currency")
    return int(value)


def needs_of(rule: Mapping[str, Any], amount: int) -> Mapping[str, int] | None:
    """Return how many people of which roles an amount needs; None: the rule never lets it out."""
    for tier in rule["tier"]:
        if not tier.get("up_to") or amount <= minor_units(tier["up_to"], rule["currency"]):
            return dict(tier.get("needs", {}))
    return None


def are_filled(
    needs: Mapping[str, int], policy: Policy, maker: str, rule: Mapping[str, Any], votes: list[Vote]
) -> bool:
    """Return whether the votes fill the places: a person fills one, and a right, own or lent, counts once."""
    places = [role for role, count in sorted(needs.items()) for _ in range(count)]
    rights = [
        (vote.person, holder, role)
        for vote in votes
        if vote.person != maker or rule.get("maker_may_approve", False)
        for holder, role in _rights_of(policy, vote, maker, rule)
    ]
    return _fill(places, rights, frozenset(), frozenset())


def _rights_of(policy: Policy, vote: Vote, maker: str, rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((vote.person, role) for role in policy.roles_of(vote.person))
    day = vote.at.astimezone(_CHINA).date()
    for one in policy.content.get("delegation", ()):
        is_his = one["taker"] == vote.person and one["first_day"] <= day <= one["last_day"]
        is_makers_own = one["giver"] == maker and not rule.get("maker_may_approve", False)
        if is_his and not is_makers_own and one["role"] in policy.roles_of(one["giver"]):
            yield one["giver"], one["role"]


def _fill(
    places: Sequence[str], rights: list[tuple[str, str, str]], persons: frozenset[str], holders: frozenset[str]
) -> bool:
    if not places:
        return True
    return any(
        role == places[0]
        and person not in persons
        and holder not in holders
        and _fill(places[1:], rights, persons | {person}, holders | {holder})
        for person, holder, role in rights
    )
