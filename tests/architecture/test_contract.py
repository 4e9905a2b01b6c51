"""The protos are the contract: their generated code is fresh and every RPC says who may call it."""

from __future__ import annotations

import filecmp
import importlib
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

from yinqi.api.common.v1 import access_pb2

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("payment", "account", "reconciliation", "monitoring", "gateway", "evidence")
KNOWN_ROLES = {
    "payment_initiator",
    "payment_resolver",
    "stop_puller",
    "stop_lifter",
    "payment_approver",
    "payment_viewer",
    "account_viewer",
    "account_operator",
    "reconciler",
    "alert_viewer",
    "alert_handler",
    "auditor",
    "key_officer",
    "service",
}


def rpcs() -> list[MethodDescriptor]:
    modules = [importlib.import_module(f"yinqi.api.{s}.v1.{s}_service_pb2") for s in SERVICES]
    return [method for m in modules for service in m.DESCRIPTOR.services_by_name.values() for method in service.methods]


@pytest.mark.parametrize("rpc", rpcs(), ids=lambda rpc: rpc.full_name)
def test_every_rpc_names_the_roles_that_may_call_it(rpc: MethodDescriptor) -> None:
    roles = list(rpc.GetOptions().Extensions[access_pb2.allowed_roles])
    assert roles, f"{rpc.full_name} has no (allowed_roles)"
    assert set(roles) <= KNOWN_ROLES


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run([ROOT / ".ci" / "generate-protos", str(tmp_path)], check=True, cwd=ROOT)
    fresh = {p.relative_to(tmp_path) for p in tmp_path.rglob("*_pb2*")}
    committed = {p.relative_to(ROOT / "services") for p in (ROOT / "services/yinqi/api").rglob("*_pb2*.py*")}
    committed = {p for p in committed if "__pycache__" not in p.parts}
    assert fresh == committed, "files differ: run `make protos`"
    stale = [str(p) for p in fresh if not filecmp.cmp(tmp_path / p, ROOT / "services" / p, shallow=False)]
    assert not stale, "run `make protos`"
