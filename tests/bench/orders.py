"""Payment orders as bytes on the wire, made before the clock starts."""

from __future__ import annotations

import secrets

from yinqi.api.common.v1 import money_pb2, party_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.client import PrivateKey, new_order
from yinqi.orders.evidence import signed_to

DEBTOR_ACCOUNT = "755915678910001"


def instruction(number: int, run: str) -> payment_pb2.PaymentInstruction:
    """A supplier payment of one yuan and a bit, about 250 bytes."""
    return payment_pb2.PaymentInstruction(
        end_to_end_id=f"BENCH-{run}-{number:08}",
        debtor_account=party_pb2.CashAccount(
            identification=DEBTOR_ACCOUNT, scheme=party_pb2.ACCOUNT_SCHEME_BBAN, currency="CNY"
        ),
        creditor=party_pb2.Party(name=f"苏州第{number % 997}供应商有限公司"),
        creditor_account=party_pb2.CashAccount(
            identification=f"6225{number:012}", scheme=party_pb2.ACCOUNT_SCHEME_BBAN, currency="CNY"
        ),
        creditor_agent=party_pb2.Agent(clearing_member_id="102100000626", name="中国工商银行股份有限公司"),
        instructed_amount=money_pb2.Money(currency="CNY", minor_units=100 + number % 50),
        category_purpose=payment_pb2.CATEGORY_PURPOSE_SUPP,
        remittance_information=f"货款 发票{number:08}",
        payment_information_id=f"BATCH-{run}",
    )


def new_run() -> str:
    """A name that keeps the ids of two runs apart."""
    return secrets.token_hex(4)


def unary_requests(count: int) -> list[bytes]:
    """Serialized InitiatePaymentRequest messages."""
    run = new_run()
    return [
        payment_service_pb2.InitiatePaymentRequest(instruction=instruction(n, run)).SerializeToString()
        for n in range(count)
    ]


def signed_requests(calls: int, lines: int, company: str, key: PrivateKey) -> list[bytes]:
    """Serialized InitiateSignedPaymentsRequest messages: one order of `lines` lines each, signed by the caller."""
    run = new_run()
    found = []
    for call in range(calls):
        instructions = [instruction(call * lines + n, run) for n in range(lines)]
        order = new_order(f"ORDER-{run}-{call}", instructions, company=company, key=key)
        request = payment_service_pb2.InitiateSignedPaymentsRequest(order=signed_to(order.signed), lines=order.lines)
        found.append(request.SerializeToString())
    return found


def batch_requests(calls: int, lines: int) -> list[bytes]:
    """Serialized InitiatePaymentsRequest messages of `lines` lines each."""
    run = new_run()
    return [
        payment_service_pb2.InitiatePaymentsRequest(
            instructions=[instruction(call * lines + n, run) for n in range(lines)]
        ).SerializeToString()
        for call in range(calls)
    ]
