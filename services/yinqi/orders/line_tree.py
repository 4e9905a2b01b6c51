"""The tree of digests that binds each line of an order to the signed bytes (行摘要树).

leaf = SM3(00 ‖ line), node = SM3(01 ‖ left ‖ right), pairs from the left; the last of an odd row goes up as it is.
The first bytes keep a leaf from passing for a node. The shape is RFC 6962's, clause 2.1, with SM3.
"""

from __future__ import annotations

from collections.abc import Sequence

from yinqi.crypto import sm3_many

DIGEST_BYTES = 32
Step = tuple[bool, bytes]  # whether the sibling stands on the left, and its digest


def leaves_of(lines: Sequence[bytes]) -> list[bytes]:
    """Return the digest of each line, in order."""
    return sm3_many([b"\x00" + line for line in lines])


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the tree's root; at least one leaf."""
    row = list(leaves)
    while len(row) > 1:
        row = _row_above(row)
    return row[0]


def path_of(leaves: Sequence[bytes], index: int) -> list[Step]:
    """Return what leads from one leaf to the root: at most 14 digests of 10,000 lines."""
    row, path = list(leaves), []
    while len(row) > 1:
        sibling = index ^ 1
        if sibling < len(row):
            path.append((sibling < index, row[sibling]))
        row, index = _row_above(row), index // 2
    return path


def root_by_path(line: bytes, path: Sequence[Step]) -> bytes:
    """Return the root that a line and its path lead to; equal to the signed one, the line belongs to the order."""
    (digest,) = leaves_of([line])
    for is_left, sibling in path:
        (digest,) = sm3_many([b"\x01" + (sibling + digest if is_left else digest + sibling)])
    return digest


def joined(leaves: Sequence[bytes]) -> bytes:
    """Return the leaves as they are stored and sent."""
    return b"".join(leaves)


def split(leaves: bytes) -> list[bytes]:
    """Read joined leaves; a last part that is too short stays and fits no line."""
    return [leaves[at : at + DIGEST_BYTES] for at in range(0, len(leaves), DIGEST_BYTES)]


def _row_above(row: Sequence[bytes]) -> list[bytes]:
    pairs = sm3_many([b"\x01" + row[at] + row[at + 1] for at in range(0, len(row) - 1, 2)])
    return [*pairs, row[-1]] if len(row) % 2 else pairs
