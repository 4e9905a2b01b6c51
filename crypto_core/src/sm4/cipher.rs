//! The block cipher: key schedule and four blocks at a time (GB/T 32907-2016, clauses 6 and 7).

#[cfg(target_arch = "x86_64")]
use super::aes_ni;
use super::{BLOCK_LENGTH, Block, KEY_LENGTH, Words, portable};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Blocks that go through the rounds together.
pub const LANES: usize = 4;

const FAMILY_KEY: Words = [0xa3b1_bac6, 0x56aa_3350, 0x677d_9197, 0xb270_22dc];

/// Round keys for one direction; wiped on drop. Constant-time on every processor: no table is indexed by a secret.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Cipher {
    round_keys: [u32; 32],
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
        Self { round_keys }
    }

    /// Prepare for decryption: the same rounds with the keys in reverse.
    pub fn to_decrypt(key: &[u8; KEY_LENGTH]) -> Self {
        let mut cipher = Self::to_encrypt(key);
        cipher.round_keys.reverse();
        cipher
    }

    /// Pass up to four blocks through the cipher, in place.
    pub fn apply(&self, blocks: &mut [Block]) {
        let mut state = [[0; LANES]; 4];
        for (lane, block) in blocks.iter().enumerate() {
            for (row, word) in state.iter_mut().zip(read_words(block)) {
                row[lane] = word;
            }
        }
        rounds(&self.round_keys, &mut state);
        for (lane, block) in blocks.iter_mut().enumerate() {
            for (bytes, row) in block
                .as_chunks_mut::<4>()
                .0
                .iter_mut()
                .zip(state.iter().rev())
            {
                *bytes = row[lane].to_be_bytes();
            }
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

fn rounds(round_keys: &[u32; 32], state: &mut [Words; 4]) {
    #[cfg(target_arch = "x86_64")]
    if aes_ni::rounds(round_keys, state) {
        return;
    }
    portable::rounds(round_keys, state);
}

fn substitute(word: u32) -> u32 {
    let words = [word, 0, 0, 0];
    #[cfg(target_arch = "x86_64")]
    if let Some(substituted) = aes_ni::substitute(words) {
        return substituted[0];
    }
    portable::substitute(words)[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use sm4::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};

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
    fn both_tiers_have_the_same_s_box_on_all_256_bytes() {
        for byte in 0..=255u8 {
            let word = u32::from_le_bytes([byte, byte ^ 0x55, byte.wrapping_add(1), !byte]);
            let words = [word, !word, word.rotate_left(5), 0];
            let portable = portable::substitute(words);
            #[cfg(target_arch = "x86_64")]
            assert!(
                aes_ni::substitute(words).is_none_or(|fast| fast == portable),
                "byte {byte:02x}"
            );
            assert_eq!(portable[3], 0xd6d6_d6d6, "S(0) = d6");
        }
    }

    #[test]
    fn each_tier_agrees_with_another_implementation_in_every_lane() {
        let mut seed = crate::sm3::digest(b"sm4");
        for _ in 0..300 {
            seed = crate::sm3::digest(&seed);
            let (key, block) = (
                seed.first_chunk::<16>().unwrap(),
                seed.last_chunk::<16>().unwrap(),
            );
            let theirs = sm4::Sm4::new(key.into());
            let blocks: [Block; LANES] =
                std::array::from_fn(|lane| block.map(|byte| byte.rotate_left(lane as u32)));
            let mut expected = blocks;
            expected
                .iter_mut()
                .for_each(|block| theirs.encrypt_block(block.into()));

            let cipher = Cipher::to_encrypt(key);
            for count in 0..=LANES {
                let mut ours = blocks;
                cipher.apply(&mut ours[..count]);
                assert_eq!(ours[..count], expected[..count]);
                assert_eq!(ours[count..], blocks[count..]);
            }
            let words = |blocks: &[Block; 4]| -> [Words; 4] {
                std::array::from_fn(|i| std::array::from_fn(|lane| read_words(&blocks[lane])[i]))
            };
            let mut state = words(&blocks);
            portable::rounds(&cipher.round_keys, &mut state);
            state.reverse();
            assert_eq!(state, words(&expected));

            expected
                .iter_mut()
                .for_each(|block| theirs.decrypt_block(block.into()));
            assert_eq!(expected, blocks);
        }
    }
}
