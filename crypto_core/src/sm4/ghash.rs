//! GHASH (NIST SP 800-38D, clause 6.4), computed as POLYVAL on reversed bytes (RFC 8452, appendix A).
//!
//! Constant-time in every tier: carry-less multiplication instructions, or integer multiplications with holes.

use super::Block;
#[cfg(target_arch = "x86_64")]
use super::clmul;
use crate::tier::{self, Tier};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Blocks whose products are summed before one reduction.
pub const AGGREGATED: usize = 32;
/// x^127 + x^126 + x^121 + 1, the field polynomial without x^128.
const POLYNOMIAL: u128 = 0xc200_0000_0000_0000_0000_0000_0000_0001;

/// The powers H^32 … H^1 of the hash key, wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct GhashKey {
    powers: [u128; AGGREGATED],
}

impl GhashKey {
    /// Prepare the hash key H.
    pub fn new(h: &Block) -> Self {
        let h = u128::from_be_bytes(*h);
        // H·x, in the form that makes the product's bit reversal come out right.
        let carry = (h >> 127).wrapping_neg();
        let h = h << 1 ^ carry & POLYNOMIAL;
        let mut key = Self {
            powers: [h; AGGREGATED],
        };
        for i in (0..AGGREGATED - 1).rev() {
            // A block of zeros does no more than multiply by H.
            key.powers[i] = key.absorb(tier::current(), key.powers[i + 1], &[[0; 16]]);
        }
        key
    }

    /// The code over associated data and ciphertext, their lengths included.
    pub fn code(&self, aad: &[u8], ciphertext: &[u8]) -> Block {
        self.code_with(tier::current(), aad, ciphertext)
    }

    /// Fill `sealed` with `text`, to which `keys` is added, and the tag: `mask` and the code over associated data and that sum.
    /// The key stream is at least as long as the text, and `sealed` one block longer.
    #[allow(unsafe_code)]
    pub fn seal(&self, aad: &[u8], text: &[u8], mask: &Block, keys: &[Block], sealed: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if tier::current() == Tier::Avx512 {
            let lengths = lengths(aad, text);
            // SAFETY: the current tier is one that this processor has.
            return unsafe {
                clmul::seal(&self.powers, aad, text, (mask, keys), lengths, sealed);
            };
        }
        let (ciphertext, tag) = sealed.split_at_mut(text.len());
        ciphertext.copy_from_slice(text);
        super::add(ciphertext, keys);
        tag.copy_from_slice(&self.tag(aad, ciphertext, mask));
    }

    /// The tag: `mask` and the code over associated data and ciphertext.
    pub fn tag(&self, aad: &[u8], ciphertext: &[u8], mask: &Block) -> Block {
        let mut tag = self.code(aad, ciphertext);
        super::xor(&mut tag, mask);
        tag
    }

    fn code_with(&self, tier: Tier, aad: &[u8], ciphertext: &[u8]) -> Block {
        let lengths = lengths(aad, ciphertext);
        assert!(tier <= tier::best());
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        if tier == Tier::Avx512 {
            // SAFETY: the processor has this tier's instructions (asserted above).
            return unsafe { clmul::code(&self.powers, aad, ciphertext, lengths) }.to_be_bytes();
        }
        let mut state = 0;
        for part in [aad, ciphertext, &lengths.to_be_bytes()] {
            let (blocks, rest) = part.as_chunks::<16>();
            state = self.absorb(tier, state, blocks);
            if !rest.is_empty() {
                let mut padded = [0; 16];
                padded[..rest.len()].copy_from_slice(rest);
                state = self.absorb(tier, state, &[padded]);
            }
        }
        state.to_be_bytes()
    }

    #[allow(unsafe_code)]
    fn absorb(&self, tier: Tier, state: u128, blocks: &[Block]) -> u128 {
        assert!(tier <= tier::best());
        #[cfg(target_arch = "x86_64")]
        if tier >= Tier::Avx2 {
            // SAFETY: the processor has this tier's instructions (asserted above).
            return unsafe { clmul::absorb(&self.powers, state, blocks) };
        }
        let h = self.powers[AGGREGATED - 1];
        blocks.iter().fold(state, |state, block| {
            multiply(state ^ u128::from_be_bytes(*block), h)
        })
    }
}

/// The last block: the lengths of associated data and text in bits.
fn lengths(aad: &[u8], text: &[u8]) -> u128 {
    let bits = |data: &[u8]| u128::from((data.len() as u64).wrapping_mul(8));
    bits(aad) << 64 | bits(text)
}

/// a·b·x^-128 in the field of POLYVAL, in plain Rust.
fn multiply(a: u128, b: u128) -> u128 {
    let (a0, a1) = (a as u64, (a >> 64) as u64);
    let (b0, b1) = (b as u64, (b >> 64) as u64);
    let low = wide_product(a0, b0);
    let high = wide_product(a1, b1);
    let middle = wide_product(a0 ^ a1, b0 ^ b1) ^ low ^ high;
    let v0 = low as u64;
    let v1 = (low >> 64) as u64 ^ middle as u64;
    let upper = high ^ middle >> 64;
    // Twice: add v0·P, which clears the lowest 64 bits, and drop them.
    let v1 = v1 ^ (v0 << 63 ^ v0 << 62 ^ v0 << 57);
    let v2 = v0 ^ v0 >> 1 ^ v0 >> 2 ^ v0 >> 7;
    let v2 = v2 ^ (v1 << 63 ^ v1 << 62 ^ v1 << 57);
    let v3 = v1 ^ v1 >> 1 ^ v1 >> 2 ^ v1 >> 7;
    upper ^ (u128::from(v3) << 64 | u128::from(v2))
}

/// Carry-less product of two 64-bit polynomials. The upper half comes from the product of the reversed factors.
fn wide_product(a: u64, b: u64) -> u128 {
    let low = half_product(a, b);
    let high = half_product(a.reverse_bits(), b.reverse_bits()).reverse_bits() >> 1;
    u128::from(high) << 64 | u128::from(low)
}

/// Lower 64 bits of a carry-less product: with only every fourth bit set, sums of at most 16 ones never carry into the
/// next kept bit.
fn half_product(a: u64, b: u64) -> u64 {
    const EVERY_FOURTH: u64 = 0x1111_1111_1111_1111;
    let a: [u64; 4] = std::array::from_fn(|i| a & EVERY_FOURTH << i);
    let b: [u64; 4] = std::array::from_fn(|i| b & EVERY_FOURTH << i);
    let mut product = 0;
    for i in 0..4 {
        let sum = (0..4).fold(0, |sum, j| sum ^ a[j].wrapping_mul(b[(4 + i - j) % 4]));
        product |= sum & EVERY_FOURTH << i;
    }
    product
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The definition of SP 800-38D, clause 6.3, bit by bit.
    pub fn by_definition(x: u128, y: u128) -> u128 {
        let mut z = 0;
        let mut v = y;
        for i in 0..128 {
            if x >> (127 - i) & 1 == 1 {
                z ^= v;
            }
            v = v >> 1 ^ if v & 1 == 1 { 0xe1 << 120 } else { 0 };
        }
        z
    }

    #[test]
    fn each_tier_agrees_with_the_definition_for_every_number_of_blocks() {
        let data: Vec<u8> = (0..1200u32).map(|i| ((i * i) >> 2) as u8).collect();
        for length in (0..=80).chain([255, 256, 257, 300, 512, 513, 768, 1111]) {
            let (aad, ciphertext) = data.split_at(length % 40);
            let ciphertext = &ciphertext[..length];
            let h = crate::sm3::digest(&[length as u8]);
            let h: &Block = h.first_chunk().unwrap();
            let mut expected = 0;
            let lengths = [
                (aad.len() as u64 * 8).to_be_bytes(),
                (length as u64 * 8).to_be_bytes(),
            ];
            for part in [aad, ciphertext, lengths.as_flattened()] {
                for block in part.chunks(16) {
                    let mut padded = [0; 16];
                    padded[..block.len()].copy_from_slice(block);
                    let sum = expected ^ u128::from_be_bytes(padded);
                    expected = by_definition(sum, u128::from_be_bytes(*h));
                }
            }
            let key = GhashKey::new(h);
            for tier in tier::available() {
                let code = key.code_with(tier, aad, ciphertext);
                assert_eq!(code, expected.to_be_bytes(), "{tier:?}, {length} bytes");
            }
        }
    }
}
