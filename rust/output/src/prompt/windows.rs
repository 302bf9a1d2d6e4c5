//! Which parts of a content are worth reading word by word.

use std::ops::Range;

use super::hidden::Invisible;
use crate::around::slice;
use crate::phrases::{Kind, Sighting, PAIR};

/// Text read before and after what woke the detectors.
const BEFORE: usize = 200;
const AFTER: usize = 320;
/// Largest window; a longer one is cut, and its parts overlap by `BEFORE + AFTER`.
const LARGEST: usize = 16 * 1024;

/// Places that ask for a window.
pub(super) struct Seen {
    spans: Vec<Range<usize>>,
}

impl Seen {
    /// What the phrases ask for: single ones, and pairs close to each other.
    pub(super) fn new(sightings: &[Sighting]) -> Self {
        let mut seen = Self { spans: Vec::new() };
        let mut last = [None::<usize>; 8];
        for sighting in sightings {
            let end = sighting.end;
            let (own, others): (usize, &[usize]) = match sighting.kind {
                Kind::Persona | Kind::Spaced => {
                    seen.ask(end..end);
                    continue;
                }
                Kind::Verb => (0, &[1]),
                Kind::Target => (1, &[0]),
                Kind::Lead => (2, &[3]),
                Kind::Limit => (3, &[2]),
                Kind::Ask => (4, &[5]),
                Kind::Confided => (5, &[4]),
                Kind::Address => (6, &[7]),
                Kind::Call => (7, &[6]),
                _ => continue,
            };
            if let Some(place) = last.get_mut(own) {
                *place = Some(end);
            }
            for other in others
                .iter()
                .filter_map(|other| last.get(*other).copied().flatten())
            {
                if end - other <= PAIR {
                    seen.ask(other..end);
                }
            }
        }
        seen
    }

    /// Adds a span. One whose window would touch that of the span before becomes part of it: there may be very many.
    fn ask(&mut self, span: Range<usize>) {
        let touches = |last: &&mut Range<usize>| {
            last.start <= span.start && span.start.saturating_sub(BEFORE) <= last.end + AFTER
        };
        match self.spans.last_mut().filter(touches) {
            Some(last) => last.end = last.end.max(span.end),
            None => self.spans.push(span),
        }
    }

    /// Orders to send something, when an address is near.
    pub(super) fn orders(&mut self, content: &[u8], sightings: &[Sighting]) {
        for sighting in sightings.iter().filter(|sighting| sighting.kind == Kind::Send) {
            let near = slice(content, sighting.end.saturating_sub(80)..sighting.end + 240);
            if has_address(near) {
                self.ask(sighting.end..sighting.end);
            }
        }
    }

    /// Look at every character beyond ASCII: some hide text, some hide words, some are letters of other scripts.
    pub(super) fn beyond_ascii(&mut self, content: &[u8], range: Range<usize>) -> Invisible {
        let mut invisible = Invisible::default();
        let mut at = range.start;
        while let Some(skipped) = first_beyond_ascii(slice(content, at..range.end)) {
            at += skipped;
            // Characters in a row are looked at without a search for the next.
            let run = slice(content, at..at + 64);
            let mut taken = 0;
            while let Some(character) = wide_character(run, taken) {
                let place = at + taken;
                taken += character.len_utf8();
                if asks(character, content, place) {
                    self.ask(place..at + taken);
                    invisible.see(content, place, character);
                }
            }
            // A broken byte is passed by; a character cut by the end of the run starts the next one.
            at += taken.max(1);
        }
        invisible
    }

    /// The windows, in order and without overlap except where a long one was cut.
    pub(super) fn into_windows(mut self, length: usize) -> Vec<Range<usize>> {
        self.spans.sort_unstable_by_key(|span| span.start);
        let mut windows: Vec<Range<usize>> = Vec::new();
        for span in self.spans {
            let (from, to) = (span.start.saturating_sub(BEFORE), (span.end + AFTER).min(length));
            match windows.last_mut().filter(|window| from <= window.end) {
                Some(window) => window.end = window.end.max(to),
                None => windows.push(from..to),
            }
        }
        windows.into_iter().flat_map(cut).collect()
    }
}

fn cut(window: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut from = Some(window.start);
    std::iter::from_fn(move || {
        let start = from?;
        let end = (start + LARGEST).min(window.end);
        from = (end < window.end).then(|| end - BEFORE - AFTER);
        Some(start..end)
    })
}

/// The character beyond ASCII that stands at `at`; `None` for any other, and for broken bytes.
fn wide_character(bytes: &[u8], at: usize) -> Option<char> {
    let bytes = bytes.get(at..)?;
    let width = match bytes.first()? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    std::str::from_utf8(bytes.get(..width)?).ok()?.chars().next()
}

/// Where the first byte beyond ASCII stands.
pub(super) fn first_beyond_ascii(bytes: &[u8]) -> Option<usize> {
    /// Long stretches are looked at together; the one that has such a byte is looked at in parts.
    const STRIDES: [usize; 3] = [1024, 64, 8];
    let mut at = 0;
    for stride in STRIDES {
        let rest = bytes.get(at..).unwrap_or(&[]);
        at += rest
            .chunks_exact(stride)
            .take_while(|chunk| chunk.is_ascii())
            .count()
            * stride;
    }
    let rest = bytes.get(at..).unwrap_or(&[]);
    Some(at + rest.iter().take(8).position(|byte| !byte.is_ascii())?)
}

fn has_address(near: &[u8]) -> bool {
    memchr::memchr_iter(b':', near).any(|at| near.get(at..at + 3) == Some(b"://"))
        || memchr::memchr(b'@', near).is_some()
        || memchr::memchr_iter(b'.', near).any(|dot| {
            let around = near.get(dot.saturating_sub(1)..dot + 2);
            matches!(around, Some([a, b'.', b]) if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
        })
}

/// Whether a character can be part of hidden or disguised words, or of a language with its own letters.
fn asks(character: char, content: &[u8], at: usize) -> bool {
    match character {
        // Letters with marks, punctuation, currency, arrows, boxes, technical signs, pictures.
        '\u{ad}' => true,
        // A blank that is none of ASCII, between words.
        '\u{a0}' => {
            let after = content.get(at + 2).is_some_and(u8::is_ascii_alphabetic);
            let before = at.checked_sub(1).and_then(|before| content.get(before));
            after && before.is_some_and(u8::is_ascii_alphabetic)
        }
        '\u{80}'..='\u{24f}'
        | '\u{2010}'..='\u{2027}'
        | '\u{2030}'..='\u{205f}'
        | '\u{20a0}'..='\u{20cf}' => false,
        '\u{2122}' | '\u{2116}' | '\u{2139}' | '\u{2190}'..='\u{245f}' | '\u{2500}'..='\u{2bff}' => false,
        '\u{fe0e}' | '\u{fe0f}' | '\u{fffd}' | '\u{e000}'..='\u{f8ff}' => false,
        '\u{1f000}'..='\u{1faff}' | '\u{3001}' | '\u{3002}' => false,
        // Greek has no table of its own: it counts only inside Latin words.
        '\u{370}'..='\u{3ff}' => {
            let after = content.get(at + character.len_utf8());
            let before = at.checked_sub(1).and_then(|before| content.get(before));
            [before, after].into_iter().flatten().any(u8::is_ascii_alphabetic)
        }
        _ => true,
    }
}
