"""`yinqi-verify`: checks an evidence bundle offline and says, line by line, what is proved and what is not."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from yinqi.verify.bundle import NotABundle, read_bundle
from yinqi.verify.claims import Broken, Claim, Standing
from yinqi.verify.report import ExitCode, Report, key_list, verify
from yinqi.verify.trust import read_trust

_MARKS = {
    Standing.PROVED: "✓",
    Standing.SAID: "·",
    Standing.UNCHECKED: "?",
    Standing.MISSING: "–",
    Standing.LIMIT: "–",
    Standing.BROKEN: "✗",
}
_TITLES = (
    (Standing.BROKEN, "broken 已被破坏"),
    (Standing.PROVED, "proved 已证明"),
    (Standing.SAID, "said by a service, which signed it 服务自述（已签名）"),
    (Standing.UNCHECKED, "in the bundle, and could not be checked 未能校验"),
    (Standing.MISSING, "not in the bundle, or not confirmed from outside 缺失或未经外部确认"),
    (Standing.LIMIT, "not shown by any bundle 证据包无法证明"),
)
_BYTES_MAX = 512 * 1024 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _options(arguments)
    try:
        content = _read(options.file)
        trust = read_trust(options.trust)
        if options.keys:
            _say(json.dumps(key_list(read_bundle(content)), indent=2, sort_keys=True))
            return ExitCode.OK
        report = verify(content, trust)
    except Broken as error:
        _say(_line(error.claim()))
        return ExitCode.BROKEN
    except (OSError, ValueError) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        sys.stderr.write(f"cannot be read 无法读取: {reason}\n")
        return ExitCode.UNREADABLE
    code = report.exit_code(strict=options.strict)
    _print(options.file, report, code, as_json=options.json)
    return code


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="yinqi-verify",
        description="Check an evidence bundle offline 离线校验证据包.",
        epilog="Exit code 0: all that the bundle holds is as it was signed; 1: it is broken, the line is named; 2: a file cannot be "
        "read; 3: nothing is broken, but something could not be checked.",
    )
    parser.add_argument("file", type=Path, help="the bundle 证据包")
    parser.add_argument(
        "--trust",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="public keys and receipts known from elsewhere: a JSON file as --keys prints it, or a folder of seals 可信公钥与库外封条",
    )
    parser.add_argument("--strict", action="store_true", help="exit code 3 too if anything is missing 有缺失即返回 3")
    parser.add_argument(
        "--keys", action="store_true", help="print the bundle's public keys, to be confirmed 列出公钥以便核对"
    )
    parser.add_argument("--json", action="store_true", help="for machines 机器可读")
    return parser.parse_args(arguments)


def _read(file: Path) -> bytes:
    if file.stat().st_size > _BYTES_MAX:
        raise NotABundle(f"{file} is larger than any bundle 文件过大")
    return file.read_bytes()


def _print(file: Path, report: Report, code: ExitCode, *, as_json: bool) -> None:
    if as_json:
        claims = [{**claim._asdict(), "standing": claim.standing.value} for claim in report.claims]
        found = {"instruction_id": report.instruction_id, "end_to_end_id": report.end_to_end_id, "claims": claims}
        _say(json.dumps({**found, "exit_code": code}, ensure_ascii=False, indent=2))
        return
    for standing, title in _TITLES:
        its = [claim for claim in report.claims if claim.standing is standing]
        if its:
            _say(f"{title}:")
            _say("\n".join(map(_line, its)))
    _say(_SUMMARY[code].format(file=file))


_SUMMARY = {
    ExitCode.OK: "✓ {file}: all that it holds is as it was signed 内容与签名一致",
    ExitCode.BROKEN: "✗ {file}: broken, so nothing in it is proved 已被破坏，其中任何内容均不能作为证明",
    ExitCode.INCOMPLETE: "? {file}: nothing is broken, but not all of it is proved 未发现破坏，但并非全部得到证明",
}


def _line(claim: Claim) -> str:
    place = f"line {claim.line:>4}" if claim.line else " " * 9
    return f"  {_MARKS[claim.standing]} {place}  {claim.words}\n{' ' * 15}{claim.words_zh}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def run() -> None:
    """Run as a process."""
    sys.exit(main())


if __name__ == "__main__":
    run()
