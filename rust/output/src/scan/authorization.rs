//! `Authorization: Basic …` and `Bearer …` (output policy spec §16.2, `http_authorization`).

use crate::bytes::{end_of, is, slice, ALNUM, SPACE};
use crate::catalogue::detector;
use crate::check::encoded::is_user_and_password;
use crate::definition::Verdict;
use crate::rarity::{is_placeholder, is_worn_out};
use crate::scan::block::Block;

const MAX_VALUE: usize = 8_192;

impl Block<'_> {
    /// `horization` ends before `end`: a header, a JSON key, an argument of curl.
    pub(crate) fn authorization(&mut self, end: usize) {
        if self.wanted(detector!("http_authorization")).is_none() {
            return;
        }
        let is_filler = |byte: &u8| {
            is(*byte, SPACE)
                || matches!(
                    byte,
                    b'"' | b'\'' | b'`' | b':' | b'=' | b'\\' | b'>' | b',' | b']' | b'['
                )
        };
        let filler = slice(self.content, end, end.saturating_add(16))
            .iter()
            .take_while(|byte| is_filler(byte))
            .count();
        let scheme = end.saturating_add(filler);
        if filler == 0 {
            return;
        }
        let scheme_end = end_of(self.content, scheme, ALNUM, 16);
        let name = slice(self.content, scheme, scheme_end).to_ascii_lowercase();
        if !matches!(self.content.get(scheme_end), Some(b' ' | b'\t')) {
            return;
        }
        let blanks = slice(self.content, scheme_end, scheme_end.saturating_add(4))
            .iter()
            .take_while(|byte| **byte == b' ' || **byte == b'\t')
            .count();
        let start = scheme_end.saturating_add(blanks);
        let tail = slice(self.content, start, start.saturating_add(MAX_VALUE));
        let length = tail
            .iter()
            .take_while(|byte| {
                is(**byte, ALNUM) || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'.' | b'~')
            })
            .count();
        let value = tail.get(..length).unwrap_or_default();
        // The end of a sentence is none of it.
        let value = value.strip_suffix(b".").unwrap_or(value);
        let is_real = match name.as_slice() {
            b"basic" => value.len() >= 8 && is_user_and_password(value),
            b"bearer" | b"token" | b"bot" => {
                value.len() >= 20 && !is_placeholder(value) && !is_worn_out(value)
            }
            _ => false,
        };
        if is_real {
            self.report(
                detector!("http_authorization"),
                start..start.saturating_add(value.len()),
                Verdict::Score(0.9),
            );
        }
    }
}
