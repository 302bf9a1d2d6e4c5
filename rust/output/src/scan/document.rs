//! Machine readable zones, and addresses of hosts (output policy spec §16.3).

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

use crate::bytes::{is, is_at, is_before, slice, ALNUM};
use crate::catalogue::detector;
use crate::check::personal::{ip_v4, passport_mrz};
use crate::definition::{Candidate, Verdict};
use crate::scan::block::Block;

/// Two lines of 44, or three of 30, with real or escaped line ends.
const ZONE: &str = r"^(?:[A-Z][A-Z0-9<][A-Z<]{3}[A-Z0-9<]{39}(?:\\r)?(?:\\n|\s{1,4})[ \t#/>+*-]{0,12}[A-Z0-9<]{44}|[A-Z][A-Z0-9<][A-Z<]{3}[A-Z0-9<]{25}(?:(?:\\r)?(?:\\n|\s{1,4})[ \t#/>+*-]{0,12}[A-Z0-9<]{30}){2})";
const HOST: &str = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}|(?:[0-9A-Fa-f]{1,4}:){2,7}:";

static ZONES: LazyLock<Option<Regex>> = LazyLock::new(|| RegexBuilder::new(ZONE).unicode(false).build().ok());
static HOSTS: LazyLock<Option<Regex>> = LazyLock::new(|| RegexBuilder::new(HOST).unicode(false).build().ok());

impl Block<'_> {
    /// Passports where `<<<` fills a line; hosts when asked for.
    pub(crate) fn documents(&mut self, piece: Range<usize>) {
        if self.wanted(detector!("passport_mrz")).is_some() {
            self.zones(piece.clone());
        }
        if self.wanted(detector!("ip_address")).is_some() {
            self.hosts(piece);
        }
    }

    fn zones(&mut self, piece: Range<usize>) {
        let Some(regex) = ZONES.as_ref() else { return };
        let is_zone = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'<';
        let mut at = piece.start;
        while let Some(place) = memchr::memmem::find(slice(self.content, at, piece.end), b"<<<") {
            let found = at.saturating_add(place);
            let head = slice(self.content, found.saturating_sub(44), found);
            let before = head.iter().rev().take_while(|byte| is_zone(byte)).count();
            let tail = slice(self.content, found, found.saturating_add(512));
            at = found.saturating_add(tail.iter().take_while(|byte| is_zone(byte)).count());
            let mut start = found.saturating_sub(before);
            // An escaped line end before the zone: its letter is no part of it.
            if self.content.get(start) == Some(&b'n') {
                start = start.saturating_add(1);
            }
            let window = slice(self.content, start, start.saturating_add(128));
            self.work.spend(window.len());
            if let Some(zone) = regex.find(window) {
                let end = start.saturating_add(zone.end());
                let candidate = Candidate {
                    content: self.content,
                    whole: start..end,
                    value: start..end,
                };
                if passport_mrz(&candidate) != Verdict::Reject {
                    self.report(detector!("passport_mrz"), start..end, Verdict::Score(0.98));
                    at = end;
                }
            }
        }
    }

    fn hosts(&mut self, piece: Range<usize>) {
        let Some(regex) = HOSTS.as_ref() else { return };
        let text = slice(self.content, piece.start, piece.end);
        for found in regex.find_iter(text) {
            let (start, end) = (
                piece.start.saturating_add(found.start()),
                piece.start.saturating_add(found.end()),
            );
            let is_joined = is_before(self.content, start, ALNUM)
                || is_at(self.content, end, ALNUM)
                || slice(self.content, start.saturating_sub(1), start) == b":"
                || self.content.get(end) == Some(&b':');
            let candidate = Candidate {
                content: self.content,
                whole: start..end,
                value: start..end,
            };
            let is_v4 = found.as_bytes().contains(&b'.');
            let is_dotted = matches!(slice(self.content, end, end.saturating_add(2)), [b'.', next] if is(*next, ALNUM))
                || start
                    .checked_sub(1)
                    .is_some_and(|at| matches!(self.content.get(at), Some(b'.' | b'-')));
            let is_real = if is_v4 {
                !is_dotted && ip_v4(&candidate) != Verdict::Reject
            } else {
                found.len() >= 6
            };
            if !is_joined && is_real {
                self.report(detector!("ip_address"), start..end, Verdict::Accept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns_are_built() {
        assert!(super::ZONES.is_some() && super::HOSTS.is_some());
    }
}
