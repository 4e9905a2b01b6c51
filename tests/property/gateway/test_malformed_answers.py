"""Whatever a bank sends: the adapter never crashes, and rubbish never settles or rejects a payment."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yinqi import gateway as gateway_package
from yinqi.crypto import SigningKey
from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.adapters.cdc.envelope import canonical, open_answer
from yinqi.gateway.adapters.cdc.fields import format_amount, parse_amount
from yinqi.gateway.keystore import BankKeys
from yinqi.gateway.model import BankAccount, Instruction, Submission
from yinqi.gateway.ports import Answer, AnswerUnusable, BankRefused, Outgoing, WireAnswer
from yinqi.gateway.profile import load_profile
from yinqi.gateway.status import FINAL
from yinqi.kernel.clock import FixedClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.kernel.money import Money

RECORDED = json.loads(
    (Path(__file__).parents[2] / "unit" / "gateway" / "recorded" / "exchanges.json").read_text("utf-8")
)
PROFILE = load_profile(
    Path(gateway_package.__file__).parent / "profiles" / "demo_bank.toml",
    {"sandbox_bank_address": "127.0.0.1:1", "var_dir": "/v", "keys_dir": "/k", "exchange_dir": "/x"},
)
ACCOUNT = BankAccount("755915678910001", "CNY", "", "demo_bank")
NOW = dt.datetime.fromisoformat(RECORDED["recorded_at"])
DAY = dt.date(2026, 11, 22)
LINES = [
    Submission(f"YQ{i}", 1, Instruction("E", ACCOUNT.identification, "n", "1", Money("CNY", 1), "102100099996"))
    for i in range(2)
]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> BankKeys:
    file = tmp_path_factory.mktemp("keys") / "bank.hex"
    file.write_text(RECORDED["keys"]["bank_public_key"])
    return BankKeys(SigningKey.generate(), bytes.fromhex(RECORDED["keys"]["sm4_key"]), file)


@pytest.fixture(scope="module")
def dialect(keys: BankKeys) -> CdcDialect:
    clock = FixedClock(NOW)
    return CdcDialect(PROFILE, keys, clock, TimeOrderedIds(clock))


ANSWERS = [exchange["answer"].encode() for exchange in RECORDED["exchanges"]]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A recorded answer with bytes changed, cut, doubled or inserted, on the wire or under the Base64."""
    wire = draw(st.sampled_from(ANSWERS))
    inner = draw(st.booleans())
    data = bytearray(base64.b64decode(wire) if inner else wire)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "cut", "insert", "double"])):
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=20))
            case _:
                data += data[at:]
    return base64.b64encode(bytes(data)) if inner else bytes(data)


@QUICK
@given(body=mutated() | st.binary(max_size=300), status=st.sampled_from([200, 200, 200, 500]))
def test_a_mutated_answer_is_never_believed(keys: BankKeys, body: bytes, status: int) -> None:
    for function in ("BB1PAYBH", "BB1PAYQR"):
        outgoing = Outgoing(function, "2026112221350168794042a76fa28", b"", b"")
        try:
            answer = open_answer(WireAnswer(status, body), outgoing, "U123456789", keys.now(), NOW)
        except AnswerUnusable:
            continue
        # Base64 has spare bits and blanks around it; the ciphertext must be the bank's to the last byte.
        assert base64.b64decode(body.strip()) in [base64.b64decode(one) for one in ANSWERS]
        assert answer.result_code == "SUC0000"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(
    "yurRef reqNbr reqSts rtnFlg errCod errTxt dbtAcc crtAcc ccyNbr trsAmt trxDat trxSeq bckDat batNbr dtlNum accNbr onlBal "
    "avlBal frezBalnace preBal balDat trxDir rvsFlg acctBal opnBal clsBal dayEnd ctnFlag ctnFlg ctnKey qryFlg bckCod debNum "
    "debAmt crdNum crdAmt".split()
)
WORDS = st.sampled_from(
    ["", "FIN", "S", "F", "B", "YQ0", "YQ1", "SUC0000", "755915678910001", "10", "20261122", "D", "C", "Y"]
)
RECORD = st.dictionaries(st.sampled_from(FIELDS), WORDS | JSON | st.sampled_from(["1.00", "-1.00"]), max_size=12)
ARRAYS = sorted(
    "bb1payopz1 bb1paybhz1 bb1paybhz2 bb1payqrz1 ntqadinfz1 trsqryz1 trsqryz2 trsqryz3 trsqryy1 bb1qryobz1 bb1qryoby1 "
    "dclisaccz1".split()
)
BODY = st.dictionaries(st.sampled_from(ARRAYS), st.lists(RECORD | JSON, max_size=3) | JSON, max_size=6)


@QUICK
@given(body=BODY, code=st.sampled_from(["SUC0000", "SUC0000", "SUC0000", "NTF0006", "???"]))
def test_a_signed_answer_of_any_shape_is_read_or_refused(dialect: CdcDialect, body: Any, code: str) -> None:
    answer = Answer(b"", code, "text", body)
    single = Outgoing("BB1PAYOP", "x", b"", b"")
    batch = Outgoing("BB1PAYBH", "x", b"", b"", facts={"batch_number": "BT1"})
    for read in (
        lambda: dialect.read_submission(answer, LINES[:1], single),
        lambda: dialect.read_submission(answer, LINES, batch),
        lambda: dialect.read_query(answer),
        lambda: dialect.read_returns(answer),
        lambda: dialect.read_permissions(answer),
        lambda: dialect.read_balances(answer, [ACCOUNT], NOW),
        lambda: dialect.read_entries(answer, ACCOUNT, DAY),
    ):
        try:
            read()
        except (AnswerUnusable, BankRefused):
            continue


@QUICK
@given(state=st.text(max_size=5), flag=st.text(max_size=3))
def test_no_unlisted_word_is_final(state: str, flag: str) -> None:
    status, _ = PROFILE.status_map.read(state, flag)
    assert status not in FINAL or f"{state}/{flag}" in PROFILE.status


@QUICK
@given(minor_units=st.integers(1, 10**15 - 1), currency=st.sampled_from(["CNY", "EUR"]))
def test_amounts_survive_the_wire(minor_units: int, currency: str) -> None:
    money = Money(currency, minor_units)
    assert parse_amount(format_amount(money), currency) == money


@QUICK
@given(message=st.dictionaries(st.text(max_size=6), JSON, max_size=4))
def test_the_canonical_form_is_a_fixed_point(message: Any) -> None:
    try:
        once = canonical(message)
    except ValueError:  # infinity and lone surrogates have no canonical form
        return
    assert canonical(json.loads(once)) == once


@QUICK
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=2, max_size=2))
def test_any_text_is_signed_as_it_is_sent(dialect: CdcDialect, names: list[str]) -> None:
    lines = [
        Submission(line.instruction_id, 1, replace(line.instruction, creditor_name=name))
        for line, name in zip(LINES, names, strict=True)
    ]
    outgoing = dialect.make_submission(lines, ACCOUNT)
    message = json.loads(outgoing.plain)
    assert canonical(message) == outgoing.plain
    assert [x["crtNam"] for x in message["request"]["body"]["bb1paybhx2"]] == [
        x.instruction.creditor_name for x in lines
    ]
