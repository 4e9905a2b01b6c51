//! Many messages at once: each lane of a vector digests its own message and takes the next one when it is done.

use super::{BLOCK_LENGTH, DIGEST_LENGTH, Sm3};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::tier::{self, Tier};

/// With fewer messages than this left, one after the other is faster than mostly idle lanes.
const WORTH_LANES: usize = 3;

/// One digest per item, in order: what `start`, continued with that item alone, gives.
///
/// Its time depends on the lengths of the items only.
pub fn finish_many<T: AsRef<[u8]>>(start: &Sm3, items: &[T]) -> Vec<[u8; DIGEST_LENGTH]> {
    finish_many_with(tier::current(), start, items)
}

/// One digest per item, in order.
pub fn digest_many<T: AsRef<[u8]>>(items: &[T]) -> Vec<[u8; DIGEST_LENGTH]> {
    finish_many(&Sm3::new(), items)
}

/// [`finish_many`] in a given tier, which this processor must have.
pub(super) fn finish_many_with<T: AsRef<[u8]>>(
    tier: Tier,
    start: &Sm3,
    items: &[T],
) -> Vec<[u8; DIGEST_LENGTH]> {
    assert!(tier <= tier::best());
    let mut digests = vec![[0; DIGEST_LENGTH]; items.len()];
    let item = |index: usize| items[index].as_ref();
    // Long ones first, so that the lanes end at about the same time.
    let mut order: Vec<usize> = (0..items.len()).collect();
    let blocks = |index: usize| (start.buffered + item(index).len() + 8) / BLOCK_LENGTH;
    if !order.is_sorted_by_key(|index| std::cmp::Reverse(blocks(*index))) {
        order.sort_by_key(|index| std::cmp::Reverse(blocks(*index)));
    }
    let queue = order.iter().map(|index| (*index, item(*index)));
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    match tier {
        // SAFETY: the processor has this tier (asserted above).
        Tier::Avx512 => run(start, queue, &mut digests, |state, data, count| unsafe {
            avx512::compress(state, data, count);
        }),
        // SAFETY: as above.
        Tier::Avx2 => run(start, queue, &mut digests, |state, data, count| unsafe {
            avx2::compress(state, data, count);
        }),
        Tier::Portable => one_by_one(start, queue, &mut digests),
    }
    #[cfg(not(target_arch = "x86_64"))]
    one_by_one(start, queue, &mut digests);
    digests
}

fn one_by_one<'a>(
    start: &Sm3,
    queue: impl Iterator<Item = (usize, &'a [u8])>,
    digests: &mut [[u8; DIGEST_LENGTH]],
) {
    for (index, item) in queue {
        let mut sm3 = start.clone();
        sm3.update(item);
        digests[index] = sm3.finish();
    }
}

/// A message on its way through a lane: first the block begun by `start`, then whole blocks, then the padded end.
/// Filled in place: moving its buffers about would cost short messages more than a round.
struct Lane<'a> {
    /// Place of the message among the items, and whether there is one.
    index: usize,
    busy: bool,
    head: [u8; BLOCK_LENGTH],
    head_waits: bool,
    body: &'a [u8],
    tail: [u8; 2 * BLOCK_LENGTH],
    tail_used: usize,
    tail_end: usize,
}

impl<'a> Lane<'a> {
    const IDLE: Self = Self {
        index: 0,
        busy: false,
        head: [0; BLOCK_LENGTH],
        head_waits: false,
        body: &[],
        tail: [0; 2 * BLOCK_LENGTH],
        tail_used: 0,
        tail_end: 0,
    };

    fn take(&mut self, start: &Sm3, index: usize, mut item: &'a [u8]) {
        let length = start.length.wrapping_add(item.len() as u64);
        let mut filled = start.buffered;
        self.head_waits = filled > 0 && filled + item.len() >= BLOCK_LENGTH;
        if self.head_waits {
            let (taken, rest) = item.split_at(BLOCK_LENGTH - filled);
            self.head[..filled].copy_from_slice(&start.buffer[..filled]);
            self.head[filled..].copy_from_slice(taken);
            item = rest;
            filled = 0;
        }
        let (body, rest) = item.split_at(item.len() / BLOCK_LENGTH * BLOCK_LENGTH);
        self.tail[..filled].copy_from_slice(&start.buffer[..filled]);
        self.tail[filled..filled + rest.len()].copy_from_slice(rest);
        filled += rest.len();
        let end = if filled < BLOCK_LENGTH - 8 { 1 } else { 2 } * BLOCK_LENGTH;
        self.tail[filled] = 0x80;
        self.tail[filled + 1..end - 8].fill(0);
        self.tail[end - 8..end].copy_from_slice(&length.wrapping_mul(8).to_be_bytes());
        (self.index, self.busy, self.body) = (index, true, body);
        (self.tail_used, self.tail_end) = (0, end);
    }

    /// What can be compressed next without a break; empty when the message is done.
    fn next(&self) -> &[u8] {
        if self.head_waits {
            &self.head
        } else if !self.body.is_empty() {
            self.body
        } else {
            &self.tail[self.tail_used..self.tail_end]
        }
    }

    fn consume(&mut self, bytes: usize) {
        if self.head_waits {
            self.head_waits = false;
        } else if !self.body.is_empty() {
            self.body = &self.body[bytes..];
        } else {
            self.tail_used += bytes;
        }
    }
}

fn run<'a, const LANES: usize>(
    start: &Sm3,
    mut queue: impl ExactSizeIterator<Item = (usize, &'a [u8])>,
    digests: &mut [[u8; DIGEST_LENGTH]],
    compress: impl Fn(&mut [[u32; LANES]; 8], &[&[u8]; LANES], usize),
) {
    if queue.len() < WORTH_LANES {
        return one_by_one(start, queue, digests);
    }
    let mut state = [[0u32; LANES]; 8];
    let mut lanes = [const { Lane::IDLE }; LANES];
    loop {
        for (place, lane) in lanes.iter_mut().enumerate().filter(|(_, lane)| !lane.busy) {
            let Some((index, item)) = queue.next() else {
                break;
            };
            lane.take(start, index, item);
            for (row, word) in state.iter_mut().zip(start.state) {
                row[place] = word;
            }
        }
        let mut busy = 0;
        let mut shortest = usize::MAX;
        let mut any = &[][..];
        for lane in lanes.iter().filter(|lane| lane.busy) {
            any = lane.next();
            shortest = shortest.min(any.len());
            busy += 1;
        }
        if busy < WORTH_LANES {
            break;
        }
        // Idle lanes repeat the work of another one; nobody reads their state.
        let data = std::array::from_fn(|place| match &lanes[place] {
            lane if lane.busy => lane.next(),
            _ => any,
        });
        compress(&mut state, &data, shortest / BLOCK_LENGTH);
        for (place, lane) in lanes.iter_mut().enumerate().filter(|(_, lane)| lane.busy) {
            lane.consume(shortest);
            if lane.next().is_empty() {
                let words = std::array::from_fn(|word| state[word][place]);
                digests[lane.index] = super::to_bytes(&words);
                lane.busy = false;
            }
        }
    }
    for (place, mut lane) in lanes.into_iter().enumerate().filter(|(_, lane)| lane.busy) {
        let mut words = std::array::from_fn(|word| state[word][place]);
        while !lane.next().is_empty() {
            let taken = lane.next().len();
            for block in lane.next().as_chunks::<BLOCK_LENGTH>().0 {
                super::compress(&mut words, block);
            }
            lane.consume(taken);
        }
        digests[lane.index] = super::to_bytes(&words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tier_and_batch_size_gives_what_one_by_one_gives() {
        let data: Vec<u8> = (0..4000u32).map(|i| ((i * i) >> 3) as u8).collect();
        for prefix in [0, 1, 32, 63, 64, 100] {
            let mut start = Sm3::new();
            start.update(&data[..prefix]);
            for count in [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 200] {
                for tier in tier::available() {
                    for mixed in [false, true] {
                        let length = |i: usize| if mixed { i * 37 % 700 } else { 256 };
                        let items: Vec<&[u8]> =
                            (0..count).map(|i| &data[i..i + length(i)]).collect();
                        let expected: Vec<_> = items
                            .iter()
                            .map(|item| super::super::digest(&[&data[..prefix], item].concat()))
                            .collect();
                        assert_eq!(
                            finish_many_with(tier, &start, &items),
                            expected,
                            "{tier:?}, {count} items, prefix {prefix}, mixed {mixed}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn one_long_message_among_short_ones_is_right_in_each_tier() {
        let long = vec![0xa5; 100_001];
        let mut items: Vec<&[u8]> = vec![b"abc"; 40];
        items[17] = &long;
        for tier in tier::available() {
            let digests = finish_many_with(tier, &Sm3::new(), &items);
            assert_eq!(digests[17], super::super::digest(&long), "{tier:?}");
            assert_eq!(digests[39], super::super::digest(b"abc"), "{tier:?}");
        }
    }
}
