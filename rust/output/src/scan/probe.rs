//! Whether a run of token characters is encoded text: told by its beginning (output policy spec §16.6, decoding).

use wide::i8x16;

use crate::bits::{equal, within};
use crate::bytes::{is, HEX};
use crate::limits::{MIN_BASE64, MIN_HEX};

/// Encoded bytes that decide whether the rest is worth decoding.
const PROBE: usize = 32;
/// Of these, so many may be no text.
const MAX_STRANGE: u8 = 4;

#[inline]
pub(crate) fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0xc2..=0xf4 | 0x80..=0xbf)
}

pub(crate) fn is_hex_text(text: &[u8]) -> bool {
    text.len() >= MIN_HEX && text.len() % 2 == 0 && text.iter().all(|byte| is(*byte, HEX))
}

/// Whether a run is long enough to be decoded, and its beginning decodes to text.
pub(crate) fn is_encoded(text: &[u8]) -> bool {
    text.len() >= MIN_BASE64 && looks_encoded(text)
}

/// Values of base64 characters of both alphabets, 255 for others.
static BASE64: [u8; 256] = table_of_base64();

const fn table_of_base64() -> [u8; 256] {
    let mut table = [u8::MAX; 256];
    let mut byte = 0u8;
    loop {
        #[expect(clippy::indexing_slicing, reason = "a byte, at compile time")]
        {
            table[byte as usize] = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => u8::MAX,
            };
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// Gives up as soon as the beginning cannot be text any more: most runs are names, and fail at once.
fn looks_encoded(text: &[u8]) -> bool {
    let head = text.get(..PROBE).unwrap_or(text);
    let mut strange = 0u8;
    let mut is_odd = |byte: u8| {
        strange = strange.saturating_add(u8::from(!is_printable(byte)));
        strange > MAX_STRANGE
    };
    if is_hex_text(text) {
        return !head.chunks_exact(2).any(|pair| {
            let byte = hex_value(pair).and_then(|byte| u8::try_from(byte).ok());
            byte.is_none_or(&mut is_odd)
        });
    }
    // What stands behind a short head is text.
    let mut plain = [b' '; PROBE];
    let mut all = 0u8;
    for (quad, three) in head.chunks_exact(4).zip(plain.chunks_exact_mut(3)) {
        let (&[a, b, c, d], [first, second, third]) = (quad, three) else {
            break;
        };
        let [a, b, c, d] = [a, b, c, d].map(|byte| BASE64.get(usize::from(byte)).copied().unwrap_or(u8::MAX));
        all |= a | b | c | d;
        (*first, *second, *third) = (a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d);
    }
    let length = (head.len() / 4).saturating_mul(3);
    all < 64
        && strange_bytes(&plain) <= MAX_STRANGE
        && !is_hopeless(plain.get(..length).unwrap_or_default(), text.len())
}

/// How many of the bytes are not printable.
fn strange_bytes(bytes: &[u8; PROBE]) -> u8 {
    let strange = |sixteen: &[u8]| {
        let bytes = i8x16::new(std::array::from_fn(|place| {
            sixteen.get(place).copied().unwrap_or(b' ') as i8
        }));
        let blank = equal(bytes, b'\t') | equal(bytes, b'\n') | equal(bytes, b'\r');
        let control = within(bytes, 0, 0x20) & !blank;
        (control | equal(bytes, 0x7f) | within(bytes, 0xc0, 2) | within(bytes, 0xf5, 11))
            .move_mask()
            .count_ones()
    };
    bytes.chunks(16).map(strange).sum::<u32>() as u8
}

/// Whether a text of so many characters of base64 that begins with these bytes is none, whatever follows (`is_text`): it is no
/// UTF-8, and too much of it is not ASCII.
fn is_hopeless(head: &[u8], characters: usize) -> bool {
    let most = (characters / 4).saturating_add(1).saturating_mul(3);
    let others = head.iter().filter(|byte| !byte.is_ascii()).count();
    others.saturating_mul(5) > most
        && std::str::from_utf8(head).is_err_and(|error| error.error_len().is_some())
}

pub(crate) fn hex_value(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, byte| {
        Some(value << 4 | char::from(*byte).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_bytes_are_those_that_are_not_printable() {
        for byte in 0..=u8::MAX {
            for place in [0, 15, 16, 31] {
                let mut bytes = [b'a'; PROBE];
                bytes[place] = byte;
                assert_eq!(strange_bytes(&bytes), u8::from(!is_printable(byte)), "{byte}");
            }
        }
    }
}
