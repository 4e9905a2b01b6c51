"""A stop at a running gateway: nothing leaves for its scope, all that left is followed, and lifting lets the rest go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from yinqi.api.gateway.v1 import gateway_pb2, stop_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.gateway import exchange
from yinqi.gateway.transport import HttpLine
from yinqi.runtime import attributes
from yinqi.runtime.errors import error_reason

CNY, CNY_2, EUR = "755915678910001", "755915678910002", "755915678932001"
NOT_SENT, PROCESSING = gateway_pb2.BANK_STATUS_NOT_SENT, gateway_pb2.BANK_STATUS_PROCESSING
SETTLED, UNKNOWN = gateway_pb2.BANK_STATUS_SETTLED, gateway_pb2.BANK_STATUS_UNKNOWN
HOUSE = stop_pb2.StopScope(kind=stop_pb2.STOP_SCOPE_KIND_HOUSE)
BANK = stop_pb2.StopScope(kind=stop_pb2.STOP_SCOPE_KIND_BANK, name="demo_bank")
COMPANY = stop_pb2.StopScope(kind=stop_pb2.STOP_SCOPE_KIND_COMPANY, name="银企示例制造有限公司")
ACCOUNT = stop_pb2.StopScope(kind=stop_pb2.STOP_SCOPE_KIND_ACCOUNT, name=CNY)


def as_person(person: str, role: str) -> tuple[tuple[str, str], ...]:
    return ((attributes.IDENTITY_KEY, person), (attributes.ROLES_KEY, role))


async def pull(gateway: Any, scope: stop_pb2.StopScope, person: str = "li.si") -> stop_pb2.Stop:
    request = stop_pb2.PullStopRequest(scope=scope, reason="账户疑似被盗")
    response = await gateway.stub.PullStop(request, timeout=60, metadata=as_person(person, "stop_puller"))
    return response.stop


async def lift(gateway: Any, stop: stop_pb2.Stop, person: str) -> bool:
    request = stop_pb2.LiftStopRequest(stop_id=stop.stop_id, reason="查清")
    response = await gateway.stub.LiftStop(request, timeout=60, metadata=as_person(person, "stop_lifter"))
    return bool(response.is_lifted)


async def lift_by_two(gateway: Any, stop: stop_pb2.Stop) -> None:
    assert not await lift(gateway, stop, "li.si")
    assert await lift(gateway, stop, "wang.wu")


def reasons(reports: list[gateway_pb2.PaymentStatusReport]) -> list[str]:
    assert all(one.status in (NOT_SENT, PROCESSING) for one in reports), reports
    return [one.reason_code if one.status == NOT_SENT else "SENT" for one in reports]


async def test_a_stop_holds_its_scope_and_nothing_else_until_two_people_lift_it(
    run_gateway: Callable[..., Any], scripted_bank: Any
) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        for scope, held in ((ACCOUNT, 1), (COMPANY, 2), (BANK, 3), (HOUSE, 3)):
            scripted_bank.calls.clear()
            stop = await pull(gateway, scope)
            lines = [gateway.submission(release=1), gateway.submission(account=CNY_2, release=1)]
            lines += [gateway.submission(account=EUR, currency="EUR", release=1)]
            reports = await gateway.submit(*lines)
            assert reasons(reports) == ["STOPPED"] * held + ["SENT"] * (3 - held)
            assert "li.si" in reports[0].reason_text
            assert "解除后自动继续" in reports[0].reason_text
            assert len(scripted_bank.lines()) == 3 - held
            await lift_by_two(gateway, stop)
            for line in lines[:held]:
                line.release = 2
            assert set(reasons(await gateway.submit(*lines[:held]))) == {"SENT"}
            assert sorted(scripted_bank.lines()) == sorted(line.instruction_id for line in lines)


async def test_every_replica_obeys_and_a_restart_forgets_nothing(
    run_gateway: Callable[..., Any], scripted_bank: Any, postgresql_url: str
) -> None:
    async with run_gateway(scripted_bank.address, database_url=postgresql_url) as one:
        async with run_gateway(scripted_bank.address, database_url=postgresql_url) as other:
            assert reasons(await other.submit(other.submission())) == ["SENT"]
            stop = await pull(one, BANK)
            assert reasons(await other.submit(other.submission())) == ["STOPPED"]
        async with run_gateway(scripted_bank.address, database_url=postgresql_url) as again:
            assert reasons(await again.submit(again.submission())) == ["STOPPED"]
            await lift_by_two(again, stop)
        assert reasons(await one.submit(one.submission())) == ["SENT"]
    assert len(scripted_bank.lines()) == 2


async def test_what_is_at_the_bank_is_followed_to_its_end_while_all_is_stopped(
    run_gateway: Callable[..., Any], scripted_bank: Any, take_all: Any, make_record: Callable[..., Any]
) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        line = gateway.submission()

        def late(call: Any) -> Any:
            if call.function == "BB1PAYQR":
                return {"bb1payqrz1": [make_record(scripted_bank.submits[0].body["bb1payopx1"][0])]}
            return take_all(call)

        scripted_bank.answer = late
        scripted_bank.delay_s = 0.5  # the message is at the bank while the stop is pulled
        sending = asyncio.create_task(gateway.submit(line))
        await scripted_bank.called.wait()
        await pull(gateway, HOUSE)
        assert reasons(await sending) == ["SENT"]
        scripted_bank.delay_s = 0.0
        (report,) = await gateway.query(line)
        assert report.status == SETTLED
        assert reasons(await gateway.submit(gateway.submission())) == ["STOPPED"]


async def test_a_stop_catches_what_already_waits_for_its_turn(
    run_gateway: Callable[..., Any], scripted_bank: Any
) -> None:
    async with run_gateway(scripted_bank.address, profile={"submit = 50": "submit = 1"}) as gateway:
        scripted_bank.delay_s = 1.0
        first = asyncio.create_task(gateway.submit(gateway.submission()))
        await scripted_bank.called.wait()
        second = asyncio.create_task(gateway.submit(gateway.submission(account=CNY_2)))
        await asyncio.sleep(0.2)  # whether it waits already or comes later, it must not go
        await pull(gateway, BANK)
        assert reasons(await first + await second) == ["SENT", "STOPPED"]
        assert len(scripted_bank.lines()) == 1


async def test_a_stop_that_comes_while_the_line_is_being_opened_is_seen_before_the_first_byte(
    run_gateway: Callable[..., Any], scripted_bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, stops = HttpLine.post, list[stop_pb2.Stop]()
    monkeypatch.setattr(exchange, "_FRESH_S", 0.0)  # as if connecting had taken long

    async with run_gateway(scripted_bank.address) as gateway:

        async def opened_late(self: Any, *arguments: Any, **options: Any) -> Any:
            if not stops:
                stops.append(await pull(gateway, ACCOUNT))
            return await original(self, *arguments, **options)

        monkeypatch.setattr(HttpLine, "post", opened_late)
        line = gateway.submission(release=1)
        assert reasons(await gateway.submit(line)) == ["STOPPED"]
        assert scripted_bank.lines() == []
        await lift_by_two(gateway, stops[0])
        line.release = 2
        assert reasons(await gateway.submit(line)) == ["SENT"]


async def test_repeated_words_change_nothing_and_the_list_tells_all(
    run_gateway: Callable[..., Any], scripted_bank: Any
) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        first, second = await pull(gateway, BANK), await pull(gateway, BANK, "wang.wu")
        assert first == second
        assert not await lift(gateway, first, "li.si")
        assert not await lift(gateway, first, "li.si")
        assert await lift(gateway, first, "wang.wu")
        assert await lift(gateway, first, "wang.wu")
        await pull(gateway, HOUSE)

        async def listed(**wanted: Any) -> list[stop_pb2.Stop]:
            return list((await gateway.stub.ListStops(stop_pb2.ListStopsRequest(**wanted), timeout=60)).stops)

        assert [stop.scope.kind for stop in await listed()] == [stop_pb2.STOP_SCOPE_KIND_HOUSE]
        _, lifted = await listed(include_lifted=True)
        assert (lifted.pulled.person, lifted.lift_asked.person, lifted.lifted.person) == ("li.si", "li.si", "wang.wu")
        follow = gateway.stub.FollowNotices(pb.FollowNoticesRequest(after_sequence=0))
        events = (await anext(aiter(follow))).events
        assert [event.refusal for event in events] == ["STOP_PULLED", "STOP_LIFTED", "STOP_PULLED"]
        follow.cancel()


async def test_what_is_wrong_with_a_call_is_said_and_no_sister_may_pull_or_lift(
    run_gateway: Callable[..., Any], scripted_bank: Any
) -> None:
    kinds = stop_pb2.StopScopeKind
    named_house = stop_pb2.StopScope(kind=kinds.STOP_SCOPE_KIND_HOUSE, name="all")
    no_name = stop_pb2.StopScope(kind=kinds.STOP_SCOPE_KIND_BANK)
    no_bank = stop_pb2.StopScope(kind=kinds.STOP_SCOPE_KIND_BANK, name="demo_bnak")
    pulls = [
        (stop_pb2.StopScope(), "x"),
        (named_house, "x"),
        (no_name, "x"),
        (no_bank, "x"),
        (BANK, ""),
        (BANK, "a\nb"),
    ]
    wrong = ["SCOPE_MISSING", "SCOPE_NAME_NOT_EMPTY", "SCOPE_NAME_INVALID", "SCOPE_UNKNOWN", *["REASON_INVALID"] * 2]
    async with run_gateway(scripted_bank.address) as gateway:

        async def refusal(method: str, request: Any, role: str) -> str:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await getattr(gateway.stub, method)(request, timeout=60, metadata=as_person("thief", role))
            return error_reason(refused.value).reason

        requests = [stop_pb2.PullStopRequest(scope=scope, reason=why) for scope, why in pulls]
        assert [await refusal("PullStop", one, "stop_puller") for one in requests] == wrong
        lifting = stop_pb2.LiftStopRequest(stop_id="ST404", reason="x")
        assert await refusal("LiftStop", lifting, "stop_lifter") == "STOP_NOT_FOUND"
        assert await refusal("LiftStop", lifting, "service/payment,stop_puller") == "ROLE_MISSING"
        assert await refusal("PullStop", requests[0], "service/payment,stop_lifter") == "ROLE_MISSING"
        assert (
            await refusal("ListStops", stop_pb2.ListStopsRequest(page_size=1_001), "payment_viewer")
            == "PAGE_SIZE_INVALID"
        )
        assert reasons(await gateway.submit(gateway.submission())) == ["SENT"]
