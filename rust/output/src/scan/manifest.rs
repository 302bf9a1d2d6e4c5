//! Documents that hold credentials: service accounts, Kubernetes secrets, Docker and netrc files (output policy spec §16.2).

use crate::bytes::{end_of, is, slice, ALNUM, SPACE};
use crate::catalogue::detector;
use crate::check::encoded::is_user_and_password;
use crate::definition::Verdict;
use crate::rarity::is_placeholder;
use crate::scan::block::Block;
use crate::scan::url::bare_end;

const MAX_DOCUMENT: usize = 64 * 1024;
/// How far before its type a document may begin.
const MAX_HEAD: usize = 8 * 1024;

impl Block<'_> {
    /// `service_account"` at `at`: the JSON object around it, if it has a private key.
    pub(crate) fn service_account(&mut self, at: usize) {
        if self.wanted(detector!("gcp_service_account_key")).is_none() {
            return;
        }
        let head = slice(self.content, at.saturating_sub(64), at);
        if memchr::memmem::rfind(head, b"type").is_none() {
            return;
        }
        let Some(start) = self.object_start(at) else {
            return;
        };
        let body = slice(self.content, start, start.saturating_add(MAX_DOCUMENT));
        self.work.spend(body.len().min(8_192));
        let end = object_end(body).unwrap_or(body.len());
        let object = body.get(..end).unwrap_or_default();
        if memchr::memmem::find(object, b"private_key\"").is_some()
            || memchr::memmem::find(object, b"private_key\\").is_some()
        {
            self.report(
                detector!("gcp_service_account_key"),
                start..start.saturating_add(end),
                Verdict::Score(0.99),
            );
        }
    }

    /// The brace that opens the object that `at` lies in.
    fn object_start(&self, at: usize) -> Option<usize> {
        let head = slice(self.content, at.saturating_sub(MAX_HEAD), at);
        let mut depth = 0usize;
        for (place, byte) in head.iter().enumerate().rev() {
            match byte {
                b'}' => depth = depth.saturating_add(1),
                b'{' if depth == 0 => return Some(at.saturating_sub(head.len()).saturating_add(place)),
                b'{' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        None
    }

    /// `"auth"` of a Docker configuration: its value, when the document has `auths`.
    pub(crate) fn docker_auth(&mut self, end: usize) {
        if self.wanted(detector!("docker_config_auth")).is_none() {
            return;
        }
        let head = slice(self.content, end.saturating_sub(MAX_HEAD), end);
        let filler = slice(self.content, end, end.saturating_add(16));
        let gap = filler
            .iter()
            .take_while(|byte| is(**byte, SPACE) || matches!(byte, b':' | b'"' | b'\\'))
            .count();
        let start = end.saturating_add(gap);
        let tail = slice(self.content, start, start.saturating_add(2_048));
        let length = tail
            .iter()
            .take_while(|byte| is(**byte, ALNUM) || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_'))
            .count();
        let value = tail.get(..length).unwrap_or_default();
        if value.len() >= 8 && memchr::memmem::rfind(head, b"auths").is_some() && is_user_and_password(value)
        {
            self.report(
                detector!("docker_config_auth"),
                start..start.saturating_add(length),
                Verdict::Score(0.98),
            );
        }
    }

    /// `kind: Secret` where the word ends at `end`: every value of `data` and `stringData`.
    pub(crate) fn kubernetes_secret(&mut self, start: usize, end: usize) {
        if self.wanted(detector!("kubernetes_secret")).is_none() {
            return;
        }
        let head = slice(self.content, start.saturating_sub(24), start);
        let is_kind = memchr::memmem::rfind(head, b"kind").is_some_and(|place| {
            let between = head.get(place.saturating_add(4)..).unwrap_or_default();
            between.contains(&b':')
                && between
                    .iter()
                    .all(|byte| matches!(byte, b':' | b' ' | b'"' | b'\'' | b'\\'))
        });
        let next = self.content.get(end).copied().unwrap_or(b'\n');
        if !is_kind || is(next, ALNUM) || matches!(next, b'_' | b'-') {
            return;
        }
        if next == b'\\' {
            // The manifest is a string of another document.
            let tail = slice(self.content, end, end.saturating_add(4_096));
            let length = tail
                .iter()
                .enumerate()
                .position(|(at, byte)| *byte == b'"' && tail.get(at.saturating_sub(1)) != Some(&b'\\'));
            let from = start.saturating_sub(256).max(self.range.start);
            self.escaped
                .push(from..end.saturating_add(length.unwrap_or(tail.len())));
            return;
        }
        let (from, to) = self.document_around(start);
        let document = slice(self.content, from, to);
        self.work.spend(document.len().min(8_192));
        for name in ["data", "stringData"] {
            for place in memchr::memmem::find_iter(document, name.as_bytes()) {
                self.secret_values(from, to, from.saturating_add(place), name);
            }
        }
    }

    /// The YAML document, or the neighbourhood of a JSON one.
    fn document_around(&self, at: usize) -> (usize, usize) {
        let head = slice(self.content, at.saturating_sub(MAX_HEAD), at);
        let tail = slice(self.content, at, at.saturating_add(MAX_DOCUMENT));
        let before = memchr::memmem::rfind(head, b"\n---").map_or(0, |place| place.saturating_add(4));
        let after = memchr::memmem::find(tail, b"\n---").unwrap_or(tail.len());
        (
            at.saturating_sub(head.len()).saturating_add(before),
            at.saturating_add(after),
        )
    }

    fn secret_values(&mut self, from: usize, to: usize, at: usize, name: &str) {
        let before = at
            .checked_sub(1)
            .filter(|before| *before >= from)
            .and_then(|before| self.content.get(before))
            .copied()
            .unwrap_or(b'\n');
        let end = at.saturating_add(name.len());
        let is_removed = before == b'-' && self.mark_of_line(at).is_some();
        if is(before, ALNUM) || matches!(before, b'.' | b'-' | b'_' | b'/') && !is_removed {
            return;
        }
        let line_end =
            memchr::memchr(b'\n', slice(self.content, end, to)).map_or(to, |place| end.saturating_add(place));
        match (before, slice(self.content, end, line_end)) {
            (b'"' | b'\'', _) => self.json_values(end, to),
            (_, [b':', rest @ ..]) if rest.iter().all(|byte| is(*byte, SPACE)) => {
                self.yaml_values(at, line_end, to)
            }
            (_, [b':', ..]) => self.json_values(end, to),
            _ => {}
        }
    }

    /// Lines that are indented deeper than the key at `at`.
    fn yaml_values(&mut self, at: usize, mut line: usize, to: usize) {
        let indent = slice(self.content, at.saturating_sub(64), at)
            .iter()
            .rev()
            .take_while(|byte| **byte == b' ')
            .count();
        let mark = self.mark_of_line(at.saturating_sub(indent));
        while line < to {
            let mut start = line.saturating_add(1);
            let tail = slice(self.content, start, to);
            let length = memchr::memchr(b'\n', tail).unwrap_or(tail.len());
            let mut text = tail.get(..length).unwrap_or_default();
            let next = start.saturating_add(length);
            if mark.is_some_and(|mark| {
                text.first()
                    .is_some_and(|first| *first == mark || b"+- ".contains(first))
            }) {
                text = text.get(1..).unwrap_or_default();
                start = start.saturating_add(1);
            }
            let blanks = text.iter().take_while(|byte| **byte == b' ').count();
            if !text.iter().all(|byte| is(*byte, SPACE)) {
                if blanks <= indent {
                    return;
                }
                let colon = memchr::memchr(b':', text);
                if let Some(colon) = colon.filter(|_| text.get(blanks) != Some(&b'#')) {
                    let rest = text.get(colon.saturating_add(1)..).unwrap_or_default();
                    let skipped = rest
                        .iter()
                        .take_while(|byte| matches!(byte, b' ' | b'"' | b'\''))
                        .count();
                    let value_start = start
                        .saturating_add(colon)
                        .saturating_add(1)
                        .saturating_add(skipped);
                    let trailing = rest
                        .iter()
                        .rev()
                        .take_while(|byte| is(**byte, SPACE) || matches!(byte, b'"' | b'\''))
                        .count();
                    self.secret_value(
                        value_start,
                        start.saturating_add(text.len()).saturating_sub(trailing),
                    );
                }
            }
            line = next;
            if length == tail.len() {
                return;
            }
        }
    }

    /// The sign in front of a line of a diff, a comment or a quotation, if that is all that stands before `at`.
    fn mark_of_line(&self, at: usize) -> Option<u8> {
        let [before @ .., mark] = slice(self.content, at.saturating_sub(2), at) else {
            return None;
        };
        let is_first = before.last().is_none_or(|byte| *byte == b'\n');
        (is_first && b"+-#>|".contains(mark)).then_some(*mark)
    }

    /// String values of the object that begins after `at`.
    fn json_values(&mut self, at: usize, to: usize) {
        let tail = slice(self.content, at, to);
        let Some(open) = tail.iter().take(16).position(|byte| *byte == b'{') else {
            return;
        };
        let object_start = at.saturating_add(open);
        let object = slice(self.content, object_start, to);
        let object = object
            .get(..object_end(object).unwrap_or(object.len()))
            .unwrap_or_default();
        let mut place = 0usize;
        while let Some(colon) = memchr::memchr(b':', object.get(place..).unwrap_or_default()) {
            let after = place.saturating_add(colon).saturating_add(1);
            let rest = object.get(after..).unwrap_or_default();
            let skipped = rest
                .iter()
                .take_while(|byte| matches!(byte, b' ' | b'"' | b'\\'))
                .count();
            let start = object_start.saturating_add(after).saturating_add(skipped);
            let end = bare_end(self.content, start, 4_096).min(to);
            self.secret_value(start, end);
            place = after.saturating_add(skipped).max(after.saturating_add(1));
        }
    }

    fn secret_value(&mut self, start: usize, end: usize) {
        let value = slice(self.content, start, end);
        if value.len() >= 4 && !is_placeholder(value) && !matches!(value, b"|" | b">" | b"|-") {
            self.report(detector!("kubernetes_secret"), start..end, Verdict::Score(0.9));
        }
    }

    /// `password` of a netrc line, where `machine` and `login` stand before.
    pub(crate) fn netrc(&mut self, word_start: usize, word_end: usize) -> bool {
        if self.wanted(detector!("netrc_credentials")).is_none()
            || slice(self.content, word_start, word_end) != b"password"
        {
            return false;
        }
        let blanks = slice(self.content, word_end, word_end.saturating_add(32))
            .iter()
            .take_while(|byte| is(**byte, SPACE))
            .count();
        let head = slice(self.content, word_start.saturating_sub(256), word_start);
        let machine =
            memchr::memmem::rfind(head, b"machine ").or_else(|| memchr::memmem::rfind(head, b"default "));
        let start = word_end.saturating_add(blanks);
        let end = bare_end(self.content, start, 256);
        let value = slice(self.content, start, end);
        let is_entry = machine.is_some_and(|place| {
            let entry = head.get(place..).unwrap_or_default();
            memchr::memmem::find(entry, b"login ").is_some_and(|login| {
                // Between `login` and `password` stands a name.
                let name = entry.get(login.saturating_add(6)..).unwrap_or_default();
                let host = entry.get(..login).unwrap_or_default();
                // "A machine learning login page password reset" is a sentence: a host has a dot, or the password is no plain word.
                let is_prose = !host.contains(&b'.') && value.iter().all(u8::is_ascii_lowercase);
                !name.trim_ascii().is_empty() && !is_prose
            })
        });
        // A template's `{password}` is none.
        let is_template = value.first() == Some(&b'{');
        if blanks == 0 || !is_entry || end <= start || is_template || is_placeholder(value) {
            return false;
        }
        self.report(detector!("netrc_credentials"), start..end, Verdict::Score(0.9));
        true
    }
}

/// End of the JSON object that the text begins with.
fn object_end(text: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut is_escaped) = (0usize, false, false);
    for (place, byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth = depth.saturating_add(1),
            b'}' if !in_string => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(place.saturating_add(1));
                }
            }
            _ => {}
        }
    }
    None
}

/// Word that the bytes at `at` are part of.
pub(crate) fn word_around(content: &[u8], start: usize, end: usize) -> (usize, usize) {
    let head = slice(content, start.saturating_sub(64), start);
    let before = head
        .iter()
        .rev()
        .take_while(|byte| is(**byte, ALNUM) || matches!(byte, b'_' | b'-' | b'.'))
        .count();
    let after = end_of_name(content, end);
    (start.saturating_sub(before), after)
}

/// End of the name that the bytes before `end` are part of.
pub(crate) fn end_of_name(content: &[u8], end: usize) -> usize {
    let mut at = end;
    while at.saturating_sub(end) < 64 {
        let next = end_of(content, at, ALNUM, 64);
        match content.get(next) {
            Some(b'_' | b'-') => at = next.saturating_add(1),
            Some(b'.')
                if content
                    .get(next.saturating_add(1))
                    .is_some_and(|byte| is(*byte, ALNUM)) =>
            {
                at = next.saturating_add(1)
            }
            _ => return next,
        }
    }
    at
}
