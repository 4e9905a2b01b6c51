"""The last door against a hostile insider: whatever is done to `payment` and its database, only approved lines reach the bank."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from yinqi.api.gateway.v1 import gateway_pb2, stop_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.api.payment.v1 import order_pb2, payment_pb2
from yinqi.api.payment.v1 import payment_service_pb2 as payment_pb
from yinqi.client import NewOrder, new_order
from yinqi.kernel.clock import FixedClock
from yinqi.orders.evidence import Evidence, evidence_to, signed_to
from yinqi.orders.keys import Signed
from yinqi.orders.line_tree import joined
from yinqi.orders.order import sign_decision
from yinqi.orders.policy_file import PolicyInvalid
from yinqi.runtime import attributes
from yinqi.runtime.settings import Settings

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS / name) for name in ("unit/orders", "unit/payment", "integration/payment")]

from company import NAME, Company  # noqa: E402 (found through the line above)
from fakes import until  # noqa: E402
from running import House, run_house  # noqa: E402

CNY = "755915678910001"
SMALL, MIDDLE, LARGE = 99_00, 20_000_00, 200_000_00  # nobody; a checker; a checker and a director
NOT_SENT, PROCESSING = gateway_pb2.BANK_STATUS_NOT_SENT, gateway_pb2.BANK_STATUS_PROCESSING


def instruction(end_to_end_id: str, minor_units: int, creditor: str) -> payment_pb2.PaymentInstruction:
    message = payment_pb2.PaymentInstruction(end_to_end_id=end_to_end_id)
    message.debtor_account.identification = CNY
    message.creditor.name = "收款有限公司"
    message.creditor_account.identification = creditor
    message.creditor_agent.clearing_member_id = "102100099996"
    message.instructed_amount.currency, message.instructed_amount.minor_units = "CNY", minor_units
    return message


@dataclass
class Door:
    """A gateway under the company's policy, a bank that counts what it gets, and a thief who calls as `payment` does."""

    gateway: Any
    bank: Any
    company: Company
    serial: int = 0

    def order(self, *amounts: int, by: str = "erp", order_id: str = "") -> NewOrder:
        self.serial += 1
        order_id = order_id or f"ORDER-{self.serial}"
        lines = [
            instruction(f"{order_id}-{n}", units, f"62258812345{self.serial:02}{n:02}")
            for n, units in enumerate(amounts, 1)
        ]
        return new_order(order_id, lines, company=NAME, key=self.company.keys[by])

    def approval(self, new: NewOrder, person: str, *, approves: bool = True) -> Signed:
        now = datetime.now(UTC)  # noqa: TID251
        return sign_decision(new.digest, approves=approves, shown="seen", key=self.company.keys[person], now=now)

    def submission(
        self, new: NewOrder, number: int = 1, content: bytes = b"", **changes: Any
    ) -> gateway_pb2.Submission:
        line = content or new.lines[number - 1]
        self.serial += 1
        fields = {"instruction_id": f"YQ{self.serial:024}", "attempt": 1, "order_line": line, "order_digest": new.digest,
                  "line_number": number, "instruction": payment_pb2.PaymentInstruction.FromString(line), **changes}  # fmt: skip
        return gateway_pb2.Submission(**fields)

    async def send(self, submissions: list[gateway_pb2.Submission], *evidence: Evidence) -> list[str]:
        """Return what the gateway says of each: SENT or the reason why not."""
        request = pb.SubmitPaymentsRequest(submissions=submissions, orders=[evidence_to(one) for one in evidence])
        response = await self.gateway.stub.SubmitPayments(request, timeout=60)
        assert all(one.status in (NOT_SENT, PROCESSING) for one in response.reports), response
        return [
            one.reason_code.removeprefix("LAST_DOOR_") if one.status == NOT_SENT else "SENT" for one in response.reports
        ]

    def alerts(self) -> list[str]:
        """Return the alerts raised so far, from the feed's table."""
        with closing(sqlite3.connect(self.gateway.settings.var_dir / "gateway.db", timeout=30)) as database:
            query = "SELECT refusal FROM gateway_notice_events WHERE type = 'LAST_DOOR' ORDER BY sequence"
            return [refusal.removeprefix("LAST_DOOR_") for (refusal,) in database.execute(query)]


def evidence(new: NewOrder, *decisions: Signed) -> Evidence:
    return Evidence(new.signed, joined(new.leaves), decisions)


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path / "policy", allow_vouched=False)


@pytest.fixture
async def door(run_gateway: Callable[..., Any], scripted_bank: Any, company: Company) -> AsyncIterator[Door]:
    async with run_gateway(scripted_bank.address, gateway_policy_dir=str(company.folder)) as gateway:
        yield Door(gateway, scripted_bank, company)


async def test_a_signed_and_approved_line_goes_and_nothing_else(door: Door) -> None:
    new = door.order(SMALL, MIDDLE, LARGE)
    li, wang = door.approval(new, "li"), door.approval(new, "wang")
    lines = [door.submission(new, number) for number in (1, 2, 3)]
    assert await door.send(lines, evidence(new)) == ["SENT", "APPROVALS_MISSING", "APPROVALS_MISSING"]
    assert await door.send(lines[1:], evidence(new, li)) == ["SENT", "APPROVALS_MISSING"]
    assert await door.send(lines[2:], evidence(new, li, wang)) == ["SENT"]
    assert len(door.bank.lines()) == 3


def as_person(person: str, role: str) -> tuple[tuple[str, str], ...]:
    return ((attributes.IDENTITY_KEY, person), (attributes.ROLES_KEY, role))


async def pulled(
    door: Door, kind: stop_pb2.StopScopeKind.ValueType = stop_pb2.STOP_SCOPE_KIND_HOUSE, name: str = ""
) -> stop_pb2.Stop:
    request = stop_pb2.PullStopRequest(scope=stop_pb2.StopScope(kind=kind, name=name), reason="suspected")
    response = await door.gateway.stub.PullStop(request, timeout=60, metadata=as_person("li", "stop_puller"))
    return response.stop


async def lifted(door: Door, stop: stop_pb2.Stop) -> None:
    request = stop_pb2.LiftStopRequest(stop_id=stop.stop_id, reason="cleared")
    for person in ("li", "wang"):
        await door.gateway.stub.LiftStop(request, timeout=60, metadata=as_person(person, "stop_lifter"))


async def test_what_is_signed_and_approved_waits_behind_a_stop_whoever_asks(door: Door) -> None:
    new = door.order(SMALL, MIDDLE)
    lines, proof = [door.submission(new, number) for number in (1, 2)], evidence(new, door.approval(new, "li"))
    stops = [await pulled(door), await pulled(door, stop_pb2.STOP_SCOPE_KIND_ACCOUNT, CNY)]
    assert await door.send(lines, proof) == ["STOPPED", "STOPPED"]
    for stop in stops:
        assert door.bank.lines() == []
        await lifted(door, stop)
    assert await door.send(lines, proof) == ["SENT", "SENT"]


async def test_changed_bytes_keep_the_door_shut(door: Door) -> None:
    new = door.order(MIDDLE, SMALL)
    li, whole = door.approval(new, "li"), joined(new.leaves)
    tries: list[tuple[gateway_pb2.Submission, Evidence]] = []
    line = new.lines[0]
    for bent in flipped(line):
        try:
            tries.append((door.submission(new, content=bent), evidence(new, li)))
        except Exception:  # noqa: BLE001 (no message at all: the thief could not even ask)
            continue
    tries += [
        (door.submission(new), Evidence(new.signed._replace(signature=b), whole, (li,)))
        for b in flipped(new.signed.signature)
    ]
    tries += [
        (door.submission(new), Evidence(new.signed._replace(content=b), whole, (li,)))
        for b in flipped(new.signed.content)
    ]
    tries += [(door.submission(new), Evidence(new.signed, b, (li,))) for b in flipped(whole)]
    tries += [(door.submission(new), evidence(new, li._replace(content=b))) for b in flipped(li.content)]
    tries += [(door.submission(new), evidence(new, li._replace(signature=b))) for b in flipped(li.signature)]
    for submission, forged in tries:
        (found,) = await door.send([submission], forged)
        assert found != "SENT", found
    assert len(tries) > 60
    assert door.bank.lines() == []


async def test_a_thief_with_the_payment_service_gets_nothing_out(door: Door) -> None:
    new, other = door.order(MIDDLE, MIDDLE), door.order(MIDDLE)
    li, for_other = door.approval(new, "li"), door.approval(other, "li")
    wrong = payment_pb2.PaymentInstruction.FromString(new.lines[0])
    wrong.creditor_account.identification = "6225880000000000"
    vouched = new_order("V-1", [instruction("V-1-1", SMALL, "1")], company=NAME, key=door.company.keys["payment"])
    for words, submission, shown, reason in (
        ("no order at all", door.submission(new, order_line=b""), evidence(new, li), "ORDER_MISSING"),
        ("another order's digest", door.submission(new, order_digest=other.digest), evidence(other, for_other), "LINE_NOT_SIGNED"),
        ("another line's place", door.submission(new, line_number=2), evidence(new, li), "LINE_NOT_SIGNED"),
        ("a place outside", door.submission(new, line_number=9), evidence(new, li), "LINE_NOT_SIGNED"),
        ("another creditor beside the signed line", door.submission(new, instruction=wrong), evidence(new, li), "LINE_DIFFERS"),
        ("another order's approval", door.submission(new), evidence(new, for_other), "APPROVALS_MISSING"),
        ("no approval", door.submission(new), evidence(new), "APPROVALS_MISSING"),
        ("its maker's approval", door.submission(new), evidence(new, door.approval(new, "erp")), "APPROVALS_MISSING"),
        ("a clerk's approval", door.submission(new), evidence(new, door.approval(new, "sun")), "APPROVALS_MISSING"),
        ("the service's own key", door.submission(vouched), evidence(vouched), "VOUCHED_FOR_NOBODY"),
        ("an approver's order", door.submission(o := door.order(SMALL, by="li")), evidence(o), "MAKER_ROLE_MISSING"),
        ("a refused order", door.submission(new), evidence(new, li, door.approval(new, "wang", approves=False)), "REFUSED_BY_APPROVER"),
    ):  # fmt: skip
        assert await door.send([submission], shown) == [reason], words
        assert reason in door.alerts(), words
    assert door.bank.lines() == []


async def test_an_approved_line_goes_once_however_often_it_is_sent(door: Door) -> None:
    new = door.order(MIDDLE)
    shown = evidence(new, door.approval(new, "li"))
    assert await door.send([door.submission(new), door.submission(new)], shown) == ["SENT", "LINE_RELEASED_BEFORE"]
    assert await door.send([door.submission(new)], shown) == ["LINE_RELEASED_BEFORE"]
    assert len(door.bank.lines()) == 1


async def test_splits_are_seen_by_the_doors_own_sums(door: Door) -> None:
    lines = [instruction(f"S-{n}", SMALL, "6225881234567890") for n in range(12)]
    new = new_order("SPLIT", lines, company=NAME, key=door.company.keys["erp"])
    found = await door.send([door.submission(new, n) for n in range(1, 13)], evidence(new))
    assert found == ["SENT"] * 10 + ["APPROVALS_MISSING"] * 2
    assert len(door.bank.lines()) == 10


async def test_a_clock_set_back_forgets_nothing_and_believes_nothing_from_the_future(
    run_gateway: Callable[..., Any], scripted_bank: Any, company: Company
) -> None:
    clock = FixedClock(datetime.now(UTC))  # noqa: TID251
    async with run_gateway(scripted_bank.address, gateway_policy_dir=str(company.folder), clock=clock) as gateway:
        door = Door(gateway, scripted_bank, company)
        lines = [instruction(f"S-{n}", SMALL, "6225881234567890") for n in range(10)]
        new = new_order("SPLIT", lines, company=NAME, key=company.keys["erp"])
        assert await door.send([door.submission(new, n) for n in range(1, 11)], evidence(new)) == ["SENT"] * 10
        waiting = door.order(MIDDLE)
        approval = door.approval(waiting, "li")
        clock.advance(-timedelta(days=30))
        again = [door.submission(new, n) for n in range(1, 11)]
        assert await door.send(again, evidence(new)) == ["LINE_RELEASED_BEFORE"] * 10
        more = [instruction("S-11", SMALL, "6225881234567890")]
        split = new_order("SPLIT-2", more, company=NAME, key=company.keys["erp"], clock=clock)
        assert await door.send([door.submission(split)], evidence(split)) == ["APPROVALS_MISSING"]
        assert await door.send([door.submission(waiting)], evidence(waiting, approval)) != ["SENT"]
    assert len(scripted_bank.lines()) == 10


async def test_an_approver_whose_role_was_taken_away_counts_no_more(
    run_gateway: Callable[..., Any], scripted_bank: Any, company: Company
) -> None:
    async with run_gateway(scripted_bank.address, gateway_policy_dir=str(company.folder)) as gateway:
        door = Door(gateway, scripted_bank, company)
        new = door.order(MIDDLE)
        shown = evidence(new, door.approval(new, "li"))
    company.people["li"], company.people["sun"], company.version = "", "checker", 2
    company.publish()
    async with run_gateway(scripted_bank.address, gateway_policy_dir=str(company.folder)) as gateway:
        door = Door(gateway, scripted_bank, company)
        assert await door.send([door.submission(new)], shown) == ["APPROVALS_MISSING"]
    company.people["li"], company.version = "checker", 1
    company.publish()
    with pytest.raises(PolicyInvalid, match="version 1 is older than version 2"):
        async with run_gateway(scripted_bank.address, gateway_policy_dir=str(company.folder)):
            pass
    assert scripted_bank.lines() == []


async def test_a_new_policy_rules_the_door_without_a_restart_and_a_bad_one_never(
    run_gateway: Callable[..., Any], scripted_bank: Any, company: Company
) -> None:
    own = {"gateway_policy_dir": str(company.folder), "gateway_policy_poll_s": 0.05}
    async with run_gateway(scripted_bank.address, **own) as gateway:
        door = Door(gateway, scripted_bank, company)
        new = door.order(MIDDLE, MIDDLE, MIDDLE)
        shown, by_sun = evidence(new, door.approval(new, "li")), evidence(new, door.approval(new, "sun"))
        assert await door.send([door.submission(new, 1)], shown) == ["SENT"]
        company.people["li"], company.people["sun"], company.version = "", "checker", 2
        company.publish()

        async def in_force() -> bool:
            return await door.send([door.submission(new, 2)], by_sun) == ["SENT"]

        async def told() -> bool:
            return "POLICY_REFUSED" in door.alerts()

        await until(in_force, "the new policy to be in force")
        assert await door.send([door.submission(new, 3)], shown) == ["APPROVALS_MISSING"]
        company.people["li"], company.version = "checker", 1
        company.publish()
        await until(told, "the alert about the downgrade")
        assert await door.send([door.submission(new, 3)], shown) == ["APPROVALS_MISSING"]
    assert len(scripted_bank.lines()) == 2


async def test_what_the_door_holds_back_for_a_lost_role_waits_for_another_approver(
    run_gateway: Callable[..., Any], scripted_bank: Any, settings: Settings, sqlite_url: str, company: Company
) -> None:
    of_payment = company.folder.parent / "of_payment"
    shutil.copytree(company.folder, of_payment)
    company.people["li"], company.version = "", 2
    company.publish()
    async with run_gateway(scripted_bank.address, gateway_policy_dir=str(company.folder)) as gateway:
        door = Door(gateway, scripted_bank, company)
        changes = {"with_gateway": False, "gateway_address": f"127.0.0.1:{gateway.port}", "payment_policy_poll_s": 0.05}
        async with run_house(sqlite_url, settings, payment_policy_dir=str(of_payment), **changes) as house:
            await hand_in(house, new := door.order(MIDDLE, order_id="HELD"))
            await approve(house, door, new)

            async def held_back() -> bool:
                found = await house.get("HELD-1")
                return bool(found.payment.status_reason.code == "LAST_DOOR_APPROVALS_MISSING")

            async def listed() -> bool:
                response = await house.stub.ListApprovals(payment_pb.ListApprovalsRequest(), timeout=60)
                return [list(need.people) for one in response.approvals for need in one.missing] == [["zhang"]]

            await until(held_back, "the door to hold it back")
            for file in company.folder.iterdir():
                shutil.copy(file, of_payment)
            await until(listed, "the inbox to name who could approve instead")
            await approve(house, door, new, "zhang")
            await until_sent(door, 1)


async def test_a_held_payment_may_be_cancelled_and_goes_by_itself_once_the_stop_is_lifted(
    door: Door, sqlite_url: str, settings: Settings
) -> None:
    changes = {
        "with_gateway": False,
        "gateway_address": f"127.0.0.1:{door.gateway.port}",
        "payment_policy_dir": str(door.company.folder),
        "payment_retry_delay_s": 600.0,  # so that only the lifting itself can send it
    }
    async with run_house(sqlite_url, settings, **changes) as house:
        stop = await pulled(door)
        for order_id in ("HELD", "UNWANTED"):
            await hand_in(house, new := door.order(MIDDLE, order_id=order_id))
            await approve(house, door, new)
            held = await house.reaches(f"{order_id}-1", "SCHEDULED")
            assert held.payment.status_reason.code == "STOPPED"
            assert "suspected" in held.payment.status_reason.text
        await house.stub.CancelPayment(payment_pb.CancelPaymentRequest(end_to_end_id="UNWANTED-1"), timeout=60)
        assert door.bank.lines() == []
        await lifted(door, stop)
        await until_sent(door, 1)
        assert await house.status("UNWANTED-1") == "CANCELLED"
        assert len(door.bank.lines()) == 1


async def hand_in(house: House, new: NewOrder) -> None:
    request = payment_pb.InitiateSignedPaymentsRequest(order=signed_to(new.signed), lines=new.lines)
    await house.stub.InitiateSignedPayments(request, timeout=60)
    line = payment_pb2.PaymentInstruction.FromString(new.lines[0])
    await house.reaches(line.end_to_end_id, "AWAITING_APPROVAL")


async def approve(house: House, door: Door, new: NewOrder, person: str = "li") -> None:
    signed = door.approval(new, person)
    decision = order_pb2.SignedDecision(decision=signed.content, key_id=signed.key_id, signature=signed.signature)
    await house.stub.DecideOrder(payment_pb.DecideOrderRequest(order=new.digest.hex(), decision=decision), timeout=60)


async def until_sent(door: Door, lines: int) -> None:
    async def sent() -> bool:
        return len(door.bank.lines()) >= lines

    await until(sent, "the approved payment to be sent")


def flipped(content: bytes) -> list[bytes]:
    """Every seventh byte; `tests.evidence forgery` takes them all, 100,000 times."""
    return [content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :] for at in range(0, len(content), 7)]
