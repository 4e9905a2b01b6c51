"""What client certificates may do: a file that names each client and its roles.

[[client]]
name = "erp"  # spiffe://yinqi/client/erp
roles = ["payment_initiator", "payment_viewer"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yinqi.kernel.errors import FailedPrecondition
from yinqi.runtime.identity import without_service_roles

ClientRoles = Mapping[str, frozenset[str]]
_FIELDS = {"name", "roles"}


class ClientsFileInvalid(FailedPrecondition):
    """The file that says what client certificates may do cannot be used."""


def load_client_roles(file: Path) -> ClientRoles:
    """Return roles by client; none if the file is not there.

    Raises:
        ClientsFileInvalid: names the entry and what is allowed.
    """
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _invalid(file, f"cannot be read: {error}") from None
    if set(content) - {"client"} or not isinstance(content.get("client", []), list):
        raise _invalid(file, "holds [[client]] tables alone")
    roles: dict[str, frozenset[str]] = {}
    for number, entry in enumerate(content.get("client", []), 1):
        name, given = _entry(file, number, entry)
        if given != without_service_roles(given):
            raise _invalid(file, f"client {number} ({name}): roles of services are for certificates of services alone")
        if name in roles:
            raise _invalid(file, f"client {number}: {name} is there twice")
        roles[name] = given
    return roles


def _entry(file: Path, number: int, entry: Any) -> tuple[str, frozenset[str]]:
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        raise _invalid(file, f"client {number} must have exactly name and roles")
    name, roles = entry["name"], entry["roles"]
    if not isinstance(name, str) or not name.strip():
        raise _invalid(file, f"client {number}: name must be the last part of the certificate's URI")
    if not isinstance(roles, list) or not all(isinstance(role, str) and role.strip() for role in roles):
        raise _invalid(file, f"client {number} ({name}): roles must be a list of role names")
    return name, frozenset(roles)


def _invalid(file: Path, words: str) -> ClientsFileInvalid:
    return ClientsFileInvalid(
        "CLIENTS_FILE_INVALID",
        f"{file}, which says what client certificates may do (YINQI_TLS_CLIENTS_FILE): {words}.",
        f"客户端证书权限文件 {file} 有误，请修正。",
    )
