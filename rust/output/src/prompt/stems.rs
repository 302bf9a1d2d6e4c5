//! Words by their first bytes: what each stands for is found without a search.

use std::collections::HashMap;

use super::vocabulary::{Roles, Wakes};

/// A stem and what it stands for.
pub(super) struct Stem {
    pub text: &'static str,
    /// Its first bytes, eight at most, and which bytes of a word they are compared with.
    head: u64,
    mask: u64,
    /// Letters that may follow it.
    pub more: usize,
    pub roles: Roles,
    pub wakes: Wakes,
}

/// Stems by the first bytes of a word.
pub(super) struct Stems {
    /// Words of eight bytes at most that are stems themselves.
    whole: Whole,
    /// The other stems, by their first four bytes.
    longer: Slots,
    /// Whether one of those begins with four bytes, a bit for each slot.
    begun: Vec<u64>,
    /// Slots of the first three bytes of all of them.
    begun_by_three: Vec<bool>,
}

/// Words by all their bytes: the place of a word is one of a few, and all of them are looked at, without a branch to guess.
struct Whole {
    factor: u64,
    buckets: Vec<Bucket>,
    /// For each bucket a bit for more of the hash of each of its words: most words of a text are none of them.
    hints: Vec<u64>,
    /// What words stand for, by number; the first is what no word stands for.
    meanings: Vec<Meaning>,
}

/// Empty places hold 0. A bucket is as long as a line of the cache, and all of them stay in it.
#[derive(Clone, Default)]
struct Bucket {
    heads: [u64; WAYS],
    numbers: [u8; WAYS],
}

const WAYS: usize = 8;
const BUCKETS: usize = 256;

struct Slots {
    all: Vec<Stem>,
    /// Where the stems of a slot begin; they end where those of the next begin.
    starts: Vec<u16>,
}

/// What a word can be, and what it wakes.
pub(super) type Meaning = (Roles, Wakes);

const SLOTS: usize = 4096;
const BEGINS: usize = 1 << 14;
impl Stem {
    pub(super) fn of(word: &'static str, roles: Roles, wakes: Wakes) -> Self {
        let more = match word.as_bytes().last() {
            Some(b'*') => 7,
            Some(b'+') => 2,
            Some(b'-') => usize::MAX,
            _ => 0,
        };
        let text = word.strip_suffix(['*', '+', '-']).unwrap_or(word);
        Self {
            text,
            head: head_of(text.as_bytes()),
            mask: u64::MAX >> (64 - 8 * text.len().clamp(1, 8)),
            more,
            roles,
            wakes,
        }
    }
}

/// The first bytes of a word, eight at most; zeros behind a shorter one.
pub(super) fn head_of(word: &[u8]) -> u64 {
    if let Some(eight) = word.first_chunk() {
        return u64::from_le_bytes(*eight);
    }
    match (word.first_chunk(), word.last_chunk()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            u64::from(first) | u64::from(last) << (8 * (word.len() - 4))
        }
        _ => word
            .iter()
            .rev()
            .fold(0, |head, byte| head << 8 | u64::from(*byte)),
    }
}

fn three_of(head: u64) -> u32 {
    head as u32 & 0x00ff_ffff
}

fn four_of(head: u64) -> u32 {
    head as u32
}

/// Word and bit of the slot of a word's first four bytes.
#[inline]
fn begin(head: u64) -> (usize, u32) {
    let hash = four_of(head).wrapping_mul(0x9E37_79B1) >> 18;
    (hash as usize / 64, hash % 64)
}

fn slot(bytes: u32) -> usize {
    (bytes.wrapping_mul(0x9E37_79B1) >> 20) as usize % SLOTS
}

impl Slots {
    fn new(mut all: Vec<Stem>, bytes_of: impl Fn(u64) -> u32) -> Self {
        let slot = |stem: &Stem| slot(bytes_of(stem.head));
        all.sort_by_key(slot);
        let starts = (0..=SLOTS).map(|wanted| {
            let start = all.partition_point(|stem| slot(stem) < wanted);
            u16::try_from(start).unwrap_or(u16::MAX)
        });
        Self {
            starts: starts.collect(),
            all,
        }
    }

    #[inline]
    fn at(&self, slot: usize) -> &[Stem] {
        match self.starts.get(slot..slot + 2) {
            Some([start, end]) if start < end => self
                .all
                .get(usize::from(*start)..usize::from(*end))
                .unwrap_or(&[]),
            _ => &[],
        }
    }
}

impl Whole {
    fn new(stems: &[Stem]) -> Self {
        // Some factor leaves no bucket with too many words; a test says so.
        let factors = (0..64).map(|turn| 0x9E37_79B9_7F4A_7C15_u64.rotate_left(turn) | 1);
        let mut tables = factors.map(|factor| Self::with_factor(stems, factor));
        let fitting = tables.find_map(|(fits, whole)| fits.then_some(whole));
        fitting.unwrap_or_else(|| Self::with_factor(stems, 1).1)
    }

    /// The table, and whether all words have a place in it.
    fn with_factor(stems: &[Stem], factor: u64) -> (bool, Self) {
        let mut whole = Self {
            factor,
            buckets: vec![Bucket::default(); BUCKETS],
            hints: vec![0; BUCKETS],
            meanings: vec![(0, 0)],
        };
        let mut known: HashMap<u64, Meaning> = HashMap::new();
        for stem in stems {
            let (roles, wakes) = known.entry(stem.head).or_default();
            *roles |= stem.roles;
            *wakes |= stem.wakes;
        }
        let fits = known.into_iter().all(|(head, meaning)| whole.add(head, meaning));
        (fits, whole)
    }

    fn add(&mut self, head: u64, meaning: Meaning) -> bool {
        let same = self.meanings.iter().position(|known| *known == meaning);
        let number = same.unwrap_or(self.meanings.len());
        if same.is_none() {
            self.meanings.push(meaning);
        }
        let (place, hint) = self.place(head);
        if let Some(hints) = self.hints.get_mut(place) {
            *hints |= hint;
        }
        let bucket = self.buckets.get_mut(place);
        let places = bucket.map(|bucket| bucket.heads.iter_mut().zip(&mut bucket.numbers));
        let free = places.and_then(|mut places| places.find(|(head, _)| **head == 0));
        match (free, u8::try_from(number)) {
            (Some((place, its_number)), Ok(number)) => {
                (*place, *its_number) = (head, number);
                true
            }
            _ => false,
        }
    }

    /// The bucket of a word, and its bit among the hints.
    #[inline]
    fn place(&self, head: u64) -> (usize, u64) {
        let hash = head.wrapping_mul(self.factor);
        ((hash >> 56) as usize % BUCKETS, 1 << (hash >> 50 & 63))
    }

    #[inline]
    fn may_hold(&self, head: u64) -> bool {
        let (place, hint) = self.place(head);
        self.hints.get(place).is_some_and(|hints| hints & hint != 0)
    }

    #[inline]
    fn at(&self, head: u64) -> Meaning {
        let Some(bucket) = self.buckets.get(self.place(head).0) else {
            return (0, 0);
        };
        let places = bucket.heads.iter().zip(&bucket.numbers);
        let number = places.fold(0, |all, (known, number)| {
            all | u8::from(*known == head).wrapping_neg() & number
        });
        self.meanings.get(usize::from(number)).copied().unwrap_or((0, 0))
    }
}

impl Stems {
    pub(super) fn new(all: Vec<Stem>) -> Self {
        let mut begun_by_three = vec![false; SLOTS];
        for stem in &all {
            if let Some(slot) = begun_by_three.get_mut(slot(three_of(stem.head))) {
                *slot = true;
            }
        }
        let (whole, longer): (Vec<Stem>, Vec<Stem>) = all.into_iter().partition(Stem::is_whole);
        let mut begun = vec![0; BEGINS / 64];
        for stem in &longer {
            let (word, bit) = begin(stem.head);
            if let Some(bits) = begun.get_mut(word) {
                *bits |= 1 << bit;
            }
        }
        Self {
            whole: Whole::new(&whole),
            longer: Slots::new(longer, four_of),
            begun,
            begun_by_three,
        }
    }

    /// Whether a word of so many bytes that begins with `head` may stand for anything as it is spelled.
    #[inline]
    pub(super) fn may_know(&self, head: u64, length: usize) -> bool {
        length <= 8 && self.whole.may_hold(head) || self.has_begun(head)
    }

    #[inline]
    fn has_begun(&self, head: u64) -> bool {
        let (place, bit) = begin(head);
        self.begun.get(place).is_some_and(|bits| bits & 1 << bit != 0)
    }

    /// What a word that begins with `head` stands for as it is spelled, and which detectors it wakes.
    #[inline]
    pub(super) fn read(&self, word: &str, head: u64) -> Meaning {
        let (mut roles, mut wakes) = match word.len() <= 8 && self.whole.may_hold(head) {
            true => self.whole.at(head),
            false => (0, 0),
        };
        if self.has_begun(head) {
            for stem in self.longer.at(slot(four_of(head))) {
                if stem.begins(word, head) {
                    roles |= stem.roles;
                    wakes |= stem.wakes;
                }
            }
        }
        (roles, wakes)
    }

    /// Whether some stem may begin with these three bytes.
    pub(super) fn may_begin(&self, three: [u8; 3]) -> bool {
        self.begun_by_three.get(slot(three_of(head_of(&three)))) == Some(&true)
    }
}

impl Stem {
    /// Whether it is a word of eight bytes at most, and nothing may follow.
    fn is_whole(&self) -> bool {
        self.more == 0 && self.text.len() <= 8
    }

    /// Whether a word that begins with `head` is this stem with no more letters than may follow it.
    #[inline]
    fn begins(&self, word: &str, head: u64) -> bool {
        if self.head != head & self.mask {
            return false;
        }
        // The head of a short stem is all of it.
        let rest = match self.text.len() {
            length @ ..=8 => word.get(length..),
            _ => word.strip_prefix(self.text),
        };
        rest.is_some_and(|rest| rest.len() <= self.more || rest.chars().count() <= self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::stems;
    use super::*;

    #[test]
    fn whole_words_have_places() {
        let stems: Vec<Stem> = stems().filter(Stem::is_whole).collect();
        let whole = Whole::new(&stems);
        assert!(Whole::with_factor(&stems, whole.factor).0);
    }
}
