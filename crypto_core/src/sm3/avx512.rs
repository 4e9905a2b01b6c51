//! Sixteen SM3 compressions side by side in AVX-512 registers.

use super::rounds::{SharedBlock, compress_lanes, compress_shared};
use super::{BLOCK_LENGTH, DIGEST_LENGTH};
use std::arch::x86_64::*;

/// Messages side by side.
pub const LANES: usize = 16;

/// Compress `count` blocks of every lane, and then the one that all share. Each lane's data must hold that many;
/// `state[word][lane]`.
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
pub fn compress(
    state: &mut [[u32; LANES]; 8],
    data: &[&[u8]; LANES],
    count: usize,
    end: Option<&SharedBlock>,
) {
    // Loops here, no `map`: a closure called by code without these features would not be inlined.
    let mut vectors = [_mm512_setzero_si512(); 8];
    for (vector, row) in vectors.iter_mut().zip(state.iter()) {
        *vector = load(row);
    }
    for block in 0..count {
        let mut w = [_mm512_setzero_si512(); 16];
        let mut blocks = [&[0; BLOCK_LENGTH]; LANES];
        for (bytes, lane) in blocks.iter_mut().zip(data) {
            *bytes = &lane.as_chunks().0[block];
        }
        compress_lanes!(vectors, w, half => eight_words(&blocks, half));
    }
    if let Some(end) = end {
        compress_shared!(vectors, end);
    }
    for (row, vector) in state.iter_mut().zip(vectors) {
        // SAFETY: a row is 64 bytes; unaligned stores are allowed.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), vector) };
    }
}

/// The digest of each lane, whose state this is.
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
pub fn digests(state: &[[u32; LANES]; 8]) -> [[u8; DIGEST_LENGTH]; LANES] {
    // Quarter q of vector i: the first, and the last, four words of lane 4q + i.
    let mut halves = [[_mm512_setzero_si512(); 4]; 2];
    for (half, rows) in halves.iter_mut().zip(state.as_chunks::<4>().0) {
        for (vector, row) in half.iter_mut().zip(rows) {
            *vector = swap_bytes(load(row));
        }
        *half = transpose(*half);
    }
    let [first, last] = halves;
    let mut digests = [[0; DIGEST_LENGTH]; LANES];
    for i in 0..4 {
        let pairs = [
            _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
            _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15),
        ];
        for (pair, places) in pairs.into_iter().enumerate() {
            let both = _mm512_permutex2var_epi64(first[i], places, last[i]);
            let lane = 8 * pair + i;
            let (lower, upper) = (
                _mm512_castsi512_si256(both),
                _mm512_extracti64x4_epi64::<1>(both),
            );
            // SAFETY: a digest is 32 bytes; unaligned stores are allowed.
            unsafe { _mm256_storeu_si256(digests[lane].as_mut_ptr().cast(), lower) };
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(digests[lane + 4].as_mut_ptr().cast(), upper) };
        }
    }
    digests
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn load(row: &[u32; LANES]) -> __m512i {
    // SAFETY: a row is 64 bytes; unaligned loads are allowed.
    unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor(a: __m512i, b: __m512i) -> __m512i {
    _mm512_xor_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn majority(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xe8>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn choose(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xca>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rol<const BITS: i32>(x: __m512i) -> __m512i {
    _mm512_rol_epi32::<BITS>(x)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn set1(word: u32) -> __m512i {
    _mm512_set1_epi32(word as i32)
}

/// Reverses the bytes of each word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn swap_bytes(vector: __m512i) -> __m512i {
    let places = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    _mm512_shuffle_epi8(vector, _mm512_broadcast_i32x4(places))
}

/// The first (`half` 0) or the last eight big-endian words of each block; the result's rows are one word of sixteen lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn eight_words(blocks: &[&[u8; BLOCK_LENGTH]; LANES], half: usize) -> [__m512i; 8] {
    // Two lanes in a vector, put together while loading.
    let mut pairs = [_mm512_setzero_si512(); 8];
    for (i, pair) in pairs.iter_mut().enumerate() {
        let first = i % 4 + i / 4 * 8;
        let load = |lane: usize| {
            let bytes = &blocks[lane].as_chunks::<32>().0[half];
            // SAFETY: 32 bytes; unaligned loads are allowed.
            unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
        };
        let both = _mm512_castsi256_si512(load(first));
        let both = _mm512_inserti64x4::<1>(both, load(first + 4));
        *pair = swap_bytes(both);
    }
    // Quarters of lanes i, i + 4, i + 8 and i + 12, then a 4x4 transposition inside each quarter.
    let (mut lower, mut upper) = ([_mm512_setzero_si512(); 4], [_mm512_setzero_si512(); 4]);
    for i in 0..4 {
        lower[i] = _mm512_shuffle_i32x4::<0x88>(pairs[i], pairs[i + 4]);
        upper[i] = _mm512_shuffle_i32x4::<0xdd>(pairs[i], pairs[i + 4]);
    }
    let [a, b, c, d] = transpose(lower);
    let [e, f, g, h] = transpose(upper);
    [a, b, c, d, e, f, g, h]
}

/// 4x4 transposition of the words in each 128-bit quarter.
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
