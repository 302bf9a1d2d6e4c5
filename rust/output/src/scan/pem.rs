//! Private keys: PEM blocks and PuTTY files (output policy spec §16.2, `private_key`).

use crate::bytes::slice;
use crate::catalogue::detector;
use crate::definition::Verdict;
use crate::scan::block::Block;

const MAX_BLOCK: usize = 64 * 1024;
/// Bytes of the label between BEGIN and the closing dashes.
const MAX_LABEL: usize = 64;

impl Block<'_> {
    /// `-BEGIN ` or, as RFC 4716 has it, `- BEGIN ` at `at`: a private key reaches to its END line, or 64 KiB where there is
    /// none.
    pub(crate) fn pem(&mut self, at: usize) {
        let start = at.saturating_sub(
            slice(self.content, at.saturating_sub(4), at)
                .iter()
                .rev()
                .take_while(|byte| **byte == b'-')
                .count(),
        );
        if at.saturating_sub(start) < 3 {
            return;
        }
        let is_spaced = self.content.get(at.saturating_add(1)) == Some(&b' ');
        let label_start = at
            .saturating_add(b"-BEGIN ".len())
            .saturating_add(usize::from(is_spaced));
        let window = slice(self.content, label_start, label_start.saturating_add(MAX_LABEL));
        let Some(label_length) = memchr::memmem::find(window, b"----") else {
            return;
        };
        let label = window.get(..label_length).unwrap_or_default();
        let is_label = label
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ');
        if !is_label || memchr::memmem::find(label, b"PRIVATE KEY").is_none() {
            return;
        }
        let body = slice(self.content, label_start, start.saturating_add(MAX_BLOCK));
        self.work.spend(body.len().min(4_096));
        let mut mark = if is_spaced {
            &b"---- END "[..]
        } else {
            b"-----END "
        }
        .to_vec();
        mark.extend_from_slice(label);
        let header = label_start
            .saturating_add(label_length)
            .saturating_add(if is_spaced { 4 } else { 5 });
        let found = memchr::memmem::find(body, &mark);
        if found.is_some_and(|place| is_mock(slice(self.content, header, label_start.saturating_add(place))))
        {
            return;
        }
        let end = found.map_or_else(
            || self.unfinished_end(header, body.len().saturating_add(label_start)),
            |place| {
                let end = label_start.saturating_add(place).saturating_add(mark.len());
                let dashes = slice(self.content, end, end.saturating_add(5))
                    .iter()
                    .take_while(|byte| **byte == b'-')
                    .count();
                end.saturating_add(dashes)
            },
        );
        self.report(
            detector!("private_key"),
            start..end.min(self.content.len()),
            Verdict::Score(0.99),
        );
    }

    /// Without an END line: what looks like the body of a key.
    fn unfinished_end(&self, header: usize, limit: usize) -> usize {
        let tail = slice(self.content, header, limit);
        let is_body = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'+' | b'/' | b'=' | b'\n' | b'\r' | b'\\' | b':' | b',' | b'-'
                )
        };
        let mut length = tail.iter().take_while(|byte| is_body(byte)).count();
        while length > 0
            && tail
                .get(length.saturating_sub(1))
                .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
        {
            length = length.saturating_sub(1);
        }
        header.saturating_add(length)
    }

    /// A PuTTY key file: to the line of its authentication code.
    pub(crate) fn putty(&mut self, at: usize) {
        let body = slice(self.content, at, at.saturating_add(MAX_BLOCK));
        if !body.starts_with(b"PuTTY-User-Key-File-") {
            return;
        }
        let end = memchr::memmem::find(body, b"Private-MAC:").map(|place| {
            let tail = body.get(place..).unwrap_or_default();
            place.saturating_add(
                tail.iter()
                    .position(|byte| matches!(byte, b'\n' | b'\r' | b'"' | b'\\'))
                    .unwrap_or(tail.len()),
            )
        });
        let line = || body.iter().position(|byte| *byte == b'\n').unwrap_or(body.len());
        let end = at.saturating_add(end.unwrap_or_else(line));
        self.report(detector!("private_key"), at..end, Verdict::Score(0.99));
    }
}

/// Between its lines stands nothing but `XXXX` or dots.
fn is_mock(body: &[u8]) -> bool {
    let mut letters = body
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .flat_map(|line| line.split(|byte| *byte == b'\\'))
        .flat_map(|part| part.strip_prefix(b"n").unwrap_or(part).trim_ascii())
        .peekable();
    let first = letters.peek().copied();
    body.len() < 1_024
        && matches!(first, Some(b'X' | b'x' | b'.' | b'*'))
        && letters.all(|byte| Some(byte) == first)
}
