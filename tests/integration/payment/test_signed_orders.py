"""Orders that callers sign: taken in as they came or refused as a whole; then people decide."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from fakes import until
from payment_builders import instruction_message
from running import House, run_house

from yinqi.api.payment.v1 import order_pb2, payment_service_pb2
from yinqi.client import NewOrder, OrderInvalid, PrivateKey, new_order, shown_order
from yinqi.kernel.clock import FixedClock
from yinqi.orders.evidence import signed_to
from yinqi.orders.order import read_order, sign_decision
from yinqi.payment.code_secrets import CodeSecrets
from yinqi.payment.one_time_codes import STEP_S, WRONG_MAX, code_at
from yinqi.runtime.errors import error_reason
from yinqi.runtime.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "orders"))

from company import NAME, Company

pb = payment_service_pb2
SMALL, MIDDLE, LARGE = 99_00, 20_000_00, 200_000_00  # nobody; a checker; a checker and a director


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path / "policy")


@pytest.fixture
async def guarded(sqlite_url: str, settings: Settings, company: Company) -> AsyncIterator[House]:
    """The payment service under the company's policy."""
    async with run_house(sqlite_url, settings, payment_policy_dir=str(company.folder)) as running:
        yield running


@pytest.fixture
async def guarded_everywhere(database_url: str, settings: Settings, company: Company) -> AsyncIterator[House]:
    """The same on SQLite and on PostgreSQL."""
    async with run_house(database_url, settings, payment_policy_dir=str(company.folder)) as running:
        yield running


def order(owner: Company, *amounts: int, order_id: str = "RUN-1", by: str = "erp", **changes: Any) -> NewOrder:
    lines = [
        instruction_message(
            f"{order_id}-{n}", instructed_amount__minor_units=amount, creditor_account__identification=f"{n}"
        )
        for n, amount in enumerate(amounts, 1)
    ]
    return new_order(order_id, lines, **{"company": NAME, "key": owner.keys[by], **changes})


async def submit(house: House, new: NewOrder, **changes: Any) -> Any:
    request = pb.InitiateSignedPaymentsRequest(order=signed_to(new.signed), lines=new.lines)
    for name, value in changes.items():
        setattr(request.order, name, value)
    return await house.stub.InitiateSignedPayments(request, timeout=60)


async def decide(
    house: House, new: NewOrder, key: PrivateKey, *, approves: bool = True, digest: bytes = b"", code: str = ""
) -> Any:
    signed = sign_decision(
        digest or new.digest,
        approves=approves,
        shown="seen",
        key=key,
        now=datetime.now(UTC),  # noqa: TID251
    )
    decision = order_pb2.SignedDecision(decision=signed.content, key_id=signed.key_id, signature=signed.signature)
    request = pb.DecideOrderRequest(order=new.digest.hex(), decision=decision, one_time_code=code)
    return await house.stub.DecideOrder(request, timeout=60)


async def refusal(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_reason(caught.value).reason


async def test_a_signed_order_is_recorded_and_repeated_safely(guarded: House, company: Company) -> None:
    new = order(company, SMALL, SMALL)
    first, again = await submit(guarded, new), await submit(guarded, new)
    assert [one.result for one in first.outcomes] == [pb.INITIATION_RESULT_RECORDED] * 2
    assert [one.result for one in again.outcomes] == [pb.INITIATION_RESULT_ALREADY_RECORDED] * 2
    assert first.order_digest == again.order_digest == new.digest.hex()
    await guarded.reaches("RUN-1-1", "SETTLED")
    assert guarded.gateway.paid == {"RUN-1-1": 1, "RUN-1-2": 1}


async def test_every_forgery_refuses_the_whole_order(guarded: House, company: Company) -> None:
    new = order(company, SMALL, SMALL, SMALL)
    signature, content = new.signed.signature, new.signed.content
    for at in range(0, len(signature), 7):
        bent = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        assert await refusal(submit(guarded, new, signature=bent)) == "ORDER_SIGNATURE_INVALID"
    for at in range(0, len(content), 7):
        assert await refusal(submit(guarded, new, order=content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]))
    forged = instruction_message("RUN-1-2", instructed_amount__minor_units=SMALL + 1).SerializeToString()
    lines = (new.lines[0], forged, new.lines[2])
    assert await refusal(submit(guarded, new._replace(lines=lines))) == "LINES_NOT_SIGNED"
    assert await refusal(submit(guarded, new, key_id="zhang-key")) == "KEY_DIFFERS"
    stranger = order(company, SMALL, key=PrivateKey.generate("erp-key"))
    assert await refusal(submit(guarded, stranger)) == "ORDER_SIGNATURE_INVALID"
    unknown = order(company, SMALL, key=PrivateKey.generate("nobody"))
    assert await refusal(submit(guarded, unknown)) == "KEY_UNKNOWN"
    assert await refusal(submit(guarded, order(company, SMALL, by="li"))) == "MAKER_ROLE_MISSING"
    assert await refusal(submit(guarded, order(company, SMALL, company="别的公司"))) == "COMPANY_DIFFERS"
    assert guarded.gateway.paid == {}
    counts = await guarded.stub.CountPayments(pb.CountPaymentsRequest(), timeout=60)
    assert not counts.counts


async def test_replays_under_another_guise_are_refused(guarded: House, company: Company) -> None:
    now = datetime.now(UTC)  # noqa: TID251
    nonce = bytes(16)
    assert (await submit(guarded, order(company, SMALL, random_bytes=lambda _: nonce))).outcomes
    assert await refusal(submit(guarded, order(company, SMALL + 1))) == "ORDER_ID_REUSED"
    other = order(company, SMALL, order_id="RUN-2", random_bytes=lambda _: nonce)
    assert await refusal(submit(guarded, other)) == "NONCE_REUSED"
    late = order(company, SMALL, order_id="RUN-3", clock=FixedClock(now - timedelta(hours=2)))
    assert await refusal(submit(guarded, late)) == "ORDER_EXPIRED"
    early = order(company, SMALL, order_id="RUN-4", clock=FixedClock(now + timedelta(hours=1)))
    assert await refusal(submit(guarded, early)) == "ORDER_FROM_FUTURE"
    endless = order(company, SMALL, order_id="RUN-5", lifetime=timedelta(days=9))
    assert await refusal(submit(guarded, endless)) == "ORDER_LIFETIME_TOO_LONG"


async def test_unsigned_calls_are_refused_where_the_policy_wants_signatures(guarded: House) -> None:
    (outcome,) = (await guarded.initiate(instruction_message("UNSIGNED"))).outcomes
    assert [one.reason for one in outcome.error.violations] == ["SIGNATURE_REQUIRED"]


async def test_the_service_vouches_for_callers_where_the_policy_allows_it(
    sqlite_url: str, settings: Settings, tmp_path: Path
) -> None:
    company = Company(tmp_path / "policy", allow_vouched=True)
    company.keys["payment"].save(tmp_path / "voucher.key")
    voucher = {"payment_voucher_key_id": "payment-key", "payment_voucher_key_file": str(tmp_path / "voucher.key")}
    async with run_house(sqlite_url, settings, payment_policy_dir=str(company.folder), **voucher) as house:
        small = instruction_message("SMALL", instructed_amount__minor_units=SMALL, creditor_account__identification="1")
        await house.initiate(small, instruction_message("MIDDLE", instructed_amount__minor_units=MIDDLE))
        await house.reaches("SMALL", "SETTLED")
        await house.reaches("MIDDLE", "AWAITING_APPROVAL")
        (waiting,) = (await house.stub.ListApprovals(pb.ListApprovalsRequest(), timeout=60)).approvals
        said = order_pb2.PaymentOrder.FromString(waiting.evidence.order.order)
        assert (said.vouched_for, said.key_id, said.line_count) == ("dev", "payment-key", 2)


async def test_a_quorum_releases_and_less_does_not(guarded_everywhere: House, company: Company) -> None:
    guarded = guarded_everywhere
    new = order(company, MIDDLE, LARGE)
    await submit(guarded, new)
    await guarded.reaches("RUN-1-1", "AWAITING_APPROVAL")
    await guarded.reaches("RUN-1-2", "AWAITING_APPROVAL")
    approval = (await decide(guarded, new, company.keys["li"])).approval
    assert [(one.role, one.count) for one in approval.missing] == [("director", 1)]
    await guarded.reaches("RUN-1-1", "SETTLED")
    assert await guarded.status("RUN-1-2") == "AWAITING_APPROVAL"
    found = await guarded.stub.GetApproval(pb.GetApprovalRequest(order=new.digest.hex()), timeout=60)
    assert tuple(found.lines) == new.lines
    assert not (await decide(guarded, new, company.keys["wang"])).approval.missing
    journal = (await guarded.reaches("RUN-1-2", "SETTLED")).journal
    assert [one.type for one in journal][:5] == [
        "payment.received", "payment.screened", "payment.awaiting_approval", "payment.approved", "payment.submitting",
    ]  # fmt: skip
    assert journal[3].actor == "approver:wang"


async def test_decisions_that_count_for_nothing_are_refused(guarded: House, company: Company) -> None:
    new = order(company, MIDDLE, by="zhang")
    await submit(guarded, new)
    await guarded.reaches("RUN-1-1", "AWAITING_APPROVAL")
    assert await refusal(decide(guarded, new, company.keys["zhang"])) == "NO_RIGHT_TO_DECIDE", "its maker"
    assert await refusal(decide(guarded, new, company.keys["sun"])) == "NO_RIGHT_TO_DECIDE", "no such role"
    assert await refusal(decide(guarded, new, PrivateKey.generate("li-key"))) == "DECISION_SIGNATURE_INVALID"
    assert await refusal(decide(guarded, new, company.keys["li"], digest=bytes(32))) == "ORDER_DIFFERS"
    assert await guarded.status("RUN-1-1") == "AWAITING_APPROVAL"
    await decide(guarded, new, company.keys["li"])
    await decide(guarded, new, company.keys["li"])
    assert await refusal(decide(guarded, new, company.keys["li"], approves=False)) == "DECIDED_ALREADY"


async def test_one_refusal_ends_the_order(guarded: House, company: Company) -> None:
    new = order(company, LARGE)
    await submit(guarded, new)
    await guarded.reaches("RUN-1-1", "AWAITING_APPROVAL")
    await decide(guarded, new, company.keys["li"])
    await decide(guarded, new, company.keys["wang"], approves=False)
    found = await guarded.reaches("RUN-1-1", "CANCELLED")
    assert found.payment.status_reason.code == "REFUSED_BY_APPROVER"
    assert guarded.gateway.paid == {}


async def test_a_sum_split_over_orders_waits_for_approval(guarded: House, company: Company) -> None:
    for number in range(12):
        await submit(guarded, order(company, SMALL, order_id=f"SPLIT-{number}"))
        await guarded.reaches(f"SPLIT-{number}-1", "SETTLED" if number < 10 else "AWAITING_APPROVAL")


async def test_an_approver_is_shown_what_was_signed_or_nothing(guarded: House, company: Company) -> None:
    new = order(company, MIDDLE, LARGE)
    await submit(guarded, new)
    found = await guarded.stub.GetApproval(pb.GetApprovalRequest(order="RUN-1"), timeout=60)
    shown = shown_order(found)
    assert shown.digest == new.digest
    assert "2 lines, in all CNY 220000.00" in shown.text
    assert "RUN-1-2: CNY 200000.00 to 北京某某供应商有限公司 2" in shown.text
    found.lines[1] = instruction_message("RUN-1-2", instructed_amount__minor_units=1).SerializeToString()
    with pytest.raises(OrderInvalid, match="LINES_NOT_SIGNED"):
        shown_order(found)


async def test_without_a_policy_signed_orders_are_not_taken(sqlite_house: House, company: Company) -> None:
    assert await refusal(submit(sqlite_house, order(company, SMALL))) == "NO_POLICY"
    assert await refusal(sqlite_house.stub.ListApprovals(pb.ListApprovalsRequest(), timeout=60)) == "NO_POLICY"


async def test_what_waits_is_read_page_by_page_with_who_gave_and_who_could(
    guarded_everywhere: House, company: Company
) -> None:
    house, orders = guarded_everywhere, [order(company, 3 * MIDDLE + n, order_id=f"PAGE-{n}") for n in range(5)]
    for new in orders:
        await submit(house, new)
        await house.reaches(f"{read_order(new.signed).order_id}-1", "AWAITING_APPROVAL")
    await decide(house, orders[0], company.keys["zhang"])
    found, token = [], ""
    for size in (2, 2, 1):
        page = await house.stub.ListApprovals(pb.ListApprovalsRequest(page_size=2, page_token=token), timeout=60)
        assert len(page.approvals) == size
        found += page.approvals
        token = page.next_page_token
    assert token == ""
    assert [one.order_digest for one in found] == [new.digest.hex() for new in orders]
    assert not any(one.evidence.leaves for one in found)
    assert [(one.person, one.counts) for one in found[0].given] == [("zhang", True)]
    assert [(one.role, list(one.people)) for one in found[0].missing] == [("director", ["wang"])]
    assert {one.role: list(one.people) for one in found[1].missing} == {
        "checker": ["li", "zhang"],
        "director": ["wang"],
    }
    assert {(one.maker, one.largest_creditor) for one in found} == {("erp", "北京某某供应商有限公司")}
    await submit(house, over := order(company, 800_000_00, order_id="OVER"))
    await house.reaches("OVER-1", "AWAITING_APPROVAL")
    stuck = await house.stub.GetApproval(pb.GetApprovalRequest(order=over.digest.hex()), timeout=60)
    assert [(one.reason, one.count) for one in stuck.approval.obstacles] == [("LIMIT_EXCEEDED", 1)]
    wrong = pb.ListApprovalsRequest(page_token="bm90IG91cnM=")
    assert await refusal(house.stub.ListApprovals(wrong, timeout=60)) == "FIELD_INVALID"


async def test_a_new_policy_is_in_force_without_a_restart(
    sqlite_url: str, settings: Settings, company: Company
) -> None:
    own = {"payment_policy_dir": str(company.folder), "payment_policy_poll_s": 0.05}
    async with run_house(sqlite_url, settings, **own) as house:
        await submit(house, new := order(company, LARGE))
        await house.reaches("RUN-1-1", "AWAITING_APPROVAL")
        await decide(house, new, company.keys["li"])
        assert await standing(house, new) == (["li"], ["director"])
        company.people["li"], company.version = "clerk", 2
        company.publish()

        async def taken_up(expected: tuple[list[str], list[str]]) -> None:
            async def there() -> bool:
                return await standing(house, new) == expected

            await until(there, f"the new policy to say {expected}")

        await taken_up(([], ["checker", "director"]))
        company.people["li"], company.version = "checker", 1
        company.publish()  # a downgrade
        assert await refusal(decide(house, order(company, LARGE), company.keys["li"])) == "ORDER_NOT_FOUND"
        await decide(house, new, company.keys["wang"])
        assert await standing(house, new) == (["wang"], ["checker"])
        company.people["li"], company.version = "checker", 3
        company.publish()
        await house.reaches("RUN-1-1", "SETTLED")  # Li holds the role again, and his signature was valid at its time.


async def standing(house: House, new: NewOrder) -> tuple[list[str], list[str]]:
    found = await house.stub.GetApproval(pb.GetApprovalRequest(order=new.digest.hex()), timeout=60)
    given = [one.person for one in found.approval.given if one.counts]
    return given, [one.role for one in found.approval.missing]


async def test_an_approval_needs_a_one_time_code_where_the_policy_asks(
    database_url: str, settings: Settings, company: Company
) -> None:
    company.needs_codes = True
    company.publish()
    codes = CodeSecrets(settings.var_dir / "codes.sealed", settings.var_dir / "codes.key")
    own = {
        "payment_policy_dir": str(company.folder),
        "payment_codes_file": str(settings.var_dir / "codes.sealed"),
        "payment_codes_key_file": str(settings.var_dir / "codes.key"),
    }

    def now_shown(secret: bytes) -> str:
        return code_at(secret, step_now())

    async with run_house(database_url, settings, **own) as house:
        first, second = order(company, MIDDLE), order(company, MIDDLE, order_id="RUN-2")
        for new in (first, second):
            await submit(house, new)
        await house.reaches("RUN-1-1", "AWAITING_APPROVAL")
        await house.reaches("RUN-2-1", "AWAITING_APPROVAL")
        asked = await house.stub.GetApproval(pb.GetApprovalRequest(order=first.digest.hex()), timeout=60)
        assert asked.approval.needs_one_time_code
        key = company.keys["li"]
        assert await refusal(decide(house, first, key)) == "ONE_TIME_CODE_NEEDED"
        assert await refusal(decide(house, first, key, code="000000")) == "ONE_TIME_CODE_NOT_SET_UP"
        secret = codes.enrol("li", lambda n: b"k" * n)
        wrong = wrong_code(secret)
        assert await refusal(decide(house, first, key, code=wrong)) == "ONE_TIME_CODE_WRONG"
        used = now_shown(secret)
        await decide(house, first, key, code=used)
        await house.reaches("RUN-1-1", "SETTLED")
        # On a machine so slow that the code has run out meanwhile it is wrong, not used.
        assert await refusal(decide(house, second, key, code=used)) in ("ONE_TIME_CODE_USED", "ONE_TIME_CODE_WRONG")
        for _ in range(WRONG_MAX - 1):
            assert await refusal(decide(house, second, key, code=wrong)) == "ONE_TIME_CODE_WRONG"
        assert await refusal(decide(house, second, key, code=code_at(secret, step_now() + 1))) == "ONE_TIME_CODE_LOCKED"
        await decide(house, second, key, approves=False)  # To refuse takes no code.
        await house.reaches("RUN-2-1", "CANCELLED")


async def test_an_approval_before_screening_needs_its_code_too(
    sqlite_url: str, settings: Settings, company: Company
) -> None:
    company.needs_codes = True
    company.publish()
    async with run_house(sqlite_url, settings, payment_policy_dir=str(company.folder)) as house:
        await house.sisters["monitoring"].drain(0.1)
        await submit(house, new := order(company, MIDDLE))
        assert await house.status("RUN-1-1") == "RECEIVED"
        assert await refusal(decide(house, new, company.keys["li"])) == "ONE_TIME_CODE_NEEDED"
        found = await house.stub.GetApproval(pb.GetApprovalRequest(order=new.digest.hex()), timeout=60)
        assert found.approval.needs_one_time_code
        assert not found.approval.given


def step_now() -> int:
    return int(datetime.now(UTC).timestamp()) // STEP_S  # noqa: TID251


def wrong_code(secret: bytes) -> str:
    """Return what the device does not show within an hour."""
    shown = {code_at(secret, step) for step in range(step_now() - 120, step_now() + 120)}
    return next(code for code in (f"{n:06}" for n in range(1_000)) if code not in shown)
