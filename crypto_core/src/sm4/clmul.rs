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
            let x = number(u128::from_be_bytes(*block) ^ std::mem::take(&mut state));
            let h = number(*power);
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
    let state = match aad {
        [] => 0,
        aad => absorb_text(powers, 0, aad, None),
    };
    absorb_text(powers, state, ciphertext, Some(lengths))
}

/// Fill `sealed` with `text`, to which the key stream `keys` is added, and the tag: `mask` and the code over `aad`, that sum and `lengths`.
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,vpclmulqdq")]
#[allow(unsafe_code)]
pub fn seal(
    powers: &[u128; AGGREGATED],
    aad: &[u8],
    text: &[u8],
    (mask, keys): (&Block, &[Block]),
    lengths: u128,
    sealed: &mut [u8],
) {
    let state = match aad {
        [] => 0,
        aad => absorb_text(powers, 0, aad, None),
    };
    let keys = &keys.as_flattened()[..text.len()];
    let (ciphertext, tag) = sealed.split_at_mut(text.len());
    let (texts, text) = text.as_chunks::<VECTOR>();
    let (keys, key) = keys.as_chunks::<VECTOR>();
    let (ciphertexts, ciphertext) = ciphertext.as_chunks_mut::<VECTOR>();
    let whole = |i: usize| {
        let sum = _mm512_xor_si512(load(&texts[i]), load(&keys[i]));
        store(&mut ciphertexts[i], sum);
        reverse(sum)
    };
    let rest = || {
        let sum = _mm512_xor_si512(load(text), load(key));
        store(ciphertext, sum);
        // What lies behind the end of the text is zero in both.
        reverse(sum)
    };
    let lengths = Some(lengths);
    let code = absorb_vectors(
        powers,
        state,
        (texts.len(), text.len()),
        lengths,
        whole,
        rest,
    );
    let tag: &mut Block = tag.as_mut_array().expect("a tag is one block");
    *tag = (u128::from_ne_bytes(*mask) ^ code.swap_bytes()).to_ne_bytes();
}

/// Bytes of a vector.
const VECTOR: usize = 64;

/// `state` after a text and one `last` block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,vpclmulqdq")]
fn absorb_text(powers: &[u128; AGGREGATED], state: u128, text: &[u8], last: Option<u128>) -> u128 {
    let (texts, text) = text.as_chunks::<VECTOR>();
    let whole = |i: usize| reverse(load(&texts[i]));
    let rest = || reverse(load(text));
    absorb_vectors(powers, state, (texts.len(), text.len()), last, whole, rest)
}

/// `state` after a text of so many `whole` vectors and a `rest` of so many bytes, and one `last` block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,vpclmulqdq")]
fn absorb_vectors(
    powers: &[u128; AGGREGATED],
    mut state: u128,
    (vectors, bytes): (usize, usize),
    mut last: Option<u128>,
    mut whole: impl FnMut(usize) -> __m512i,
    mut rest: impl FnMut() -> __m512i,
) -> u128 {
    let mut done = 0;
    let mut bytes_left = bytes;
    loop {
        let ending = bytes_left.div_ceil(16) + usize::from(last.is_some());
        let left = 4 * (vectors - done) + ending;
        if left == 0 {
            return state;
        }
        let mut sum = Sum::new(state);
        let powers = &powers[AGGREGATED.saturating_sub(left)..];
        let fours = powers.as_chunks::<4>().0;
        let now = fours.len().min(vectors - done);
        for four in &fours[..now] {
            sum.add(whole(done), load_powers(four));
            done += 1;
        }
        // The rest is of four blocks at most: as a last group begins with as many powers as are left, it has its place whole.
        let mut powers = &powers[4 * now..];
        if bytes_left > 0 && powers.len() >= bytes_left.div_ceil(16) {
            let (first, after) = powers.split_at(bytes_left.div_ceil(16));
            sum.add(rest(), load_powers(first));
            (powers, bytes_left) = (after, 0);
        }
        if let (0, 1, Some(block)) = (bytes_left, powers.len(), last) {
            sum.add(_mm512_zextsi128_si512(number(block)), load_powers(powers));
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
            state: _mm512_zextsi128_si512(number(state)),
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
    #[target_feature(enable = "avx512f,avx512bw,avx2,vpclmulqdq")]
    fn reduce(self) -> u128 {
        let [low, middle, high] = self.products;
        let polynomial = _mm512_set1_epi64(0xc2 << 56);
        let low = _mm512_xor_si512(low, _mm512_bslli_epi128::<8>(middle));
        let high = _mm512_xor_si512(high, _mm512_bsrli_epi128::<8>(middle));
        // As in `reduce`, for the four quarters at once.
        let x = low;
        let x = _mm512_xor_si512(
            _mm512_shuffle_epi32::<0x4e>(x),
            _mm512_clmulepi64_epi128::<0x00>(x, polynomial),
        );
        let sum = _mm512_ternarylogic_epi64::<0x96>(
            high,
            _mm512_shuffle_epi32::<0x4e>(x),
            _mm512_clmulepi64_epi128::<0x00>(x, polynomial),
        );
        from_number(fold(sum))
    }
}

/// Which bytes of a vector a slice of 1 to 64 bytes fills.
#[inline]
fn mask_of(bytes: &[u8]) -> u64 {
    assert!((1..=64).contains(&bytes.len()));
    u64::MAX >> (64 - bytes.len())
}

/// Up to 64 bytes, then zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn load(bytes: &[u8]) -> __m512i {
    if bytes.len() == 64 {
        // SAFETY: the slice has the 64 bytes; unaligned loads are allowed.
        return unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    }
    // SAFETY: the masked load reads the bytes of the slice and no others; unaligned loads are allowed.
    unsafe { _mm512_maskz_loadu_epi8(mask_of(bytes), bytes.as_ptr().cast()) }
}

/// The bytes of a vector that the slice has room for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn store(bytes: &mut [u8], vector: __m512i) {
    if bytes.len() == 64 {
        // SAFETY: the slice has the 64 bytes; unaligned stores are allowed.
        return unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) };
    }
    let mask = mask_of(bytes);
    // SAFETY: the masked store writes the bytes of the slice and no others; unaligned stores are allowed.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask, vector) };
}

/// Four blocks as numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn reverse(blocks: __m512i) -> __m512i {
    let places = _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    _mm512_shuffle_epi8(blocks, _mm512_broadcast_i32x4(places))
}

/// Up to four powers, then zeros.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn load_powers(powers: &[u128]) -> __m512i {
    if powers.len() == 4 {
        // SAFETY: four powers are 64 bytes; unaligned loads are allowed.
        return unsafe { _mm512_loadu_si512(powers.as_ptr().cast()) };
    }
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
    from_number(_mm_xor_si128(step(step(low)), high))
}

#[inline]
#[target_feature(enable = "avx2")]
fn from_number(x: __m128i) -> u128 {
    let lower = _mm_cvtsi128_si64(x) as u64;
    let upper = _mm_extract_epi64::<1>(x) as u64;
    u128::from(upper) << 64 | u128::from(lower)
}

#[inline]
#[target_feature(enable = "sse2")]
fn number(x: u128) -> __m128i {
    _mm_set_epi64x((x >> 64) as i64, x as i64)
}
