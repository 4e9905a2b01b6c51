//! The SM4 rounds with GFNI in AVX-512 registers: few blocks word by word here, 64 of them in `planes`.
//!
//! The S-boxes of SM4 and AES both invert in GF(2^8), in two descriptions of the field that a linear map connects, so
//! S_sm4 = affine ∘ inverse_aes ∘ affine: one GF2P8AFFINEQB and one GF2P8AFFINEINVQB. The two maps are derived, at
//! compile time, from those of `constants`.

use super::Block;
use super::constants::{POST_HIGH, POST_LOW, PRE_HIGH, PRE_LOW};
use super::planes::{self, LANES, PlaneKeys};
use std::arch::x86_64::*;

/// Blocks of one group, in four vectors of words.
const GROUP: usize = 16;

/// S_sm4 = `POST` ∘ inverse_aes ∘ `PRE`.
pub(super) const PRE: [u8; 256] = table(PRE_LOW, PRE_HIGH);
pub(super) const POST: [u8; 256] = after_aes(table(POST_LOW, POST_HIGH));
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
pub(super) const fn matrix(map: &[u8; 256]) -> i64 {
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
pub fn apply(round_keys: &[u32; 32], plane_keys: &PlaneKeys, blocks: &mut [Block]) {
    let (pairs, rest) = blocks.as_chunks_mut::<{ 2 * LANES }>();
    for pair in pairs {
        planes::apply::<2>(plane_keys, pair.as_chunks_mut().0);
    }
    if rest.is_empty() {
        return;
    }
    let mut padded = [[0; 16]; 2 * LANES];
    padded[..rest.len()].copy_from_slice(rest);
    match rest.len() {
        count if count <= GROUP => rounds::<1>(round_keys, &mut padded.as_chunks_mut().0[..1]),
        count if count <= 2 * GROUP => rounds::<2>(round_keys, &mut padded.as_chunks_mut().0[..2]),
        // Word by word this would take longer than all 64 byte by byte.
        count if count <= LANES => {
            planes::apply::<1>(plane_keys, &mut padded.as_chunks_mut().0[..1])
        }
        _ => planes::apply::<2>(plane_keys, padded.as_chunks_mut().0),
    }
    rest.copy_from_slice(&padded[..rest.len()]);
}

/// CBC in place on the first `steps` blocks of each lane, N times 64 lanes: `states` are the blocks before, and afterwards
/// the last ones.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
pub fn chain<const N: usize>(
    keys: &PlaneKeys,
    steps: usize,
    states: &mut [[Block; LANES]; N],
    lanes: &mut [[&mut [Block]; LANES]; N],
) {
    let mut planes = [[_mm512_setzero_si512(); 16]; N];
    for (planes, states) in planes.iter_mut().zip(states.iter()) {
        *planes = planes::turn(&planes::load(states));
    }
    for step in 0..steps {
        for (planes, lanes) in planes.iter_mut().zip(lanes.iter()) {
            let mut rows = [_mm512_setzero_si512(); 16];
            for (row, lanes) in rows.iter_mut().zip(lanes.as_chunks::<4>().0) {
                let [a, b, c, d] = lanes;
                *row = join([&a[step], &b[step], &c[step], &d[step]]);
            }
            for (plane, text) in planes.iter_mut().zip(planes::turn(&rows)) {
                *plane = _mm512_xor_si512(*plane, text);
            }
        }
        planes::encrypt(keys, &mut planes);
        for (planes, lanes) in planes.iter().zip(lanes.iter_mut()) {
            for (row, lanes) in planes::turn(planes)
                .iter()
                .zip(lanes.as_chunks_mut::<4>().0)
            {
                let [a, b, c, d] = lanes;
                let blocks = [&mut a[step], &mut b[step], &mut c[step], &mut d[step]];
                split(*row, blocks);
            }
        }
    }
    for (planes, states) in planes.iter().zip(states) {
        planes::store(states, &planes::turn(planes));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn rounds<const N: usize>(round_keys: &[u32; 32], groups: &mut [[Block; GROUP]]) {
    let mut x = [[_mm512_setzero_si512(); 4]; N];
    for (x, group) in x.iter_mut().zip(groups.iter()) {
        *x = transpose(load(group));
    }
    through_rounds(round_keys, &mut x);
    for (x, group) in x.into_iter().zip(groups) {
        store(group, transpose(x));
    }
}

/// The 32 rounds and the reversal of the words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn through_rounds<const N: usize>(round_keys: &[u32; 32], x: &mut [[__m512i; 4]; N]) {
    for keys in round_keys.as_chunks::<4>().0 {
        for [a, b, c, d] in x.iter_mut() {
            *a = round(*a, *b, *c, *d, _mm512_set1_epi32(keys[0] as i32));
        }
        for [a, b, c, d] in x.iter_mut() {
            *b = round(*b, *c, *d, *a, _mm512_set1_epi32(keys[1] as i32));
        }
        for [a, b, c, d] in x.iter_mut() {
            *c = round(*c, *d, *a, *b, _mm512_set1_epi32(keys[2] as i32));
        }
        for [a, b, c, d] in x.iter_mut() {
            *d = round(*d, *a, *b, *c, _mm512_set1_epi32(keys[3] as i32));
        }
    }
    for [a, b, c, d] in x {
        (*a, *b, *c, *d) = (*d, *c, *b, *a);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn round(word: __m512i, a: __m512i, b: __m512i, c: __m512i, key: __m512i) -> __m512i {
    // The newest word, c, comes last, so that the rest can be done before it is ready.
    let mixed = _mm512_xor_si512(_mm512_ternarylogic_epi32::<0x96>(a, b, key), c);
    let pre = _mm512_gf2p8affine_epi64_epi8::<PRE_CONSTANT>(mixed, _mm512_set1_epi64(PRE_MATRIX));
    let s = _mm512_gf2p8affineinv_epi64_epi8::<POST_CONSTANT>(pre, _mm512_set1_epi64(POST_MATRIX));
    // s ^ (s <<< 24) ^ ((s ^ (s <<< 8) ^ (s <<< 16)) <<< 2)
    let sum =
        _mm512_ternarylogic_epi32::<0x96>(s, _mm512_rol_epi32::<8>(s), _mm512_rol_epi32::<16>(s));
    let second = _mm512_ternarylogic_epi32::<0x96>(word, s, _mm512_rol_epi32::<24>(s));
    _mm512_xor_si512(_mm512_rol_epi32::<2>(sum), second)
}

/// 4x4 transposition of the words in each 128-bit quarter; its own inverse.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
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

/// Four blocks of different texts in one vector.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn join(blocks: [&Block; 4]) -> __m512i {
    // SAFETY: each block is 16 bytes; unaligned loads are allowed.
    let quarter = |i: usize| unsafe { _mm_loadu_si128(blocks[i].as_ptr().cast()) };
    let joined = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(quarter(0)), quarter(1));
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(joined, quarter(2)), quarter(3))
}

/// The blocks of a vector to their texts.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn split(vector: __m512i, blocks: [&mut Block; 4]) {
    let quarters = [
        _mm512_castsi512_si128(vector),
        _mm512_extracti32x4_epi32::<1>(vector),
        _mm512_extracti32x4_epi32::<2>(vector),
        _mm512_extracti32x4_epi32::<3>(vector),
    ];
    for (block, quarter) in blocks.into_iter().zip(quarters) {
        // SAFETY: a block is 16 bytes; unaligned stores are allowed.
        unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), quarter) };
    }
}

/// Counter blocks, for each nonce as many as it says: the nonce and the numbers from `first` on, each 32 bits, big-endian.
#[target_feature(enable = "avx512f,avx512bw")]
pub fn count<'a>(
    blocks: &mut [Block],
    nonces: impl Iterator<Item = (&'a [u8; 12], usize)>,
    first: u32,
) {
    let mut rest = blocks;
    for (nonce, wanted) in nonces {
        let (blocks, after) = std::mem::take(&mut rest).split_at_mut(wanted);
        rest = after;
        count_one(blocks, nonce, first);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn count_one(blocks: &mut [Block], nonce: &[u8; 12], first: u32) {
    let mut start = [0; 16];
    start[..12].copy_from_slice(nonce);
    // SAFETY: 16 bytes; unaligned loads are allowed.
    let start = unsafe { _mm_loadu_si128(start.as_ptr().cast()) };
    let start = _mm512_broadcast_i32x4(start);
    // The byte order of the last word is turned, the others are the nonce's.
    let mut counters = _mm512_add_epi32(
        _mm512_set1_epi32(first as i32),
        _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3),
    );
    let turn = _mm_setr_epi8(
        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 15, 14, 13, 12,
    );
    let turn = _mm512_broadcast_i32x4(turn);
    let (fours, rest) = blocks.as_chunks_mut::<4>();
    for blocks in fours {
        let four = _mm512_or_si512(start, _mm512_shuffle_epi8(counters, turn));
        // SAFETY: four blocks are 64 bytes; unaligned stores are allowed.
        unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), four) };
        counters = _mm512_add_epi32(counters, _mm512_set1_epi32(4));
    }
    let four = _mm512_or_si512(start, _mm512_shuffle_epi8(counters, turn));
    let mask = (1 << (2 * rest.len())) - 1;
    // SAFETY: the masked store writes the bytes of the slice and no others; unaligned stores are allowed.
    unsafe { _mm512_mask_storeu_epi64(rest.as_mut_ptr().cast(), mask, four) };
}
