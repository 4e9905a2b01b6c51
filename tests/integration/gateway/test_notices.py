"""Banks that call: only a verified, new word about a payment of ours becomes a report; the rest is an alert."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.sandbox_bank import sm

NOTICES_ON = {"[notices]\nenabled = false": "[notices]\nenabled = true"}
SETTLED, RETURNED = gateway_pb2.BANK_STATUS_SETTLED, gateway_pb2.BANK_STATUS_RETURNED


@dataclass
class Door:
    """A gateway that takes notices, with one payment the bank has."""

    gateway: Any
    bank: Any
    payment: gateway_pb2.Submission
    line: dict[str, str]
    client: httpx.AsyncClient
    make_record: Any

    def record(self, **changes: Any) -> dict[str, Any]:
        return dict(self.make_record(self.line, **changes))

    async def post(self, form: Any, *, path: str = "/notices/cdc") -> tuple[int, str]:
        data = {"content": form} if isinstance(form, bytes) else {"data": form}
        answer = await self.client.post(f"http://127.0.0.1:{self.gateway.notice_port}{path}", **data)
        return answer.status_code, answer.text

    async def events(self, count: int) -> list[gateway_pb2.NoticeEvent]:
        """The first `count` events, and no more of them."""
        stream = self.gateway.stub.FollowNotices(pb.FollowNoticesRequest(), timeout=60)
        found: list[gateway_pb2.NoticeEvent] = []
        while len(found) < count:
            found += (await stream.read()).events
        stream.cancel()
        assert len(found) == count
        return found


@pytest.fixture
async def door(run_gateway: Any, scripted_bank: Any, make_record: Any) -> AsyncIterator[Door]:
    async with run_gateway(scripted_bank.address, profile=NOTICES_ON) as gateway, httpx.AsyncClient() as client:
        payment = gateway.submission()
        await gateway.submit(payment)
        line = scripted_bank.submits[0].body["bb1payopx1"][0]
        yield Door(gateway, scripted_bank, payment, line, client, make_record)


async def test_a_verified_notice_becomes_a_report_and_is_archived(door: Door) -> None:
    assert await door.post(door.bank.notice(1, [door.record()])) == (200, "SUC0000")
    (event,) = await door.events(1)
    assert event.report.status == SETTLED
    assert event.report.instruction_id == door.payment.instruction_id
    assert (event.report.booking_date, event.notice_number) == ("2026-11-22", "000000000000001")
    archived = await door.gateway.messages(door.payment.instruction_id)
    assert [one.archive_id for one in archived if one.function == "BBNOTICE"] == [event.archive_id]


async def test_repetitions_are_acknowledged_and_change_nothing_and_content_decides_the_order(door: Door) -> None:
    returned = door.record(rtnFlg="B", bckDat="20261123", errCod="RTN0001")
    for number, record in ((5, returned), (5, returned), (2, door.record()), (1, door.record(reqSts="BNK", rtnFlg=""))):
        assert (await door.post(door.bank.notice(number, [record])))[0] == 200
    assert (await door.post(door.bank.notice(9, [door.record(rtnFlg="F", reqNbr="0000000002")])))[0] == 200
    returned_report, later = await door.events(2)
    assert returned_report.report.status == RETURNED
    assert later.report.status == gateway_pb2.BANK_STATUS_REJECTED  # a newer record number is newer


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": "stranger"}, "BAD_SIGNATURE"),
        ({"top": "response"}, "NOTICE_UNREADABLE"),
        ({"sigtim_shift": dt.timedelta(hours=-2)}, "SIGTIM_OUTSIDE_WINDOW"),
        ({"sigtim_shift": dt.timedelta(hours=2)}, "SIGTIM_OUTSIDE_WINDOW"),
        ({"user": "U999"}, "USER_UNKNOWN"),
        ({"head": {"userid": "U999"}}, "USER_UNKNOWN"),
        ({"head": {"notnbr": "1"}}, "NOTICE_MALFORMED"),
    ],
)
async def test_a_forged_notice_changes_nothing_and_is_told(door: Door, changes: Any, reason: str) -> None:
    if changes.get("key"):
        changes = {"key": sm.generate_key_pair()}
    assert (await door.post(door.bank.notice(1, [door.record()], **changes)))[0] == 403
    (event,) = await door.events(1)
    assert (event.refusal, event.HasField("report"), event.notice_number) == (reason, False, "")


async def test_bytes_sent_again_and_a_number_used_again_are_told(door: Door) -> None:
    notice = door.bank.notice(1, [door.record(reqSts="BNK", rtnFlg="")])
    assert (await door.post(notice))[0] == 200
    assert (await door.post(notice))[0] == 200  # we know what it says
    assert (await door.post(door.bank.notice(1, [door.record()])))[0] == 403
    _, replayed, differs = await door.events(3)
    assert (replayed.refusal, differs.refusal) == ("REPLAYED", "CONTENT_DIFFERS")
    (report,) = await door.gateway.query(door.payment)
    assert report.status != SETTLED


async def test_a_signed_word_about_what_we_did_not_send_is_no_report(door: Door) -> None:
    stranger = door.record(yurRef="YQ000000000000000000000000")
    dearer = door.record(trsAmt="99999.99")
    assert (await door.post(door.bank.notice(1, [stranger, dearer, door.record()])))[0] == 200
    events = await door.events(3)
    assert [one.refusal for one in events] == ["PAYMENT_UNKNOWN", "RECORD_MISMATCH", ""]
    assert [one.HasField("report") for one in events] == [False, False, True]


async def test_rubbish_at_the_door_is_refused_and_a_flood_is_not_kept(door: Door) -> None:
    big = b"UID=U123456789&FUNCODE=BBNOTICE&ALG=SM&DATA=" + b"A" * 5_000_000
    assert (await door.post(big))[0] == 413
    for rubbish in (b"", b"\xff\xfe", b"UID=U123456789", b"UID=U123456789&FUNCODE=BBNOTICE&ALG=SM&DATA=%%%"):
        assert (await door.post(rubbish))[0] == 403
    assert (await door.post(b"x", path="/elsewhere"))[0] == 404
    codes = await asyncio.gather(*(door.post(b"UID=x") for _ in range(80)))
    assert {code for code, _ in codes} <= {403, 503}  # too many at once are told to come again
    stream = door.gateway.stub.FollowNotices(pb.FollowNoticesRequest(), timeout=60)
    batch = await stream.read()
    stream.cancel()
    assert len(batch.events) <= 60
    assert (await door.post(door.bank.notice(7, [door.record()])))[0] == 200  # the bank still gets through


async def test_types_that_change_nothing_are_acknowledged(door: Door) -> None:
    assert (await door.post(door.bank.notice(1, [{"trxSeq": "1"}], kind="YQN01010")))[0] == 200
    assert (await door.post(door.bank.notice(2, [door.record()])))[0] == 200
    (event,) = await door.events(1)
    assert event.notice_number == "000000000000002"


async def test_nothing_listens_unless_a_profile_asks(run_gateway: Any, scripted_bank: Any) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        assert gateway.notice_port == 0
