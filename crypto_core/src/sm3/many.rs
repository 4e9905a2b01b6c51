//! Many messages at once: each lane of a vector digests its own message.

use super::rounds::SharedBlock;
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
    // Long ones first, so that the lanes end at about the same time.
    let mut order: Vec<usize> = (0..items.len()).collect();
    let blocks = |index: usize| (start.buffered + items[index].as_ref().len() + 8) / BLOCK_LENGTH;
    if !same_length(items) && !order.is_sorted_by_key(|index| std::cmp::Reverse(blocks(*index))) {
        order.sort_by_key(|index| std::cmp::Reverse(blocks(*index)));
    }
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    match tier {
        // SAFETY: the processor has this tier (asserted above).
        Tier::Avx512 => run(
            start,
            items,
            &order,
            &mut digests,
            |state, data, count, end| unsafe {
                avx512::compress(state, data, count, end);
            },
            // SAFETY: as above.
            |state| unsafe { avx512::digests(state) },
        ),
        // SAFETY: as above.
        Tier::Avx2 => run(
            start,
            items,
            &order,
            &mut digests,
            |state, data, count, end| unsafe {
                avx2::compress(state, data, count, end);
            },
            lane_by_lane,
        ),
        Tier::Portable => one_by_one(start, items, &order, &mut digests),
    }
    #[cfg(not(target_arch = "x86_64"))]
    one_by_one(start, items, &order, &mut digests);
    digests
}

fn one_by_one<T: AsRef<[u8]>>(
    start: &Sm3,
    items: &[T],
    order: &[usize],
    digests: &mut [[u8; DIGEST_LENGTH]],
) {
    for index in order {
        let mut sm3 = start.clone();
        sm3.update(items[*index].as_ref());
        digests[*index] = sm3.finish();
    }
}

/// Full groups of messages of one shape go through the lanes together; what lies between them, each lane on its own.
fn run<T: AsRef<[u8]>, const LANES: usize>(
    start: &Sm3,
    items: &[T],
    order: &[usize],
    digests: &mut [[u8; DIGEST_LENGTH]],
    compress: impl Fn(&mut [[u32; LANES]; 8], &[&[u8]; LANES], usize, Option<&SharedBlock>),
    finish: impl Fn(&[[u32; LANES]; 8]) -> [[u8; DIGEST_LENGTH]; LANES],
) {
    let shape = |index: usize| Shape::new(start, items[index].as_ref().len());
    let mut mixed = 0..0;
    let mut ends = SharedEnd::default();
    while let Some(group) = order[mixed.end..].first_chunk::<LANES>() {
        let common = shape(group[0]);
        let texts = group.map(|index| items[index].as_ref());
        if same_length(&texts) || group.iter().all(|index| shape(*index) == common) {
            run_mixed(start, items, &order[mixed.clone()], digests, &compress);
            let state = run_group(start, &common, &texts, &mut ends, &compress);
            for (index, digest) in group.iter().zip(finish(&state)) {
                digests[*index] = digest;
            }
            mixed = mixed.end + LANES..mixed.end + LANES;
        } else {
            mixed.end += LANES;
        }
    }
    run_mixed(start, items, &order[mixed.start..], digests, &compress);
}

fn lane_by_lane<const LANES: usize>(state: &[[u32; LANES]; 8]) -> [[u8; DIGEST_LENGTH]; LANES] {
    std::array::from_fn(|place| super::to_bytes(&state.map(|row| row[place])))
}

/// How a message falls into blocks: with the block that `start` began, whole ones, and one or two padded ones at the end.
#[derive(PartialEq)]
struct Shape {
    begins_full: bool,
    whole: usize,
    padded: usize,
}

impl Shape {
    fn new(start: &Sm3, length: usize) -> Self {
        let total = start.buffered + length;
        let begins_full = start.buffered > 0 && total >= BLOCK_LENGTH;
        Self {
            begins_full,
            whole: total / BLOCK_LENGTH - usize::from(begins_full),
            padded: if total % BLOCK_LENGTH < BLOCK_LENGTH - 8 {
                1
            } else {
                2
            },
        }
    }
}

/// The states after messages of one shape.
fn run_group<const LANES: usize>(
    start: &Sm3,
    shape: &Shape,
    texts: &[&[u8]; LANES],
    ends: &mut SharedEnd,
    compress: impl Fn(&mut [[u32; LANES]; 8], &[&[u8]; LANES], usize, Option<&SharedBlock>),
) -> [[u32; LANES]; 8] {
    let mut state = start.state.map(|word| [word; LANES]);
    let begun = &start.buffer[..start.buffered];
    let mut rests = *texts;
    if shape.begins_full {
        let mut heads = [[0; BLOCK_LENGTH]; LANES];
        for (head, rest) in heads.iter_mut().zip(&mut rests) {
            let (taken, after) = rest.split_at(BLOCK_LENGTH - begun.len());
            head[..begun.len()].copy_from_slice(begun);
            head[begun.len()..].copy_from_slice(taken);
            *rest = after;
        }
        compress(&mut state, &heads.each_ref().map(|head| &head[..]), 1, None);
    }
    let begun = if shape.begins_full { &[] } else { begun };
    let filled = begun.len() + rests[0].len() - shape.whole * BLOCK_LENGTH;
    // Where all end at the same place, a last block without any byte of a message is the same for all.
    let end = (same_length(texts) && (filled == 0 || shape.padded == 2))
        .then(|| ends.get(filled, start.length.wrapping_add(texts[0].len() as u64)));
    let own = shape.padded - usize::from(end.is_some());
    if own == 0 {
        compress(&mut state, &rests, shape.whole, end);
        return state;
    }
    if shape.whole > 0 {
        compress(&mut state, &rests, shape.whole, None);
    }
    let mut tails = [[0; 2 * BLOCK_LENGTH]; LANES];
    for ((tail, rest), text) in tails.iter_mut().zip(rests).zip(texts) {
        let length = start.length.wrapping_add(text.len() as u64);
        pad(tail, begun, &rest[shape.whole * BLOCK_LENGTH..], length);
    }
    let tails = tails.each_ref().map(|tail| &tail[..]);
    compress(&mut state, &tails, own, end);
    state
}

/// The last block of messages of one length, kept for the next group.
#[derive(Default)]
struct SharedEnd(Option<(u64, SharedBlock)>);

impl SharedEnd {
    /// That of messages of `length` bytes which fill their last block up to `filled`: 0, or so far that the length has no room.
    fn get(&mut self, filled: usize, length: u64) -> &SharedBlock {
        let fresh = || {
            let mut tail = [0; 2 * BLOCK_LENGTH];
            let end = pad(&mut tail, &[], &[0; BLOCK_LENGTH][..filled], length);
            let block = tail[..end].last_chunk().expect("one block or two");
            (length, SharedBlock::new(block))
        };
        if self.0.as_ref().is_some_and(|(kept, _)| *kept != length) {
            self.0 = None;
        }
        &self.0.get_or_insert_with(fresh).1
    }
}

fn same_length<T: AsRef<[u8]>>(texts: &[T]) -> bool {
    let mut lengths = texts.iter().map(|text| text.as_ref().len());
    let first = lengths.next();
    lengths.all(|length| Some(length) == first)
}

/// Write the end of a message of `length` bytes, `begun` and `rest`, with its padding (clause 5.2); its length, 64 or 128.
#[inline]
fn pad(tail: &mut [u8; 2 * BLOCK_LENGTH], begun: &[u8], rest: &[u8], length: u64) -> usize {
    let filled = begun.len() + rest.len();
    let end = if filled < BLOCK_LENGTH - 8 { 1 } else { 2 } * BLOCK_LENGTH;
    tail[..begun.len()].copy_from_slice(begun);
    tail[begun.len()..filled].copy_from_slice(rest);
    tail[filled] = 0x80;
    tail[filled + 1..end - 8].fill(0);
    tail[end - 8..end].copy_from_slice(&length.wrapping_mul(8).to_be_bytes());
    end
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
        let end = pad(&mut self.tail, &start.buffer[..filled], rest, length);
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

/// Messages of any lengths: a lane that is done takes the next one.
fn run_mixed<T: AsRef<[u8]>, const LANES: usize>(
    start: &Sm3,
    items: &[T],
    order: &[usize],
    digests: &mut [[u8; DIGEST_LENGTH]],
    compress: impl Fn(&mut [[u32; LANES]; 8], &[&[u8]; LANES], usize, Option<&SharedBlock>),
) {
    if order.len() < WORTH_LANES {
        return one_by_one(start, items, order, digests);
    }
    let mut queue = order.iter().map(|index| (*index, items[*index].as_ref()));
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
        compress(&mut state, &data, shortest / BLOCK_LENGTH, None);
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
            super::compress(&mut words, lane.next().as_chunks().0);
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

    /// 100,000 messages, alone and together in each tier, against RustCrypto's `sm3`; their answers are computed once.
    #[test]
    fn each_tier_agrees_with_another_implementation_on_100_000_messages() {
        use ::sm3::Digest as _;
        let data: Vec<u8> = (0..2000u32).map(|i| ((i * i) >> 5) as u8).collect();
        let item = |i: usize| &data[i % 1511..][..i * 7919 % 331];
        let items: Vec<&[u8]> = (0..100_000).map(item).collect();
        let expected: Vec<[u8; DIGEST_LENGTH]> = items
            .iter()
            .map(|item| ::sm3::Sm3::digest(item).into())
            .collect();
        for (item, expected) in items.iter().zip(&expected) {
            assert_eq!(super::super::digest(item), *expected);
        }
        for tier in tier::available() {
            // All lengths mixed, and all messages of one length together.
            let mut order: Vec<usize> = (0..items.len()).collect();
            for _ in 0..2 {
                let items: Vec<&[u8]> = order.iter().map(|i| items[*i]).collect();
                let digests = finish_many_with(tier, &Sm3::new(), &items);
                for (i, digest) in order.iter().zip(digests) {
                    assert_eq!(digest, expected[*i], "{tier:?}, item {i}");
                }
                order.sort_by_key(|i| item(*i).len());
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
