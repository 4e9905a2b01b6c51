//! The SM4 rounds on the AES instructions of x86-64, constant-time like them.
//!
//! The S-boxes of SM4 and AES both invert in GF(2^8), in two descriptions of the field; a linear map leads from one to
//! the other. So S_sm4 = Post ∘ S_aes ∘ Pre with affine Pre and Post, each done as two 16-entry shuffles, one for each
//! half of a byte. The values were computed from the two field polynomials and are tested on all 256 bytes.

use super::Block;
use super::constants::{POST_HIGH, POST_LOW, PRE_HIGH, PRE_LOW};
use std::arch::x86_64::*;

/// Reverses the bytes of each word.
const SWAP_BYTES: [u8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];
/// Undoes the ShiftRows that comes with the instruction.
const UNSHIFT_ROWS: [u8; 16] = [0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3];
/// Rotations of each 32-bit word by 8, 16 and 24 bits to the left.
const ROTATE_8: [u8; 16] = [3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14];
const ROTATE_16: [u8; 16] = [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13];
const ROTATE_24: [u8; 16] = [1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12];

/// Blocks of one group.
const GROUP: usize = 4;
/// Groups interleaved to hide the latency of the instructions.
const GROUPS: usize = 4;

/// Pass `blocks` through the 32 rounds, in place.
#[target_feature(enable = "aes,avx2")]
pub fn apply(round_keys: &[u32; 32], blocks: &mut [Block]) {
    let (many, rest) = blocks.as_chunks_mut::<{ GROUP * GROUPS }>();
    for blocks in many {
        rounds::<GROUPS>(round_keys, blocks.as_chunks_mut::<GROUP>().0);
    }
    let (one, rest) = rest.as_chunks_mut::<GROUP>();
    for blocks in one {
        rounds::<1>(round_keys, std::slice::from_mut(blocks));
    }
    if !rest.is_empty() {
        let mut padded = [[0; 16]; GROUP];
        padded[..rest.len()].copy_from_slice(rest);
        rounds::<1>(round_keys, std::slice::from_mut(&mut padded));
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

/// The S-box on four bytes.
#[target_feature(enable = "aes,avx2")]
pub fn substitute(word: u32) -> u32 {
    _mm_cvtsi128_si32(substitute_vector(_mm_set1_epi32(word as i32))) as u32
}

#[inline]
#[target_feature(enable = "aes,avx2")]
fn rounds<const N: usize>(round_keys: &[u32; 32], groups: &mut [[Block; GROUP]]) {
    let mut x = [[_mm_setzero_si128(); 4]; N];
    for (x, group) in x.iter_mut().zip(groups.iter()) {
        // A loop, no `map`: a closure called by code without these features would not be inlined.
        let mut rows = [_mm_setzero_si128(); 4];
        for (row, block) in rows.iter_mut().zip(group.iter()) {
            *row = shuffle(vector(*block), SWAP_BYTES);
        }
        *x = transpose(rows);
    }
    for keys in round_keys.as_chunks::<4>().0 {
        for [a, b, c, d] in &mut x {
            *a = round(*a, *b, *c, *d, keys[0]);
        }
        for [a, b, c, d] in &mut x {
            *b = round(*b, *c, *d, *a, keys[1]);
        }
        for [a, b, c, d] in &mut x {
            *c = round(*c, *d, *a, *b, keys[2]);
        }
        for [a, b, c, d] in &mut x {
            *d = round(*d, *a, *b, *c, keys[3]);
        }
    }
    for ([a, b, c, d], group) in x.into_iter().zip(groups) {
        let rows = transpose([d, c, b, a]);
        for (block, row) in group.iter_mut().zip(rows) {
            *block = bytes(shuffle(row, SWAP_BYTES));
        }
    }
}

/// 4x4 transposition of words; its own inverse.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose([a, b, c, d]: [__m128i; 4]) -> [__m128i; 4] {
    let (ab_low, ab_high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
    [
        _mm_unpacklo_epi64(ab_low, cd_low),
        _mm_unpackhi_epi64(ab_low, cd_low),
        _mm_unpacklo_epi64(ab_high, cd_high),
        _mm_unpackhi_epi64(ab_high, cd_high),
    ]
}

#[inline]
#[target_feature(enable = "aes,avx2")]
fn round(word: __m128i, a: __m128i, b: __m128i, c: __m128i, key: u32) -> __m128i {
    let mixed = _mm_xor_si128(
        _mm_xor_si128(a, b),
        _mm_xor_si128(c, _mm_set1_epi32(key as i32)),
    );
    let b = substitute_vector(mixed);
    // b<<<2 ^ b<<<10 ^ b<<<18 = (b ^ b<<<8 ^ b<<<16)<<<2, and rotations by whole bytes are shuffles.
    let bytewise = _mm_xor_si128(
        b,
        _mm_xor_si128(shuffle(b, ROTATE_8), shuffle(b, ROTATE_16)),
    );
    let rotated = _mm_or_si128(
        _mm_slli_epi32::<2>(bytewise),
        _mm_srli_epi32::<30>(bytewise),
    );
    _mm_xor_si128(
        _mm_xor_si128(word, shuffle(b, ROTATE_24)),
        _mm_xor_si128(b, rotated),
    )
}

#[inline]
#[target_feature(enable = "aes,avx2")]
fn substitute_vector(x: __m128i) -> __m128i {
    let pre = shuffle(affine(x, PRE_LOW, PRE_HIGH), UNSHIFT_ROWS);
    affine(
        _mm_aesenclast_si128(pre, _mm_setzero_si128()),
        POST_LOW,
        POST_HIGH,
    )
}

#[inline]
#[target_feature(enable = "aes,avx2")]
fn affine(x: __m128i, low: [u8; 16], high: [u8; 16]) -> __m128i {
    let nibbles = _mm_set1_epi8(15);
    let low_half = _mm_and_si128(x, nibbles);
    let high_half = _mm_and_si128(_mm_srli_epi32::<4>(x), nibbles);
    _mm_xor_si128(
        _mm_shuffle_epi8(vector(low), low_half),
        _mm_shuffle_epi8(vector(high), high_half),
    )
}

#[inline]
#[target_feature(enable = "aes,avx2")]
fn shuffle(x: __m128i, places: [u8; 16]) -> __m128i {
    _mm_shuffle_epi8(x, vector(places))
}

#[inline]
#[target_feature(enable = "sse2")]
fn vector(bytes: [u8; 16]) -> __m128i {
    let halves = u128::from_le_bytes(bytes);
    _mm_set_epi64x((halves >> 64) as i64, halves as i64)
}

#[inline]
#[target_feature(enable = "sse2")]
fn bytes(vector: __m128i) -> Block {
    let low = _mm_cvtsi128_si64(vector) as u64;
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(vector, vector)) as u64;
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}
