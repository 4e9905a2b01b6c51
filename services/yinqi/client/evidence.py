"""Gathers what each service has of a payment into one evidence bundle (docs/evidence-bundle.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc

from yinqi.api.evidence.v1 import evidence_pb2, evidence_service_pb2, evidence_service_pb2_grpc
from yinqi.api.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from yinqi.runtime.journal.chain import canonical

SERVICES = ("payment", "monitoring", "gateway", "account", "reconciliation")
_TRIES_MAX, _PAUSE_S = 20, 0.5
_NO_RECEIPT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,  # a gateway of a version before
}
ChannelOf = Callable[[str], grpc.aio.Channel]


async def collect_evidence(payment: str, channel_of: ChannelOf, *, timeout_s: float = 60.0) -> bytes:
    """Return the bundle of a payment; rows that wait for their seal are waited for, a little.

    Args:
        payment: its end_to_end_id or instruction_id.
        channel_of: a channel to each service, by name.
    Raises:
        grpc.aio.AioRpcError: NOT_FOUND, or a service is away. A bundle is whole or is none.
    """
    subject = await _subject(payment, channel_of("payment"), timeout_s)
    await _fetch_receipts(subject.instruction_id, channel_of("gateway"), timeout_s)
    for _ in range(_TRIES_MAX):
        parts = [await _part(subject, channel_of(service), timeout_s) for service in SERVICES]
        if not any(part.unsealed_rows for part in parts):
            break
        await asyncio.sleep(_PAUSE_S)
    return bundle_of(parts)


def bundle_of(parts: list[evidence_pb2.EvidencePart]) -> bytes:
    """Return the bundle made of the parts of all services, in the order of `SERVICES`."""
    head = {
        "bundle": "yinqi-evidence",
        "end_to_end_id": parts[0].end_to_end_id,
        "instruction_id": parts[0].instruction_id,
        "version": 1,
    }
    lines = [canonical(head), *(line for part in parts for line in (part.head, *part.items))]
    return b"".join(line + b"\n" for line in [*lines, canonical({"kind": "end", "lines": len(lines) + 1})])


async def _subject(payment: str, channel: grpc.aio.Channel, timeout_s: float) -> evidence_pb2.EvidenceSubject:
    try:
        part = await _part(evidence_pb2.EvidenceSubject(end_to_end_id=payment), channel, timeout_s)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        part = await _part(evidence_pb2.EvidenceSubject(instruction_id=payment), channel, timeout_s)
    return evidence_pb2.EvidenceSubject(instruction_id=part.instruction_id, end_to_end_id=part.end_to_end_id)


async def _fetch_receipts(instruction_id: str, channel: grpc.aio.Channel, timeout_s: float) -> None:
    """Have the gateway ask the bank for the receipt; without an answer the bundle says that it has none."""
    request = gateway_service_pb2.FetchReceiptsRequest(instruction_ids=[instruction_id])
    try:
        await gateway_service_pb2_grpc.GatewayServiceStub(channel).FetchReceipts(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        if error.code() not in _NO_RECEIPT:
            raise


async def _part(
    subject: evidence_pb2.EvidenceSubject, channel: grpc.aio.Channel, timeout_s: float
) -> evidence_pb2.EvidencePart:
    request = evidence_service_pb2.CollectEvidenceRequest(subjects=[subject])
    stub = evidence_service_pb2_grpc.EvidenceServiceStub(channel)
    response: evidence_service_pb2.CollectEvidenceResponse = await stub.CollectEvidence(request, timeout=timeout_s)
    return response.parts[0]
