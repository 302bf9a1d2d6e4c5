//! Examples of the catalogue are templates, so that no file of the repository holds a token in one piece.
//!
//! `<class:count>` stands for so many characters of a class, `<uuid>`, `<crc>` (the CRC32 of the template's last
//! `<b62:…>` in base 62, as forges append it). Anything else between angle brackets stays as it is.

use crate::check::base58::encode_check;
use crate::check::bech32::with_checksum;

const CLASSES: &[(&str, &str)] = &[
    ("hex", "0123456789abcdef"),
    ("HEX", "0123456789ABCDEF"),
    ("b32", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    ("b62", BASE62),
    (
        "b64",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    ),
    (
        "w",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    ),
    ("d", "0123456789"),
    ("D", "123456789"),
    ("a", "abcdefghijklmnopqrstuvwxyz"),
    ("A", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    ("a9", "abcdefghijklmnopqrstuvwxyz0123456789"),
    ("A9", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
    ("a7", "abcdefghijklmnopqrstuvwxyz234567"),
];
const BASE62: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The text a template stands for; the same seed gives the same text.
pub fn expand(template: &str, seed: u64) -> String {
    let mut random = Random(seed);
    let mut out = String::with_capacity(template.len());
    let mut last = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('<') {
        let (plain, tail) = rest.split_at(open);
        out.push_str(plain);
        let inner = tail.get(1..).unwrap_or("");
        let filled = inner.find('>').and_then(|close| {
            let name = inner.get(..close)?;
            let text = fill(name, &last, &mut random)?;
            Some((
                text,
                inner.get(close.saturating_add(1)..)?,
                name.starts_with("b62:"),
            ))
        });
        match filled {
            Some((text, after, is_base62)) => {
                out.push_str(&text);
                if is_base62 {
                    last = text;
                }
                rest = after;
            }
            None => {
                out.push('<');
                rest = inner;
            }
        }
    }
    out.push_str(rest);
    out
}

fn fill(name: &str, last: &str, random: &mut Random) -> Option<String> {
    match name {
        "uuid" => {
            let part = |random: &mut Random, count| random.characters("0123456789abcdef", count);
            let parts = [8, 4, 4, 4, 12].map(|count| part(random, count));
            Some(parts.join("-"))
        }
        // An age key and a Bitcoin key with valid checksums.
        "age" => {
            let data = random.characters("qpzry9x8gf2tvdw0s3jn54khce6mua7l", 52);
            let key = with_checksum("age-secret-key-", &data).to_ascii_uppercase();
            key.split_once("-1").map(|(_, tail)| tail.to_owned())
        }
        "wif" => {
            let body = (0..32).map(|_| (random.next() >> 24) as u8);
            let payload: Vec<u8> = std::iter::once(0x80).chain(body).chain([1]).collect();
            Some(encode_check(&payload))
        }
        "crc" => Some(base62(crc32fast::hash(last.as_bytes()), 6)),
        _ => {
            let (class, count) = name.split_once(':')?;
            let alphabet = CLASSES.iter().find(|(name, _)| *name == class)?.1;
            Some(random.characters(alphabet, count.parse().ok().filter(|count| *count <= 65_536)?))
        }
    }
}

/// `number` in base 62 with digits before letters, padded with `0`.
pub(crate) fn base62(mut number: u32, width: usize) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.len() < width {
        let digit = BASE62.as_bytes().get(number as usize % 62).copied();
        digits.push(digit.unwrap_or(b'0'));
        number /= 62;
    }
    digits.reverse();
    digits.into_iter().map(char::from).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn characters(&mut self, alphabet: &str, count: usize) -> String {
        let bytes = alphabet.as_bytes();
        let mut pick = || bytes.get((self.next() >> 16) as usize % bytes.len()).copied();
        (0..count).filter_map(|_| pick()).map(char::from).collect()
    }
}

/// The text as it stands in other texts: alone, between paragraphs, in JSON, YAML, an environment file, a log, XML, Markdown.
#[cfg(test)]
pub(crate) fn wrapped(text: &str) -> Vec<String> {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    vec![
        text.to_owned(),
        format!("Weather report for today.\n\n{text}\n\nHigh of 21 degrees."),
        format!("{{\"id\": 7, \"text\": \"{escaped}\", \"ok\": true}}"),
        format!(
            "note: |\n  first line\n  {}\nother: 1\n",
            text.replace('\n', "\n  ")
        ),
        format!("NOTE=\"{escaped}\"\n"),
        format!("2026-01-01T00:00:00Z INFO fetched page: {text}\n"),
        format!("<item><body>{text}</body></item>"),
        format!("# Title\n\n- one\n- {text}\n"),
    ]
}

#[cfg(test)]
mod tests {
    use super::{base62, expand};

    #[test]
    fn a_template_is_filled_the_same_way_every_time() {
        let text = expand("x=<hex:8> <div> <b62:30><crc> <uuid> a<b", 7);
        assert_eq!(text, expand("x=<hex:8> <div> <b62:30><crc> <uuid> a<b", 7));
        assert_ne!(text, expand("x=<hex:8> <div> <b62:30><crc> <uuid> a<b", 8));
        assert!(text.starts_with("x=") && text.contains(" <div> ") && text.ends_with("a<b"));
        let parts: Vec<&str> = text.split(' ').collect();
        assert_eq!((parts[0].len(), parts[2].len(), parts[3].len()), (10, 36, 36));
        assert_eq!(
            parts[2][30..],
            base62(crc32fast::hash(&parts[2].as_bytes()[..30]), 6)
        );
    }
}
