"""The whole check of a bundle, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from yinqi.verify.bundle import Bundle, read_bundle
from yinqi.verify.claims import Broken, Claim, Standing, limit, missing, proved
from yinqi.verify.facts import check_facts
from yinqi.verify.journals import check_journals
from yinqi.verify.messages import bank_keys, check_messages
from yinqi.verify.orders import check_order, line_of
from yinqi.verify.policy import policies
from yinqi.verify.receipts import check_receipts
from yinqi.verify.trust import NO_TRUST, Trust


class ExitCode(IntEnum):
    """What `yinqi-verify` ends with."""

    OK = 0
    BROKEN = 1
    UNREADABLE = 2
    INCOMPLETE = 3


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found, in the order of the checks. With a BROKEN claim, that one alone: a broken bundle proves nothing."""

    instruction_id: str
    end_to_end_id: str
    claims: tuple[Claim, ...]

    @property
    def broken(self) -> Claim | None:
        """The first thing that is wrong."""
        return next((claim for claim in self.claims if claim.standing is Standing.BROKEN), None)

    def exit_code(self, *, strict: bool = False) -> ExitCode:
        """Return 0 if all that is in the bundle holds, 1 if something is wrong, 3 if something could not be checked.

        Args:
            strict: 3 as well if something is missing, or keys are not confirmed.
        """
        if self.broken is not None:
            return ExitCode.BROKEN
        open_ = {Standing.UNCHECKED, Standing.MISSING} if strict else {Standing.UNCHECKED}
        return ExitCode.INCOMPLETE if any(claim.standing in open_ for claim in self.claims) else ExitCode.OK


def verify(content: bytes, trust: Trust = NO_TRUST) -> Report:
    """Check a bundle: nothing is asked of anybody, and no clock is read.

    Args:
        content: the whole file.
        trust: what is known from elsewhere; without it nothing confirms whose the keys are.
    Raises:
        NotABundle: it is something else.
    """
    try:
        bundle = read_bundle(content)
    except Broken as error:
        return Report("", "", (error.claim(),))
    try:
        claims = tuple(_claims(bundle, trust))
    except Broken as error:
        claims = (error.claim(),)
    return Report(bundle.instruction_id, bundle.end_to_end_id, claims)


def _claims(bundle: Bundle, trust: Trust) -> Iterator[Claim]:
    yield from _parts(bundle, trust)
    journals = list(check_journals(bundle, trust))  # First: others compare with rows.
    line = line_of(bundle)
    found = list(policies(bundle, trust))
    yield from (claim for _, claim in found)
    yield from check_order(bundle, line, [policy for policy, _ in found])
    yield from check_messages(bundle, line, trust)
    yield from check_receipts(bundle, line, trust)
    yield from check_facts(bundle, line)
    yield from journals
    yield from _confirmations(bundle, trust, has_policy=bool(found))
    yield from _limits()


def _parts(bundle: Bundle, trust: Trust) -> Iterator[Claim]:
    for part in bundle.parts.values():
        trusted = trust.journal_keys.get(part.service, frozenset())
        if trusted and part.key.der.hex() not in trusted:
            raise Broken(
                part.line,
                f"is signed with key {part.key.key_id}, which is not trusted as {part.service}'s",
                "密钥不可信",
            )
        yield proved(
            part.line,
            f"the part of {part.service} is to the byte what it signed at {part.made_at} with key {part.key.key_id}",
            f"{part.service} 分册与其 {part.made_at} 签名（密钥 {part.key.key_id}）的内容逐字节一致",
        )


def _confirmations(bundle: Bundle, trust: Trust, *, has_policy: bool) -> Iterator[Claim]:
    for service, part in bundle.parts.items():
        if not trust.journal_keys.get(service):
            yield missing(
                part.line,
                f"that key {part.key.key_id} is {service}'s: compare it with {service}.public.pem from its operator, or --trust",
                f"密钥 {part.key.key_id} 属于 {service}：请与运维人员提供的公钥核对，或用 --trust 给出",
            )
    for whose, profile in sorted({(whose, profile) for whose, profile, _ in bank_keys(bundle.parts["gateway"])}):
        if not (trust.bank_keys if whose == "bank" else trust.company_keys).get(profile):
            yield missing(
                0,
                f"that the keys of the {whose} at {profile} are its own: compare them with the bank's key letter, or --trust",
                f"{profile} 的{'银行' if whose == 'bank' else '公司'}公钥：请与银行密钥函件核对，或用 --trust 给出",
            )
    if has_policy and not trust.policy_keys:
        yield missing(
            0,
            "that the policy's signers hold the keys it was signed with: compare them with policy_keys.toml, or --trust",
            "策略签署人的密钥：请与 policy_keys.toml 核对，或用 --trust 给出",
        )
    if not trust.receipts:
        yield missing(
            0,
            "that the journals are those handed outside: give a folder of seals, or receipts, with --trust",
            "日志与库外留存一致：请用 --trust 给出封条目录或纸质回执",
        )


def _limits() -> Iterator[Claim]:
    yield limit("that a service told all it had", "各服务是否已给出其全部记录")
    yield limit(
        "that a journal row was there before its seal was made and handed outside",
        "日志行在封存并留存库外之前是否已被改动",
    )
    yield limit("that a service's own word (·) was true when it was written", "各服务自述（·）在写入时是否属实")
    yield limit("whose hands held the keys", "密钥当时实际由谁掌握")


def key_list(bundle: Bundle) -> dict[str, dict[str, list[str]]]:
    """Return the bundle's public keys in the form of a trust file, for somebody to confirm."""
    found: dict[str, dict[str, list[str]]] = {
        "journal_keys": {service: [part.key.der.hex()] for service, part in sorted(bundle.parts.items())}
    }
    for whose, profile, key in bank_keys(bundle.parts["gateway"]):
        found.setdefault(f"{whose}_keys", {}).setdefault(profile, []).append(key)
    return found
