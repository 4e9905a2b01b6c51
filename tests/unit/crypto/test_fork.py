"""Forked processes must never share a nonce: two messages under one nonce give the private key away."""

from __future__ import annotations

import os

from yinqi.crypto import SigningKey


def test_forked_children_never_share_a_nonce() -> None:
    key = SigningKey.generate()
    key.sign(b"warm up")
    firsts: list[bytes] = []
    for _ in range(8):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write_end, b"".join(signature[:32] for signature in key.sign_many([b"same"] * 10)))
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        firsts += [data[i : i + 32] for i in range(0, len(data), 32)]
    assert len(firsts) == len(set(firsts)) == 80
