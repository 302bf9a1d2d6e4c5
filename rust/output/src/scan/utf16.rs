//! UTF-16 with a byte order mark, as UTF-8 with the way back (output policy spec §6, encodings).

use crate::hit::Hit;

/// Text and where each of its characters stood.
pub(crate) struct Decoded {
    pub bytes: Vec<u8>,
    /// For every byte, the offset of the code unit it came from, in units.
    units: Vec<u32>,
    total: usize,
}

/// The text of a content that starts with a byte order mark of UTF-16.
pub(crate) fn decode(content: &[u8]) -> Option<Decoded> {
    let read: fn([u8; 2]) -> u16 = match content {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let body = content.get(2..).unwrap_or_default();
    let units = body.chunks_exact(2).map(|pair| match pair {
        [a, b] => read([*a, *b]),
        _ => 0,
    });
    let mut decoded = Decoded {
        bytes: Vec::with_capacity(body.len() / 2),
        units: Vec::with_capacity(body.len() / 2),
        total: content.len(),
    };
    let mut at = 0u32;
    for character in char::decode_utf16(units) {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut buffer = [0u8; 4];
        let text = character.encode_utf8(&mut buffer);
        decoded.bytes.extend_from_slice(text.as_bytes());
        decoded.units.extend(std::iter::repeat_n(at, text.len()));
        at = at.saturating_add(if character.len_utf16() == 2 { 2 } else { 1 });
    }
    Some(decoded)
}

impl Decoded {
    /// Moves a hit of the text to the bytes it came from.
    pub fn map_back(&self, hit: &mut Hit) {
        let place = |at: usize| {
            let unit = self.units.get(at).map_or(usize::MAX, |unit| *unit as usize);
            unit.saturating_mul(2).saturating_add(2).min(self.total)
        };
        let (start, end) = (place(hit.offset), place(hit.end()));
        hit.offset = start;
        hit.length = end.saturating_sub(start);
    }
}
