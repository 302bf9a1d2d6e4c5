//! Layers of encoding: base64, hexadecimal, percent, JSON escapes, HTML entities (output policy spec §16.6, decoding).

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bytes::{is, is_at, is_before, slice, ALNUM, HEX};
use crate::catalogue::{definition, detector, id_of, is_prompt, prompt_mask};
use crate::check::encoded::decode_base64;
use crate::hit::Hit;
use crate::limits::{MAX_DECODED_BYTES, MAX_LAYERS};
use crate::mask::Mask;
use crate::scan::block::Block;
use crate::scan::probe::{hex_value, is_hex_text, is_printable};
use crate::scan::scanner::scan_layer;
use crate::scan::wrapped::wrapped;

/// Bytes of a region with escapes.
const MAX_REGION: usize = 8 * 1024;
/// Plain text taken with an escape, before and behind it.
const MARGIN: usize = 256;
/// What decoding may still produce in this scan.
#[derive(Debug)]
pub(crate) struct Decoding {
    left: AtomicUsize,
    depth: u8,
}

impl Decoding {
    pub fn new(content_length: usize) -> Decoding {
        let left = content_length.saturating_mul(2).min(MAX_DECODED_BYTES);
        Decoding {
            left: AtomicUsize::new(left),
            depth: 0,
        }
    }

    fn take(&self, bytes: usize) -> bool {
        self.left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(bytes)
            })
            .is_ok()
    }

    /// The next layer, with what is left.
    fn inner(&self) -> Decoding {
        Decoding {
            left: AtomicUsize::new(self.left.load(Ordering::Acquire)),
            depth: self.depth.saturating_add(1),
        }
    }

    fn settle(&self, inner: &Decoding) {
        self.left
            .store(inner.left.load(Ordering::Acquire), Ordering::Release);
    }
}

/// Opens the encodings of a block and adds what is found in them.
pub(crate) fn layers(block: &mut Block<'_>, decoding: &Decoding) {
    if decoding.depth >= MAX_LAYERS {
        return;
    }
    runs(block, decoding);
    escapes(block, decoding);
}

/// Whether at least 80 % is text: ASCII, or UTF-8 as a whole.
fn is_text(bytes: &[u8]) -> bool {
    let ascii = bytes
        .iter()
        .filter(|byte| byte.is_ascii() && is_printable(**byte))
        .count();
    let enough = |count: usize| count.saturating_mul(5) >= bytes.len().saturating_mul(4);
    !bytes.is_empty()
        && (enough(ascii)
            || std::str::from_utf8(bytes).is_ok()
                && enough(bytes.iter().filter(|byte| is_printable(**byte)).count()))
}

fn runs(block: &mut Block<'_>, decoding: &Decoding) {
    let mut wrapped_end = 0usize;
    for span in std::mem::take(&mut block.encoded) {
        if block.work.is_over() {
            return;
        }
        if span.start < wrapped_end {
            continue;
        }
        if let Some((text, end)) = wrapped(block.content, &span) {
            if !decoding.take(text.len()) {
                return;
            }
            if add_decoded(block, decoding, &text, span.start..end) {
                wrapped_end = end;
                continue;
            }
        }
        let padding = slice(block.content, span.end, span.end.saturating_add(2))
            .iter()
            .take_while(|byte| **byte == b'=')
            .count();
        let text = slice(block.content, span.start, span.end);
        let whole = span.start..span.end.saturating_add(padding);
        if !decoding.take(text.len()) {
            return;
        }
        add_decoded(block, decoding, text, whole);
    }
}

/// Adds what an encoded text that stands at `whole` holds; answers whether it is one.
fn add_decoded(block: &mut Block<'_>, decoding: &Decoding, text: &[u8], whole: Range<usize>) -> bool {
    let plain = if is_hex_text(text) {
        decode_hex(text)
    } else {
        decode_base64(trim_base64(text))
    };
    let Some(plain) = plain.filter(|plain| is_text(plain)) else {
        return false;
    };
    for hit in inside(block, &plain, decoding, true) {
        block.hits.push(Hit {
            offset: whole.start,
            length: whole.len(),
            ..hit
        });
    }
    true
}

/// Base64 without padding has no length of one more than a multiple of four.
fn trim_base64(text: &[u8]) -> &[u8] {
    if text.len() % 4 == 1 {
        text.get(..text.len().saturating_sub(1)).unwrap_or(text)
    } else {
        text
    }
}

fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    text.chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// Hits of a decoded text, under the names they are reported with.
fn inside(block: &mut Block<'_>, plain: &[u8], decoding: &Decoding, hides_text: bool) -> Vec<Hit> {
    let encoded = id_of("encoded_instruction").filter(|id| block.mask.contains(*id) && hides_text);
    let mut mask: Mask = block.mask.clone();
    if encoded.is_some() {
        mask.union_with(prompt_mask());
    }
    let inner = decoding.inner();
    let mut hits = scan_layer(
        plain,
        &mask,
        block.options,
        block.customs,
        &mut block.work,
        &inner,
    );
    decoding.settle(&inner);
    for hit in &mut hits {
        if let Some(id) = encoded.filter(|_| is_prompt(hit.detector)) {
            hit.detector = id;
            hit.severity = definition(id).map_or(hit.severity, |definition| definition.severity);
        }
    }
    hits.retain(|hit| block.mask.contains(hit.detector));
    // One encoded text is one finding per group: the most severe.
    hits.sort_by(|one, other| {
        other
            .severity
            .cmp(&one.severity)
            .then(other.confidence.total_cmp(&one.confidence))
    });
    hits
}

fn escapes(block: &mut Block<'_>, decoding: &Decoding) {
    let content = block.content;
    let text = slice(content, block.range.start, block.range.end);
    let (mut regions, mut coloured): (Vec<Range<usize>>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
    for place in memchr::memchr3_iter(b'%', b'\\', b'&', text) {
        let at = block.range.start.saturating_add(place);
        if !opens_escape(slice(content, at, at.saturating_add(12))) {
            continue;
        }
        let end = at.saturating_add(MARGIN).min(content.len());
        match regions.last_mut() {
            Some(last) if at < last.end && at.saturating_sub(last.start) < MAX_REGION => last.end = end,
            _ => regions.push(at.saturating_sub(MARGIN)..end),
        }
    }
    for place in memchr::memchr_iter(0x1b, text) {
        let at = block.range.start.saturating_add(place);
        if colour_code(slice(content, at, at.saturating_add(24))).is_none() {
            continue;
        }
        let end = at.saturating_add(MARGIN).min(content.len());
        match coloured.last_mut() {
            Some(last) if at < last.end && at.saturating_sub(last.start) < MAX_REGION => last.end = end,
            _ => coloured.push(at.saturating_sub(MARGIN)..end),
        }
    }
    regions.append(&mut coloured);
    regions.append(&mut block.escaped);
    for region in regions {
        if block.work.is_over() || !decoding.take(region.len()) {
            return;
        }
        unescape_region(block, region, decoding);
    }
}

/// An escape that hides a character of a token: not the everyday `\n` and `\"`.
fn opens_escape(text: &[u8]) -> bool {
    match text {
        [b'%', a, b, ..] => is(*a, HEX) && is(*b, HEX) && !a.is_ascii_alphabetic(),
        [b'\\', b'u', a, b, c, d, ..] => [a, b, c, d].iter().all(|byte| is(**byte, HEX)),
        [b'\\', b'x', a, b, ..] => is(*a, HEX) && is(*b, HEX),
        [b'\\', b'/', next, ..] => is(*next, ALNUM),
        [b'&', b'#', ..] => entity(text).is_some(),
        [b'&', next, ..] if next.is_ascii_lowercase() => entity(text).is_some(),
        _ => false,
    }
}

fn unescape_region(block: &mut Block<'_>, region: Range<usize>, decoding: &Decoding) {
    let content = block.content;
    let text = slice(content, region.start, region.end);
    let mut plain: Vec<u8> = Vec::with_capacity(text.len());
    let mut origins: Vec<u32> = Vec::with_capacity(text.len().saturating_add(1));
    let mut percents = 0usize;
    let mut at = 0usize;
    let is_form = memchr::memchr_iter(b'%', text).any(|place| {
        let digits = slice(text, place.saturating_add(1), place.saturating_add(3));
        digits.len() == 2 && digits.iter().all(|byte| is(*byte, HEX))
    }) && memchr::memchr(b'=', text).is_some();
    while let Some(byte) = text.get(at) {
        // A form writes blanks as plus signs, and what else is no letter with percent signs.
        let is_form_blank = *byte == b'+' && is_form && plain.last().is_some_and(|last| *last != b'\n');
        let (character, width) = if is_form_blank {
            (Some(Character::byte(b' ')), 1)
        } else {
            unescape(text.get(at..).unwrap_or_default())
        };
        percents = percents.saturating_add(usize::from(*byte == b'%' && width == 3));
        let before = plain.len();
        match character {
            Some(character) => plain.extend_from_slice(character.as_slice()),
            None => plain.push(*byte),
        }
        let origin = u32::try_from(at).unwrap_or(u32::MAX);
        origins.extend(std::iter::repeat_n(origin, plain.len().saturating_sub(before)));
        at = at.saturating_add(width);
    }
    origins.push(u32::try_from(at).unwrap_or(u32::MAX));
    let origin = |place: usize| {
        region
            .start
            .saturating_add(origins.get(place).map_or(text.len(), |at| *at as usize))
    };
    let is_cut_before = is_before(content, region.start, ALNUM);
    let is_cut_after = is_at(content, region.end, ALNUM);
    for hit in inside(block, &plain, decoding, percents > 2) {
        let (start, end) = (origin(hit.offset), origin(hit.end()));
        // Programs write the escapes of a terminal so; no result that is data does.
        if hit.detector == detector!("ansi_escape")
            && slice(content, start, start.saturating_add(2)) == b"\\x"
        {
            continue;
        }
        let is_cut = hit.offset == 0 && is_cut_before || hit.end() == plain.len() && is_cut_after;
        if !is_cut {
            block.hits.push(Hit {
                offset: start,
                length: end.saturating_sub(start),
                ..hit
            });
        }
    }
}

struct Character {
    bytes: [u8; 4],
    length: usize,
}

impl Character {
    const NONE: Character = Character {
        bytes: [0; 4],
        length: 0,
    };

    fn byte(byte: u8) -> Character {
        Character {
            bytes: [byte, 0, 0, 0],
            length: 1,
        }
    }

    fn of(code: u32) -> Option<Character> {
        let mut bytes = [0u8; 4];
        let length = char::from_u32(code)?.encode_utf8(&mut bytes).len();
        Some(Character { bytes, length })
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The character an escape stands for and how many bytes it takes; `None` and 1 for plain text.
fn unescape(text: &[u8]) -> (Option<Character>, usize) {
    match text {
        [b'%', a, b, ..] if is(*a, HEX) && is(*b, HEX) => (
            hex_value(&[*a, *b])
                .and_then(|code| u8::try_from(code).ok())
                .map(Character::byte),
            3,
        ),
        [b'\\', b'u', rest @ ..] => unicode_escape(rest),
        [b'\\', b'x', a, b, ..] if is(*a, HEX) && is(*b, HEX) => {
            (hex_value(&[*a, *b]).and_then(Character::of), 4)
        }
        [b'\\', next @ (b'"' | b'\'' | b'/' | b'\\'), ..] => (Some(Character::byte(*next)), 2),
        [b'\\', b'n', ..] => (Some(Character::byte(b'\n')), 2),
        [b'\\', b'r', ..] => (Some(Character::byte(b'\r')), 2),
        [b'\\', b't', ..] => (Some(Character::byte(b'\t')), 2),
        [b'&', ..] => entity(text).map_or((None, 1), |(code, width)| (Character::of(code), width)),
        [0x1b, ..] => colour_code(text).map_or((None, 1), |width| (Some(Character::NONE), width)),
        _ => (None, 1),
    }
}

/// Length of a code that sets a colour: what it stands before is none of its letters.
fn colour_code(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"\x1b[")?;
    let digits = rest
        .iter()
        .take(20)
        .take_while(|byte| byte.is_ascii_digit() || **byte == b';')
        .count();
    (rest.get(digits) == Some(&b'm')).then_some(digits.saturating_add(3))
}

/// What follows `\u`: four digits, or two times four for a pair.
fn unicode_escape(rest: &[u8]) -> (Option<Character>, usize) {
    let Some(unit) = rest.get(..4).and_then(hex_value) else {
        return (None, 1);
    };
    if !(0xd800..0xdc00).contains(&unit) {
        return (Character::of(unit), 6);
    }
    let low = rest
        .get(4..6)
        .filter(|mark| *mark == b"\\u")
        .and_then(|_| rest.get(6..10))
        .and_then(hex_value);
    match low.filter(|low| (0xdc00..0xe000).contains(low)) {
        Some(low) => (
            Character::of(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)),
            12,
        ),
        None => (None, 1),
    }
}

/// Code point and width of an HTML entity.
fn entity(text: &[u8]) -> Option<(u32, usize)> {
    const NAMES: &[(&[u8], u32)] = &[
        (b"quot", 0x22),
        (b"amp", 0x26),
        (b"apos", 0x27),
        (b"lt", 0x3c),
        (b"gt", 0x3e),
        (b"commat", 0x40),
        (b"period", 0x2e),
        (b"equals", 0x3d),
        (b"colon", 0x3a),
        (b"sol", 0x2f),
        (b"lowbar", 0x5f),
        (b"plus", 0x2b),
    ];
    let end = text.iter().take(12).position(|byte| *byte == b';')?;
    let name = text.get(1..end)?;
    let code = match name {
        [b'#', b'x' | b'X', digits @ ..] if !digits.is_empty() => hex_value(digits)?,
        [b'#', digits @ ..] if !digits.is_empty() => std::str::from_utf8(digits).ok()?.parse().ok()?,
        name => NAMES.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((code, end.saturating_add(1)))
}
