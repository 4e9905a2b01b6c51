"""Canaries: secrets that nobody else can hold go through the whole running system; then everything it wrote is searched for them.

`python -m tests.evidence canaries [--canaries N]`, 1,000 by default: account numbers, names, passwords, tokens and signatures,
in payments good and bad, refused statements, words of the bank, questions, bad tokens and forged orders. Searched: every log, every span
as it was exported, every error text and detail heard, every alert delivered, and what a killed process leaves behind. Of the databases
it is told which column holds what in clear; columns that the services call sealed must hold none.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import random
import resource
import secrets
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from joserfc import jwt
from joserfc.jwk import ECKey
from tests.bench.orders import DEBTOR_ACCOUNT, instruction
from tests.bench.suite import running_suite
from tests.evidence import commit

from yinqi.api.account.v1 import account_service_pb2
from yinqi.api.payment.v1 import order_pb2, payment_pb2, payment_service_pb2
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2
from yinqi.client import PrivateKey, new_order
from yinqi.crypto import SigningKey
from yinqi.demo.bank_control import BankControl
from yinqi.demo.sisters import Sisters
from yinqi.demo.suite import SERVICES
from yinqi.demo.webhook import WebhookReceiver
from yinqi.orders.evidence import signed_to
from yinqi.runtime.otlp_sink import OtlpSink
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Supervisor
from yinqi.runtime.telemetry import Telemetry

CANARIES, CANARIES_SHORT, SEED = 1_000, 100, 20_261_123
# Where each service says in `SEALED` what of its tables is sealed at rest, if anything is.
_TABLES = {service: f"yinqi.{service}.{'repository' if service == 'gateway' else 'tables'}" for service in SERVICES}
_STATUS = payment_pb2.PaymentStatus
_OPEN = {
    _STATUS.PAYMENT_STATUS_RECEIVED,
    _STATUS.PAYMENT_STATUS_SCREENED,
    _STATUS.PAYMENT_STATUS_SUBMITTING,
    _STATUS.PAYMENT_STATUS_PROCESSING,
    _STATUS.PAYMENT_STATUS_UNKNOWN,
}
_SCRIPT = """
[[rule]]
name = "the bank names the creditor in its refusal"
when = {{ creditor_account = "{0}" }}
refuse = {{ at = "execution", code = "ACT0009", text = "收款账户 {0} 户名 {1} 不符" }}
"""


@dataclass
class Canaries:
    """Makes secrets and remembers them. `kinds`: by their text."""

    chance: random.Random
    kinds: dict[str, str] = field(default_factory=dict)
    _bytes: dict[bytes, str] = field(default_factory=dict)

    def account(self) -> str:
        return self._new("account", f"62{self.chance.randrange(10**17):017}")

    def name(self) -> str:
        return self._new(
            "name", f"金丝雀{''.join(chr(self.chance.randrange(0x4E00, 0x9000)) for _ in range(8))}有限公司"
        )

    def password(self) -> str:
        return self._new("password", "".join(self.chance.choices("GHJKMNPQRSTVWXYZghjkmnpqrstvwxyz", k=28)))

    def _new(self, kind: str, text: str) -> str:
        self.kinds[text] = kind
        return text

    def found_in(self, content: bytes) -> Counter[str]:
        """Count by kind the canaries that are in these bytes, as text, as JSON writes it, or as Python prints it."""
        if not self._bytes:  # searched only when all have flown
            self._bytes = {
                form: kind
                for text, kind in self.kinds.items()
                for form in (text.encode(), json.dumps(text)[1:-1].encode())
            }
        return Counter(kind for form, kind in self._bytes.items() if form in content)


class RawSink(OtlpSink):
    """Keeps what came over the wire, byte for byte."""

    def __init__(self) -> None:
        super().__init__()
        self.raw: list[bytes] = []

    def add(self, request: Any) -> None:
        self.raw.append(request.SerializeToString())


@dataclass
class Findings:
    """What was searched, how much of it there was, and what was in it."""

    canaries: int
    hits: dict[str, Counter[str]]
    searched: dict[str, int]
    columns: dict[tuple[str, str, str], int]
    cores: list[str]
    dumped: str

    @property
    def sealed_hits(self) -> dict[tuple[str, str, str], int]:
        sealed = sealed_columns()
        return {column: count for column, count in self.columns.items() if column in sealed}

    @property
    def leaks(self) -> dict[str, Counter[str]]:
        return {where: found for where, found in self.hits.items() if found}


def sealed_columns() -> frozenset[tuple[str, str, str]]:
    """Return the columns (service, table, column) that must hold no canary."""
    found = {service: getattr(importlib.import_module(module), "SEALED", ()) for service, module in _TABLES.items()}
    return frozenset(
        (service, sealed.table.name, column)
        for service, its in found.items()
        for sealed in its
        for column in sealed.columns
    )


def canaries(short: bool, *, count: int | None = None) -> None:
    """Run, print, and raise AssertionError where a canary was found."""
    number = count or (CANARIES_SHORT if short else CANARIES)
    found = asyncio.run(scatter_and_search(number, with_dump=not short))
    print(f"{found.canaries:,} canaries, commit {commit()}")
    for where, size in found.searched.items():
        print(f"  {where:28} {size:>12,} bytes  {sum(found.hits[where].values())} hits {dict(found.hits[where]) or ''}")
    print(f"  cores left by killed services: {len(found.cores)}; {found.dumped}")
    for (service, table, column), hits in sorted(found.columns.items()):
        print(f"  in clear at rest: {service}.{table}.{column}: {hits} rows")
    assert not found.leaks, found.leaks
    assert not found.cores, found.cores
    assert not found.sealed_hits, found.sealed_hits


async def scatter_and_search(number: int, *, with_dump: bool = False) -> Findings:
    """Run the suite, send the canaries through it, kill it, and search."""
    birds = Canaries(random.Random(SEED))
    heard: list[bytes] = []
    sink, webhook = RawSink(), WebhookReceiver()
    endpoint, alert_url = await sink.start(), await webhook.start()
    journal_password, key_password = birds.password(), birds.password()
    before = _cores()
    with tempfile.TemporaryDirectory(prefix="yinqi-canaries-") as folder, _cores_allowed():
        key = ECKey.generate_key("P-256", {"kid": "first", "alg": "ES256", "use": "sig"})
        jwks = Path(folder) / "jwks.json"
        jwks.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
        keys = Path(folder) / "keys"
        secret = _bank_key(keys, key_password)
        more = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "YINQI_ALERT_URLS": alert_url,
            "YINQI_LOG_LEVEL": "DEBUG",
            "YINQI_JOURNAL_KEY_PASSWORD": journal_password,
            "YINQI_GATEWAY_KEYS_DIR": str(keys),
            "YINQI_JWT_JWKS_FILE": str(jwks),
            "YINQI_JWT_ISSUER": "https://login.example.com/",
            "YINQI_CONSOLE_ENABLED": "false",
        }
        async with running_suite(None, more=more) as (settings, supervisor), AsyncExitStack() as stack:
            sisters = Sisters(settings, Telemetry.off("canaries"), stack)
            await sisters.open()
            await _scatter(birds, number, sisters, settings, key, heard)
            dumped = _dump(supervisor, Path(folder), secret, key_password) if with_dump else "no dump taken"
            await _abort(supervisor)
            findings = _search(birds, settings, sink, webhook, heard)
    await sink.stop()
    await webhook.stop()
    findings.cores, findings.dumped = sorted(_cores() - before), dumped
    return findings


async def _scatter(
    birds: Canaries, number: int, sisters: Sisters, settings: Settings, key: Any, heard: list[bytes]
) -> None:
    control = BankControl(settings.address_of("sandbox_bank"))
    serial = 0

    def line(**changes: Any) -> payment_pb2.PaymentInstruction:
        nonlocal serial
        serial += 1
        made = instruction(serial, "canary")
        made.creditor.name, made.creditor_account.identification = birds.name(), birds.account()
        made.creditor_account.scheme = 2
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    async def hear(call: Awaitable[Any]) -> Any:
        """Keep the error that a call ends with, words and details; and refusals that an answer holds."""
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            heard.append((error.details() or "").encode())
            heard.extend(
                value if isinstance(value, bytes) else value.encode() for _, value in error.trailing_metadata() or ()
            )
            return None
        outcomes = getattr(answer, "outcomes", ())
        heard.extend(one.error.SerializeToString() for one in outcomes if one.HasField("error"))
        return answer

    # The bank speaks of what it refuses in words that hold both.
    refused = line()
    script = _SCRIPT.format(refused.creditor_account.identification, refused.creditor.name)
    await control._client.post("/control/script", content=script.encode())
    good = [refused, *(line() for _ in range(max(1, number // 4)))]
    for one in good[1::4]:
        one.category_purpose = payment_pb2.CATEGORY_PURPOSE_SALA
        one.remittance_information = f"工资 {one.creditor.name}"
    bad = []
    for which in range(max(8, number // 8)):
        one = line()
        match which % 8:
            case 0:
                one.creditor.name = one.creditor.name * 12
            case 1:
                one.creditor_account.identification += "_/%"
            case 2:
                one.instructed_amount.currency = "XYZ"
            case 3:
                one.creditor_account.scheme = 1
            case 4:
                one.creditor.name += "\x07"
            case 5:
                one.end_to_end_id = good[0].end_to_end_id  # another content under a known id
            case 6:
                one.requested_execution_date = one.creditor_account.identification
            case _:
                one.debtor_account.identification = birds.account()  # no bank profile reaches it
        bad.append(one)  # fmt: skip
    for lines in (good, bad, good):
        await hear(
            sisters.payment.InitiatePayments(
                payment_service_pb2.InitiatePaymentsRequest(instructions=lines), timeout=60
            )
        )
    forged = new_order("CANARY", [line(), line()], company=birds.name(), key=PrivateKey.generate("nobody"))
    for signature in (forged.signed.signature, birds.password().encode() * 3):
        order = order_pb2.SignedOrder(order=forged.signed.content, key_id=birds.password(), signature=signature)
        request = payment_service_pb2.InitiateSignedPaymentsRequest(order=order, lines=forged.lines)
        await hear(sisters.payment.InitiateSignedPayments(request, timeout=60))
    whole = payment_service_pb2.InitiateSignedPaymentsRequest(order=signed_to(forged.signed), lines=forged.lines)
    await hear(sisters.payment.InitiateSignedPayments(whole, timeout=60))
    while len(birds.kinds) < number:
        await _ask(birds, sisters, settings, key, hear)

    async def is_done() -> bool:
        counts = (await sisters.payment.CountPayments(payment_service_pb2.CountPaymentsRequest(), timeout=60)).counts
        waiting = [c for c in counts if c.status in _OPEN and c.debtor_account == DEBTOR_ACCOUNT]
        return not waiting

    async with asyncio.timeout(300):
        while not await is_done():  # noqa: ASYNC110 (it asks a service)
            await asyncio.sleep(0.2)
    today = await control.business_date()
    await hear(
        sisters.account.FetchStatement(
            account_service_pb2.FetchStatementRequest(account=DEBTOR_ACCOUNT, date=today), timeout=60
        )
    )
    day = reconciliation_service_pb2.ReconcileDayRequest(account=DEBTOR_ACCOUNT, date=today)
    await hear(sisters.reconciliation.ReconcileDay(day, timeout=60))
    await control.close()


async def _ask(birds: Canaries, sisters: Sisters, settings: Settings, key: Any, hear: Any) -> None:
    """Ask with secrets in every place where somebody may put one by mistake."""
    account, name, token = birds.account(), birds.name(), birds.password()
    asked: list[Awaitable[Any]] = [
        sisters.account.GetBalances(account_service_pb2.GetBalancesRequest(accounts=[account]), timeout=60),
        sisters.account.ListEntries(account_service_pb2.ListEntriesRequest(account=account, page_token=token), timeout=60),
        sisters.account.FetchStatement(account_service_pb2.FetchStatementRequest(account=account, date="2026-11-22"), timeout=60),
        sisters.account.ImportStatement(
            account_service_pb2.ImportStatementRequest(content=f"<Document><Nm>{name}</Nm><IBAN>{account}".encode(), file_name="x"),
            timeout=60,
        ),
        sisters.reconciliation.ReconcileDay(
            reconciliation_service_pb2.ReconcileDayRequest(account=account, date="2026-11-22"), timeout=60
        ),
        sisters.payment.ListPayments(
            payment_service_pb2.ListPaymentsRequest(
                filter=payment_service_pb2.PaymentFilter(debtor_account=account, creditor_name=name), page_token=token
            ),
            timeout=60,
        ),
    ]  # fmt: skip
    claims = {"iss": "https://login.example.com/", "aud": "nobody", "sub": token, "exp": 1, "name": name}
    stale = jwt.encode({"alg": "ES256", "kid": "first"}, claims, key, ["ES256"])
    birds.kinds[stale] = "token"
    for bearer in (f"Bearer {token}", f"Bearer {stale}", token):
        metadata = (("authorization", bearer),)
        asked.append(
            sisters.payment.CountPayments(payment_service_pb2.CountPaymentsRequest(), timeout=60, metadata=metadata)
        )
    for one in asked:
        await hear(one)


def _search(
    birds: Canaries, settings: Settings, sink: RawSink, webhook: WebhookReceiver, heard: list[bytes]
) -> Findings:
    places = {f"log {file.stem}": file.read_bytes() for file in sorted((settings.var_dir / "log").glob("*.log"))}
    places.pop("log sandbox_bank", None)  # the bank is no part of the house
    places["spans"] = b"\n".join(sink.raw)
    places["errors heard"] = b"\n".join(heard)
    places["alerts delivered"] = json.dumps(webhook.received, ensure_ascii=False).encode()
    for name in ("spans", "errors heard"):
        assert places[name], f"nothing to search: {name}"
    hits = {where: birds.found_in(content) for where, content in places.items()}
    searched = {where: len(content) for where, content in places.items()}
    return Findings(len(birds.kinds), hits, searched, dict(_columns(birds, settings)), [], "")


def _columns(birds: Canaries, settings: Settings) -> Iterator[tuple[tuple[str, str, str], int]]:
    """Tell of each column of each service's database in how many rows a canary stands in clear."""
    for service in SERVICES:
        file = settings.var_dir / f"{service}.db"
        with closing(sqlite3.connect(file)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                for column in [row[1] for row in database.execute(f"PRAGMA table_info({table})")]:
                    rows = database.execute(f'SELECT "{column}" FROM "{table}"')
                    if count := sum(1 for (value,) in rows if birds.found_in(_as_bytes(value))):
                        yield (service, table, column), count


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _bank_key(keys: Path, password: str) -> bytes:
    """Make the company's signing key under a canary's password; return its private number."""
    keys.mkdir(mode=0o700)
    secret = secrets.token_bytes(31).rjust(32, b"\1")
    content = SigningKey.from_bytes(secret).to_encrypted_pem(password.encode(), 10_000)
    file = keys / "U123456789.signing_key.pem"
    for path, data in ((file, content), (keys / "U123456789.password", password.encode())):
        path.write_bytes(data)
        path.chmod(0o600)
    return secret


async def _abort(supervisor: Supervisor) -> None:
    """Kill the services by SIGABRT, which writes a core where one is allowed."""
    pids = [state.pid for state in supervisor.states() if state.name in SERVICES and state.pid]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGABRT)
    await asyncio.sleep(0.5)
    await supervisor.stop()


def _dump(supervisor: Supervisor, folder: Path, secret: bytes, password: str) -> str:
    """Have the gateway's memory written by a debugger with all rights, and look for the key and its password."""
    gcore = shutil.which("gcore")
    pid = next(state.pid for state in supervisor.states() if state.name == "gateway")
    if gcore is None:
        return "no dump taken: gcore is not installed"
    done = subprocess.run([gcore, "-o", str(folder / "core"), str(pid)], capture_output=True, check=False)
    files = list(folder.glob("core.*"))
    if not files:
        return f"no dump could be taken, gcore said {done.stderr.decode(errors='replace').strip()[-80:]!r}"
    content = files[0].read_bytes()
    files[0].unlink()
    found = content.count(secret) + content.count(secret[::-1])  # limbs may stand the other way round
    assert not found, f"the gateway's memory holds its signing key outside its locked pages, {found} times"
    words = f"the signing key 0 times, its password {content.count(password.encode())} times"
    return f"a debugger's dump of the gateway, {len(content):,} bytes: {words}"


@contextlib.contextmanager
def _cores_allowed() -> Iterator[None]:
    """Let child processes write cores if they themselves do not forbid it."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def _cores() -> set[str]:
    return {str(file) for file in _likely(Path.cwd()) if file.is_file()}


def _likely(folder: Path) -> Iterable[Path]:
    return folder.glob("core*")
