//! Passwords in URLs (output policy spec §16.2, `database_url_password`, `basic_auth_url`) and signed queries.

use std::ops::Range;

use crate::bytes::{end_of, is, slice, ALNUM, SPACE};
use crate::catalogue::detector;
use crate::definition::Verdict;
use crate::rarity::{is_placeholder, is_worn_out};
use crate::scan::block::Block;

/// How far before the `@` a URL may begin.
const MAX_USERINFO: usize = 512;
const DATABASES: &[&str] = &[
    "postgres",
    "postgresql",
    "mysql",
    "mariadb",
    "mongodb",
    "mongodb+srv",
    "redis",
    "rediss",
    "amqp",
    "amqps",
    "sqlserver",
    "mssql",
    "clickhouse",
    "cockroachdb",
    "oracle",
];
/// What our own pointers begin with (`redis://res:<job>`, protocol §10): a key, no user and password.
const POINTERS: &[&[u8]] = &[b"ctx", b"res", b"art", b"mem"];
const MAX_QUERY: usize = 1_024;

impl Block<'_> {
    /// Reports the password of the URL whose userinfo ends at the `@`; answers whether there is one.
    pub(crate) fn credentials(&mut self, at: usize) -> bool {
        let (database, other) = (
            self.wanted(detector!("database_url_password")),
            self.wanted(detector!("basic_auth_url")),
        );
        if database.is_none() && other.is_none() {
            return false;
        }
        if at < self.authority_end {
            return true;
        }
        let Some((scheme, userinfo)) = self.userinfo(at) else {
            // No later `@` needs to look at this text again.
            self.no_scheme_before = at;
            return false;
        };
        // A password may hold the mark itself: the last one of the authority ends it.
        let tail = slice(self.content, at, at.saturating_add(MAX_USERINFO));
        let ends = |byte: &u8| {
            is(*byte, SPACE)
                || matches!(
                    byte,
                    b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\' | b','
                )
        };
        let authority = tail
            .get(..tail.iter().position(ends).unwrap_or(tail.len()))
            .unwrap_or_default();
        let last = memchr::memrchr(b'@', authority).map_or(at, |place| at.saturating_add(place));
        self.authority_end = last.saturating_add(1);
        let text = slice(self.content, userinfo.start, last);
        let Some(colon) = memchr::memchr(b':', text) else {
            self.no_scheme_before = at;
            return false;
        };
        let user = text.get(..colon).unwrap_or_default();
        let password_start = userinfo.start.saturating_add(colon).saturating_add(1);
        let password = slice(self.content, password_start, last);
        let name = slice(self.content, scheme.start, scheme.end).to_ascii_lowercase();
        // Drivers stand behind a plus: `postgresql+asyncpg`, `mysql+pymysql`.
        let base = name.split(|byte| *byte == b'+').next().unwrap_or_default();
        let is_database = DATABASES
            .iter()
            .any(|known| name == known.as_bytes() || base == known.as_bytes());
        let has_host = self
            .content
            .get(last.saturating_add(1))
            .is_some_and(|byte| is(*byte, ALNUM) || matches!(byte, b'[' | b'$' | b'{' | b'_'));
        let is_user = !user.is_empty() || is_database;
        let is_pointer = name == b"redis" && POINTERS.contains(&user);
        // A short password of a database is one all the same.
        let is_long = password.len() >= if is_database { 3 } else { 4 };
        if !is_user || is_pointer || !has_host || !is_long || !is_password(password, user) {
            return false;
        }
        let detector = if is_database {
            detector!("database_url_password")
        } else {
            detector!("basic_auth_url")
        };
        self.report(detector, password_start..last, Verdict::Score(0.9));
        true
    }

    /// Scheme and userinfo of the URL that the `@` belongs to.
    fn userinfo(&self, at: usize) -> Option<(Range<usize>, Range<usize>)> {
        let from = at.saturating_sub(MAX_USERINFO).max(self.no_scheme_before);
        let head = slice(self.content, from, at);
        let base = at.saturating_sub(head.len());
        let count = head
            .iter()
            .rev()
            .take_while(|byte| !is(**byte, SPACE) && !matches!(byte, b'"' | b'<' | b'>' | b'`' | b'\\'))
            .count();
        let token = head.get(head.len().saturating_sub(count)..).unwrap_or_default();
        let token_start = base.saturating_add(head.len().saturating_sub(count));
        let mark = memchr::memmem::rfind(token, b"://")?;
        let scheme_head = token.get(..mark)?;
        let length = scheme_head
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
            .count();
        let scheme_text = scheme_head.get(mark.saturating_sub(length)..).unwrap_or_default();
        // A line that a diff adds begins with a plus; a scheme begins with a letter.
        let signs = scheme_text.iter().take_while(|byte| !byte.is_ascii_alphabetic());
        let length = length.saturating_sub(signs.count());
        let scheme_start = token_start.saturating_add(mark).saturating_sub(length);
        let start = token_start.saturating_add(mark).saturating_add(3);
        let userinfo = slice(self.content, start, at);
        // A path or a query before the `@` means that it belongs to them.
        let is_authority = !userinfo
            .iter()
            .any(|byte| matches!(byte, b'/' | b'?' | b'#' | b'(' | b')' | b',' | b';'))
            || memchr::memchr(b':', userinfo).is_some_and(|colon| {
                let user = userinfo.get(..colon).unwrap_or_default();
                let is_port = userinfo
                    .get(colon.saturating_add(1))
                    .is_some_and(u8::is_ascii_digit)
                    && userinfo.get(colon..).unwrap_or_default().contains(&b'/');
                !is_port
                    && !user
                        .iter()
                        .any(|byte| matches!(byte, b'/' | b'?' | b'#' | b'(' | b',' | b';'))
                    && !userinfo.iter().any(|byte| matches!(byte, b'/' | b'?'))
            });
        (length > 0 && is_authority).then_some((scheme_start..token_start.saturating_add(mark), start..at))
    }

    /// `sig=` of a shared access signature whose query also has `sv=` and `se=`.
    pub(crate) fn azure_signature(&mut self, at: usize) {
        if self.wanted(detector!("azure_sas_token")).is_none() {
            return;
        }
        let is_query = |byte: u8| {
            is(byte, ALNUM)
                || matches!(
                    byte,
                    b'%' | b'=' | b'&' | b'-' | b'_' | b'.' | b'~' | b':' | b'+' | b'/' | b';'
                )
        };
        let head = slice(self.content, at.saturating_sub(MAX_QUERY), at);
        let before = head.iter().rev().take_while(|byte| is_query(**byte)).count();
        let tail = slice(self.content, at, at.saturating_add(MAX_QUERY));
        let after = tail.iter().take_while(|byte| is_query(**byte)).count();
        let start = at.saturating_sub(before);
        let query = slice(self.content, start, at.saturating_add(after));
        let has = |name: &[u8]| {
            memchr::memmem::find_iter(query, name).any(|place| {
                place == 0
                    || !query
                        .get(place.saturating_sub(1))
                        .is_some_and(|byte| is(*byte, ALNUM))
            })
        };
        let value_start = at.saturating_add(4);
        let value_end = slice(self.content, value_start, at.saturating_add(after))
            .iter()
            .position(|byte| matches!(byte, b'&' | b';'))
            .map_or(at.saturating_add(after), |end| value_start.saturating_add(end));
        if has(b"sv=") && has(b"se=") && value_end.saturating_sub(value_start) >= 40 {
            self.report(
                detector!("azure_sas_token"),
                value_start..value_end,
                Verdict::Score(0.95),
            );
        }
    }

    /// A crypt string: `$2b$10$…`, `$6$salt$…`, `$argon2id$v=19$…`.
    pub(crate) fn password_hash(&mut self, at: usize) {
        if self.wanted(detector!("password_hash")).is_none()
            || at.checked_sub(1).is_some_and(|before| {
                self.content
                    .get(before)
                    .is_some_and(|byte| is(*byte, ALNUM) || *byte == b'$')
            })
        {
            return;
        }
        let tail = slice(self.content, at, at.saturating_add(512));
        let length = tail
            .iter()
            .take_while(|byte| {
                is(**byte, ALNUM) || matches!(byte, b'$' | b'.' | b'/' | b'=' | b',' | b'+' | b'-' | b'_')
            })
            .count();
        let text = tail.get(..length).unwrap_or_default();
        let text = text.get(..crypt_end(text)).unwrap_or_default();
        let parts: Vec<&[u8]> = text.split(|byte| *byte == b'$').skip(1).collect();
        let last = parts.last().map_or(0, |part| part.len());
        let is_hash = match parts.first().copied() {
            Some(b"2a" | b"2b" | b"2y") => {
                parts.len() == 3
                    && last >= 53
                    && parts
                        .get(1)
                        .is_some_and(|cost| cost.len() == 2 && cost.iter().all(u8::is_ascii_digit))
            }
            Some(b"6") => parts.len() >= 3 && last >= 86,
            Some(b"5") => parts.len() >= 3 && last >= 43,
            Some(b"apr1") => parts.len() == 3 && last >= 22,
            Some(b"argon2id" | b"argon2i" | b"argon2d") => parts.len() >= 5 && last >= 22,
            Some(b"scrypt") => parts.len() >= 4 && last >= 22,
            _ => false,
        };
        if is_hash {
            let extra = match parts.first().copied() {
                Some(b"2a" | b"2b" | b"2y") => last.saturating_sub(53),
                Some(b"6") => last.saturating_sub(86),
                Some(b"5") => last.saturating_sub(43),
                Some(b"apr1") => last.saturating_sub(22),
                _ => 0,
            };
            let tail_mark = text
                .iter()
                .rev()
                .take_while(|byte| **byte == b'.' && extra > 0)
                .count()
                .min(extra);
            if extra > tail_mark {
                return;
            }
            self.report(
                detector!("password_hash"),
                at..at.saturating_add(text.len()).saturating_sub(extra),
                Verdict::Accept,
            );
        }
    }
}

/// Where a crypt string ends: a comma belongs to its parameters (`m=65536,t=3`) only.
fn crypt_end(text: &[u8]) -> usize {
    let mut start = 0usize;
    for part in text.split(|byte| *byte == b'$') {
        if let Some(comma) = memchr::memchr(b',', part).filter(|_| !part.contains(&b'=')) {
            return start.saturating_add(comma);
        }
        start = start.saturating_add(part.len()).saturating_add(1);
    }
    text.len()
}

/// A value somebody would use, not a placeholder or a pattern.
fn is_password(password: &[u8], user: &[u8]) -> bool {
    let is_pattern = password
        .iter()
        .any(|byte| matches!(byte, b'{' | b'}' | b'<' | b'>' | b'[' | b'|' | b' '))
        || memchr::memmem::find(password, b"**").is_some();
    let is_worn = password.len() >= 8 && is_worn_out(password);
    let starts_reference = matches!(password.first(), Some(b'$' | b'%' | b'{' | b'<' | b'*'))
        && !matches!(password, [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    // "a secret", written for a URL.
    let bare = [&b"a%20"[..], b"my%20", b"the%20"]
        .iter()
        .find_map(|article| password.strip_prefix(*article));
    // `host:123,user:word@host` names several hosts.
    let is_list = memchr::memchr(b'.', user).is_some()
        && password.first().is_some_and(u8::is_ascii_digit)
        && memchr::memchr(b',', password).is_some();
    let is_hint = is_placeholder(password)
        || bare.is_some_and(is_placeholder)
        || is_list
        || password.eq_ignore_ascii_case(b"pwd")
        || password.eq_ignore_ascii_case(b"pw");
    !is_pattern && !is_worn && !starts_reference && !is_hint && (password != user || password.len() > 8)
}

/// End of a value that a blank, quote or bracket ends.
pub(crate) fn bare_end(content: &[u8], at: usize, limit: usize) -> usize {
    let end = end_of(content, at, 0, 0);
    let tail = slice(content, end, at.saturating_add(limit));
    let length = tail
        .iter()
        .take_while(|byte| {
            !is(**byte, SPACE)
                && !matches!(
                    byte,
                    b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\' | b',' | b';' | b')' | b'}' | b']'
                )
        })
        .count();
    at.saturating_add(length)
}
