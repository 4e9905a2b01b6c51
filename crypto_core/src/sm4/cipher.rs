//! The block cipher: key schedule and any number of blocks (GB/T 32907-2016, clauses 6 and 7).

use super::{BLOCK_LENGTH, Block, KEY_LENGTH, bitslice, xor};
#[cfg(target_arch = "x86_64")]
use super::{aes_ni, gfni, planes::PlaneKeys};
use crate::tier::{self, Tier};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The four words of a block.
type Words = [u32; 4];

const FAMILY_KEY: Words = [0xa3b1_bac6, 0x56aa_3350, 0x677d_9197, 0xb270_22dc];

/// Round keys for one direction; wiped on drop. Constant-time on every processor: no table is indexed by a secret.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Cipher {
    round_keys: [u32; 32],
    #[cfg(target_arch = "x86_64")]
    plane_keys: PlaneKeys,
}

impl Cipher {
    /// Prepare for encryption.
    pub fn to_encrypt(key: &[u8; KEY_LENGTH]) -> Self {
        let mut words = read_words(key);
        words
            .iter_mut()
            .zip(FAMILY_KEY)
            .for_each(|(word, constant)| *word ^= constant);
        let mut round_keys = [0; 32];
        for (i, round_key) in round_keys.iter_mut().enumerate() {
            let mixed =
                words[(i + 1) % 4] ^ words[(i + 2) % 4] ^ words[(i + 3) % 4] ^ schedule_constant(i);
            let b = substitute(mixed);
            words[i % 4] ^= b ^ b.rotate_left(13) ^ b.rotate_left(23);
            *round_key = words[i % 4];
        }
        words.zeroize();
        Self::new(round_keys)
    }

    /// Prepare for decryption: the same rounds with the keys in reverse.
    pub fn to_decrypt(key: &[u8; KEY_LENGTH]) -> Self {
        let mut round_keys = Self::to_encrypt(key).round_keys;
        round_keys.reverse();
        Self::new(round_keys)
    }

    /// Keep the round keys in the forms that this processor's tiers ask for, and wipe what was given.
    #[allow(unsafe_code)]
    fn new(mut given: [u32; 32]) -> Self {
        let cipher = Self {
            round_keys: given,
            #[cfg(target_arch = "x86_64")]
            plane_keys: match tier::best() {
                // SAFETY: the processor has this tier's instructions.
                Tier::Avx512 => unsafe { PlaneKeys::new(&given) },
                _ => PlaneKeys::UNUSED,
            },
        };
        given.zeroize();
        cipher
    }

    /// Pass `blocks` through the cipher, in place.
    pub fn apply(&self, blocks: &mut [Block]) {
        self.apply_with(tier::current(), blocks);
    }

    /// CBC in place on the blocks of many lanes, as many of each as all have; `states` are the blocks before, then the last ones.
    pub fn chain(&self, states: &mut [Block], lanes: &mut [&mut [Block]]) {
        let steps = lanes.iter().map(|lane| lane.len()).min().unwrap_or(0);
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        let (states, lanes) = if tier::current() == Tier::Avx512 {
            let (states, states_left) = states.as_chunks_mut();
            let (lanes, lanes_left) = lanes.as_chunks_mut();
            let (state_pairs, states) = states.as_chunks_mut::<2>();
            let (lane_pairs, lanes) = lanes.as_chunks_mut::<2>();
            for (states, lanes) in state_pairs.iter_mut().zip(lane_pairs) {
                // SAFETY: the current tier is one that this processor has.
                unsafe { gfni::chain(&self.plane_keys, steps, states, lanes) };
            }
            if let ([states], [lanes]) = (states, lanes) {
                let (states, lanes) = (std::array::from_mut(states), std::array::from_mut(lanes));
                // SAFETY: as above.
                unsafe { gfni::chain(&self.plane_keys, steps, states, lanes) };
            }
            (states_left, lanes_left)
        } else {
            (states, lanes)
        };
        if states.is_empty() {
            return;
        }
        for step in 0..steps {
            for (state, lane) in states.iter_mut().zip(lanes.iter()) {
                xor(state, &lane[step]);
            }
            self.apply(states);
            for (state, lane) in states.iter().zip(lanes.iter_mut()) {
                lane[step] = *state;
            }
        }
    }

    /// [`Self::apply`] in a given tier, which this processor must have.
    #[allow(unsafe_code)]
    fn apply_with(&self, tier: Tier, blocks: &mut [Block]) {
        assert!(tier <= tier::best());
        #[cfg(target_arch = "x86_64")]
        match tier {
            // SAFETY: the processor has this tier's instructions (asserted above).
            Tier::Avx512 if blocks.len() > 4 => unsafe {
                gfni::apply(&self.round_keys, &self.plane_keys, blocks);
            },
            // SAFETY: as above; the tier includes the one below.
            Tier::Avx2 | Tier::Avx512 => unsafe { aes_ni::apply(&self.round_keys, blocks) },
            Tier::Portable => bitslice::apply(&self.round_keys, blocks),
        }
        #[cfg(not(target_arch = "x86_64"))]
        bitslice::apply(&self.round_keys, blocks);
    }
}

/// Fill `blocks` with counter blocks, as GCM counts: for each nonce as many as it says, from `first` on.
pub fn count<'a>(
    blocks: &mut [Block],
    nonces: impl Iterator<Item = (&'a [u8; 12], usize)>,
    first: u32,
) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    if tier::current() == Tier::Avx512 {
        // SAFETY: the current tier is one that this processor has.
        return unsafe { gfni::count(blocks, nonces, first) };
    }
    let mut rest = blocks;
    for (nonce, wanted) in nonces {
        let (blocks, after) = std::mem::take(&mut rest).split_at_mut(wanted);
        rest = after;
        let mut start = [0; BLOCK_LENGTH];
        start[..nonce.len()].copy_from_slice(nonce);
        let start = u128::from_le_bytes(start);
        for (i, block) in blocks.iter_mut().enumerate() {
            let counter = first.wrapping_add(i as u32).swap_bytes();
            *block = (start | u128::from(counter) << 96).to_le_bytes();
        }
    }
}

/// CK_i: byte j is (4i + j)·7 modulo 256.
fn schedule_constant(i: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|j| ((4 * i + j) * 7) as u8))
}

fn read_words(block: &[u8; BLOCK_LENGTH]) -> Words {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

#[allow(unsafe_code)]
fn substitute(word: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if tier::current() >= Tier::Avx2 {
        // SAFETY: the current tier is one that this processor has.
        return unsafe { aes_ni::substitute(word) };
    }
    bitslice::substitute_word(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::sm4::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
    use hex_literal::hex;

    const SAMPLE: Block = hex!("0123456789abcdeffedcba9876543210");

    #[test]
    fn one_round_trip_of_the_standard_and_its_million_rounds() {
        let mut block = [SAMPLE];
        let cipher = Cipher::to_encrypt(&SAMPLE);
        cipher.apply(&mut block);
        assert_eq!(block[0], hex!("681edf34d206965e86b3e94f536e4246"));
        Cipher::to_decrypt(&SAMPLE).apply(&mut block);
        assert_eq!(block[0], SAMPLE);
        for _ in 0..1_000_000 {
            cipher.apply(&mut block);
        }
        assert_eq!(block[0], hex!("595298c7c6fd271f0402f804c33d3f66"));
    }

    #[test]
    fn each_tier_has_the_s_box_of_the_field_on_all_256_bytes() {
        for byte in 0..=255u8 {
            let bytes = [byte, byte ^ 0x55, byte.wrapping_add(1), !byte];
            let word = u32::from_le_bytes(bytes);
            let expected = super::super::field::substitute_bytes(u64::from(word)) as u32;
            assert_eq!(bitslice::substitute_word(word), expected, "byte {byte:02x}");
            assert_eq!(substitute(word), expected, "byte {byte:02x}");
        }
        assert_eq!(substitute(0), 0xd6d6_d6d6, "S(0) = d6");
    }

    #[test]
    fn each_tier_agrees_with_another_implementation_for_every_number_of_blocks() {
        let mut seed = crate::sm3::digest(b"sm4");
        for count in (0..=140).chain([255, 256, 257]) {
            seed = crate::sm3::digest(&seed);
            let key = seed.first_chunk::<16>().unwrap();
            let theirs = ::sm4::Sm4::new(key.into());
            let blocks: Vec<Block> = (0..count as u32)
                .map(|i| *crate::sm3::digest(&i.to_be_bytes()).first_chunk().unwrap())
                .collect();
            let mut expected = blocks.clone();
            expected
                .iter_mut()
                .for_each(|block| theirs.encrypt_block(block.into()));
            let cipher = Cipher::to_encrypt(key);
            let back = Cipher::to_decrypt(key);
            for tier in tier::available() {
                let mut ours = blocks.clone();
                cipher.apply_with(tier, &mut ours);
                assert_eq!(ours, expected, "{tier:?}, {count} blocks");
                back.apply_with(tier, &mut ours);
                assert_eq!(ours, blocks, "{tier:?}, {count} blocks back");
            }
            expected
                .iter_mut()
                .for_each(|block| theirs.decrypt_block(block.into()));
            assert_eq!(expected, blocks);
        }
    }
}
