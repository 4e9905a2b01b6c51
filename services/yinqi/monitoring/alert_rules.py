"""Alert rules (告警规则): what an event means for the people who watch. Pure tables and functions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from yinqi.monitoring.masking import mask_account
from yinqi.monitoring.model import (
    AlertCause,
    BreakChange,
    Effects,
    EntrySeen,
    NoticeRefused,
    PaymentChange,
    ReconciliationChange,
    Screening,
    ScreeningSubject,
    Severity,
    StatementChecked,
    StopSeen,
    UnknownPayment,
)
from yinqi.monitoring.rules import Finding
from yinqi.monitoring.wording import readable

UNKNOWN = "UNKNOWN"
FINAL_STATUSES = frozenset({"SETTLED", "REJECTED", "RETURNED", "CANCELLED", "BLOCKED", "EXPIRED"})

UNKNOWN_TOO_LONG = "payment_unknown_too_long"
RETURNED = "payment_returned"
REJECTED = "payment_rejected"
BLOCKED = "payment_blocked"
CONTRADICTED = "payment_contradicted"
NEEDS_PERSON = "payment_needs_person"
BREAK_OPENED = "break_opened"
STATEMENT_INCOMPLETE = "statement_incomplete"
ENTRY_REVERSED = "entry_reversed"
NOTICE_REFUSED = "notice_refused"
LAST_DOOR_SHUT = "last_door_shut"
STOP_PULLED = "stop_pulled"
STOP_LIFTED = "stop_lifted"
BANK_KEY_CHANGED = "bank_key_changed"
BANK_KEY_RETIRED = "bank_key_retired"
POLICY_REFUSED = "policy_refused"
CALLER_REFUSED = "caller_refused"


@dataclass(frozen=True, slots=True)
class _PaymentAlert:
    rule: str
    severity: Severity
    happened: str
    happened_zh: str


_BY_STATUS: dict[str, _PaymentAlert] = {
    "RETURNED": _PaymentAlert(RETURNED, Severity.WARNING, "was returned", "被退汇"),
    "REJECTED": _PaymentAlert(REJECTED, Severity.INFO, "was refused by the bank", "被银行拒绝"),
    "BLOCKED": _PaymentAlert(BLOCKED, Severity.WARNING, "was stopped by screening", "被筛查拦截"),
}

# The bank says something that cannot be, e.g. SETTLED after REJECTED; the payment's status stays as it was.
_CONTRADICTION = "CONTRADICTION"
_CONTRADICTED = _PaymentAlert(
    CONTRADICTED,
    Severity.CRITICAL,
    "has two answers of the bank that contradict each other; its status stays. Look at its journal and ask the bank",
    "的银行答复前后矛盾，状态保持不变，请查看流转记录并联系银行",
)

# The payment service can prove neither that the money left nor that it did not (its people's queue).
_DOUBTED = "NEEDS_PERSON"
_NEEDS_PERSON = _PaymentAlert(
    NEEDS_PERSON,
    Severity.CRITICAL,
    "cannot be proved settled or failed; two people must decide. See `yinqi doubts show` with its id",
    "无法证明已付或未付，须由两人处理，请用 `yinqi doubts show` 加业务参考号查看",
)

_BREAK_REASONS: dict[str, tuple[str, str]] = {
    "BANK_DEBIT_NOT_IN_BOOKS": ("the bank took money that our books do not know", "银行已付企业未付"),
    "BANK_CREDIT_NOT_IN_BOOKS": ("the bank received money that our books do not know", "银行已收企业未收"),
    "BOOK_DEBIT_NOT_AT_BANK": ("our books paid, the statement does not show it", "企业已付银行未付"),
    "BOOK_CREDIT_NOT_AT_BANK": ("our books received, the statement does not show it", "企业已收银行未收"),
    "AMOUNT_DIFFERS": ("same reference, other amount", "金额不符"),
    "AMBIGUOUS": ("several candidates, none chosen", "多笔候选，无法自动勾对"),
    "STATEMENT_INCOMPLETE": ("the statement is incomplete or does not add up", "对账单不完整或余额不平"),
}
_BREAK_ENDS = frozenset({"break.resolved", "break.cleared"})


def effects_of_payments(changes: Iterable[PaymentChange]) -> Effects:
    """Raise what a status or a contradiction calls for; a final status ends the wait for an answer."""
    effects = Effects()
    for change in changes:
        if change.reason_code == _CONTRADICTION:
            effects.raised.append(_payment_cause(change, _CONTRADICTED))
        elif change.reason_code == _DOUBTED:
            effects.raised.append(_payment_cause(change, _NEEDS_PERSON))
        elif (alert := _BY_STATUS.get(change.status)) is not None:
            effects.raised.append(_payment_cause(change, alert))
        if change.status in FINAL_STATUSES:
            effects.closed.append((UNKNOWN_TOO_LONG, change.instruction_id))
            effects.closed.append((NEEDS_PERSON, change.instruction_id))
    return effects


def _payment_cause(change: PaymentChange, alert: _PaymentAlert) -> AlertCause:
    code = f" ({change.reason_code})" if change.reason_code else ""
    code_zh = f"（{change.reason_code}）" if change.reason_code else ""
    return AlertCause(
        alert.rule,
        alert.severity,
        change.instruction_id,
        f"Payment {change.end_to_end_id} of {readable(change.amount)} {alert.happened}{code}.",
        f"付款 {change.end_to_end_id}（{readable(change.amount)}）{alert.happened_zh}{code_zh}。",
        change.traceparent,
    )


def waiting_after(changes: Sequence[PaymentChange]) -> tuple[set[str], list[UnknownPayment]]:
    """Return (payments that left UNKNOWN at some point, payments that are UNKNOWN at the end and since when).

    Args:
        changes: in feed order. A payment that is told UNKNOWN again has been waiting since the first time.
    """
    left: set[str] = set()
    waiting: dict[str, UnknownPayment] = {}
    for change in changes:
        if change.status != UNKNOWN:
            left.add(change.instruction_id)
            waiting.pop(change.instruction_id, None)
        elif change.instruction_id not in waiting:
            waiting[change.instruction_id] = UnknownPayment(
                change.instruction_id, change.end_to_end_id, change.amount, change.occurred_at, change.traceparent
            )
    return left, list(waiting.values())


def unknown_too_long(payment: UnknownPayment, now: datetime) -> AlertCause:
    """Nobody can say whether the money moved, for longer than the limit."""
    waited_s = int((now - payment.since).total_seconds())
    return AlertCause(
        UNKNOWN_TOO_LONG,
        Severity.CRITICAL,
        payment.instruction_id,
        f"Payment {payment.end_to_end_id} of {readable(payment.amount)} has been UNKNOWN for {waited_s} s; money may have moved. "
        "It is being queried and is not sent again. Ask the bank if this goes on.",
        f"付款 {payment.end_to_end_id}（{readable(payment.amount)}）状态未知已 {waited_s} 秒，资金可能已划出；"
        "系统持续查询且不会重发，如持续未明请联系银行。",
        payment.traceparent,
    )


def effects_of_reconciliations(changes: Sequence[ReconciliationChange]) -> Effects:
    """Raise on every opened break and every incomplete statement; whatever ends them ends their alerts."""
    effects = Effects()
    for change in changes:
        if isinstance(change, BreakChange) and change.type == "break.opened":
            effects.raised.append(_break_cause(change))
        elif isinstance(change, BreakChange) and change.type in _BREAK_ENDS:
            effects.closed.append((BREAK_OPENED, change.break_id))
    # Runs of a day repeat: the last one of the batch is what holds.
    last_runs = {_day_key(run): run for run in changes if isinstance(run, StatementChecked)}
    effects.raised.extend(_incomplete_cause(key, run) for key, run in last_runs.items() if not run.is_complete)
    effects.closed.extend((STATEMENT_INCOMPLETE, key) for key, run in last_runs.items() if run.is_complete)
    return effects


def _break_cause(change: BreakChange) -> AlertCause:
    why, why_zh = _BREAK_REASONS.get(change.reason, (change.reason.lower(), change.reason))
    account = mask_account(change.account)
    direction, direction_zh = ("debit", "支出") if change.is_debit else ("credit", "收入")
    return AlertCause(
        BREAK_OPENED,
        Severity.WARNING,
        change.break_id,
        f"Reconciliation of {account} on {change.date}: {why}, {direction} {readable(change.amount)}.",
        f"账户 {account} {change.date} 对账差异：{why_zh}，{direction_zh} {readable(change.amount)}。",
    )


def _day_key(run: StatementChecked) -> str:
    """Return a subject for an account's day that does not spell the account."""
    return f"{run.date}/{hashlib.sha256(run.account.encode()).hexdigest()[:16]}"


def _incomplete_cause(key: str, run: StatementChecked) -> AlertCause:
    account = mask_account(run.account)
    return AlertCause(
        STATEMENT_INCOMPLETE,
        Severity.WARNING,
        key,
        f"The statement of {account} for {run.date} is incomplete or does not add up; fetch it again.",
        f"账户 {account} {run.date} 的对账单不完整或余额不平，请重新获取。",
    )


def effects_of_entries(entries: Iterable[EntrySeen]) -> Effects:
    """Raise on every reversal (冲正): the bank took back what it had booked."""
    return Effects(raised=[_reversal_cause(entry) for entry in entries if entry.is_reversal])


def _reversal_cause(entry: EntrySeen) -> AlertCause:
    account = mask_account(entry.account)
    return AlertCause(
        ENTRY_REVERSED,
        Severity.WARNING,
        entry.instruction_id or f"{entry.booking_date}/{entry.account_servicer_reference}",
        f"The bank reversed an entry of {readable(entry.amount)} on account {account}, booked {entry.booking_date}.",
        f"银行冲正账户 {account} 的一笔 {readable(entry.amount)} 交易，记账日 {entry.booking_date}。",
        entry.traceparent,
    )


def cause_of_block(subject: ScreeningSubject, screening: Screening) -> AlertCause:
    """A screening rule stopped a payment."""
    return AlertCause(
        BLOCKED,
        Severity.WARNING,
        subject.instruction_id,
        f"Payment {subject.end_to_end_id} was stopped by rule {screening.rule}: {screening.description}",
        f"付款 {subject.end_to_end_id} 被规则 {screening.rule} 拦截：{screening.description_zh}",
        subject.traceparent,
    )


def cause_of_finding(subject: ScreeningSubject, finding: Finding) -> AlertCause:
    """A screening rule noticed something that does not stop the payment."""
    return AlertCause(
        finding.rule,
        Severity.INFO,
        subject.instruction_id,
        finding.description,
        finding.description_zh,
        subject.traceparent,
    )


# Signed by the bank, yet at odds with our records: the bank must explain it. All others are strangers at the door.
_NOTICES_AT_ODDS = frozenset({"CONTENT_DIFFERS", "PAYMENT_UNKNOWN", "RECORD_MALFORMED", "RECORD_MISMATCH"})


def effects_of_notices(notices: Iterable[NoticeRefused | StopSeen]) -> Effects:
    """Raise on every refused notice, once an hour per bank and reason: a flood is one alert; and on every stop.

    What the last door holds back is told once an hour per payment and reason: each attempt on another one is an alert.
    """
    effects = Effects()
    for notice in notices:
        if isinstance(notice, NoticeRefused):
            effects.raised.append(_notice_cause(notice))
            continue
        effects.raised.append(_stop_cause(notice))
        if notice.lifted_by:
            effects.closed.append((STOP_PULLED, notice.stop_id))
    return effects


_SCOPES = {
    "HOUSE": ("all payments", "全部付款"),
    "BANK": ("payments through bank {}", "银行 {} 的付款"),
    "COMPANY": ("payments of {}", "{} 的付款"),
    "ACCOUNT": ("payments from account {}", "账户 {} 的付款"),
}


def _stop_cause(stop: StopSeen) -> AlertCause:
    name = mask_account(stop.name) if stop.kind == "ACCOUNT" else stop.name
    what, what_zh = (words.format(name) for words in _SCOPES[stop.kind])
    if stop.lifted_by:
        people, people_zh = " and ".join(stop.lifted_by), "、".join(stop.lifted_by)
        return AlertCause(
            STOP_LIFTED,
            Severity.WARNING,
            stop.stop_id,
            f"The stop of {what} was lifted by {people}; what waited goes out by itself.",
            f"{what_zh}的止付已由 {people_zh} 解除，等待中的付款将自动继续。",
            "",
        )
    return AlertCause(
        STOP_PULLED,
        Severity.CRITICAL,
        stop.stop_id,
        f"{stop.pulled_by} stopped {what}: {stop.reason}. What was not sent waits; what is at the bank is followed to its "
        f"end. Two people lift it: `yinqi stop lift {stop.stop_id}`.",
        f"{stop.pulled_by} 已止付{what_zh}：{stop.reason}。未发送的付款等待，已到银行的继续跟踪；"
        f"须由两人解除：`yinqi stop lift {stop.stop_id}`。",
        "",
    )


def _notice_cause(notice: NoticeRefused) -> AlertCause:
    if notice.reason.startswith("LAST_DOOR_"):
        return _last_door_cause(notice)
    if notice.reason.startswith(_CALLER_PREFIX):
        return _caller_cause(notice)
    if notice.reason in _KEY_CHANGES:
        return _key_changed_cause(notice)
    if notice.reason == "BANK_KEY_RETIRED":
        return _key_retired_cause(notice)
    is_at_odds = notice.reason in _NOTICES_AT_ODDS
    what = "does not fit our records" if is_at_odds else "may be forged or replayed"
    what_zh = "与本方记录不符" if is_at_odds else "疑似伪造或重放"
    return AlertCause(
        NOTICE_REFUSED,
        Severity.CRITICAL,
        f"{notice.bank_profile}/{notice.reason}/{notice.occurred_at:%Y-%m-%dT%H}",
        f"A notice at the door of bank {notice.bank_profile} {what} ({notice.reason}). It changed nothing. "
        f"Its bytes are in the gateway's archive: {notice.archive_id}. Ask the bank, and look at who can reach the door.",
        f"银行 {notice.bank_profile} 的一条通知{what_zh}（{notice.reason}），未产生任何变更；"
        f"原文存档号 {notice.archive_id}，请联系银行并检查通知入口的访问来源。",
        "",
    )


_CALLER_PREFIX = "CALLER_REFUSED_"
_KEY_CHANGES: dict[str, tuple[str, str]] = {
    "KEY_STAGED": ("was brought in; it is not in use", "已登记新密钥，尚未启用"),
    "KEY_ACTIVATION_ASKED": ("is to be activated; a second person must confirm", "已申请启用，待第二人确认"),
    "KEY_ACTIVATED": ("was activated by two people", "已由两人启用"),
    "KEY_RETIRED": ("was retired", "已停用"),
}


def _key_changed_cause(notice: NoticeRefused) -> AlertCause:
    words, words_zh = _KEY_CHANGES[notice.reason]
    return AlertCause(
        BANK_KEY_CHANGED,
        Severity.WARNING,
        f"{notice.bank_profile}/{notice.reason}/{notice.occurred_at:%Y-%m-%dT%H:%M:%S}",
        f"A key of bank {notice.bank_profile} {words}. `yinqi keys list` names the people. If nobody knows of it, stop: "
        "retire the staged key, or activate another one without overlap.",
        f"银行 {notice.bank_profile} 的密钥变更：{words_zh}。经办人见 `yinqi keys list`；如无人知情，请立即停用该密钥。",
        "",
    )


def _key_retired_cause(notice: NoticeRefused) -> AlertCause:
    return AlertCause(
        BANK_KEY_RETIRED,
        Severity.CRITICAL,
        f"{notice.bank_profile}/{notice.reason}/{notice.occurred_at:%Y-%m-%dT%H}",
        f"A message of bank {notice.bank_profile} is signed with a key of the bank that is retired here. It was not believed; "
        "payments in it stay UNKNOWN and are queried. Ask the bank which key it uses: either it has not changed over, or "
        f"somebody has its old key. The gateway's archive: {notice.archive_id}.",
        f"银行 {notice.bank_profile} 的报文使用了已停用的银行密钥签名，未予采信，相关付款保持未知并继续查询；请联系银行核实（存档号 {notice.archive_id}）。",
        "",
    )


def _last_door_cause(notice: NoticeRefused) -> AlertCause:
    reason = notice.reason.removeprefix("LAST_DOOR_")
    if reason == "POLICY_REFUSED":
        return _policy_cause(notice)
    return AlertCause(
        LAST_DOOR_SHUT,
        Severity.CRITICAL,
        f"{notice.bank_profile}/{notice.reason}/{notice.number}/{notice.occurred_at:%Y-%m-%dT%H}",
        f"The gateway was asked to send payments to bank {notice.bank_profile} that lack what the policy asks ({reason}); "
        f"one of them is {notice.number}. Nothing was sent. If approvals are missing, ask the approvers; anything else means that the payment service or "
        "its database may have been changed: find out by whom before more is released.",
        f"前置机收到发往银行 {notice.bank_profile} 的付款（如 {notice.number}），但不符合审批策略（{reason}），均未发送；如非缺少审批，付款服务或其数据库可能被篡改，请立即核查。",
        "",
    )


def _caller_cause(notice: NoticeRefused) -> AlertCause:
    method = notice.reason.removeprefix(_CALLER_PREFIX)
    return AlertCause(
        CALLER_REFUSED,
        Severity.CRITICAL if notice.number.startswith("service ") else Severity.WARNING,
        f"{notice.number}/{method}/{notice.occurred_at:%Y-%m-%dT%H}",
        f"{notice.number} called {method} at the gateway, which its role does not allow. It was refused, nothing happened. "
        "A service never asks for that by itself: its certificate may be in other hands; renew it, revoke the old one, and "
        "find out who called. A person or client may have the wrong roles.",
        f"{notice.number} 越权调用前置机接口 {method}，已拒绝，未产生任何影响；服务自身不会如此，证书可能已泄露，请更换、吊销并核查来源；"
        "人员或客户端请核对其角色。",
        "",
    )


def _policy_cause(notice: NoticeRefused) -> AlertCause:
    return AlertCause(
        POLICY_REFUSED,
        Severity.CRITICAL,
        f"{notice.reason}/{notice.occurred_at:%Y-%m-%dT%H:%M}",
        "The approval policy in the gateway's folder was changed to one that cannot be used: an older version, without two "
        "people's signatures, or wrong. The old one stays in force; the gateway's log names the fault. If nobody of yours "
        "changed it, find out who did.",
        "前置机的审批策略文件已变更但不可用（版本倒退、签名不足或内容有误），原策略继续有效；详见前置机日志。如非本方人员操作，请立即核查。",
        "",
    )
