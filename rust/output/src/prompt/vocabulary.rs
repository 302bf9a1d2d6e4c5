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
    /// Letters that may follow it.
    more: usize,
    roles: Roles,
    wakes: Wakes,
}

/// Stems by the first three bytes of a word.
struct Stems {
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
                more,
                roles,
                wakes,
            });
        }
    }
    all.sort_by_key(|stem| slot(stem.text.as_bytes()));
    let starts = (0..=SLOTS).map(|wanted| {
        let start = all.partition_point(|stem| slot(stem.text.as_bytes()) < wanted);
        u16::try_from(start).unwrap_or(u16::MAX)
    });
    Stems {
        starts: starts.collect(),
        all,
    }
});

/// Slot of the first three bytes; a shorter word is filled up with zeros.
fn slot(word: &[u8]) -> usize {
    let byte = |place: usize| u32::from(word.get(place).copied().unwrap_or(0));
    let head = byte(0) | byte(1) << 8 | byte(2) << 16;
    (head.wrapping_mul(0x9E37_79B1) >> 20) as usize % SLOTS
}

impl Stems {
    fn of(&self, word: &[u8]) -> &[Stem] {
        let slot = slot(word);
        match self.starts.get(slot..slot + 2) {
            Some([start, end]) => self
                .all
                .get(usize::from(*start)..usize::from(*end))
                .unwrap_or(&[]),
            _ => &[],
        }
    }

    /// What a word stands for as it is spelled, and which detectors it wakes.
    fn read(&self, word: &str) -> (Roles, Wakes) {
        let (mut roles, mut wakes) = (0, 0);
        for stem in self.of(word.as_bytes()) {
            // A letter has four bytes at most.
            let more = word.len().checked_sub(stem.text.len());
            if more.is_none_or(|more| more > stem.more.saturating_mul(4)) {
                continue;
            }
            let Some(rest) = word.strip_prefix(stem.text) else {
                continue;
            };
            if rest.len() <= stem.more || rest.chars().count() <= stem.more {
                roles |= stem.roles;
                wakes |= stem.wakes;
            }
        }
        (roles, wakes)
    }
}

/// What a word of the view stands for, 0 for any other word, and which detectors it wakes.
pub(super) fn read(word: &str) -> (Roles, Wakes) {
    let (plain, wakes) = STEMS.read(word);
    let is_plain = plain != 0 || word.bytes().all(|byte| is(byte, LOWER));
    let roles = if is_plain { plain } else { roles_in_disguise(word) };
    let overriding = if roles & OVERRIDING != 0 {
        WAKES_OVERRIDE
    } else {
        0
    };
    (roles, wakes | overriding)
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
        let (found, _) = STEMS.read(shorter);
        if found != 0 {
            return found;
        }
        rest = shorter;
    }
    0
}

/// What a word with leet characters says in letters, `pr0mpt` for example; `None` for any other word.
pub(super) fn meant(word: &str) -> Option<String> {
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
    if STEMS.of(&[byte(0), byte(1), byte(2)]).is_empty() {
        return 0;
    }
    let mut letters = [0_u8; LONGEST_LEET];
    let Some(letters) = letters.get_mut(..bytes.len()) else {
        return 0;
    };
    for (letter, byte) in letters.iter_mut().zip(bytes) {
        *letter = plain_letter(*byte, one);
    }
    std::str::from_utf8(letters).map_or(0, |word| STEMS.read(word).0)
}

/// `letter_of`, for a byte; those of longer characters stay as they are.
fn plain_letter(byte: u8, one: u8) -> u8 {
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

/// The letter a leet character stands for; `1` and `!` can be two.
pub(super) fn letter_of(character: char, one: char) -> char {
    match character {
        '0' => 'o',
        '1' | '!' => one,
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        '8' => 'b',
        '9' => 'g',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(word: &str) -> Roles {
        read(word).0
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
