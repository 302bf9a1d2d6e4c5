//! Words of the instruction detectors in twelve languages, and what each stands for.
//!
//! A stem ends in `*` (up to seven more letters), `+` (up to two) or stands for itself. Stems are written as the view
//! writes words: lower case, no marks. Sources: dictionaries; inflections by hand.

use std::sync::LazyLock;

use super::languages::LANGUAGES;
use crate::bytes::{is, LOWER};

/// What a word can be; several at once.
pub(super) type Roles = u32;

/// Ignore, disregard, forget.
pub(super) const VERB: Roles = 1;
/// Override, bypass: also everyday words of technical text.
pub(super) const TECHNICAL_VERB: Roles = 1 << 1;
/// Not an imperative: `ignored`, `ignores`.
pub(super) const INFLECTED: Roles = 1 << 2;
pub(super) const FOLLOW: Roles = 1 << 3;
pub(super) const NOT: Roles = 1 << 4;
pub(super) const STOP: Roles = 1 << 5;
/// Previous, prior, above, earlier.
pub(super) const PRIOR: Roles = 1 << 6;
pub(super) const YOUR: Roles = 1 << 7;
pub(super) const ALL: Roles = 1 << 8;
pub(super) const SYSTEM: Roles = 1 << 9;
pub(super) const SAFETY: Roles = 1 << 10;
/// Instructions, prompt, guidelines.
pub(super) const STRONG_NOUN: Roles = 1 << 11;
/// Rules, policy, checks, messages: ordinary things as well.
pub(super) const WEAK_NOUN: Roles = 1 << 12;
/// Messages, commands, context: a target only when it is the reader's own or came before.
pub(super) const LOOSE_NOUN: Roles = 1 << 21;
/// Everything, anything.
pub(super) const EVERYTHING: Roles = 1 << 13;
/// Articles and the like.
pub(super) const ARTICLE: Roles = 1 << 14;
/// A word an order may follow: please, now, must.
pub(super) const URGE: Roles = 1 << 15;
pub(super) const MY: Roles = 1 << 16;
/// Must, should, are, be: `instructions should be ignored`.
pub(super) const MODAL: Roles = 1 << 17;
/// `ignoring`.
pub(super) const GERUND: Roles = 1 << 18;
pub(super) const YOU: Roles = 1 << 19;
/// Skip, drop, cancel: an override only of what the reader was told.
pub(super) const EVERYDAY_VERB: Roles = 1 << 20;
/// Void, revoked, suspended: `your instructions are void`.
pub(super) const VOID: Roles = 1 << 22;
pub(super) const NOUN: Roles = STRONG_NOUN | WEAK_NOUN | LOOSE_NOUN;

/// Which detectors a word is reason enough to look at its neighbours for, or is what they look for there. A view without such a
/// word is passed by.
pub(super) type Wakes = u16;

pub(super) const WAKES_OVERRIDE: Wakes = 1;
pub(super) const WAKES_ANNOUNCEMENT: Wakes = 1 << 1;
pub(super) const WAKES_PERSONA: Wakes = 1 << 2;
pub(super) const WAKES_JAILBREAK: Wakes = 1 << 3;
pub(super) const WAKES_THEFT: Wakes = 1 << 4;
pub(super) const WAKES_CALL: Wakes = 1 << 5;
pub(super) const WAKES_SEND: Wakes = 1 << 6;
/// The first word of a persona without bounds.
pub(super) const UNBOUND: Wakes = 1 << 7;
/// Never, no longer, free: what releases from rules.
pub(super) const RELEASE: Wakes = 1 << 8;
/// What makes rules void, beside words of the role `VOID`.
pub(super) const OVER: Wakes = 1 << 9;
/// A thing that may be private.
pub(super) const PRIVATE: Wakes = 1 << 10;
/// Roles that `overrides` starts from.
const OVERRIDING: Roles = VERB | TECHNICAL_VERB | EVERYDAY_VERB | FOLLOW | NOUN;

/// Stems in `-` may go on in any way.
static WAKING: &[(Wakes, &str)] = &[
    (WAKES_OVERRIDE, "aside mind"),
    (WAKES_ANNOUNCEMENT, "overrides supersedes replaces cancels invalidates precedence system"),
    (
        WAKES_PERSONA,
        "now on as like be are pretend roleplay you u you're simulate emulate impersonate of to an become will mode",
    ),
    (WAKES_JAILBREAK, "jailbr-"),
    (
        WAKES_THEFT,
        "prompt- instruction- rule- guideline- directive- message- text words everything content conversation above \
         were have",
    ),
    (
        WAKES_CALL,
        "now must should shall this assistant assistants agent agents ai model llm chatbot copilot",
    ),
    (
        WAKES_SEND,
        "mail send post upload email forward exfiltrate transmit leak submit deliver put append curl request fetch \
         visit open load call",
    ),
    (
        UNBOUND,
        "unrestricted unfiltered uncensored jailbroken unaligned amoral unbound dan developer debug god anything never \
         no without zero free ignores",
    ),
    (RELEASE, "never no free freed liberated"),
    (OVER, "valid apply applies applicable active effect force binding"),
    (
        PRIVATE,
        "secret secrets credential credentials password passwords env environment conversation cookie cookies ssh \
         id_rsa rsa passwd dotenv token tokens key keys history log transcript prompt files file contents documents \
         data messages database emails inbox records context memory contacts",
    ),
];

/// A stem and what it stands for.
struct Stem {
    text: &'static str,
    /// Its first bytes, eight at most, and which bytes of a word they are compared with.
    head: u64,
    mask: u64,
    /// Letters that may follow it.
    more: usize,
    roles: Roles,
    wakes: Wakes,
}

/// Stems by the first bytes of a word.
struct Stems {
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
}

/// Empty places hold 0.
#[derive(Clone, Default)]
struct Bucket {
    heads: [u64; WAYS],
    meanings: [Meaning; WAYS],
}

const WAYS: usize = 4;
const BUCKETS: usize = 1024;

struct Slots {
    all: Vec<Stem>,
    /// Where the stems of a slot begin; they end where those of the next begin.
    starts: Vec<u16>,
}

/// What a word can be, and what it wakes.
type Meaning = (Roles, Wakes);

const SLOTS: usize = 4096;
const BEGINS: usize = 1 << 14;
/// Longest word with a leet character that can be one of the stems.
const LONGEST_LEET: usize = 64;

static STEMS: LazyLock<Stems> = LazyLock::new(|| Stems::new(stems().collect()));

fn stems() -> impl Iterator<Item = Stem> {
    let meanings = LANGUAGES.iter().flat_map(|rows| rows.iter());
    let meanings = meanings.map(|(roles, words)| (*roles, 0, *words));
    let waking = WAKING.iter().map(|(wakes, words)| (0, *wakes, *words));
    meanings.chain(waking).flat_map(|(roles, wakes, words)| {
        let words = words.split_ascii_whitespace();
        words.map(move |word| Stem::of(word, roles, wakes))
    })
}

impl Stem {
    fn of(word: &'static str, roles: Roles, wakes: Wakes) -> Self {
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
    fn new(stems: &[&Stem]) -> Self {
        // Some factor leaves no bucket with too many words; a test says so.
        let factors = (0..64).map(|turn| 0x9E37_79B9_7F4A_7C15_u64.rotate_left(turn) | 1);
        let mut tables = factors.map(|factor| Self::with_factor(stems, factor));
        let first = tables.next();
        let (fits, whole) = first.unwrap_or_else(|| Self::with_factor(stems, 1));
        if fits {
            return whole;
        }
        tables.find(|(fits, _)| *fits).map_or(whole, |(_, whole)| whole)
    }

    /// The table, and whether all words have a place in it.
    fn with_factor(stems: &[&Stem], factor: u64) -> (bool, Self) {
        let mut whole = Self {
            factor,
            buckets: vec![Bucket::default(); BUCKETS],
        };
        let fits = stems.iter().all(|stem| whole.add(stem));
        (fits, whole)
    }

    fn add(&mut self, stem: &Stem) -> bool {
        let place = self.place(stem.head);
        let Some(bucket) = self.buckets.get_mut(place) else {
            return false;
        };
        let mut places = bucket.heads.iter_mut().zip(&mut bucket.meanings);
        let free = places.find(|(head, _)| **head == stem.head || **head == 0);
        let Some((head, (roles, wakes))) = free else {
            return false;
        };
        *head = stem.head;
        *roles |= stem.roles;
        *wakes |= stem.wakes;
        true
    }

    #[inline]
    fn place(&self, head: u64) -> usize {
        (head.wrapping_mul(self.factor) >> 54) as usize % BUCKETS
    }

    #[inline]
    fn at(&self, head: u64) -> Meaning {
        let Some(bucket) = self.buckets.get(self.place(head)) else {
            return (0, 0);
        };
        let (mut roles, mut wakes) = (0, 0);
        for (known, (its_roles, its_wakes)) in bucket.heads.iter().zip(&bucket.meanings) {
            let is_it = *known == head;
            roles |= Roles::from(is_it).wrapping_neg() & its_roles;
            wakes |= Wakes::from(is_it).wrapping_neg() & its_wakes;
        }
        (roles, wakes)
    }
}

impl Stems {
    fn new(all: Vec<Stem>) -> Self {
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
            whole: Whole::new(&whole.iter().collect::<Vec<_>>()),
            longer: Slots::new(longer, four_of),
            begun,
            begun_by_three,
        }
    }

    /// What a word that begins with `head` stands for as it is spelled, and which detectors it wakes.
    #[inline]
    fn read(&self, word: &str, head: u64) -> Meaning {
        let (mut roles, mut wakes) = self.whole.at(if word.len() <= 8 { head } else { 0 });
        let (place, bit) = begin(head);
        if self.begun.get(place).is_some_and(|bits| bits & 1 << bit != 0) {
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
    fn may_begin(&self, three: [u8; 3]) -> bool {
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

/// Reads words one after the other.
pub(super) struct Reader(&'static Stems);

impl Reader {
    pub(super) fn new() -> Self {
        Self(&STEMS)
    }

    /// What a word of the view that begins with `head` stands for, 0 for any other word, and which detectors it wakes.
    /// `is_mixed` says that there is more in it than small letters.
    #[inline]
    pub(super) fn read(&self, word: &str, head: u64, is_mixed: bool) -> Meaning {
        let (mut roles, wakes) = self.0.read(word, head);
        if roles == 0 && is_mixed {
            roles = roles_in_disguise(word);
        }
        let overriding = if roles & OVERRIDING != 0 {
            WAKES_OVERRIDE
        } else {
            0
        };
        (roles, wakes | overriding)
    }
}

/// Roles of a word that is none as it is spelled.
fn roles_in_disguise(word: &str) -> Roles {
    if word.is_ascii() {
        return roles_in_letters(word);
    }
    let is_leet = |byte: u8| matches!(byte, b'0'..=b'9' | b'@' | b'$' | b'!');
    if word.bytes().any(is_leet) {
        return roles_in_letters(word);
    }
    // Hebrew writes prepositions and the article with the noun.
    let mut rest = word;
    for _ in 0..2 {
        if rest.is_ascii() {
            break;
        }
        let Some(shorter) = rest.strip_prefix(['מ', 'ה', 'ב', 'ל', 'ו', 'ש', 'כ']) else {
            break;
        };
        let (found, _) = STEMS.read(shorter, head_of(shorter.as_bytes()));
        if found != 0 {
            return found;
        }
        rest = shorter;
    }
    0
}

/// Roles of a word whose leet characters may be letters. Without any it says what it says as it is spelled.
fn roles_in_letters(word: &str) -> Roles {
    // The first three letters tell nearly always that it is no stem.
    let byte = |place: usize| word.as_bytes().get(place).copied().unwrap_or(0);
    let first = [byte(0), byte(1), byte(2)];
    let [may_be_i, may_be_l] =
        [b'i', b'l'].map(|one| STEMS.may_begin(first.map(|byte| plain_letter(byte, one))));
    if !may_be_i && !may_be_l {
        return 0;
    }
    let other = if may_be_l && word.contains(['1', '!']) {
        as_letters(word, b'l')
    } else {
        0
    };
    let roles = if may_be_i { as_letters(word, b'i') } else { 0 };
    roles | other
}

/// What a word with leet characters says in letters, `pr0mpt` for example; `None` for any other word.
pub(super) fn meant(word: &str) -> Option<impl Iterator<Item = char> + '_> {
    if word.len() > LONGEST_LEET {
        return None;
    }
    let mut leet = 0;
    for byte in word.bytes() {
        let letter = plain_letter(byte, b'i');
        if !is(letter, LOWER) {
            return None;
        }
        // A `1` alone makes no leet word.
        leet += usize::from(letter != byte && byte != ONE);
    }
    let is_word = leet > 0 && leet <= word.len() - leet;
    is_word.then(|| word.bytes().map(|byte| char::from(plain_letter(byte, b'i'))))
}

/// Roles of a word with its leet characters read as letters.
fn as_letters(word: &str, one: u8) -> Roles {
    let bytes = word.as_bytes();
    let mut letters = [0_u8; LONGEST_LEET];
    let Some(letters) = letters.get_mut(..bytes.len()) else {
        return 0;
    };
    for (letter, byte) in letters.iter_mut().zip(bytes) {
        *letter = plain_letter(*byte, one);
    }
    let head = head_of(letters);
    std::str::from_utf8(letters).map_or(0, |word| STEMS.read(word, head).0)
}

/// The letter a leet character stands for; `1` and `!` can be two. Bytes of longer characters stay as they are.
pub(super) fn plain_letter(byte: u8, one: u8) -> u8 {
    match LETTERS.get(usize::from(byte)).copied().unwrap_or(byte) {
        ONE => one,
        letter => letter,
    }
}

/// Stands for what `1` and `!` may be.
const ONE: u8 = b'1';
static LETTERS: [u8; 256] = letters();

const fn letters() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0u8;
    loop {
        #[expect(clippy::indexing_slicing, reason = "a byte, at compile time")]
        {
            table[byte as usize] = match byte {
                b'0' => b'o',
                b'1' | b'!' => ONE,
                b'3' => b'e',
                b'4' | b'@' => b'a',
                b'5' | b'$' => b's',
                b'7' => b't',
                b'8' => b'b',
                b'9' => b'g',
                other => other,
            };
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str) -> (Roles, Wakes) {
        let is_mixed = !word.bytes().all(|byte| byte.is_ascii_lowercase());
        Reader::new().read(word, head_of(word.as_bytes()), is_mixed)
    }

    fn roles(word: &str) -> Roles {
        read(word).0
    }

    #[test]
    fn whole_words_have_places() {
        let stems: Vec<Stem> = stems().filter(Stem::is_whole).collect();
        let stems: Vec<&Stem> = stems.iter().collect();
        assert!(Whole::with_factor(&stems, STEMS.whole.factor).0);
    }

    /// Every stem stands for what it says, alone and with letters behind it.
    #[test]
    fn stems_are_found_by_their_first_bytes() {
        for stem in stems() {
            for more in 0..4 {
                let word = stem.text.to_owned() + &"x".repeat(more);
                let (roles, wakes) = STEMS.read(&word, head_of(word.as_bytes()));
                let has = roles & stem.roles == stem.roles && wakes & stem.wakes == stem.wakes;
                assert!(has || more > stem.more, "{word}");
                // Stems that go on are found by their first four bytes.
                assert!(stem.more == 0 || stem.text.len() >= 4, "{word}");
            }
        }
    }

    #[test]
    fn words_wake_the_detectors_that_start_from_them() {
        assert_eq!(read("you").1, WAKES_PERSONA);
        assert_eq!(read("instructions").1, WAKES_OVERRIDE | WAKES_THEFT);
        assert_eq!(read("promptly").1, WAKES_THEFT);
        assert_eq!(read("1gn0re").1, WAKES_OVERRIDE);
        assert_eq!(read("banana").1, 0);
        let meant = |word: &str| super::meant(word).map(Iterator::collect::<String>);
        assert_eq!(meant("pr0mpt").as_deref(), Some("prompt"));
        for word in ["prompt", "2024", "sha256", "a1b2c3d4e5f6", "é0a"] {
            assert_eq!(meant(word), None, "{word}");
        }
    }

    #[test]
    fn words_stand_for_what_the_tables_say() {
        assert_eq!(roles("ignore"), VERB);
        assert_eq!(roles("1gn0re"), VERB);
        assert_eq!(roles("ignored"), VERB | INFLECTED);
        assert_eq!(roles("anweisungen"), STRONG_NOUN);
        assert_eq!(roles("ru1es"), WEAK_NOUN);
        assert_eq!(roles("предыдущие"), PRIOR);
        assert_eq!(roles("מההוראות"), STRONG_NOUN);
        assert_eq!(roles("instructional"), 0);
        assert_eq!(roles("banana"), 0);
    }
}
