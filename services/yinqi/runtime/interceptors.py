"""What every RPC passes on its way in and out: parsing, trace, identity, deadline, errors, masking. (Limits: grpc_core, before Python.)

One interceptor, not a chain: each method is wrapped once, so a call pays for no look-up.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import structlog
from google.rpc import code_pb2, status_pb2
from grpc_core import Call
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from yinqi.kernel.errors import PermissionDenied, Unavailable, YinqiError
from yinqi.runtime import attributes
from yinqi.runtime.authentication import Authenticator
from yinqi.runtime.call_context import Aborted, CallContext, parse_request
from yinqi.runtime.denials import Denials
from yinqi.runtime.errors import build_status, internal_status, status_of
from yinqi.runtime.identity import AccessPolicy, require_role, roles_from_proto, set_current_principal
from yinqi.runtime.personal import Masker, masker_of
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry

_log = structlog.get_logger(__name__)

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
_DRAINING = Unavailable("DRAINING", "The server is stopping; open the stream again from your cursor.")
_CANCELLED = status_pb2.Status(code=code_pb2.CANCELLED)
_STOPPED = Unavailable("STOPPED", "The server stopped before the call had ended; repeat it with the same key.")


@dataclass(frozen=True, slots=True)
class Method:
    """A method as it is served.

    Attributes:
        path: "/package.Service/Method".
        is_exempt: health and reflection: they answer always and everybody, and are not traced.
        masker: makes of an answer what the caller may see of it.
    """

    path: str
    handle: Callable[[Any, Any], Any]
    deserialize: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    streams_requests: bool
    streams_responses: bool
    is_exempt: bool
    allowed: frozenset[str] | None
    masker: Masker
    span_name: str
    span_attributes: dict[str, str]

    @property
    def is_stream(self) -> bool:
        """Whether either side sends any number of messages."""
        return self.streams_requests or self.streams_responses

    def context(self, call: Call) -> CallContext:
        """Return what the handler sees of the call."""
        return CallContext(self.path, call, self.serialize, self.deserialize)


class ServerInterceptor:
    """Serves calls through handlers.

    Args:
        access: roles by method; from the `.proto` unless a test says otherwise.
        reference: makes the reference by which an operator finds an internal error in the log.
        denials: hears of callers that may not do what they asked for.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        authenticator: Authenticator,
        *,
        access: AccessPolicy = roles_from_proto,
        reference: Callable[[], str] = lambda: secrets.token_hex(6),
        denials: Denials | None = None,
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._authenticator = authenticator
        self._access = access
        self._reference = reference
        self._denials = denials or Denials()

    def method(self, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> Method:
        """Return the method that serves this handler of grpc's generated code under the path."""
        service, _, name = path.lstrip("/").rpartition("/")
        inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        return Method(
            path,
            inner,
            handler.request_deserializer or bytes,
            handler.response_serializer or bytes,
            handler.request_streaming,
            handler.response_streaming,
            path.startswith("/grpc."),
            self._access(path),
            masker_of(path),
            f"{service}/{name}",
            {attributes.RPC_SYSTEM: "grpc", attributes.RPC_SERVICE: service, attributes.RPC_METHOD: name},
        )

    async def serve(self, method: Method, call: Call, context: CallContext) -> None:
        """Serve one call, to its answer or its failure. Runs in a task of its own."""
        span: trace.Span | None = None
        if self._telemetry.enabled and not method.is_exempt:
            # A long stream is its own story; tied to its opener's trace it would leave that trace open for days.
            parent = "" if method.is_stream else str(call.metadata.get(attributes.TRACEPARENT_KEY, ""))
            span = self._telemetry.start_server_span(method.span_name, parent, method.span_attributes)
            otel_context.attach(trace.set_span_in_context(span))  # for the rest of this task
        failure: status_pb2.Status | None = None
        message = b""
        try:
            try:
                message = await self._answer(method, call, context, span)
            except asyncio.CancelledError:
                if not context.why_cancelled:
                    raise
                raise (_DRAINING if context.why_cancelled == "draining" else _STOPPED) from None
        except YinqiError as error:
            failure = status_of(error)
            _log.debug("call refused", method=method.path, code=failure.code, reason=error.reason)
            if span is not None:
                span.set_attribute(attributes.ERROR_REASON, error.reason)
        except Aborted as error:
            failure = error.status
        except asyncio.CancelledError:
            failure = _CANCELLED
        except Exception as error:  # noqa: BLE001 (the caller learns a reference, the log the rest)
            reference = self._reference()
            _log.error("unforeseen error in a call", method=method.path, reference=reference, exc_info=error)
            failure = internal_status(reference)
            if span is not None:
                span.set_attribute(attributes.ERROR_REASON, "INTERNAL")
                span.set_attribute(attributes.ERROR_REFERENCE, reference)
        if span is not None:  # ended before the answer leaves: who has the answer may look for the span
            code = failure.code if failure is not None else code_pb2.OK
            span.set_attribute(attributes.RPC_STATUS, code)
            if code in _SERVER_FAULTS:
                span.set_status(Status(StatusCode.ERROR))
            span.end()
        if failure is not None:
            call.fail(failure.code, failure.message, failure.SerializeToString() if failure.details else b"")
        elif method.streams_responses:
            call.end()
        else:
            call.finish(message)

    async def _answer(self, method: Method, call: Call, context: CallContext, span: trace.Span | None) -> bytes:
        """Return the serialized answer; nothing for a response stream, whose messages are written by then."""
        request: Any = (
            context.requests()
            if method.streams_requests
            else parse_request(method.path, method.deserialize, call.message)
        )
        if not method.is_exempt:
            principal = self._authenticator.principal_of(call)
            try:
                require_role(principal, method.allowed, method.path)
            except PermissionDenied:
                await self._denials.note(principal, method.path)
                raise
            set_current_principal(principal)
            if span is not None:
                span.set_attribute(attributes.PRINCIPAL, principal.name)
            context.shown = partial(method.masker.masked, principal=principal)
        if method.streams_responses:
            await _write_all(method, request, context)
            return b""
        if method.streams_requests:
            return method.serialize(context.shown(await method.handle(request, context)))
        return method.serialize(context.shown(await self._within_deadline(method.handle, request, context)))

    async def _within_deadline(
        self, handle: Callable[[Any, Any], Awaitable[Any]], request: Any, context: CallContext
    ) -> Any:
        remaining = context.time_remaining()
        limit = self._settings.deadline_default_s if remaining is None else self._settings.deadline_max_s
        if remaining is not None and remaining <= limit:
            return await handle(request, context)  # the server cancels us when the caller's deadline is over
        try:
            async with asyncio.timeout(limit) as timeout:
                return await handle(request, context)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise Aborted(
                build_status(
                    code_pb2.DEADLINE_EXCEEDED,
                    f"The call took longer than {limit:g} s; whether it took effect is not known: "
                    "repeat it with the same key.",
                    [],
                )
            ) from None


async def _write_all(method: Method, request: Any, context: CallContext) -> None:
    """Run a streaming handler, whichever of grpc's two styles it has."""
    responses = method.handle(request, context)
    if inspect.isawaitable(responses):  # reads and writes through the context itself
        await responses
        return
    try:
        async for response in responses:
            await context.write(response)
    finally:
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()
