//! GHASH with carry-less multiplication instructions, up to 16 blocks for one reduction.

use super::Block;
use super::ghash::AGGREGATED;
use std::arch::x86_64::*;

/// `state` after `blocks`. `powers` are H^16 … H^1.
#[target_feature(enable = "avx2,pclmulqdq")]
pub fn absorb(powers: &[u128; AGGREGATED], mut state: u128, blocks: &[Block]) -> u128 {
    for blocks in blocks.chunks(AGGREGATED) {
        let mut sums = [_mm_setzero_si128(); 3];
        for (block, power) in blocks.iter().zip(&powers[AGGREGATED - blocks.len()..]) {
            let x = vector(u128::from_be_bytes(*block) ^ std::mem::take(&mut state));
            let h = vector(*power);
            sums = [
                _mm_xor_si128(sums[0], _mm_clmulepi64_si128::<0x00>(x, h)),
                _mm_xor_si128(
                    sums[1],
                    _mm_xor_si128(
                        _mm_clmulepi64_si128::<0x01>(x, h),
                        _mm_clmulepi64_si128::<0x10>(x, h),
                    ),
                ),
                _mm_xor_si128(sums[2], _mm_clmulepi64_si128::<0x11>(x, h)),
            ];
        }
        state = reduce(sums);
    }
    state
}

/// [`absorb`] with four blocks in a vector.
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,vpclmulqdq")]
#[allow(unsafe_code)]
pub fn absorb_wide(powers: &[u128; AGGREGATED], mut state: u128, blocks: &[Block]) -> u128 {
    let (many, rest) = blocks.as_chunks::<AGGREGATED>();
    let reverse = _mm512_broadcast_i32x4(_mm_setr_epi8(
        15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
    ));
    for blocks in many {
        let mut sums = [_mm512_setzero_si512(); 3];
        let mut first = _mm512_zextsi128_si512(vector(state));
        for (blocks, powers) in blocks
            .as_chunks::<4>()
            .0
            .iter()
            .zip(powers.as_chunks::<4>().0)
        {
            // SAFETY: four blocks are 64 bytes; unaligned loads are allowed.
            let x = unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) };
            // SAFETY: four powers are 64 bytes; unaligned loads are allowed.
            let h = unsafe { _mm512_loadu_si512(powers.as_ptr().cast()) };
            let x = _mm512_xor_si512(_mm512_shuffle_epi8(x, reverse), first);
            first = _mm512_setzero_si512();
            sums = [
                _mm512_xor_si512(sums[0], _mm512_clmulepi64_epi128::<0x00>(x, h)),
                _mm512_ternarylogic_epi64::<0x96>(
                    sums[1],
                    _mm512_clmulepi64_epi128::<0x01>(x, h),
                    _mm512_clmulepi64_epi128::<0x10>(x, h),
                ),
                _mm512_xor_si512(sums[2], _mm512_clmulepi64_epi128::<0x11>(x, h)),
            ];
        }
        state = reduce([fold(sums[0]), fold(sums[1]), fold(sums[2])]);
    }
    absorb(powers, state, rest)
}

/// The sum of the four quarters.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn fold(x: __m512i) -> __m128i {
    let half = _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
    _mm_xor_si128(
        _mm256_castsi256_si128(half),
        _mm256_extracti128_si256::<1>(half),
    )
}

/// Multiply low + middle·x^64 + high·x^128 by x^-128: twice, the lowest 64 bits are cleared by a multiple of the
/// polynomial and dropped.
#[inline]
#[target_feature(enable = "avx2,pclmulqdq")]
fn reduce([low, middle, high]: [__m128i; 3]) -> u128 {
    let polynomial = _mm_set_epi64x(0, 0xc2 << 56);
    let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
    let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
    let step = |x: __m128i| {
        _mm_xor_si128(
            _mm_shuffle_epi32::<0x4e>(x),
            _mm_clmulepi64_si128::<0x00>(x, polynomial),
        )
    };
    let sum = _mm_xor_si128(step(step(low)), high);
    let lower = _mm_cvtsi128_si64(sum) as u64;
    let upper = _mm_extract_epi64::<1>(sum) as u64;
    u128::from(upper) << 64 | u128::from(lower)
}

#[inline]
#[target_feature(enable = "sse2")]
fn vector(x: u128) -> __m128i {
    _mm_set_epi64x((x >> 64) as i64, x as i64)
}
