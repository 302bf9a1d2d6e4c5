//! Encoded texts that are written in lines (output policy spec §16.6, decoding).

use std::ops::Range;

use crate::bytes::{is, slice, RUN};

/// Characters of a line that encoded text is wrapped at.
const MIN_WIDTH: usize = 48;
const MAX_WIDTH: usize = 128;
/// Line breaks and blanks between two such lines.
const MAX_INDENT: usize = 24;
/// Characters of an encoded text in lines.
const MAX_WRAPPED: usize = 1 << 20;

/// An encoded text that goes on in lines as long as its first, as `base64` and mail write it: its characters, and where it
/// ends. `None` for a text of one line.
pub(crate) fn wrapped(content: &[u8], first: &Range<usize>) -> Option<(Vec<u8>, usize)> {
    let width = first.len();
    if !(MIN_WIDTH..=MAX_WIDTH).contains(&width) {
        return None;
    }
    let mut text = slice(content, first.start, first.end).to_vec();
    let mut end = first.end;
    while text.len() < MAX_WRAPPED {
        let gap = line_break(slice(content, end, end.saturating_add(MAX_INDENT)));
        let start = end.saturating_add(gap);
        let line = slice(content, start, start.saturating_add(width).saturating_add(1));
        let length = line.iter().take_while(|byte| is(**byte, RUN)).count();
        if gap == 0 || length == 0 || length > width {
            break;
        }
        text.extend_from_slice(line.get(..length).unwrap_or_default());
        end = start.saturating_add(length);
        if length < width {
            break;
        }
    }
    let padding = slice(content, end, end.saturating_add(2))
        .iter()
        .take_while(|byte| **byte == b'=');
    let whole_end = end.saturating_add(padding.count());
    (text.len() > width).then_some((text, whole_end))
}

/// Bytes of the line break the text begins with, written or escaped, and of the blanks and marks before the next line.
fn line_break(text: &[u8]) -> usize {
    let mut rest = text;
    while let [b'\n' | b'\r', tail @ ..] | [b'\\', b'n' | b'r', tail @ ..] = rest {
        rest = tail;
    }
    if rest.len() == text.len() {
        return 0;
    }
    while let [b' ' | b'\t' | b'>' | b'#' | b'|', tail @ ..] = rest {
        rest = tail;
    }
    text.len().saturating_sub(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_width_are_one_text() {
        let (long, short) = ("QUJD".repeat(19), "QUJD".repeat(3));
        let text = |content: &str| {
            let start = content.find('Q').unwrap();
            wrapped(content.as_bytes(), &(start..start + long.len()))
        };
        let whole = format!("{long}{long}{short}").into_bytes();
        for gap in ["\n", "\r\n", "\\n", "\n    ", "\n> "] {
            let content = format!("x: {long}{gap}{long}{gap}{short}==\n\nend");
            let end = content.find("\n\nend").unwrap();
            assert_eq!(text(&content), Some((whole.clone(), end)), "{gap:?}");
        }
        assert_eq!(text(&format!("{long} {short}")), None);
        assert_eq!(text(&format!("{long}\n{long}{short}")), None);
    }
}
