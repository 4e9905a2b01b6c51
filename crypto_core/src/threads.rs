//! Batches over several threads, no more of them in the whole process than the container's CPU quota allows.
//!
//! Threads live for one batch: they cost tens of microseconds against the milliseconds of a batch worth sharing, and a
//! process that forks between batches leaves nothing behind.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// 0 means: as many as the operating system grants.
static LIMIT: AtomicUsize = AtomicUsize::new(0);
/// Helpers at work in the process, for all batches together.
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// Use at most `count` threads for one batch and for all batches at a time; 0 asks the operating system (affinity and
/// cgroup quota).
pub fn set_limit(count: usize) {
    LIMIT.store(count, Ordering::Relaxed);
}

/// How many threads may work at a time.
pub fn limit() -> usize {
    static GRANTED: AtomicUsize = AtomicUsize::new(0);
    match LIMIT.load(Ordering::Relaxed) {
        0 => match GRANTED.load(Ordering::Relaxed) {
            0 => {
                let granted = std::thread::available_parallelism().map_or(1, usize::from);
                GRANTED.store(granted, Ordering::Relaxed);
                granted
            }
            granted => granted,
        },
        limit => limit,
    }
}

/// Permission to run some helpers, given back on drop.
struct Permits(usize);

impl Permits {
    fn take(wanted: usize) -> Self {
        let free = limit().saturating_sub(1);
        let mut got = 0;
        let _ = HELPERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| {
            got = wanted.min(free.saturating_sub(busy));
            (got > 0).then_some(busy + got)
        });
        Self(got)
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        HELPERS.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Cut 0..count into pieces of at least `grain`, do them on several threads, and put the answers together in order.
/// The first error wins; `work` must give one answer per number of its range.
pub fn share<T: Send, E: Send>(
    count: usize,
    grain: usize,
    work: impl Fn(Range<usize>) -> Result<Vec<T>, E> + Sync,
) -> Result<Vec<T>, E> {
    let permits = Permits::take((count / grain.max(1)).saturating_sub(1));
    let pieces = permits.0 + 1;
    if pieces == 1 {
        return work(0..count);
    }
    // Whole multiples of eight lanes, as far as there are.
    let size = count.div_ceil(pieces).next_multiple_of(8);
    let piece = |i: usize| (i * size).min(count)..((i + 1) * size).min(count);
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..pieces)
            .map(|i| {
                let work = &work;
                let thread = std::thread::Builder::new();
                (i, thread.spawn_scoped(scope, move || work(piece(i))))
            })
            .collect();
        let mut answers = work(piece(0));
        for (i, helper) in helpers {
            let part = match helper {
                // A panic in a helper is a panic of the batch; there is none to expect.
                Ok(helper) => helper
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // The system gave no thread: then here.
                Err(_) => work(piece(i)),
            };
            answers = answers.and_then(|mut answers| {
                answers.extend(part?);
                Ok(answers)
            });
        }
        answers
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_however_the_work_is_cut() {
        for count in [0, 1, 7, 8, 9, 63, 64, 65, 1000] {
            let answers = share(count, 8, |range| Ok::<_, ()>(range.collect()));
            assert_eq!(answers, Ok((0..count).collect::<Vec<_>>()));
        }
        let refused = share(100, 8, |range| {
            if range.contains(&99) {
                Err("last")
            } else {
                Ok(range.collect())
            }
        });
        assert_eq!(refused, Err("last"));
    }
}
