//! The one source of chance: every choice of a run comes from its seed.

/// Deterministic generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Generator of a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed ^ 0x51c9_3d6e_0b5a_77f1)
    }

    /// Next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Number in `low..high`.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).max(1).unsigned_abs();
        low + (self.next() % width) as i64
    }

    /// Index below `count`.
    pub fn index(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    /// True in `per_mille` of 1000 cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.next() % 1000 < u64::from(per_mille)
    }
}
