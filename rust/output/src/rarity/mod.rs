//! Whether a value is rare enough to be a secret, or is a word, a placeholder, a reference (output policy spec §16.6).

mod bigrams;
mod makeup;
mod placeholder;

use std::cell::RefCell;
use std::sync::LazyLock;

use ahash::AHashSet;

use bigrams::SURPRISE;
pub(crate) use makeup::Makeup;
pub(crate) use makeup::{BASE64, BEYOND_ASCII, BLANK, CONSTANT, DOTTED, HEX, LETTER, MARK, NUMBER};
pub(crate) use placeholder::{is_documented, is_placeholder, is_placeholder_of, is_worn_out};

static WORDS: LazyLock<AHashSet<&'static [u8]>> =
    LazyLock::new(|| include_bytes!("words.txt").split(|byte| *byte == b'\n').collect());

/// Values longer than this are judged by their beginning.
const MAX_JUDGED: usize = 512;
/// Mean surprise of a pair, in bits, from which a value looks drawn at random.
const RANDOM_SURPRISE: f32 = 4.6;

/// Count times its logarithm, for every count there can be.
static COUNT_LOG: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let weigh = |count: usize| count as f32 * log_of(count);
    (0..=MAX_JUDGED).map(weigh).collect()
});
/// Those logarithms.
static LOGS: LazyLock<Vec<f32>> = LazyLock::new(|| (0..=MAX_JUDGED).map(log_of).collect());

fn log_of(count: usize) -> f32 {
    (count.max(1) as f32).log2()
}

/// How often each byte occurs.
pub(crate) struct Counts {
    of: [u16; 256],
    /// Bytes that occur more than once, a bit each.
    repeated: [u64; 4],
    total: usize,
    most: u16,
}

impl Counts {
    /// Of the beginning of a value.
    pub fn new(value: &[u8]) -> Counts {
        let value = value.get(..MAX_JUDGED).unwrap_or(value);
        let mut counts = Counts {
            of: [0; 256],
            repeated: [0; 4],
            total: value.len(),
            most: 0,
        };
        for byte in value {
            let Some(count) = counts.of.get_mut(usize::from(*byte)) else {
                continue;
            };
            *count = count.saturating_add(1);
            counts.most = counts.most.max(*count);
            if let Some(bits) = counts.repeated.get_mut(usize::from(byte >> 6)) {
                *bits |= u64::from(*count > 1) << (byte & 63);
            }
        }
        counts
    }

    /// Shannon entropy in bits per byte.
    pub fn entropy(&self) -> f32 {
        if self.total == 0 {
            return 0.0;
        }
        // -Σ p·log p is log n - Σ c·log c / n, and a single byte adds nothing.
        let (mut sum, weights) = (0.0f32, COUNT_LOG.as_slice());
        for (bits, base) in self.repeated.iter().zip((0u32..).step_by(64)) {
            let mut left = *bits;
            while left != 0 {
                let byte = base.saturating_add(left.trailing_zeros()) as usize;
                let count = self.of.get(byte).copied().unwrap_or(0);
                sum += weights.get(usize::from(count)).copied().unwrap_or(0.0);
                left &= left.wrapping_sub(1);
            }
        }
        let log = LOGS.get(self.total).copied().unwrap_or_default();
        log - sum / self.total as f32
    }

    /// Occurrences of the commonest byte.
    pub fn most(&self) -> usize {
        usize::from(self.most)
    }
}

/// Shannon entropy in bits per byte.
pub(crate) fn entropy(value: &[u8]) -> f32 {
    Counts::new(value).entropy()
}

/// No letter or digit.
const NO_SYMBOL: u8 = 36;
/// Letters as 0 to 25, digits behind them.
static SYMBOLS: [u8; 256] = symbols();

const fn symbols() -> [u8; 256] {
    let mut table = [NO_SYMBOL; 256];
    let mut byte = 0u8;
    loop {
        #[expect(clippy::indexing_slicing, reason = "a byte, at compile time")]
        {
            table[byte as usize] = match byte {
                b'a'..=b'z' => byte - b'a',
                b'A'..=b'Z' => byte - b'A',
                b'0'..=b'9' => byte - b'0' + 26,
                _ => NO_SYMBOL,
            };
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

fn symbol(byte: u8) -> usize {
    usize::from(SYMBOLS.get(usize::from(byte)).copied().unwrap_or(NO_SYMBOL))
}

/// Mean surprise of neighbouring letters and digits, in bits; 0 without a pair.
pub(crate) fn surprise(value: &[u8]) -> f32 {
    let value = value.get(..MAX_JUDGED).unwrap_or(value);
    let (mut total, mut pairs) = (0u32, 0u32);
    let (mut first, mut row) = (0u8, usize::from(NO_SYMBOL));
    for second in value {
        let column = symbol(*second);
        if let Some(bits) = SURPRISE.get(row).and_then(|row| row.get(column)) {
            // A change of case inside a word is a surprise that the table does not see.
            let is_turn =
                first.is_ascii_alphabetic() && second.is_ascii_alphabetic() && (first ^ second) & 0x20 != 0;
            total = total.saturating_add(u32::from(*bits) + if is_turn { 16 } else { 0 });
            pairs = pairs.saturating_add(1);
        }
        (first, row) = (*second, column);
    }
    if pairs == 0 {
        0.0
    } else {
        total as f32 / 16.0 / pairs as f32
    }
}

/// A common word of English or of programs, in small letters.
pub(crate) fn is_common_word(value: &[u8]) -> bool {
    WORDS.contains(value)
}

/// Share of the value's letters that belong to common words of four or more letters (three between separators).
pub(crate) fn word_coverage(value: &[u8]) -> f32 {
    let value = value.get(..MAX_JUDGED).unwrap_or(value);
    let mut lower = [0u8; MAX_JUDGED];
    let lower = lower.get_mut(..value.len()).unwrap_or_default();
    lower.copy_from_slice(value);
    lower.make_ascii_lowercase();
    let (mut letters, mut covered, mut start) = (0usize, 0usize, 0usize);
    let mut previous = 0u8;
    for (at, byte) in value.iter().copied().chain([0]).enumerate() {
        let is_letter = byte.is_ascii_alphabetic();
        if !is_letter || byte.is_ascii_uppercase() && previous.is_ascii_lowercase() {
            let word = lower.get(start..at).unwrap_or_default();
            letters = letters.saturating_add(word.len());
            covered = covered.saturating_add(words_within(word));
            start = at.saturating_add(usize::from(!is_letter));
        }
        previous = byte;
    }
    if letters == 0 {
        0.0
    } else {
        covered as f32 / letters as f32
    }
}

/// First four letters of the words that have as many, and words of three, hashed: most parts of a random value are none.
static BEGINNINGS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut filter = vec![0u64; 1024];
    for word in WORDS.iter() {
        let (place, bit) = beginning(word);
        if let Some(bits) = filter.get_mut(place) {
            *bits |= 1 << bit;
        }
    }
    filter
});

fn beginning(word: &[u8]) -> (usize, u32) {
    let head = match word {
        [a, b, c, d, ..] => [*a, *b, *c, *d],
        [a, b, c] => [*a, *b, *c, 0],
        _ => [0; 4],
    };
    let hash = u32::from_le_bytes(head).wrapping_mul(0x9E37_79B1) >> 16;
    ((hash >> 6) as usize, hash & 63)
}

/// Whether a word of four letters or more may begin the text, or one of three be all of it.
fn begins_word(text: &[u8]) -> bool {
    let (place, bit) = beginning(text);
    BEGINNINGS.get(place).is_some_and(|bits| bits & 1 << bit != 0)
}

/// Letters of `word` that common words cover, taken greedily from the left.
fn words_within(word: &[u8]) -> usize {
    if word.len() >= 3 && begins_word(word) && is_word(word) {
        return word.len();
    }
    let (mut at, mut covered) = (0usize, 0usize);
    while at.saturating_add(4) <= word.len() {
        let rest = word.get(at..).unwrap_or_default();
        let longest = if begins_word(rest) { rest.len().min(14) } else { 0 };
        let found = (4..=longest)
            .rev()
            .find(|length| rest.get(..*length).is_some_and(is_word));
        match found {
            Some(length) => {
                covered = covered.saturating_add(length);
                at = at.saturating_add(length);
            }
            None => at = at.saturating_add(1),
        }
    }
    covered
}

fn is_word(word: &[u8]) -> bool {
    WORDS.contains(word)
        || word
            .strip_suffix(b"s")
            .is_some_and(|one| one.len() >= 4 && WORDS.contains(one))
}

/// Number of character classes: lower, upper, digits, others.
pub(crate) fn class_count(value: &[u8]) -> usize {
    Makeup::of(value).classes()
}

pub(crate) fn is_hex(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_hexdigit)
}

/// A value that was judged.
struct Judged {
    bytes: [u8; MAX_REMEMBERED],
    length: usize,
    is_random: bool,
}

/// Longer values are judged anew.
const MAX_REMEMBERED: usize = 96;

thread_local! {
    /// Several detectors ask about one value, one after the other.
    static LAST: RefCell<Judged> = const {
        RefCell::new(Judged {
            bytes: [0; MAX_REMEMBERED],
            length: 0,
            is_random: false,
        })
    };
}

/// Looks drawn at random: entropy above the floor of its alphabet, unusual pairs, no words.
pub(crate) fn is_random(value: &[u8]) -> bool {
    if value.is_empty() || value.len() > MAX_REMEMBERED {
        return looks_random(value);
    }
    LAST.with_borrow_mut(|last| {
        if last.bytes.get(..last.length) != Some(value) {
            last.is_random = looks_random(value);
            last.length = value.len();
            last.bytes
                .iter_mut()
                .zip(value)
                .for_each(|(known, byte)| *known = *byte);
        }
        last.is_random
    })
}

fn looks_random(value: &[u8]) -> bool {
    let made = Makeup::of(value);
    if made.is_all(makeup::HEX) {
        let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
        return entropy(value) >= 3.0 && digits > 0 && digits < value.len();
    }
    // Short values cannot reach the floor: n different characters have log2(n) bits.
    let reachable = (value.len() as f32).log2() - 0.4;
    let floor = if made.is_all(makeup::BASE64) { 3.5f32 } else { 3.0 };
    entropy(value) >= floor.min(reachable) && surprise(value) >= RANDOM_SURPRISE && word_coverage(value) < 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::expand;

    #[test]
    fn random_text_is_told_from_words() {
        let mut found = 0;
        for seed in 0..200 {
            found += usize::from(is_random(expand("<b62:24>", seed).as_bytes()));
            found += usize::from(is_random(expand("<hex:32>", seed).as_bytes()));
            found += usize::from(is_random(expand("<w:40>", seed).as_bytes()));
        }
        assert!(found >= 597, "{found} of 600");
        for text in [
            "application/json; charset=utf-8",
            "getElementById",
            "continuous-integration",
            "rust_output_catalogue_mod",
            "AuthenticationProviderFactory",
            "0000000000000000000000000000",
            "text-embedding-large",
            "user_authentication_service",
        ] {
            assert!(
                !is_random(text.as_bytes()),
                "{text}: {} {}",
                surprise(text.as_bytes()),
                entropy(text.as_bytes())
            );
        }
    }

    #[test]
    fn words_cover_what_people_write() {
        assert!(word_coverage(b"super-private-value") > 0.9);
        assert!(word_coverage(b"kX9vQz2LrT8w") < 0.5);
    }

    #[test]
    fn every_word_passes_the_filter_of_beginnings() {
        let longer = WORDS.iter().filter(|word| word.len() >= 3);
        assert!(longer.clone().count() > 3_000);
        for word in longer {
            assert!(begins_word(word), "{}", String::from_utf8_lossy(word));
        }
    }
}
