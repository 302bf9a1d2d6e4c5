//! Values that stand for a secret without being one (output policy spec §16.6, placeholders).

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::makeup::{letter, MARK, OTHER};
use super::{Counts, Makeup, MAX_JUDGED};

/// Keys that vendors print in their documentation, in two parts so that they are no token here.
const DOCUMENTED: &[(&str, &str, &str)] = &[
    // AWS documentation, "Access keys".
    ("AKIAIOSFODNN7", "EXAMPLE", "docs.aws.amazon.com"),
    (
        "wJalrXUtnFEMI/K7MDENG/",
        "bPxRfiCYEXAMPLEKEY",
        "docs.aws.amazon.com",
    ),
    ("AKIAI44QH8DHB", "EXAMPLE", "docs.aws.amazon.com"),
    (
        "je7MtGbClwBF/2Zp9Utk/",
        "h3yCo8nvbEXAMPLEKEY",
        "docs.aws.amazon.com",
    ),
];

const WORDS: &[&str] = &[
    "password",
    "passwd",
    "pass",
    "secret",
    "token",
    "changeme",
    "example",
    "placeholder",
    "user",
    "username",
    "admin",
    "root",
    "test",
    "null",
    "none",
    "true",
    "false",
    "redacted",
    "undefined",
    "nil",
    "string",
    "default",
    "changeit",
    "letmein",
    "apikey",
    "api_key",
    "api-key",
    "xxxxxxxx",
    "hidden",
    "masked",
    "removed",
    "dummy",
    "foo",
    "bar",
    "foobar",
];

/// Beginnings of references to a value that stands elsewhere.
const REFERENCES: &[&str] = &[
    "${",
    "{{",
    "<",
    "%(",
    "$(",
    "***",
    "[redacted",
    "[filtered",
    "[masked",
    "process.env",
    "os.environ",
    "os.getenv",
    "env.",
    "env:",
    "env[",
    "your-",
    "your_",
    "your ",
    "xxx",
    "secrets.",
    "vault:",
    "ssm:",
    "arn:",
    "ref:",
    "ref+",
    "file:",
    "projects/",
    "#{",
    "...",
    "@@",
    "$env:",
    "!ref",
    "var.",
    "local.",
    "config.",
    "settings.",
    "self.",
    "this.",
    "args.",
    "options.",
    "params.",
    "my-",
    "my_",
    "some-",
    "some_",
    "insert",
    "enter ",
    "replace",
    "change-me",
    "change_me",
    "&",
    "%env",
    "op://",
    "awssm",
    "keyring:",
];

/// A published documentation key.
pub(crate) fn is_documented(value: &[u8]) -> bool {
    DOCUMENTED.iter().any(|(first, second, _)| {
        value
            .strip_prefix(first.as_bytes())
            .is_some_and(|rest| rest == second.as_bytes())
    })
}

/// Body of a prefixed format that nobody was given: few different characters, or one of them over and over.
pub(crate) fn is_worn_out(body: &[u8]) -> bool {
    if body.is_empty() {
        return true;
    }
    // A short body of different characters has log2(length) bits at most.
    let reachable = (body.len() as f32).log2() - 1.0;
    let counts = Counts::new(body);
    let most = if body.len() <= MAX_JUDGED {
        counts.most()
    } else {
        most_of(body)
    };
    counts.entropy() < reachable.min(2.5) || most.saturating_mul(5) >= body.len().saturating_mul(3)
}

/// Occurrences of the commonest byte of a long text.
fn most_of(text: &[u8]) -> usize {
    let mut counts = [0usize; 256];
    for byte in text {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    counts.iter().max().copied().unwrap_or(0)
}

/// Parts that only hints have.
const HINTS: &[&str] = &[
    "example",
    "placeholder",
    "changeme",
    "redacted",
    "your-",
    "your_",
    "xxxx",
    "****",
    "-here",
    "_here",
];
static HINT_SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let mut builder = AhoCorasick::builder();
    builder.ascii_case_insensitive(true).build(HINTS).ok()
});
/// The letters of each.
static HINT_LETTERS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let letters = |hint: &&str| hint.bytes().fold(0, |all, byte| all | letter(byte));
    HINTS.iter().map(letters).collect()
});

/// Most values lack a letter of every hint, and are not searched.
fn has_hint(value: &[u8], made: Makeup) -> bool {
    HINT_LETTERS
        .iter()
        .any(|letters| made.letters & letters == *letters)
        && HINT_SEARCH.as_ref().is_some_and(|hints| hints.is_match(value))
}

/// Longer values are none of `WORDS`.
const LONGEST_WORD: usize = 11;

/// A placeholder, a variable, a call or one of the words people write instead of a value.
pub(crate) fn is_placeholder(value: &[u8]) -> bool {
    is_placeholder_of(value, Makeup::of(value))
}

/// The same, of a value made up like this.
pub(crate) fn is_placeholder_of(value: &[u8], made: Makeup) -> bool {
    let first = value.first().copied().unwrap_or(b' ');
    let lower = first.to_ascii_lowercase();
    let begins = |start: &&str| {
        start.as_bytes().first() == Some(&lower)
            && value
                .get(..start.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    };
    let is_word = |word: &&str| value.eq_ignore_ascii_case(word.as_bytes());
    if value.len() <= LONGEST_WORD && WORDS.iter().any(is_word) || REFERENCES.iter().any(begins) {
        return true;
    }
    let last = value.last().copied().unwrap_or(b' ');
    let is_call = made.has(MARK) && value.contains(&b'(') && value.contains(&b')');
    let is_percent = value.len() > 2 && first == b'%' && last == b'%';
    let is_template = made.has(OTHER)
        && memchr::memchr3_iter(b'$', b'{', b'<', value).any(|at| {
            matches!(
                value.get(at..at.saturating_add(2)),
                Some(b"${" | b"{{" | b"$(" | b"<%")
            )
        });
    let is_variable = first == b'$'
        && value
            .iter()
            .skip(1)
            .all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    // `$serde_json::private::Number`: a name within a program.
    let is_path = made.has(MARK)
        && memchr::memmem::find(value, b"::").is_some()
        && value.split(|byte| *byte == b':').all(|part| {
            part.iter()
                .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$'))
        });
    let is_enclosed = matches!((first, last), (b'{', b'}') | (b'[', b']'));
    is_call
        || is_path
        || is_percent
        || is_template
        || is_variable
        || is_enclosed
        || has_hint(value, made)
        || is_repeated(value)
}

fn is_repeated(value: &[u8]) -> bool {
    let first = value.first();
    value.iter().all(|byte| Some(byte) == first)
        || value.windows(4).all(|w| matches!(w, [a, b, c, d] if b.wrapping_sub(*a) == 1 && c.wrapping_sub(*b) == 1 && d.wrapping_sub(*c) == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_longer() {
        assert!(WORDS.iter().all(|word| word.len() <= LONGEST_WORD));
    }

    #[test]
    fn placeholders_are_told_from_values() {
        for text in [
            "<password>",
            "${DB_PASSWORD}",
            "{{ token }}",
            "%TOKEN%",
            "$(cat key)",
            "********",
            "xxxxxxxx",
            "[REDACTED]",
            "getenv('X')",
            "$PASSWORD",
            "changeme",
            "your-api-key",
            "12345678",
            "aaaaaaaa",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
        for text in [
            "hunter2-is-mine",
            "super-private-value",
            "p4$$w0rd!x",
            "Tr0ub4dor&3",
        ] {
            assert!(!is_placeholder(text.as_bytes()), "{text}");
        }
        assert!(is_worn_out(b"aaaaaaaaaaaaaaaab") && is_worn_out(b"0101010101010101"));
        assert!(!is_worn_out(b"FAKEFAKETESTKEY1"));
    }
}
