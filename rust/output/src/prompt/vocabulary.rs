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

/// Which detectors a word is reason enough to look at its neighbours for. Every other word they pass by.
pub(super) type Wakes = u8;

pub(super) const WAKES_OVERRIDE: Wakes = 1;
pub(super) const WAKES_ANNOUNCEMENT: Wakes = 1 << 1;
pub(super) const WAKES_PERSONA: Wakes = 1 << 2;
pub(super) const WAKES_JAILBREAK: Wakes = 1 << 3;
pub(super) const WAKES_THEFT: Wakes = 1 << 4;
pub(super) const WAKES_CALL: Wakes = 1 << 5;
pub(super) const WAKES_SEND: Wakes = 1 << 6;
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

/// Stems of at least so many bytes are found by as many.
const LONG: usize = 4;

/// Stems by the first bytes of a word: long ones by four, short ones by three.
struct Stems {
    long: Slots,
    short: Slots,
    /// Slots of the first three bytes of all of them.
    begun: Vec<bool>,
}

struct Slots {
    all: Vec<Stem>,
    /// Where the stems of a slot begin; they end where those of the next begin.
    starts: Vec<u16>,
}

const SLOTS: usize = 4096;
/// Longest word with a leet character that can be one of the stems.
const LONGEST_LEET: usize = 64;

static STEMS: LazyLock<Stems> = LazyLock::new(|| {
    let meanings = LANGUAGES.iter().flat_map(|rows| rows.iter());
    let meanings = meanings.map(|(roles, words)| (*roles, 0, *words));
    let waking = WAKING.iter().map(|(wakes, words)| (0, *wakes, *words));
    let mut all: Vec<Stem> = Vec::new();
    for (roles, wakes, words) in meanings.chain(waking) {
        for word in words.split_ascii_whitespace() {
            let more = match word.as_bytes().last() {
                Some(b'*') => 7,
                Some(b'+') => 2,
                Some(b'-') => usize::MAX,
                _ => 0,
            };
            let text = word.strip_suffix(['*', '+', '-']).unwrap_or(word);
            all.push(Stem {
                text,
                head: head_of(text.as_bytes()),
                mask: u64::MAX >> (64 - 8 * text.len().clamp(1, 8)),
                more,
                roles,
                wakes,
            });
        }
    }
    let mut begun = vec![false; SLOTS];
    for stem in &all {
        if let Some(slot) = begun.get_mut(slot(three_of(stem.head))) {
            *slot = true;
        }
    }
    let (long, short) = all.into_iter().partition(|stem| stem.text.len() >= LONG);
    Stems {
        long: Slots::new(long, four_of),
        short: Slots::new(short, three_of),
        begun,
    }
});

/// The first bytes of a word, eight at most; zeros behind a shorter one.
fn head_of(word: &[u8]) -> u64 {
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

impl Stems {
    /// What a word that begins with `head` stands for as it is spelled, and which detectors it wakes.
    fn read(&self, word: &str, head: u64) -> (Roles, Wakes) {
        let (mut roles, mut wakes) = (0, 0);
        let long = self.long.at(slot(four_of(head)));
        let short = self.short.at(slot(three_of(head)));
        for stem in long.iter().chain(short) {
            if stem.head != head & stem.mask {
                continue;
            }
            // The head of a short stem is all of it.
            let rest = match stem.text.len() {
                length @ ..=8 => word.get(length..),
                _ => word.strip_prefix(stem.text),
            };
            let Some(rest) = rest else { continue };
            if rest.len() <= stem.more || rest.chars().count() <= stem.more {
                roles |= stem.roles;
                wakes |= stem.wakes;
            }
        }
        (roles, wakes)
    }

    /// Whether some stem may begin with these three bytes.
    fn may_begin(&self, three: [u8; 3]) -> bool {
        self.begun.get(slot(three_of(head_of(&three)))) == Some(&true)
    }
}

/// What a word of the view stands for, 0 for any other word, and which detectors it wakes.
pub(super) fn read(word: &str) -> (Roles, Wakes) {
    let head = head_of(word.as_bytes());
    let (plain, wakes) = STEMS.read(word, head);
    let is_plain = plain != 0 || is_lower(word.as_bytes(), head);
    let roles = if is_plain { plain } else { roles_in_disguise(word) };
    let overriding = if roles & OVERRIDING != 0 {
        WAKES_OVERRIDE
    } else {
        0
    };
    (roles, wakes | overriding)
}

/// Whether a word that begins with `head` is made of small letters only.
fn is_lower(word: &[u8], head: u64) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    if word.len() > 8 {
        return word.iter().all(|byte| is(*byte, LOWER));
    }
    // The top bit of each byte tells: at least `a`, and not more than `z`, and ASCII. What a byte beyond ASCII adds to the next
    // does not matter, as it is no small letter itself.
    let letters = head.wrapping_add(ONES * 0x1f) & !head.wrapping_add(ONES * 0x05) & !head;
    let wanted = (ONES * 0x80).checked_shr(64 - 8 * word.len() as u32).unwrap_or(0);
    letters & wanted == wanted
}

/// Roles of a word that is none as it is spelled.
fn roles_in_disguise(word: &str) -> Roles {
    let is_leet = |byte: u8| matches!(byte, b'0'..=b'9' | b'@' | b'$' | b'!');
    if word.bytes().any(is_leet) {
        let other = if word.contains(['1', '!']) {
            as_letters(word, b'l')
        } else {
            0
        };
        return as_letters(word, b'i') | other;
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

/// What a word with leet characters says in letters, `pr0mpt` for example; `None` for any other word.
pub(super) fn meant(word: &str) -> Option<String> {
    // Nearly all words are small letters.
    if is_lower(word.as_bytes(), head_of(word.as_bytes())) {
        return None;
    }
    let is_leet = |byte: u8| LETTERS.get(usize::from(byte)) != Some(&byte);
    let leet = word.bytes().filter(|byte| is_leet(*byte)).count();
    if leet == 0 || word.len() > LONGEST_LEET || leet > word.len().saturating_sub(leet) {
        return None;
    }
    let letters = word.bytes().map(|byte| plain_letter(byte, b'i'));
    let is_word = letters.clone().all(|byte| is(byte, LOWER));
    is_word.then(|| letters.map(char::from).collect())
}

/// Roles of a word with its leet characters read as letters.
fn as_letters(word: &str, one: u8) -> Roles {
    let bytes = word.as_bytes();
    let byte = |place: usize| plain_letter(bytes.get(place).copied().unwrap_or(0), one);
    // The first three tell nearly always that it is no stem.
    if !STEMS.may_begin([byte(0), byte(1), byte(2)]) {
        return 0;
    }
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

    fn roles(word: &str) -> Roles {
        read(word).0
    }

    #[test]
    fn small_letters_are_told_from_all_others() {
        for length in 0..12 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut word = vec![b'm'; length];
                    word[place] = byte;
                    assert_eq!(
                        is_lower(&word, head_of(&word)),
                        byte.is_ascii_lowercase(),
                        "{byte} at {place} of {length}"
                    );
                }
            }
        }
    }

    /// Every stem stands for what it says, alone and with letters behind it.
    #[test]
    fn stems_are_found_by_their_first_bytes() {
        for stem in STEMS.long.all.iter().chain(&STEMS.short.all) {
            for more in 0..4 {
                let word = stem.text.to_owned() + &"x".repeat(more);
                let (roles, wakes) = STEMS.read(&word, head_of(word.as_bytes()));
                let has = roles & stem.roles == stem.roles && wakes & stem.wakes == stem.wakes;
                assert!(has || more > stem.more, "{word}");
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
