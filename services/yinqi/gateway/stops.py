"""Stops (止付): what must not leave for a bank, who may say so, and who may take it back. Functions of values."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from yinqi.kernel.errors import FieldViolation, InvalidRequest, NotFound

if TYPE_CHECKING:
    from yinqi.gateway.model import BankAccount

STOPPED = "STOPPED"  # the reason of a payment that is held back
STOP_NOTICE = "STOP"  # the type of an event that tells of a stop in the feed of notices
REASON_CHARACTERS_MAX = 280
_PERSON_CHARACTERS_MAX = 100
_MASKED_SHOWN = 4


class ScopeKind(enum.StrEnum):
    """How much a stop holds back."""

    HOUSE = "HOUSE"
    BANK = "BANK"
    COMPANY = "COMPANY"
    ACCOUNT = "ACCOUNT"


_WORDS = {
    ScopeKind.HOUSE: ("all payments", "全部付款"),
    ScopeKind.BANK: ("bank {}", "银行 {}"),
    ScopeKind.COMPANY: ("company {}", "企业 {}"),
    ScopeKind.ACCOUNT: ("account {}", "账户 {}"),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a stop is about. `name`: of the bank profile or the company, or the account's number; "" for the house."""

    kind: ScopeKind
    name: str = ""

    def covers(self, account: BankAccount) -> bool:
        """Return whether payments from the account are held back."""
        if self.kind is ScopeKind.HOUSE:
            return True
        names = {
            ScopeKind.BANK: account.profile,
            ScopeKind.COMPANY: account.company,
            ScopeKind.ACCOUNT: account.identification,
        }
        return names[self.kind] == self.name

    def words(self) -> tuple[str, str]:
        """Return how people call it, in English and Chinese, the account's number masked."""
        is_account = self.kind is ScopeKind.ACCOUNT
        shown = f"****{self.name[-_MASKED_SHOWN:]}" if is_account else self.name
        english, chinese = _WORDS[self.kind]
        return english.format(shown), chinese.format(shown)


@dataclass(frozen=True, slots=True)
class Word:
    """What one person said, when, and why."""

    person: str
    at: datetime
    reason: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.person) <= _PERSON_CHARACTERS_MAX:
            raise _invalid("person", "PERSON_INVALID", "the caller has no name", "调用者没有名称")
        is_readable = self.reason.strip() and self.reason.isprintable()
        if not is_readable or len(self.reason) > REASON_CHARACTERS_MAX:
            raise _invalid(
                "reason",
                "REASON_INVALID",
                f"say why in 1 to {REASON_CHARACTERS_MAX} characters on one line",
                f"请用一行文字说明原因，1 至 {REASON_CHARACTERS_MAX} 字",
            )


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop, pulled by one person.

    Attributes:
        lift_asked: the first word for lifting it; None: nobody asked, or the asking was withdrawn.
        lifted: the second word; with it the stop holds nothing back any more.
    """

    stop_id: str
    scope: Scope
    pulled: Word
    lift_asked: Word | None = None
    lifted: Word | None = None

    @property
    def is_active(self) -> bool:
        """Whether it holds payments back."""
        return self.lifted is None


class StopEventType(enum.StrEnum):
    """What happened to a stop; the journal's words."""

    PULLED = "stop.pulled"
    LIFT_ASKED = "stop.lift_asked"
    LIFT_WITHDRAWN = "stop.lift_withdrawn"
    LIFTED = "stop.lifted"


@dataclass(frozen=True, slots=True)
class StopChange:
    """A stop after somebody's word. `type`: what it did; None: the same was said before, nothing changed."""

    stop: Stop
    type: StopEventType | None


def pull(active: Stop | None, scope: Scope, word: Word, stop_id: str) -> StopChange:
    """Return the stop of a scope once a person has pulled it.

    Pulling again changes nothing, but a new word against payments takes back an asking to lift: one person is always
    enough to keep a stop. The very words of before are a repetition and take nothing back.

    Args:
        active: the stop that is in force for this very scope.
    """
    if active is None:
        return StopChange(Stop(stop_id, scope, word), StopEventType.PULLED)
    is_repeated = (word.person, word.reason) == (active.pulled.person, active.pulled.reason)
    if active.lift_asked is None or is_repeated:
        return StopChange(active, None)
    return StopChange(replace(active, lift_asked=None), StopEventType.LIFT_WITHDRAWN)


def lift(stop: Stop, word: Word) -> StopChange:
    """Return the stop after a person's word for lifting it: the first asks, a second person's lifts.

    Who pulled it may be one of the two, never both. The same person again, and any word after the lifting, change nothing.
    """
    if not stop.is_active:
        return StopChange(stop, None)
    if stop.lift_asked is None:
        return StopChange(replace(stop, lift_asked=word), StopEventType.LIFT_ASKED)
    if stop.lift_asked.person == word.person:
        return StopChange(stop, None)
    return StopChange(replace(stop, lifted=word), StopEventType.LIFTED)


def stop_of(account: BankAccount, active: Sequence[Stop]) -> Stop | None:
    """Return a stop that holds payments from the account back, the oldest; None if they may go."""
    return next((stop for stop in active if stop.is_active and stop.scope.covers(account)), None)


def require_known(scope: Scope, accounts: Sequence[BankAccount]) -> None:
    """Return if there is anything a stop of this scope could hold back: a slip of the pen must not look like a stop.

    Raises:
        NotFound: names what there is.
    """
    if scope.kind is ScopeKind.HOUSE or (scope.name and any(map(scope.covers, accounts))):
        return
    raise NotFound(
        "SCOPE_UNKNOWN",
        f"No bank profile knows this {scope.kind.lower()}; nothing was stopped. {_known(scope.kind, accounts)}",
        "银行配置中没有该范围，未设置任何止付，请检查名称。",
    )


def _known(kind: ScopeKind, accounts: Sequence[BankAccount]) -> str:
    if kind is ScopeKind.ACCOUNT:
        return "`yinqi bank show` lists the accounts; or stop the bank or everything."
    names = {one.profile if kind is ScopeKind.BANK else one.company for one in accounts} - {""}
    return f"Known: {', '.join(sorted(names)) or 'none'}."


def held_words(stop: Stop) -> str:
    """Return what a held payment's readers see."""
    english, chinese = stop.scope.words()
    since = f"{stop.pulled.at:%Y-%m-%d %H:%M} UTC"
    return (
        f"{english} stopped by {stop.pulled.person} since {since}: {stop.pulled.reason}. It was not sent, and goes on by "
        f"itself once the stop is lifted 已对{chinese}止付，未发送，解除后自动继续 ({stop.stop_id})"
    )


def _invalid(field: str, reason: str, description: str, description_zh: str) -> InvalidRequest:
    violation = FieldViolation(field, reason, description, description_zh)
    return InvalidRequest(reason, f"{field}: {description}. Nothing was changed.", description_zh, [violation])
