"""Named fakes of the four sister services with a company's ordinary day in them, over real gRPC."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from yinqi.api.common.v1 import money_pb2, party_pb2
from yinqi.api.evidence.v1 import evidence_pb2, evidence_service_pb2, evidence_service_pb2_grpc
from yinqi.api.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc, stop_pb2
from yinqi.api.payment.v1 import doubt_pb2, order_pb2, payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.api.reconciliation.v1 import (
    reconciliation_pb2,
    reconciliation_service_pb2,
    reconciliation_service_pb2_grpc,
)
from yinqi.client import PrivateKey, new_order
from yinqi.orders.evidence import Evidence, evidence_to
from yinqi.orders.line_tree import joined

MAIN_ACCOUNT = "755915678910101"
PAYROLL_ACCOUNT = "755915678910202"
EURO_ACCOUNT = "DE89370400440532013000"
TODAY, YESTERDAY = "2026-11-22", "2026-11-21"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"

_CITIES = "苏州 无锡 昆山 宁波 东莞 佛山 青岛 合肥 成都 武汉".split()
_TRADES = "精密机械 电子元件 包装材料 化工原料 物流 模具 五金制品 自动化设备 检测技术 建筑装饰工程".split()
_STATUSES = (["SETTLED"] * 15 + ["PROCESSING", "REJECTED", "RETURNED", "SCHEDULED", "SUBMITTING"]) * 20
_REASONS = {
    "REJECTED": payment_pb2.StatusReason(code="AC04", proprietary_code="E0123", text="收款账户已销户"),
    "RETURNED": payment_pb2.StatusReason(code="AC01", proprietary_code="R01", text="账号户名不符"),
    "UNKNOWN": payment_pb2.StatusReason(code="NO_ANSWER", text="银行未应答"),
    "BLOCKED": payment_pb2.StatusReason(code="blocked_creditor", text="收款人在黑名单中"),
}
_PATHS = {
    "SCHEDULED": ("RECEIVED", "SCREENED", "SCHEDULED"),
    "SUBMITTING": ("RECEIVED", "SCREENED", "SUBMITTING"),
    "BLOCKED": ("RECEIVED", "BLOCKED"),
    "UNKNOWN": ("RECEIVED", "SCREENED", "SUBMITTING", "UNKNOWN"),
    "RETURNED": ("RECEIVED", "SCREENED", "SUBMITTING", "PROCESSING", "SETTLED", "RETURNED"),
    "REJECTED": ("RECEIVED", "SCREENED", "SUBMITTING", "REJECTED"),
    "SETTLED": ("RECEIVED", "SCREENED", "SUBMITTING", "PROCESSING", "SETTLED"),
    "PROCESSING": ("RECEIVED", "SCREENED", "SUBMITTING", "PROCESSING"),
}


def money(minor_units: int, currency: str = "CNY") -> money_pb2.Money:
    return money_pb2.Money(currency=currency, minor_units=minor_units)


def timestamp(at: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(at)
    return message


def status_number(word: str) -> payment_pb2.PaymentStatus.ValueType:
    return payment_pb2.PaymentStatus.Value(f"PAYMENT_STATUS_{word}")


@dataclass
class Books:
    """The data behind all fakes; `now` is when the day's last payment came in."""

    now: datetime
    payments: list[payment_pb2.Payment] = field(default_factory=list)
    journals: dict[str, list[payment_pb2.PaymentEvent]] = field(default_factory=dict)
    events: list[payment_pb2.PaymentEvent] = field(default_factory=list)
    breaks: list[reconciliation_pb2.Break] = field(default_factory=list)
    approvals: list[payment_service_pb2.GetApprovalResponse] = field(default_factory=list)
    resolved_by: list[tuple[str, str]] = field(default_factory=list)
    stops: list[stop_pb2.Stop] = field(default_factory=list)
    has_no_auditor: bool = False
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def payment_of(self, end_to_end_id: str) -> payment_pb2.Payment:
        return next(p for p in self.payments if p.instruction.end_to_end_id == end_to_end_id)


def ordinary_day(now: datetime) -> Books:
    """Return 402 payments of all kinds, two days reconciled, three breaks."""
    books = Books(now)
    for number, status in enumerate(_STATUSES):
        _add_payment(books, number, status)
    _add_payment(books, 400, "UNKNOWN", name="上海临港特种设备制造有限责任公司长三角区域采购结算中心")
    _add_payment(books, 401, "BLOCKED", name="<b>某黑名单</b>公司")
    books.breaks = [
        _break("BR0001", "BANK_DEBIT_NOT_IN_BOOKS", 1_200, "", "手续费", "招商银行", True),
        _break(
            "BR0002",
            "BOOK_DEBIT_NOT_AT_BANK",
            6_788_00,
            books.payments[7].instruction_id,
            "",
            "苏州五金制品有限公司",
            True,
        ),
        _break("BR0003", "BANK_CREDIT_NOT_IN_BOOKS", 88_800_00, "", "货款 11 月", "宁波海晨贸易有限公司", False),
    ]
    books.approvals = [_waiting_order(books, number) for number in range(21)]
    books.events.sort(key=lambda event: event.occurred_at.ToNanoseconds())
    for sequence, event in enumerate(books.events, start=1):
        event.sequence = sequence
    return books


_ERP = PrivateKey.generate("erp-2026")


def _waiting_order(books: Books, number: int) -> payment_service_pb2.GetApprovalResponse:
    """A signed order of three payments; li.si has approved, a director lacks. The second is wages."""
    lines = []
    for place in range(3):
        line = payment_pb2.PaymentInstruction()
        line.CopyFrom(books.payments[3 * number + place].instruction)
        line.instructed_amount.CopyFrom(money(20_000_000 + 1_000 * number + place))
        line.category_purpose = payment_pb2.CATEGORY_PURPOSE_SALA if number == 1 else payment_pb2.CATEGORY_PURPOSE_SUPP
        lines.append(line)
    new = new_order(f"RUN-20261122-{number:02}", lines, company="华东智造股份有限公司", key=_ERP)
    approval = order_pb2.Approval(
        evidence=evidence_to(Evidence(new.signed, joined(new.leaves))),
        order_digest=new.digest.hex(),
        received_at=timestamp(books.now),
        counts=[order_pb2.ApprovalCount(status=status_number("AWAITING_APPROVAL"), count=3)],
        missing=[order_pb2.MissingApproval(role="director", count=1, people=["wang.wu", "zhao.liu"])],
        maker="erp",
        given=[
            order_pb2.GivenDecision(
                person="li.si",
                decision=order_pb2.DECISION_APPROVE,
                decided_at=timestamp(books.now),
                counts=True,
            )
        ],
        largest_creditor="" if number == 1 else lines[2].creditor.name,
        needs_one_time_code=number == 0,
    )
    return payment_service_pb2.GetApprovalResponse(approval=approval, lines=new.lines)


def _add_payment(books: Books, number: int, status: str, name: str = "") -> None:
    received = books.now - timedelta(seconds=(420 - number) * 2)
    instruction_id = f"YQ{hashlib.sha256(str(number).encode()).hexdigest()[:24].upper()}"
    trace_id = TRACE_ID if number == 0 else hashlib.sha256(f"t{number}".encode()).hexdigest()[:32]
    currency, account = ("EUR", EURO_ACCOUNT) if number % 40 == 39 else ("CNY", MAIN_ACCOUNT)
    order = payment_pb2.PaymentInstruction(
        end_to_end_id=f"INV-202611-{number:05d}",
        debtor=party_pb2.Party(name="华东智造股份有限公司"),
        debtor_account=party_pb2.CashAccount(identification=account, currency=currency),
        creditor=party_pb2.Party(name=name or f"{_CITIES[number % 10]}{_TRADES[(number // 10) % 10]}有限公司"),
        creditor_account=party_pb2.CashAccount(identification=f"62258801{number:08d}91"),
        creditor_agent=party_pb2.Agent(clearing_member_id="308584000013", name="招商银行深圳分行"),
        instructed_amount=money(10_000 + number * 7_919_31, currency),
        requested_execution_date=TODAY,
        category_purpose=payment_pb2.CATEGORY_PURPOSE_SUPP,
        purpose="货款",
        remittance_information=f"发票 {number:05d} 结算 <script>alert(1)</script>"
        if number == 0
        else f"发票 {number:05d} 结算",
        payment_information_id=f"SUPP-20261122-{1 + number // 200:02d}",
    )
    payment = payment_pb2.Payment(
        instruction_id=instruction_id,
        instruction=order,
        status=status_number(status),
        status_reason=_REASONS.get(status),
        received_at=timestamp(received),
        submission_attempts=1,
        traceparent=f"00-{trace_id}-00f067aa0ba902b7-01",
    )
    if status in ("SETTLED", "RETURNED"):
        payment.account_servicer_reference = f"C03{number:09d}"
        payment.settlement_date = YESTERDAY if status == "RETURNED" else TODAY
    if status == "RETURNED":
        payment.return_date = TODAY
    books.payments.append(payment)
    journal = []
    for step, word in enumerate(_PATHS[status]):
        event = payment_pb2.PaymentEvent(
            occurred_at=timestamp(received + timedelta(milliseconds=step * 1_730)),
            type=f"payment.{word.lower()}",
            to_status=status_number(word),
            reason=_REASONS.get(word),
            actor=("erp", "screening", "dispatch", "query", "query", "returns")[step],
            payment=payment,
        )
        journal.append(event)
    books.events.extend(journal)
    books.journals[instruction_id] = journal


def _break(
    break_id: str, reason: str, amount: int, instruction_id: str, text: str, name: str, is_debit: bool
) -> reconciliation_pb2.Break:
    return reconciliation_pb2.Break(
        break_id=break_id,
        account=MAIN_ACCOUNT,
        date=YESTERDAY,
        reason=reconciliation_pb2.BreakReason.Value(f"BREAK_REASON_{reason}"),
        amount=money(amount),
        credit_debit_indicator=account_pb2.CREDIT_DEBIT_INDICATOR_DBIT
        if is_debit
        else account_pb2.CREDIT_DEBIT_INDICATOR_CRDT,
        instruction_id=instruction_id,
        account_servicer_reference="" if instruction_id else f"Z{break_id}",
        counterparty_name=name,
        description=text,
        status=reconciliation_pb2.BREAK_STATUS_OPEN,
    )


class PaymentOfAnOrdinaryDay(payment_service_pb2_grpc.PaymentServiceServicer):
    """Lists, counts and tells 402 payments; follows with their events."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def _found(self, wanted: payment_service_pb2.PaymentFilter) -> list[payment_pb2.Payment]:
        return [
            payment
            for payment in reversed(self._books.payments)
            if (not wanted.statuses or payment.status in wanted.statuses)
            and wanted.creditor_name in payment.instruction.creditor.name
            and wanted.payment_information_id in ("", payment.instruction.payment_information_id)
        ]

    async def ListPayments(self, request: Any, context: Any) -> Any:
        self._books.calls["ListPayments"] += 1
        found, start = self._found(request.filter), int(request.page_token or 0)
        end = start + request.page_size
        return payment_service_pb2.ListPaymentsResponse(
            payments=found[start:end], next_page_token=str(end) if end < len(found) else ""
        )

    async def CountPayments(self, request: Any, context: Any) -> Any:
        self._books.calls["CountPayments"] += 1
        counts: dict[tuple[int, str, str], list[int]] = defaultdict(lambda: [0, 0])
        for payment in self._found(request.filter):
            order = payment.instruction
            key = (payment.status, order.instructed_amount.currency, order.debtor_account.identification)
            counts[key][0] += 1
            counts[key][1] += order.instructed_amount.minor_units
        return payment_service_pb2.CountPaymentsResponse(
            counts=[
                payment_service_pb2.PaymentCount(
                    status=status, currency=currency, count=count, minor_units=total, debtor_account=account
                )
                for (status, currency, account), (count, total) in counts.items()
            ]
        )

    async def GetPayment(self, request: Any, context: Any) -> Any:
        for payment in self._books.payments:
            if request.instruction_id == payment.instruction_id or (
                request.end_to_end_id and request.end_to_end_id == payment.instruction.end_to_end_id
            ):
                return payment_service_pb2.GetPaymentResponse(
                    payment=payment, journal=self._books.journals[payment.instruction_id]
                )
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such payment")
        return None

    def _doubt(self) -> doubt_pb2.Doubt:
        """The one payment that is UNKNOWN; the bank's user may not look."""
        payment = self._books.payment_of("INV-202611-00400")
        return doubt_pb2.Doubt(
            payment=payment,
            reason=doubt_pb2.DOUBT_REASON_QUERIES_EXHAUSTED,
            attempt=1,
            opened_at=timestamp(self._books.now - timedelta(hours=3)),
            evidence=doubt_pb2.AbsenceEvidence(
                queried_at=timestamp(self._books.now),
                archive_id="ARC-77",
                control_reference="YQCONTROL",
                safe_window_ms=30_000,
            ),
            missing_for_permit=["CONTROL_NOT_SEEN"],
            allowed_decisions=[doubt_pb2.DOUBT_DECISION_DECLARE_SETTLED, doubt_pb2.DOUBT_DECISION_DECLARE_FAILED],
            proposal=doubt_pb2.DoubtProposal(
                decision=doubt_pb2.DOUBT_DECISION_DECLARE_FAILED, document_reference="函-2026-17", person="wang.fang"
            ),
            queries=10,
        )

    async def ListDoubts(self, request: Any, context: Any) -> Any:
        return payment_service_pb2.ListDoubtsResponse(doubts=[self._doubt()])

    async def GetDoubt(self, request: Any, context: Any) -> Any:
        return payment_service_pb2.GetDoubtResponse(doubt=self._doubt())

    async def ListApprovals(self, request: Any, context: Any) -> Any:
        start = int(request.page_token or 0)
        end = start + request.page_size
        found = [one.approval for one in self._books.approvals]
        return payment_service_pb2.ListApprovalsResponse(
            approvals=found[start:end], next_page_token=str(end) if end < len(found) else ""
        )

    async def GetApproval(self, request: Any, context: Any) -> Any:
        for one in self._books.approvals:
            if one.approval.order_digest == request.order:
                return one
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
        return None

    async def FollowPayments(self, request: Any, context: Any) -> AsyncIterator[Any]:
        after = request.after_sequence
        while True:
            batch = [event for event in self._books.events if event.sequence > after][:500]
            if batch:
                after = batch[-1].sequence
                yield payment_service_pb2.FollowPaymentsResponse(events=batch)
            await asyncio.sleep(0.05)


class AccountOfAnOrdinaryDay(account_service_pb2_grpc.AccountServiceServicer):
    """Three accounts, their balances, postings and statement entries."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def ListAccounts(self, request: Any, context: Any) -> Any:
        return account_service_pb2.ListAccountsResponse(
            accounts=[
                account_pb2.Account(identification=MAIN_ACCOUNT, currency="CNY", name="结算基本户", bank_profile="cdc"),
                account_pb2.Account(
                    identification=PAYROLL_ACCOUNT, currency="CNY", name="代发工资户", bank_profile="cdc"
                ),
                account_pb2.Account(identification=EURO_ACCOUNT, currency="EUR", name="Euro account"),
            ]
        )

    async def GetBalances(self, request: Any, context: Any) -> Any:
        as_of = timestamp(self._books.now)
        return account_service_pb2.GetBalancesResponse(
            balances=[
                account_pb2.Balance(
                    account=MAIN_ACCOUNT,
                    ledger_balance=money(128_456_789_00),
                    held_balance=money(2_345_600_00),
                    ledger_available_balance=money(126_111_189_00),
                    bank_booked_balance=money(128_455_589_00),
                    bank_available_balance=money(128_455_589_00),
                    bank_as_of=as_of,
                ),
                account_pb2.Balance(
                    account=PAYROLL_ACCOUNT,
                    ledger_balance=money(6_000_000_00),
                    held_balance=money(0),
                    ledger_available_balance=money(6_000_000_00),
                    bank_booked_balance=money(6_000_000_00),
                    bank_available_balance=money(6_000_000_00),
                    bank_as_of=as_of,
                ),
                account_pb2.Balance(account=EURO_ACCOUNT, ledger_balance=money(350_000_00, "EUR")),
            ]
        )

    async def ListPostings(self, request: Any, context: Any) -> Any:
        payment = next((p for p in self._books.payments if p.instruction_id == request.instruction_id), None)
        if payment is None or payment_pb2.PaymentStatus.Name(payment.status)[15:] not in ("SETTLED", "RETURNED"):
            return account_service_pb2.ListPostingsResponse()
        amount, account = payment.instruction.instructed_amount, payment.instruction.debtor_account.identification
        postings = []
        for kind, debit, credit in (
            ("hold", f"bank:{account}:held", f"bank:{account}:available"),
            ("settlement", f"payables:{account}", f"bank:{account}:held"),
        ):
            for ledger_account, sign in ((debit, 1), (credit, -1)):
                postings.append(
                    account_pb2.LedgerPosting(
                        transaction_id=f"{payment.instruction_id}/{kind}",
                        ledger_account=ledger_account,
                        amount=money(sign * amount.minor_units, amount.currency),
                        booking_date=TODAY,
                        kind=kind,
                        instruction_id=payment.instruction_id,
                    )
                )
        return account_service_pb2.ListPostingsResponse(postings=postings)

    async def ListEntries(self, request: Any, context: Any) -> Any:
        entries = [
            account_pb2.StatementEntry(
                sequence=number,
                account=payment.instruction.debtor_account.identification,
                account_servicer_reference=payment.account_servicer_reference,
                instruction_id=payment.instruction_id,
                amount=payment.instruction.instructed_amount,
                credit_debit_indicator=account_pb2.CREDIT_DEBIT_INDICATOR_DBIT,
                booking_date=payment.settlement_date,
                counterparty_name=payment.instruction.creditor.name,
                remittance_information=payment.instruction.remittance_information,
                source="cdc",
            )
            for number, payment in enumerate(self._books.payments)
            if payment.account_servicer_reference
            and request.instruction_id in ("", payment.instruction_id)
            and request.account in ("", payment.instruction.debtor_account.identification)
        ]
        start = int(request.page_token or 0)
        end = start + request.page_size
        return account_service_pb2.ListEntriesResponse(
            entries=entries[start:end], next_page_token=str(end) if end < len(entries) else ""
        )

    async def FollowEntries(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield account_service_pb2.FollowEntriesResponse()


class ReconciliationOfTwoDays(reconciliation_service_pb2_grpc.ReconciliationServiceServicer):
    """Yesterday adds up with three breaks; today is still incomplete."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def _run(self, date: str) -> reconciliation_pb2.Reconciliation:
        is_final = date == YESTERDAY
        adjustment = reconciliation_pb2.BalanceAdjustment(
            bank_balance=money(128_455_589_00),
            book_credits_not_at_bank=money(0),
            book_debits_not_at_bank=money(6_788_00),
            adjusted_bank_balance=money(128_448_801_00),
            book_balance=money(128_360_013_00),
            bank_credits_not_in_books=money(88_800_00),
            bank_debits_not_in_books=money(12_00),
            adjusted_book_balance=money(128_448_801_00),
            is_balanced=is_final,
        )
        return reconciliation_pb2.Reconciliation(
            run_id=f"RN{date}",
            account=MAIN_ACCOUNT,
            date=date,
            ran_at=timestamp(self._books.now),
            booking_count=390,
            entry_count=391,
            match_count=388,
            break_count=sum(b.date == date and b.status == 1 for b in self._books.breaks),
            is_statement_complete=is_final,
            balance_adjustment=adjustment,
            reference_match_count=385,
            amount_match_count=3,
        )

    async def ListReconciliations(self, request: Any, context: Any) -> Any:
        return reconciliation_service_pb2.ListReconciliationsResponse(
            reconciliations=[self._run(TODAY), self._run(YESTERDAY)]
        )

    async def GetReconciliation(self, request: Any, context: Any) -> Any:
        if request.date not in (TODAY, YESTERDAY):
            await context.abort(grpc.StatusCode.NOT_FOUND, "that day was not reconciled")
        run = self._run(request.date)
        run.breaks.extend(b for b in self._books.breaks if b.date == request.date)
        if request.include_matches:
            run.matches.extend(
                reconciliation_pb2.Match(
                    rule=reconciliation_pb2.MATCH_RULE_REFERENCE,
                    instruction_id=payment.instruction_id,
                    account_servicer_reference=payment.account_servicer_reference,
                    amount=payment.instruction.instructed_amount,
                )
                for payment in self._books.payments
                if payment.settlement_date == request.date
            )
        return reconciliation_service_pb2.GetReconciliationResponse(reconciliation=run)

    async def ListBreaks(self, request: Any, context: Any) -> Any:
        found = [b for b in self._books.breaks if request.status in (0, b.status)]
        return reconciliation_service_pb2.ListBreaksResponse(breaks=found)

    async def ResolveBreak(self, request: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        for found in self._books.breaks:
            if found.break_id == request.break_id:
                found.status = reconciliation_pb2.BREAK_STATUS_RESOLVED
                found.resolved_by = metadata["x-yinqi-identity"]
                found.resolution = request.resolution
                self._books.resolved_by.append((found.resolved_by, metadata["x-yinqi-roles"]))
                return reconciliation_service_pb2.ResolveBreakResponse(reconciliation_break=found)
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such break")
        return None

    async def FollowReconciliations(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.after_sequence < len(self._books.breaks):
            yield reconciliation_service_pb2.FollowReconciliationsResponse(
                events=[
                    reconciliation_pb2.ReconciliationEvent(
                        sequence=sequence,
                        type="break.opened",
                        occurred_at=timestamp(self._books.now),
                        reconciliation_break=found,
                    )
                    for sequence, found in enumerate(self._books.breaks, start=1)
                    if sequence > request.after_sequence
                ]
            )
        await asyncio.Event().wait()


class GatewayWithAnArchive(gateway_service_pb2_grpc.GatewayServiceServicer):
    """Two messages per payment: sent, and received and verified."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def ListStops(self, request: Any, context: Any) -> Any:
        wanted = [one for one in self._books.stops if request.include_lifted or not one.HasField("lifted")]
        return stop_pb2.ListStopsResponse(stops=wanted)

    async def FollowNotices(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """This bank never calls."""
        await asyncio.Event().wait()
        yield gateway_service_pb2.FollowNoticesResponse()

    async def ListMessages(self, request: Any, context: Any) -> Any:
        at = self._books.now.isoformat(timespec="milliseconds")
        sent = gateway_service_pb2.ArchivedMessage(
            archive_id="A1",
            bank_profile="cdc",
            direction=gateway_service_pb2.MESSAGE_DIRECTION_SENT,
            function="BB1PAYBH",
            recorded_at=at,
            size_bytes=1_432,
            digest=hashlib.sha256(b"sent").hexdigest(),
        )
        received = gateway_service_pb2.ArchivedMessage(
            archive_id="A2",
            bank_profile="cdc",
            direction=gateway_service_pb2.MESSAGE_DIRECTION_RECEIVED,
            function="BB1PAYBH",
            recorded_at=at,
            size_bytes=612,
            digest=hashlib.sha256(b"received").hexdigest(),
            is_verified=True,
        )
        lost = gateway_service_pb2.ArchivedMessage(
            archive_id="A3",
            bank_profile="cdc",
            direction=gateway_service_pb2.MESSAGE_DIRECTION_RECEIVED,
            function="BB1PAYQR",
            recorded_at=at,
            failure="NO_ANSWER",
        )
        return gateway_service_pb2.ListMessagesResponse(messages=[sent, received, lost])


class EvidenceForAuditors(evidence_service_pb2_grpc.EvidenceServiceServicer):
    """Gives one line of each service, to those who come as auditors."""

    def __init__(self, books: Books, service: str) -> None:
        self._books = books
        self._service = service

    async def CollectEvidence(self, request: Any, context: Any) -> Any:
        roles = str(dict(context.invocation_metadata()).get("x-yinqi-roles", "")).split(",")
        if "auditor" not in roles or self._books.has_no_auditor:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "needs one of these roles: auditor")
        (subject,) = request.subjects
        for payment in self._books.payments:
            ids = (payment.instruction_id, payment.instruction.end_to_end_id)
            if subject.instruction_id == ids[0] or subject.end_to_end_id == ids[1]:
                head = f'{{"kind":"part","service":"{self._service}"}}'.encode()
                part = evidence_pb2.EvidencePart(instruction_id=ids[0], end_to_end_id=ids[1], head=head)
                return evidence_service_pb2.CollectEvidenceResponse(parts=[part])
        return await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such payment")


class FakeSisters:
    """The four fakes, each behind its own port, in a thread with an event loop of its own."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.ports: dict[str, int] = {}
        self._servers: dict[str, grpc.aio.Server] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._start_all())

    def _run(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(10)

    async def _start_all(self) -> None:
        for service in ("payment", "account", "reconciliation", "gateway"):
            await self._start(service, 0)

    async def _start(self, service: str, port: int) -> None:
        add, servicer = {
            "payment": (
                payment_service_pb2_grpc.add_PaymentServiceServicer_to_server,
                PaymentOfAnOrdinaryDay(self.books),
            ),
            "account": (
                account_service_pb2_grpc.add_AccountServiceServicer_to_server,
                AccountOfAnOrdinaryDay(self.books),
            ),
            "reconciliation": (
                reconciliation_service_pb2_grpc.add_ReconciliationServiceServicer_to_server,
                ReconciliationOfTwoDays(self.books),
            ),
            "gateway": (
                gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server,
                GatewayWithAnArchive(self.books),
            ),
        }[service]
        server = grpc.aio.server()
        add(servicer, server)  # type: ignore[operator]
        evidence_service_pb2_grpc.add_EvidenceServiceServicer_to_server(
            EvidenceForAuditors(self.books, service), server
        )
        self.ports[service] = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        self._servers[service] = server

    def stop(self, service: str) -> None:
        """Take one sister away."""
        self._run(self._servers[service].stop(None))

    def start(self, service: str) -> None:
        """Bring it back on its port."""
        self._run(self._start(service, self.ports[service]))

    def close(self) -> None:
        async def stop_all() -> None:
            await asyncio.gather(*(server.stop(None) for server in self._servers.values()))

        self._run(stop_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


@contextmanager
def fake_sisters() -> Iterator[FakeSisters]:
    """Serve an ordinary day that ends now."""
    sisters = FakeSisters(ordinary_day(datetime.now(UTC).replace(microsecond=0)))  # noqa: TID251
    try:
        yield sisters
    finally:
        sisters.close()
