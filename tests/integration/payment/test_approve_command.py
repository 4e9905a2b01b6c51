"""`yinqi keys`, `yinqi policy` and `yinqi approve`, from a new key to a paid order."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from payment_builders import instruction_message
from running import House, run_house
from typer.testing import CliRunner

from yinqi.cli import app
from yinqi.client import OrderClient, PrivateKey, new_order
from yinqi.payment.one_time_codes import STEP_S, code_at
from yinqi.runtime.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "orders"))

from company import NAME, Company


async def command(*words: str, house: House | None = None, **changes: str) -> Any:
    environment = {"YINQI_PAYMENT_ADDRESS": house.channel_address} if house else {}
    return await asyncio.to_thread(
        CliRunner().invoke, app, list(words), env={**environment, **changes, "COLUMNS": "300"}
    )


async def test_an_order_is_listed_shown_and_approved_by_command(
    sqlite_url: str, settings: Settings, tmp_path: Path
) -> None:
    company, file = Company(tmp_path / "policy"), str(tmp_path / "li.key")
    made = await command("keys", "create", file, "--key-id", "li-key")
    assert made.exit_code == 0, made.output
    company.keys["li"] = PrivateKey.load(tmp_path / "li.key", "li-key")
    assert company.keys["li"].public_key().raw.hex() in made.output
    company.publish("chen")
    assert "valid are those of chen" in (await command("policy", "check", str(company.folder))).output
    company.anchors["zhou"].save(tmp_path / "zhou.key")
    signing = ("--key", str(tmp_path / "zhou.key"), "--key-id", "zhou-policy")
    assert (await command("policy", "sign", str(company.folder), *signing)).exit_code == 0
    assert "signed by chen, zhou" in (await command("policy", "check", str(company.folder))).output
    async with run_house(sqlite_url, settings, payment_policy_dir=str(company.folder)) as house:
        async with OrderClient(house.channel_address, identity="erp", settings=settings) as client:
            line = instruction_message("RUN-1-1", instructed_amount__minor_units=2_000_000)
            await client.submit(new_order("RUN-1", [line], company=NAME, key=company.keys["erp"]), timeout_s=60)
        await house.reaches("RUN-1-1", "AWAITING_APPROVAL")
        listed = (await command("approve", "list", house=house)).output
        assert "RUN-1" in listed
        assert "1 checker" in listed
        shown = (await command("approve", "show", "RUN-1", house=house)).output
        assert "RUN-1-1: CNY 20000.00 to 北京某某供应商有限公司" in shown
        own = ("--key", file, "--key-id", "li-key", "--yes")
        given = await command("approve", "give", "RUN-1", *own, house=house)
        assert given.exit_code == 0, given.output
        await house.reaches("RUN-1-1", "SETTLED")
        again = await command("approve", "refuse", "RUN-1", *own, house=house)
        assert again.exit_code == 1
        assert "nothing waits" in (await command("approve", "list", house=house)).output


async def test_a_person_is_given_one_time_codes_and_approves_with_one(
    sqlite_url: str, settings: Settings, tmp_path: Path
) -> None:
    company = Company(tmp_path / "policy")
    company.needs_codes = True
    company.publish()
    company.keys["li"].save(tmp_path / "li.key")
    own = {"payment_policy_dir": str(company.folder), "var_dir": tmp_path / "var"}
    environment = {"YINQI_PAYMENT_POLICY_DIR": str(company.folder), "YINQI_VAR_DIR": str(tmp_path / "var")}
    async with run_house(sqlite_url, settings, **own) as house:
        stranger = await command("approve", "enrol", "nobody", **environment)
        assert stranger.exit_code == 1
        assert "no such person" in stranger.output
        printed = (await command("approve", "enrol", "li", **environment)).output
        found = re.search(r"secret=([A-Z2-7]+)", printed)
        assert found, printed
        async with OrderClient(house.channel_address, identity="erp", settings=settings) as client:
            line = instruction_message("RUN-1-1", instructed_amount__minor_units=2_000_000)
            await client.submit(new_order("RUN-1", [line], company=NAME, key=company.keys["erp"]), timeout_s=60)
        await house.reaches("RUN-1-1", "AWAITING_APPROVAL")
        signing = ("--key", str(tmp_path / "li.key"), "--key-id", "li-key", "--yes")
        step = int(datetime.now(UTC).timestamp()) // STEP_S  # noqa: TID251
        code = code_at(base64.b32decode(found[1]), step)
        given = await command("approve", "give", "RUN-1", *signing, "--code", code, house=house)
        assert given.exit_code == 0, given.output
        await house.reaches("RUN-1-1", "SETTLED")
