//! Sixteen SM3 compressions side by side in AVX-512 registers.

use super::BLOCK_LENGTH;
use super::rounds::compress_lanes;
use std::arch::x86_64::*;

/// Messages side by side.
pub const LANES: usize = 16;

/// Compress `count` blocks of every lane. Each lane's data must hold that many; `state[word][lane]`.
///
/// # Safety
/// The processor has AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
pub unsafe fn compress(state: &mut [[u32; LANES]; 8], data: &[&[u8]; LANES], count: usize) {
    for lane in data {
        assert!(lane.len() >= count * BLOCK_LENGTH);
    }
    // Loops here, no `map`: a closure called by code without these features would not be inlined.
    let mut vectors = [_mm512_setzero_si512(); 8];
    for (vector, row) in vectors.iter_mut().zip(state.iter()) {
        *vector = load(row);
    }
    for block in 0..count {
        let mut w = [_mm512_setzero_si512(); 16];
        for (row, lane) in w.iter_mut().zip(data) {
            // SAFETY: the lane holds `count` blocks (asserted above), and unaligned loads are allowed.
            *row = unsafe { _mm512_loadu_si512(lane.as_ptr().add(block * BLOCK_LENGTH).cast()) };
        }
        let mut w = transpose(w);
        compress_lanes!(vectors, w);
    }
    for (row, vector) in state.iter_mut().zip(vectors) {
        // SAFETY: a row is 64 bytes; unaligned stores are allowed.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), vector) };
    }
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

/// Rows are the sixteen big-endian words of one lane; the result's rows are one word of sixteen lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let swap = _mm512_broadcast_i32x4(_mm_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
    ));
    let mut rows = rows;
    for row in &mut rows {
        *row = _mm512_shuffle_epi8(*row, swap);
    }
    // 4x4 transpositions inside the 128-bit quarters…
    for four in rows.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *four;
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *four = [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    // …then a 4x4 transposition of the quarters.
    let mut words = rows;
    for i in 0..4 {
        let [a, b, c, d] = [rows[i], rows[4 + i], rows[8 + i], rows[12 + i]];
        let (ab_low, ab_high) = (
            _mm512_shuffle_i32x4::<0x44>(a, b),
            _mm512_shuffle_i32x4::<0xee>(a, b),
        );
        let (cd_low, cd_high) = (
            _mm512_shuffle_i32x4::<0x44>(c, d),
            _mm512_shuffle_i32x4::<0xee>(c, d),
        );
        words[i] = _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low);
        words[4 + i] = _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low);
        words[8 + i] = _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high);
        words[12 + i] = _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high);
    }
    words
}
