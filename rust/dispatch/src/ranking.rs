//! Workers of every pool in the order in which they are offered jobs, kept current at every change of load.

use std::collections::BTreeSet;

use ahash::AHashMap;

/// Score, turn of the last pick, position in the worker table: lowest first.
pub type Rank = (u64, u64, usize);

/// The workers with room, per pool.
#[derive(Debug, Default)]
pub struct Ranking {
    pools: AHashMap<String, BTreeSet<Rank>>,
    /// Score and turn under which a worker is listed.
    listed: AHashMap<usize, (u64, u64)>,
}

impl Ranking {
    /// List a worker under `rank`, or nowhere when it has no room.
    pub fn put(&mut self, index: usize, pools: &[String], rank: Option<(u64, u64)>) {
        let before = self.listed.get(&index).copied();
        if before == rank {
            return;
        }
        if let Some((score, turn)) = before {
            for pool in pools {
                if let Some(set) = self.pools.get_mut(pool) {
                    set.remove(&(score, turn, index));
                }
            }
        }
        match rank {
            Some((score, turn)) => {
                for pool in pools {
                    self.set(pool).insert((score, turn, index));
                }
                self.listed.insert(index, (score, turn));
            }
            None => {
                self.listed.remove(&index);
            }
        }
    }

    /// Forget everything; the table lists its workers anew.
    pub fn clear(&mut self) {
        self.pools.clear();
        self.listed.clear();
    }

    /// The workers of a pool that have room, best first.
    pub fn of(&self, pool: &str) -> impl Iterator<Item = &Rank> {
        self.pools.get(pool).into_iter().flatten()
    }

    fn set(&mut self, pool: &str) -> &mut BTreeSet<Rank> {
        if !self.pools.contains_key(pool) {
            self.pools.insert(pool.to_owned(), BTreeSet::new());
        }
        self.pools.entry(pool.to_owned()).or_default()
    }
}
