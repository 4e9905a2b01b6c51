"""Sign-then-seal: the signature inside the message, the message encrypted."""

from __future__ import annotations

import base64

import pytest

from yinqi.crypto import InvalidLength, Signer, SigningKey, sign_then_seal, sm4_cbc_decrypt

KEY = SigningKey.generate()
IV = b"U123456789000000"


def test_what_was_sealed_opens_to_a_message_whose_signature_fits() -> None:
    message = b'{"text":"{sig}","signature":"{sig}","time":"20261122"}'
    for signer in (KEY, Signer.from_key(KEY)):
        made = sign_then_seal(message, b"{sig}", signer=signer, identity=IV, sm4_key=b"k" * 16, iv=IV)
        assert sm4_cbc_decrypt(b"k" * 16, IV, base64.b64decode(made.sealed)) == made.signed
        head, tail = b'{"text":"{sig}","signature":"', b'","time":"20261122"}'
        assert made.signed.startswith(head), "only the last placeholder is taken"
        assert made.signed.endswith(tail)
        signature = base64.b64decode(made.signed[len(head) : -len(tail)])
        KEY.public_key().verify(message, signature, IV)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="no placeholder"):
        sign_then_seal(b"{}", b"{sig}", signer=KEY, identity=IV, sm4_key=b"k" * 16, iv=IV)
    with pytest.raises(InvalidLength, match="key"):
        sign_then_seal(b"{sig}", b"{sig}", signer=KEY, identity=IV, sm4_key=b"k", iv=IV)
