//! 256-bit numbers as four 64-bit words, least significant first. Nothing here branches on a value.

/// A 256-bit number.
pub type Words = [u64; 4];

/// a + b and the carry.
#[inline(always)]
pub fn add(a: &Words, b: &Words) -> (Words, bool) {
    let (w0, carry) = a[0].carrying_add(b[0], false);
    let (w1, carry) = a[1].carrying_add(b[1], carry);
    let (w2, carry) = a[2].carrying_add(b[2], carry);
    let (w3, carry) = a[3].carrying_add(b[3], carry);
    ([w0, w1, w2, w3], carry)
}

/// a - b and the borrow.
#[inline(always)]
pub fn sub(a: &Words, b: &Words) -> (Words, bool) {
    let (w0, borrow) = a[0].borrowing_sub(b[0], false);
    let (w1, borrow) = a[1].borrowing_sub(b[1], borrow);
    let (w2, borrow) = a[2].borrowing_sub(b[2], borrow);
    let (w3, borrow) = a[3].borrowing_sub(b[3], borrow);
    ([w0, w1, w2, w3], borrow)
}

/// All ones when `bit`, else zero.
#[inline(always)]
pub fn mask(bit: bool) -> u64 {
    u64::from(bit).wrapping_neg()
}

/// The same for choices that span more than a few instructions, behind a barrier: the compiler must not see that it is
/// one of two values and turn the choice back into a branch.
#[inline(always)]
pub fn hidden_mask(bit: bool) -> u64 {
    std::hint::black_box(mask(bit))
}

/// `b` where `mask` is all ones, `a` where it is zero.
#[inline(always)]
pub fn select(a: &Words, b: &Words, mask: u64) -> Words {
    [
        a[0] ^ (mask & (a[0] ^ b[0])),
        a[1] ^ (mask & (a[1] ^ b[1])),
        a[2] ^ (mask & (a[2] ^ b[2])),
        a[3] ^ (mask & (a[3] ^ b[3])),
    ]
}

/// `value` + 2^256·`carry`, less `modulus` when it is not below it. The input must be below twice the modulus.
#[inline(always)]
pub fn subtract_once(value: &Words, carry: bool, modulus: &Words) -> Words {
    let (reduced, borrow) = sub(value, modulus);
    // Keep the unreduced value exactly when the subtraction borrowed beyond the carry.
    select(&reduced, value, mask(borrow & !carry))
}

/// Whether all words are zero.
#[inline(always)]
pub fn is_zero(a: &Words) -> bool {
    (a[0] | a[1] | a[2] | a[3]) == 0
}

/// The 512-bit product, least significant word first.
#[inline(always)]
pub fn multiply(a: &Words, b: &Words) -> [u64; 8] {
    let (t0, c) = a[0].carrying_mul(b[0], 0);
    let (t1, c) = a[1].carrying_mul(b[0], c);
    let (t2, c) = a[2].carrying_mul(b[0], c);
    let (t3, t4) = a[3].carrying_mul(b[0], c);
    let (t1, c) = a[0].carrying_mul_add(b[1], t1, 0);
    let (t2, c) = a[1].carrying_mul_add(b[1], t2, c);
    let (t3, c) = a[2].carrying_mul_add(b[1], t3, c);
    let (t4, t5) = a[3].carrying_mul_add(b[1], t4, c);
    let (t2, c) = a[0].carrying_mul_add(b[2], t2, 0);
    let (t3, c) = a[1].carrying_mul_add(b[2], t3, c);
    let (t4, c) = a[2].carrying_mul_add(b[2], t4, c);
    let (t5, t6) = a[3].carrying_mul_add(b[2], t5, c);
    let (t3, c) = a[0].carrying_mul_add(b[3], t3, 0);
    let (t4, c) = a[1].carrying_mul_add(b[3], t4, c);
    let (t5, c) = a[2].carrying_mul_add(b[3], t5, c);
    let (t6, t7) = a[3].carrying_mul_add(b[3], t6, c);
    [t0, t1, t2, t3, t4, t5, t6, t7]
}

/// The 512-bit square.
#[inline(always)]
pub fn square(a: &Words) -> [u64; 8] {
    let (t1, c) = a[0].carrying_mul(a[1], 0);
    let (t2, c) = a[0].carrying_mul(a[2], c);
    let (t3, t4) = a[0].carrying_mul(a[3], c);
    let (t3, c) = a[1].carrying_mul_add(a[2], t3, 0);
    let (t4, t5) = a[1].carrying_mul_add(a[3], t4, c);
    let (t5, t6) = a[2].carrying_mul(a[3], t5);

    let t7 = t6 >> 63;
    let t6 = (t6 << 1) | (t5 >> 63);
    let t5 = (t5 << 1) | (t4 >> 63);
    let t4 = (t4 << 1) | (t3 >> 63);
    let t3 = (t3 << 1) | (t2 >> 63);
    let t2 = (t2 << 1) | (t1 >> 63);
    let t1 = t1 << 1;

    let (d0, h0) = a[0].carrying_mul(a[0], 0);
    let (d1, h1) = a[1].carrying_mul(a[1], 0);
    let (d2, h2) = a[2].carrying_mul(a[2], 0);
    let (d3, h3) = a[3].carrying_mul(a[3], 0);
    let (t1, c) = t1.carrying_add(h0, false);
    let (t2, c) = t2.carrying_add(d1, c);
    let (t3, c) = t3.carrying_add(h1, c);
    let (t4, c) = t4.carrying_add(d2, c);
    let (t5, c) = t5.carrying_add(h2, c);
    let (t6, c) = t6.carrying_add(d3, c);
    let (t7, _) = t7.carrying_add(h3, c);
    [d0, t1, t2, t3, t4, t5, t6, t7]
}

/// Read 32 big-endian bytes.
#[inline]
pub fn from_bytes(bytes: &[u8; 32]) -> Words {
    let (words, _) = bytes.as_chunks::<8>();
    [3, 2, 1, 0].map(|i: usize| u64::from_be_bytes(words[i]))
}

/// Write 32 big-endian bytes.
#[inline]
pub fn to_bytes(words: &Words) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(words.iter().rev())
    {
        *chunk = word.to_be_bytes();
    }
    bytes
}

/// Parse 64 hexadecimal digits, at compile time.
pub const fn hex(text: &str) -> Words {
    const fn digit(byte: u8) -> u64 {
        (if byte <= b'9' {
            byte - b'0'
        } else {
            byte - b'a' + 10
        }) as u64
    }
    let text = text.as_bytes();
    let mut words = [0; 4];
    let mut i = 0;
    while i < 64 {
        words[3 - i / 16] = (words[3 - i / 16] << 4) | digit(text[i]);
        i += 1;
    }
    words
}
