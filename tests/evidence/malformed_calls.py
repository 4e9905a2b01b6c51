"""Malformed requests for every RPC of the five services, from a seed, and the answers they get over the wire.

A request is filled from its descriptor with values that a good one may have, then spoilt: fields dropped, doubled or
replaced by odd ones, bytes changed, another message's bytes, no message at all.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from yinqi.api.account.v1 import account_service_pb2 as _a
from yinqi.api.common.v1 import access_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as _g
from yinqi.api.monitoring.v1 import monitoring_service_pb2 as _m
from yinqi.api.payment.v1 import payment_service_pb2 as _p
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2 as _r
from yinqi.runtime import attributes

_FILES = {"payment": _p, "account": _a, "reconciliation": _r, "monitoring": _m, "gateway": _g}
FORBIDDEN = frozenset({"INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "DATA_LOSS"})
ACCOUNT = "755915678910001"
_CALLERS, _UNARY_S, _STREAM_S = (
    48,
    120.0,
    0.3,
)  # many: one in six RPCs is a stream that says nothing until its time is over
_GIANT = "深" * 2_000_000  # 6 MB: over any limit
_STRINGS = [
    "", " ", "\x00", "\x00" * 300, "A" * 70_000, "深" * 5_000, "٣٤", "-1", "0", "1e999", "NaN", "2026-13-45", "9999-12-31",
    "0001-01-01", "2026-11-22", "%s%n{0}", "'; DROP TABLE payments; --", "../../etc/passwd", "\u202e\ufeff\U0010ffff",
    ACCOUNT, "DE89370400440532013000", "CNY", "cny", "XXX", "00-" + "f" * 32 + "-" + "0" * 16 + "-01", "\n\r\t",
]  # fmt: skip
_INTEGERS = [0, 1, -1, 2, 1000, 1001, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63), 253_402_300_800]
_GOOD = {
    "date": "2026-11-22", "currency": "CNY", "identification": ACCOUNT, "account": ACCOUNT, "accounts": ACCOUNT,
    "debtor_account": ACCOUNT, "creditor_account": "6225000000000001", "name": "苏州供应商有限公司", "bank_profile": "demo_bank",
    "clearing_member_id": "102100000626", "page_token": "", "traceparent": "", "person": "li", "file_name": "a.xml",
}  # fmt: skip


@dataclass
class Answers:
    """What was answered: how often by code, and the cases that may not be, by method and code; the slowest one, in seconds."""

    codes: Counter[str] = field(default_factory=Counter)
    forbidden: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)
    slowest_s: float = 0.0
    slowest: str = ""


def methods() -> dict[str, list[MethodDescriptor]]:
    """Return every RPC by service."""
    return {
        name: [method for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods]
        for name, file in _FILES.items()
    }


def all_roles() -> str:
    """Return every role that an RPC allows: refusals for want of a role would test nothing else."""
    roles: set[str] = set()
    for its in methods().values():
        for method in its:
            roles |= set(method.GetOptions().Extensions[access_pb2.allowed_roles])
    return ",".join(sorted(roles))


class Requests:
    """An endless choice of malformed requests."""

    def __init__(self, seed: int, ids: Sequence[str], content: bytes) -> None:
        self._chance = random.Random(seed)
        self._ids = list(ids)
        self._content = content
        self._classes = [GetMessageClass(method.input_type) for its in methods().values() for method in its]

    def make(self, method: MethodDescriptor) -> bytes:
        """Return the bytes of one."""
        chance = self._chance
        roll = chance.random()
        if roll < 0.04:
            return chance.randbytes(chance.randrange(300))
        if roll < 0.05:  # groups that open and never end, and lengths without what they promise
            return chance.choice((b"\x0b" * 20_000, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x80" * 500))
        kind = chance.choice(self._classes) if roll < 0.08 else GetMessageClass(method.input_type)
        message = self._good(kind, 0)
        for _ in range(chance.choice((0, 1, 1, 2, 4))):
            self._spoil(message)
        data = message.SerializeToString()
        return self._bent(data) if chance.random() < 0.35 else data

    def _good(self, kind: type[Message], depth: int) -> Message:
        message = kind()
        if kind.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
            message.seconds = 1_795_000_000  # type: ignore[attr-defined]
            return message
        for one in kind.DESCRIPTOR.fields:
            if one.containing_oneof is not None and self._chance.random() < 0.5:
                continue
            if one.message_type is not None and (depth > 4 or one.message_type.GetOptions().map_entry):
                continue
            count = self._chance.choice((1, 1, 2)) if one.is_repeated else 1
            for _ in range(count):
                self._put(message, one, self._value(one, depth))
        return message

    def _value(self, one: FieldDescriptor, depth: int) -> Any:
        chance = self._chance
        if one.message_type is not None:
            return self._good(GetMessageClass(one.message_type), depth + 1)
        if one.enum_type is not None:
            return chance.choice([value.number for value in one.enum_type.values])
        if one.type == FieldDescriptor.TYPE_BYTES:
            return self._content
        if one.type == FieldDescriptor.TYPE_STRING:
            return self._text(one.name)
        if one.type == FieldDescriptor.TYPE_BOOL:
            return chance.random() < 0.5
        if one.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
            return chance.random()
        return 0 if one.name == "after_sequence" else chance.choice((1, 2, 100))

    def _text(self, name: str) -> str:
        if name in ("instruction_id", "end_to_end_id") and self._chance.random() < 0.7:
            return self._chance.choice(self._ids)
        if name == "end_to_end_id":
            return f"ODD-{self._chance.randrange(10**9)}"
        for ending, text in _GOOD.items():
            if name.endswith(ending):
                return text
        return f"{name}-{self._chance.randrange(50)}"

    def _spoil(self, message: Message) -> None:
        """Change one field, somewhere in the tree."""
        chance = self._chance
        while True:
            one = chance.choice(message.DESCRIPTOR.fields) if message.DESCRIPTOR.fields else None
            if one is None:
                return
            inner = self._inner(message, one)
            if inner is None or chance.random() < 0.2:
                break
            message = inner
        if chance.random() < 0.25:
            message.ClearField(one.name)
        elif one.is_repeated and chance.random() < 0.3:
            for _ in range(chance.choice((2, 50, 1_500))):
                self._put(message, one, self._value(one, 3))
        else:
            self._put(message, one, self._odd(one))

    def _inner(self, message: Message, one: FieldDescriptor) -> Message | None:
        if one.message_type is None or one.message_type.GetOptions().map_entry:
            return None
        if not one.is_repeated:
            return getattr(message, one.name) if message.HasField(one.name) else None
        its = getattr(message, one.name)
        return self._chance.choice(list(its)) if len(its) else None

    def _odd(self, one: FieldDescriptor) -> Any:
        chance = self._chance
        if one.message_type is not None:
            return GetMessageClass(one.message_type)()
        if one.enum_type is not None:
            return chance.choice((0, -1, 99, 2**31 - 1))
        if one.type == FieldDescriptor.TYPE_STRING:
            return _GIANT if chance.random() < 0.002 else chance.choice(_STRINGS)
        if one.type == FieldDescriptor.TYPE_BYTES:
            return chance.choice((b"", b"\x00", chance.randbytes(200), self._bent(self._content)))
        if one.type == FieldDescriptor.TYPE_BOOL:
            return chance.random() < 0.5
        if one.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
            return chance.choice((float("nan"), float("inf"), -1.0, 1e308))
        return chance.choice(_INTEGERS)

    @staticmethod
    def _put(message: Message, one: FieldDescriptor, value: Any) -> None:
        try:
            if one.message_type is not None and one.is_repeated:
                getattr(message, one.name).append(value)
            elif one.message_type is not None:
                getattr(message, one.name).CopyFrom(value)
            elif one.is_repeated:
                getattr(message, one.name).append(value)
            else:
                setattr(message, one.name, value)
        except ValueError:  # too large for the field: a type cannot be broken that way, only by `_bent`
            return

    def _bent(self, data: bytes) -> bytes:
        chance, mutant = self._chance, bytearray(data)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(mutant) + 1)
            match chance.randrange(4):
                case 0 if at < len(mutant):
                    mutant[at] ^= chance.randrange(1, 256)
                case 1:
                    del mutant[at : at + chance.randrange(1, 40)]
                case 2:
                    mutant[at:at] = chance.randbytes(chance.randint(1, 20))
                case _:
                    mutant[at:at] = mutant[at : at + 60]
        return bytes(mutant)


async def strike(addresses: Mapping[str, str], count: int, requests: Requests, answers: Answers) -> None:
    """Send `count` malformed requests, spread over all RPCs, to real servers; note what they answer."""
    assert descriptor_pool.Default() is not None
    metadata = ((attributes.IDENTITY_KEY, "storm"), (attributes.ROLES_KEY, all_roles()))
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_send_message_length", 64 << 20)]
    options.append(("grpc.max_receive_message_length", 64 << 20))
    channels = {name: grpc.aio.insecure_channel(address, options=options) for name, address in addresses.items()}
    every = [(name, method) for name, its in methods().items() for method in its]
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            service, method = every[number % len(every)]
            data = requests.make(method)
            start_s = time.monotonic()
            code, text = await _call(channels[service], method, data, metadata)
            took_s = time.monotonic() - start_s
            if took_s > answers.slowest_s and not method.server_streaming:
                answers.slowest_s, answers.slowest = took_s, f"{method.full_name} {code}, {len(data):,} bytes"
            answers.codes[code] += 1
            if code in FORBIDDEN:
                answers.forbidden[f"{method.full_name} {code}"] += 1
                answers.samples.setdefault(f"{method.full_name} {code}", f"#{number} {text[:160]} {data[:80].hex()}")

    try:
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    finally:
        for channel in channels.values():
            await channel.close()


async def _call(channel: grpc.aio.Channel, method: MethodDescriptor, data: bytes, metadata: Any) -> tuple[str, str]:
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.server_streaming:
            stream = channel.unary_stream(path)(data, metadata=metadata, timeout=_STREAM_S)
            async for _ in stream:
                stream.cancel()
                break
        else:
            await channel.unary_unary(path)(data, metadata=metadata, timeout=_UNARY_S)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    except asyncio.CancelledError:  # of our own stream
        return "OK", ""
    return "OK", ""
