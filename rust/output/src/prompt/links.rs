//! `markdown_exfiltration`: images and links whose address carries data out.

use super::Draft;
use crate::around::{slice, starts_at};

const LINK: &str = "markdown_exfiltration";

/// A Markdown image or link, or an HTML image, whose address starts at `start`.
pub(super) fn link_at(content: &[u8], start: usize, is_image: bool) -> Option<Draft> {
    const LONGEST: usize = 4096;
    let rest = slice(content, start..start + LONGEST);
    // A placeholder may hold blanks: `{{ secret }}`.
    let length = address_length(rest);
    let address = rest.get(..length)?;
    let from = if starts_at(address, 0, b"https://") || starts_at(address, 0, b"http://") {
        memchr::memmem::find(address, b"://")? + 3
    } else if address.starts_with(b"//") {
        2
    } else {
        return None;
    };
    let body = address.get(from..)?;
    let host_length = body
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(body.len());
    if is_own(body.get(..host_length)?) {
        return None;
    }
    let tail = body.get(host_length..)?;
    let is_filled = placeholder(tail) || placeholder(body.get(..host_length)?);
    let confidence = if is_filled && (is_image || memchr::memchr(b'?', tail).is_some()) {
        0.8
    } else {
        query(tail)
            .filter_map(|(name, value)| carried(name, value, is_image))
            .fold(0.0, f64::max)
    };
    (confidence > 0.0).then(|| Draft::new(LINK, start..start + length, confidence))
}

fn address_length(rest: &[u8]) -> usize {
    let mut depth = 0_u32;
    for (place, byte) in rest.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b'\n' => return place,
            b')' | b'"' | b'\'' | b'>' | b' ' | b'\t' | b'\\' if depth == 0 => return place,
            _ => {}
        }
    }
    rest.len()
}

fn is_own(host: &[u8]) -> bool {
    let host = host.rsplit(|byte| *byte == b'@').next().unwrap_or(host);
    let name = host.split(|byte| *byte == b':').next().unwrap_or(host);
    name.eq_ignore_ascii_case(b"localhost") || name.starts_with(b"127.") || name.is_empty()
}

/// `{{x}}`, `${x}`, `{x}`, `[DATA]`, `<x>`, `%s`: something to be filled in.
fn placeholder(text: &[u8]) -> bool {
    let opens = [&b"{{"[..], b"${", b"$(", b"#{", b"%7B%7B", b"%7b%7b", b"<%"];
    let is_marked = opens
        .iter()
        .any(|open| memchr::memmem::find(text, open).is_some());
    let is_braced = memchr::memchr(b'{', text).is_some_and(|open| {
        let name = text.get(open + 1..).unwrap_or(&[]);
        let length = name
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b' '))
            .count();
        length >= 2 && name.get(length) == Some(&b'}')
    });
    let is_named = [
        &b"[data]"[..],
        b"<data>",
        b"[conversation",
        b"<conversation",
        b"[secret",
        b"<secret",
        b"[history",
        b"=data]",
    ]
    .iter()
    .any(|name| memchr::memmem::find(&text.to_ascii_lowercase(), name).is_some());
    is_marked || is_braced || is_named || is_bracketed(text)
}

/// `?data=[SUMMARY]`, `?data=<SECRET>`, plain or with percent signs.
fn is_bracketed(text: &[u8]) -> bool {
    [
        (&b"=["[..], &b"]"[..]),
        (b"=<", b">"),
        (b"=%5B", b"%5D"),
        (b"=%3C", b"%3E"),
    ]
    .iter()
    .any(|(open, close)| {
        let name = memchr::memmem::find(text, open).and_then(|at| text.get(at + open.len()..));
        name.is_some_and(|name| {
            let length = name
                .iter()
                .take_while(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b' ' | b'-'))
                .count();
            length >= 3 && name.get(length..).is_some_and(|rest| rest.starts_with(close))
        })
    })
}

fn query(tail: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let at = memchr::memchr(b'?', tail).map_or(tail.len(), |at| at + 1);
    let text = tail.get(at..).unwrap_or(&[]);
    text.split(|byte| *byte == b'&').filter_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        Some((pair.get(..at)?, pair.get(at + 1..)?))
    })
}

/// How sure it is that a query value carries data out.
fn carried(name: &[u8], value: &[u8], is_image: bool) -> Option<f64> {
    let name = name.to_ascii_lowercase();
    let is_signature = [
        &b"signature"[..],
        b"sig",
        b"x-amz",
        b"x-goog",
        b"credential",
        b"integrity",
        b"sha",
        b"logo",
        b"policy",
        b"hash",
        b"digest",
    ]
    .iter()
    .any(|known| memchr::memmem::find(&name, known).is_some());
    // `is:open label:bug` looks for something.
    if memchr::memmem::find(value, b"%3A").is_some() || value.contains(&b':') {
        return None;
    }
    let encoded = value
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"+/_=-".contains(byte))
        .count();
    if encoded >= 64 && encoded == value.len() && !is_signature {
        return Some(if is_image { 0.75 } else { 0.6 });
    }
    let names: &[&[u8]] = &[
        b"data",
        b"conversation",
        b"history",
        b"chat",
        b"exfil",
        b"payload",
        b"secret",
        b"secrets",
        b"context",
        b"prompt",
        b"leak",
        b"stolen",
        b"env",
        b"messages",
        b"memory",
        b"creds",
        b"credentials",
        b"password",
        b"cookie",
        b"c",
        b"d",
        b"q",
    ];
    if !names.contains(&name.as_slice()) {
        return None;
    }
    let words = value
        .split(|byte| matches!(byte, b'+' | b'_'))
        .flat_map(split_percent)
        .count();
    let is_vague = name.len() == 1;
    match () {
        () if is_image && words >= 3 => Some(if is_vague { 0.6 } else { 0.75 }),
        () if is_image && value.len() >= 16 && !is_vague => Some(0.6),
        () if words >= 4 && !is_vague => Some(0.6),
        () if value.len() >= 24 && !is_vague => Some(0.55),
        () => None,
    }
}

fn split_percent(part: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = part;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = memchr::memmem::find(rest, b"%20");
        let head = rest.get(..at.unwrap_or(rest.len()))?;
        rest = at.and_then(|at| rest.get(at + 3..)).unwrap_or(&[]);
        Some(head)
    })
}
