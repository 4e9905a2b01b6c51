"""Hand a file's payable lines to the payment service, and account for each line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from yinqi.api.common.v1 import money_pb2, party_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.intake.line import AccountText, AgentText, PaymentFile, PaymentLine

LINES_PER_CALL = 1_000
CALL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """One line that is not paid, whoever refused it: the file's own checks or the service."""

    line: int
    end_to_end_id: str
    field: str
    reason: str
    message: str
    message_zh: str
    allowed: str = ""


@dataclass(slots=True)
class Handover:
    """What became of a file; each line is in exactly one of recorded, already_recorded and refused."""

    file: PaymentFile
    recorded: int = 0
    already_recorded: int = 0
    refused: list[Refusal] = field(default_factory=list)
    end_to_end_ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.refused += [
            Refusal(r.line, r.end_to_end_id, r.field, r.reason, r.message, r.message_zh, r.allowed)
            for r in self.file.refused
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the handover for machines."""
        return {
            "file": self.file.name,
            "format": str(self.file.format),
            "sha256": self.file.sha256,
            "lines": self.file.count,
            "recorded": self.recorded,
            "already_recorded": self.already_recorded,
            "refused": [asdict(refusal) for refusal in self.refused],
        }


Outcomes = Sequence[payment_service_pb2.InitiationOutcome]
Initiate = Callable[[Sequence[payment_pb2.PaymentInstruction]], Awaitable[Outcomes]]
"""Hands payments in, returns an outcome for each, in order."""


def unsigned(stub: payment_service_pb2_grpc.PaymentServiceAsyncStub) -> Initiate:
    """Return the way for callers that do not sign."""

    async def initiate(instructions: Sequence[payment_pb2.PaymentInstruction]) -> Outcomes:
        request = payment_service_pb2.InitiatePaymentsRequest(instructions=instructions)
        return (await stub.InitiatePayments(request, timeout=CALL_TIMEOUT_S)).outcomes

    return initiate


async def hand_over(
    handover: Handover, initiate: Initiate, on_progress: Callable[[int], None] = lambda _lines: None
) -> None:
    """Send the payable lines in calls of LINES_PER_CALL. Repeating it is safe: every line keeps its end_to_end_id.

    Raises:
        grpc.aio.AioRpcError: a call failed; lines of earlier calls are recorded, hand the same file in again.
    """
    for lines in _chunks(handover.file.lines):
        outcomes = await initiate([to_instruction(line) for line in lines])
        for line, outcome in zip(lines, outcomes, strict=True):
            _record(handover, line, outcome)
        on_progress(len(lines))


def _chunks(lines: Sequence[PaymentLine]) -> Iterator[Sequence[PaymentLine]]:
    for start in range(0, len(lines), LINES_PER_CALL):
        yield lines[start : start + LINES_PER_CALL]


def _record(handover: Handover, line: PaymentLine, outcome: payment_service_pb2.InitiationOutcome) -> None:
    if outcome.result == payment_service_pb2.INITIATION_RESULT_REFUSED:
        handover.refused.append(_refusal(line, outcome))
        return
    handover.end_to_end_ids.append(line.end_to_end_id)
    if outcome.result == payment_service_pb2.INITIATION_RESULT_RECORDED:
        handover.recorded += 1
    else:
        handover.already_recorded += 1


def _refusal(line: PaymentLine, outcome: payment_service_pb2.InitiationOutcome) -> Refusal:
    error = outcome.error
    if not error.violations:
        return Refusal(line.line, line.end_to_end_id, "", error.reason, error.message, error.message_zh)
    first = error.violations[0]
    return Refusal(line.line, line.end_to_end_id, first.field, first.reason, first.description, first.description_zh)


def to_instruction(line: PaymentLine) -> payment_pb2.PaymentInstruction:
    """Return the API's instruction of a line."""
    return payment_pb2.PaymentInstruction(
        end_to_end_id=line.end_to_end_id,
        debtor=party_pb2.Party(name=line.debtor),
        debtor_account=_account(line.debtor_account),
        debtor_agent=_agent(line.debtor_agent),
        creditor=party_pb2.Party(name=line.creditor),
        creditor_account=_account(line.creditor_account),
        creditor_agent=_agent(line.creditor_agent),
        instructed_amount=money_pb2.Money(
            currency=line.instructed_amount.currency, minor_units=line.instructed_amount.minor_units
        ),
        requested_execution_date=line.requested_execution_date,
        category_purpose=payment_pb2.CategoryPurpose.Value(
            f"CATEGORY_PURPOSE_{line.category_purpose or 'UNSPECIFIED'}"
        ),
        purpose=line.purpose,
        remittance_information=line.remittance_information,
        channel=payment_pb2.Channel.Value(f"CHANNEL_{line.channel or 'UNSPECIFIED'}"),
        payment_information_id=line.payment_information_id,
    )


def _account(account: AccountText) -> party_pb2.CashAccount:
    return party_pb2.CashAccount(
        identification=account.identification,
        scheme=party_pb2.AccountScheme.Value(f"ACCOUNT_SCHEME_{account.scheme or 'UNSPECIFIED'}"),
        currency=account.currency,
    )


def _agent(agent: AgentText) -> party_pb2.Agent:
    return party_pb2.Agent(clearing_member_id=agent.clearing_member_id, bicfi=agent.bicfi, name=agent.name)
