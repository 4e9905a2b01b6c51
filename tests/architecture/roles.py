"""The matrix of roles and RPCs, and who sees what in clear, from the protos. `python -m tests.architecture.roles` prints it into docs/roles.md."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor

from yinqi.api.common.v1 import access_pb2, personal_pb2
from yinqi.runtime.personal import CLEAR_FOR

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("payment", "account", "reconciliation", "monitoring", "gateway", "evidence")
KNOWN_ROLES = {
    "payment_initiator": "经办",
    "payment_approver": "复核",
    "payment_resolver": "存疑处理",
    "payment_viewer": "付款查看",
    "account_viewer": "账户查看",
    "account_operator": "账户操作",
    "reconciler": "对账",
    "alert_viewer": "告警查看",
    "alert_handler": "告警处理",
    "stop_puller": "止付",
    "stop_lifter": "解除止付",
    "key_officer": "密钥管理",
    "auditor": "审计",
    "personal_viewer": "明文查看",
    "service/payment": "付款服务",
    "service/account": "账户服务",
    "service/reconciliation": "对账服务",
    "service/monitoring": "监控服务",
}
_HEAD = """# Who may call what 角色与接口

Made from the protos by `python -m tests.architecture.roles`; a test keeps it fresh. ● the role may call. An RPC that names no role is closed to
all, and a test refuses it. Health checks and reflection answer everybody who may connect. How a caller comes by its roles:
[identity.md](identity.md).

由 proto 生成，测试保证最新。● 表示该角色可调用；未声明角色的接口对所有人关闭。
"""
_SIGHTS = """## Who sees what in clear 明文权限

● in clear; the rest is masked in every answer, and the message that holds it says `is_masked`. What each field is stands beside it in the proto
(`yinqi.api.common.v1.personal`); roles that are not here see none of it, but for the names of creditors outside payroll (`name`). Roles add up; services see all.

每个应答按角色脱敏，含脱敏内容的消息带 `is_masked`；字段类别写在 proto 中；角色权限相加，服务之间不脱敏。
"""
_COMMENTED = re.compile(r"((?:^ *//.*\n)+) *rpc (\w+)\(", re.MULTILINE)
_CHINESE = re.compile(r"[(（]([^()（）]*[\u4e00-\u9fff][^()（）]*)[)）]")


def rpcs() -> list[MethodDescriptor]:
    """Return every RPC of every service."""
    modules = [importlib.import_module(f"yinqi.api.{s}.v1.{s}_service_pb2") for s in SERVICES]
    return [method for m in modules for service in m.DESCRIPTOR.services_by_name.values() for method in service.methods]


def roles_of(rpc: MethodDescriptor) -> list[str]:
    """Return the roles the proto names beside the RPC."""
    return list(rpc.GetOptions().Extensions[access_pb2.allowed_roles])


@cache
def _comments(file: str) -> dict[str, str]:
    return {name: comment for comment, name in _COMMENTED.findall((ROOT / "protos" / file).read_text("utf-8"))}


def chinese_of(rpc: MethodDescriptor) -> str:
    """Return the Chinese name in the RPC's comment, "" without one."""
    found = _CHINESE.search(_comments(rpc.containing_service.file.name).get(rpc.name, ""))
    return found.group(1) if found else ""


def matrix() -> str:
    """Return the document."""
    parts = [_HEAD]
    for service in dict.fromkeys(rpc.containing_service.full_name for rpc in rpcs()):
        its = [rpc for rpc in rpcs() if rpc.containing_service.full_name == service]
        roles = [role for role in KNOWN_ROLES if any(role in roles_of(rpc) for rpc in its)]
        parts += [f"## {service}\n", f"| RPC | 接口 | {' | '.join(f'{role} {KNOWN_ROLES[role]}' for role in roles)} |"]
        parts.append("|---|---|" + ":-:|" * len(roles))
        for rpc in its:
            cells = " | ".join("●" if role in roles_of(rpc) else "" for role in roles)
            parts.append(f"| {rpc.name} | {chinese_of(rpc)} | {cells} |")
        parts.append("")
    return "\n".join([*parts, *_sights()])


def _sights() -> list[str]:
    """Return the table of who sees what in clear, from `yinqi.runtime.personal`."""
    kinds = [one for one in personal_pb2.Personal.values() if any(one in sight for sight in CLEAR_FOR.values())]
    names = [personal_pb2.Personal.Name(kind).removeprefix("PERSONAL_").lower() for kind in kinds]
    rows = [
        f"| {role} {KNOWN_ROLES[role]} | " + " | ".join("●" if kind in sight else "" for kind in kinds) + " |"
        for role, sight in CLEAR_FOR.items()
    ]
    return [_SIGHTS, f"| role | {' | '.join(names)} |", "|---|" + ":-:|" * len(kinds), *rows, ""]


if __name__ == "__main__":
    (ROOT / "docs" / "roles.md").write_text(matrix(), "utf-8")
    print(matrix())
