//! Sets of rule ranks, sparse in two levels: a summary says which words of 64 ranks are not empty, only those are stored.

/// An immutable set of ranks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    summary: Box<[u64]>,
    /// Per summary word: how many stored words come before its own.
    starts: Box<[usize]>,
    words: Box<[u64]>,
}

impl Bits {
    /// Set of `ranks`, in any order.
    pub fn new(ranks: &[u32]) -> Bits {
        let mut sorted = ranks.to_vec();
        sorted.sort_unstable();
        let mut stored: Vec<(usize, u64)> = Vec::new();
        for rank in sorted {
            let (word, bit) = (rank as usize / 64, 1u64 << (rank % 64));
            match stored.last_mut() {
                Some((last, bits)) if *last == word => *bits |= bit,
                _ => stored.push((word, bit)),
            }
        }
        let blocks = stored.last().map_or(0, |(word, _)| word / 64 + 1);
        let mut summary = vec![0u64; blocks];
        let mut starts = vec![0usize; blocks];
        for (at, (word, _)) in stored.iter().enumerate().rev() {
            if let (Some(cell), Some(start)) = (summary.get_mut(word / 64), starts.get_mut(word / 64)) {
                *cell |= 1 << (word % 64);
                *start = at;
            }
        }
        Bits {
            summary: summary.into(),
            starts: starts.into(),
            words: stored.into_iter().map(|(_, bits)| bits).collect(),
        }
    }

    /// Which of the 64 words of `block` hold anything.
    #[inline]
    pub fn summary(&self, block: usize) -> u64 {
        self.summary.get(block).copied().unwrap_or(0)
    }

    /// The 64 ranks from `word` × 64 on.
    #[inline]
    pub fn word(&self, word: usize) -> u64 {
        let (block, bit) = (word / 64, word % 64);
        let summary = self.summary(block);
        if summary >> bit & 1 == 0 {
            return 0;
        }
        let before = (summary & ((1u64 << bit) - 1)).count_ones() as usize;
        let start = self.starts.get(block).copied().unwrap_or(0);
        self.words.get(start + before).copied().unwrap_or(0)
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn a_set_holds_exactly_what_was_put_in() {
        let ranks = [0u32, 63, 64, 4095, 4096, 9000, 123_456];
        let bits = Bits::new(&[9000, 0, 64, 63, 4096, 123_456, 4095, 0]);
        for word in 0..2000 {
            for bit in 0..64u32 {
                let rank = word * 64 + bit;
                let held = bits.word(word as usize) >> bit & 1 == 1;
                assert_eq!(held, ranks.contains(&rank), "{rank}");
            }
        }
        assert!(Bits::new(&[]).is_empty());
    }
}
