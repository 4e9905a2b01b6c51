//! The SM4 rounds on the AES instructions of x86-64, constant-time like them.
//!
//! The S-boxes of SM4 and AES both invert in GF(2^8), in two descriptions of the field; a linear map leads from one to
//! the other. So S_sm4 = Post ∘ S_aes ∘ Pre with affine Pre and Post, each done as two 16-entry shuffles, one for each
//! half of a byte. The values were computed from the two field polynomials and are tested on all 256 bytes.

use super::Words;
use std::arch::x86_64::*;

const PRE_LOW: [u8; 16] = [
    0x3e, 0xb2, 0x0e, 0x82, 0xbb, 0x37, 0x8b, 0x07, 0xa1, 0x2d, 0x91, 0x1d, 0x24, 0xa8, 0x14, 0x98,
];
const PRE_HIGH: [u8; 16] = [
    0x00, 0xdc, 0x2e, 0xf2, 0xc5, 0x19, 0xeb, 0x37, 0x08, 0xd4, 0x26, 0xfa, 0xcd, 0x11, 0xe3, 0x3f,
];
const POST_LOW: [u8; 16] = [
    0x6c, 0xd4, 0xa6, 0x1e, 0x52, 0xea, 0x98, 0x20, 0x0b, 0xb3, 0xc1, 0x79, 0x35, 0x8d, 0xff, 0x47,
];
const POST_HIGH: [u8; 16] = [
    0x00, 0xe0, 0x50, 0xb0, 0x9d, 0x7d, 0xcd, 0x2d, 0xc0, 0x20, 0x90, 0x70, 0x5d, 0xbd, 0x0d, 0xed,
];
/// Undoes the ShiftRows that comes with the instruction.
const UNSHIFT_ROWS: [u8; 16] = [0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3];
/// Rotations of each 32-bit word by 8, 16 and 24 bits to the left.
const ROTATE_8: [u8; 16] = [3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14];
const ROTATE_16: [u8; 16] = [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13];
const ROTATE_24: [u8; 16] = [1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12];

/// Run the 32 rounds, or answer false when this processor lacks the instructions. `state` as in the portable twin.
pub fn rounds(round_keys: &[u32; 32], state: &mut [Words; 4]) -> bool {
    let available = is_available();
    if available {
        // SAFETY: the processor has both features; the function is otherwise safe Rust.
        #[allow(unsafe_code)]
        unsafe {
            rounds_unchecked(round_keys, state);
        }
    }
    available
}

/// The S-box on 16 bytes, or `None` when this processor lacks the instructions.
pub fn substitute(words: Words) -> Option<Words> {
    // SAFETY: as above.
    #[allow(unsafe_code)]
    is_available().then(|| unsafe { substitute_unchecked(words) })
}

fn is_available() -> bool {
    is_x86_feature_detected!("aes") && is_x86_feature_detected!("ssse3")
}

#[target_feature(enable = "aes,ssse3")]
fn rounds_unchecked(round_keys: &[u32; 32], state: &mut [Words; 4]) {
    let mut x = [
        load(state[0]),
        load(state[1]),
        load(state[2]),
        load(state[3]),
    ];
    for keys in round_keys.as_chunks::<4>().0 {
        x[0] = round(x[0], x[1], x[2], x[3], keys[0]);
        x[1] = round(x[1], x[2], x[3], x[0], keys[1]);
        x[2] = round(x[2], x[3], x[0], x[1], keys[2]);
        x[3] = round(x[3], x[0], x[1], x[2], keys[3]);
    }
    for (words, x) in state.iter_mut().zip(x) {
        *words = store(x);
    }
}

#[target_feature(enable = "aes,ssse3")]
fn substitute_unchecked(words: Words) -> Words {
    store(substitute_vector(load(words)))
}

#[inline]
#[target_feature(enable = "aes,ssse3")]
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
#[target_feature(enable = "aes,ssse3")]
fn substitute_vector(bytes: __m128i) -> __m128i {
    let pre = shuffle(affine(bytes, PRE_LOW, PRE_HIGH), UNSHIFT_ROWS);
    affine(
        _mm_aesenclast_si128(pre, _mm_setzero_si128()),
        POST_LOW,
        POST_HIGH,
    )
}

#[inline]
#[target_feature(enable = "aes,ssse3")]
fn affine(bytes: __m128i, low: [u8; 16], high: [u8; 16]) -> __m128i {
    let nibbles = _mm_set1_epi8(15);
    let low_half = _mm_and_si128(bytes, nibbles);
    let high_half = _mm_and_si128(_mm_srli_epi32::<4>(bytes), nibbles);
    _mm_xor_si128(
        _mm_shuffle_epi8(vector(low), low_half),
        _mm_shuffle_epi8(vector(high), high_half),
    )
}

#[inline]
#[target_feature(enable = "aes,ssse3")]
fn shuffle(bytes: __m128i, places: [u8; 16]) -> __m128i {
    _mm_shuffle_epi8(bytes, vector(places))
}

#[inline]
#[target_feature(enable = "sse2")]
fn vector(bytes: [u8; 16]) -> __m128i {
    let halves = u128::from_le_bytes(bytes);
    _mm_set_epi64x((halves >> 64) as i64, halves as i64)
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(words: Words) -> __m128i {
    let [a, b, c, d] = words.map(|word| word as i32);
    _mm_setr_epi32(a, b, c, d)
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(vector: __m128i) -> Words {
    let low = _mm_cvtsi128_si64(vector) as u64;
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(vector, vector)) as u64;
    [
        low as u32,
        (low >> 32) as u32,
        high as u32,
        (high >> 32) as u32,
    ]
}
