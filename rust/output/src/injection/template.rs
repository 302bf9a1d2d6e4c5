//! `template_injection`: expressions that a template engine would run.

use super::Draft;
use crate::around::{contains, lower, rest_of, skip_blanks, slice};

pub(super) const ID: &str = "template_injection";

const OPENINGS: &[&[u8]] = &[b"{{", b"${", b"#{", b"<%", b"{%", b"*{"];

/// `{{7*7}}`: the sighting ends at the first digit.
pub(super) fn arithmetic(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(12);
    let start = from + last_opening(slice(content, from..end))?;
    let rest = slice(content, end.saturating_sub(1)..end + 60);
    let number = |at: usize| {
        let at = at
            + rest_of(rest, at)
                .iter()
                .take_while(|byte| matches!(byte, b'\'' | b'"' | b'\\' | b'('))
                .count();
        let digits = rest_of(rest, at)
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let behind = at + digits;
        let closed = rest_of(rest, behind)
            .iter()
            .take_while(|byte| matches!(byte, b'\'' | b'"' | b'\\' | b')'))
            .count();
        (digits > 0).then_some(behind + closed)
    };
    let first = skip_blanks(rest, number(0)?);
    let second = rest_of(rest, first)
        .strip_prefix(b"*")
        .map(|_| skip_blanks(rest, first + 1))?;
    let behind = skip_blanks(rest, number(second)?);
    let closing = rest_of(rest, behind);
    let length = [&b"}}"[..], b"}", b"%}", b"%>", b"-%>"]
        .iter()
        .find(|close| closing.starts_with(close))?
        .len();
    Some(Draft::new(ID, start..end - 1 + behind + length, 0.8))
}

fn last_opening(text: &[u8]) -> Option<usize> {
    let places = OPENINGS
        .iter()
        .filter_map(|open| memchr::memmem::rfind(text, open));
    let last = places.max()?;
    // `${{` opens at the dollar.
    Some(last - usize::from(last > 0 && text.get(last - 1) == Some(&b'$')))
}

/// `${jndi:` and the ways to write it with nested look-ups.
pub(super) fn lookup(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(48);
    let head = lower(content, from..end);
    let start = memchr::memmem::find(&head, b"${")?;
    let direct = head.ends_with(b"${jndi:");
    let start = if direct { head.len() - 7 } else { start };
    if !direct {
        // What the nested look-ups leave: `${${lower:j}ndi:`, `${${::-j}${::-n}di:`.
        let rest = lower(content, from + start..end + 48);
        let plain: Vec<u8> = without_nested(&rest);
        if !contains(&plain, b"${jndi:") {
            return None;
        }
    }
    let rest = slice(content, end..end + 160);
    let close = rest
        .iter()
        .position(|byte| matches!(byte, b'}' | b'"' | b'\n' | b' '))
        .map_or(0, |at| at + 1);
    Some(Draft::new(ID, from + start..end + close, 0.95))
}

const NESTED: &[&[u8]] = &[b"${lower:", b"${upper:", b"${::-", b"${env:", b"${sys:"];

/// `${lower:j}` and `${::-j}` become `j`.
fn without_nested(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let rest = rest_of(text, at);
        let nested = NESTED.iter().find(|open| rest.starts_with(open));
        match nested {
            Some(open) => {
                let inner = rest_of(rest, open.len());
                let length = memchr::memchr(b'}', inner).unwrap_or(inner.len());
                let value = inner.get(..length).unwrap_or(&[]);
                out.extend(value.rsplit(|byte| *byte == b'-').next().unwrap_or(&[]));
                at += open.len() + length + 1;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// A walk over objects inside of delimiters.
pub(super) fn walk(content: &[u8], end: usize) -> Option<Draft> {
    let open = enclosing(content, end)?;
    let text = lower(content, open..end + 160);
    let inner = text.get(..closing(&text)).unwrap_or(&text);
    // A class's name for a message is no walk.
    let is_name_only = contains(inner, b"__class__.__name__") || contains(inner, b"__class__.__qualname__");
    let walks = [
        &b"__mro__"[..],
        b"__globals__",
        b"__subclasses__",
        b"__builtins__",
        b"__base",
        b"__import__",
        b"__init__.",
        b"constructor",
        b"getruntime",
        b"t(java.",
        b"freemarker.template",
        b"request.application",
        b".forname(",
        b"processbuilder",
    ];
    let count = walks.iter().filter(|walk| contains(inner, walk)).count();
    let confidence = match (count, contains(inner, b"__class__")) {
        (0, true) if is_name_only => return None,
        (0, true) => 0.7,
        (0, false) => return None,
        // One `constructor` alone is a word.
        (1, false)
            if contains(inner, b"constructor")
                && !contains(inner, b"constructor.constructor")
                && !contains(inner, b"constructor(") =>
        {
            return None;
        }
        _ => 0.9,
    };
    Some(Draft::new(ID, open..open + inner.len().max(2), confidence))
}

/// Start of the delimiter that is open at `end`.
fn enclosing(content: &[u8], end: usize) -> Option<usize> {
    let from = end.saturating_sub(240);
    let text = slice(content, from..end);
    let text_from = memchr::memrchr(b'\n', text).map_or(0, |at| at + 1);
    let text = rest_of(text, text_from);
    let place = OPENINGS
        .iter()
        .filter_map(|open| memchr::memmem::find(text, open).map(|at| (at, *open)));
    let (mut at, mut open) = place.min()?;
    // The first opening that is not closed before the end.
    loop {
        let close: &[u8] = match open {
            b"{{" => b"}}",
            b"<%" => b"%>",
            b"{%" => b"%}",
            _ => b"}",
        };
        let inner = rest_of(text, at + 2);
        // Python writes a literal brace as two: `f"{{{name}}}"`.
        if open == b"{{" && inner.starts_with(b"{") {
            return None;
        }
        // `"<%s>" % self.__class__` formats.
        if open == b"<%" && inner.first().is_some_and(u8::is_ascii_alphabetic) {
            return None;
        }
        let Some(closed) = memchr::memmem::find(inner, close) else {
            return Some(from + text_from + at);
        };
        let next_from = at + 2 + closed + close.len();
        let rest = rest_of(text, next_from);
        let next = OPENINGS
            .iter()
            .filter_map(|open| memchr::memmem::find(rest, open).map(|at| (at, *open)))
            .min()?;
        (at, open) = (next_from + next.0, next.1);
    }
}

fn closing(text: &[u8]) -> usize {
    let close: &[u8] = match text.get(..2) {
        Some(b"{{") => b"}}",
        Some(b"<%") => b"%>",
        Some(b"{%") => b"%}",
        _ => b"}",
    };
    memchr::memmem::find(text, close).map_or(text.len().min(160), |at| at + close.len())
}
