//! 16 or 64 blocks at once in plain Rust, bit-sliced: no table, no branch, no rotation, only logic on whole planes.
//!
//! The S-box is the SM4 one written as affine ∘ S_aes ∘ affine around the 113-gate form of the AES S-box by Boyar and
//! Peralta ("A small depth-16 circuit for the AES S-box", 2012). The affine maps are those of `constants`; tests compare
//! all 256 bytes with the computation in the field.

use super::Block;
use super::constants::{POST_HIGH, POST_LOW, PRE_HIGH, PRE_LOW};
use std::hint::black_box;
use std::ops::{BitAnd, BitXor, Not};

/// Bits of many blocks that go through the same operations.
trait Plane: Copy + BitXor<Output = Self> + BitAnd<Output = Self> + Not<Output = Self> {
    /// Blocks in one plane.
    const BLOCKS: usize;
    const ZERO: Self;
    /// All bits of byte k of a word set where `bytes[k]` is all ones.
    fn of_bytes(bytes: [u64; 4]) -> Self;
    /// This bit of each word rotated left by `bytes` bytes.
    fn rotate_bytes(self, bytes: usize) -> Self;
    fn load(blocks: &[Block]) -> [Word<Self>; 4];
    fn store(x: &[Word<Self>; 4], blocks: &mut [Block]);
}

/// A 32-bit word of many blocks, bit 0 of each byte first.
type Word<P> = [P; 8];

/// 64 blocks: element k belongs to byte k of the word, byte 0 being the lowest.
#[derive(Clone, Copy)]
struct Wide([u64; 4]);

/// 16 blocks: bit 16k + i belongs to byte k of block i.
#[derive(Clone, Copy)]
struct Narrow(u64);

impl BitXor for Wide {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }
}

impl BitAnd for Wide {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }
}

impl Not for Wide {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Self(self.0.map(|bits| !bits))
    }
}

impl Plane for Wide {
    const BLOCKS: usize = 64;
    const ZERO: Self = Self([0; 4]);

    #[inline(always)]
    fn of_bytes(bytes: [u64; 4]) -> Self {
        Self(bytes)
    }

    #[inline(always)]
    fn rotate_bytes(self, bytes: usize) -> Self {
        Self(std::array::from_fn(|i| self.0[(i + 4 - bytes) % 4]))
    }

    fn load(blocks: &[Block]) -> [Word<Self>; 4] {
        let mut x = [[Self::ZERO; 8]; 4];
        for (half, pair) in x.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            // 64 bits of each block, as a 64x64 matrix: the first word in the upper half.
            let mut matrix: [u64; 64] = std::array::from_fn(|block| {
                u64::from_be_bytes(blocks[block].as_chunks::<8>().0[half])
            });
            transpose(&mut matrix);
            for (word, planes) in pair.iter_mut().enumerate() {
                for (bit, plane) in planes.iter_mut().enumerate() {
                    plane.0 = std::array::from_fn(|byte| matrix[32 * (1 - word) + 8 * byte + bit]);
                }
            }
        }
        x
    }

    fn store(x: &[Word<Self>; 4], blocks: &mut [Block]) {
        for (half, pair) in x.as_chunks::<2>().0.iter().enumerate() {
            let mut matrix = [0u64; 64];
            for (word, planes) in pair.iter().enumerate() {
                for (bit, plane) in planes.iter().enumerate() {
                    for (byte, bits) in plane.0.iter().enumerate() {
                        matrix[32 * (1 - word) + 8 * byte + bit] = *bits;
                    }
                }
            }
            transpose(&mut matrix);
            for (block, bits) in blocks.iter_mut().zip(matrix) {
                block.as_chunks_mut::<8>().0[half] = bits.to_be_bytes();
            }
        }
    }
}

impl BitXor for Narrow {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl BitAnd for Narrow {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Narrow {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl Plane for Narrow {
    const BLOCKS: usize = 16;
    const ZERO: Self = Self(0);

    #[inline(always)]
    fn of_bytes(bytes: [u64; 4]) -> Self {
        Self(
            bytes
                .iter()
                .enumerate()
                .fold(0, |sum, (byte, bits)| sum | (bits & 0xffff) << (16 * byte)),
        )
    }

    #[inline(always)]
    fn rotate_bytes(self, bytes: usize) -> Self {
        Self(self.0.rotate_left(16 * bytes as u32))
    }

    fn load(blocks: &[Block]) -> [Word<Self>; 4] {
        // Row 16k + i holds byte k of the four words of block i; missing blocks stay zero.
        let mut matrix = [0u64; 64];
        for (i, block) in blocks.iter().enumerate() {
            for byte in 0..4 {
                let row = [
                    block[3 - byte],
                    block[7 - byte],
                    block[11 - byte],
                    block[15 - byte],
                ];
                matrix[16 * byte + i] = u64::from(u32::from_le_bytes(row));
            }
        }
        transpose(&mut matrix);
        std::array::from_fn(|word| std::array::from_fn(|bit| Self(matrix[8 * word + bit])))
    }

    fn store(x: &[Word<Self>; 4], blocks: &mut [Block]) {
        let mut matrix = [0u64; 64];
        for (row, plane) in matrix.iter_mut().zip(x.as_flattened()) {
            *row = plane.0;
        }
        transpose(&mut matrix);
        for (i, block) in blocks.iter_mut().enumerate() {
            for byte in 0..4 {
                let row = (matrix[16 * byte + i] as u32).to_le_bytes();
                for (word, value) in row.into_iter().enumerate() {
                    block[4 * word + 3 - byte] = value;
                }
            }
        }
    }
}

/// Pass `blocks` through the 32 rounds, in place.
pub fn apply(round_keys: &[u32; 32], blocks: &mut [Block]) {
    let (many, rest) = blocks.as_chunks_mut::<{ Wide::BLOCKS }>();
    for blocks in many {
        rounds::<Wide>(round_keys, blocks);
    }
    for blocks in rest.chunks_mut(Narrow::BLOCKS) {
        rounds::<Narrow>(round_keys, blocks);
    }
}

/// The S-box on four bytes.
pub fn substitute_word(word: u32) -> u32 {
    let planes = std::array::from_fn(|bit| {
        Narrow::of_bytes(std::array::from_fn(|byte| {
            u64::from(word >> (8 * byte + bit) & 1)
        }))
    });
    let substituted = substitute(planes);
    let mut result = 0;
    for (bit, plane) in substituted.iter().enumerate() {
        for byte in 0..4 {
            result |= ((plane.0 >> (16 * byte) & 1) as u32) << (8 * byte + bit);
        }
    }
    result
}

fn rounds<P: Plane>(round_keys: &[u32; 32], blocks: &mut [Block]) {
    let mut x = P::load(blocks);
    // A number that the compiler does not know: told that a bit is 0 or 1, it made a mask of it by branching on the key.
    let one = black_box(1u32);
    for (i, key) in round_keys.iter().enumerate() {
        let mixed = std::array::from_fn(|bit| {
            let key_bits =
                std::array::from_fn(|byte| u64::from(key >> (8 * byte + bit) & one).wrapping_neg());
            x[(i + 1) % 4][bit] ^ x[(i + 2) % 4][bit] ^ x[(i + 3) % 4][bit] ^ P::of_bytes(key_bits)
        });
        let s = substitute(mixed);
        for bit in 0..8 {
            // Rotation by 2 bits takes the upper two bits of the byte below.
            let rotated = |bytes: usize| {
                if bit >= 2 {
                    s[bit - 2].rotate_bytes(bytes)
                } else {
                    s[bit + 6].rotate_bytes(bytes + 1)
                }
            };
            let linear = s[bit] ^ rotated(0) ^ rotated(1) ^ rotated(2) ^ s[bit].rotate_bytes(3);
            x[i % 4][bit] = x[i % 4][bit] ^ linear;
        }
    }
    x.reverse();
    P::store(&x, blocks);
}

/// An affine map of bytes given by two 16-entry tables, on planes. All indices are constants.
#[inline(always)]
fn affine<P: Plane>(low: &[u8; 16], high: &[u8; 16], x: Word<P>) -> Word<P> {
    let constant = low[0] ^ high[0];
    std::array::from_fn(|row| {
        let mut sum = P::ZERO;
        for (column, plane) in x.iter().enumerate() {
            let image = if column < 4 {
                low[1 << column] ^ low[0]
            } else {
                high[1 << (column - 4)] ^ high[0]
            };
            if image >> row & 1 == 1 {
                sum = sum ^ *plane;
            }
        }
        if constant >> row & 1 == 1 { !sum } else { sum }
    })
}

#[inline(always)]
fn substitute<P: Plane>(x: Word<P>) -> Word<P> {
    let pre = affine(&PRE_LOW, &PRE_HIGH, x);
    affine(&POST_LOW, &POST_HIGH, aes_s_box(pre))
}

/// The AES S-box (its affine half included), bit 0 first.
#[inline(always)]
fn aes_s_box<P: Plane>(q: Word<P>) -> Word<P> {
    let [x7, x6, x5, x4, x3, x2, x1, x0] = q;
    // Linear, into the tower field.
    let y14 = x3 ^ x5;
    let y13 = x0 ^ x6;
    let y9 = x0 ^ x3;
    let y8 = x0 ^ x5;
    let t0 = x1 ^ x2;
    let y1 = t0 ^ x7;
    let y4 = y1 ^ x3;
    let y12 = y13 ^ y14;
    let y2 = y1 ^ x0;
    let y5 = y1 ^ x6;
    let y3 = y5 ^ y8;
    let t1 = x4 ^ y12;
    let y15 = t1 ^ x5;
    let y20 = t1 ^ x1;
    let y6 = y15 ^ x7;
    let y10 = y15 ^ t0;
    let y11 = y20 ^ y9;
    let y7 = x7 ^ y11;
    let y17 = y10 ^ y11;
    let y19 = y10 ^ y8;
    let y16 = t0 ^ y11;
    let y21 = y13 ^ y16;
    let y18 = x0 ^ y16;
    // The inversion.
    let t2 = y12 & y15;
    let t4 = (y3 & y6) ^ t2;
    let t6 = (y4 & x7) ^ t2;
    let t7 = y13 & y16;
    let t9 = (y5 & y1) ^ t7;
    let t11 = (y2 & y7) ^ t7;
    let t12 = y9 & y11;
    let t14 = (y14 & y17) ^ t12;
    let t16 = (y8 & y10) ^ t12;
    let t21 = t4 ^ t14 ^ y20;
    let t22 = t6 ^ t16 ^ y19;
    let t23 = t9 ^ t14 ^ y21;
    let t24 = t11 ^ t16 ^ y18;
    let t25 = t21 ^ t22;
    let t26 = t21 & t23;
    let t27 = t24 ^ t26;
    let t29 = (t25 & t27) ^ t22;
    let t30 = t23 ^ t24;
    let t31 = t22 ^ t26;
    let t33 = (t31 & t30) ^ t24;
    let t34 = t23 ^ t33;
    let t35 = t27 ^ t33;
    let t36 = t24 & t35;
    let t37 = t36 ^ t34;
    let t38 = t27 ^ t36;
    let t40 = t25 ^ (t29 & t38);
    let t41 = t40 ^ t37;
    let t42 = t29 ^ t33;
    let t43 = t29 ^ t40;
    let t44 = t33 ^ t37;
    let t45 = t42 ^ t41;
    let z0 = t44 & y15;
    let z1 = t37 & y6;
    let z2 = t33 & x7;
    let z3 = t43 & y16;
    let z4 = t40 & y1;
    let z5 = t29 & y7;
    let z6 = t42 & y11;
    let z7 = t45 & y17;
    let z8 = t41 & y10;
    let z9 = t44 & y12;
    let z10 = t37 & y3;
    let z11 = t33 & y4;
    let z12 = t43 & y13;
    let z13 = t40 & y5;
    let z14 = t29 & y2;
    let z15 = t42 & y9;
    let z16 = t45 & y14;
    let z17 = t41 & y8;
    // Linear, back and through the affine half.
    let t46 = z15 ^ z16;
    let t47 = z10 ^ z11;
    let t48 = z5 ^ z13;
    let t49 = z9 ^ z10;
    let t50 = z2 ^ z12;
    let t51 = z2 ^ z5;
    let t52 = z7 ^ z8;
    let t53 = z0 ^ z3;
    let t54 = z6 ^ z7;
    let t55 = z16 ^ z17;
    let t56 = z12 ^ t48;
    let t57 = t50 ^ t53;
    let t58 = z4 ^ t46;
    let t59 = z3 ^ t54;
    let t60 = t46 ^ t57;
    let t61 = z14 ^ t57;
    let t62 = t52 ^ t58;
    let t63 = t49 ^ t58;
    let t64 = z4 ^ t59;
    let t65 = t61 ^ t62;
    let t66 = z1 ^ t63;
    let s0 = t59 ^ t63;
    let s6 = t56 ^ !t62;
    let s7 = t48 ^ !t60;
    let t67 = t64 ^ t65;
    let s3 = t53 ^ t66;
    let s4 = t51 ^ t66;
    let s5 = t47 ^ t65;
    let s1 = t64 ^ !s3;
    let s2 = t55 ^ !t67;
    [s7, s6, s5, s4, s3, s2, s1, s0]
}

/// Transpose a 64x64 matrix of bits: bit j of row i changes places with bit i of row j.
fn transpose(rows: &mut [u64; 64]) {
    let mut width = 32;
    let mut mask = u64::MAX >> 32;
    while width > 0 {
        for i in 0..64 {
            if i & width == 0 {
                let swapped = (rows[i] >> width ^ rows[i + width]) & mask;
                rows[i] ^= swapped << width;
                rows[i + width] ^= swapped;
            }
        }
        width /= 2;
        mask ^= mask << width;
    }
}
