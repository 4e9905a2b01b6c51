"""A gateway in this process, a sandbox bank as a process of its own, and a bank that says what a test wants."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from yinqi import gateway as gateway_package
from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from yinqi.api.payment.v1 import payment_pb2
from yinqi.crypto import SigningKey
from yinqi.gateway.main import main
from yinqi.gateway.settings import GatewaySettings
from yinqi.kernel.clock import Clock, SystemClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.listening import free_port
from yinqi.runtime.settings import load_settings
from yinqi.runtime.telemetry import Telemetry
from yinqi.sandbox_bank import sm

USER_ID = "U123456789"
CNY, CNY_2, EUR = "755915678910001", "755915678910002", "755915678932001"
_CHINA = dt.timezone(dt.timedelta(hours=8))


class Gateway:
    """A running gateway and shorthand for its RPCs."""

    def __init__(self, stub: Any, settings: GatewaySettings, notice_port: int = 0, port: int = 0) -> None:
        self.port = port
        self.stub = stub
        self.settings = settings
        self.notice_port = notice_port
        self._ids = TimeOrderedIds(SystemClock())

    def submission(self, **changes: Any) -> gateway_pb2.Submission:
        """A payment of 12.34 CNY that the bank will take; `changes` by the names below."""
        f = {"instruction_id": self._ids.new_ids("YQ", 1)[0], "attempt": 1, "account": CNY, "minor_units": 1234,
             "currency": "CNY", "creditor": "收款有限公司", "creditor_account": "6225881234567890",
             "cnaps": "102100099996", "bic": "", "memo": "货款 invoice 7", "channel": 0, "traceparent": "",
             "resend_proof": None, "release": 0, **changes}  # fmt: skip
        instruction = payment_pb2.PaymentInstruction(
            end_to_end_id=f"E2E-{f['instruction_id']}",
            remittance_information=f["memo"],
            channel=f["channel"],
        )
        instruction.debtor_account.identification = f["account"]
        instruction.creditor.name = f["creditor"]
        instruction.creditor_account.identification = f["creditor_account"]
        instruction.creditor_agent.clearing_member_id = f["cnaps"]
        instruction.creditor_agent.bicfi = f["bic"]
        instruction.instructed_amount.currency = f["currency"]
        instruction.instructed_amount.minor_units = f["minor_units"]
        return gateway_pb2.Submission(
            instruction_id=f["instruction_id"],
            attempt=f["attempt"],
            instruction=instruction,
            traceparent=f["traceparent"],
            resend_proof=f["resend_proof"],
            release=f["release"],
        )

    async def submit(self, *submissions: gateway_pb2.Submission) -> list[gateway_pb2.PaymentStatusReport]:
        response = await self.stub.SubmitPayments(pb.SubmitPaymentsRequest(submissions=submissions), timeout=60)
        return list(response.reports)

    async def query(self, *submissions: gateway_pb2.Submission) -> list[gateway_pb2.PaymentStatusReport]:
        references = [
            gateway_pb2.PaymentReference(
                instruction_id=one.instruction_id,
                debtor_account=one.instruction.debtor_account.identification,
                submitted_date=SystemClock().today().isoformat(),
                traceparent=one.traceparent,
                attempt=one.attempt,
                release=one.release,
            )
            for one in submissions
        ]
        response = await self.stub.QueryPayments(pb.QueryPaymentsRequest(references=references), timeout=60)
        return list(response.reports)

    async def messages(self, instruction_id: str) -> list[pb.ArchivedMessage]:
        response = await self.stub.ListMessages(pb.ListMessagesRequest(instruction_id=instruction_id), timeout=60)
        return list(response.messages)


RunGateway = Callable[..., Any]
SHIPPED_PROFILE = (Path(gateway_package.__file__).parent / "profiles" / "demo_bank.toml").read_text("utf-8")


@pytest.fixture(scope="session")
def company_keys() -> tuple[bytes, bytes]:
    """A signing key file that opens quickly, and its password."""
    return SigningKey.generate().to_encrypted_pem(b"test only", 10_000), b"test only"


@pytest.fixture
def exchange_dir(tmp_path: Path) -> Path:
    """Where bank and company leave keys; a module with one bank for all its tests has one of its own."""
    return tmp_path / "exchange"


@pytest.fixture
def run_gateway(tmp_path: Path, exchange_dir: Path, company_keys: tuple[bytes, bytes]) -> RunGateway:
    """An async context manager that runs a gateway against the bank at `bank`; again with the same folder: a restart.

    Its `profile` changes the shipped one: {"old text": "new text"}.
    """

    @asynccontextmanager
    async def run(
        bank: str,
        *,
        database_url: str = "",
        telemetry: Telemetry | None = None,
        clock: Clock | None = None,
        profile: dict[str, str] | None = None,
        **overrides: Any,
    ) -> AsyncIterator[Gateway]:
        keys = exchange_dir / "company"
        keys.mkdir(parents=True, exist_ok=True)
        if not (keys / f"{USER_ID}.signing_key.pem").exists():
            (keys / f"{USER_ID}.signing_key.pem").write_bytes(company_keys[0])
            (keys / f"{USER_ID}.password").write_bytes(company_keys[1])
            for file in keys.iterdir():
                file.chmod(0o600)
        changes: dict[str, Any] = {"database_url": database_url} if database_url else {}
        if profile:
            folder = tmp_path / "profiles"
            folder.mkdir(exist_ok=True)
            text = SHIPPED_PROFILE
            for old, new in profile.items():
                assert old in text
                text = text.replace(old, new)
            (folder / "demo_bank.toml").write_text(text, "utf-8")
            changes["gateway_profiles_dir"] = folder
        settings = load_settings(
            GatewaySettings, var_dir=tmp_path, gateway_port=0, gateway_notice_port=0, sandbox_bank_address=bank, drain_grace_s=2.0,
            exchange_dir=str(exchange_dir), gateway_keys_dir=str(keys), **changes, **overrides,
        )  # fmt: skip
        stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
        doors: list[int] = []
        task = asyncio.create_task(
            main(
                settings,
                stop,
                clock=clock,
                telemetry=telemetry,
                on_started=started.set_result,
                on_notice_door=doors.append,
            )
        )
        done, _ = await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            task.result()
        roles = "service/payment,service/account,payment_viewer"  # one channel for all that the tests ask
        channel = open_channel(f"127.0.0.1:{started.result()}", service_name="payment", roles=roles, settings=settings)
        try:
            async with channel:
                yield Gateway(GatewayServiceStub(channel), settings, doors[0], started.result())
        finally:
            stop.set()
            await task

    return run


@dataclass
class SandboxBank:
    """The sandbox bank's process."""

    address: str

    def control(self, method: str, path: str, **arguments: Any) -> Any:
        response = httpx.request(method, f"http://{self.address}{path}", timeout=60, **arguments)
        response.raise_for_status()
        return response.json() if response.content else None


@contextmanager
def running_sandbox_bank(folder: Path, script: str) -> Iterator[SandboxBank]:
    """Run a sandbox bank with its book in `folder` and its keys in `folder`/exchange."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "script.toml").write_text(script, "utf-8")
    options = ["--listen", address, "--database", str(folder / "bank.db"), "--keys-dir", str(folder / "exchange")]
    options += ["--execution-delay-ms", "0", "--script", str(folder / "script.toml")]
    with (folder / "bank.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "yinqi.sandbox_bank.main", *options], stdout=log, stderr=log)
    try:
        _wait_until_it_answers(address, process, folder / "bank.log")
        yield SandboxBank(address)
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="session")
def sandbox_bank_runner() -> Callable[[Path, str], Any]:
    """See `running_sandbox_bank`."""
    return running_sandbox_bank


def _wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30)  # noqa: TID251
    while dt.datetime.now(dt.UTC) < deadline:  # noqa: TID251
        if process.poll() is not None:
            pytest.fail(log.read_text())
        with suppress(httpx.TransportError):
            httpx.get(f"http://{address}/", timeout=1)
            return
        threading.Event().wait(0.05)
    pytest.fail("the sandbox bank does not answer")


Body = dict[str, Any]


@dataclass
class Call:
    """A request that reached the scripted bank, opened."""

    function: str
    reqid: str
    body: Body
    headers: dict[str, str]


@dataclass
class ScriptedBank:
    """A bank that answers as the test says, byte by byte if need be.

    Attributes:
        answer: body of the answer to a call; or bytes to send raw; or None to cut the connection.
        spoil: changes to the finished answer. head: changes to its head. sigtim_shift: hours. delay_s: before answering.
    """

    keys_dir: Path
    answer: Callable[[Call], Body | bytes | None]
    calls: list[Call] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    head: Body = field(default_factory=dict)
    spoil_signature: bool = False
    sigtim_shift: dt.timedelta = dt.timedelta()
    delay_s: float = 0.0
    status: int = 200
    resultcode: str = "SUC0000"
    address: str = ""
    mutate: Callable[[bytes], bytes] = lambda wire: wire

    def install_keys(self) -> None:
        self.keys_dir.mkdir(parents=True, exist_ok=True)
        self.private_key, self.public_key = sm.generate_key_pair()
        (self.keys_dir / "bank_public_key.hex").write_text(self.public_key.hex() + "\n")

    @property
    def submits(self) -> list[Call]:
        return [call for call in self.calls if call.function.startswith("BB1PAY") and "QR" not in call.function]

    def lines(self) -> list[str]:
        """References of all lines that reached the bank, with repetitions."""
        return [
            line["yurRef"]
            for call in self.submits
            for line in call.body.get("bb1paybhx2", call.body.get("bb1payopx1", []))
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                headers = await _headers(reader)
                content = await reader.readexactly(int(headers["content-length"]))
                call = self._open(content, headers)
                self.calls.append(call)
                self.called.set()
                await asyncio.sleep(self.delay_s)
                answer = self.answer(call)
                if answer is None:
                    break
                wire = answer if isinstance(answer, bytes) else self.mutate(self._seal(call, answer))
                writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(wire)}\r\n\r\n".encode() + wire)
                await writer.drain()
        writer.close()

    def _open(self, content: bytes, headers: dict[str, str]) -> Call:
        form = dict(urllib.parse.parse_qsl(content.decode("ascii"), strict_parsing=True))
        assert form["UID"] == USER_ID
        assert form["ALG"] == "SM"
        identity = USER_ID.encode().ljust(16, b"0")
        plain = sm.decrypt(self._sm4_key(), identity, base64.b64decode(form["DATA"], validate=True))
        message = json.loads(plain)
        sigdat = message["signature"]["sigdat"]
        signed = plain.replace(json.dumps(sigdat).encode(), b'"__signature_sigdat__"')
        company_key = bytes.fromhex((self.keys_dir / f"{USER_ID}.public_key.hex").read_text().strip())
        assert sm.verifies(company_key, signed, base64.b64decode(sigdat), identity)
        head = message["request"]["head"]
        assert head["funcode"] == form["FUNCODE"]
        return Call(form["FUNCODE"], head["reqid"], message["request"]["body"], headers)

    def _seal(self, call: Call, body: Body) -> bytes:
        identity = USER_ID.encode().ljust(16, b"0")
        now = dt.datetime.now(_CHINA) + self.sigtim_shift  # noqa: TID251
        head = {"bizcode": "", "funcode": call.function, "reqid": call.reqid, "resultcode": self.resultcode,
                "resultmsg": "ok", "rspid": "1", "userid": USER_ID, **self.head}  # fmt: skip
        signature = {"sigdat": "__signature_sigdat__", "sigtim": f"{now:%Y%m%d%H%M%S}"}
        message: Body = {"response": {"body": body, "head": head}, "signature": signature}
        raw = sm.sign(self.private_key, self.public_key, _canonical(message), identity)
        if self.spoil_signature:
            raw = bytes([raw[0] ^ 1]) + raw[1:]
        signature["sigdat"] = base64.b64encode(raw).decode()
        return base64.b64encode(sm.encrypt(self._sm4_key(), identity, _canonical(message)))

    def notice(self, number: int, records: list[Body], **changes: Any) -> dict[str, str]:
        """The form of a notice of this bank; `changes`: top, head, sigtim_shift, key (signs), kind, user."""
        user = changes.get("user", USER_ID)
        identity = USER_ID.encode().ljust(16, b"0")
        now = dt.datetime.now(_CHINA) + changes.get("sigtim_shift", dt.timedelta())  # noqa: TID251
        head = {"funcode": "BBNOTICE", "notnbr": f"{number:015d}", "nottim": "20261122140501123",
                "nottyp": changes.get("kind", "YQN02030"), "userid": user, **changes.get("head", {})}  # fmt: skip
        signature = {"sigdat": "__signature_sigdat__", "sigtim": f"{now:%Y%m%d%H%M%S}"}
        content: Body = {"body": {"bbnoticez1": records}, "head": head}
        message: Body = {changes.get("top", "notice"): content, "signature": signature}
        private, public = changes.get("key", (self.private_key, self.public_key))
        signature["sigdat"] = base64.b64encode(sm.sign(private, public, _canonical(message), identity)).decode()
        sealed = base64.b64encode(sm.encrypt(self._sm4_key(), identity, _canonical(message))).decode()
        return {"UID": user, "FUNCODE": "BBNOTICE", "ALG": "SM", "DATA": sealed}

    def _sm4_key(self) -> bytes:
        return bytes.fromhex((self.keys_dir / f"{USER_ID}.sm4_key.hex").read_text().strip())


def _canonical(message: Body) -> bytes:
    return json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    block = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    pairs = (line.split(":", 1) for line in block.split("\r\n")[1:] if line)
    return {name.strip().lower(): value.strip() for name, value in pairs}


def received(call: Call) -> Body:
    """The answer of a bank that takes every line, and knows no payment when asked."""
    match call.function:
        case "BB1PAYOP":
            return {"bb1payopz1": [
                {"yurRef": line["yurRef"], "reqNbr": "0000000001", "reqSts": "BNK", "rtnFlg": "", "errCod": "SUC0000",
                 "errTxt": ""} for line in call.body["bb1payopx1"]]}  # fmt: skip
        case "BB1PAYBH":
            head = call.body["bb1paybhx1"][0]
            return {"bb1paybhz1": [{"batNbr": head["batNbr"], "batSts": "OPR", "dtlNum": head["dtlNum"],
                                    "errCod": "SUC0000", "errTxt": ""}], "bb1paybhz2": []}  # fmt: skip
        case "BB1PAYQR":
            return {"bb1payqrz1": []}
        case _:
            return {"dclisaccz1": []}


def record_of(line: Body, debtor_account: str = CNY, **changes: Any) -> Body:
    """The query record of a line that was received; settled unless changed."""
    fields = {"yurRef": line["yurRef"], "reqNbr": "0000000001", "batNbr": "", "dbtAcc": debtor_account,
              "ccyNbr": line["ccyNbr"], "trsAmt": line["trsAmt"], "crtAcc": line["crtAcc"], "crtNam": line["crtNam"],
              "reqSts": "FIN", "rtnFlg": "S", "errCod": "SUC0000", "errTxt": "", "opeDat": "20261122",
              "trxDat": "20261122", "trxSeq": "000000000000007", "bckDat": "", "trxSeqBackward": ""}  # fmt: skip
    return fields | changes


@pytest.fixture
async def scripted_bank(exchange_dir: Path) -> AsyncIterator[ScriptedBank]:
    """A scripted bank that takes everything until the test says otherwise."""
    bank = ScriptedBank(exchange_dir, received)
    bank.install_keys()
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        await bank.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**22)
    bank.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield bank
    server.close()
    for writer in connections:
        writer.close()


@pytest.fixture
def take_all() -> Callable[[Call], Body]:
    """See `received`."""
    return received


@pytest.fixture
def make_record() -> Callable[..., Body]:
    """See `record_of`."""
    return record_of
