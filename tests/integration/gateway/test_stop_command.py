"""`yinqi stop` against a running gateway: what is typed, what comes back, in both languages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from typer.testing import CliRunner

from yinqi.cli import app

CNY = "755915678910001"


async def test_one_person_stops_two_lift_and_the_list_tells_why(
    run_gateway: Callable[..., Any], scripted_bank: Any
) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        env = {"YINQI_GATEWAY_ADDRESS": f"127.0.0.1:{gateway.port}", "COLUMNS": "200"}

        async def run(*words: str) -> tuple[int, str]:
            result = await asyncio.to_thread(CliRunner().invoke, app, ["stop", *words], env=env)
            return result.exit_code, result.output

        why = ("--reason", "账户疑似被盗", "--person")
        assert (await run("pull", "--everything", "--account", CNY, *why, "li.si"))[0] == 2
        assert "没有止付" in (await run("list"))[1]
        code, text = await run("pull", "--account", CNY, *why, "li.si")
        assert code == 0, text
        assert "已止付" in text
        assert CNY not in text
        (stop_id,) = set(re.findall(r"ST[0-9A-F]{24}", text))
        assert "it was stopped before" in (await run("pull", "--account", CNY, *why, "wang.wu"))[1]
        (report,) = await gateway.submit(gateway.submission())
        assert report.reason_code == "STOPPED"
        for person, says in (("li.si", "须由第二人确认"), ("li.si", "须由第二人确认"), ("wang.wu", "已解除")):
            code, text = await run("lift", stop_id, "--reason", "查清", "--person", person)
            assert code == 0, text
            assert says in text
        assert "没有止付" in (await run("list"))[1]
        assert "账户疑似被盗" in (await run("list", "--all"))[1]
        code, text = await run("lift", "ST404", "--reason", "x", "--person", "li.si")
        assert code == 1
        assert "STOP_NOT_FOUND" in text
