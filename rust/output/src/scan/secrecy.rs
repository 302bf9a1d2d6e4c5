//! What a secret name is, and what a secret value (output policy spec §16.2, `generic_secret`; §16.6).

use std::sync::LazyLock;

use ahash::AHashSet;
use aho_corasick::AhoCorasick;

use crate::bytes::{is, ALNUM, SPACE};
use crate::rarity::{
    class_count, entropy, is_common_word, is_documented, is_hex, is_placeholder, is_random, is_worn_out,
    surprise, word_coverage,
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
pub(crate) fn words_of(name: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut word: Vec<u8> = Vec::new();
    let mut previous = 0u8;
    for byte in name {
        let is_hump = byte.is_ascii_uppercase() && previous.is_ascii_lowercase();
        let is_part = is(*byte, ALNUM);
        if (!is_part || is_hump || byte.is_ascii_digit() != previous.is_ascii_digit()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if is_part {
            word.push(byte.to_ascii_lowercase());
        }
        previous = *byte;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Whether a value with this name is the secret itself.
pub(crate) fn is_secret_name(name: &[u8]) -> bool {
    let words = words_of(name);
    let joined: Vec<u8> = words.concat();
    let holds = |part: &str| memchr::memmem::find(&joined, part.as_bytes()).is_some();
    if !PARTS.as_ref().is_some_and(|parts| parts.is_match(&joined)) {
        return false;
    }
    let is_public = holds("public") || holds("publishable") || holds("csrftokenname") || holds("tokenizer");
    let last = words
        .iter()
        .rev()
        .find(|word| !word.iter().all(u8::is_ascii_digit));
    let is_descriptive = last.is_some_and(|last| DESCRIPTIVE_WORDS.contains(last.as_slice()));
    // `max_tokens`, `secretary`, `passwords`: names of something else, or of many.
    let is_other = last.is_some_and(|last| {
        last.as_slice() == b"tokens" || last.starts_with(b"secretar") || last.starts_with(b"tokeni")
    });
    !is_public && !is_descriptive && !is_other
}

/// Whether the value is one somebody would keep secret.
pub(crate) fn is_secret_value(value: &[u8], name: &[u8], is_quoted: bool) -> bool {
    if value.len() > MAX_JUDGED
        || is_worn_out(value)
        || is_documented(value)
        || is_ordinary(value, is_quoted)
        || is_placeholder(value)
    {
        return false;
    }
    // A type or a constant behind a colon: `sas_token: AzureSasToken`.
    let is_identifier = value.iter().all(u8::is_ascii_alphabetic)
        || value
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    if !is_quoted && is_identifier && names_secrets(value) {
        return false;
    }
    if is_random(value) {
        return true;
    }
    // `SuperSecret123!` has what rules for passwords ask for.
    let is_compliant =
        is_quoted && class_count(value) >= 4 && value.iter().any(|byte| b"!@#$%^&*?".contains(byte));
    let is_chosen = is_quoted && is_chosen(value);
    if !is_compliant && !is_chosen && is_self_descriptive(value, name) {
        return false;
    }
    let is_base64 = value
        .iter()
        .all(|byte| is(*byte, ALNUM) || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_'));
    if is_base64 && value.len() >= LONG_BASE64 && class_count(value) >= 3 {
        return true;
    }
    if !is_quoted {
        return class_count(value) >= 3 && word_coverage(value) < 0.5 && surprise(value) > 3.8;
    }
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    class_count(value) >= 3
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
    let joined = words_of(name).concat();
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
fn is_ordinary(value: &[u8], is_quoted: bool) -> bool {
    let has = |byte: u8| value.contains(&byte);
    let blanks = value.iter().filter(|byte| is(**byte, SPACE)).count();
    let is_uuid = value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let is_path = value.first() == Some(&b'/') && !has(b'+') && value.last() != Some(&b'=')
        || value.starts_with(b"./")
        || value.starts_with(b"../")
        || value.starts_with(b"~/")
        || memchr::memmem::find(value, b"://").is_some()
        || memchr::memmem::find(value, b":\\").is_some();
    // In quotes one bracket alone is a character like any other.
    let pairs = |open: u8, close: u8| {
        if is_quoted {
            has(open) && has(close)
        } else {
            has(open) || has(close)
        }
    };
    let is_markup =
        pairs(b'<', b'>') || pairs(b'{', b'}') || pairs(b'(', b')') || pairs(b'[', b']') || has(b'\n');
    let is_dotted = value.split(|byte| *byte == b'.').count() >= 2
        && value
            .iter()
            .all(|byte| is(*byte, ALNUM) || matches!(byte, b'.' | b'_' | b'-'))
        && word_coverage(value) > 0.3;
    let is_digest = value.starts_with(b"sha256:")
        || value.starts_with(b"sha512-")
        || value.starts_with(b"sha256-")
        || value.starts_with(b"sha1:")
        || value.starts_with(b"data:")
        || value.starts_with(b"ssh-")
        || value.starts_with(b"pk_");
    let is_number = value.iter().all(|byte| {
        byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b':' | b'_' | b'+' | b'T' | b'Z' | b',')
    });
    let is_code = is_number_of_code(value);
    blanks > 0
        || is_code
        || !value.is_ascii()
        || is_uuid
        || is_path
        || is_markup
        || is_dotted
        || is_digest
        || is_number
        || is_hex(value) && value.len() < 16
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
    let same = words_of(name).concat() == words_of(value).concat();
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
