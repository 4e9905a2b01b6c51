"""The console's inbox over the real payment service: what waits, proven against the signed order, or that nothing ever waits."""

from __future__ import annotations

import sys
from pathlib import Path

from payment_builders import instruction_message
from running import run_house

from yinqi.client import OrderClient, new_order
from yinqi.monitoring.console import view_approvals
from yinqi.monitoring.console.sisters import SERVICES, Sisters
from yinqi.monitoring.console.words import Words
from yinqi.runtime.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "orders"))

from company import NAME, Company


async def test_the_inbox_says_that_no_policy_is_in_force(sqlite_url: str, settings: Settings) -> None:
    async with run_house(sqlite_url, settings) as house:
        sisters = Sisters(dict.fromkeys(SERVICES, house.channel), timeout_s=60.0)
        assert await sisters.list_approvals(20, "") is None


async def test_the_inbox_shows_an_order_as_it_was_signed_and_what_no_approval_helps_against(
    sqlite_url: str, settings: Settings, tmp_path: Path
) -> None:
    company = Company(tmp_path / "policy")
    async with run_house(sqlite_url, settings, payment_policy_dir=str(company.folder)) as house:
        async with OrderClient(house.channel_address, identity="erp", settings=settings) as client:
            for name, creditor, minor_units in (
                ("RUN", "1", 2_000_000),
                ("OVER", "2", 60_000_000),
                ("PAST", "2", 60_000_000),
            ):
                line = instruction_message(
                    f"{name}-1",
                    instructed_amount__minor_units=minor_units,
                    creditor_account__identification=creditor,
                )
                await client.submit(new_order(name, [line], company=NAME, key=company.keys["erp"]), timeout_s=60)
                await house.reaches(f"{name}-1", "AWAITING_APPROVAL")
        sisters = Sisters(dict.fromkeys(SERVICES, house.channel), timeout_s=60.0)
        listed = await sisters.list_approvals(20, "")
        assert listed is not None
        table = view_approvals.approvals_table(listed[0], Words("en"))
        assert table.index("RUN") < table.index("OVER")
        assert "1 × checker" in table
        assert "li / zhang" in table
        assert "LIMIT_EXCEEDED" in table
        shown = await sisters.get_approval(listed[0][0].order_digest)
        assert "RUN-1" in view_approvals.lines_table(shown, Words("en"))
        assert f"yinqi approve give {shown.digest.hex()}" in view_approvals.commands(shown, Words("en"))
