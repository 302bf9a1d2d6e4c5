//! Words of the instruction detectors in twelve languages, and what each stands for.
//!
//! A stem ends in `*` (up to seven more letters), `+` (up to two) or stands for itself. Stems are written as the view
//! writes words: lower case, no marks. Sources: dictionaries; inflections by hand.

use std::sync::LazyLock;

use super::languages::LANGUAGES;
use super::stems::{head_of, Meaning, Stem, Stems};
use crate::bytes::{is, LOWER};
use crate::rarity::surprise;

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

/// Longest word with a leet character that can be one of the stems.
const LONGEST_LEET: usize = 64;

static STEMS: LazyLock<Stems> = LazyLock::new(|| Stems::new(stems().collect()));

pub(super) fn stems() -> impl Iterator<Item = Stem> {
    let meanings = LANGUAGES.iter().flat_map(|rows| rows.iter());
    let meanings = meanings.map(|(roles, words)| (*roles, 0, *words));
    let waking = WAKING.iter().map(|(wakes, words)| (0, *wakes, *words));
    meanings.chain(waking).flat_map(|(roles, wakes, words)| {
        let words = words.split_ascii_whitespace();
        words.map(move |word| Stem::of(word, roles, wakes))
    })
}

/// Reads words one after the other.
pub(super) struct Reader(&'static Stems);

impl Reader {
    pub(super) fn new() -> Self {
        Self(&STEMS)
    }

    /// Whether a word of small letters that begins with `head` may stand for anything.
    #[inline]
    pub(super) fn may_know(&self, head: u64, length: usize) -> bool {
        self.0.may_know(head, length)
    }

    /// Whether a word of ASCII that begins with `head` may stand for anything with its leet characters read as letters.
    #[inline]
    pub(super) fn may_be_disguised(&self, head: u64) -> bool {
        let [first, second, third, ..] = head.to_le_bytes();
        let (as_i, as_l) = may_begin(first, second, third);
        as_i || as_l
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

/// Whether some stem may begin with these bytes, leet characters read as letters: those that can be two as the one, or the other.
#[inline]
fn may_begin(first: u8, second: u8, third: u8) -> (bool, bool) {
    // Numbers mostly begin with a digit that is no letter.
    if !is(plain_letter(first, b'i'), LOWER) && first.is_ascii() {
        return (false, false);
    }
    let bytes = [first, second, third];
    let with = |one: u8| STEMS.may_begin(bytes.map(|byte| plain_letter(byte, one)));
    let may_be_i = with(b'i');
    let is_either = bytes.iter().any(|byte| matches!(byte, b'1' | b'!'));
    (may_be_i, if is_either { with(b'l') } else { may_be_i })
}

/// Roles of a word whose leet characters may be letters. Without any it says what it says as it is spelled.
fn roles_in_letters(word: &str) -> Roles {
    // The first three letters tell nearly always that it is no stem.
    let byte = |place: usize| word.as_bytes().get(place).copied().unwrap_or(0);
    let (may_be_i, may_be_l) = may_begin(byte(0), byte(1), byte(2));
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
        leet += usize::from(letter != byte && !is_one(byte));
    }
    let ones = word.bytes().filter(|byte| is_one(*byte)).count();
    let is_word = leet > 0 && leet <= word.len() - leet || ones > 0 && word.len() >= 3 + ones;
    let one = if ones > 0 { letter_of_one(word) } else { b'i' };
    is_word.then(|| word.bytes().map(move |byte| char::from(plain_letter(byte, one))))
}

fn is_one(byte: u8) -> bool {
    LETTERS.get(usize::from(byte)) == Some(&ONE)
}

/// Whether `1` is an i or an l in a word: the one that makes a word, or else the more usual neighbour.
fn letter_of_one(word: &str) -> u8 {
    let spelled = |one: u8| -> Vec<u8> { word.bytes().map(|byte| plain_letter(byte, one)).collect() };
    let (with_i, with_l) = (spelled(b'i'), spelled(b'l'));
    let is_known = |letters: &[u8]| {
        std::str::from_utf8(letters).is_ok_and(|word| STEMS.read(word, head_of(letters)) != (0, 0))
    };
    match (is_known(&with_i), is_known(&with_l)) {
        (true, _) => b'i',
        (false, true) => b'l',
        (false, false) if surprise(&with_l) < surprise(&with_i) => b'l',
        (false, false) => b'i',
    }
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

    /// Every stem stands for what it says, alone and with letters behind it.
    #[test]
    fn stems_are_found_by_their_first_bytes() {
        for stem in stems() {
            for more in 0..4 {
                let word = stem.text.to_owned() + &"x".repeat(more);
                let (roles, wakes) = STEMS.read(&word, head_of(word.as_bytes()));
                let has = roles & stem.roles == stem.roles && wakes & stem.wakes == stem.wakes;
                assert!(has || more > stem.more, "{word}");
                let first = stem.text.chars().next().unwrap();
                assert!(!first.is_ascii() || first.is_ascii_lowercase(), "{word}");
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
        assert_eq!(meant("revea1").as_deref(), Some("reveal"));
        assert_eq!(meant("unf1ltered").as_deref(), Some("unfiltered"));
        assert_eq!(meant("unfi1tered").as_deref(), Some("unfiltered"));
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
