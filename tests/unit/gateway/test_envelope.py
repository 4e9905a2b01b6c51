"""The envelope, and the mistakes of public code that it must not make (bank-wire facts, list of regressions)."""

from __future__ import annotations

import base64
import json
import re
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from yinqi.crypto import SigningKey, VerifyKey, sm4_cbc_decrypt
from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.adapters.cdc.envelope import Number, canonical, open_answer, padded_user_id
from yinqi.gateway.open_keys import BankUse, CipherUse
from yinqi.gateway.ports import AnswerUnusable, Outgoing, WireAnswer
from yinqi.sandbox_bank import sm

IDENTITY = b"U123456789000000"


@pytest.fixture
def outgoing(dialect: CdcDialect, submission: Any, account: Any) -> Outgoing:
    return dialect.make_submission([submission()], account)


def refusal(dialect: CdcDialect, outgoing: Outgoing, wire: WireAnswer) -> str:
    with pytest.raises(AnswerUnusable) as caught:
        dialect.open(outgoing, wire)
    return caught.value.reason


def test_the_padded_user_id_is_sixteen_bytes() -> None:
    assert padded_user_id("U123456789") == IDENTITY
    assert padded_user_id("N" * 16) == b"N" * 16


def test_the_canonical_form_keeps_blanks_in_values_and_escapes_only_what_json_must() -> None:
    message = {"b": " a  b ", "a": {"名": '<>&/é"\\\n\u001f'}, "c": [2, 1]}
    assert canonical(message) == '{"a":{"名":"<>&/é\\"\\\\\\n\\u001f"},"b":" a  b ","c":[2,1]}'.encode()


def test_what_is_signed_is_what_is_sent_with_blanks_and_angle_brackets(
    dialect: CdcDialect, bank_side: Any, submission: Any, account: Any
) -> None:
    name = 'A & B <GmbH>  "x" __signature_sigdat__'
    outgoing = dialect.make_submission([submission(creditor_name=name)], account)
    message = json.loads(outgoing.plain)
    assert message["request"]["body"]["bb1payopx1"][0]["crtNam"] == name
    sigdat = message["signature"]["sigdat"]
    message["signature"]["sigdat"] = "__signature_sigdat__"
    raw = base64.b64decode(sigdat)
    assert len(raw) == 64
    public_key = bank_side.keys.signing_key.public_key().to_bytes()
    assert sm.verifies(public_key, canonical(message), raw, IDENTITY)
    VerifyKey.from_bytes(public_key).verify(canonical(message), raw, IDENTITY)


def test_the_form_escapes_base64_and_seals_the_message(dialect: CdcDialect, bank_side: Any, outgoing: Outgoing) -> None:
    match = re.fullmatch(rb"UID=U123456789&FUNCODE=BB1PAYOP&ALG=SM&DATA=([0-9A-Za-z%]+)", outgoing.wire)
    assert match is not None
    data = match[1].replace(b"%2B", b"+").replace(b"%2F", b"/").replace(b"%3D", b"=")
    assert sm4_cbc_decrypt(bank_side.sm4_key, IDENTITY, base64.b64decode(data, validate=True)) == outgoing.plain


def test_signatures_of_short_r_or_s_stay_sixty_four_bytes(bank_side: Any) -> None:
    key = bank_side.keys.signing_key
    signatures = key.sign_many([str(i).encode() for i in range(2_000)], IDENTITY)
    assert {len(one) for one in signatures} == {64}
    # One in 256 begins with a zero byte; a codec that strips it breaks one payment in 128.
    assert any(one[0] == 0 or one[32] == 0 for one in signatures)


def test_request_ids_are_unique_within_one_instant(dialect: CdcDialect) -> None:
    ids = [dialect.make_permission_query().message_id for _ in range(500)]
    assert len(set(ids)) == 500
    assert all(re.fullmatch(r"20261122140501123[0-9a-f]{12}", one) for one in ids)


def test_a_good_answer_opens_and_numbers_keep_their_spelling(
    dialect: CdcDialect, bank_side: Any, outgoing: Outgoing
) -> None:
    answer = dialect.open(outgoing, bank_side.answer(outgoing, {"x": [{"a": 1234.5, "b": 7, "c": "8"}]}))
    record = answer.body["x"][0]
    assert [type(record[name]) for name in "abc"] == [Number, Number, str]
    assert [str(record[name]) for name in "abc"] == ["1234.5", "7", "8"]


def test_an_answer_of_another_signer_is_refused_although_it_decrypts(
    dialect: CdcDialect, bank_side: Any, outgoing: Outgoing
) -> None:
    message = bank_side.message(outgoing, {"bb1payopz1": []})
    other_pair = sm.generate_key_pair()
    message["signature"]["sigdat"] = base64.b64encode(sm.sign(*other_pair, canonical(message), IDENTITY)).decode()
    assert refusal(dialect, outgoing, bank_side.encrypt(canonical(message))) == "BAD_SIGNATURE"


@pytest.mark.parametrize("sigdat", ["", "AAAA", "__signature_sigdat__", None, 7, base64.b64encode(bytes(64)).decode()])
def test_a_missing_or_malformed_signature_is_refused(
    dialect: CdcDialect, bank_side: Any, outgoing: Outgoing, sigdat: Any
) -> None:
    message = bank_side.message(outgoing, {})
    message["signature"]["sigdat"] = sigdat
    reason = refusal(dialect, outgoing, bank_side.encrypt(canonical(message)))
    assert reason in ("BAD_SIGNATURE", "ANSWER_UNREADABLE")


def test_a_changed_amount_breaks_the_signature(dialect: CdcDialect, bank_side: Any, outgoing: Outgoing) -> None:
    message = bank_side.message(outgoing, {"x": [{"trsAmt": "100.00"}]})
    bank_side.seal(message)
    message["response"]["body"]["x"][0]["trsAmt"] = "900.00"
    assert refusal(dialect, outgoing, bank_side.encrypt(canonical(message))) == "BAD_SIGNATURE"


def test_plain_json_is_never_taken_for_an_answer(dialect: CdcDialect, bank_side: Any, outgoing: Outgoing) -> None:
    message = bank_side.message(outgoing, {})
    bank_side.seal(message)
    assert refusal(dialect, outgoing, WireAnswer(200, canonical(message))) == "ANSWER_UNREADABLE"


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"response":{},"response":{},"signature":{"sigdat":"","sigtim":""}}',
        b'{"response":{"body":{"a":NaN}},"signature":{"sigdat":"","sigtim":""}}',
        b'{"response":{"body":{"a":1e999}},"signature":{"sigdat":"","sigtim":""}}',
        b'{"response":{"body":{"a":"\\ud800"}},"signature":{"sigdat":"","sigtim":""}}',
        b'{"response":{},"signature":null}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"response":{"a":' + b"9" * 5_000 + b'},"signature":{"sigdat":"","sigtim":""}}',
    ],
)
def test_what_decrypts_to_no_signed_message_is_unreadable(
    dialect: CdcDialect, bank_side: Any, outgoing: Outgoing, plain: bytes
) -> None:
    assert refusal(dialect, outgoing, bank_side.encrypt(plain)) == "ANSWER_UNREADABLE"


def test_every_padding_byte_is_checked(dialect: CdcDialect, bank_side: Any, outgoing: Outgoing) -> None:
    wire = bank_side.answer(outgoing, {})
    sealed = base64.b64decode(wire.body)
    # Flipping a bit of the last but one block flips the same bit of the padding.
    bad = sealed[:-20] + bytes([sealed[-20] ^ 1]) + sealed[-19:]
    assert refusal(dialect, outgoing, WireAnswer(200, base64.b64encode(bad))) == "ANSWER_UNREADABLE"


@pytest.mark.parametrize("hours", [-2, 2])
def test_an_answer_signed_at_another_time_is_refused(
    bank_side: Any, dialect: CdcDialect, outgoing: Outgoing, hours: int
) -> None:
    wire = bank_side.answer(outgoing, {})
    now = datetime.fromisoformat("2026-11-22T06:05:01+00:00") + timedelta(hours=hours)
    with pytest.raises(AnswerUnusable, match="SIGTIM_OUTSIDE_WINDOW"):
        open_answer(wire, outgoing, "U123456789", bank_side.keys.now(), now)


@pytest.mark.parametrize("head", [{"reqid": "x"}, {"funcode": "NTQADINF"}, {"userid": "U1"}])
def test_an_answer_to_another_request_is_refused(
    dialect: CdcDialect, bank_side: Any, outgoing: Outgoing, head: dict[str, str]
) -> None:
    assert refusal(dialect, outgoing, bank_side.answer(outgoing, {}, **head)) == "REQID_MISMATCH"


@pytest.mark.parametrize(
    ("status", "body", "reason", "code"),
    [
        (500, b"internal", "HTTP_ERROR", "500"),
        (404, "没有".encode("gb18030"), "HTTP_ERROR", "404"),
        (200, b"CDCServer:LIM0001 busy", "GATEWAY_ERROR", "LIM0001"),
        (200, b"ErrMsg:USR0001 UID unknown", "GATEWAY_ERROR", "USR0001"),
        (200, b"CDCServer:", "GATEWAY_ERROR", ""),
        (200, b"", "ANSWER_UNREADABLE", ""),
        (200, b"<html>maintenance</html>", "ANSWER_UNREADABLE", ""),
    ],
)
def test_errors_in_plain_text_are_understood_and_are_no_answer(
    dialect: CdcDialect, outgoing: Outgoing, status: int, body: bytes, reason: str, code: str
) -> None:
    with pytest.raises(AnswerUnusable) as caught:
        dialect.open(outgoing, WireAnswer(status, body))
    assert (caught.value.reason, caught.value.code) == (reason, code)


@pytest.mark.parametrize("code", ["", "   "])
def test_an_empty_result_code_is_no_answer(dialect: CdcDialect, bank_side: Any, outgoing: Outgoing, code: str) -> None:
    assert refusal(dialect, outgoing, bank_side.answer(outgoing, {}, resultcode=code)) == "ANSWER_MALFORMED"


def test_an_answer_opens_under_the_key_its_request_was_sealed_with_whatever_changed_since(
    bank_side: Any, dialect: CdcDialect, outgoing: Outgoing
) -> None:
    wire, now = bank_side.answer(outgoing, {}), datetime.fromisoformat("2026-11-22T06:05:01+00:00")
    was = bank_side.keys.now()
    fresh = replace(was, ciphers=(CipherUse("new", secrets.token_bytes(16)),))
    answer = open_answer(wire, outgoing, "U123456789", fresh, now)
    assert (answer.cipher_key_id, answer.key_id) == (was.ciphers[0].key_id, was.bank[0].key_id)
    overlapping = replace(was, ciphers=(*fresh.ciphers, *was.ciphers))
    assert open_answer(wire, replace(outgoing, sealed_with=None), "U123456789", overlapping, now).result_code
    with pytest.raises(AnswerUnusable, match="ANSWER_UNREADABLE"):
        open_answer(wire, replace(outgoing, sealed_with=None), "U123456789", fresh, now)


def test_the_banks_old_key_verifies_in_the_overlap_and_is_refused_by_name_after_it(
    bank_side: Any, outgoing: Outgoing
) -> None:
    wire, now = bank_side.answer(outgoing, {}), datetime.fromisoformat("2026-11-22T06:05:01+00:00")
    was, new = bank_side.keys.now(), BankUse("new", SigningKey.generate().public_key())
    overlap = replace(was, bank=(new, *was.bank))
    assert open_answer(wire, outgoing, "U123456789", overlap, now).key_id == was.bank[0].key_id
    after = replace(was, bank=(new,), retired=was.bank)
    with pytest.raises(AnswerUnusable, match="BANK_KEY_RETIRED"):
        open_answer(wire, outgoing, "U123456789", after, now)
    with pytest.raises(AnswerUnusable, match="BAD_SIGNATURE"):
        open_answer(wire, outgoing, "U123456789", replace(after, retired=()), now)
