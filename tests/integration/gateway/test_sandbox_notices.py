"""The gateway's door and the real sandbox bank's notices: forged, altered, doubled and replayed ones among them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb

# Payments go one by one, so the n-th notice is the n-th payment's.
SCRIPT = """
[[rule]]
forge_notice = { how = "wrong_key" }
nth = [1]
[[rule]]
forge_notice = { how = "altered" }
nth = [2]
[[rule]]
duplicate_notice = { copies = 2 }
nth = [3]
[[rule]]
replay_notice = { back = 1 }
nth = [4]
"""


async def test_only_true_notices_of_the_sandbox_bank_become_reports(
    tmp_path: Path, run_gateway: Any, sandbox_bank_runner: Callable[[Path, str], Any]
) -> None:
    notices_on = {"[notices]\nenabled = false": "[notices]\nenabled = true"}
    reports: dict[str, list[int]] = {}
    refusals: set[str] = set()
    with sandbox_bank_runner(tmp_path, SCRIPT) as bank:
        async with run_gateway(bank.address, profile=notices_on) as gateway:
            url = f"http://127.0.0.1:{gateway.notice_port}/notices/cdc"
            await asyncio.to_thread(bank.control, "POST", "/control/notices", json={"url": url})
            stream = gateway.stub.FollowNotices(pb.FollowNoticesRequest(), timeout=120)

            async def read() -> None:
                for event in (await stream.read()).events:
                    if event.HasField("report"):
                        reports.setdefault(event.report.instruction_id, []).append(event.report.status)
                    else:
                        refusals.add(event.refusal)

            for _ in range(5):
                payment = gateway.submission()
                await gateway.submit(payment)
                while payment.instruction_id not in reports:
                    await read()
            while not {"BAD_SIGNATURE", "REPLAYED"} <= refusals:
                await read()
            stream.cancel()
    # Each once, and none says the opposite.
    assert set(map(tuple, reports.values())) == {(gateway_pb2.BANK_STATUS_SETTLED,)}
