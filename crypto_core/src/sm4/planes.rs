//! The SM4 rounds over 64 blocks byte by byte, with GFNI in AVX-512 registers: register p holds byte p of every block.
//!
//! The rotations of the linear map L by whole bytes then only rename registers, and what is left of it joins the S-box.
//! Words are kept in other coordinates, `IN` times each byte, so that the S-box needs nothing in front of the inversion;
//! and with a mask added, chosen so that three of them added are the round key. One round of 64 blocks takes 24 instructions.

use super::gfni::{POST, PRE, matrix, transpose};
use super::{BLOCK_LENGTH, Block};
use std::arch::x86_64::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Blocks side by side.
pub const LANES: usize = 64;

/// Byte p of every lane's block in vector p; words from the first byte on, in fours.
pub type Planes = [__m512i; BLOCK_LENGTH];

/// Into the coordinates in which the S-box begins with the inversion, and back: the linear half of [`PRE`].
const IN: [u8; 256] = linear(&PRE);
const OUT: [u8; 256] = inverse(&IN);
/// L takes byte i, counted from the lowest, of s to `OWN`(s_i) ^ `NEXT`(s_(i+1)) ^ (`OWN` ^ `NEXT`)(s_0 ^ s_1 ^ s_2 ^ s_3),
/// with `OWN`(s) = s ^ s >> 6 and `NEXT`(s) = s ^ s << 2; here after the S-box and in the words' coordinates.
const OWN: [u8; 256] = after_inversion(6, 0);
const NEXT: [u8; 256] = after_inversion(0, 2);
/// What the constant of the S-box adds to each byte after L.
const CONSTANT: u8 = OWN[0] ^ NEXT[0];
const OWN_MATRIX: i64 = matrix(&OWN);
const NEXT_MATRIX: i64 = matrix(&NEXT);
const IN_MATRIX: i64 = matrix(&IN);
const OUT_MATRIX: i64 = matrix(&OUT);

/// The linear half of an affine map.
const fn linear(map: &[u8; 256]) -> [u8; 256] {
    let mut linear = [0; 256];
    let mut x = 0;
    while x < 256 {
        linear[x] = map[x] ^ map[0];
        x += 1;
    }
    linear
}

const fn inverse(map: &[u8; 256]) -> [u8; 256] {
    let mut inverse = [0; 256];
    let mut x = 0;
    while x < 256 {
        inverse[map[x] as usize] = x as u8;
        x += 1;
    }
    inverse
}

/// `IN`(s ^ s >> `right` ^ s << `left`) for s = [`POST`] of each byte, where one of the two is no shift and left out.
const fn after_inversion(right: u32, left: u32) -> [u8; 256] {
    let mut map = [0; 256];
    let mut x = 0;
    while x < 256 {
        let s = POST[x];
        let shifted = if right > 0 { s >> right } else { s << left };
        map[x] = IN[(s ^ shifted) as usize];
        x += 1;
    }
    map
}

/// The round keys for whole vectors: each byte four times, for a broadcast. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PlaneKeys {
    /// The mask of the last of the first four words; the other three have none.
    first: [u32; 4],
    /// What round i adds to its new word: the masks of word i and of word i + 4, and the constant of L and S-box.
    rounds: [[u32; 4]; 32],
    /// The masks of the last four words.
    last: [[u32; 4]; 4],
}

impl PlaneKeys {
    /// Keys that are not used, where the processor lacks the instructions.
    pub const UNUSED: Self = Self {
        first: [0; 4],
        rounds: [[0; 4]; 32],
        last: [[0; 4]; 4],
    };

    /// Prepare the round keys of one direction.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    pub fn new(round_keys: &[u32; 32]) -> Self {
        let mut keys = *round_keys;
        into_coordinates(&mut keys);
        // Masks of words i + 1, i + 2 and i + 3 add up to round key i and the constant before the inversion.
        let mut masks = [0; 36];
        for (i, key) in keys.iter().enumerate() {
            masks[i + 3] = key ^ bytes(PRE[0]) ^ masks[i + 1] ^ masks[i + 2];
        }
        // The last word's mask is in no sum.
        let mut prepared = Self::UNUSED;
        prepared.first = broadcast(masks[3]);
        for (i, round) in prepared.rounds.iter_mut().enumerate() {
            *round = broadcast(masks[i] ^ masks[i + 4] ^ bytes(CONSTANT));
        }
        for (last, mask) in prepared.last.iter_mut().zip(&masks[32..]) {
            *last = broadcast(*mask);
        }
        masks.zeroize();
        keys.zeroize();
        prepared
    }
}

const fn bytes(byte: u8) -> u32 {
    u32::from_ne_bytes([byte; 4])
}

/// The bytes of a word from the highest on, each four times.
fn broadcast(word: u32) -> [u32; 4] {
    word.to_be_bytes().map(bytes)
}

/// `IN` of every byte.
#[inline]
#[target_feature(enable = "avx512f,gfni")]
#[allow(unsafe_code)]
fn into_coordinates(keys: &mut [u32; 32]) {
    for keys in keys.as_chunks_mut::<16>().0 {
        // SAFETY: sixteen words are 64 bytes; unaligned loads are allowed.
        let vector = unsafe { _mm512_loadu_si512(keys.as_ptr().cast()) };
        let vector = _mm512_gf2p8affine_epi64_epi8::<0>(vector, _mm512_set1_epi64(IN_MATRIX));
        // SAFETY: the same 64 bytes; unaligned stores are allowed.
        unsafe { _mm512_storeu_si512(keys.as_mut_ptr().cast(), vector) };
    }
}

/// Pass the blocks of N times 64 lanes through the 32 rounds and the reversal of the words. Two groups take little longer
/// than one: each waits for its own instructions.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
pub fn encrypt<const N: usize>(keys: &PlaneKeys, groups: &mut [Planes; N]) {
    let mut words = [[[_mm512_setzero_si512(); 4]; 4]; N];
    for (words, planes) in words.iter_mut().zip(groups.iter()) {
        for (word, planes) in words.iter_mut().zip(planes.as_chunks::<4>().0) {
            *word = affine::<IN_MATRIX>(planes);
        }
        add(&mut words[3], &keys.first);
    }
    for keys in keys.rounds.as_chunks::<4>().0 {
        for [a, b, c, d] in &mut words {
            round(a, b, c, d, &keys[0]);
        }
        for [a, b, c, d] in &mut words {
            round(b, c, d, a, &keys[1]);
        }
        for [a, b, c, d] in &mut words {
            round(c, d, a, b, &keys[2]);
        }
        for [a, b, c, d] in &mut words {
            round(d, a, b, c, &keys[3]);
        }
    }
    for (words, planes) in words.iter_mut().zip(groups) {
        let planes = planes.as_chunks_mut::<4>().0.iter_mut();
        for (planes, (word, mask)) in planes.zip(words.iter_mut().zip(&keys.last).rev()) {
            add(word, mask);
            *planes = affine::<OUT_MATRIX>(word);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,gfni")]
fn affine<const MATRIX: i64>(word: &[__m512i; 4]) -> [__m512i; 4] {
    let mut mapped = *word;
    for plane in &mut mapped {
        *plane = _mm512_gf2p8affine_epi64_epi8::<0>(*plane, _mm512_set1_epi64(MATRIX));
    }
    mapped
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(word: &mut [__m512i; 4], mask: &[u32; 4]) {
    for (plane, byte) in word.iter_mut().zip(mask) {
        *plane = _mm512_xor_si512(*plane, _mm512_set1_epi32(*byte as i32));
    }
}

/// One round: `word` becomes the new word. Planes are counted from the highest byte of a word on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn round(
    word: &mut [__m512i; 4],
    a: &[__m512i; 4],
    b: &[__m512i; 4],
    c: &[__m512i; 4],
    key: &[u32; 4],
) {
    let mut own = [_mm512_setzero_si512(); 4];
    let mut next = own;
    for i in 0..4 {
        let mixed = xor3(a[i], b[i], c[i]);
        own[i] = _mm512_gf2p8affineinv_epi64_epi8::<0>(mixed, _mm512_set1_epi64(OWN_MATRIX));
        next[i] = _mm512_gf2p8affineinv_epi64_epi8::<0>(mixed, _mm512_set1_epi64(NEXT_MATRIX));
    }
    let sum = xor3(own[0], next[0], own[1]);
    let sum = xor3(sum, next[1], own[2]);
    let sum = xor3(sum, next[2], _mm512_xor_si512(own[3], next[3]));
    for i in 0..4 {
        // The sum comes last, so that the rest can be done before it is ready.
        let early = xor3(word[i], _mm512_set1_epi32(key[i] as i32), own[i]);
        word[i] = xor3(early, next[(i + 3) % 4], sum);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

/// Sixteen vectors of four blocks each to planes, and planes to blocks: a transposition of words, of bytes and of words again.
/// Its own inverse; which lane a block comes to lie in does not matter.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn turn(rows: &Planes) -> Planes {
    let places = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let places = _mm512_broadcast_i32x4(places);
    let mut turned = [_mm512_setzero_si512(); BLOCK_LENGTH];
    for (i, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
        for (j, words) in transpose(*rows).into_iter().enumerate() {
            turned[4 * j + i] = _mm512_shuffle_epi8(words, places);
        }
    }
    for four in turned.as_chunks_mut::<4>().0 {
        *four = transpose(*four);
    }
    turned
}

/// Pass N groups of 64 blocks through the cipher, in place.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
pub fn apply<const N: usize>(keys: &PlaneKeys, groups: &mut [[Block; LANES]]) {
    let mut planes = [[_mm512_setzero_si512(); BLOCK_LENGTH]; N];
    for (planes, group) in planes.iter_mut().zip(groups.iter()) {
        *planes = turn(&load(group));
    }
    encrypt(keys, &mut planes);
    for (planes, group) in planes.iter().zip(groups) {
        store(group, &turn(planes));
    }
}

// Loops here, no `map`: a closure called by code without these features would not be inlined.

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
pub fn load(group: &[Block; LANES]) -> Planes {
    let mut rows = [_mm512_setzero_si512(); BLOCK_LENGTH];
    for (row, blocks) in rows.iter_mut().zip(group.as_chunks::<4>().0) {
        // SAFETY: four blocks are 64 bytes; unaligned loads are allowed.
        *row = unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) };
    }
    rows
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
pub fn store(group: &mut [Block; LANES], rows: &Planes) {
    for (blocks, row) in group.as_chunks_mut::<4>().0.iter_mut().zip(rows) {
        // SAFETY: four blocks are 64 bytes; unaligned stores are allowed.
        unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), *row) };
    }
}
