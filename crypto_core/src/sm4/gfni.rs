//! The SM4 rounds with GFNI in AVX-512 registers: 16 blocks in four vectors, up to four such groups interleaved.
//!
//! The S-boxes of SM4 and AES both invert in GF(2^8), in two descriptions of the field that a linear map connects, so
//! S_sm4 = affine ∘ inverse_aes ∘ affine: one GF2P8AFFINEQB and one GF2P8AFFINEINVQB. The two maps are derived, at
//! compile time, from those of `constants`.

use super::Block;
use super::constants::{POST_HIGH, POST_LOW, PRE_HIGH, PRE_LOW};
use std::arch::x86_64::*;

/// Blocks of one group.
const GROUP: usize = 16;
/// Groups interleaved to hide the latency of the instructions.
const GROUPS: usize = 4;

const PRE: [u8; 256] = table(PRE_LOW, PRE_HIGH);
const POST: [u8; 256] = after_aes(table(POST_LOW, POST_HIGH));
const PRE_MATRIX: i64 = matrix(&PRE);
const PRE_CONSTANT: i32 = PRE[0] as i32;
const POST_MATRIX: i64 = matrix(&POST);
const POST_CONSTANT: i32 = POST[0] as i32;

/// The affine map given by two 16-entry tables, on every byte.
const fn table(low: [u8; 16], high: [u8; 16]) -> [u8; 256] {
    let mut map = [0; 256];
    let mut x = 0;
    while x < 256 {
        map[x] = low[x % 16] ^ high[x / 16];
        x += 1;
    }
    map
}

/// `map` after the affine half of the AES S-box (FIPS 197, clause 5.1.1).
const fn after_aes(map: [u8; 256]) -> [u8; 256] {
    let mut composed = [0; 256];
    let mut x = 0;
    while x < 256 {
        let y = x as u8;
        let aes =
            y ^ y.rotate_left(1) ^ y.rotate_left(2) ^ y.rotate_left(3) ^ y.rotate_left(4) ^ 0x63;
        composed[x] = map[aes as usize];
        x += 1;
    }
    composed
}

/// The linear part of an affine map as GF2P8AFFINEQB takes it: byte 7 - i is the row of output bit i.
const fn matrix(map: &[u8; 256]) -> i64 {
    let mut matrix = 0u64;
    let mut bit = 0;
    while bit < 64 {
        let (row, column) = (bit / 8, bit % 8);
        let image = map[1 << column] ^ map[0];
        matrix |= ((image >> row & 1) as u64) << ((7 - row) * 8 + column);
        bit += 1;
    }
    matrix as i64
}

/// Pass `blocks` through the 32 rounds, in place.
///
/// # Safety
/// The processor has AVX-512 F and BW and GFNI.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
pub fn apply(round_keys: &[u32; 32], blocks: &mut [Block]) {
    let (many, rest) = blocks.as_chunks_mut::<{ GROUP * GROUPS }>();
    for blocks in many {
        rounds::<GROUPS>(round_keys, blocks.as_chunks_mut::<GROUP>().0);
    }
    let (two, rest) = rest.as_chunks_mut::<{ 2 * GROUP }>();
    for blocks in two {
        rounds::<2>(round_keys, blocks.as_chunks_mut::<GROUP>().0);
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

#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn rounds<const N: usize>(round_keys: &[u32; 32], groups: &mut [[Block; GROUP]]) {
    let mut x = [[_mm512_setzero_si512(); 4]; N];
    for (x, group) in x.iter_mut().zip(groups.iter()) {
        *x = transpose(load(group));
    }
    for keys in round_keys.as_chunks::<4>().0 {
        for [a, b, c, d] in &mut x {
            *a = round(*a, *b, *c, *d, _mm512_set1_epi32(keys[0] as i32));
        }
        for [a, b, c, d] in &mut x {
            *b = round(*b, *c, *d, *a, _mm512_set1_epi32(keys[1] as i32));
        }
        for [a, b, c, d] in &mut x {
            *c = round(*c, *d, *a, *b, _mm512_set1_epi32(keys[2] as i32));
        }
        for [a, b, c, d] in &mut x {
            *d = round(*d, *a, *b, *c, _mm512_set1_epi32(keys[3] as i32));
        }
    }
    for ([a, b, c, d], group) in x.into_iter().zip(groups) {
        store(group, transpose([d, c, b, a]));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn round(word: __m512i, a: __m512i, b: __m512i, c: __m512i, key: __m512i) -> __m512i {
    // The newest word, c, comes last, so that the rest can be done before it is ready.
    let mixed = _mm512_xor_si512(_mm512_ternarylogic_epi32::<0x96>(a, b, key), c);
    let pre = _mm512_gf2p8affine_epi64_epi8::<PRE_CONSTANT>(mixed, _mm512_set1_epi64(PRE_MATRIX));
    let s = _mm512_gf2p8affineinv_epi64_epi8::<POST_CONSTANT>(pre, _mm512_set1_epi64(POST_MATRIX));
    // s ^ (s <<< 24) ^ ((s ^ (s <<< 8) ^ (s <<< 16)) <<< 2): whole bytes are moved by shuffles, which another part of the
    // processor does than rotations.
    let sum = _mm512_ternarylogic_epi32::<0x96>(s, rotate_bytes::<1>(s), rotate_bytes::<2>(s));
    let second = _mm512_ternarylogic_epi32::<0x96>(word, s, rotate_bytes::<3>(s));
    _mm512_xor_si512(_mm512_rol_epi32::<2>(sum), second)
}

/// Every word rotated left by whole bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn rotate_bytes<const COUNT: usize>(x: __m512i) -> __m512i {
    const PLACES: [i32; 4] = [0x0302_0100, 0x0201_0003, 0x0100_0302, 0x0003_0201];
    let word = PLACES[COUNT];
    let places = _mm_setr_epi32(
        word,
        word + 0x0404_0404,
        word + 0x0808_0808,
        word + 0x0c0c_0c0c,
    );
    _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(places))
}

/// 4x4 transposition of the words in each 128-bit quarter; its own inverse.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn swap_bytes(vector: __m512i) -> __m512i {
    let places = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    _mm512_shuffle_epi8(vector, _mm512_broadcast_i32x4(places))
}

// Loops here, no `map`: a closure called by code without these features would not be inlined.

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn load(group: &[Block; GROUP]) -> [__m512i; 4] {
    let mut vectors = [_mm512_setzero_si512(); 4];
    for (vector, blocks) in vectors.iter_mut().zip(group.as_chunks::<4>().0) {
        // SAFETY: four blocks are 64 bytes; unaligned loads are allowed.
        *vector = swap_bytes(unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) });
    }
    vectors
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn store(group: &mut [Block; GROUP], vectors: [__m512i; 4]) {
    for (blocks, vector) in group.as_chunks_mut::<4>().0.iter_mut().zip(vectors) {
        // SAFETY: four blocks are 64 bytes; unaligned stores are allowed.
        unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), swap_bytes(vector)) };
    }
}
