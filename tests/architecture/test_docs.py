"""What the documents promise exists: commands, targets, links, settings, files and the API of the example."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.message import Message
from typer.main import get_command

from yinqi.cli import app
from yinqi.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
DOCUMENTS = [*READMES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SERVICES = ROOT / "services" / "yinqi"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return path.name


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in _BLOCK.findall(path.read_text("utf-8")) if kind == language]


def without_comments(block: str) -> list[str]:
    """Return the lines of a block of shell or Python without comments: those are translated."""
    lines = (re.sub(r"(^|\s+)# .*$", "", line).rstrip() for line in block.splitlines())
    return [line for line in lines if line]


def code_spans(path: Path) -> list[str]:
    """Return everything written as `code`, and each line of every shell block."""
    text = path.read_text("utf-8")
    spans = re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))
    return spans + [line for block in blocks(path, "sh") for line in without_comments(block)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", path.read_text("utf-8"))):
        if not re.match(r"[a-z]+:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {found for span in code_spans(path) for found in re.findall(r"(?:^|&& )make ([a-z-]+)", span)}
    assert named <= targets, f"{path.name}: {sorted(named - targets)}"


def test_both_readmes_show_the_same_commands_and_code() -> None:
    english, chinese = READMES
    for language in ("sh", "python"):
        ours, theirs = blocks(english, language), blocks(chinese, language)
        assert [without_comments(block) for block in ours] == [without_comments(block) for block in theirs]
    pictures = [[re.findall(r"-->|--|-\.->|\.->|---", block) for block in blocks(path, "mermaid")] for path in READMES]
    assert pictures[0] == pictures[1]


def test_both_readmes_have_the_same_sections_and_links() -> None:
    shapes = []
    for path in READMES:
        text = _BLOCK.sub("", path.read_text("utf-8"))
        links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("README")]
        shapes.append((re.findall(r"^(#+) ", text, re.MULTILINE), links))
    assert shapes[0] == shapes[1]


# --- the command line -----------------------------------------------------------------------------------------------


def commands_in(path: Path) -> Iterator[list[str]]:
    """Yield the words after `yinqi` of every command line a document shows."""
    for span in code_spans(path):
        for line in span.split("&&"):
            found = re.match(r"\s*(?:\.venv/bin/)?yinqi ([a-z].*)$", line.partition(" | ")[0])
            if found:
                yield shlex.split(found.group(1), comments=True)


def problem_with(words: list[str]) -> str:
    """Return why the command line is not one of ours; "" if it is."""
    command: Any = get_command(app)
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    if command.context_settings.get("ignore_unknown_options"):
        return ""  # options of another program follow
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in options]
    return f"no option {unknown[0]}" if unknown else ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_yinqi_command_exists(path: Path) -> None:
    for words in commands_in(path):
        # A word in capitals or an ellipsis stands for something the reader fills in.
        assert not problem_with([word for word in words if not word.isupper() and word != "…"]), " ".join(words)


def test_the_readmes_show_commands_at_all() -> None:
    assert all(len(list(commands_in(path))) >= 7 for path in READMES)


def test_files_that_commands_name_exist() -> None:
    for path in READMES:
        for words in commands_in(path):
            for word in words:
                if word.startswith("services/"):
                    assert (ROOT / word).is_file(), word


# --- the Python example ---------------------------------------------------------------------------------------------


def example() -> ast.Module:
    (source,) = blocks(READMES[0], "python")
    return ast.parse(source)


def resolve(expression: ast.expr, modules: dict[str, ModuleType]) -> Any:
    """Return what `module.Name` of the example stands for, or None for anything else."""
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        module = modules.get(expression.value.id)
        return getattr(module, expression.attr) if module else None
    return None


def test_the_example_names_what_the_api_has() -> None:
    modules: dict[str, ModuleType] = {}
    for node in ast.walk(example()):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {alias.name: importlib.import_module(f"{node.module}.{alias.name}") for alias in node.names}
    made = []
    for node in ast.walk(example()):
        if isinstance(node, ast.Call):
            kind = resolve(node.func, modules)
            if isinstance(kind, type) and issubclass(kind, Message):
                fields = set(kind.DESCRIPTOR.fields_by_name)
                given = {keyword.arg for keyword in node.keywords}
                assert given <= fields, f"{kind.__name__} has no {sorted(str(name) for name in given - fields)}"
                made.append(kind.__name__)
    assert {"InitiatePaymentRequest", "PaymentInstruction", "Money"} <= set(made)


def test_the_example_reads_what_the_answer_has() -> None:
    from yinqi.api.payment.v1 import payment_service_pb2

    service = payment_service_pb2.DESCRIPTOR.services_by_name["PaymentService"]
    called = [n.func.attr for n in ast.walk(example()) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    (method,) = [service.methods_by_name[name] for name in called if name in service.methods_by_name]
    (read,) = [
        ast.unparse(n) for n in ast.walk(example()) if isinstance(n, ast.Attribute) and "response." in ast.unparse(n)
    ][:1]
    message = method.output_type
    for name in read.split(".")[1:]:
        field = message.fields_by_name[name]
        message = field.message_type


def test_the_example_pays_to_a_bank_code_that_can_exist() -> None:
    from yinqi import crypto

    numbers = re.findall(r'clearing_member_id="(\d+)"', blocks(READMES[0], "python")[0])
    assert crypto.check_cnaps(numbers) == [""]


# --- settings and files ---------------------------------------------------------------------------------------------


def known_variables() -> set[str]:
    modules = [importlib.import_module(f"yinqi.{path.parent.name}.settings") for path in SERVICES.glob("*/settings.py")]
    kinds = {k for m in modules for k in vars(m).values() if isinstance(k, type) and issubclass(k, Settings)}
    return {f"YINQI_{name.upper()}" for kind in kinds for name in kind.model_fields}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_setting_named_exists(path: Path) -> None:
    named = set(re.findall(r"\bYINQI_[A-Z0-9_]+[A-Z0-9]\b", path.read_text("utf-8")))
    assert named <= known_variables(), f"{path.name}: {sorted(named - known_variables())}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_file_named_exists(path: Path) -> None:
    modules = {module.name for module in SERVICES.rglob("*.py")} | {"NNNN_name.py"}
    for span in code_spans(path):
        if re.fullmatch(r"[\w-]+\.py", span):  # short for a file of the package just spoken of
            assert span in modules, f"{path.name}: {span}"
        elif re.fullmatch(r"[a-z.][\w.-]*(/[\w.-]+)+/?|[\w.-]+/", span) and not span.startswith(("var", "service/")):
            places = (ROOT / span, ROOT / "services" / span, SERVICES / span, path.parent / span)
            assert any(place.exists() for place in places), f"{path.name}: {span}"


def test_decisions_are_numbered_in_order_and_dated() -> None:
    text = (ROOT / "docs" / "decisions.md").read_text("utf-8")
    found = re.findall(r"^\*\*D-(\d{3}) .+\*\* \((\d{4}-\d\d-\d\d)\)\.", text, re.MULTILINE)
    numbers = [int(number) for number, _ in found]
    assert numbers == sorted(set(numbers))  # Gaps are numbers that others have reserved.
    assert len(found) == len(re.findall(r"^\*\*D-", text, re.MULTILINE))


def test_decisions_that_code_names_exist() -> None:
    decided = set(re.findall(r"\*\*(D-\d{3}) ", (ROOT / "docs" / "decisions.md").read_text("utf-8")))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    for name in tracked.stdout.splitlines():
        if name.endswith((".py", ".rs", ".proto", ".toml", ".yaml", ".md")) and (ROOT / name).exists():
            named = set(re.findall(r"\bD-\d{3}\b", (ROOT / name).read_text("utf-8")))
            assert named <= decided, f"{name}: {sorted(named - decided)}"


def test_the_changelog_names_the_version_being_made() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert version.group(1) in (ROOT / "CHANGELOG.md").read_text("utf-8")
