"""mTLS with real servers and real clients: who is refused at the handshake, who is who, and new certificates without restart."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.wrappers_pb2 import StringValue
from tests.integration.runtime import certificates
from tests.integration.runtime.conftest import EchoServicer, EchoStub, add_echo

from yinqi.kernel.errors import YinqiError
from yinqi.runtime import authentication, grpc_server, renewed_channel
from yinqi.runtime.grpc_client import bare_channel, open_channel
from yinqi.runtime.grpc_server import GrpcServer
from yinqi.runtime.identity import Principal, current_principal
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry
from yinqi.runtime.tls import TlsInvalid

CODE = grpc.StatusCode
PATIENCE_S = 60.0


class Who(EchoServicer):
    """Answers with who calls."""

    def __init__(self) -> None:
        super().__init__()
        self.principals: list[Principal] = []

    async def Echo(self, request: StringValue, context: Any) -> StringValue:
        self.principals.append(current_principal())
        return await super().Echo(request, context)


class House:
    """A server that speaks TLS, and where its certificates are."""

    def __init__(self, folder: Path, settings: Settings, servicer: Who, server: GrpcServer) -> None:
        self.folder = folder
        self.settings = settings
        self.servicer = servicer
        self.server = server

    async def ask(
        self, name: str, *, metadata: tuple[tuple[str, str], ...] = (), folder: Path | None = None
    ) -> Principal:
        """Call once with the certificate of this name; return who the server thinks it was."""
        settings = self.settings.model_copy(update={"var_dir": (folder or self.folder).parent})
        credentials = grpc.ssl_channel_credentials(
            (self.folder / "ca.crt").read_bytes(),
            (settings.var_dir / "tls" / f"{name}.key").read_bytes() if name else None,
            (settings.var_dir / "tls" / f"{name}.crt").read_bytes() if name else None,
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.server.port}", credentials, options=options) as channel:
            await EchoStub(channel).Echo(StringValue(value="x"), metadata=metadata, timeout=PATIENCE_S)
        return self.servicer.principals[-1]

    async def refusal(self, name: str, **options: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(name, **options)
        return caught.value


Serve = Callable[..., Awaitable[House]]
Logs = list[dict[str, Any]]


class Recorder:
    """Stands in for a module's logger: one that was used before keeps what logging was set up with then."""

    def __init__(self) -> None:
        self.lines: Logs = []

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda event, **facts: self.lines.append({"event": event, **facts})


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Logs:
    """What servers and channels log meanwhile."""
    recorder = Recorder()
    for module in (authentication, grpc_server, renewed_channel):
        monkeypatch.setattr(module, "_log", recorder)
    return recorder.lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the certificates of the server, of a service and of the client "erp"."""
    certificates.make(tmp_path / "tls", erp="maker,viewer")
    return tmp_path / "tls"


@pytest.fixture
async def serve(settings: Settings, folder: Path) -> AsyncIterator[Serve]:
    """A function that serves the echo service over TLS."""
    opened: list[House] = []

    async def serve_one(**changes: Any) -> House:
        defaults = {"tls_mode": "mutual", "dev_identity_enabled": False, "tls_reload_interval_s": 0.05}
        own = settings.model_copy(update=defaults | changes)
        servicer = Who()
        server = GrpcServer(
            "echo",
            "127.0.0.1:0",
            [(add_echo, servicer)],
            settings=own,
            telemetry=Telemetry.off(),
            access=lambda _method: frozenset({"maker", "viewer", "service/payment"}),
        )
        await server.start()
        opened.append(House(folder, own, servicer, server))
        return opened[-1]

    yield serve_one
    for house in opened:
        house.servicer.go_on.set()
        await house.server.drain(0.5)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# --- who may connect ------------------------------------------------------------------------------------------------


async def test_a_client_with_a_good_certificate_is_who_the_file_says(serve: Serve) -> None:
    house = await serve()
    assert await house.ask("erp") == Principal("erp", frozenset({"maker", "viewer"}))


async def test_only_a_service_certificate_makes_a_service(serve: Serve, logs: Logs) -> None:
    house = await serve()
    assert await house.ask("payment") == Principal("payment", frozenset({"service/payment"}))


async def refused_with(house: House, logs: Logs, name: str, word: str, **options: Any) -> None:
    """Check that the certificate is refused at the handshake, for this reason, before any handler runs."""
    error = await house.refusal(name, **options)
    assert error.code() is CODE.UNAVAILABLE
    await until(lambda: any("handshake" in line["event"] for line in logs))
    told = [line["latest"] for line in logs if "handshake" in line["event"]]
    assert word in told[0], told
    assert house.servicer.calls == 0


async def test_an_expired_certificate_is_refused(serve: Serve, logs: Logs, folder: Path) -> None:
    certificates.make(folder, shifted=timedelta(days=-400), old="maker")
    await refused_with(await serve(), logs, "old", "certificate expired")


async def test_a_certificate_of_tomorrow_is_refused(serve: Serve, logs: Logs, folder: Path) -> None:
    certificates.make(folder, shifted=timedelta(days=1), early="maker")
    await refused_with(await serve(), logs, "early", "not valid yet")


async def test_a_certificate_of_another_authority_is_refused(serve: Serve, logs: Logs, tmp_path: Path) -> None:
    other = tmp_path / "other" / "tls"
    certificates.make(other, erp="maker")
    # The two authorities have the same name: it is the signature that does not fit.
    await refused_with(await serve(), logs, "erp", "BadSignature", folder=other)


async def test_a_self_signed_certificate_is_refused(serve: Serve, logs: Logs, folder: Path) -> None:
    certificates.make_client(folder, "mallory", ["spiffe://yinqi/service/payment"], self_signed=True)
    await refused_with(await serve(), logs, "mallory", "UnknownIssuer")


async def test_a_revoked_certificate_is_refused_and_others_are_not(serve: Serve, logs: Logs, folder: Path) -> None:
    certificates.make(folder, lost="maker")
    certificates.revoke(folder, "lost")
    house = await serve(tls_crl_file=str(folder / "crl.pem"))
    await refused_with(house, logs, "lost", "Revoked")
    assert (await house.ask("erp")).name == "erp"


async def test_a_caller_without_certificate_is_refused(serve: Serve, logs: Logs) -> None:
    await refused_with(await serve(), logs, "", "no certificates")


async def test_a_plain_caller_is_refused(serve: Serve) -> None:
    house = await serve()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{house.server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EchoStub(channel).Echo(StringValue(value="x"), timeout=PATIENCE_S)
    assert caught.value.code() is CODE.UNAVAILABLE
    assert house.servicer.calls == 0


async def test_nothing_older_than_tls_1_3_is_spoken(serve: Serve, folder: Path) -> None:
    house = await serve()
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "erp.crt", folder / "erp.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="version"):
        await asyncio.open_connection("127.0.0.1", house.server.port, ssl=context)


async def test_a_caller_that_never_shakes_hands_is_let_go(serve: Serve, logs: Logs) -> None:
    house = await serve(tls_handshake_s=0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b""
    writer.close()
    await until(lambda: any("took too long" in line.get("latest", "") for line in logs))


async def test_handshakes_at_once_are_bounded(serve: Serve, logs: Logs) -> None:
    house = await serve(tls_handshakes_max=1)
    _, holding = await asyncio.open_connection("127.0.0.1", house.server.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b""
    holding.close()
    writer.close()
    await until(lambda: any("too many handshakes" in line.get("latest", "") for line in logs))


# --- who is who -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uris", "word"),
    [
        ([], "no URI"),
        (["spiffe://elsewhere/service/payment"], "trust domain"),
        (["spiffe://yinqi/service/nobody"], "neither a service"),
        (["spiffe://yinqi/admin/payment"], "neither a service"),
        (["spiffe://yinqi/client/erp", "spiffe://yinqi/service/payment"], "more than one"),
        (["spiffe://yinqi/client/stranger"], "nothing is said about the client stranger"),
    ],
)
async def test_a_certificate_that_names_nobody_we_know_makes_no_caller(
    serve: Serve, folder: Path, uris: list[str], word: str
) -> None:
    certificates.make_client(folder, "other", uris)
    house = await serve()
    error = await house.refusal("other")
    assert error.code() is CODE.UNAUTHENTICATED
    assert word in (error.details() or "")
    assert house.servicer.calls == 0


async def test_a_callers_own_word_counts_for_nothing_unless_switched_on(serve: Serve) -> None:
    house = await serve()
    spoken = (("x-yinqi-identity", "boss"), ("x-yinqi-roles", "service/payment,maker"))
    assert await house.ask("erp", metadata=spoken) == Principal("erp", frozenset({"maker", "viewer"}))


async def test_in_development_a_client_may_speak_for_people_but_not_be_more_than_it_is(serve: Serve) -> None:
    house = await serve(dev_identity_enabled=True)
    spoken = (("x-yinqi-identity", "zhang"), ("x-yinqi-roles", "maker,service/payment,checker"))
    assert await house.ask("erp", metadata=spoken) == Principal("zhang", frozenset({"maker"}))
    assert await house.ask("payment", metadata=spoken) == Principal("payment", frozenset({"service/payment"}))


async def test_without_a_certificate_nobody_is_a_service_even_in_development(serve: Serve) -> None:
    house = await serve(tls_mode="server", dev_identity_enabled=True)
    spoken = (("x-yinqi-identity", "payment"), ("x-yinqi-roles", "service/payment,maker"))
    assert await house.ask("", metadata=spoken) == Principal("payment", frozenset({"maker"}))


async def test_a_caller_without_certificate_and_token_is_told_what_to_show(serve: Serve) -> None:
    house = await serve(tls_mode="server")
    error = await house.refusal("")
    assert error.code() is CODE.UNAUTHENTICATED
    assert "certificate, or a token" in (error.details() or "")


# --- new certificates without restart -------------------------------------------------------------------------------


async def test_a_new_authority_is_taken_without_restart_and_open_streams_live_on(
    serve: Serve, logs: Logs, folder: Path
) -> None:
    house = await serve()
    own = house.settings.model_copy(update={"tls_mode": "mutual"})
    async with open_channel(
        f"127.0.0.1:{house.server.port}", service_name="erp", settings=own, roles="maker", certificate="erp"
    ) as channel:
        stub = EchoStub(channel)
        stream = stub.Generate(StringValue(value="follow"))
        assert (await stream.read()).value == "follow0"
        shutil.rmtree(folder)
        certificates.make(folder, erp="maker")
        await until(lambda: any(line["event"] == "new certificate taken" for line in logs))
        # Our own channel takes its new certificate as well; its stream goes on over the old connection.
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await stub.Echo(StringValue(value="x"), wait_for_ready=False, timeout=PATIENCE_S)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
        assert [(await stream.read()).value for _ in range(2)] == ["follow1", "follow2"]
    assert (await house.ask("erp")).name == "erp"


async def test_a_client_revoked_meanwhile_is_refused_at_its_next_connection(
    serve: Serve, logs: Logs, folder: Path
) -> None:
    certificates.revoke(folder)
    house = await serve(tls_crl_file=str(folder / "crl.pem"))
    assert (await house.ask("erp")).name == "erp"
    certificates.revoke(folder, "erp")
    await until(lambda: any(line["event"] == "new certificate taken" for line in logs))
    assert (await house.refusal("erp")).code() is CODE.UNAVAILABLE


async def test_a_half_written_certificate_leaves_the_old_in_force(serve: Serve, logs: Logs, folder: Path) -> None:
    house = await serve()
    (folder / "echo.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    await until(lambda: any("old one stays" in line["event"] for line in logs))
    assert (await house.ask("erp")).name == "erp"


async def test_roles_of_clients_are_read_again_and_wrong_ones_are_not_taken(
    serve: Serve, logs: Logs, folder: Path
) -> None:
    house = await serve()
    (folder / "clients.toml").write_text('[[client]]\nname = "erp"\nroles = ["viewer"]\n')
    await until(lambda: any("read again" in line["event"] for line in logs))
    assert (await house.ask("erp")).roles == {"viewer"}
    (folder / "clients.toml").write_text('[[client]]\nname = "erp"\nroles = ["service/payment"]\n')
    await until(lambda: any("old stay" in line["event"] for line in logs))
    assert (await house.ask("erp")).roles == {"viewer"}


# --- what is not started with ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda folder: (folder / "echo.crt").unlink(), "yinqi certs create"),
        (lambda folder: (folder / "echo.key").chmod(0o644), "chmod 600"),
        (lambda folder: (folder / "echo.key").write_bytes(b"?"), "no private key"),
        (lambda folder: shutil.copy(folder / "erp.key", folder / "echo.key"), "is not the key of"),
        (lambda folder: (folder / "ca.crt").write_bytes(b""), "no certificate"),
        (
            lambda folder: certificates.write_key(folder / "echo.key", ec.generate_private_key(ec.SECP224R1())),
            "of a kind not taken",
        ),
        (
            lambda folder: [
                (folder / "echo.crt").unlink(),
                certificates.make(folder, shifted=timedelta(days=-400)),
            ],
            "expired on",
        ),
    ],
)
async def test_a_server_refuses_in_words_to_start_with(
    serve: Serve, folder: Path, spoil: Callable[[Path], object], word: str
) -> None:
    spoil(folder)
    with pytest.raises(TlsInvalid, match=word):
        await serve()


async def test_plain_text_is_for_this_machine_only(settings: Settings) -> None:
    server = GrpcServer("echo", "0.0.0.0:0", [], settings=settings, telemetry=Telemetry.off())
    with pytest.raises(YinqiError, match=r"plain text on 0\.0\.0\.0") as caught:
        await server.start()
    assert "明文" in caught.value.message_zh


async def test_a_probe_that_speaks_no_tls_is_answered_at_its_own_port_and_nothing_else_is(
    serve: Serve, free_port: Callable[[], int]
) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    port = free_port()
    house = await serve(health_port=port)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="echo"), timeout=PATIENCE_S
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EchoStub(channel).Echo(StringValue(value="x"), timeout=PATIENCE_S)
    assert caught.value.code() is CODE.PERMISSION_DENIED
    assert house.servicer.calls == 0


async def test_health_over_tls_answers_every_good_certificate(serve: Serve) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    house = await serve()
    async with bare_channel(f"127.0.0.1:{house.server.port}", house.settings, "payment") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
