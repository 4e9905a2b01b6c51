"""What every RPC passes on its way in: limit, parsing, trace, identity, deadline, errors.

One interceptor, not a chain: each method's handler is wrapped once and kept, so a call pays for no look-up.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from yinqi.kernel.errors import InvalidRequest, Overloaded, Unavailable, YinqiError
from yinqi.runtime import attributes
from yinqi.runtime.errors import build_status, internal_status, status_of
from yinqi.runtime.identity import (
    AccessPolicy,
    principal_from,
    require_role,
    roles_from_proto,
    set_current_principal,
)
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry

_log = structlog.get_logger(__name__)
Context = grpc.aio.ServicerContext
Call = Callable[[Any, Any], Awaitable[Any]]

# Codes that mean the server failed; the others are the caller's and leave a server span unset (OTel RPC conventions).
_SERVER_FAULTS = frozenset(
    {
        code_pb2.UNKNOWN,
        code_pb2.DEADLINE_EXCEEDED,
        code_pb2.UNIMPLEMENTED,
        code_pb2.INTERNAL,
        code_pb2.UNAVAILABLE,
        code_pb2.DATA_LOSS,
    }
)


class _Unparsable:
    """Stands for a request that is not a message of the expected type."""


class _Aborted(Exception):
    """Ends a call with a status that is already complete."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server.

    Args:
        access: roles by method; from the `.proto` unless a test says otherwise.
        reference: makes the reference by which an operator finds an internal error in the log.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        *,
        access: AccessPolicy = roles_from_proto,
        reference: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._access = access
        self._reference = reference
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._in_flight = 0
        self._streams: set[asyncio.Task[Any]] = set()
        self._draining = False

    @property
    def in_flight(self) -> int:
        """Unary calls being served."""
        return self._in_flight

    def end_streams(self) -> None:
        """End the open response streams with UNAVAILABLE, so that followers go to another replica; for draining."""
        self._draining = True
        for task in list(self._streams):
            task.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        wrapped = self._handlers.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:  # UNIMPLEMENTED, as grpc answers it
                return None
            wrapped = self._wrap(method, handler)
            self._handlers[method] = wrapped
        return wrapped

    def _wrap(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        if method.startswith("/grpc."):  # health and reflection answer always, and are not traced
            return handler
        deserialize = _parse_or_mark(handler.request_deserializer)
        inner: Any
        if handler.response_streaming:
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
            call = self._guarded(method, _writing(inner), streaming=True)
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
            call = self._guarded(method, inner, streaming=False)
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
        return make(call, deserialize, handler.response_serializer)

    def _guarded(self, method: str, inner: Call, *, streaming: bool) -> Call:
        """Return the handler with everything around it."""
        allowed = self._access(method)
        service, _, name = method.lstrip("/").rpartition("/")
        span_name = f"{service}/{name}"
        span_attributes = {
            attributes.RPC_SYSTEM: "grpc",
            attributes.RPC_SERVICE: service,
            attributes.RPC_METHOD: name,
        }

        async def call(request: Any, context: Any) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            if not self._telemetry.enabled:
                return await self._serve(method, allowed, inner, request, context, metadata, streaming, None)
            # A long stream is its own story; tied to its opener's trace it would leave that trace open for days.
            parent = "" if streaming else metadata.get(attributes.TRACEPARENT_KEY, "")
            span = self._telemetry.start_server_span(span_name, parent, span_attributes)
            token = otel_context.attach(trace.set_span_in_context(span))
            try:
                return await self._serve(method, allowed, inner, request, context, metadata, streaming, span)
            finally:
                otel_context.detach(token)
                span.end()

        return call

    async def _serve(
        self,
        method: str,
        allowed: frozenset[str] | None,
        inner: Call,
        request: Any,
        context: Any,
        metadata: dict[str, Any],
        streaming: bool,
        span: trace.Span | None,
    ) -> Any:
        settings = self._settings
        self._in_flight += not streaming
        task = asyncio.current_task()
        try:
            try:
                if type(request) is _Unparsable:
                    raise InvalidRequest(
                        "REQUEST_UNPARSABLE", f"The request is not a valid message for {method}.", "请求报文无法解析。"
                    )
                if self._in_flight > settings.in_flight_max or (
                    streaming and len(self._streams) >= settings.streams_max
                ):
                    raise Overloaded(
                        "TOO_MANY_CALLS",
                        "The server is serving as many calls as it may; try again in a second.",
                        "服务繁忙，请稍后重试。",
                    )
                principal = principal_from(
                    str(metadata.get(attributes.IDENTITY_KEY, "")),
                    str(metadata.get(attributes.ROLES_KEY, "")),
                    dev_identity_enabled=settings.dev_identity_enabled,
                )
                require_role(principal, allowed, method)
                set_current_principal(principal)
                if span is not None:
                    span.set_attribute(attributes.PRINCIPAL, principal.name)
                if streaming:
                    if task is not None:
                        self._streams.add(task)
                    response = await inner(request, context)
                else:
                    response = await self._within_deadline(inner, request, context)
            except (grpc.aio.AbortError, grpc.aio.BaseError):
                raise
            except asyncio.CancelledError:
                if streaming and self._draining:
                    raise Unavailable(
                        "DRAINING", "The server is stopping; open the stream again from your cursor."
                    ) from None
                raise
        except YinqiError as error:
            await self._end(method, context, status_of(error), span, error.reason)
        except _Aborted as error:
            await self._end(method, context, error.status, span, "DEADLINE_EXCEEDED")
        except grpc.aio.AbortError:
            self._mark(span, context.code())
            raise
        except asyncio.CancelledError:
            if span is not None:
                span.set_attribute(attributes.RPC_STATUS, code_pb2.CANCELLED)
            raise
        except Exception as error:  # noqa: BLE001 (the caller learns a reference, the log the rest)
            reference = self._reference()
            _log.error("unforeseen error in a call", method=method, reference=reference, exc_info=error)
            if span is not None:
                span.set_attribute(attributes.ERROR_REFERENCE, reference)
            await self._end(method, context, internal_status(reference), span, "INTERNAL")
        else:
            self._mark(span, context.code())
            return response
        finally:
            self._in_flight -= not streaming
            if streaming and task is not None:
                self._streams.discard(task)

    async def _within_deadline(self, inner: Call, request: Any, context: Any) -> Any:
        remaining = context.time_remaining()
        limit = self._settings.deadline_default_s if remaining is None else self._settings.deadline_max_s
        if remaining is not None and remaining <= limit:
            return await inner(request, context)  # grpc itself cancels us when the caller's deadline is over
        try:
            async with asyncio.timeout(limit) as timeout:
                return await inner(request, context)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise _Aborted(
                build_status(
                    code_pb2.DEADLINE_EXCEEDED,
                    f"The call took longer than {limit:g} s; whether it took effect is not known: "
                    "repeat it with the same key.",
                    [],
                )
            ) from None

    async def _end(
        self, method: str, context: Any, status: status_pb2.Status, span: trace.Span | None, reason: str
    ) -> NoReturn:
        if span is not None:
            span.set_attribute(attributes.ERROR_REASON, reason)
            self._mark(span, status.code)
        _log.debug("call refused", method=method, code=status.code, reason=reason)
        await context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError  # abort always raises

    def _mark(self, span: trace.Span | None, code: Any) -> None:
        if span is None:
            return
        number = code if isinstance(code, int) else code.value[0] if code is not None else code_pb2.OK
        span.set_attribute(attributes.RPC_STATUS, number)
        if number in _SERVER_FAULTS:
            span.set_status(Status(StatusCode.ERROR))


def _parse_or_mark(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Return a deserializer that marks what it cannot read, so that the answer is ours and not grpc's UNKNOWN."""
    if deserialize is None:
        return None

    def parse(data: bytes) -> Any:
        try:
            return deserialize(data)
        except (DecodeError, ValueError, RuntimeError):
            return _Unparsable()

    return parse


def _writing(inner: Callable[[Any, Any], Any]) -> Call:
    """Return a streaming handler in the write style, whichever of grpc's two styles `inner` has."""

    async def write_all(request: Any, context: Any) -> None:
        result = inner(request, context)
        if inspect.isawaitable(result):  # reads and writes through the context itself
            await result
            return
        responses: AsyncIterator[Any] = result
        try:
            async for response in responses:
                await context.write(response)
        finally:
            close = getattr(responses, "aclose", None)
            if close is not None:
                await close()

    return write_all
