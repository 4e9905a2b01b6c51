"""Payment, gateway and monitoring over mutual TLS in this process, the sandbox bank beside it, and a thief among them."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from attacks import EDITS, OF_SEALING, Call, Edit, calls, evidence, submission
from company import NAME, Company

from yinqi.api.common.v1 import party_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from yinqi.api.payment.v1 import order_pb2, payment_pb2, payment_service_pb2
from yinqi.client import NewOrder, new_order
from yinqi.demo.bank_control import BankControl
from yinqi.demo.sisters import Sisters
from yinqi.demo.suite import children, exchange_dir, prepare, suite_env
from yinqi.gateway.main import main as gateway_main
from yinqi.gateway.settings import GatewaySettings
from yinqi.kernel.clock import SystemClock
from yinqi.monitoring.main import main as monitoring_main
from yinqi.monitoring.settings import MonitoringSettings
from yinqi.orders.evidence import evidence_to, signed_to
from yinqi.orders.keys import Signed
from yinqi.orders.order import sign_decision
from yinqi.payment.main import main as payment_main
from yinqi.payment.settings import PaymentSettings
from yinqi.runtime.errors import error_reason
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.listening import free_port
from yinqi.runtime.migrations import migrate
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Supervisor
from yinqi.runtime.telemetry import Telemetry

DEBTOR_ACCOUNT = "755915678910001"
MIDDLE = 20_000_00  # takes one checker
STATUS = payment_pb2.PaymentStatus
SERVICES = ("gateway", "monitoring", "payment")
_MAINS: dict[str, tuple[Callable[..., Awaitable[None]], type[Settings]]] = {
    "gateway": (gateway_main, GatewaySettings),
    "monitoring": (monitoring_main, MonitoringSettings),
    "payment": (payment_main, PaymentSettings),
}
_QUICK = {
    "poll_interval_ms": 20, "first_query_delay_s": 0.05, "query_interval_s": 0.1, "payment_retry_delay_s": 0.5,
    "gateway_policy_poll_s": 0.05, "journal_seal_interval_s": 0.1, "console_enabled": False, "gateway_notice_port": 0,
    "migrate_at_start": False, "drain_grace_s": 0.5, "tls_mode": "mutual", "dev_identity_enabled": True,
}  # fmt: skip


@dataclass
class Story:
    """What came of the attacks.

    Attributes:
        approved: the lines that people approved, by end_to_end_id, as they signed them.
        tried: the edits made; edits: the alerts that each left, by the number of the payment it was about.
        calls: what the gateway said of each call, and the alerts that it left.
        stolen: how a stolen certificate was answered, by service and RPC. denials: alerts of these.
        downgrade: answers before and after the old policy was put back, and the alerts of that.
        debits: what the bank's own book debited: reference → (hundredths, creditor account).
    """

    var_dir: Path
    settings: Settings
    company: Company
    approved: dict[str, payment_pb2.PaymentInstruction] = field(default_factory=dict)
    reference_of: dict[str, str] = field(default_factory=dict)
    tried: list[Edit] = field(default_factory=list)
    edits: dict[int, list[str]] = field(default_factory=dict)
    statuses: dict[int, str] = field(default_factory=dict)
    calls: list[tuple[Call, str, list[str]]] = field(default_factory=list)
    stolen: dict[tuple[str, str], str] = field(default_factory=dict)
    denials: list[str] = field(default_factory=list)
    downgrade: list[str] = field(default_factory=list)
    policy_alerts: int = 0
    debits: dict[str, tuple[int, str]] = field(default_factory=dict)
    edited_events: list[int] = field(default_factory=list)


class House:
    """What the company and the thief hold in their hands."""

    def __init__(self, settings: Settings, company: Company, sisters: Sisters, stack: AsyncExitStack) -> None:
        self.settings = settings
        self.company = company
        self.sisters = sisters
        self._stack = stack
        self._serial = 0

    def order(self, order_id: str) -> NewOrder:
        self._serial += 1
        line = payment_pb2.PaymentInstruction(end_to_end_id=f"{order_id}-1")
        line.debtor_account.identification, line.debtor_account.currency = DEBTOR_ACCOUNT, "CNY"
        line.creditor.name = "收款有限公司"
        line.creditor_account.identification = f"62258812345600{self._serial:02}"
        line.creditor_account.scheme = party_pb2.ACCOUNT_SCHEME_BBAN
        line.creditor_agent.clearing_member_id = "102100099996"
        line.instructed_amount.currency, line.instructed_amount.minor_units = "CNY", MIDDLE
        return new_order(order_id, [line], company=NAME, key=self.company.keys["erp"])

    def decision(self, order: NewOrder, person: str, *, approves: bool = True) -> Signed:
        now = SystemClock().now()
        return sign_decision(order.digest, approves=approves, shown="seen", key=self.company.keys[person], now=now)

    async def hand_in(self, *orders: NewOrder) -> None:
        for order in orders:
            request = payment_service_pb2.InitiateSignedPaymentsRequest(
                order=signed_to(order.signed), lines=order.lines
            )
            await self.sisters.payment.InitiateSignedPayments(request, timeout=60)
        for order in orders:
            await self.reaches(line_of(order).end_to_end_id, "AWAITING_APPROVAL")

    async def decide(self, order: NewOrder, signed: Signed) -> None:
        decision = order_pb2.SignedDecision(decision=signed.content, key_id=signed.key_id, signature=signed.signature)
        request = payment_service_pb2.DecideOrderRequest(order=order.digest.hex(), decision=decision)
        await self.sisters.payment.DecideOrder(request, timeout=60)

    async def payment(self, end_to_end_id: str) -> payment_pb2.Payment:
        request = payment_service_pb2.GetPaymentRequest(end_to_end_id=end_to_end_id)
        found: payment_pb2.Payment = (await self.sisters.payment.GetPayment(request, timeout=60)).payment
        return found

    async def reaches(self, end_to_end_id: str, status: str) -> None:
        async def there() -> bool:
            return STATUS.Name((await self.payment(end_to_end_id)).status) == f"PAYMENT_STATUS_{status}"

        await until(there, f"{end_to_end_id} to be {status}")

    async def gateway_as(self, service: str) -> Any:
        """The gateway as somebody sees it who has this service's certificate and key."""
        channel = open_channel(self.settings.address_of("gateway"), service_name=service, settings=self.settings)
        return gateway_service_pb2_grpc.GatewayServiceStub(await self._stack.enter_async_context(channel))

    async def alerts(self, rule: str, about: str = "") -> list[str]:
        """The subjects of a rule's alerts, as monitoring shows them to people."""
        return [alert.subject for alert in await self.sisters.alerts() if alert.rule == rule and about in alert.subject]


def tables_of(file: Path) -> set[str]:
    """Return the tables that are really there."""
    with closing(sqlite3.connect(file, timeout=60)) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {name for name in names if not name.startswith("sqlite_")}


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(180):
            while not await holds():  # noqa: ASYNC110 (it asks other services)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


def line_of(order: NewOrder) -> payment_pb2.PaymentInstruction:
    return payment_pb2.PaymentInstruction.FromString(order.lines[0])


@asynccontextmanager
async def running(settings: Settings, company: Company, of_payment: Path) -> AsyncIterator[House]:
    """Run the three services and the bank."""
    stop = asyncio.Event()
    given = {
        name: getattr(settings, name) for name in ("var_dir", *(f for f in Settings.model_fields if f.endswith("_port")))
    } | {
        "exchange_dir": str(exchange_dir(settings)),
        "gateway_policy_dir": str(company.folder),
        "payment_policy_dir": str(of_payment),
    } | _QUICK  # fmt: skip
    bank = Supervisor(
        children(settings, suite_env(settings), ["--execution-delay-ms", "0"])[:1], log_dir=settings.var_dir / "log"
    )
    await bank.start(healthy_within_s=120)
    tasks = [
        asyncio.ensure_future(main(kind(**{n: v for n, v in given.items() if n in kind.model_fields}), stop))
        for main, kind in _MAINS.values()
    ]
    async with AsyncExitStack() as stack:
        sisters = Sisters(settings, Telemetry.off("insider"), stack)
        await sisters.open()
        try:
            yield House(settings, company, sisters, stack)
        finally:
            stop.set()
            await asyncio.gather(*tasks)
            await bank.stop()


async def scenario(var_dir: Path) -> Story:
    """Attack in every way, drive what was attacked on to its end, and read the bank's book."""
    company = Company(var_dir / "policy")
    of_payment = var_dir / "policy_of_payment"
    shutil.copytree(company.folder, of_payment)
    ports = {f"{name}_port": free_port() for name in (*_MAINS, "account", "reconciliation", "sandbox_bank", "console")}
    settings = Settings(var_dir=var_dir, **ports, tls_mode="mutual", dev_identity_enabled=True)
    prepare(settings)
    for service in SERVICES:
        migrate(settings.database_url_of(service), service)
    story = Story(var_dir, settings, company)
    async with running(settings, company, of_payment) as house:
        paid = house.order("PAID")
        await house.hand_in(paid)
        approval = house.decision(paid, "li")
        await house.decide(paid, approval)
        await house.reaches("PAID-1", "SETTLED")
        held, bare = house.order("HELD"), house.order("BARE")
        story.approved = {"PAID-1": line_of(paid), "HELD-1": line_of(held)}
        await _edit(house, story)
        await _call(house, story, paid, approval, held, bare)
        await _steal(house, story, bare)
        await _downgrade(house, story, held)
        story.statuses = {n: STATUS.Name((await house.payment(f"EDIT{n}-1")).status) for n in story.edits}
        story.debits = await _book(settings)
        story.reference_of["PAID-1"] = (await house.payment("PAID-1")).instruction_id
    return story


async def _edit(house: House, story: Story) -> None:
    """Edit every table of the payment service's database while it runs, each time about another waiting payment."""
    known = tables_of(story.var_dir / "payment.db")
    story.tried = [*EDITS, *(edit for edit in OF_SEALING if edit.table in known)]
    await house.hand_in(*(house.order(f"EDIT{number}") for number in range(len(story.tried))))
    ids = {n: (await house.payment(f"EDIT{n}-1")).instruction_id for n in range(len(story.tried))}
    await until(lambda: _is_sealed(story.var_dir), "the journal to be sealed")
    for number, edit in enumerate(story.tried):
        _write(story, edit, ids[number])

        async def told(number: int = number, door: str = edit.door) -> bool:
            story.edits[number] = await house.alerts("last_door_shut", ids[number])
            return any(door in one for one in story.edits[number])

        await until(told, f"the alert after {edit.sql}")


def _write(story: Story, edit: Edit, instruction_id: str) -> None:
    id_ = f"'{instruction_id}'"
    order = f"(SELECT order_digest FROM payment_order_lines WHERE instruction_id = {id_})"
    with closing(sqlite3.connect(story.var_dir / "payment.db", timeout=60)) as database, database:
        if edit.in_journal:
            rows = database.execute(f"SELECT sequence FROM payment_events WHERE instruction_id = {id_}")
            story.edited_events += [sequence for (sequence,) in rows]
        database.execute(edit.sql.format(id=id_, order=order))
        free = "UPDATE payments SET status = 'APPROVED', next_action_at = received_at WHERE instruction_id = "
        assert database.execute(free + id_).rowcount == 1


async def _is_sealed(var_dir: Path) -> bool:
    with closing(sqlite3.connect(var_dir / "payment.db", timeout=60)) as database:
        (last,) = database.execute("SELECT max(sequence) FROM payment_events").fetchone()
        (sealed,) = database.execute(
            "SELECT max(sequence) FROM journal_seals WHERE stream LIKE '%payment_events'"
        ).fetchone()
    return sealed == last


async def _call(house: House, story: Story, paid: NewOrder, approval: Signed, held: NewOrder, bare: NewOrder) -> None:
    """Call the gateway under payment's own certificate, as a patched service would."""
    gateway = await house.gateway_as("payment")
    paid_id = (await house.payment("PAID-1")).instruction_id
    for call in calls(
        held,
        house.decision(held, "li"),
        paid,
        paid_id,
        approval,
        bare,
        house.decision(held, "wang", approves=False),
        SystemClock().now(),
    ):
        request = gateway_service_pb2.SubmitPaymentsRequest(
            submissions=[call.submission], orders=[evidence_to(one) for one in call.orders]
        )
        try:
            (report,) = (await gateway.SubmitPayments(request, timeout=60)).reports
            answer = report.reason_code.removeprefix("LAST_DOOR_")
        except grpc.aio.AioRpcError as error:
            answer = error_reason(error).reason
        found: list[str] = []

        async def told(call: Call = call, found: list[str] = found) -> bool:
            found[:] = await house.alerts("last_door_shut", call.submission.instruction_id)
            return any(call.reason in one for one in found)

        await until(told, f"the alert: {call.words} (the gateway said {answer})")
        story.calls.append((call, answer, found))


async def _steal(house: House, story: Story, bare: NewOrder) -> None:
    """Use the certificates of the services that have no business with payments."""
    submit = gateway_service_pb2.SubmitPaymentsRequest(submissions=[submission(90, bare)])
    for service in ("account", "reconciliation", "monitoring"):
        gateway = await house.gateway_as(service)
        for method, request in (
            ("SubmitPayments", submit),
            ("QueryPayments", gateway_service_pb2.QueryPaymentsRequest()),
        ):
            try:
                await getattr(gateway, method)(request, timeout=60)
                story.stolen[service, method] = "OK"
            except grpc.aio.AioRpcError as error:
                story.stolen[service, method] = error.code().name

    async def told() -> bool:
        story.denials = await house.alerts("caller_refused")
        return len(story.denials) >= len(story.stolen)

    await until(told, "the alerts about stolen certificates")


async def _downgrade(house: House, story: Story, held: NewOrder) -> None:
    """Take a checker's role, then put the old policy back; at last somebody else approves, and what was signed goes out."""
    gateway = await house.gateway_as("payment")
    company, folder = house.company, house.company.folder
    old = {file.name: file.read_bytes() for file in folder.iterdir()}

    async def ask(number: int, person: str) -> str:
        request = gateway_service_pb2.SubmitPaymentsRequest(
            submissions=[submission(number, held)],
            orders=[evidence_to(evidence(held, house.decision(held, person)))],
        )
        (report,) = (await gateway.SubmitPayments(request, timeout=60)).reports
        story.reference_of["HELD-1"] = submission(number, held).instruction_id
        return str(report.reason_code.removeprefix("LAST_DOOR_"))

    company.people["li"], company.version = "", 2
    company.publish()

    async def version_2() -> bool:
        return (house.settings.var_dir / "gateway" / "policy_version").read_text("utf-8").split()[0] == "2"

    await until(version_2, "the new policy to be in force")
    story.downgrade.append(await ask(100, "li"))
    for name, content in old.items():
        (folder / name).write_bytes(content)

    async def told() -> bool:
        story.policy_alerts = len(await house.alerts("policy_refused"))
        return story.policy_alerts > 0

    await until(told, "the alert about the policy")
    story.downgrade += [await ask(101, "li"), await ask(102, "zhang")]


async def _book(settings: Settings) -> dict[str, tuple[int, str]]:
    """Return the bank's debits once it has nothing left to execute."""
    control = BankControl(settings.address_of("sandbox_bank"))

    async def is_still() -> bool:
        return bool((await control.book())["totals"]["in_process"] == 0)

    await until(is_still, "the bank to be done")
    await control.close()
    query = (
        "SELECT p.reference, -e.amount, p.creditor_account FROM entries e JOIN payments p ON p.debit_serial = e.serial "
        "WHERE e.kind = 'PAY' AND e.account = ?"
    )
    with closing(sqlite3.connect(settings.var_dir / "sandbox_bank.db", timeout=60)) as book:
        rows = book.execute(query, (DEBTOR_ACCOUNT,)).fetchall()
        (count,) = book.execute(
            "SELECT count(*) FROM entries WHERE kind = 'PAY' AND account = ?", (DEBTOR_ACCOUNT,)
        ).fetchone()
    assert count == len(rows), "a debit without a payment"
    return {reference: (amount, creditor) for reference, amount, creditor in rows}
