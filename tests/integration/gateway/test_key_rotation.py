"""Keys change while payments run: before, during and after, each payment settles once, and every use is on record."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.cli import app
from yinqi.sandbox_bank import sm

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "orders"))

from company import Company

NOT_SENT, PROCESSING = gateway_pb2.BANK_STATUS_NOT_SENT, gateway_pb2.BANK_STATUS_PROCESSING
SETTLED = gateway_pb2.BANK_STATUS_SETTLED
UNKNOWN = gateway_pb2.BANK_STATUS_UNKNOWN
SENT, RECEIVED = pb.MESSAGE_DIRECTION_SENT, pb.MESSAGE_DIRECTION_RECEIVED


class Officer:
    """A person at the command line."""

    def __init__(self, name: str, gateway: Any) -> None:
        self._environment = {"LOGNAME": name, "YINQI_GATEWAY_ADDRESS": f"127.0.0.1:{gateway.port}", "COLUMNS": "300"}

    async def tries(self, *words: str) -> tuple[int, str]:
        invoke = CliRunner().invoke
        result = await asyncio.to_thread(invoke, app, ["keys", *words], env=self._environment)
        return result.exit_code, result.output

    async def does(self, *words: str) -> str:
        code, output = await self.tries(*words)
        assert code == 0, output
        return output

    async def stages(self, *words: str) -> str:
        found = re.search(r"staged 待启用: ([0-9a-f]{16})", await self.does(*words))
        assert found is not None
        return found[1]


class Payments:
    """Sends a few payments at a time, again and again, until told to stop."""

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway
        self.sent: list[gateway_pb2.Submission] = []
        self._stop = False
        self._running = asyncio.create_task(self._run())

    async def one(self) -> tuple[gateway_pb2.PaymentStatusReport, dict[int, pb.ArchivedMessage]]:
        """Send one; return the report, and its messages by direction."""
        submission, report = self.gateway.submission(), None
        while report is None or report.status == NOT_SENT:  # on a busy machine the line may not be free in time
            submission = self.gateway.submission()
            (report,) = await self.gateway.submit(submission)
        self.sent.append(submission)
        return report, {one.direction: one for one in await self.gateway.messages(submission.instruction_id)}

    async def stop(self) -> None:
        self._stop = True
        await self._running

    async def _run(self) -> None:
        while not self._stop:
            batch = [self.gateway.submission() for _ in range(3)]
            reports = await self.gateway.submit(*batch)
            assert {report.status for report in reports} <= {PROCESSING, NOT_SENT}
            self.sent += [one for one, report in zip(batch, reports, strict=True) if report.status == PROCESSING]
            await asyncio.sleep(0.3)


def install(folder: Path, pair: tuple[bytes, bytes]) -> None:
    """Give the bank a key pair; the private half last, for it says that both are there."""
    for name, key in (("bank_public_key.hex", pair[1]), ("bank_private_key.hex", pair[0])):
        draft = folder / f"{name}.draft"
        draft.write_text(key.hex() + "\n")
        draft.chmod(0o600)
        draft.replace(folder / name)


async def rotated(key_id: str, asks: Officer, confirms: Officer) -> None:
    await asks.does("rotate", "demo_bank", key_id, "--overlap-hours", "1")
    assert "active 已启用" in await confirms.does("rotate", "demo_bank", key_id, "--confirm")


async def test_keys_change_while_payments_run_and_each_settles_once(
    tmp_path: Path, run_gateway: Any, sandbox_bank_runner: Callable[[Path, str], Any]
) -> None:
    exchange = tmp_path / "exchange"
    with sandbox_bank_runner(tmp_path, "") as bank:
        async with run_gateway(bank.address, gateway_key_check_s=0.2) as gateway:
            li, wang = Officer("li.si", gateway), Officer("wang.wu", gateway)
            payments = Payments(gateway)
            report, before = await payments.one()
            assert report.status == PROCESSING

            # Ours: a new signing key, then a new symmetric one.
            signing = await li.stages("create", "--profile", "demo_bank")
            exported = await li.does("export", "demo_bank", signing)
            assert "BEGIN PUBLIC KEY" in exported
            await rotated(signing, li, wang)
            _, after = await payments.one()
            assert after[SENT].key_id == signing != before[SENT].key_id
            cipher = await wang.stages("create", "--profile", "demo_bank", "--purpose", "cipher")
            await rotated(cipher, wang, li)
            _, after = await payments.one()
            assert after[SENT].cipher_key_id == after[RECEIVED].cipher_key_id == cipher

            # The bank's: it goes on with the old key for a while, then comes with the new one.
            old_pair = tuple(
                bytes.fromhex((exchange / f"bank_{name}_key.hex").read_text()) for name in ("private", "public")
            )
            new_pair = sm.generate_key_pair()
            (tmp_path / "from_the_bank.hex").write_text(new_pair[1].hex())
            banks = await li.stages("import", "demo_bank", "--bank-key", str(tmp_path / "from_the_bank.hex"))
            await rotated(banks, li, wang)
            report, overlap = await payments.one()
            assert (report.status, overlap[RECEIVED].key_id) == (PROCESSING, before[RECEIVED].key_id)
            install(exchange, new_pair)
            report, after = await payments.one()
            assert (report.status, after[RECEIVED].key_id) == (PROCESSING, banks)
            await payments.stop()

            # After the overlap the bank's old key is a stranger's, and somebody is told.
            await wang.does("retire", "demo_bank", before[RECEIVED].key_id)
            install(exchange, (old_pair[0], old_pair[1]))
            report, _ = await payments.one()
            assert (report.status, report.reason_code) == (UNKNOWN, "BANK_KEY_RETIRED")
            async for response in gateway.stub.FollowNotices(pb.FollowNoticesRequest(), timeout=60):
                if "BANK_KEY_RETIRED" in {event.refusal for event in response.events}:
                    break
            install(exchange, new_pair)

            for start in range(0, len(payments.sent), 100):
                reports = await gateway.query(*payments.sent[start : start + 100])
                assert {one.status for one in reports} == {SETTLED}
            book = bank.control("GET", "/control/book")
            assert book["double_debits"] == 0
            times = {one["reference"]: one["times_debited"] for one in book["payments"]}
            assert times == {one.instruction_id: 1 for one in payments.sent}
            listed = await li.does("list")
            assert "asked 申请 cli:li.si" in listed
            assert "activated 启用 cli:wang.wu" in listed

        with sqlite3.connect(tmp_path / "gateway.db") as journal:
            unnamed = "SELECT count(*) FROM gateway_message_events WHERE key_id = '' AND failure = ''"
            assert journal.execute(unnamed).fetchone() == (0,)
            kinds = [row[0] for row in journal.execute("SELECT kind FROM gateway_key_events ORDER BY sequence")]
        journal.close()
        assert kinds == ["ADOPTED"] * 3 + ["STAGED", "ACTIVATION_ASKED", "ACTIVATED"] * 3 + ["RETIRED"]

        # The journal is what a restart goes by: the same keys are in use.
        async with run_gateway(bank.address) as gateway:
            submission = gateway.submission()
            (report,) = await gateway.submit(submission)
            messages = {one.direction: one for one in await gateway.messages(submission.instruction_id)}
            assert report.status == PROCESSING
            assert (messages[SENT].key_id, messages[RECEIVED].key_id) == (signing, banks)


async def test_where_a_policy_is_in_force_two_officers_signatures_activate_a_key_whoever_the_callers_say_they_are(
    scripted_bank: Any, run_gateway: Any, tmp_path: Path
) -> None:
    company = Company(tmp_path / "policy")
    company.people |= {"li": "checker,key_officer", "wang": "director,key_officer"}
    company.publish()
    for name in ("li", "wang", "sun"):
        company.keys[name].save(tmp_path / f"{name}.key")

    def own(name: str) -> tuple[str, ...]:
        return "--key", str(tmp_path / f"{name}.key"), "--key-id", f"{name}-key"

    async with run_gateway(scripted_bank.address, gateway_policy_dir=str(company.folder)) as gateway:
        one, two = Officer("somebody", gateway), Officer("somebody.else", gateway)
        key_id = await one.stages("create", "--profile", "demo_bank", "--purpose", "cipher")
        asking = ("rotate", "demo_bank", key_id, "--overlap-hours", "2")
        confirming = ("rotate", "demo_bank", key_id, "--confirm")
        assert "OFFICER_SIGNATURE_REQUIRED" in (await one.tries(*asking))[1]
        assert "OFFICER_SIGNATURE_REQUIRED" in (await one.tries(*asking, *own("sun")))[1]  # a clerk
        assert "by li." in await one.does(*asking, *own("li"))
        assert "SAME_PERSON" in (await two.tries(*confirming, *own("li")))[1]
        wrong = own("li")[:2] + own("wang")[2:]  # li signs, and says he is wang
        assert "OFFICER_SIGNATURE_REQUIRED" in (await two.tries(*confirming, *wrong))[1]
        assert "by wang" in await two.does(*confirming, *own("wang"))


async def test_the_gateway_does_not_start_with_a_key_that_others_can_read(
    scripted_bank: Any, run_gateway: Any, exchange_dir: Path
) -> None:
    async with run_gateway(scripted_bank.address):
        pass
    (exchange_dir / "company" / "U123456789.signing_key.pem").chmod(0o644)
    with pytest.raises(Exception, match=r"can be read by others; run `chmod 600"):
        async with run_gateway(scripted_bank.address):
            pass


async def test_what_is_no_key_or_a_weak_one_is_not_taken_in(
    scripted_bank: Any, run_gateway: Any, tmp_path: Path
) -> None:
    file = tmp_path / "offered.hex"
    async with run_gateway(scripted_bank.address) as gateway:
        li = Officer("li.si", gateway)
        file.write_text("04" + "11" * 64)
        assert "KEY_SOURCE" in (await li.tries("import", "demo_bank", "--bank-key", str(file)))[1]
        staged = await li.stages("create", "--profile", "demo_bank", "--purpose", "cipher")
        await li.does("rotate", "demo_bank", staged)
        code, output = await li.tries("rotate", "demo_bank", staged, "--confirm")
        assert (code, "SAME_PERSON" in output) == (1, True)
        # G itself: the public key of the private key 1.
        file.write_text(
            "0432c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"
            "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"
        )
        assert "KEY_WEAK" in (await li.tries("import", "demo_bank", "--bank-key", str(file)))[1]
        assert "KEYS_INVALID" in (await li.tries("import", "demo_bank", "--file", "not_there.pem"))[1]
        assert "KEY_SOURCE" in (await li.tries("import", "demo_bank", "--file", "../../etc/passwd"))[1]
        assert "PROFILE_UNKNOWN" in (await li.tries("list", "no_bank"))[1]
