//! `ansi_escape`: terminal control that changes what a reader sees or what the terminal holds.

use std::ops::Range;

use super::Draft;
use crate::around::slice;

const ID: &str = "ansi_escape";
pub(super) const ESC: u8 = 0x1b;
/// Longest control string looked at.
const LONGEST: usize = 4096;

/// All control sequences but colours.
pub(super) fn find(content: &[u8], range: Range<usize>, found: &mut Vec<Draft>) {
    let mut open_link: Option<(usize, &[u8], usize)> = None;
    let mut free_at = 0;
    for start in memchr::memchr_iter(ESC, slice(content, range.clone())).map(|at| range.start + at) {
        if start < free_at {
            continue;
        }
        match content.get(start + 1) {
            Some(b'[') => found.extend(control_sequence(content, start)),
            Some(b']') => {
                let (body, end) = string(content, start + 2);
                free_at = end;
                if let Some(link) = body.strip_prefix(b"8;") {
                    let address = memchr::memchr(b';', link)
                        .and_then(|at| link.get(at + 1..))
                        .unwrap_or(&[]);
                    if let Some((from, target, text_from)) = open_link.take() {
                        let text = slice(content, text_from..start.min(text_from + 512));
                        if !agrees(target, text) {
                            found.push(Draft::new(ID, from..end, 0.8));
                        }
                    }
                    open_link = (!address.is_empty()).then_some((start, address, end));
                } else if body.starts_with(b"52;") {
                    found.push(Draft::new(ID, start..end, 0.9));
                } else if [&b"0;"[..], b"1;", b"2;"]
                    .iter()
                    .any(|title| body.starts_with(title))
                {
                    found.push(Draft::new(ID, start..end, 0.7));
                }
            }
            Some(b'P' | b'_' | b'^' | b'X') => {
                let (_, end) = string(content, start + 2);
                free_at = end;
                found.push(Draft::new(ID, start..end, 0.75));
            }
            // Full reset: clears the screen.
            Some(b'c')
                if !slice(content, start + 2..start + 3)
                    .first()
                    .is_some_and(u8::is_ascii_alphanumeric) =>
            {
                found.push(Draft::new(ID, start..start + 2, 0.65));
            }
            _ => {}
        }
    }
}

/// Cursor movement and clearing; not colours, modes and erasing to the end of the line, which build logs are full of.
fn control_sequence(content: &[u8], start: usize) -> Option<Draft> {
    let rest = slice(content, start + 2..start + 34);
    let length = rest.iter().take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
    let last = rest.get(length)?;
    matches!(last, b'A'..=b'H' | b'J' | b'd' | b'f' | b'S' | b'T')
        .then(|| Draft::new(ID, start..start + length + 3, 0.6))
}

/// A control string up to BEL or ST, and the offset behind its end.
fn string(content: &[u8], from: usize) -> (&[u8], usize) {
    let rest = slice(content, from..from + LONGEST);
    let end = rest
        .iter()
        .position(|byte| matches!(byte, 0x07 | &ESC | b'\n'))
        .unwrap_or(rest.len());
    let body = rest.get(..end).unwrap_or(&[]);
    let behind = match rest.get(end) {
        Some(0x07) => 1,
        Some(&ESC) if rest.get(end + 1) == Some(&b'\\') => 2,
        _ => 0,
    };
    (body, from + end + behind)
}

/// Whether the text of a link names no other host than its target.
fn agrees(target: &[u8], text: &[u8]) -> bool {
    let (target, text) = (
        String::from_utf8_lossy(target).to_lowercase(),
        String::from_utf8_lossy(text).to_lowercase(),
    );
    let Some(shown) = host_of(text.trim()) else {
        return true;
    };
    host_of(&target) == Some(shown)
}

/// Host of something that looks like an address.
fn host_of(text: &str) -> Option<&str> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#', ':', ' ']).next()?;
    let is_address = text.contains("://")
        || host.rsplit_once('.').is_some_and(|(name, ending)| {
            !name.is_empty()
                && matches!(ending.len(), 2..=6)
                && ending.bytes().all(|byte| byte.is_ascii_lowercase())
                && host.len() == rest.trim_end_matches('/').len().min(host.len())
                && !matches!(
                    ending,
                    "rs" | "py" | "md" | "txt" | "js" | "ts" | "json" | "toml" | "yaml" | "html" | "log"
                )
        });
    is_address.then(|| host.strip_prefix("www.").unwrap_or(host))
}
