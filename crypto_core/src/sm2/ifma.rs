//! Eight lanes at a time with AVX-512 IFMA: five limbs of 52 bits, Montgomery form with 2^260.
//!
//! The only file of this module with `unsafe` code: loads, stores and the entry from code that may run on any processor.
//! Its portable twin is `engine::nonce_points_portable`, `Comb` and `Fe`; tests compare the two.
//!
//! Bounds. Limbs of an [`F`] are below 2^52 and not negative; 2^260 is a little more than 16p, so an F is any number below
//! 16p. For a < αp, b < βp a product is below (αβ/16 + 1)p. -1/p modulo 2^52 is 1, so the quotient of a reduction step is the
//! lowest limb q itself, and (p + 1)/2^52 = 2^204 - 2^172 - 2^44 + 2^12, so that a step is four multiplications and a subtraction.
//! Nothing branches on a lane's value, and no address depends on one where the numbers are secret.

#![allow(unsafe_code)]

use super::comb::{Comb, Digits, Entry, PUBLIC_WIDTH, SECRET_WIDTH};
use super::engine::{self, Claim};
use super::field::{Fe, P};
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;
use super::words::{self, Words};
use core::arch::x86_64::*;
use std::sync::OnceLock;
use zeroize::{Zeroize, Zeroizing};

/// Lanes of a vector.
pub const LANES: usize = 8;
const LIMBS: usize = 5;
const LIMB_MASK: u64 = (1 << 52) - 1;

/// Whether this processor, and the operating system on it, can run this file.
pub fn is_available() -> bool {
    crate::tier::best() == crate::tier::Tier::Avx512
}

/// Eight field elements, limb by limb.
#[derive(Clone, Copy)]
struct F([__m512i; LIMBS]);

impl F {
    /// Take the lanes of `mask` from `other`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn replace(&mut self, mask: __mmask8, other: &Self) {
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            *limb = _mm512_mask_mov_epi64(*limb, mask, other);
        }
    }
}

/// Five columns not yet carried, signed.
type Columns = [__m512i; LIMBS];

/// An F in memory, where it can be wiped.
#[derive(Clone, Copy)]
struct Stored([[u64; LANES]; LIMBS]);

impl Zeroize for Stored {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// The limbs of a 256-bit number.
const fn limbs(words: &Words) -> [u64; LIMBS] {
    [
        words[0] & LIMB_MASK,
        ((words[0] >> 52) | (words[1] << 12)) & LIMB_MASK,
        ((words[1] >> 40) | (words[2] << 24)) & LIMB_MASK,
        ((words[2] >> 28) | (words[3] << 36)) & LIMB_MASK,
        words[3] >> 16,
    ]
}

/// 2^260 modulo p: one in Montgomery form.
const ONE: [u64; LIMBS] = limbs(&words::hex(
    "000000100000000000000000000000000000000ffffffff00000000000000010",
));
/// 2^520 modulo p.
const R2: [u64; LIMBS] = limbs(&words::hex(
    "00000400000002000000010000000100000002ffffffff000000020000000300",
));
const PLAIN_ONE: [u64; LIMBS] = [1, 0, 0, 0, 0];

#[inline]
fn load(lanes: &[u64; LANES]) -> __m512i {
    // SAFETY: an array of eight u64 has the size of the vector, and every bit pattern is valid for both.
    unsafe { core::mem::transmute::<[u64; LANES], __m512i>(*lanes) }
}

#[inline]
fn store(vector: __m512i) -> [u64; LANES] {
    // SAFETY: the vector has the size of an array of eight u64, and every bit pattern is valid for both.
    unsafe { core::mem::transmute::<__m512i, [u64; LANES]>(vector) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn broadcast(limbs: &[u64; LIMBS]) -> F {
    F(limbs.map(|limb| _mm512_set1_epi64(limb as i64)))
}

/// The four words of eight numbers below 2^256, word by word, as limbs.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn to_limbs(w: [__m512i; 4]) -> F {
    let mask = _mm512_set1_epi64(LIMB_MASK as i64);
    let l0 = _mm512_and_si512(w[0], mask);
    let l1 = _mm512_or_si512(_mm512_srli_epi64::<52>(w[0]), _mm512_slli_epi64::<12>(w[1]));
    let l2 = _mm512_or_si512(_mm512_srli_epi64::<40>(w[1]), _mm512_slli_epi64::<24>(w[2]));
    let l3 = _mm512_or_si512(_mm512_srli_epi64::<28>(w[2]), _mm512_slli_epi64::<36>(w[3]));
    let l4 = _mm512_srli_epi64::<16>(w[3]);
    F([
        l0,
        _mm512_and_si512(l1, mask),
        _mm512_and_si512(l2, mask),
        _mm512_and_si512(l3, mask),
        l4,
    ])
}

/// Eight numbers below 2^256, lane by lane, as limbs.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn gather(numbers: &[Words; LANES]) -> F {
    to_limbs([0, 1, 2, 3].map(|word| {
        let mut lanes = [0; LANES];
        for (lane, number) in lanes.iter_mut().zip(numbers) {
            *lane = number[word];
        }
        load(&lanes)
    }))
}

/// The words of eight numbers below 2^256, lane by lane.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn scatter(value: &F) -> [Words; LANES] {
    let l = value.0.map(store);
    let mut numbers = [[0; 4]; LANES];
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = [
            l[0][i] | (l[1][i] << 52),
            (l[1][i] >> 12) | (l[2][i] << 40),
            (l[2][i] >> 24) | (l[3][i] << 28),
            (l[3][i] >> 36) | (l[4][i] << 16),
        ];
    }
    numbers
}

/// Columns of a number 0 <= value < 2^260 as limbs.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn carry(t: Columns) -> F {
    let mask = _mm512_set1_epi64(LIMB_MASK as i64);
    let t1 = _mm512_add_epi64(t[1], _mm512_srai_epi64::<52>(t[0]));
    let t2 = _mm512_add_epi64(t[2], _mm512_srai_epi64::<52>(t1));
    let t3 = _mm512_add_epi64(t[3], _mm512_srai_epi64::<52>(t2));
    let t4 = _mm512_add_epi64(t[4], _mm512_srai_epi64::<52>(t3));
    F([
        _mm512_and_si512(t[0], mask),
        _mm512_and_si512(t1, mask),
        _mm512_and_si512(t2, mask),
        _mm512_and_si512(t3, mask),
        t4,
    ])
}

/// Columns of a number 0 <= value < 16p as limbs of one that is the same modulo p and below 1.01p: q = value/2^256 times
/// p = 2^256 - 2^224 - 2^96 + 2^64 - 1 is taken off.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn carry_folded(t: Columns) -> F {
    let q = _mm512_srai_epi64::<48>(t[4]);
    let rest = _mm512_and_si512(t[4], _mm512_set1_epi64((1 << 48) - 1));
    let middle = _mm512_sub_epi64(_mm512_slli_epi64::<44>(q), _mm512_slli_epi64::<12>(q));
    carry([
        _mm512_add_epi64(t[0], q),
        _mm512_add_epi64(t[1], middle),
        t[2],
        t[3],
        _mm512_add_epi64(rest, _mm512_slli_epi64::<16>(q)),
    ])
}

/// a - b + `TIMES`·p, column by column.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn subtract<const TIMES: i64>(a: &Columns, b: &Columns) -> Columns {
    let mut t = *a;
    for (column, subtrahend) in t.iter_mut().zip(b) {
        *column = _mm512_sub_epi64(*column, *subtrahend);
    }
    t[0] = _mm512_sub_epi64(t[0], _mm512_set1_epi64(TIMES));
    t[1] = _mm512_sub_epi64(t[1], _mm512_set1_epi64(TIMES * ((1 << 44) - (1 << 12))));
    t[4] = _mm512_add_epi64(t[4], _mm512_set1_epi64(TIMES * ((1 << 48) - (1 << 16))));
    t
}

/// Add a·b to ten columns.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn accumulate(t: &mut [__m512i; 10], a: &F, b: &F) {
    for i in 0..LIMBS {
        for j in 0..LIMBS {
            t[i + j] = _mm512_madd52lo_epu64(t[i + j], a.0[i], b.0[j]);
            t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], a.0[i], b.0[j]);
        }
    }
}

/// Ten columns times 2^-260 modulo p, as five.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn reduce(mut t: [__m512i; 10]) -> Columns {
    let mask = _mm512_set1_epi64(LIMB_MASK as i64);
    // (p + 1)/2^52 = low - 2^52 + high·2^156
    let low = _mm512_set1_epi64((1 << 52) - (1 << 44) + (1 << 12));
    let high = _mm512_set1_epi64((1 << 48) - (1 << 16));
    for i in 0..LIMBS {
        // The multiplications read the lower 52 bits only.
        let q = t[i];
        let above = _mm512_srai_epi64::<52>(q);
        t[i + 1] = _mm512_madd52lo_epu64(_mm512_add_epi64(t[i + 1], above), q, low);
        let next = _mm512_sub_epi64(t[i + 2], _mm512_and_si512(q, mask));
        t[i + 2] = _mm512_madd52hi_epu64(next, q, low);
        t[i + 4] = _mm512_madd52lo_epu64(t[i + 4], q, high);
        t[i + 5] = _mm512_madd52hi_epu64(t[i + 5], q, high);
    }
    [t[5], t[6], t[7], t[8], t[9]]
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mul_columns(a: &F, b: &F) -> Columns {
    let mut t = [_mm512_setzero_si512(); 10];
    accumulate(&mut t, a, b);
    reduce(t)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mul(a: &F, b: &F) -> F {
    carry(mul_columns(a, b))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn square_columns(a: &F) -> Columns {
    let mut t = [_mm512_setzero_si512(); 10];
    for i in 0..LIMBS {
        for j in i + 1..LIMBS {
            t[i + j] = _mm512_madd52lo_epu64(t[i + j], a.0[i], a.0[j]);
            t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], a.0[i], a.0[j]);
        }
    }
    for column in &mut t[1..9] {
        *column = _mm512_add_epi64(*column, *column);
    }
    for i in 0..LIMBS {
        t[2 * i] = _mm512_madd52lo_epu64(t[2 * i], a.0[i], a.0[i]);
        t[2 * i + 1] = _mm512_madd52hi_epu64(t[2 * i + 1], a.0[i], a.0[i]);
    }
    reduce(t)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn square(a: &F) -> F {
    carry(square_columns(a))
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn square_times(a: &F, count: u32) -> F {
    let mut power = *a;
    for _ in 0..count {
        power = square(&power);
    }
    power
}

/// 1/a in each lane, 0 for 0; the chain of `Fe::invert`.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn invert(a: &F) -> F {
    let ones_2 = mul(&square(a), a);
    let ones_4 = mul(&square_times(&ones_2, 2), &ones_2);
    let ones_8 = mul(&square_times(&ones_4, 4), &ones_4);
    let ones_16 = mul(&square_times(&ones_8, 8), &ones_8);
    let ones_24 = mul(&square_times(&ones_16, 8), &ones_8);
    let ones_28 = mul(&square_times(&ones_24, 4), &ones_4);
    let ones_30 = mul(&square_times(&ones_28, 2), &ones_2);
    let ones_31 = mul(&square(&ones_30), a);
    let ones_32 = mul(&square(&ones_31), a);
    let ones_62 = mul(&square_times(&ones_31, 31), &ones_31);
    let mut power = square(&ones_31);
    for _ in 0..4 {
        power = mul(&square_times(&power, 32), &ones_32);
    }
    power = mul(&square_times(&power, 94), &ones_62);
    mul(&square_times(&power, 2), a)
}

/// The number itself out of Montgomery form, at most p (p stands for 0).
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn to_plain(a: &F) -> F {
    mul(a, &broadcast(&PLAIN_ONE))
}

/// The lanes that are 0 modulo p.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn zero_lanes(a: &F) -> __mmask8 {
    let plain = to_plain(a);
    let p = broadcast(&limbs(&P));
    let (mut any_zero, mut any_p) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for (limb, p) in plain.0.iter().zip(p.0) {
        any_zero = _mm512_or_si512(any_zero, *limb);
        any_p = _mm512_or_si512(any_p, _mm512_xor_si512(*limb, p));
    }
    _mm512_testn_epi64_mask(any_zero, any_zero) | _mm512_testn_epi64_mask(any_p, any_p)
}

/// Eight points in Jacobian coordinates. With `flipped`, y stands for -Y: each addition changes the sign for free.
/// X < 1.01p, Y < 2.2p, Z < 1.4p.
#[derive(Clone, Copy)]
struct Points {
    x: F,
    y: F,
    z: F,
    flipped: bool,
}

impl Points {
    /// Affine points (coordinates below p) with the y of the lanes in `negative` negated.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn from_affine(x: F, y: F, negative: __mmask8) -> Self {
        let zero = [_mm512_setzero_si512(); LIMBS];
        let mut signed = y;
        signed.replace(negative, &carry(subtract::<1>(&zero, &y.0)));
        Self {
            x,
            y: signed,
            z: broadcast(&ONE),
            flipped: false,
        }
    }

    /// Take the lanes of `mask` from `other`, whose y stands for the same sign.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn replace(&mut self, mask: __mmask8, other: &Self) {
        self.x.replace(mask, &other.x);
        self.y.replace(mask, &other.y);
        self.z.replace(mask, &other.z);
    }

    /// self + ±(x2, y2), incomplete as in the file on points; the second point's coordinates are below p.
    ///
    /// With ε the sign held: R = ε·S2 - y, and ε·Y3 = R·(V - X3) - y·HHH, so -ε·Y3 = R·(X3 - V) + y·HHH, one reduction.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn add(&self, x2: &F, y2: &F, negative: __mmask8) -> Self {
        let negative = negative ^ if self.flipped { 0xff } else { 0 };
        let zz = square(&self.z); // < 1.13p
        let u2 = mul_columns(x2, &zz); // < 1.08p
        let h = carry(subtract::<2>(&u2, &self.x.0)); // < 3.1p
        let zzz = mul(&self.z, &zz); // < 1.1p
        let mut s2 = mul_columns(y2, &zzz); // < 1.08p
        for column in &mut s2 {
            *column = _mm512_mask_sub_epi64(*column, negative, _mm512_setzero_si512(), *column);
        }
        let r = carry(subtract::<4>(&s2, &self.y.0)); // between 0.7p and 5.1p
        let z = mul(&self.z, &h); // < 1.4p
        let hh = square(&h); // < 1.6p
        let hhh = mul(&h, &hh); // < 1.4p
        let v = mul_columns(&self.x, &hh); // < 1.2p
        let mut x = subtract::<4>(&square_columns(&r), &hhh.0); // less 2V: between 0.2p and 6.7p
        for (column, v) in x.iter_mut().zip(v) {
            *column = _mm512_sub_epi64(*column, _mm512_add_epi64(v, v));
        }
        let x = carry_folded(x);
        let w = carry(subtract::<2>(&x.0, &v)); // < 3.1p
        let mut y = [_mm512_setzero_si512(); 10];
        accumulate(&mut y, &r, &w);
        accumulate(&mut y, &self.y, &hhh);
        Self {
            x,
            y: carry(reduce(y)), // < (5.1·3.1 + 2.2·1.4)/16·p + p = 2.2p
            z,
            flipped: !self.flipped,
        }
    }
}

/// The portable form a·2^256 in this file's form a·2^260.
fn times_16(a: &Fe) -> Words {
    a.double().double().double().double().montgomery_words()
}

/// Odd multiples of G for secret numbers: per window and limb (x, then y), the 32 entries side by side, so that one
/// permutation looks up eight lanes while all of the window is read.
struct SecretTable {
    windows: Vec<[[[u64; LANES]; ENTRIES / LANES]; 2 * LIMBS]>,
}

const ENTRIES: usize = 1 << (SECRET_WIDTH - 1);
const WINDOWS: usize = 256usize.div_ceil(SECRET_WIDTH);

impl SecretTable {
    fn generator() -> &'static Self {
        static TABLE: OnceLock<SecretTable> = OnceLock::new();
        TABLE.get_or_init(|| {
            let comb = Comb::generator_secret();
            let windows = (0..WINDOWS).map(|window| {
                let mut lanes = [[[0; LANES]; ENTRIES / LANES]; 2 * LIMBS];
                for (j, entry) in comb.window(window).iter().enumerate() {
                    let point = entry.point();
                    let x = limbs(&times_16(&point.x));
                    let y = limbs(&times_16(&point.y));
                    for (lane, limb) in lanes.iter_mut().zip(x.into_iter().chain(y)) {
                        lane[j / LANES][j % LANES] = limb;
                    }
                }
                lanes
            });
            Self {
                windows: windows.collect(),
            }
        })
    }

    /// Entry `index` of the window in each lane; index is below 32.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn lookup(&self, window: usize, index: __m512i) -> (F, F) {
        let upper = _mm512_test_epi64_mask(index, _mm512_set1_epi64(16));
        let mut found = [_mm512_setzero_si512(); 2 * LIMBS];
        for (limb, lanes) in found.iter_mut().zip(&self.windows[window]) {
            let low = _mm512_permutex2var_epi64(load(&lanes[0]), index, load(&lanes[1]));
            let high = _mm512_permutex2var_epi64(load(&lanes[2]), index, load(&lanes[3]));
            *limb = _mm512_mask_mov_epi64(low, upper, high);
        }
        let [x0, x1, x2, x3, x4, y0, y1, y2, y3, y4] = found;
        (F([x0, x1, x2, x3, x4]), F([y0, y1, y2, y3, y4]))
    }
}

/// The digits of eight secret numbers, word by word.
struct SecretDigits(Zeroizing<[[u64; LANES]; 5]>);

impl SecretDigits {
    fn new(numbers: &[Scalar]) -> Self {
        let mut lanes = Zeroizing::new([[0; LANES]; 5]);
        for lane in 0..LANES {
            let number = numbers.get(lane).unwrap_or(&Scalar::ONE);
            let (mut odd, _) = number.odd_or_negated();
            let mut digits = Digits::new(&odd, SECRET_WIDTH, WINDOWS);
            for (word, bits) in digits.bits().iter().enumerate() {
                lanes[word][lane] = *bits;
            }
            odd.zeroize();
            digits.zeroize();
        }
        Self(lanes)
    }

    /// Place of the digit's size in the window and the lanes where it is negative; see `Digits::get`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn get(&self, window: usize) -> (__m512i, __mmask8) {
        let position = window * SECRET_WIDTH;
        let (word, shift) = (position / 64, position % 64);
        let above = self.0.get(word + 1).map_or(_mm512_setzero_si512(), load);
        // A shift by 64 gives 0 here.
        let value = _mm512_or_si512(
            _mm512_srl_epi64(load(&self.0[word]), _mm_cvtsi64_si128(shift as i64)),
            _mm512_sll_epi64(above, _mm_cvtsi64_si128(64 - shift as i64)),
        );
        let negative = _mm512_testn_epi64_mask(value, _mm512_set1_epi64(ENTRIES as i64));
        let ones = _mm512_set1_epi64(-1);
        let size = _mm512_mask_xor_epi64(value, negative, value, ones);
        let index = _mm512_and_si512(size, _mm512_set1_epi64(ENTRIES as i64 - 1));
        (index, negative)
    }
}

/// Twin of `engine::nonce_points_portable`.
pub fn nonce_points(nonces: &[Scalar]) -> Vec<Option<Words>> {
    assert!(
        is_available(),
        "the tier is chosen only where it is available"
    );
    // SAFETY: the processor has the features, as just asserted.
    unsafe { nonce_points_lanes(nonces) }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn nonce_points_lanes(nonces: &[Scalar]) -> Vec<Option<Words>> {
    let table = SecretTable::generator();
    let groups = nonces.len().div_ceil(LANES);
    let mut xs = Zeroizing::new(Vec::with_capacity(groups));
    let mut zs = Zeroizing::new(Vec::with_capacity(groups));
    let mut before = Zeroizing::new(Vec::with_capacity(groups));
    let mut infinite = Vec::with_capacity(groups);
    let one = broadcast(&ONE);
    let mut product = one;
    for group in nonces.chunks(LANES) {
        let sum = multiply_generator(table, &SecretDigits::new(group));
        let zero = zero_lanes(&sum.z);
        // A zero would make every product of its lane zero: one stands in for it.
        let mut z = sum.z;
        z.replace(zero, &one);
        infinite.push(zero);
        before.push(to_memory(&product));
        product = mul(&product, &z);
        xs.push(to_memory(&sum.x));
        zs.push(to_memory(&z));
    }
    let mut inverse = invert(&product);
    let mut coordinates = vec![None; groups * LANES];
    for group in (0..groups).rev() {
        let z_inverse = mul(&inverse, &from_memory(&before[group]));
        inverse = mul(&inverse, &from_memory(&zs[group]));
        let x = mul(&from_memory(&xs[group]), &square(&z_inverse));
        for (lane, x) in scatter(&to_plain(&x)).iter().enumerate() {
            let known = (infinite[group] >> lane) & 1 == 0;
            coordinates[group * LANES + lane] = known.then(|| words::subtract_once(x, false, &P));
        }
    }
    coordinates.truncate(nonces.len());
    coordinates
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn multiply_generator(table: &SecretTable, digits: &SecretDigits) -> Points {
    let (index, negative) = digits.get(0);
    let (x, y) = table.lookup(0, index);
    let mut sum = Points::from_affine(x, y, negative);
    for window in 1..WINDOWS {
        let (index, negative) = digits.get(window);
        let (x, y) = table.lookup(window, index);
        sum = sum.add(&x, &y, negative);
    }
    sum
}

/// [`nonce_points`] for one nonce, spread over the lanes.
pub fn nonce_point(nonce: &Scalar) -> Option<Words> {
    assert!(
        is_available(),
        "the tier is chosen only where it is available"
    );
    // SAFETY: the processor has the features, as just asserted.
    let mut sum = unsafe { multiply_generator_spread(nonce) };
    let x = sum.x.mul(&sum.z.invert().square());
    let known = !sum.is_infinity();
    sum.zeroize();
    known.then(|| x.to_words())
}

/// ±k·G: each lane sums up every eighth window, and the portable point adds the eight sums. Like the comb itself, it ends in
/// Z = 0 where two sums are equal, for a handful of all k.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn multiply_generator_spread(k: &Scalar) -> Jacobian {
    let (mut odd, _) = k.odd_or_negated();
    let mut digits = Digits::new(&odd, SECRET_WIDTH, WINDOWS);
    // The lanes from here on have a window less: they begin one addition later.
    const LATE: usize = WINDOWS % LANES;
    let (x, y, negative) = lookup_spread(&digits, 0, LATE);
    let mut sum = Points::from_affine(x, y, negative);
    for window in (LATE..WINDOWS).step_by(LANES) {
        let (x, y, negative) = lookup_spread(&digits, window, LANES);
        sum = sum.add(&x, &y, negative);
        if window == LATE {
            // The addition changed the sign that y stands for.
            sum.replace(0xff << LATE, &Points::from_affine(x, y, !negative));
        }
    }
    odd.zeroize();
    digits.zeroize();
    let coordinates = |value: &F| Zeroizing::new(scatter(&to_plain(value)));
    let (xs, ys, zs) = (
        coordinates(&sum.x),
        coordinates(&sum.y),
        coordinates(&sum.z),
    );
    let element = |words: &Words| Fe::from_words(&words::subtract_once(words, false, &P));
    let point = |lane: usize| Jacobian {
        x: element(&xs[lane]),
        y: element(&ys[lane]),
        z: element(&zs[lane]),
    };
    let mut total = point(0);
    for lane in 1..LANES {
        (total, _) = total.add_incomplete(&point(lane));
    }
    total
}

/// The entries of `count` windows from `first` on, one in each lane, and where they are negative.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn lookup_spread(digits: &Digits, first: usize, count: usize) -> (F, F, __mmask8) {
    let table = SecretTable::generator();
    let zero = F([_mm512_setzero_si512(); LIMBS]);
    let (mut xs, mut ys, mut negative) = (zero, zero, 0);
    for lane in 0..count {
        let (index, sign) = digits.get(first + lane);
        let (x, y) = table.lookup(first + lane, _mm512_set1_epi64(index as i64));
        xs.replace(1 << lane, &x);
        ys.replace(1 << lane, &y);
        negative |= ((sign & 1) as u8) << lane;
    }
    (xs, ys, negative)
}

fn to_memory(value: &F) -> Stored {
    Stored(value.0.map(store))
}

fn from_memory(stored: &Stored) -> F {
    F([0, 1, 2, 3, 4].map(|limb: usize| load(&stored.0[limb])))
}

/// Odd multiples of a public point, one cache line each, in this file's Montgomery form.
pub struct PublicTable(Box<[Entry]>);

const PUBLIC_ENTRIES: usize = 1 << (PUBLIC_WIDTH - 1);
const PUBLIC_WINDOWS: usize = 256usize.div_ceil(PUBLIC_WIDTH);

impl PublicTable {
    /// The same table in the form that this file reads.
    pub fn new(comb: &Comb) -> Self {
        let converted = comb.entries().iter().map(|entry| {
            let point = entry.point();
            let (x, y) = (times_16(&point.x), times_16(&point.y));
            Entry([x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3]])
        });
        Self(converted.collect())
    }

    fn generator() -> &'static Self {
        static TABLE: OnceLock<PublicTable> = OnceLock::new();
        TABLE.get_or_init(|| Self::new(Comb::generator_public()))
    }

    /// One entry per lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn lookup(&self, places: &[u16; LANES]) -> (F, F) {
        let rows = places.map(|place| load(&self.0[usize::from(place)].0));
        let [x0, x1, x2, x3, y0, y1, y2, y3] = transpose(rows);
        (to_limbs([x0, x1, x2, x3]), to_limbs([y0, y1, y2, y3]))
    }

    #[inline]
    fn prefetch(&self, places: &[u16; LANES]) {
        for place in places {
            let entry: *const Entry = &self.0[usize::from(*place)];
            // SAFETY: a hint on a valid address; SSE is part of every x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(entry.cast()) };
        }
    }
}

/// Make the tables of G.
pub fn warm_up() {
    SecretTable::generator();
    PublicTable::generator();
}

/// Rows of eight words as columns.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn transpose(r: [__m512i; 8]) -> [__m512i; 8] {
    // Pairs of rows, word by word: a[2i] holds the even, a[2i + 1] the odd words of rows 2i and 2i + 1.
    let a = [
        _mm512_unpacklo_epi64(r[0], r[1]),
        _mm512_unpackhi_epi64(r[0], r[1]),
        _mm512_unpacklo_epi64(r[2], r[3]),
        _mm512_unpackhi_epi64(r[2], r[3]),
        _mm512_unpacklo_epi64(r[4], r[5]),
        _mm512_unpackhi_epi64(r[4], r[5]),
        _mm512_unpacklo_epi64(r[6], r[7]),
        _mm512_unpackhi_epi64(r[6], r[7]),
    ];
    // Quarters 0 and 2, or 1 and 3, of two pairs.
    let even_low = _mm512_shuffle_i64x2::<0b10_00_10_00>(a[0], a[2]);
    let even_low_1 = _mm512_shuffle_i64x2::<0b11_01_11_01>(a[0], a[2]);
    let even_high = _mm512_shuffle_i64x2::<0b10_00_10_00>(a[4], a[6]);
    let even_high_1 = _mm512_shuffle_i64x2::<0b11_01_11_01>(a[4], a[6]);
    let odd_low = _mm512_shuffle_i64x2::<0b10_00_10_00>(a[1], a[3]);
    let odd_low_1 = _mm512_shuffle_i64x2::<0b11_01_11_01>(a[1], a[3]);
    let odd_high = _mm512_shuffle_i64x2::<0b10_00_10_00>(a[5], a[7]);
    let odd_high_1 = _mm512_shuffle_i64x2::<0b11_01_11_01>(a[5], a[7]);
    [
        _mm512_shuffle_i64x2::<0b10_00_10_00>(even_low, even_high),
        _mm512_shuffle_i64x2::<0b10_00_10_00>(odd_low, odd_high),
        _mm512_shuffle_i64x2::<0b10_00_10_00>(even_low_1, even_high_1),
        _mm512_shuffle_i64x2::<0b10_00_10_00>(odd_low_1, odd_high_1),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(even_low, even_high),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(odd_low, odd_high),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(even_low_1, even_high_1),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(odd_low_1, odd_high_1),
    ]
}

/// Where the digits of eight public numbers are found in a table.
struct Places {
    windows: [([u16; LANES], __mmask8); PUBLIC_WINDOWS],
}

impl Places {
    fn new(numbers: impl Iterator<Item = Scalar>) -> Self {
        let mut windows = [([0; LANES], 0); PUBLIC_WINDOWS];
        for (lane, number) in numbers.enumerate() {
            let (odd, flipped) = number.odd_or_negated();
            let digits = Digits::new(&odd, PUBLIC_WIDTH, PUBLIC_WINDOWS);
            for (window, (places, negative)) in windows.iter_mut().enumerate() {
                let (index, sign) = digits.get(window);
                places[lane] = (window * PUBLIC_ENTRIES + index) as u16;
                *negative |= (((sign ^ flipped) & 1) as u8) << lane;
            }
        }
        Self { windows }
    }
}

/// Twin of the portable half of `engine::check`.
pub fn check(point: &Affine, table: &PublicTable, claims: &[Claim]) -> Vec<bool> {
    assert!(
        is_available(),
        "the tier is chosen only where it is available"
    );
    let mut verdicts = Vec::with_capacity(claims.len());
    if claims.len() <= WORTH_SPREADING {
        // SAFETY: the processor has the features, as just asserted.
        let check = |claim| unsafe { check_spread(point, table, claim) };
        return claims.iter().map(check).collect();
    }
    for group in claims.chunks(LANES) {
        let mut lanes = [Claim::DUMMY; LANES];
        lanes[..group.len()].copy_from_slice(group);
        // SAFETY: the processor has the features, as just asserted.
        let (equal, infinite) = unsafe { check_lanes(table, &lanes) };
        verdicts.extend(group.iter().enumerate().map(|(lane, claim)| {
            if (infinite >> lane) & 1 == 1 || engine::above_n(&claim.v).is_some() {
                engine::check_slowly(point, claim)
            } else {
                (equal >> lane) & 1 == 1
            }
        }));
    }
    verdicts
}

/// So few claims are done one by one, each spread over the lanes.
const WORTH_SPREADING: usize = 2;

/// Windows of one comb that a lane sums up when one claim is spread over all lanes.
const WINDOWS_PER_LANE: usize = PUBLIC_WINDOWS / LANES;

/// One claim: each lane sums up an eighth of the windows of both combs, and the portable point adds the eight sums.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn check_spread(point: &Affine, table: &PublicTable, claim: &Claim) -> bool {
    let mut sum: Option<Points> = None;
    for (comb, number) in [(PublicTable::generator(), claim.s), (table, claim.t)] {
        for (places, negative) in spread_places(&number) {
            let (x, y) = comb.lookup(&places);
            sum = Some(match sum {
                None => Points::from_affine(x, y, negative),
                Some(sum) => sum.add(&x, &y, negative),
            });
        }
    }
    let Some(sum) = sum else { return false };
    if zero_lanes(&sum.z) != 0 {
        return engine::check_slowly(point, claim);
    }
    let [xs, ys, zs] = [sum.x, sum.y, sum.z].map(|value| scatter(&to_plain(&value)));
    let element = |words: &Words| Fe::from_words(&words::subtract_once(words, false, &P));
    let total = (0..LANES).fold(Jacobian::INFINITY, |total, lane| {
        let y = element(&ys[lane]);
        total.add(&Jacobian {
            x: element(&xs[lane]),
            y: if sum.flipped { y.negate() } else { y },
            z: element(&zs[lane]),
        })
    });
    !total.is_infinity() && engine::has_x(&total, &claim.v)
}

/// Where the digits of one public number are found, four windows for each lane.
fn spread_places(number: &Scalar) -> [([u16; LANES], __mmask8); WINDOWS_PER_LANE] {
    let (odd, flipped) = number.odd_or_negated();
    let digits = Digits::new(&odd, PUBLIC_WIDTH, PUBLIC_WINDOWS);
    let mut steps = [([0; LANES], 0); WINDOWS_PER_LANE];
    for window in 0..PUBLIC_WINDOWS {
        let (places, negative) = &mut steps[window / LANES];
        let (index, sign) = digits.get(window);
        places[window % LANES] = (window * PUBLIC_ENTRIES + index) as u16;
        *negative |= (((sign ^ flipped) & 1) as u8) << (window % LANES);
    }
    steps
}

/// The lanes whose sum has v as its x coordinate, and those whose sum ended at Z = 0 and says nothing.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn check_lanes(table: &PublicTable, claims: &[Claim; LANES]) -> (__mmask8, __mmask8) {
    let generator = PublicTable::generator();
    let of_g = Places::new(claims.iter().map(|claim| claim.s));
    let of_p = Places::new(claims.iter().map(|claim| claim.t));
    let (places, negative) = &of_g.windows[0];
    let (x, y) = generator.lookup(places);
    let mut sum = Points::from_affine(x, y, *negative);
    for ((places, negative), (next, _)) in of_g.windows[1..]
        .iter()
        .zip(of_g.windows[2..].iter().chain(&of_g.windows[..1]))
    {
        generator.prefetch(next);
        let (x, y) = generator.lookup(places);
        sum = sum.add(&x, &y, *negative);
    }
    for ((places, negative), (next, _)) in of_p
        .windows
        .iter()
        .zip(of_p.windows[1..].iter().chain(&of_p.windows[..1]))
    {
        table.prefetch(next);
        let (x, y) = table.lookup(places);
        sum = sum.add(&x, &y, *negative);
    }
    let v = gather(&claims.each_ref().map(|claim| *claim.v.words()));
    let expected = mul(&mul(&v, &broadcast(&R2)), &square(&sum.z));
    let difference = carry(subtract::<2>(&sum.x.0, &expected.0));
    (zero_lanes(&difference), zero_lanes(&sum.z))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::tests::{edge_scalars, edge_words, random_words};

    /// Run `work` on every pair of edge and random numbers below p, eight at a time, and compare with the portable field.
    fn compare(work: unsafe fn(&F, &F) -> F, expected: impl Fn(&Fe, &Fe) -> Fe) {
        if !is_available() {
            return;
        }
        let numbers: Vec<Words> = edge_words()
            .into_iter()
            .chain(random_words(260))
            .map(|value| words::subtract_once(&value, false, &P))
            .collect();
        for a in &numbers {
            for chunk in numbers.chunks(LANES) {
                let mut b = [[0; 4]; LANES];
                b[..chunk.len()].copy_from_slice(chunk);
                // SAFETY: the processor has the features, as just seen.
                let results = unsafe {
                    let a = mul(&gather(&[*a; LANES]), &broadcast(&R2));
                    let b = mul(&gather(&b), &broadcast(&R2));
                    scatter(&to_plain(&work(&a, &b)))
                };
                for (b, result) in b.iter().zip(&results) {
                    let expected = expected(&Fe::from_words(a), &Fe::from_words(b));
                    let result = words::subtract_once(result, false, &P);
                    assert_eq!(result, expected.to_words());
                }
            }
        }
    }

    #[test]
    fn lanes_agree_with_the_portable_field() {
        compare(mul, |a, b| a.mul(b));
        compare(|a, _| unsafe { square(a) }, |a, _| a.square());
        compare(|a, b| unsafe { carry(subtract::<4>(&a.0, &b.0)) }, Fe::sub);
        compare(
            |a, b| unsafe { carry_folded(subtract::<9>(&a.0, &b.0)) },
            Fe::sub,
        );
        compare(
            |a, b| unsafe {
                let large = carry(subtract::<14>(&a.0, &b.0));
                mul(&large, &carry(subtract::<13>(&b.0, &a.0)))
            },
            |a, b| a.sub(b).mul(&b.sub(a)),
        );
        compare(
            |a, b| unsafe { invert(&mul(a, b)) },
            |a, b| a.mul(b).invert(),
        );
    }

    #[test]
    fn multiples_of_g_agree_with_the_portable_ones_for_every_count() {
        if !is_available() {
            return;
        }
        let scalars: Vec<Scalar> = edge_scalars().into_iter().cycle().take(1000).collect();
        for count in [0, 1, 7, 8, 9, 63, 64, 65, 1000] {
            let expected = engine::nonce_points_portable(&scalars[..count]);
            assert_eq!(nonce_points(&scalars[..count]), expected);
        }
        let random = random_words(200)
            .into_iter()
            .map(|words| Scalar::reduce(&words));
        for k in edge_scalars().into_iter().chain(random) {
            let expected = Comb::generator_secret().multiply(&k).to_affine();
            let Some(expected) = expected else { continue };
            assert_eq!(nonce_point(&k), Some(expected.x.to_words()));
        }
    }

    /// 30·2^252 - n ends in Z = 0; its lane says so and the others do not notice.
    #[test]
    fn a_lane_at_infinity_does_not_poison_its_neighbours() {
        if !is_available() {
            return;
        }
        let (half, _) = words::sub(&[0, 0, 0, 15 << 60], &super::super::scalar::N);
        let (poison, _) = words::add(&half, &[0, 0, 0, 15 << 60]);
        let mut scalars: Vec<Scalar> = (1..30).map(Scalar::from).collect();
        for place in [0, 3, 17, 28] {
            scalars[place] = Scalar::reduce(&poison);
        }
        let points = nonce_points(&scalars);
        assert_eq!(points, engine::nonce_points_one_by_one(&scalars));
        let infinite = points.iter().filter(|point| point.is_none()).count();
        assert_eq!(infinite, 4);
    }
}
