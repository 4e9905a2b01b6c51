//! The SM3 rounds over many lanes, written once for all widths.

/// T_j rotated left by j, for j = 0..64 (GB/T 32905-2016, clause 4.2).
pub(super) const ROUND_CONSTANTS: [u32; 64] = {
    let mut table = [0; 64];
    let mut j = 0;
    while j < 64 {
        let t: u32 = if j < 16 { 0x79cc4519 } else { 0x7a879d8a };
        table[j] = t.rotate_left((j % 32) as u32);
        j += 1;
    }
    table
};

/// The message words of a block that all lanes share, W_j and W'_j (clause 5.3.2): then they are one computation for all.
pub(super) struct SharedBlock {
    pub words: [u32; 64],
    pub sums: [u32; 64],
}

impl SharedBlock {
    pub fn new(block: &[u8; super::BLOCK_LENGTH]) -> Self {
        let expanded = super::expand(block);
        Self {
            words: std::array::from_fn(|j| expanded[j]),
            sums: std::array::from_fn(|j| expanded[j] ^ expanded[j + 4]),
        }
    }
}

/// Expands to one compression into `$state` (8 vectors) of the block whose message words `$load` gives: the first eight where
/// `$half` is 0, the last where it is 1. `$ring` are 16 vectors to work in.
///
/// The caller of each of these macros has in scope: `add`, `xor`, `xor3`, `majority`, `choose`, `set1` and `rol(vector, bits)`.
/// The message words are a ring of 16: W[j+4] replaces W[j-12] in the round that first needs it (clause 5.3.2).
macro_rules! compress_lanes {
    ($state:expr, $ring:expr, $half:ident => $load:expr) => {{
        let w = &mut $ring;
        macro_rules! words {
            ($j:literal) => {{
                // As late as the rounds allow, so that they go on meanwhile.
                if $j == 0 || $j == 4 {
                    let $half = $j / 4;
                    w[8 * $half..8 * $half + 8].copy_from_slice(&$load);
                }
                if $j >= 12 {
                    let x = xor3(
                        w[($j + 4) % 16],
                        w[($j + 11) % 16],
                        rol::<15>(w[($j + 1) % 16]),
                    );
                    w[($j + 4) % 16] = xor3(
                        xor3(x, rol::<15>(x), rol::<23>(x)),
                        rol::<7>(w[($j + 7) % 16]),
                        w[($j + 14) % 16],
                    );
                }
                (w[$j % 16], xor(w[$j % 16], w[($j + 4) % 16]))
            }};
        }
        crate::sm3::rounds::sixty_four_rounds!($state, words);
    }};
}

/// Expands to one compression of a [`SharedBlock`] into `$state` (8 vectors).
macro_rules! compress_shared {
    ($state:expr, $block:expr) => {{
        let block: &crate::sm3::rounds::SharedBlock = $block;
        macro_rules! words {
            ($j:literal) => {
                (set1(block.words[$j]), set1(block.sums[$j]))
            };
        }
        crate::sm3::rounds::sixty_four_rounds!($state, words);
    }};
}

/// Expands to the rounds, with `$words!(j)` for W_j and W'_j, and the addition of the state before.
macro_rules! sixty_four_rounds {
    ($state:expr, $words:ident) => {{
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = $state;
        macro_rules! step {
            ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $j:literal, $ff:ident, $gg:ident) => {
                let (word, words) = $words!($j);
                let rotated = rol::<12>($a);
                let sum = add(
                    add(rotated, set1(crate::sm3::rounds::ROUND_CONSTANTS[$j])),
                    $e,
                );
                let ss1 = rol::<7>(sum);
                let ss2 = xor(ss1, rotated);
                let tt1 = add(add($ff($a, $b, $c), add($d, words)), ss2);
                let tt2 = add(add($gg($e, $f, $g), add($h, word)), ss1);
                $b = rol::<9>($b);
                $d = tt1;
                $f = rol::<19>($f);
                $h = xor3(tt2, rol::<9>(tt2), rol::<17>(tt2));
            };
        }
        macro_rules! four {
            ($j0:literal $j1:literal $j2:literal $j3:literal, $ff:ident, $gg:ident) => {
                step!(a b c d e f g h, $j0, $ff, $gg);
                step!(d a b c h e f g, $j1, $ff, $gg);
                step!(c d a b g h e f, $j2, $ff, $gg);
                step!(b c d a f g h e, $j3, $ff, $gg);
            };
        }
        four!(0 1 2 3, xor3, xor3);
        four!(4 5 6 7, xor3, xor3);
        four!(8 9 10 11, xor3, xor3);
        four!(12 13 14 15, xor3, xor3);
        four!(16 17 18 19, majority, choose);
        four!(20 21 22 23, majority, choose);
        four!(24 25 26 27, majority, choose);
        four!(28 29 30 31, majority, choose);
        four!(32 33 34 35, majority, choose);
        four!(36 37 38 39, majority, choose);
        four!(40 41 42 43, majority, choose);
        four!(44 45 46 47, majority, choose);
        four!(48 49 50 51, majority, choose);
        four!(52 53 54 55, majority, choose);
        four!(56 57 58 59, majority, choose);
        four!(60 61 62 63, majority, choose);
        let new = [a, b, c, d, e, f, g, h];
        for (word, new) in $state.iter_mut().zip(new) {
            *word = xor(*word, new);
        }
    }};
}
pub(super) use {compress_lanes, compress_shared, sixty_four_rounds};
