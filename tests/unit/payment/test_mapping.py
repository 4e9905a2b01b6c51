"""Protobuf to model and back."""

from __future__ import annotations

import pytest
from payment_builders import NOW, instruction_message, payment

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.intake import read_payment_file
from yinqi.intake.handover import to_instruction
from yinqi.kernel.errors import InvalidRequest
from yinqi.payment import mapping
from yinqi.payment.model import BankWord
from yinqi.payment.status import PaymentStatus


def digest(message: payment_pb2.PaymentInstruction) -> bytes:
    return mapping.request_hash(mapping.instruction_from(message))


def test_every_status_of_ours_is_in_the_api_and_the_other_way_round():
    assert {s.value for s in PaymentStatus} == {
        name.removeprefix("PAYMENT_STATUS_") for name, number in payment_pb2.PaymentStatus.items() if number
    }


def test_equal_content_has_an_equal_digest_however_it_was_written():
    plain, wordy = instruction_message(), instruction_message()
    wordy.debtor_agent.SetInParent()  # there, but empty
    wordy.category_purpose = payment_pb2.CATEGORY_PURPOSE_UNSPECIFIED  # means SUPP
    assert plain.SerializeToString() != wordy.SerializeToString()
    assert digest(plain) == digest(wordy)


@pytest.mark.parametrize(
    "change",
    [
        {"instructed_amount__minor_units": 123_451},
        {"creditor__name": "另一家"},
        {"creditor_account__identification": "6222020200112233446"},
        {"remittance_information": ""},
        {"requested_execution_date": "2026-11-23"},
        {"channel": payment_pb2.CHANNEL_INSTANT},
        {"payroll_details__employee_id": "7"},
        {"payroll_details__employee_id": ""},
    ],
)
def test_any_other_value_is_other_content(change: dict[str, object]):
    assert digest(instruction_message(**change)) != digest(instruction_message())


def test_fields_do_not_flow_into_each_other():
    one = instruction_message(purpose="ab", remittance_information="c")
    other = instruction_message(purpose="a", remittance_information="bc")
    assert digest(one) != digest(other)


def test_an_unknown_status_of_the_gateway_is_unknown_never_a_refusal():
    for number in (gateway_pb2.BANK_STATUS_UNSPECIFIED, 99):
        message = gateway_pb2.PaymentStatusReport(instruction_id="PI1")
        message.status = number
        assert mapping.report_from(message, 1).word is BankWord.UNKNOWN


def test_what_the_bank_says_about_the_next_question_is_read():
    message = gateway_pb2.PaymentStatusReport(instruction_id="PI1")
    assert mapping.report_from(message, 1).ask_after is None
    message.ask_after.FromDatetime(NOW)
    assert mapping.report_from(message, 1).ask_after == NOW


def test_a_payment_is_sent_on_with_fields_we_do_not_know():
    order = instruction_message().SerializeToString() + b"\xba\x3e\x03new"  # field 999
    message = mapping.payment_to(payment(order_bytes=order))
    assert message.instruction.SerializeToString() == order


def test_instants_keep_their_microseconds():
    instant = NOW.replace(microsecond=123_457)
    assert mapping.timestamp(instant).ToDatetime(tzinfo=NOW.tzinfo) == instant


def test_a_timestamp_outside_the_calendar_is_refused():
    message = payment_service_pb2.PaymentFilter()
    message.received_from.seconds = 2**60
    with pytest.raises(InvalidRequest):
        mapping.filter_from(message)


def test_the_digest_is_of_values_so_1_5_is_1_50():
    def digest_of(amount: str) -> bytes:
        head = "业务参考号,付款人,付款账号,收款人,收款账号,收款行联行号,币种,金额"
        line = f"A-1,甲公司,755915678910001,乙公司,1102020219000012345,102100099996,CNY,{amount}"
        (found,) = read_payment_file(f"{head}\n{line}\n".encode(), "list.csv").lines
        return mapping.request_hash(mapping.instruction_from(to_instruction(found)))

    assert digest_of("1.5") == digest_of("1.50")
    assert digest_of("1.5") != digest_of("1.51")
