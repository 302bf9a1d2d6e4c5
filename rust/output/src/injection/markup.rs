//! `xss_script`: markup that runs script where it is shown.

use super::Draft;
use crate::around::{contains, lower, rest_of, skip_blanks, slice};

const ID: &str = "xss_script";

/// What only an attack does in a handler, a script element or an address.
fn is_hostile(code: &[u8]) -> bool {
    const CALLS: &[&[u8]] = &[
        b"document.cookie",
        b"eval(",
        b"alert(",
        b"alert`",
        b"alert&#",
        b"alert%28",
        b"atob(",
        b"fromcharcode",
        b"document.domain",
        b"import(",
        b"prompt(1",
        b"confirm(1",
        b"prompt`",
        b"window['al",
    ];
    let sends = contains(code, b"fetch(")
        || contains(code, b"xmlhttprequest")
        || contains(code, b"sendbeacon(")
        || contains(code, b"new image")
        // Pages keep their settings there; what leaves with it counts.
        || contains(code, b"localstorage")
        || contains(code, b"sessionstorage")
        || contains(code, b"document.write(");
    let moves = contains(code, b"location=")
        || contains(code, b"location =")
        || contains(code, b"location.href")
        || contains(code, b"location.replace");
    CALLS.iter().any(|call| contains(code, call)) || (sends || moves) && is_outside(code)
}

/// Names another host.
fn is_outside(code: &[u8]) -> bool {
    contains(code, b"http://")
        || contains(code, b"https://")
        || contains(code, b"\"//")
        || contains(code, b"'//")
        || contains(code, b"`//")
}

/// `<script>`, `<svg>`, `<iframe srcdoc=`.
pub(super) fn element(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(10);
    let head = lower(content, from..end);
    if let Some(at) = memchr::memmem::rfind(&head, b"srcdoc") {
        let value = lower(content, end..end + 300);
        let is_markup = [
            &b"<script"[..],
            b"&lt;",
            b"onload",
            b"onerror",
            b"javascript:",
            b"<img",
            b"<svg",
        ]
        .iter()
        .any(|one| contains(&value, one));
        let in_tag = tag_start(content, from + at).is_some();
        return in_tag.then(|| Draft::new(ID, from + at..end, if is_markup { 0.85 } else { 0.55 }));
    }
    let start = from + memchr::memrchr(b'<', &head)?;
    if !head.ends_with(b"<script") {
        return None;
    }
    let rest = lower(content, end..end + 800);
    let open = memchr::memchr(b'>', &rest)?;
    let body = rest_of(&rest, open + 1);
    let close = memchr::memmem::find(body, b"</script")
        .or_else(|| memchr::memmem::find(body, b"<\\/script"))
        .unwrap_or(body.len().min(400));
    let code = body.get(..close)?;
    // A page that sets its cookie gives none away.
    let is_set = memchr::memmem::find_iter(code, b"document.cookie").all(|at| {
        let after = rest_of(code, at + b"document.cookie".len()).trim_ascii_start();
        after.starts_with(b"=") && !after.starts_with(b"==")
    });
    let rest: Vec<u8> = if is_set {
        String::from_utf8_lossy(code)
            .replace("document.cookie", "")
            .into_bytes()
    } else {
        code.to_vec()
    };
    is_hostile(&rest).then(|| Draft::new(ID, start..end + open + 1 + close, 0.8))
}

/// Start of the tag that is open at `at`.
fn tag_start(content: &[u8], at: usize) -> Option<usize> {
    let from = at.saturating_sub(300);
    let before = slice(content, from..at);
    let open = memchr::memrchr(b'<', before)?;
    let is_tag = before
        .get(open + 1)
        .is_some_and(|byte| byte.is_ascii_alphabetic());
    // A `>` inside of a quoted value does not end a tag, but no value of an innocent tag has one either.
    (is_tag && memchr::memchr(b'>', rest_of(before, open)).is_none()).then_some(from + open)
}

/// `onerror=…` inside of a tag.
pub(super) fn handler(content: &[u8], end: usize) -> Option<Draft> {
    let start = tag_start(content, end)?;
    let rest = lower(content, end..end + 300);
    let at = skip_blanks(&rest, 0);
    let rest = rest_of(&rest, at);
    let rest = rest.strip_prefix(b"\\").unwrap_or(rest);
    let (code, length) = match rest.first()? {
        mark @ (b'"' | b'\'' | b'`') => {
            let inner = rest_of(rest, 1);
            let close = memchr::memchr(*mark, inner).unwrap_or(inner.len());
            (inner.get(..close)?, close + 2)
        }
        _ => {
            let close = rest
                .iter()
                .position(|byte| matches!(byte, b'>' | b'\n'))
                .unwrap_or(rest.len());
            (rest.get(..close)?, close)
        }
    };
    is_hostile(code).then(|| Draft::new(ID, start..(end + at + length).min(content.len()), 0.85))
}

/// `javascript:` and scripts in data addresses.
pub(super) fn script_url(content: &[u8], end: usize) -> Option<Draft> {
    const HARMLESS: &[&[u8]] = &[
        b"void",
        b";",
        b"//",
        b"history.",
        b"window.print",
        b"\"",
        b"'",
        b"return false",
        b"void%20",
        b"location.reload",
    ];
    let from = end.saturating_sub(14);
    let head = lower(content, from..end);
    let rest = lower(content, end..end + 160);
    let length = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\n' | b'<' | b'>'))
        .unwrap_or(rest.len());
    let code = rest.get(..length)?;
    if head.ends_with(b"data:text/html") {
        let is_script = contains(&rest, b"<script")
            || contains(&rest, b"base64,phnjcmlwd")
            || contains(&rest, b"%3cscript")
            || contains(&rest, b"onload");
        return is_script.then(|| Draft::new(ID, from..end + length, 0.8));
    }
    let start = from + memchr::memmem::rfind(&head, b"script:")?.saturating_sub(4);
    let start = start.max(from);
    if HARMLESS.iter().any(|known| code.starts_with(known)) {
        return None;
    }
    if is_hostile(code) {
        return Some(Draft::new(ID, start..end + length, 0.8));
    }
    let before = lower(content, start.saturating_sub(16)..start);
    let before: Vec<u8> = before
        .into_iter()
        .filter(|byte| !b"\"' \\".contains(byte))
        .collect();
    let is_address = [&b"href="[..], b"src=", b"action=", b"](", b"formaction="]
        .iter()
        .any(|lead| before.ends_with(lead));
    let is_call = code.first().is_some_and(u8::is_ascii_alphabetic) && code.contains(&b'(');
    (is_address && is_call).then(|| Draft::new(ID, start..end + length, 0.6))
}
