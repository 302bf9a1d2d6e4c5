//! What a secret name is, and what a secret value (output policy spec §16.2, `generic_secret`; §16.6).

use std::sync::LazyLock;

use ahash::AHashSet;
use aho_corasick::AhoCorasick;

use smallvec::SmallVec;

use crate::bytes::{is, ALNUM};
use crate::rarity::{self, Makeup};
use crate::rarity::{
    entropy, is_common_word, is_documented, is_placeholder_of, is_random, is_worn_out, surprise,
    word_coverage,
};

/// Longer values are documents.
const MAX_JUDGED: usize = 1_024;
/// A value of this length is a secret whatever it looks like, if it is base64 (§5.2).
pub(crate) const LONG_BASE64: usize = 64;

/// Name parts that make a name secret. All lower-case, separators removed.
const SECRET_PARTS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authkey",
    "secretkey",
    "encryptionkey",
    "signingkey",
    "masterkey",
    "sharedkey",
];
static PARTS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(SECRET_PARTS).ok());
/// Words in values that name secrets.
const NAMING_PARTS: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "auth",
    "apikey",
    "api-key",
    "api_key",
    "-key",
    "_key",
    "bearer",
    "header",
    "cookie",
    "session",
];
static NAMING: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let mut builder = AhoCorasick::builder();
    builder.ascii_case_insensitive(true).build(NAMING_PARTS).ok()
});
/// Last words of names whose value describes the secret instead of being it.
const DESCRIPTIVE: &[&str] = &[
    "url",
    "uri",
    "file",
    "path",
    "dir",
    "id",
    "ids",
    "name",
    "names",
    "type",
    "types",
    "length",
    "len",
    "size",
    "count",
    "limit",
    "field",
    "fields",
    "format",
    "policy",
    "hint",
    "label",
    "labels",
    "endpoint",
    "expiry",
    "expires",
    "ttl",
    "env",
    "header",
    "headers",
    "prefix",
    "suffix",
    "regex",
    "pattern",
    "class",
    "kind",
    "version",
    "algorithm",
    "alg",
    "method",
    "mode",
    "status",
    "text",
    "message",
    "error",
    "errors",
    "title",
    "description",
    "desc",
    "placeholder",
    "prompt",
    "help",
    "doc",
    "docs",
    "param",
    "parameter",
    "provider",
    "manager",
    "service",
    "store",
    "ref",
    "reference",
    "arn",
    "rotation",
    "required",
    "enabled",
    "index",
    "usage",
    "scope",
    "scopes",
    "issuer",
    "audience",
    "location",
    "source",
    "var",
    "variable",
    "tokenizer",
    "strategy",
    "rules",
    "validator",
    "validation",
    "confirmation",
    "input",
    "selector",
    "kid",
    "fingerprint",
    "hash",
    "digest",
    "checksum",
    "page",
    "host",
    "user",
    "username",
    "email",
    "date",
    "time",
    "timeout",
    "at",
    "by",
    "of",
    "for",
    "is",
    "has",
];

static DESCRIPTIVE_WORDS: LazyLock<AHashSet<&[u8]>> =
    LazyLock::new(|| DESCRIPTIVE.iter().map(|word| word.as_bytes()).collect());

/// Words of a name, lower-case: `dbPassword_2` is `db`, `password`, `2`.
#[derive(Default)]
pub(crate) struct NameWords {
    /// All of them, one behind the other.
    pub joined: SmallVec<[u8; 64]>,
    /// Where the words but the first begin.
    starts: SmallVec<[usize; 16]>,
}

pub(crate) fn words_of(name: &[u8]) -> NameWords {
    let mut words = NameWords::default();
    let mut start = 0usize;
    let mut previous = 0u8;
    for byte in name {
        let is_hump = byte.is_ascii_uppercase() && previous.is_ascii_lowercase();
        let is_part = is(*byte, ALNUM);
        let ends = !is_part || is_hump || byte.is_ascii_digit() != previous.is_ascii_digit();
        if ends && words.joined.len() > start {
            start = words.joined.len();
            words.starts.push(start);
        }
        if is_part {
            words.joined.push(byte.to_ascii_lowercase());
        }
        previous = *byte;
    }
    words
}

impl NameWords {
    /// The last word that is no number.
    fn last(&self) -> Option<&[u8]> {
        let mut end = self.joined.len();
        let starts = self.starts.iter().rev().chain([&0]);
        let mut words = starts.map(|start| {
            let word = self.joined.get(*start..end).unwrap_or_default();
            end = *start;
            word
        });
        words.find(|word| !word.iter().all(u8::is_ascii_digit))
    }

    fn holds(&self, part: &[u8]) -> bool {
        self.joined.windows(part.len()).any(|text| text == part)
    }
}

/// Whether a value with this name is the secret itself.
pub(crate) fn is_secret_name(name: &[u8]) -> bool {
    let words = words_of(name);
    if !PARTS
        .as_ref()
        .is_some_and(|parts| parts.is_match(words.joined.as_slice()))
    {
        return false;
    }
    let public: [&[u8]; 4] = [b"public", b"publishable", b"csrftokenname", b"tokenizer"];
    let is_public = public.into_iter().any(|part| words.holds(part));
    let last = words.last();
    let is_descriptive = last.is_some_and(|last| DESCRIPTIVE_WORDS.contains(last));
    // `max_tokens`, `secretary`, `passwords`: names of something else, or of many.
    let is_other = last.is_some_and(|last| {
        last == b"tokens" || last.starts_with(b"secretar") || last.starts_with(b"tokeni")
    });
    !is_public && !is_descriptive && !is_other
}

/// Whether the value is one somebody would keep secret.
pub(crate) fn is_secret_value(value: &[u8], name: &[u8], is_quoted: bool) -> bool {
    if value.len() > MAX_JUDGED {
        return false;
    }
    let made = Makeup::of(value);
    if is_ordinary(value, made, is_quoted)
        || is_documented(value)
        || is_placeholder_of(value, made)
        || is_worn_out(value)
    {
        return false;
    }
    // A type or a constant behind a colon: `sas_token: AzureSasToken`.
    let is_identifier = made.is_all(rarity::LETTER) || made.is_all(rarity::CONSTANT);
    if !is_quoted && is_identifier && names_secrets(value) {
        return false;
    }
    if is_random(value) {
        return true;
    }
    // `SuperSecret123!` has what rules for passwords ask for.
    let is_compliant =
        is_quoted && made.classes() >= 4 && value.iter().any(|byte| b"!@#$%^&*?".contains(byte));
    let is_chosen = is_quoted && is_chosen(value);
    if !is_compliant && !is_chosen && is_self_descriptive(value, name) {
        return false;
    }
    if made.is_all(rarity::BASE64) && value.len() >= LONG_BASE64 && made.classes() >= 3 {
        return true;
    }
    if !is_quoted {
        return made.classes() >= 3 && word_coverage(value) < 0.5 && surprise(value) > 3.8;
    }
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    made.classes() >= 3
        && (digits > 0
            || value
                .iter()
                .any(|byte| matches!(byte, b'!' | b'@' | b'#' | b'$' | b'%' | b'^' | b'&' | b'*' | b'?')))
        || is_chosen
        || is_phrase(value)
        || is_in_letters(value, name)
}

/// Words of other languages for what the name says: texts of programs, not secrets.
const TRANSLATED: &[&[u8]] = &[
    b"passwort",
    b"kennwort",
    b"losenord",
    b"wachtwoord",
    b"adgangskode",
    b"salasana",
    b"contrasena",
    b"motdepasse",
    b"lozinka",
    b"jelszo",
    b"passord",
    b"chiaveapi",
    b"clave",
    b"required",
    b"optional",
    b"encrypted",
    b"plaintext",
    b"disabled",
    b"enabled",
    b"anything",
    b"whatever",
    b"sensitive",
];

/// Letters alone, eight and more, as people choose a password (§5.2). §16.2 asks for three classes of characters or for chance;
/// §5.2 may not be lost, so that letters count where the name is of something a person chooses and they are no single common
/// word. Names of tokens also name what a parser finds.
fn is_in_letters(value: &[u8], name: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let rest = value.get(1..).unwrap_or_default();
    let is_plain = value.iter().all(u8::is_ascii_alphabetic) && rest.iter().all(u8::is_ascii_lowercase);
    let joined = words_of(name).joined;
    is_plain
        && memchr::memmem::find(&joined, b"token").is_none()
        && !is_common_word(&lower)
        && !TRANSLATED.contains(&lower.as_slice())
        && !names_secrets(value)
}

/// Letters and digits as people choose them: `hunter2hunter2`, `supersecret123`. One digit alone numbers a thing, and some
/// numbers are sizes of algorithms.
fn is_chosen(value: &[u8]) -> bool {
    const SIZES: &[&[u8]] = &[
        b"16", b"32", b"64", b"128", b"192", b"224", b"256", b"384", b"512",
    ];
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = value.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let is_size = value
        .split(|byte| !byte.is_ascii_digit())
        .any(|number| SIZES.contains(&number));
    digits >= 2 && letters >= 4 && digits + letters == value.len() && !is_size
}

/// Words joined by dashes that no program needs as a constant: `super-private-value`.
fn is_phrase(value: &[u8]) -> bool {
    let parts: Vec<&[u8]> = value.split(|byte| *byte == b'-').collect();
    let is_word = |part: &&[u8]| {
        part.len() >= 3
            && part
                .iter()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    parts.len() >= 3 && parts.iter().all(is_word) && entropy(value) >= 3.0
}

/// Text, paths, identifiers, dates, versions, digests with their name, UUIDs.
fn is_ordinary(value: &[u8], made: Makeup, is_quoted: bool) -> bool {
    if made.has(rarity::BLANK | rarity::BEYOND_ASCII) || made.is_all(rarity::NUMBER) {
        return true;
    }
    if made.is_all(rarity::HEX) && value.len() < 16 || is_number_of_code(value) {
        return true;
    }
    let has = |byte: u8| value.contains(&byte);
    let is_uuid = value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let is_path = value.first() == Some(&b'/') && !has(b'+') && value.last() != Some(&b'=')
        || value.starts_with(b"./")
        || value.starts_with(b"../")
        || value.starts_with(b"~/")
        || made.has(rarity::MARK)
            && (memchr::memmem::find(value, b"://").is_some()
                || memchr::memmem::find(value, b":\\").is_some());
    // In quotes one bracket alone is a character like any other.
    let pairs = |open: u8, close: u8| {
        if is_quoted {
            has(open) && has(close)
        } else {
            has(open) || has(close)
        }
    };
    let is_markup = || {
        made.has(rarity::MARK)
            && (pairs(b'<', b'>') || pairs(b'{', b'}') || pairs(b'(', b')') || pairs(b'[', b']'))
    };
    let is_dotted = || made.is_all(rarity::DOTTED) && has(b'.') && word_coverage(value) > 0.3;
    let is_digest = value.starts_with(b"sha256:")
        || value.starts_with(b"sha512-")
        || value.starts_with(b"sha256-")
        || value.starts_with(b"sha1:")
        || value.starts_with(b"data:")
        || value.starts_with(b"ssh-")
        || value.starts_with(b"pk_");
    is_uuid || is_path || is_digest || is_markup() || is_dotted()
}

/// `0xC000006A_u32`, `-2147217308i32`.
fn is_number_of_code(value: &[u8]) -> bool {
    let value = value.strip_prefix(b"-").unwrap_or(value);
    let (digits, is_digit): (&[u8], fn(&u8) -> bool) = match value {
        [b'0', b'x' | b'X', rest @ ..] => (rest, u8::is_ascii_hexdigit),
        _ => (value, u8::is_ascii_digit),
    };
    let count = digits.iter().take_while(|byte| is_digit(byte)).count();
    let suffix = digits.get(count..).unwrap_or_default();
    let suffix = suffix.strip_prefix(b"_").unwrap_or(suffix);
    let is_type = matches!(
        suffix,
        [] | [b'L' | b'U'] | [b'i' | b'u', b'8'] | [b'i' | b'u', b'1' | b'3' | b'6', _]
    );
    (1..=16).contains(&count) && is_type
}

/// Names the thing instead of being it: `token: "csrf-token"`, `secret = "client_secret"`.
fn is_self_descriptive(value: &[u8], name: &[u8]) -> bool {
    let same = words_of(name).joined == words_of(value).joined;
    same || names_secrets(value) && word_coverage(value) >= 0.5
}

/// Whether the value has a word that names secrets.
fn names_secrets(value: &[u8]) -> bool {
    NAMING.as_ref().is_some_and(|naming| naming.is_match(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets_from_descriptions() {
        for name in [
            "password",
            "DB_PASSWORD",
            "apiKey",
            "client-secret",
            "authToken",
            "aws.secret_key",
            "x_access_key_2",
        ] {
            assert!(is_secret_name(name.as_bytes()), "{name}");
        }
        for name in [
            "token_url",
            "passwordFile",
            "max_tokens",
            "secretary",
            "tokenizer",
            "public_key",
            "keyboard",
            "secret_name",
        ] {
            assert!(!is_secret_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn values_tell_secrets_from_text() {
        for value in [
            "super-private-value",
            "hK3!pQ9$zz",
            "Zx81mQpL0vTr",
            "Tr0ub4dor&3",
            "hunter2hunter2",
            "supersecret123",
            "abc123xyz456",
            "k9#(Lm2]pQx",
            "/V4EBW+isFncUizK6YZM=",
            "correcthorse",
            "Sunshinecat",
        ] {
            assert!(is_secret_value(value.as_bytes(), b"password", true), "{value}");
        }
        for value in [
            "Enter your password",
            "csrf-token",
            "client_secret",
            "secret2",
            "tokenSha256",
            "required",
            "Kennwort",
            "different",
            "emailAddress",
            "/run/secrets/db",
            "${PASSWORD}",
            "application/json",
        ] {
            assert!(!is_secret_value(value.as_bytes(), b"password", true), "{value}");
        }
    }
}
