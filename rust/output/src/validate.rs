//! Checks behind the patterns: checksums, issuers, delimiters, placeholders.

use crate::catalogue::Context;

/// Every candidate is real.
pub(crate) fn always(_: &str, _: &Context<'_>) -> bool {
    true
}

/// Stands alone: no letter, digit or `_`/`-` on either side.
pub(crate) fn delimited(_: &str, context: &Context<'_>) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    !joins(context.before()) && !joins(context.after())
}

/// Payment card: known issuer and length, Luhn valid, no digit beside it.
pub(crate) fn payment_card(value: &str, context: &Context<'_>) -> bool {
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let digits = digits_of(value);
    !is_digit(context.before()) && !is_digit(context.after()) && luhn(&digits) && has_issuer(&digits)
}

/// Issuer ranges and lengths of output policy spec §16.3.
fn has_issuer(digits: &[u32]) -> bool {
    let lead = |count: usize| {
        digits
            .iter()
            .take(count)
            .fold(0, |number, digit| number * 10 + digit)
    };
    let length = digits.len();
    match (lead(1), lead(2), lead(3), lead(4)) {
        (4, ..) => matches!(length, 13 | 16 | 19),
        (_, 34 | 37, ..) => length == 15,
        (_, 36 | 38 | 39, ..) | (_, _, 300..=305, _) => length == 14,
        (_, 51..=55, ..) | (_, _, _, 2221..=2720) => length == 16,
        (_, 65, ..) | (_, _, 644..=649, _) | (_, _, _, 6011 | 3528..=3589) | (_, 62, ..) => {
            (16..=19).contains(&length)
        }
        _ => false,
    }
}

fn digits_of(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// Luhn check (ISO/IEC 7812-1, annex B).
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum % 10 == 0
}

/// US social security number: no area 000, 666, 9xx, no group 00, no serial 0000, not a published one.
pub(crate) fn us_ssn(value: &str, context: &Context<'_>) -> bool {
    let digits = digits_of(value);
    let number = |range: std::ops::Range<usize>| {
        let part = digits.get(range).unwrap_or(&[]);
        part.iter().fold(0, |number, digit| number * 10 + digit)
    };
    let (area, group, serial) = (number(0..3), number(3..5), number(5..9));
    let is_published = matches!((area, group, serial), (78, 5, 1120) | (219, 9, 9999));
    delimited(value, context)
        && !matches!(area, 0 | 666 | 900..)
        && group != 0
        && serial != 0
        && !is_published
}

/// A phone number stands alone.
pub(crate) fn phone(value: &str, context: &Context<'_>) -> bool {
    let joins =
        |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '/' | '_'));
    let count = digits_of(value).len();
    let after = context.after().filter(|c| !matches!(c, '.' | '-'));
    (8..=15).contains(&count) && !joins(context.before()) && !joins(after)
}

/// An address, not a remote of a version control system nor a file name.
pub(crate) fn email(value: &str, context: &Context<'_>) -> bool {
    let is_remote = value.starts_with("git@") && context.after() == Some(':');
    let is_file = [".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".css", ".js"]
        .iter()
        .any(|ending| value.to_ascii_lowercase().ends_with(ending));
    let in_url = context.before().is_some_and(|c| matches!(c, ':' | '/'));
    !is_remote && !is_file && !in_url
}

/// A value somebody would keep secret: no placeholder, call or variable.
pub(crate) fn secret_value(value: &str, _: &Context<'_>) -> bool {
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
        "admin",
        "root",
        "test",
        "null",
        "none",
        "true",
        "false",
        "redacted",
    ];
    let lower = value.to_ascii_lowercase();
    let is_variable = [
        "${",
        "{{",
        "<",
        "%(",
        "$(",
        "***",
        "[redacted",
        "process.env",
        "os.environ",
        "os.getenv",
    ]
    .iter()
    .any(|start| lower.starts_with(start));
    let is_call = value.ends_with(')') && value.contains('(');
    let is_repeated = value
        .chars()
        .next()
        .is_some_and(|first| value.chars().all(|c| c == first));
    let is_hint = lower.starts_with("your-") || lower.starts_with("your_") || lower.starts_with("xxx");
    !(is_variable || is_call || is_repeated || is_hint || WORDS.contains(&lower.as_str()))
}

/// At least one digit in the body.
pub(crate) fn has_digit(value: &str, context: &Context<'_>) -> bool {
    delimited(value, context) && value.chars().any(|c| c.is_ascii_digit())
}

/// An AWS secret: near its name, not all hexadecimal.
pub(crate) fn aws_secret(value: &str, context: &Context<'_>) -> bool {
    let is_hex = value.chars().all(|c| c.is_ascii_hexdigit());
    !is_hex && context.has_word(&["aws", "secret", "access key", "access_key"])
}

/// Words around name a token, secret, password or private value.
pub(crate) fn near_secret_word(value: &str, context: &Context<'_>) -> bool {
    delimited(value, context)
}

/// An Israeli national id: nine digits with a valid check digit, named by the text around.
pub(crate) fn il_national_id(value: &str, context: &Context<'_>) -> bool {
    delimited(value, context)
        && luhn(&digits_of(value))
        && context.has_word(&[
            "israeli id",
            "teudat",
            "national id",
            "tz",
            "id number",
            "תעודת זהות",
            "ת.ז",
        ])
}

/// An Israeli bank account named by the text around.
pub(crate) fn il_bank_account(value: &str, context: &Context<'_>) -> bool {
    delimited(value, context) && context.has_word(&["bank", "account", "iban", "בנק", "חשבון"])
}
