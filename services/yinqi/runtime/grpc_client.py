"""Channels to sister services: TLS, deadline, trace, identity and limits on every call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from yinqi.kernel.errors import Unauthenticated
from yinqi.runtime import attributes
from yinqi.runtime.errors import ErrorReason, error_reason, typed_error
from yinqi.runtime.identity import service_role
from yinqi.runtime.renewed_channel import RenewedChannel
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry, current_traceparent, format_traceparent
from yinqi.runtime.tls import CLIENT, OFF, channel_credentials, channel_to, files_of

__all__ = ["ErrorReason", "bare_channel", "error_reason", "open_channel", "typed_error"]

_KEEPALIVE_MS = 20_000


class _Outgoing:
    """What all client interceptors add to a call."""

    def __init__(
        self, identity: str, roles: str, timeout_s: float, telemetry: Telemetry, token_file: Path | None
    ) -> None:
        self._identity = ((attributes.IDENTITY_KEY, identity), (attributes.ROLES_KEY, roles)) if identity else ()
        self._token_file = token_file
        self._timeout_s = timeout_s
        self._telemetry = telemetry

    def details(self, details: Any, traceparent: str, *, default_timeout: bool) -> grpc.aio.ClientCallDetails:
        present = tuple(details.metadata or ())
        given = {key for key, _ in present}
        added = tuple(pair for pair in self._identity if pair[0] not in given)
        if traceparent and attributes.TRACEPARENT_KEY not in given:
            added += ((attributes.TRACEPARENT_KEY, traceparent),)
        if self._token_file is not None and attributes.AUTHORIZATION_KEY not in given:
            added += ((attributes.AUTHORIZATION_KEY, f"Bearer {_token(self._token_file)}"),)
        timeout = details.timeout
        if timeout is None and default_timeout:
            timeout = self._timeout_s
        return grpc.aio.ClientCallDetails(
            details.method,
            timeout,
            grpc.aio.Metadata(*present, *added),
            details.credentials,
            # A call made while the peer restarts waits for it, within its deadline, instead of failing at once.
            True if details.wait_for_ready is None else details.wait_for_ready,
        )

    def span(self, details: Any) -> Span | None:
        if not self._telemetry.enabled:
            return None
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        service, _, name = method.lstrip("/").rpartition("/")
        return self._telemetry.tracer.start_span(
            f"{service}/{name}",
            kind=SpanKind.CLIENT,
            attributes={
                attributes.RPC_SYSTEM: "grpc",
                attributes.RPC_SERVICE: service,
                attributes.RPC_METHOD: name,
            },
        )


def _finish(span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute(attributes.RPC_STATUS, code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_status(Status(StatusCode.ERROR, code.name))
    span.end()


class _UnaryUnary(_Outgoing, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        span = self.span(details)
        if span is None:
            return await continuation(self.details(details, current_traceparent(), default_timeout=True), request)
        traceparent = format_traceparent(span.get_span_context())
        code = grpc.StatusCode.CANCELLED
        try:
            call = await continuation(self.details(details, traceparent, default_timeout=True), request)
            code = await call.code()
            return call
        finally:
            _finish(span, code)


class _StreamUnary(_Outgoing, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await continuation(self.details(details, current_traceparent(), default_timeout=True), requests)


class _UnaryStream(_Outgoing, grpc.aio.UnaryStreamClientInterceptor):
    # No deadline and no span: a stream may stay open for days, and its server tells its own story.
    async def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await continuation(self.details(details, "", default_timeout=False), request)


class _StreamStream(_Outgoing, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await continuation(self.details(details, "", default_timeout=False), requests)


def open_channel(
    address: str,
    *,
    service_name: str,
    settings: Settings,
    telemetry: Telemetry | None = None,
    roles: str = "",
    certificate: str = "",
) -> grpc.aio.Channel:
    """Return a channel to host:port; connecting happens at the first call.

    Unary calls get `settings.call_timeout_s` unless they name a timeout, wait for a peer that is starting, carry
    the current trace and make a client span. Response streams get neither deadline nor span.

    Args:
        service_name: who we are. The certificate proves it; where a server believes its callers (development, plain
            text), it is sent as the caller's identity ("" sends none, the server's dev principal).
        roles: separated by commas; none: a sister service calls, and its role is its own.
        telemetry: None: the current trace is passed on, but no span is made.
        certificate: whose certificate to show; by default a service's own, else that of our commands ("client").
    Raises:
        TlsInvalid: our certificate or key cannot be used.
    """
    is_service = not roles
    token_file = Path(settings.token_file) if settings.token_file and not is_service else None
    roles = roles or service_role(service_name)
    shared = (service_name, roles, settings.call_timeout_s, telemetry or Telemetry.off(service_name), token_file)

    def connect() -> grpc.aio.Channel:
        return bare_channel(
            address,
            settings,
            name,
            options=[
                ("grpc.max_send_message_length", settings.message_bytes_max),
                ("grpc.max_receive_message_length", settings.message_bytes_max),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", 5_000),
                ("grpc.http2.max_pings_without_data", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 2_000),
            ],
            interceptors=[_UnaryUnary(*shared), _StreamUnary(*shared), _UnaryStream(*shared), _StreamStream(*shared)],
        )

    name = certificate or (service_name if is_service else CLIENT)
    if settings.tls_mode == OFF:
        return connect()
    return RenewedChannel(connect, files_of(settings, name).stamp, settings.tls_reload_interval_s)


def bare_channel(
    address: str,
    settings: Settings,
    certificate: str = CLIENT,
    *,
    options: Sequence[tuple[str, Any]] = (),
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> grpc.aio.Channel:
    """Return a channel that adds nothing to calls: encrypted, or plain where the settings say so.

    Raises:
        TlsInvalid: the certificate or key cannot be used.
    """
    return channel_to(address, channel_credentials(settings, certificate), options, interceptors)


def _token(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()  # at each call: tokens live for minutes
    except (OSError, ValueError):
        raise Unauthenticated(
            "TOKEN_UNREADABLE", f"{file} (YINQI_TOKEN_FILE) cannot be read; sign in again.", "令牌文件无法读取。"
        ) from None
