//! Tables of the public keys in use, bounded: 64 of them, about 16 MiB, the least recently used goes first.

use super::engine::Table;
use super::point::Affine;
use crate::tier::Tier;
use std::sync::{Arc, Mutex, TryLockError};

/// Tables that are kept.
const CAPACITY: usize = 64;

struct Kept {
    key: [u8; 64],
    table: Arc<Table>,
}

/// Least recently used first.
static TABLES: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// The table of `point` (`key` is its x‖y) for `tier`, made now if it is not kept.
pub fn table(key: &[u8; 64], point: &Affine, tier: Tier) -> Arc<Table> {
    let known = locked(|tables| {
        let found = |kept: &Kept| kept.key == *key && kept.table.serves(tier);
        let place = tables.iter().position(found)?;
        tables[place..].rotate_left(1);
        tables.last().map(|kept| kept.table.clone())
    });
    if let Some(Some(table)) = known {
        return table;
    }
    let table = Arc::new(Table::new(point, tier));
    locked(|tables| {
        if tables.len() == CAPACITY {
            tables.remove(0);
        }
        tables.push(Kept {
            key: *key,
            table: table.clone(),
        });
    });
    table
}

/// Work on the kept tables. Gives up after many tries instead of waiting: a lock held across a fork stays held in the child,
/// and a table can always be made again.
fn locked<T>(work: impl FnOnce(&mut Vec<Kept>) -> T) -> Option<T> {
    for _ in 0..1_000 {
        match TABLES.try_lock() {
            Ok(mut tables) => return Some(work(&mut tables)),
            Err(TryLockError::Poisoned(poisoned)) => return Some(work(&mut poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::SigningKey;

    #[test]
    fn no_more_tables_are_kept_than_allowed() {
        for _ in 0..CAPACITY + 3 {
            let key = SigningKey::generate().unwrap();
            let public: [u8; 64] = key.public_key().to_bytes()[1..].try_into().unwrap();
            let first = table(&public, key.public_key().point(), Tier::Portable);
            let second = table(&public, key.public_key().point(), Tier::Portable);
            assert!(Arc::ptr_eq(&first, &second));
        }
        assert!(TABLES.lock().unwrap().len() <= CAPACITY);
    }
}
