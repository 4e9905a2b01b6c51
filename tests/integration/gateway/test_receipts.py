"""Receipts of a bank: fetched in batches, believed by the signature in each, kept once, written in the journal."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from yinqi.crypto import sm3
from yinqi.runtime.grpc_client import open_channel
from yinqi.sandbox_bank import sm

Body = dict[str, Any]
USER_ID = "U123456789"
RETURNED = "[[rule]]\nreturn = { after_days = 0 }\nwhen = { creditor_account = '5555' }\n"
DEBIT, RETURN = pb.RECEIPT_KIND_DEBIT, pb.RECEIPT_KIND_RETURN
SETTLED, RETURNED_STATUS = gateway_pb2.BANK_STATUS_SETTLED, gateway_pb2.BANK_STATUS_RETURNED


async def fetch(gateway: Any, *submissions: Any) -> pb.FetchReceiptsResponse:
    request = pb.FetchReceiptsRequest(instruction_ids=[one.instruction_id for one in submissions])
    address = f"127.0.0.1:{gateway.port}"
    async with open_channel(address, service_name="auditor", settings=gateway.settings, roles="auditor") as channel:
        return await GatewayServiceStub(channel).FetchReceipts(request, timeout=60)


def rows(folder: Path, table: str) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(f"file:{folder}/gateway.db?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


async def test_settled_payments_have_receipts_and_a_return_has_a_second(
    tmp_path: Path, run_gateway: Any, sandbox_bank_runner: Callable[[Path, str], Any]
) -> None:
    with sandbox_bank_runner(tmp_path, RETURNED) as bank:
        async with run_gateway(
            bank.address, profile={"balances_max = 30": "balances_max = 30\nreceipts_max = 2"}
        ) as gw:
            paid = [gw.submission(minor_units=100 + place) for place in range(4)]
            back, never = gw.submission(creditor_account="5555"), gw.submission()
            await gw.submit(*paid, back)
            wanted = [SETTLED] * 4 + [RETURNED_STATUS]
            while [one.status for one in await gw.query(*paid, back)] != wanted:  # noqa: ASYNC110 (it asks the bank)
                await asyncio.sleep(0.05)
            found = await fetch(gw, *paid, back, never)
            kinds = [[receipt.kind for receipt in one.receipts] for one in found.payments]
            assert kinds == [[DEBIT]] * 4 + [[DEBIT, RETURN], []]
            assert [one.instruction_id for one in found.payments] == [
                one.instruction_id for one in (*paid, back, never)
            ]
            assert all(one.is_answered for one in found.payments)
            assert await fetch(gw, *paid, back, never) == found
    digests = {receipt.digest for one in found.payments for receipt in one.receipts}
    assert {row["digest"] for row in rows(tmp_path, "gateway_receipt_events")} == digests


def canonical(message: Body) -> bytes:
    return json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def receipt(bank: Any, instruction_id: str, *, key: tuple[bytes, bytes] | None = None, **changes: str) -> Body:
    """A record of DCSIGREC; its receipt signed with the bank's key unless another is given."""
    facts = {
        "rcpnbr": "RC1",
        "rcptyp": "PAY",
        "userid": USER_ID,
        "yurref": instruction_id,
        "trsamt": "12.34",
        **changes,
    }
    now = dt.datetime.now(dt.UTC)  # noqa: TID251
    signature = {"sigdat": "__signature_sigdat__", "sigtim": f"{now:%Y%m%d%H%M%S}"}
    message: Body = {"receipt": facts, "signature": signature}
    private, public = key or (bank.private_key, bank.public_key)
    raw = sm.sign(private, public, canonical(message), USER_ID.encode().ljust(16, b"0"))
    signature["sigdat"] = base64.b64encode(raw).decode()
    file = base64.b64encode(canonical(message)).decode()
    return {"yurref": instruction_id, "rcpnbr": facts["rcpnbr"], "rcptyp": facts["rcptyp"], "rcpfil": file}


def spoilt(record: Body) -> Body:
    content = base64.b64decode(record["rcpfil"]).replace(b'"trsamt":"12.34"', b'"trsamt":"92.34"')
    return {**record, "rcpfil": base64.b64encode(content).decode()}


async def test_a_receipt_that_is_not_the_banks_or_of_something_else_is_not_kept(
    tmp_path: Path, run_gateway: Any, scripted_bank: Any, take_all: Callable[[Any], Body]
) -> None:
    answers: list[list[Body]] = []

    def answer(call: Any) -> Body:
        return {"dcsigrecz1": answers.pop(0)} if call.function == "DCSIGREC" else take_all(call)

    bank, scripted_bank.answer = scripted_bank, answer
    async with run_gateway(bank.address) as gateway:
        one = gateway.submission()
        await gateway.submit(one)
        good = receipt(bank, one.instruction_id)
        for bad in (
            spoilt(good),
            receipt(bank, one.instruction_id, key=sm.generate_key_pair()),
            receipt(bank, "SOMEBODY-ELSES"),
            receipt(bank, one.instruction_id, userid="U987654321"),
            {**good, "rcpnbr": "RC2"},
            {**good, "rcpfil": "?"},
        ):
            answers.append([bad])
            (found,) = (await fetch(gateway, one)).payments
            assert (found.is_answered, list(found.receipts)) == (False, [])
        answers.append([good])
        (kept,) = (await fetch(gateway, one)).payments[0].receipts
        assert kept.digest == sm3(base64.b64decode(good["rcpfil"])).hex()
        answers.append([receipt(bank, one.instruction_id, trsamt="99.99")])
        assert list((await fetch(gateway, one)).payments[0].receipts) == [kept]
    (event,) = rows(tmp_path, "gateway_notice_events")
    assert (event["type"], event["refusal"]) == ("RECEIPT", "CONTENT_DIFFERS")
    assert len(rows(tmp_path, "gateway_receipts")) == 1
