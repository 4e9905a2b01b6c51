"""SM2, SM3, SM4, the general algorithms, envelopes and the check digits of bank identifiers, in Rust.

Batch functions answer in the order of their input. Arguments are `bytes` where a list is taken (immutable, hence read
without a copy while the interpreter lock is released); single arguments may also be `bytearray` (copied).
A wrong item of a list raises `TypeError` naming its index. Lengths are in bytes. Offsets are quickest as an `array("Q")`, which is
read in one go.
"""

from array import array
from os import PathLike
from typing import Literal, Self, final

from typing_extensions import disjoint_base

__all__ = [
    "EnvelopeKey",
    "GeneralSigningKey",
    "GeneralVerifyKey",
    "PreparedVerifyKey",
    "Signer",
    "SigningKey",
    "Sm3",
    "VerifyKey",
    "aes_256_gcm_decrypt",
    "aes_256_gcm_decrypt_buffer",
    "aes_256_gcm_decrypt_many",
    "aes_256_gcm_encrypt",
    "aes_256_gcm_encrypt_buffer",
    "aes_256_gcm_encrypt_many",
    "check_bank_card_luhn",
    "check_bic",
    "check_cnaps",
    "check_creditor_reference",
    "check_iban",
    "check_lei",
    "check_resident_id",
    "check_uscc",
    "ciphertext_from_der",
    "ciphertext_to_der",
    "control_sum",
    "crc32c",
    "envelope_key_id",
    "force_tier",
    "hmac_sha2_buffer",
    "hmac_sha2_many",
    "hmac_sm3",
    "hmac_sm3_buffer",
    "hmac_sm3_many",
    "pbkdf2_sha2",
    "set_threads",
    "sha2",
    "signature_from_der",
    "signature_to_der",
    "sm3",
    "sm3_buffer",
    "sm3_kdf",
    "sm3_many",
    "sm4_cbc_decrypt",
    "sm4_cbc_decrypt_buffer",
    "sm4_cbc_decrypt_many",
    "sm4_cbc_encrypt",
    "sm4_cbc_encrypt_buffer",
    "sm4_cbc_encrypt_many",
    "sm4_ctr",
    "sm4_gcm_decrypt",
    "sm4_gcm_decrypt_buffer",
    "sm4_gcm_decrypt_many",
    "sm4_gcm_encrypt",
    "sm4_gcm_encrypt_buffer",
    "sm4_gcm_encrypt_many",
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

    @staticmethod
    def from_pkcs8(data: bytes | bytearray, password: bytes | bytearray | None = None) -> SigningKey:
        """Read a PKCS#8 file in PEM or DER: plain without a password, encrypted with one.

        Raises:
            InvalidKey: not such a file, another kind of key, an encryption that is unknown or too weak, or a password where
                the file is not encrypted.
            DecryptionFailed: wrong password, or damaged contents.
            InvalidLength: empty password.
        """

    def to_pkcs8(self) -> bytes:
        """Give the key away unencrypted, PKCS#8 in DER, for another keystore only. Python cannot wipe the result."""

    def to_encrypted_pem(
        self,
        password: bytes | bytearray,
        iterations: int = 600_000,
        cipher: Literal["sm4-cbc", "aes-256-cbc"] = "sm4-cbc",
    ) -> bytes:
        """Seal the key in a PKCS#8 PEM file under a password.

        Args:
            password: at least 1 byte; its strength is the caller's duty.
            iterations: 10,000 to 10,000,000. The default takes a good fraction of a second, on purpose.
            cipher: SM4-CBC goes with PBKDF2-HMAC-SM3 (GmSSL reads it), AES-256-CBC with PBKDF2-HMAC-SHA-256 (OpenSSL does).
        Raises:
            InvalidKey: iterations out of range.
            InvalidLength: empty password.
            UnknownAlgorithm: another cipher.
        """

    @property
    def is_memory_locked(self) -> bool:
        """Whether the key's pages are locked in memory; False where RLIMIT_MEMLOCK forbids it, and all else works."""

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
        offsets: list[int] | array[int],
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

    @staticmethod
    def from_spki(data: bytes | bytearray) -> VerifyKey:
        """Read a SubjectPublicKeyInfo of SM2 in PEM or DER.

        Raises:
            InvalidKey: not such a file, another kind of key, or a point off the curve.
        """

    def to_der(self) -> bytes:
        """Return the SubjectPublicKeyInfo in DER, 91 bytes."""

    def to_pem(self) -> bytes:
        """Return the SubjectPublicKeyInfo in PEM."""

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
        offsets: list[int] | array[int],
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

def ciphertext_to_der(ciphertext: bytes | bytearray) -> bytes:
    """Write an SM2 ciphertext C1C3C2 as DER: SEQUENCE of x, y, hash, ciphertext (GM/T 0009).

    Raises:
        InvalidLength: shorter than 98 bytes, or not beginning with 04.
    """

def ciphertext_from_der(der: bytes | bytearray) -> bytes:
    """Read DER as an SM2 ciphertext C1C3C2. It says nothing about the point; `decrypt` does.

    Raises:
        DecryptionFailed: anything but the one shortest encoding.
    """

@final
class Signer:
    """A signing key by its interface, wherever it lies (签名机): in memory, in a PKCS#11 token, in an SDF device.

    Messages are digested here, digests are signed there. A batch is all or nothing. A device is used by one thread of its own, one
    signature at a time; a session that is lost is opened again once per call; what a device signs is verified before it is given out.
    Cannot be pickled or copied; a device must be opened again after a fork. May be shared between threads.

    Errors of devices: DeviceUnavailable, WrongPin, KeyNotFound, DeviceTimedOut, DeviceFailed; all are DeviceError.
    """

    @staticmethod
    def from_key(key: SigningKey, key_id: str | None = None) -> Signer:
        """Sign with an SM2 key in memory.

        Args:
            key_id: what to call it; by default 8 bytes of SHA-256 over the public key, in hexadecimal.
        """

    @staticmethod
    def from_pkcs8(
        algorithm: str,
        data: bytes | bytearray,
        password: bytes | bytearray | None = None,
        key_id: str | None = None,
    ) -> Signer:
        """Sign with a key from a PKCS#8 file in PEM or DER, plain or encrypted, kept in memory.

        Args:
            algorithm: "sm2-sm3", or a name that `GeneralSigningKey` takes.
        Raises:
            UnknownAlgorithm: another name; the text lists them.
            InvalidKey, DecryptionFailed, InvalidLength: as `SigningKey.from_pkcs8`.
        """

    @staticmethod
    def open_pkcs11(
        algorithm: str,
        *,
        module: str | PathLike[str],
        token: str,
        pin: bytes | bytearray,
        label: str | None = None,
        id: bytes | bytearray | None = None,
        timeout_ms: int = 10_000,
    ) -> Signer:
        """Sign with a key of a PKCS#11 token: P-256 or RSA. (SM2 has no standard mechanism there; use `open_sdf`.)

        Args:
            module: the vendor's library.
            token: label of the token.
            pin: the user's; kept in memory, wiped with the signer, shown nowhere. The login is the process's: while another
                signer of the same token is open, a module does not look at the PIN.
            label, id: CKA_LABEL and CKA_ID of the key; one of them at least.
            timeout_ms: what this call and each batch may take at most, 1 to 600,000.
        Raises:
            DeviceError: see the class.
            UnknownAlgorithm: Ed25519, SM2, or no algorithm.
        """

    @staticmethod
    def open_sdf(
        *, library: str | PathLike[str], key_index: int, pin: bytes | bytearray, timeout_ms: int = 10_000
    ) -> Signer:
        """Sign with an SM2 key of a device that speaks GM/T 0018-2012 (SDF).

        Args:
            library: the vendor's library; loaded once per process and never unloaded.
            key_index: number of the signing key.
            pin: of the key (SDF_GetPrivateKeyAccessRight); kept as for `open_pkcs11`.
            timeout_ms: as for `open_pkcs11`.
        Raises:
            DeviceError: see the class.
        """

    @property
    def algorithm(self) -> str:
        """The scheme's name, as it was asked for."""

    @property
    def backend(self) -> Literal["software", "pkcs11", "sdf"]:
        """Where the key lies."""

    @property
    def key_id(self) -> str:
        """What to call the key in logs; no secret. A PKCS#11 key by its URI (RFC 7512) without the PIN."""

    def public_key(self) -> bytes:
        """Return the SubjectPublicKeyInfo in DER."""

    def sign(self, message: bytes | bytearray, identity: bytes | bytearray | None = None) -> bytes:
        """Sign one message, as `sign_many`."""

    def sign_many(self, messages: list[bytes], identity: bytes | bytearray | None = None) -> list[bytes]:
        """Sign each message, in order, all or nothing; at most 100,000.

        Args:
            identity: the signer's identity for SM2, None means `DEFAULT_IDENTITY`; other schemes have none.
        Returns:
            Per message: r‖s for SM2; otherwise as `GeneralSigningKey.sign`.
        Raises:
            InvalidLength: identity too long, or where the scheme has none; too many messages.
            DeviceError: see the class; nothing was given out.
        """

    def sign_digests(self, digests: list[bytes]) -> list[bytes]:
        """Sign each digest of the scheme, taken by the caller: e = SM3(Z_A ‖ message) for SM2.

        Raises:
            InvalidLength: an item of the wrong length; names its index, and nothing was signed.
            UnknownAlgorithm: Ed25519, which signs messages only.
            DeviceError: see the class.
        """

def sm3(data: bytes | bytearray) -> bytes:
    """Return the SM3 digest, 32 bytes. Source: GB/T 32905-2016. Its time depends on the length of data only."""

def sm3_many(data: list[bytes]) -> list[bytes]:
    """Return one SM3 digest per item, in order; 16 or 8 messages side by side where the processor allows."""

def sm3_buffer(data: bytes | bytearray, offsets: list[int] | array[int]) -> bytes:
    """Return the SM3 digests of the messages that lie in one buffer, one after the other, 32 bytes each.

    Args:
        data: all messages.
        offsets: one more than there are messages; message i is `data[offsets[i]:offsets[i + 1]]`.
    Raises:
        InvalidLength: offsets that fall or leave the data; names the index.
    """

@final
class Sm3:
    """A running SM3 digest, for data that arrives in pieces. Wiped when freed."""

    def __new__(cls) -> Self: ...
    def update(self, data: bytes | bytearray) -> None:
        """Take in data, any length."""

    def digest(self) -> bytes:
        """Return the digest of everything taken in so far, 32 bytes; more may follow."""

    def copy(self) -> Sm3:
        """Return an independent digest in the same state."""

def hmac_sm3(key: bytes | bytearray, data: bytes | bytearray) -> bytes:
    """Return HMAC-SM3 of data, 32 bytes (RFC 2104, block of 64 bytes). Compare codes with `hmac.compare_digest`."""

def hmac_sm3_many(key: bytes | bytearray, data: list[bytes]) -> list[bytes]:
    """Return one HMAC-SM3 per item under one key, in order, side by side like `sm3_many`."""

def hmac_sm3_buffer(key: bytes | bytearray, data: bytes | bytearray, offsets: list[int] | array[int]) -> bytes:
    """Return the HMAC-SM3 of the messages that lie in one buffer as `sm3_buffer` takes them, 32 bytes each.

    Raises:
        InvalidLength: offsets that fall or leave the data; names the index.
    """

def sm3_kdf(secret: bytes | bytearray, length: int) -> bytes:
    """Derive bytes from a shared secret: SM3(secret ‖ 1) ‖ SM3(secret ‖ 2) ‖ … (GB/T 32918.4-2016, clause 5.4.3).

    Args:
        length: of the result, at most 1 GiB.
    Raises:
        InvalidLength: longer than that.
    """

def sha2(name: str, data: bytes | bytearray) -> bytes:
    """Return the digest "sha256" (32 bytes), "sha384" (48) or "sha512" (64). Source: FIPS 180-4.

    Raises:
        UnknownAlgorithm: any other name.
    """

def hmac_sha2_many(name: str, key: bytes | bytearray, data: list[bytes]) -> list[bytes]:
    """Return one HMAC (RFC 2104) per item over the digest named as for `sha2`, in order.

    Raises:
        UnknownAlgorithm: any other name.
    """

def hmac_sha2_buffer(
    name: str, key: bytes | bytearray, data: bytes | bytearray, offsets: list[int] | array[int]
) -> bytes:
    """Return the codes of `hmac_sha2_many` for the messages that lie in one buffer as `sm3_buffer` takes them.

    Returns:
        The codes one after the other, 32, 48 or 64 bytes each.
    Raises:
        UnknownAlgorithm: any other name.
        InvalidLength: offsets that fall or leave the data; names the index.
    """

def pbkdf2_sha2(name: str, password: bytes | bytearray, salt: bytes | bytearray, iterations: int, length: int) -> bytes:
    """Derive a key from a password with PBKDF2 (RFC 8018) and HMAC over the digest named as for `sha2`.

    Args:
        password: at least 1 byte.
        iterations: at least 10,000.
        length: 1 to 1024.
    Raises:
        UnknownAlgorithm: any other name.
        InvalidLength: password, iterations or length out of range.
    """

def crc32c(data: bytes | bytearray, start: int = 0) -> int:
    """Return the CRC-32C (Castagnoli) of data; `start` is that of the data before it. Against accidents, not attackers."""

def sm4_cbc_encrypt(key: bytes | bytearray, iv: bytes | bytearray, plaintext: bytes | bytearray) -> bytes:
    """Encrypt with SM4 in CBC mode and PKCS#7 padding; the result is 1 to 16 bytes longer, without the iv.

    Source: GB/T 32907-2016, GB/T 17964-2021. All of SM4 here is constant-time in key and text.

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

def sm4_cbc_encrypt_many(key: bytes | bytearray, ivs: list[bytes], plaintexts: list[bytes]) -> list[bytes]:
    """Encrypt each plaintext with its iv as `sm4_cbc_encrypt` does, up to 64 side by side; in order.

    Raises:
        InvalidLength: key not 16 bytes, the lists differ in length, or an iv not 16 bytes (names its index).
    """

def sm4_cbc_decrypt_many(key: bytes | bytearray, ivs: list[bytes], ciphertexts: list[bytes]) -> list[bytes | None]:
    """Decrypt each ciphertext; None for one that `sm4_cbc_decrypt` would refuse. The others are not affected.

    Raises:
        InvalidLength: as for `sm4_cbc_encrypt_many`.
    """

def sm4_cbc_encrypt_buffer(
    key: bytes | bytearray, ivs: bytes | bytearray, data: bytes | bytearray, offsets: list[int] | array[int]
) -> tuple[bytes, list[int]]:
    """Encrypt the plaintexts that lie in one buffer, as `sm4_cbc_encrypt_many` does.

    Args:
        ivs: one after the other, 16 bytes each.
        data: all plaintexts.
        offsets: one more than there are texts; text i is `data[offsets[i]:offsets[i + 1]]`.
    Returns:
        The ciphertexts one after the other, and their offsets.
    Raises:
        InvalidLength: key not 16 bytes, not one iv per text, or offsets that fall or leave the data (names the index).
    """

def sm4_cbc_decrypt_buffer(
    key: bytes | bytearray, ivs: bytes | bytearray, data: bytes | bytearray, offsets: list[int] | array[int]
) -> tuple[bytes, list[int], bytes]:
    """Decrypt the ciphertexts that lie in one buffer, as `sm4_cbc_encrypt_buffer` gave them.

    Returns:
        The plaintexts one after the other, their offsets, and one byte per text: 1, or 0 for one that `sm4_cbc_decrypt`
        would refuse; its text is empty.
    Raises:
        InvalidLength: as for `sm4_cbc_encrypt_buffer`.
    """

def sm4_ctr(key: bytes | bytearray, counter: bytes | bytearray, data: bytes | bytearray) -> bytes:
    """Encrypt or decrypt with SM4 in CTR mode. It detects no changes; prefer GCM where the bank allows it.

    Args:
        key: 16 bytes.
        counter: the first counter block, 16 bytes, big-endian; none may be used twice under one key.
    Raises:
        InvalidLength: key or counter not 16 bytes.
    """

def sm4_gcm_encrypt(
    key: bytes | bytearray,
    nonce: bytes | bytearray,
    plaintext: bytes | bytearray,
    aad: bytes | bytearray | None = None,
) -> bytes:
    """Encrypt and authenticate with SM4-GCM: ciphertext followed by the tag of 16 bytes. Source: RFC 8998.

    Args:
        key: 16 bytes.
        nonce: 12 bytes; using one twice under one key gives the key of the authentication away.
        plaintext: at most 2^36 - 32 bytes.
        aad: authenticated, not encrypted.
    Raises:
        InvalidLength: key or nonce of another length.
    """

def sm4_gcm_decrypt(
    key: bytes | bytearray,
    nonce: bytes | bytearray,
    ciphertext: bytes | bytearray,
    aad: bytes | bytearray | None = None,
) -> bytes:
    """Check the tag and decrypt what `sm4_gcm_encrypt` made.

    Raises:
        DecryptionFailed: wrong key, nonce or aad, or damaged or too short; never says which.
        InvalidLength: key or nonce of another length.
    """

def sm4_gcm_encrypt_many(
    key: bytes | bytearray, nonces: list[bytes], plaintexts: list[bytes], aads: list[bytes] | None = None
) -> list[bytes]:
    """Encrypt each plaintext with its nonce and associated data (or none) under one key, in order.

    Raises:
        InvalidLength: key of another length, lists that differ in length, or a nonce not 12 bytes (names its index).
    """

def sm4_gcm_decrypt_many(
    key: bytes | bytearray, nonces: list[bytes], ciphertexts: list[bytes], aads: list[bytes] | None = None
) -> list[bytes | None]:
    """Check and decrypt each ciphertext; None for one that `sm4_gcm_decrypt` would refuse.

    Raises:
        InvalidLength: as for `sm4_gcm_encrypt_many`.
    """

def sm4_gcm_encrypt_buffer(
    key: bytes | bytearray,
    nonces: bytes | bytearray,
    data: bytes | bytearray,
    offsets: list[int] | array[int],
    aads: list[bytes] | None = None,
) -> tuple[bytes, list[int]]:
    """Encrypt the plaintexts that lie in one buffer, as `sm4_gcm_encrypt_many` does.

    Args:
        key: 16 bytes.
        nonces: one after the other, 12 bytes each.
        data: all plaintexts.
        offsets: one more than there are texts; text i is `data[offsets[i]:offsets[i + 1]]`.
        aads: associated data of each text, or none.
    Returns:
        The ciphertexts with their tags one after the other, and their offsets.
    Raises:
        InvalidLength: key of another length, not one nonce or aad per text, or offsets that fall or leave the data.
    """

def sm4_gcm_decrypt_buffer(
    key: bytes | bytearray,
    nonces: bytes | bytearray,
    data: bytes | bytearray,
    offsets: list[int] | array[int],
    aads: list[bytes] | None = None,
) -> tuple[bytes, list[int], bytes]:
    """Check and decrypt the ciphertexts that lie in one buffer, as `sm4_gcm_encrypt_buffer` gave them.

    Returns:
        The plaintexts one after the other, their offsets, and one byte per text: 1, or 0 for one that
        `sm4_gcm_decrypt` would refuse; its text is empty.
    Raises:
        InvalidLength: as for `sm4_gcm_encrypt_buffer`.
    """

def aes_256_gcm_encrypt(
    key: bytes | bytearray,
    nonce: bytes | bytearray,
    plaintext: bytes | bytearray,
    aad: bytes | bytearray | None = None,
) -> bytes:
    """Encrypt and authenticate with AES-256-GCM: ciphertext followed by the tag of 16 bytes. Source: NIST SP 800-38D.

    Args:
        key: 32 bytes.
        nonce: 12 bytes; using one twice under one key gives the key of the authentication away.
        plaintext: at most 2^36 - 32 bytes.
        aad: authenticated, not encrypted.
    Raises:
        InvalidLength: key or nonce of another length.
    """

def aes_256_gcm_decrypt(
    key: bytes | bytearray,
    nonce: bytes | bytearray,
    ciphertext: bytes | bytearray,
    aad: bytes | bytearray | None = None,
) -> bytes:
    """Check the tag and decrypt what `aes_256_gcm_encrypt` made.

    Raises:
        DecryptionFailed: wrong key, nonce or aad, or damaged or too short; never says which.
        InvalidLength: key or nonce of another length.
    """

def aes_256_gcm_encrypt_many(
    key: bytes | bytearray, nonces: list[bytes], plaintexts: list[bytes], aads: list[bytes] | None = None
) -> list[bytes]:
    """Encrypt each plaintext with its nonce and associated data (or none) under one key, in order.

    Raises:
        InvalidLength: key of another length, lists that differ in length, or a nonce not 12 bytes (names its index).
    """

def aes_256_gcm_decrypt_many(
    key: bytes | bytearray, nonces: list[bytes], ciphertexts: list[bytes], aads: list[bytes] | None = None
) -> list[bytes | None]:
    """Check and decrypt each ciphertext; None for one that `aes_256_gcm_decrypt` would refuse.

    Raises:
        InvalidLength: as for `aes_256_gcm_encrypt_many`.
    """

def aes_256_gcm_encrypt_buffer(
    key: bytes | bytearray,
    nonces: bytes | bytearray,
    data: bytes | bytearray,
    offsets: list[int] | array[int],
    aads: list[bytes] | None = None,
) -> tuple[bytes, list[int]]:
    """Encrypt the plaintexts that lie in one buffer, as `aes_256_gcm_encrypt_many` does.

    Args:
        key: 32 bytes.
        nonces: one after the other, 12 bytes each.
        data: all plaintexts.
        offsets: one more than there are texts; text i is `data[offsets[i]:offsets[i + 1]]`.
        aads: associated data of each text, or none.
    Returns:
        The ciphertexts with their tags one after the other, and their offsets.
    Raises:
        InvalidLength: key of another length, not one nonce or aad per text, or offsets that fall or leave the data.
    """

def aes_256_gcm_decrypt_buffer(
    key: bytes | bytearray,
    nonces: bytes | bytearray,
    data: bytes | bytearray,
    offsets: list[int] | array[int],
    aads: list[bytes] | None = None,
) -> tuple[bytes, list[int], bytes]:
    """Check and decrypt the ciphertexts that lie in one buffer, as `aes_256_gcm_encrypt_buffer` gave them.

    Returns:
        The plaintexts one after the other, their offsets, and one byte per text: 1, or 0 for one that
        `aes_256_gcm_decrypt` would refuse; its text is empty.
    Raises:
        InvalidLength: as for `aes_256_gcm_encrypt_buffer`.
    """

@final
class EnvelopeKey:
    """A key for data at rest. What it seals names the key's id, the algorithm and the nonce, all authenticated.

    Form: 01 ‖ algorithm (1) ‖ length of key id (1) ‖ key id ‖ nonce (12) ‖ ciphertext ‖ tag (16). Nonces are random: change
    the key long before 2^32 envelopes. Constant-time in key and text. Cannot be pickled; wiped when freed.
    """

    def __new__(cls, algorithm: str, key_id: bytes | bytearray, key: bytes | bytearray) -> Self:
        """Prepare a key.

        Args:
            algorithm: "sm4-gcm" (key of 16 bytes) or "aes-256-gcm" (32 bytes).
            key_id: 1 to 64 bytes, not secret.
        Raises:
            UnknownAlgorithm: any other algorithm.
            InvalidLength: key or key_id of another length.
        """

    @property
    def key_id(self) -> bytes:
        """The id given when it was made."""

    def seal(self, text: bytes | bytearray, aad: bytes | bytearray | None = None) -> bytes:
        """Seal one text; it opens with this key and the same aad only.

        Raises:
            OSError: the kernel gave no entropy; nothing was sealed.
        """

    def seal_many(self, texts: list[bytes], aads: list[bytes] | None = None) -> list[bytes]:
        """Seal each text with its aad (or none), in order.

        Raises:
            InvalidLength: the lists differ in length.
            OSError: the kernel gave no entropy; nothing was sealed.
        """

    def open(self, envelope: bytes | bytearray, aad: bytes | bytearray | None = None) -> bytes:
        """Open one envelope.

        Raises:
            DecryptionFailed: another key or aad, damaged, or no envelope; never says which.
        """

    def open_many(self, envelopes: list[bytes], aads: list[bytes] | None = None) -> list[bytes | None]:
        """Open each envelope, in order; None for one that `open` would refuse.

        Raises:
            InvalidLength: the lists differ in length.
        """

def envelope_key_id(envelope: bytes | bytearray) -> bytes:
    """Return the id of the key that an envelope names, to find that key. Nothing is proved before it is opened.

    Raises:
        DecryptionFailed: no envelope, or of another version.
    """

@final
class GeneralSigningKey:
    """An Ed25519, ECDSA P-256 or RSA private key with the scheme it signs by; constant-time (AWS-LC). Cannot be pickled.

    Schemes: "ed25519", "ecdsa-p256-sha256" (DER), "ecdsa-p256-sha256-raw" (r‖s, 64 bytes), "rsa-pkcs1-sha256",
    "rsa-pkcs1-sha384", "rsa-pkcs1-sha512", "rsa-pss-sha256", "rsa-pss-sha384", "rsa-pss-sha512" (salt as long as the digest).
    """

    @staticmethod
    def generate(algorithm: str) -> GeneralSigningKey:
        """Make a new key; RSA keys have 3072 bits.

        Raises:
            UnknownAlgorithm: not one of the schemes.
        """

    @staticmethod
    def from_pkcs8(algorithm: str, der: bytes | bytearray) -> GeneralSigningKey:
        """Read an unencrypted PKCS#8 key in DER.

        Raises:
            UnknownAlgorithm: not one of the schemes.
            InvalidKey: not such a key, or an RSA key below 2048 or above 8192 bits.
        """

    def to_pkcs8(self) -> bytes:
        """Give the private key away as unencrypted PKCS#8 in DER, for a keystore only. Python cannot wipe the result."""

    def public_key(self) -> GeneralVerifyKey:
        """Return the key that checks this key's signatures."""

    def sign(self, message: bytes | bytearray) -> bytes:
        """Sign one message."""

    def sign_many(self, messages: list[bytes]) -> list[bytes]:
        """Sign each message, in order."""

@final
class GeneralVerifyKey:
    """An Ed25519, ECDSA P-256 or RSA public key with the scheme it checks by, named as for `GeneralSigningKey`."""

    @staticmethod
    def from_bytes(algorithm: str, data: bytes | bytearray) -> GeneralVerifyKey:
        """Read SubjectPublicKeyInfo in DER, or 32 bytes (Ed25519), an uncompressed point (P-256), RSAPublicKey in DER (RSA).

        Raises:
            UnknownAlgorithm: not one of the schemes.
            InvalidKey: not such a key, or an RSA key below 2048 or above 8192 bits.
        """

    def to_der(self) -> bytes:
        """Return SubjectPublicKeyInfo in DER."""

    def verify(self, message: bytes | bytearray, signature: bytes | bytearray) -> None:
        """Check a signature; returning is the proof.

        Raises:
            InvalidSignature: it does not fit, or is malformed.
        """

    def verify_many(self, messages: list[bytes], signatures: list[bytes]) -> list[bool]:
        """Check signature i against message i; one verdict per pair, in order.

        Raises:
            InvalidLength: the lists differ in length.
        """

def tier() -> str:
    """Return the set of instructions in use: "portable", "avx2" or "avx512"."""

def force_tier(name: str | None) -> None:
    """Use a set of instructions in this process from now on, for tests and measurements; None returns to the best one.

    Raises:
        ValueError: an unknown name, or one whose instructions this processor lacks.
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

def check_lei(identifiers: list[str]) -> list[str]:
    """Check legal entity identifiers (LEI): ISO 17442-1, 20 characters, MOD 97-10.

    Returns:
        Per item, in order: "" when valid, else "LENGTH", "CHARACTER" or "CHECK_DIGIT".
    """

def check_resident_id(identifiers: list[str]) -> list[str]:
    """Check resident identity numbers (公民身份号码): GB 11643-1999, 18 characters. The division code is not looked up.

    Returns:
        Per item, in order: "" when valid, else "LENGTH", "CHARACTER", "DATE" (no day of the calendar) or "CHECK_DIGIT".
    """

def check_creditor_reference(identifiers: list[str]) -> list[str]:
    """Check creditor references in electronic form: ISO 11649, RF, two check digits and up to 21 characters.

    Returns:
        Per item, in order: "" when valid, else "LENGTH", "CHARACTER" or "CHECK_DIGIT".
    """

def control_sum(amounts: list[int]) -> int:
    """Return the sum of amounts in minor units.

    Raises:
        OverflowError: an amount or the running sum leaves 64 signed bits; names the item's index.
    """
