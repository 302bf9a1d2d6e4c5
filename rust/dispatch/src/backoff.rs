//! Delays of parked jobs (scheduler spec §9).

/// Small deterministic generator for jitter; the caller seeds it.
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Seeded generator.
    pub fn new(seed: u64) -> Self {
        Jitter(seed)
    }

    /// Number in `0..bound` (splitmix64).
    pub fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1).unsigned_abs()) as i64
    }
}

/// Back-off of routing failures and retries: 1 s doubling to 30 s plus up to 500 ms.
pub fn route_delay_us(failures: i64, jitter: &mut Jitter) -> i64 {
    let exponent = failures.clamp(0, 10) as u32;
    (1_000_000_i64 * 2_i64.pow(exponent) + jitter.below(500_000)).min(30_000_000)
}

/// Back-off while the kernel does not answer: 0.5 s doubling to 5 s, ±20 % below the cap.
pub fn safety_delay_us(defers: i64, jitter: &mut Jitter) -> i64 {
    let base = 500_000_i64 * 2_i64.pow(defers.clamp(0, 10) as u32);
    if base >= 5_000_000 {
        return 5_000_000;
    }
    base * 4 / 5 + jitter.below(base * 2 / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_delays_double_up_to_thirty_seconds() {
        let mut jitter = Jitter::new(7);
        for (failures, low, high) in [
            (0, 1.0, 1.5),
            (1, 2.0, 2.5),
            (4, 16.0, 16.5),
            (5, 30.0, 30.0),
            (49, 30.0, 30.0),
        ] {
            let seconds = route_delay_us(failures, &mut jitter) as f64 / 1e6;
            assert!((low..=high).contains(&seconds), "{failures}: {seconds}");
        }
    }

    #[test]
    fn kernel_outage_delay_never_exceeds_five_seconds() {
        let mut jitter = Jitter::new(1);
        assert!((400_000..600_000).contains(&safety_delay_us(0, &mut jitter)));
        assert_eq!(safety_delay_us(9, &mut jitter), 5_000_000);
    }
}
