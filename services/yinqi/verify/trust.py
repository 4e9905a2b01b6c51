"""What an auditor knows from elsewhere: whose public keys they are, and where the journals stood."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yinqi.verify.forms import from_hex, text

_HASH_DIGITS_MIN = 32
_NAMES = ("bank_keys", "company_keys", "journal_keys", "policy_keys", "receipts")


@dataclass(frozen=True, slots=True)
class Trust:
    """Public keys in hexadecimal by whose they are; an empty collection: nothing is known, and nothing is confirmed.

    Attributes:
        journal_keys: SubjectPublicKeyInfo, by service. policy_keys: raw, by key id.
        bank_keys, company_keys: raw, by bank profile.
        receipts: (journal, position) → first digits of the chain's hash there, at least 32.
    """

    journal_keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    policy_keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    bank_keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    company_keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    receipts: Mapping[tuple[str, int], str] = field(default_factory=dict)


NO_TRUST = Trust()


def read_trust(paths: Iterable[Path]) -> Trust:
    """Read trust files and folders, together.

    A file is JSON as `yinqi-verify --keys` prints it. Of a folder, as YINQI_JOURNAL_CHECKPOINT_DIRS names it, the seals
    (`*.jsonl`), public keys (`<service>.public.pem`) and `policy_keys.toml` are read.

    Raises:
        OSError, ValueError: one cannot be read; says which and why.
    """
    found: dict[str, dict[Any, Any]] = {name: {} for name in _NAMES}
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            try:
                _read(file, found, is_named=not path.is_dir())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{file}: {error}") from None
    return Trust(**found)


def _read(file: Path, found: dict[str, dict[Any, Any]], *, is_named: bool) -> None:
    if file.suffix == ".jsonl":
        for line in file.read_bytes().splitlines():
            if line.endswith(b"}"):  # A crash may have cut one; its seal comes again.
                seal = json.loads(line)
                found["receipts"][text(seal["stream"]), int(seal["position"])] = text(seal["hash"])
    elif file.name.endswith(".public.pem"):
        _add(found["journal_keys"], {file.name.removesuffix(".public.pem"): [_pem(file.read_text("ascii")).hex()]})
    elif file.name == "policy_keys.toml":
        anchors = tomllib.loads(file.read_text("utf-8"))["key"]
        _add(found["policy_keys"], {one["id"]: [one["public_key"].lower()] for one in anchors})
    elif is_named:
        _read_json(json.loads(file.read_text("utf-8")), found)


def _read_json(given: Mapping[str, Any], found: dict[str, dict[Any, Any]]) -> None:
    if unknown := sorted(set(given) - set(_NAMES)):
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(_NAMES)}")
    for name in _NAMES[:-1]:
        _add(found[name], given.get(name, {}))
    found["receipts"] |= dict(_receipt(one) for one in given.get("receipts", []))


def _add(keys: dict[str, frozenset[str]], given: Mapping[str, Sequence[str]]) -> None:
    for whose, its in given.items():
        if not isinstance(its, list):
            raise ValueError(f"{whose}: a list of keys is needed")
        keys[whose] = keys.get(whose, frozenset()) | {from_hex(one).hex() for one in its}


def _receipt(given: str) -> tuple[tuple[str, int], str]:
    journal, position, digits = "".join(given.split()).split(":")
    if len(digits) < _HASH_DIGITS_MIN:
        raise ValueError(f"a receipt reads journal:position:hash, with at least {_HASH_DIGITS_MIN} digits")
    return (journal, int(position.replace(",", ""))), digits.lower()


def _pem(content: str) -> bytes:
    return base64.b64decode("".join(line for line in content.splitlines() if not line.startswith("-----")))
