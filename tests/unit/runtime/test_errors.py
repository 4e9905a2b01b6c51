"""Every kind of error has its code, and every detail comes back as it went."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from yinqi.kernel import errors as kernel
from yinqi.kernel.errors import FieldViolation, StorageFull, YinqiError
from yinqi.runtime.errors import CODES, VIOLATIONS_MAX, code_of, error_reason, status_of, typed_error


def as_call_error(error: YinqiError) -> grpc.aio.AioRpcError:
    status = rpc_status.to_status(status_of(error))
    return grpc.aio.AioRpcError(
        status.code, grpc.aio.Metadata(), grpc.aio.Metadata(*status.trailing_metadata), details=status.details
    )


ALL = sorted(
    (
        kind
        for kind in vars(kernel).values()
        if isinstance(kind, type) and issubclass(kind, YinqiError) and kind is not YinqiError
    ),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_of_error_has_a_code_of_its_own_family(kind: type[YinqiError]) -> None:
    assert code_of(kind("X", "x")) != CODES[YinqiError]


@pytest.mark.parametrize("kind", ALL)
def test_an_error_comes_back_as_the_same_family(kind: type[YinqiError]) -> None:
    again = typed_error(as_call_error(kind("REASON", "words", "话", metadata={"a": "b"})))
    assert isinstance(kind("X", "x"), type(again))
    assert (again.reason, again.message, again.message_zh, again.metadata) == ("REASON", "words", "话", {"a": "b"})


def test_silence_of_a_peer_is_unavailable_and_never_a_refusal() -> None:
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL):
        error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="socket closed")
        assert type(typed_error(error)) is kernel.Unavailable
        assert error_reason(error).reason == ""


def test_details_are_kept_small_enough_for_the_trailers() -> None:
    many = [FieldViolation(f"lines[{n}].amount", "X", "words", "话") for n in range(10_000)]
    status = status_of(kernel.InvalidRequest("TOO_MANY", "see the fields", violations=many))
    bad = error_details_pb2.BadRequest()
    next(detail for detail in status.details if detail.Is(bad.DESCRIPTOR)).Unpack(bad)
    assert len(bad.field_violations) == VIOLATIONS_MAX


def test_a_full_store_says_when_to_come_back() -> None:
    status = status_of(StorageFull("STORAGE_FULL", "full"))
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
