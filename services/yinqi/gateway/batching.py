"""How submissions are packed: one account and kind to a batch, a batch over several messages where the bank allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from yinqi.gateway.model import BatchKind, BatchPart, ControlTotal, Submission
from yinqi.gateway.profile import Profile
from yinqi.kernel.errors import InvalidRequest
from yinqi.kernel.money import total

# Header, names and signature of a message, generously.
_MESSAGE_BYTES = 2_048
Lines = tuple[Submission, ...]


def by_kind(lines: Iterable[Submission]) -> list[list[Submission]]:
    """Keep salaries and taxes apart from the rest, and from each other."""
    kinds: dict[BatchKind, list[Submission]] = {}
    for line in lines:
        kinds.setdefault(line.instruction.kind, []).append(line)
    return list(kinds.values())


def trains(lines: Sequence[Submission], profile: Profile, size_of: Callable[[Submission], int]) -> list[list[Lines]]:
    """Split lines of one account and kind into batches, each a list of messages that go one after another.

    Args:
        size_of: bytes of a line in the message.
    """
    messages = list(_messages(lines, profile, size_of))
    step = profile.batch.messages_max
    return [messages[start : start + step] for start in range(0, len(messages), step)]


def parts(train: Sequence[Lines], number: str) -> list[BatchPart | None]:
    """Return what each message must say of the whole batch; None where one message is all of it."""
    if len(train) == 1:
        return [None]
    lines = [line.instruction.amount for message in train for line in message]
    whole = total(lines, lines[0].currency)
    return [BatchPart(number, index + 1, len(train), len(lines), whole) for index in range(len(train))]


def check_totals(submissions: Sequence[Submission], declared: Sequence[ControlTotal]) -> None:
    """Return if the caller's own totals are those of its lines.

    Raises:
        InvalidRequest: CONTROL_TOTALS_MISMATCH; names what differs. Nothing was sent.
    """
    if not declared:
        return
    found: dict[str, list[Submission]] = {}
    for submission in submissions:
        found.setdefault(submission.instruction.debtor_account, []).append(submission)
    said = {one.debtor_account: one for one in declared}
    if len(said) != len(declared) or said.keys() != found.keys():
        raise _mismatch("one total per debtor account of the submissions", "每个付款账户须有且仅有一项合计")
    for account, lines in found.items():
        one = said[account]
        if one.count != len(lines):
            raise _mismatch(f"declared {one.count} lines, there are {len(lines)}", "申报笔数与明细不符")
        if any(line.instruction.amount.currency != one.amount.currency for line in lines):
            raise _mismatch(f"declared in {one.amount.currency}, a line is in another currency", "申报币种与明细不符")
        if one.amount != total((line.instruction.amount for line in lines), one.amount.currency):
            raise _mismatch("the declared sum is not the sum of the lines", "申报金额与明细合计不符")


def _mismatch(words: str, words_zh: str) -> InvalidRequest:
    return InvalidRequest(
        "CONTROL_TOTALS_MISMATCH", f"control_totals: {words}; nothing was sent.", f"{words_zh}，未发送。"
    )


def _messages(lines: Sequence[Submission], profile: Profile, size_of: Callable[[Submission], int]) -> Iterator[Lines]:
    """Split so that neither count, bytes nor the declared total is more than the bank takes."""
    # Two digits of room: the declared total may have more decimals on the wire than in minor units. The messages of
    # one batch share what the bank's field can hold.
    total_max = 10 ** (profile.amount_digits_max - 2) // profile.batch.messages_max
    bytes_max = profile.batch.bytes_max - _MESSAGE_BYTES
    chunk: list[Submission] = []
    amount = size = 0
    for line in lines:
        minor_units, its_size = line.instruction.amount.minor_units, size_of(line)
        full = len(chunk) == profile.batch.lines_max or size + its_size > bytes_max
        if chunk and (full or amount + minor_units >= total_max):
            yield tuple(chunk)
            chunk, amount, size = [], 0, 0
        chunk.append(line)
        amount += minor_units
        size += its_size
    if chunk:
        yield tuple(chunk)
