//! `path_traversal`: steps up the tree towards what nobody should read.

use super::Draft;
use crate::around::{contains, lower};

const ID: &str = "path_traversal";
const TARGETS: &[&[u8]] = &[
    b"etc/passwd",
    b"etc/shadow",
    b"etc/hosts",
    b"etc/group",
    b"etc/sudoers",
    b"windows/",
    b"winnt/",
    b"win.ini",
    b"boot.ini",
    b".ssh",
    b"id_rsa",
    b"proc/self",
    b"proc/version",
    b"var/log/auth",
    b"root/.",
    b".aws/credentials",
    b".env",
    b"authorized_keys",
];

/// At least three steps before a sensitive target; percent signs decoded, twice if need be.
pub(super) fn found(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(96);
    let head = lower(content, from..end);
    // The run starts behind the last character that no encoded step has.
    let is_step = |byte: &u8| b"./\\%;".contains(byte) || byte.is_ascii_hexdigit();
    let run = head
        .iter()
        .rposition(|byte| !is_step(byte))
        .map_or(0, |at| at + 1);
    let start = from + run + first_step(head.get(run..)?)?;
    let text = decoded(&decoded(&lower(content, start..end + 160)));
    let text: Vec<u8> = text
        .into_iter()
        .map(|byte| if byte == b'\\' { b'/' } else { byte })
        .collect();
    let text = plain_slashes(&text);
    let (mut at, mut steps) = (0, 0);
    loop {
        let rest = text.get(at..).unwrap_or(&[]);
        // `....//` leaves `../` when a filter removes `../` once; `..;/` fools servers.
        let length = [&b"....//"[..], b"..;/", b"..//", b"../"]
            .iter()
            .find(|step| rest.starts_with(step))
            .map(|step| step.len());
        let Some(length) = length else { break };
        (at, steps) = (at + length, steps + 1);
    }
    let rest = text.get(at..)?;
    let length = rest
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'&'))
        .unwrap_or(rest.len());
    let target = rest.get(..length)?;
    let is_grave = TARGETS.iter().any(|known| contains(target, known));
    let shown = (start + at + length).min(content.len());
    (steps >= 3 && is_grave).then(|| Draft::new(ID, start..shown.max(end.min(content.len())), 0.9))
}

fn first_step(run: &[u8]) -> Option<usize> {
    [&b".."[..], b"%2e", b"%25", b".%2e"]
        .iter()
        .filter_map(|step| memchr::memmem::find(run, step))
        .min()
}

/// Slashes in two bytes, as decoders of old let pass, are slashes.
fn plain_slashes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let is_long = matches!((first, behind.first()), (0xc0, Some(0xaf)) | (0xc1, Some(0x9c)));
        out.push(if is_long { b'/' } else { *first });
        rest = if is_long {
            behind.get(1..).unwrap_or(&[])
        } else {
            behind
        };
    }
    out
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let pair = (text.get(at + 1).and_then(digit), text.get(at + 2).and_then(digit));
        match (byte, pair) {
            (b'%', (Some(high), Some(low))) => {
                out.push(high * 16 + low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}
