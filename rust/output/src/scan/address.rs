//! E-mail addresses, around an `@` (output policy spec §16.3).

use std::sync::LazyLock;

use smallvec::SmallVec;

use crate::bytes::{is, is_at, is_before, slice, ALNUM, MAIL, SPACE};
use crate::catalogue::detector;
use crate::definition::Verdict;
use crate::scan::block::Block;

const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 253;
/// How far before an address the scheme of a URL may stand.
const MAX_USERINFO: usize = 256;

/// Endings of files and units, not of domains.
const FILE_ENDINGS: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "ico", "pdf", "css", "scss", "less", "js", "mjs",
    "cjs", "jsx", "ts", "tsx", "json", "html", "htm", "xml", "yml", "yaml", "toml", "txt", "md", "map",
    "woff", "woff2", "ttf", "eot", "mp4", "mp3", "wav", "tgz", "gz", "zip", "tar", "whl", "jar", "service",
    "socket", "timer", "target", "slice", "mount", "lock", "dll", "exe", "so", "dylib", "plist", "swf", "rb",
    "py", "go", "rs", "cc", "cpp", "hpp", "java", "class", "log",
];
static PACKED_ENDINGS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let packed = FILE_ENDINGS.iter().map(|ending| packed(ending.as_bytes()));
    packed.flatten().collect()
});

/// The text in small letters as one number; `None` when it is too long to be one of the endings.
fn packed(text: &[u8]) -> Option<u64> {
    let pack = |all: u64, byte: &u8| all << 8 | u64::from(byte.to_ascii_lowercase());
    (text.len() <= 8).then(|| text.iter().fold(0, pack))
}

/// First labels that are code: matrix products, decorators.
const CODE_LABELS: &[&str] = &["self", "this", "np", "torch", "cls", "math"];

impl Block<'_> {
    /// What stands around the `@` at `at`: an address, or the password of a URL.
    pub(crate) fn at_sign(&mut self, at: usize) {
        self.work.spend(64);
        if self.credentials(at) {
            return;
        }
        self.email(at);
    }

    fn email(&mut self, at: usize) {
        if self.wanted(detector!("email_address")).is_none() {
            return;
        }
        let Some(start) = self.local_start(at) else { return };
        let Some(end) = self.domain_end(at) else { return };
        let local = slice(self.content, start, at);
        let domain = slice(self.content, at.saturating_add(1), end);
        if !is_domain(domain) || self.is_remote(start, local, end) {
            return;
        }
        self.report(detector!("email_address"), start..end, Verdict::Score(0.95));
    }

    /// Where the local part before the `@` begins.
    fn local_start(&self, at: usize) -> Option<usize> {
        let head = slice(self.content, at.saturating_sub(MAX_LOCAL), at);
        let count = head.iter().rev().take_while(|byte| is(**byte, MAIL)).count();
        if count == head.len()
            && count == MAX_LOCAL
            && is_before(self.content, at.saturating_sub(count), MAIL)
        {
            return None;
        }
        let mut start = at.saturating_sub(count);
        // An escape before the address: `\n`, `\t`, `%3A`.
        let before = start.checked_sub(1).and_then(|place| self.content.get(place));
        if before == Some(&b'\\') && matches!(self.content.get(start), Some(b'n' | b't' | b'r')) {
            start = start.saturating_add(1);
        }
        let local = slice(self.content, start, at);
        if let Some(escape) = local.iter().rposition(|byte| *byte == b'%') {
            let is_code = matches!(local.get(escape..), Some([b'%', a, b, ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
            if is_code && local.len() > escape.saturating_add(3) {
                start = start.saturating_add(escape).saturating_add(3);
            }
        }
        let skipped = slice(self.content, start, at)
            .iter()
            .take_while(|byte| matches!(byte, b'.' | b'\'' | b'-' | b'%' | b'+'))
            .count();
        start = start.saturating_add(skipped);
        // Typographic quotes, arrows and full-width marks are no letters.
        let text = slice(self.content, start, at);
        if let Some(mark) = last_mark(text) {
            start = start.saturating_add(mark);
        }
        let local = slice(self.content, start, at);
        let is_real =
            !local.is_empty() && local.last() != Some(&b'.') && !local.windows(2).any(|pair| pair == b"..");
        is_real.then_some(start)
    }

    fn domain_end(&self, at: usize) -> Option<usize> {
        let first = at.saturating_add(1);
        let tail = slice(self.content, first, first.saturating_add(MAX_DOMAIN));
        let mut count = tail
            .iter()
            .take_while(|byte| is(**byte, ALNUM) || matches!(byte, b'.' | b'-' | 0x80..))
            .count();
        if let Some(mark) = first_mark(tail.get(..count).unwrap_or_default()) {
            count = mark;
        }
        let domain = tail.get(..count).unwrap_or_default();
        let trailing = domain
            .iter()
            .rev()
            .take_while(|byte| matches!(byte, b'.' | b'-'))
            .count();
        let end = first.saturating_add(count).saturating_sub(trailing);
        (end > first && !matches!(self.content.get(end), Some(b'_' | b'@'))).then_some(end)
    }

    /// A remote of a version control system, a host to log in to, or the user of a URL.
    fn is_remote(&self, start: usize, local: &[u8], end: usize) -> bool {
        let after = slice(self.content, end, end.saturating_add(2));
        let is_scp = matches!(after, [b':', next] if *next == b'/' || *next == b'~' || (next.is_ascii_alphabetic() && local == b"git"));
        if is_scp || matches!(local, b"git" | b"hg" | b"svn") && matches!(after, [b':' | b'/', ..]) {
            return true;
        }
        let head = slice(self.content, start.saturating_sub(MAX_USERINFO), start);
        let token = head
            .iter()
            .rev()
            .take_while(|byte| {
                !is(**byte, SPACE) && !matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | b',')
            })
            .count();
        let token = head.get(head.len().saturating_sub(token)..).unwrap_or_default();
        let scheme = memchr::memmem::rfind(token, b"://");
        scheme.is_some_and(|place| {
            let authority = token.get(place.saturating_add(3)..).unwrap_or_default();
            !authority
                .iter()
                .any(|byte| matches!(byte, b'/' | b'?' | b'#' | b'='))
        })
    }
}

/// End of the last character that is no letter of any script.
fn last_mark(text: &[u8]) -> Option<usize> {
    if text.is_ascii() {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let (place, mark) = text.char_indices().rev().find(|(_, c)| is_mark(*c))?;
    Some(place.saturating_add(mark.len_utf8()))
}

fn first_mark(text: &[u8]) -> Option<usize> {
    if text.is_ascii() {
        return None;
    }
    match std::str::from_utf8(text) {
        Ok(text) => text
            .char_indices()
            .find(|(_, c)| is_mark(*c))
            .map(|(place, _)| place),
        Err(_) => text.iter().position(|byte| !byte.is_ascii()),
    }
}

fn is_mark(c: char) -> bool {
    !c.is_ascii() && !c.is_alphanumeric()
}

fn is_domain(domain: &[u8]) -> bool {
    let labels: SmallVec<[&[u8]; 8]> = domain.split(|byte| *byte == b'.').collect();
    let Some((top, rest)) = labels.split_last() else {
        return false;
    };
    let Some(first) = rest.first() else { return false };
    let is_label = |label: &&[u8]| {
        (1..=63).contains(&label.len()) && label.first() != Some(&b'-') && label.last() != Some(&b'-')
    };
    let is_top = top
        .iter()
        .all(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii())
        && top.len() >= 2
        && top.len() <= 24
        || top.starts_with(b"xn--");
    let is_file = packed(top).is_some_and(|top| PACKED_ENDINGS.contains(&top));
    let is_code = CODE_LABELS
        .iter()
        .any(|label| first.eq_ignore_ascii_case(label.as_bytes()));
    // `logo@2x.png`, `pkg@v1.2.0-rc.alpha`.
    let bare = first.strip_prefix(b"v").unwrap_or(first);
    let is_version = !bare.is_empty() && bare.iter().all(u8::is_ascii_digit);
    let is_scale = matches!(first.split_last(), Some((b'x', digits)) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
    is_top
        && rest.iter().all(is_label)
        && !is_file
        && !is_code
        && !is_version
        && !is_scale
        && is_at(domain, 0, ALNUM | MAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_of_files_is_one_number() {
        assert_eq!(PACKED_ENDINGS.len(), FILE_ENDINGS.len());
        assert!(!is_domain(b"logo.PNG") && is_domain(b"logo.pngs") && !is_domain(b"a.gz"));
        assert!(is_domain(b"example.co") && !is_domain(b"self.attention"));
    }
}
