"""Screening rules (筛查规则): functions of a payment and the rules' facts; the first rule that blocks decides."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from yinqi.kernel.money import Money
from yinqi.monitoring.masking import mask_account, mask_name
from yinqi.monitoring.model import Screening, ScreeningSubject, Verdict
from yinqi.monitoring.wording import readable


@dataclass(frozen=True, slots=True)
class ScreeningRules:
    """The facts the rules compare with.

    Attributes:
        amount_max: most minor units of one payment, by ISO 4217 currency.
        blocks_unlisted_currency: block a payment whose currency has no limit.
        blocked_accounts: normalised account numbers (see `normalise_account`).
        blocked_names: normalised names (see `normalise_name`).
        repeats_max: how many payments of one creditor account, amount and day are ordinary; 0 turns the rule off.
        repeats_block: block from there on; else only an alert.
    """

    amount_max: Mapping[str, int] = field(default_factory=dict)
    blocks_unlisted_currency: bool = False
    blocked_accounts: frozenset[str] = frozenset()
    blocked_names: frozenset[str] = frozenset()
    repeats_max: int = 1
    repeats_block: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found."""

    rule: str
    description: str
    description_zh: str


POSSIBLE_DUPLICATE = "possible_duplicate"


def normalise_account(identification: str) -> str:
    """Return the number without spaces and hyphens, upper case, full-width forms folded."""
    return unicodedata.normalize("NFKC", identification).replace(" ", "").replace("-", "").upper()


def normalise_name(name: str) -> str:
    """Return the name with full-width forms, case and all blanks folded, so that a block list cannot be dodged by them."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def creditor_is_debtor(subject: ScreeningSubject, rules: ScreeningRules) -> Finding | None:
    """Block a payment from an account to itself."""
    if normalise_account(subject.creditor_account) != normalise_account(subject.debtor_account):
        return None
    return Finding(
        "creditor_is_debtor",
        f"Creditor and debtor account are the same ({mask_account(subject.creditor_account)}); correct the creditor account.",
        f"收款账户与付款账户相同（{mask_account(subject.creditor_account)}），请更正收款账户。",
    )


def blocked_creditor(subject: ScreeningSubject, rules: ScreeningRules) -> Finding | None:
    """Block a creditor whose account or name is on the list."""
    if normalise_account(subject.creditor_account) in rules.blocked_accounts:
        shown = mask_account(subject.creditor_account)
        return Finding(
            "blocked_creditor",
            f"Creditor account {shown} is on the block list; ask risk control.",
            f"收款账户 {shown} 在黑名单中，请联系风控。",
        )
    if normalise_name(subject.creditor_name) in rules.blocked_names:
        shown = mask_name(subject.creditor_name)
        return Finding(
            "blocked_creditor",
            f"Creditor {shown} is on the block list; ask risk control.",
            f"收款人 {shown} 在黑名单中，请联系风控。",
        )
    return None


def amount_over_limit(subject: ScreeningSubject, rules: ScreeningRules) -> Finding | None:
    """Block an amount above the currency's limit; the limit itself passes."""
    currency = subject.amount.currency
    limit = rules.amount_max.get(currency)
    if limit is None and rules.blocks_unlisted_currency:
        return Finding(
            "currency_not_allowed",
            f"{currency} has no amount limit in the screening rules, and such currencies are blocked.",
            f"筛查规则未设置 {currency} 限额，该币种不允许付款。",
        )
    if limit is None or subject.amount.minor_units <= limit:
        return None
    return Finding(
        "amount_over_limit",
        f"{readable(subject.amount)} is above the limit of {readable(Money(currency, limit))} for one payment; split it or ask risk control.",
        f"金额 {readable(subject.amount)} 超过单笔限额 {readable(Money(currency, limit))}，请拆分或联系风控。",
    )


_RULES: tuple[Callable[[ScreeningSubject, ScreeningRules], Finding | None], ...] = (
    creditor_is_debtor,
    blocked_creditor,
    amount_over_limit,
)


def find_block(subject: ScreeningSubject, rules: ScreeningRules) -> Finding | None:
    """Return what the first blocking rule found, looking at this payment alone."""
    return next((found for rule in _RULES if (found := rule(subject, rules)) is not None), None)


def repeat_key(subject: ScreeningSubject, today: str) -> str:
    """Return what payments to the same creditor account, of the same amount, for the same day have in common.

    A digest, because the store needs no second copy of account numbers. A past or empty execution date is today.
    """
    day = max(subject.execution_date, today)
    return _digest(
        normalise_account(subject.creditor_account), subject.amount.currency, str(subject.amount.minor_units), day
    )


def find_repeat(subject: ScreeningSubject, ordinal: int, rules: ScreeningRules) -> Finding | None:
    """Say whether the `ordinal`-th payment (from 1) of the same repeat key is one too many."""
    if rules.repeats_max == 0 or ordinal <= rules.repeats_max:
        return None
    return Finding(
        POSSIBLE_DUPLICATE,
        f"Payment {subject.end_to_end_id} is number {ordinal} of {readable(subject.amount)} to the same creditor account on one day; "
        "check whether it is meant.",
        f"付款 {subject.end_to_end_id} 是同一收款账户同日第 {ordinal} 笔 {readable(subject.amount)}，请核实是否重复。",
    )


def subject_digest(subject: ScreeningSubject) -> str:
    """Return a digest of the facts a verdict stands on."""
    return _digest(
        subject.debtor_account,
        subject.creditor_account,
        subject.creditor_name,
        subject.amount.currency,
        str(subject.amount.minor_units),
    )


def subject_changed(instruction_id: str) -> Screening:
    """Return the verdict on an instruction that was screened with other facts: somebody changed it on the way."""
    return blocked(
        instruction_id,
        Finding(
            "subject_changed",
            "This instruction was screened before with another account, name or amount; it must not be sent.",
            "该指令此前以不同的账户、户名或金额筛查过，禁止发送。",
        ),
    )


def blocked(instruction_id: str, finding: Finding) -> Screening:
    """Return a blocking verdict."""
    return Screening(instruction_id, Verdict.BLOCK, finding.rule, finding.description, finding.description_zh)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
