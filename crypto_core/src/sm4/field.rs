//! The S-box as the standard's algebra describes it, computed in GF(2^8): the reference of the tests.

/// Lowest bit of each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// x^8 + x^7 + x^6 + x^5 + x^4 + x^2 + 1 without x^8: the field in which the S-box inverts.
const POLYNOMIAL: u8 = 0xf5;
/// The constant added before and after the inversion.
const AFFINE_CONSTANT: u64 = 0xd3 * ONES;

/// A linear map of bytes as the images of its eight unit bits.
type Columns = [u8; 8];
/// S(x) = A·(A·x + c)^-1 + c; A is the circulant matrix whose row i is a7 rotated left by i.
const AFFINE: Columns = circulant(0xa7);
const SQUARE: Columns = power_of_two_map(1);
const POWER_4: Columns = power_of_two_map(2);
const POWER_16: Columns = power_of_two_map(4);

const fn circulant(row: u8) -> Columns {
    let mut columns = [0; 8];
    let mut i = 0;
    while i < 64 {
        columns[i % 8] |= (row.rotate_left((i / 8) as u32) >> (i % 8) & 1) << (i / 8);
        i += 1;
    }
    columns
}

/// x -> x^(2^times), which is linear in a field of characteristic two.
const fn power_of_two_map(times: u32) -> Columns {
    let mut columns = [0; 8];
    let mut i = 0;
    while i < 8 {
        let mut value = 1u64 << i;
        let mut j = 0;
        while j < times {
            value = multiply(value, value);
            j += 1;
        }
        columns[i] = value as u8;
        i += 1;
    }
    columns
}

/// Bit `i` of each byte, spread over the whole byte.
const fn spread(bytes: u64, i: usize) -> u64 {
    let bits = bytes >> i & ONES;
    (bits << 8).wrapping_sub(bits)
}

/// Products in the field, byte by byte.
const fn multiply(mut a: u64, b: u64) -> u64 {
    let mut product = 0;
    let mut i = 0;
    while i < 8 {
        product ^= a & spread(b, i);
        let reduction = spread(a, 7) & (POLYNOMIAL as u64 * ONES);
        a = (a << 1 & !ONES) ^ reduction;
        i += 1;
    }
    product
}

fn map(bytes: u64, columns: &Columns) -> u64 {
    let mapped = |(i, column): (usize, &u8)| spread(bytes, i) & (u64::from(*column) * ONES);
    columns
        .iter()
        .enumerate()
        .map(mapped)
        .fold(0, |sum, term| sum ^ term)
}

/// x^254, which is 1/x, and 0 for 0.
fn invert(x: u64) -> u64 {
    let x2 = map(x, &SQUARE);
    let x3 = multiply(x2, x);
    let x12 = map(x3, &POWER_4);
    let x15 = multiply(x12, x3);
    let x240 = map(x15, &POWER_16);
    multiply(multiply(x240, x12), x2)
}

/// The S-box on eight bytes.
pub fn substitute_bytes(bytes: u64) -> u64 {
    map(invert(map(bytes, &AFFINE) ^ AFFINE_CONSTANT), &AFFINE) ^ AFFINE_CONSTANT
}
