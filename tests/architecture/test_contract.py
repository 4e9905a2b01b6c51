"""The protos are the contract: their generated code is fresh and every RPC says who may call it."""

from __future__ import annotations

import filecmp
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor
from tests.architecture.roles import KNOWN_ROLES, chinese_of, matrix, rpcs

from yinqi.api.common.v1 import access_pb2
from yinqi.runtime.identity import roles_from_proto

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("rpc", rpcs(), ids=lambda rpc: rpc.full_name)
def test_every_rpc_names_the_roles_that_may_call_it(rpc: MethodDescriptor) -> None:
    roles = list(rpc.GetOptions().Extensions[access_pb2.allowed_roles])
    assert roles, f"{rpc.full_name} has no (allowed_roles)"
    assert set(roles) <= set(KNOWN_ROLES)


def test_health_and_reflection_alone_are_open_to_all() -> None:
    assert roles_from_proto("/grpc.health.v1.Health/Check") is None
    assert roles_from_proto("/yinqi.api.payment.v1.PaymentService/NoSuchMethod") == frozenset()
    assert all(roles_from_proto(f"/{rpc.containing_service.full_name}/{rpc.name}") for rpc in rpcs())


def test_the_matrix_of_roles_in_the_documents_is_fresh() -> None:
    assert (ROOT / "docs" / "roles.md").read_text("utf-8") == matrix(), "run `python -m tests.architecture.roles`"


def test_every_rpc_has_its_chinese_name_in_the_matrix() -> None:
    for rpc in rpcs():
        assert chinese_of(rpc), f"{rpc.full_name}: its comment in the proto needs a Chinese name in brackets"


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run([ROOT / ".ci" / "generate-protos", str(tmp_path)], check=True, cwd=ROOT)
    fresh = {p.relative_to(tmp_path) for p in tmp_path.rglob("*_pb2*")}
    committed = {p.relative_to(ROOT / "services") for p in (ROOT / "services/yinqi/api").rglob("*_pb2*.py*")}
    committed = {p for p in committed if "__pycache__" not in p.parts}
    assert fresh == committed, "files differ: run `make protos`"
    stale = [str(p) for p in fresh if not filecmp.cmp(tmp_path / p, ROOT / "services" / p, shallow=False)]
    assert not stale, "run `make protos`"
