//! Eight SM3 compressions side by side in AVX2 registers.

use super::BLOCK_LENGTH;
use super::rounds::{SharedBlock, compress_lanes, compress_shared};
use std::arch::x86_64::*;

/// Messages side by side.
pub const LANES: usize = 8;

/// Compress `count` blocks of every lane, and then the one that all share. Each lane's data must hold that many;
/// `state[word][lane]`.
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)]
pub fn compress(
    state: &mut [[u32; LANES]; 8],
    data: &[&[u8]; LANES],
    count: usize,
    end: Option<&SharedBlock>,
) {
    // Loops here, no `map`: a closure called by code without these features would not be inlined.
    let mut vectors = [_mm256_setzero_si256(); 8];
    for (vector, row) in vectors.iter_mut().zip(state.iter()) {
        *vector = load(row);
    }
    for block in 0..count {
        let mut w = [_mm256_setzero_si256(); 16];
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
        // SAFETY: a row is 32 bytes; unaligned stores are allowed.
        unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), vector) };
    }
}

/// The first (`half` 0) or the last eight big-endian words of each block; the result's rows are one word of eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)]
fn eight_words(blocks: &[&[u8; BLOCK_LENGTH]; LANES], half: usize) -> [__m256i; 8] {
    let mut rows = [_mm256_setzero_si256(); 8];
    for (row, block) in rows.iter_mut().zip(blocks) {
        let bytes = &block.as_chunks::<32>().0[half];
        // SAFETY: 32 bytes; unaligned loads are allowed.
        *row = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    }
    transpose(rows)
}

#[inline]
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)]
fn load(row: &[u32; LANES]) -> __m256i {
    // SAFETY: a row is 32 bytes; unaligned loads are allowed.
    unsafe { _mm256_loadu_si256(row.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    xor(a, xor(b, c))
}

#[inline]
#[target_feature(enable = "avx2")]
fn majority(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_or_si256(
        _mm256_and_si256(a, b),
        _mm256_and_si256(c, _mm256_or_si256(a, b)),
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    xor(c, _mm256_and_si256(a, xor(b, c)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rol<const BITS: i32>(x: __m256i) -> __m256i {
    let bits = _mm_cvtsi32_si128(BITS);
    let rest = _mm_cvtsi32_si128(32 - BITS);
    _mm256_or_si256(_mm256_sll_epi32(x, bits), _mm256_srl_epi32(x, rest))
}

#[inline]
#[target_feature(enable = "avx2")]
fn set1(word: u32) -> __m256i {
    _mm256_set1_epi32(word as i32)
}

/// Rows are eight big-endian words of one lane; the result's rows are one word of eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let swap = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
    ));
    let mut rows = rows;
    for row in &mut rows {
        *row = _mm256_shuffle_epi8(*row, swap);
    }
    for four in rows.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *four;
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        *four = [
            _mm256_unpacklo_epi64(ab_low, cd_low),
            _mm256_unpackhi_epi64(ab_low, cd_low),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    let mut words = rows;
    for i in 0..4 {
        words[i] = _mm256_permute2x128_si256::<0x20>(rows[i], rows[4 + i]);
        words[4 + i] = _mm256_permute2x128_si256::<0x31>(rows[i], rows[4 + i]);
    }
    words
}
