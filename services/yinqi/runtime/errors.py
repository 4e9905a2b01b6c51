"""Errors on the wire: one table from typed errors to gRPC codes, rich details both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from yinqi.kernel.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    StorageFull,
    Unauthenticated,
    Unavailable,
    YinqiError,
)

DOMAIN = "yinqi"
VIOLATIONS_MAX = 100  # Details travel in the trailers, which have a limit of their own.
_RETRY_DELAY_S = 1

# The most special class wins (looked up along the method resolution order).
CODES: Mapping[type[YinqiError], int] = {
    InvalidRequest: code_pb2.INVALID_ARGUMENT,
    NotFound: code_pb2.NOT_FOUND,
    AlreadyExists: code_pb2.ALREADY_EXISTS,
    FailedPrecondition: code_pb2.FAILED_PRECONDITION,
    PermissionDenied: code_pb2.PERMISSION_DENIED,
    Unauthenticated: code_pb2.UNAUTHENTICATED,
    Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    StorageFull: code_pb2.UNAVAILABLE,
    Unavailable: code_pb2.UNAVAILABLE,
    # Not UNAVAILABLE: clients retry that by themselves, and money may have moved.
    OutcomeUnknown: code_pb2.ABORTED,
    YinqiError: code_pb2.UNKNOWN,
}
_RETRYABLE = (Overloaded, Unavailable)


def code_of(error: YinqiError) -> int:
    """Return the google.rpc code of a typed error."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def status_of(error: YinqiError) -> status_pb2.Status:
    """Return the rich status: ErrorInfo always, BadRequest for wrong fields, RetryInfo where waiting helps."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata))
    ]
    if error.violations:
        details.append(_bad_request(error))
    if error.message_zh:
        details.append(error_details_pb2.LocalizedMessage(locale="zh-CN", message=error.message_zh))
    if isinstance(error, _RETRYABLE):
        details.append(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=_RETRY_DELAY_S)))
    return build_status(code_of(error), error.message, details)


def build_status(code: int, message: str, details: list[Message]) -> status_pb2.Status:
    """Return a status with packed details."""
    packed = []
    for detail in details:
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    return status_pb2.Status(code=code, message=message, details=packed)


def internal_status(reference: str) -> status_pb2.Status:
    """Return what a caller may know of an unforeseen error: that it happened, and where to ask."""
    return build_status(
        code_pb2.INTERNAL,
        f"internal error, reference {reference}",
        [error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"reference": reference})],
    )


def _bad_request(error: YinqiError) -> error_details_pb2.BadRequest:
    request = error_details_pb2.BadRequest()
    for violation in list(error.violations)[:VIOLATIONS_MAX]:
        entry = request.field_violations.add(
            field=violation.field, description=violation.description, reason=violation.reason
        )
        if violation.description_zh:
            entry.localized_message.locale = "zh-CN"
            entry.localized_message.message = violation.description_zh
    return request


@dataclass(frozen=True, slots=True)
class ErrorReason:
    """What a failed call said, read back.

    Attributes:
        code: gRPC code.
        reason: stable reason code of ours, "" if the peer gave none (it may not even have been reached).
        message: for people.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    message_zh: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()


def error_reason(error: grpc.aio.AioRpcError) -> ErrorReason:
    """Read the rich details of a failed call; never raises."""
    code, message = error.code(), error.details() or ""
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # details of another call, or forged
        status = None
    if status is None:
        return ErrorReason(code, "", message)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    localized = error_details_pb2.LocalizedMessage()
    for detail in status.details:
        for kind in (info, bad_request, localized):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    violations = tuple(
        FieldViolation(entry.field, entry.reason, entry.description, entry.localized_message.message)
        for entry in bad_request.field_violations
    )
    return ErrorReason(code, info.reason, message, localized.message, dict(info.metadata), violations)


_FROM_CODE: Mapping[grpc.StatusCode, type[YinqiError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.ABORTED: OutcomeUnknown,
}


def typed_error(error: grpc.aio.AioRpcError) -> YinqiError:
    """Return the typed error a sister service raised, so that a client may raise it again.

    Everything that is not a clear word of the peer (UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL …) becomes
    `Unavailable`. Whether money may have moved behind such a silence is for the caller's port to say.
    """
    found = error_reason(error)
    kind = _FROM_CODE.get(found.code, Unavailable)
    if kind is OutcomeUnknown and not found.reason:
        kind = Unavailable
    return kind(
        found.reason or found.code.name,
        found.message or f"the call failed: {found.code.name}",
        found.message_zh,
        found.violations,
        found.metadata,
    )
