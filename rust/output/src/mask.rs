//! Sets of detectors.

use smallvec::SmallVec;

/// Place of a detector in its engine: built-in ones in the order of the catalogue, then those of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DetectorId(pub u16);

impl DetectorId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of detectors of one engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mask {
    words: SmallVec<[u64; 8]>,
}

impl Mask {
    pub fn new() -> Mask {
        Mask::default()
    }

    pub fn insert(&mut self, detector: DetectorId) {
        let (word, bit) = (detector.index() / 64, detector.index() % 64);
        if self.words.len() <= word {
            self.words.resize(word.saturating_add(1), 0);
        }
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= 1 << bit;
        }
    }

    pub fn contains(&self, detector: DetectorId) -> bool {
        let (word, bit) = (detector.index() / 64, detector.index() % 64);
        self.words.get(word).is_some_and(|bits| bits & (1 << bit) != 0)
    }

    pub fn union_with(&mut self, other: &Mask) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    pub fn intersects(&self, other: &Mask) -> bool {
        self.words
            .iter()
            .zip(&other.words)
            .any(|(mine, theirs)| mine & theirs != 0)
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|bits| *bits == 0)
    }

    /// Members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = DetectorId> + '_ {
        self.words.iter().enumerate().flat_map(|(word, bits)| {
            let set = (0..64usize).filter(move |bit| bits & (1 << bit) != 0);
            set.map(move |bit| DetectorId(u16::try_from(word * 64 + bit).unwrap_or(u16::MAX)))
        })
    }
}

impl FromIterator<DetectorId> for Mask {
    fn from_iter<I: IntoIterator<Item = DetectorId>>(detectors: I) -> Mask {
        let mut mask = Mask::new();
        detectors.into_iter().for_each(|detector| mask.insert(detector));
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::{DetectorId, Mask};

    #[test]
    fn a_mask_holds_what_was_inserted() {
        let mask: Mask = [3, 64, 700].into_iter().map(DetectorId).collect();
        assert_eq!(mask.iter().map(|id| id.0).collect::<Vec<_>>(), [3, 64, 700]);
        assert!(mask.contains(DetectorId(64)) && !mask.contains(DetectorId(65)));
        assert!(!mask.contains(DetectorId(9_999)));
        let mut other = Mask::new();
        assert!(!mask.intersects(&other) && other.is_empty());
        other.union_with(&mask);
        assert!(mask.intersects(&other));
    }
}
