//! GHASH with carry-less multiplication instructions, up to 32 blocks for one reduction.

use super::Block;
use super::ghash::AGGREGATED;
use std::arch::x86_64::*;

/// `state` after `blocks`. `powers` are H^32 … H^1.
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

/// The code over `aad` and `ciphertext`, each padded with zeros to whole blocks, and `lengths`: four blocks in a vector, one
/// reduction for up to 32 of them.
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,vpclmulqdq")]
pub fn code(powers: &[u128; AGGREGATED], aad: &[u8], ciphertext: &[u8], lengths: u128) -> u128 {
    let state = absorb_text(powers, 0, aad, None);
    absorb_text(powers, state, ciphertext, Some(lengths))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,vpclmulqdq")]
fn absorb_text(
    powers: &[u128; AGGREGATED],
    mut state: u128,
    mut text: &[u8],
    mut last: Option<u128>,
) -> u128 {
    loop {
        let left = text.len().div_ceil(16) + usize::from(last.is_some());
        if left == 0 {
            return state;
        }
        let blocks = left.min(AGGREGATED);
        let (part, rest) = text.split_at(text.len().min(16 * blocks));
        let mut sum = Sum::new(state);
        let mut powers = &powers[AGGREGATED - blocks..];
        let (vectors, ending) = part.as_chunks::<64>();
        for vector in vectors {
            let (first, after) = powers.split_at(4);
            sum.add(load(vector), load_powers(first));
            powers = after;
        }
        if !ending.is_empty() {
            let (first, after) = powers.split_at(ending.len().div_ceil(16));
            sum.add(load(ending), load_powers(first));
            powers = after;
        }
        text = rest;
        if let (1, Some(block)) = (powers.len(), last) {
            sum.add(_mm512_zextsi128_si512(vector(block)), load_powers(powers));
            last = None;
        }
        state = sum.reduce();
    }
}

/// Products not yet reduced, and the state to be added to the first block.
struct Sum {
    state: __m512i,
    products: [__m512i; 3],
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(state: u128) -> Self {
        Self {
            state: _mm512_zextsi128_si512(vector(state)),
            products: [_mm512_setzero_si512(); 3],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn add(&mut self, blocks: __m512i, powers: __m512i) {
        let x = _mm512_xor_si512(blocks, self.state);
        self.state = _mm512_setzero_si512();
        let [low, middle, high] = self.products;
        self.products = [
            _mm512_xor_si512(low, _mm512_clmulepi64_epi128::<0x00>(x, powers)),
            _mm512_ternarylogic_epi64::<0x96>(
                middle,
                _mm512_clmulepi64_epi128::<0x01>(x, powers),
                _mm512_clmulepi64_epi128::<0x10>(x, powers),
            ),
            _mm512_xor_si512(high, _mm512_clmulepi64_epi128::<0x11>(x, powers)),
        ];
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx2,pclmulqdq")]
    fn reduce(self) -> u128 {
        let [low, middle, high] = self.products;
        reduce([fold(low), fold(middle), fold(high)])
    }
}

/// Up to four blocks, the last one padded with zeros, as numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn load(bytes: &[u8]) -> __m512i {
    assert!((1..=64).contains(&bytes.len()));
    let mask = u64::MAX >> (64 - bytes.len());
    // SAFETY: the masked load reads the bytes of the slice and no others; unaligned loads are allowed.
    let blocks = unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast()) };
    let reverse = _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    _mm512_shuffle_epi8(blocks, _mm512_broadcast_i32x4(reverse))
}

/// Up to four powers, then zeros.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn load_powers(powers: &[u128]) -> __m512i {
    assert!((1..=4).contains(&powers.len()));
    let mask = 0xff >> (8 - 2 * powers.len());
    // SAFETY: the masked load reads the powers of the slice and no others; unaligned loads are allowed.
    unsafe { _mm512_maskz_loadu_epi64(mask, powers.as_ptr().cast()) }
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
