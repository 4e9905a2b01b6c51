//! One message at a time on x86-64: the message words four at a time in a vector, the rounds on the general registers.

use super::BLOCK_LENGTH;
use super::rounds::ROUND_CONSTANTS;
use std::arch::asm;
use std::arch::x86_64::*;

/// A sum the compiler may not take apart: it would add the late operand first, and the rounds wait for nothing else.
#[inline(always)]
#[allow(unsafe_code)]
fn summed(mut sum: u32) -> u32 {
    // SAFETY: no instruction at all; only a comment that names the register.
    unsafe { asm!("/* {0:e} */", inout(reg) sum, options(pure, nomem, nostack, preserves_flags)) };
    sum
}

/// One round (clause 5.3.3), written so that the eight registers only change names; `$w` is W_j and `$x` W_j ^ W_(j+4).
macro_rules! round {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $j:expr, $w:expr, $x:expr, $ff:ident, $gg:ident) => {
        let rotated = $a.rotate_left(12);
        let ss1 = summed(rotated.wrapping_add(ROUND_CONSTANTS[$j]))
            .wrapping_add($e)
            .rotate_left(7);
        let tt1 = $ff($a, $b, $c)
            .wrapping_add($d.wrapping_add($x))
            .wrapping_add(ss1 ^ rotated);
        let tt2 = $gg($e, $f, $g)
            .wrapping_add($h.wrapping_add($w))
            .wrapping_add(ss1);
        $b = $b.rotate_left(9);
        $d = tt1;
        $f = $f.rotate_left(19);
        $h = super::p0(tt2);
    };
}

/// A function that takes in whole blocks with the given instructions, and the two operations in which they differ.
macro_rules! compress {
    ($name:ident, $features:literal, $xor3:ident, $rol:ident) => {
        /// Take in whole blocks.
        // The last expansion of each vector lies in a branch not taken.
        #[allow(unused_assignments)]
        #[target_feature(enable = $features)]
        pub fn $name(state: &mut [u32; 8], blocks: &[[u8; BLOCK_LENGTH]]) {
            /// W_j … W_(j+3) out of the sixteen words before them (clause 5.3.2). W_(j+3) needs W_j: it comes in at the end.
            #[inline]
            #[target_feature(enable = $features)]
            fn expand(w0: __m128i, w4: __m128i, w8: __m128i, w12: __m128i) -> __m128i {
                let permute = |x| $xor3(x, $rol::<15>(x), $rol::<23>(x));
                let late = $rol::<15>(_mm_srli_si128::<4>(w12));
                let early = _mm_xor_si128(
                    $rol::<7>(_mm_alignr_epi8::<12>(w4, w0)),
                    _mm_alignr_epi8::<8>(w12, w8),
                );
                let words =
                    _mm_xor_si128(permute($xor3(w0, _mm_alignr_epi8::<12>(w8, w4), late)), early);
                let missing = $rol::<15>(_mm_slli_si128::<12>(words));
                _mm_xor_si128(words, permute(missing))
            }

            let swap = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
            let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
            let majority = |x: u32, y: u32, z: u32| (x & y) | (z & (x ^ y));
            let choose = |x: u32, y: u32, z: u32| (x & y) | (!x & z);
            for block in blocks {
                let mut words = [_mm_setzero_si128(); 4];
                for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
                    *words = _mm_shuffle_epi8(load(bytes), swap);
                }
                let [mut w0, mut w4, mut w8, mut w12] = words;
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
                let (mut w, mut x) = ([0; 4], [0; 4]);
                macro_rules! four_rounds {
                    ($j:expr, $w0:ident $w4:ident $w8:ident $w12:ident, $ff:ident, $gg:ident) => {
                        store(&mut w, $w0);
                        store(&mut x, _mm_xor_si128($w0, $w4));
                        // Out of memory, where an addition takes its operand for nothing; out of a vector it would cost two steps.
                        let (w, x) = (std::hint::black_box(&w), std::hint::black_box(&x));
                        if $j < 52 {
                            $w0 = expand($w0, $w4, $w8, $w12);
                        }
                        round!(a b c d e f g h, $j, w[0], x[0], $ff, $gg);
                        round!(d a b c h e f g, $j + 1, w[1], x[1], $ff, $gg);
                        round!(c d a b g h e f, $j + 2, w[2], x[2], $ff, $gg);
                        round!(b c d a f g h e, $j + 3, w[3], x[3], $ff, $gg);
                    };
                }
                macro_rules! sixteen_rounds {
                    ($j:expr, $ff:ident, $gg:ident) => {
                        four_rounds!($j, w0 w4 w8 w12, $ff, $gg);
                        four_rounds!($j + 4, w4 w8 w12 w0, $ff, $gg);
                        four_rounds!($j + 8, w8 w12 w0 w4, $ff, $gg);
                        four_rounds!($j + 12, w12 w0 w4 w8, $ff, $gg);
                    };
                }
                sixteen_rounds!(0, parity, parity);
                sixteen_rounds!(16, majority, choose);
                sixteen_rounds!(32, majority, choose);
                sixteen_rounds!(48, majority, choose);
                for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                    *word ^= new;
                }
            }
        }
    };
}
compress!(
    compress_avx512,
    "avx512f,avx512vl,bmi1,bmi2",
    xor3_avx512,
    rol_avx512
);
compress!(compress_avx2, "avx2,bmi1,bmi2", xor3_avx2, rol_avx2);

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn xor3_avx512(a: __m128i, b: __m128i, c: __m128i) -> __m128i {
    _mm_ternarylogic_epi32::<0x96>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn rol_avx512<const BITS: i32>(x: __m128i) -> __m128i {
    _mm_rol_epi32::<BITS>(x)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor3_avx2(a: __m128i, b: __m128i, c: __m128i) -> __m128i {
    _mm_xor_si128(a, _mm_xor_si128(b, c))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rol_avx2<const BITS: i32>(x: __m128i) -> __m128i {
    let (bits, rest) = (_mm_cvtsi32_si128(BITS), _mm_cvtsi32_si128(32 - BITS));
    _mm_or_si128(_mm_sll_epi32(x, bits), _mm_srl_epi32(x, rest))
}

#[inline]
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes; unaligned loads are allowed.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)]
fn store(words: &mut [u32; 4], vector: __m128i) {
    // SAFETY: four words are 16 bytes; unaligned stores are allowed.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), vector) };
}
