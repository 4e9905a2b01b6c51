"""SM2, SM3, SM4 and the check digits of bank identifiers, in Rust.

Batch functions answer in the order of their input. Arguments are `bytes` where a list is taken (immutable, hence read
without a copy while the interpreter lock is released); single arguments may also be `bytearray` (copied).
A wrong item of a list raises `TypeError` naming its index. Lengths are in bytes.
"""

from typing import Literal, final

from typing_extensions import disjoint_base

__all__ = [
    "PreparedVerifyKey",
    "SigningKey",
    "VerifyKey",
    "check_bank_card_luhn",
    "check_bic",
    "check_cnaps",
    "check_iban",
    "check_uscc",
    "control_sum",
    "force_tier",
    "hmac_sm3",
    "set_threads",
    "signature_from_der",
    "signature_to_der",
    "sm3",
    "sm3_many",
    "sm4_cbc_decrypt",
    "sm4_cbc_encrypt",
    "tier",
]

@final
class SigningKey:
    """An SM2 private key d with its prepared values, wiped when freed. Cannot be pickled, copied or printed.

    Source: GB/T 32918.2 clause 6, GB/T 32918.5. Constant-time in d and in the nonce.
    """

    @staticmethod
    def generate() -> SigningKey:
        """Make a new key from kernel entropy."""

    @staticmethod
    def from_bytes(d: bytes | bytearray) -> SigningKey:
        """Read a private number of 32 bytes, big-endian.

        Raises:
            InvalidLength: not 32 bytes.
            InvalidKey: outside 1..=n-2.
        """

    @staticmethod
    def from_encrypted_pem(pem: bytes | bytearray, password: bytes | bytearray) -> SigningKey:
        """Open an encrypted PKCS#8 PEM file (PBES2: PBKDF2 with HMAC-SM3 or HMAC-SHA-256; SM4-, AES-128- or AES-256-CBC).

        Raises:
            InvalidKey: not such a file, an unknown algorithm, or fewer than 10,000 or more than 10,000,000 iterations.
            DecryptionFailed: wrong password, or damaged contents.
            InvalidLength: empty password.
        """

    def to_encrypted_pem(self, password: bytes | bytearray, iterations: int = 600_000) -> bytes:
        """Seal the key in a PKCS#8 PEM file under a password (PBKDF2-HMAC-SM3, SM4-CBC), as GmSSL reads it.

        Args:
            password: at least 1 byte; its strength is the caller's duty.
            iterations: 10,000 to 10,000,000. The default takes a good fraction of a second, on purpose.
        Raises:
            InvalidKey: iterations out of range.
            InvalidLength: empty password.
        """

    def to_bytes(self) -> bytes:
        """Give the private number away, 32 bytes, for a keystore only. Python cannot wipe the result."""

    def public_key(self) -> VerifyKey:
        """Return the key that checks this key's signatures."""

    def sign(self, message: bytes | bytearray, identity: bytes | bytearray | None = None) -> bytes:
        """Sign one message with SM3: raw r‖s, 64 bytes. Two signatures of one message differ.

        Args:
            message: any length; Z_A is put before it and SM3 taken here.
            identity: the signer's identity, 0 to 8191 bytes; None means `DEFAULT_IDENTITY`.
        Raises:
            InvalidLength: identity too long.
            OSError: the kernel gave no entropy; nothing was signed.
        """

    def sign_many(self, messages: list[bytes], identity: bytes | bytearray | None = None) -> list[bytes]:
        """Sign each message as `sign` does; one signature per message, in order.

        From 128 messages on the work is shared among threads, see `set_threads`.
        """

    def sign_digest(self, digest: bytes | bytearray) -> bytes:
        """Sign e = SM3(Z_A ‖ message), 32 bytes, taken by the caller: raw r‖s, 64 bytes.

        Raises:
            InvalidLength: not 32 bytes.
        """

    def sign_digests(self, digests: list[bytes]) -> list[bytes]:
        """Sign each digest as `sign_digest` does; one signature per digest, in order.

        Raises:
            InvalidLength: an item is not 32 bytes; names its index, and nothing was signed.
        """

    def sign_buffer(
        self,
        data: bytes | bytearray,
        offsets: list[int],
        identity: bytes | bytearray | None = None,
    ) -> bytes:
        """Sign the messages that lie one after the other in one buffer.

        Args:
            data: all messages.
            offsets: one more than there are messages; message i is `data[offsets[i]:offsets[i + 1]]`.
            identity: as for `sign`.
        Returns:
            The raw signatures one after the other, 64 bytes each.
        Raises:
            InvalidLength: offsets that fall or leave the data; names the index.
        """

    def decrypt(self, ciphertext: bytes | bytearray, order: Literal["C1C3C2", "C1C2C3"] = "C1C3C2") -> bytes:
        """Open what `VerifyKey.encrypt` made (GB/T 32918.4). Constant-time in the key and the plaintext.

        Raises:
            DecryptionFailed: wrong key, or a ciphertext that is damaged or too short; never says which.
            ValueError: unknown order.
        """

@disjoint_base
class VerifyKey:
    """An SM2 public key, proved to lie on the curve when it was read. Not constant-time: its inputs are public.

    Its table of multiples (256 KiB) is made after two dozen verifications and kept in a cache of 64 tables.
    Source: GB/T 32918.2 clause 7.
    """

    @staticmethod
    def from_bytes(data: bytes | bytearray) -> VerifyKey:
        """Read a public key: 65 bytes 04‖x‖y or 64 bytes x‖y.

        Raises:
            InvalidLength: any other length, infinity and compressed points included.
            InvalidKey: not a point of the curve, or 65 bytes that do not begin with 04.
        """

    def to_bytes(self) -> bytes:
        """Return 04‖x‖y, 65 bytes."""

    def verify(
        self,
        message: bytes | bytearray,
        signature: bytes | bytearray,
        identity: bytes | bytearray | None = None,
    ) -> None:
        """Check a raw signature r‖s; returning is the proof.

        Raises:
            InvalidSignature: it does not fit, or is malformed (any length other than 64 included).
            InvalidLength: identity longer than 8191 bytes.
        """

    def verify_many(
        self,
        messages: list[bytes],
        signatures: list[bytes],
        identity: bytes | bytearray | None = None,
    ) -> list[bool]:
        """Check signature i against message i; one verdict per pair, in order. A malformed signature is False.

        Raises:
            InvalidLength: the lists differ in length, or identity is longer than 8191 bytes.
        """

    def verify_digest(self, digest: bytes | bytearray, signature: bytes | bytearray) -> None:
        """Check a raw signature against e = SM3(Z_A ‖ message), 32 bytes; returning is the proof.

        Raises:
            InvalidSignature: it does not fit, or is malformed.
            InvalidLength: the digest is not 32 bytes.
        """

    def verify_digests(self, digests: list[bytes], signatures: list[bytes]) -> list[bool]:
        """Check signature i against digest i; one verdict per pair, in order. A malformed signature is False.

        Raises:
            InvalidLength: the lists differ in length, or a digest is not 32 bytes.
        """

    def verify_buffer(
        self,
        data: bytes | bytearray,
        offsets: list[int],
        signatures: bytes | bytearray,
        identity: bytes | bytearray | None = None,
    ) -> bytes:
        """Check the messages that lie in one buffer as `SigningKey.sign_buffer` takes them.

        Args:
            signatures: the raw signatures one after the other, 64 bytes each.
        Returns:
            One byte per message, in order: 1 when the signature fits, else 0.
        Raises:
            InvalidLength: wrong offsets, or not one signature per message.
        """

    def prepare(self) -> PreparedVerifyKey:
        """Return the same key with a table of its own: for banks' keys that stay as long as the process."""

    def encrypt(self, plaintext: bytes | bytearray, order: Literal["C1C3C2", "C1C2C3"] = "C1C3C2") -> bytes:
        """Seal a plaintext for the holder of the private key (GB/T 32918.4): 04‖x‖y, then the parts in `order`.

        Args:
            plaintext: at least 1 byte; the result is 97 bytes longer.
            order: the standard's, or that of its draft, which some banks still read.
        Raises:
            InvalidLength: empty plaintext.
            OSError: the kernel gave no entropy.
            ValueError: unknown order.
        """

@final
class PreparedVerifyKey(VerifyKey):
    """A public key that holds its table of multiples (256 KiB, made in about 2 ms) as long as it lives."""

def tier() -> str:
    """Return the set of instructions in use: "portable", "avx2" or "avx512"."""

def force_tier(name: str | None) -> None:
    """Use a set of instructions in this process from now on, for tests and measurements; None returns to the best one.

    Raises:
        ValueError: an unknown name, or one whose instructions this processor lacks.
    """

def set_threads(count: int | None) -> None:
    """Limit the threads of all batches together. None: as many as affinity and the container's CPU quota grant.

    Raises:
        ValueError: 0.
    """

def signature_to_der(signature: bytes | bytearray) -> bytes:
    """Write a raw signature r‖s as DER, SEQUENCE of two INTEGERs (GM/T 0009), 8 to 72 bytes.

    Raises:
        InvalidLength: not 64 bytes.
    """

def signature_from_der(der: bytes | bytearray) -> bytes:
    """Read DER as a raw signature r‖s, 64 bytes. It says nothing about the numbers' range; `verify` does.

    Raises:
        InvalidSignature: anything but the one shortest encoding: trailing bytes, long lengths, needless zeros included.
    """

def sm3(data: bytes | bytearray) -> bytes:
    """Return the SM3 digest, 32 bytes. Source: GB/T 32905-2016."""

def sm3_many(data: list[bytes]) -> list[bytes]:
    """Return one SM3 digest per item, in order."""

def hmac_sm3(key: bytes | bytearray, data: bytes | bytearray) -> bytes:
    """Return HMAC-SM3 of data, 32 bytes (RFC 2104, block of 64 bytes). Compare codes with `hmac.compare_digest`."""

def sm4_cbc_encrypt(key: bytes | bytearray, iv: bytes | bytearray, plaintext: bytes | bytearray) -> bytes:
    """Encrypt with SM4 in CBC mode and PKCS#7 padding; the result is 1 to 16 bytes longer, without the iv.

    Args:
        key: 16 bytes.
        iv: 16 bytes, unpredictable and new for every message.
        plaintext: any length.
    Raises:
        InvalidLength: key or iv not 16 bytes.
    """

def sm4_cbc_decrypt(key: bytes | bytearray, iv: bytes | bytearray, ciphertext: bytes | bytearray) -> bytes:
    """Decrypt what `sm4_cbc_encrypt` made. CBC does not detect changes: authenticate the ciphertext first.

    Raises:
        DecryptionFailed: wrong key or iv, bad padding or a length that is no positive multiple of 16; never says which.
        InvalidLength: key or iv not 16 bytes.
    """

def check_cnaps(identifiers: list[str]) -> list[str]:
    """Check CNAPS bank codes (联行号): 12 digits, the last by ISO 7064 MOD 11,10.

    Returns:
        Per item, in order: "" when valid, else the first that applies of "LENGTH", "CHARACTER", "CHECK_DIGIT".
    """

def check_bank_card_luhn(identifiers: list[str]) -> list[str]:
    """Check bank card numbers (银行卡号): 12 to 19 digits, Luhn (ISO/IEC 7812-1).

    Corporate account numbers (对公账号) carry no Luhn digit and do not belong here.

    Returns:
        Per item, in order: "" when valid, else the first that applies of "LENGTH", "CHARACTER", "CHECK_DIGIT".
    """

def check_iban(identifiers: list[str]) -> list[str]:
    """Check IBANs in electronic form (capitals and digits, no spaces): country structure and MOD 97-10 (ISO 13616-1).

    Returns:
        Per item, in order: "" when valid, else "LENGTH", "CHARACTER", "COUNTRY" (mainland China has none) or
        "CHECK_DIGIT".
    """

def check_uscc(identifiers: list[str]) -> list[str]:
    """Check unified social credit codes (统一社会信用代码): GB 32100-2015, 18 characters.

    Returns:
        Per item, in order: "" when valid, else "LENGTH", "CHARACTER" or "CHECK_DIGIT".
    """

def check_bic(identifiers: list[str]) -> list[str]:
    """Check BICs: 8 or 11 capitals and digits with an ISO 3166 country (ISO 9362:2014). They carry no check digit.

    Returns:
        Per item, in order: "" when valid, else "LENGTH", "CHARACTER" or "COUNTRY".
    """

def control_sum(amounts: list[int]) -> int:
    """Return the sum of amounts in minor units.

    Raises:
        OverflowError: an amount or the running sum leaves 64 signed bits; names the item's index.
    """
