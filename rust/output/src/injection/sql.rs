//! `sql_injection`: input that changes the statement it is put into.

use super::Draft;
use crate::around::{lower, rest_of, skip_blanks, slice, words};
use crate::sightings::is_word;

const ID: &str = "sql_injection";

/// `UNION [ALL] SELECT`, the sighting ending behind `union` and what follows it.
pub(super) fn union(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(16);
    let start = from + memchr::memmem::rfind(&lower(content, from..end), b"union")?;
    if start > 0 && content.get(start - 1).is_some_and(|byte| is_word(*byte)) {
        return None;
    }
    let after = lower(content, start + 5..start + 64);
    let mut at = skip_gap(&after, 0);
    for word in [&b"all"[..], b"distinct"] {
        if rest_of(&after, at).starts_with(word) {
            at = skip_gap(&after, at + word.len());
        }
    }
    if !rest_of(&after, at).starts_with(b"select")
        || rest_of(&after, at + 6).first().is_some_and(|byte| is_word(*byte))
    {
        return None;
    }
    let before = lower(content, start.saturating_sub(240)..start);
    let trimmed = before.trim_ascii_end();
    let is_statement = words(&before).any(|word| word == b"select");
    // A statement of several lines, as files hold them; behind an empty line something else begins.
    let ends = rest_of(&before, trimmed.len()).iter();
    let is_own_line = ends.filter(|byte| **byte == b'\n').count() == 1;
    let confidence = match trimmed.last() {
        Some(b'\'' | b'"' | b'`') => 0.9,
        // The end of a name is no number: `t1`.
        Some(b')' | b'0'..=b'9') if !ends_in_name(trimmed) => {
            if is_own_line {
                0.4
            } else if is_statement {
                0.6
            } else {
                0.85
            }
        }
        _ if is_statement || is_own_line => 0.4,
        // Words alone may be prose: "the union select committee".
        _ if selects(rest_of(&after, at + 6)) => 0.6,
        _ => 0.4,
    };
    Some(Draft::new(ID, start..start + 5 + at + 6, confidence))
}

/// The text ends in a name that has letters before its digits.
fn ends_in_name(text: &[u8]) -> bool {
    let word = text.iter().rev().take_while(|byte| is_word(**byte));
    word.copied().any(|byte| byte.is_ascii_alphabetic())
}

/// What only a query selects: a number, `null`, `*`, a variable, a list.
fn selects(columns: &[u8]) -> bool {
    let columns = rest_of(columns, skip_gap(columns, 0));
    let is_value = columns
        .first()
        .is_some_and(|byte| byte.is_ascii_digit() || b"*@'\"(".contains(byte));
    let stop = columns.iter().position(|byte| matches!(byte, b'\n' | b'"'));
    let line = columns.get(..stop.unwrap_or(columns.len())).unwrap_or(columns);
    is_value
        || columns.starts_with(b"null")
        || line.contains(&b',')
        || words(line).any(|word| word == b"from")
}

/// Blanks and what stands for them in a URL or behind a filter.
fn skip_gap(text: &[u8], mut at: usize) -> usize {
    loop {
        let rest = rest_of(text, at);
        at += match rest {
            [b' ' | b'\t' | b'\n' | b'\r' | b'+' | b'(', ..] => 1,
            [b'%', b'2', b'0', ..] | [b'%', b'0', b'9' | b'a' | b'd', ..] => 3,
            [b'/', b'*', ..] => memchr::memmem::find(rest, b"*/").map_or(2, |close| close + 2),
            _ => return at,
        };
    }
}

/// An operand of a comparison.
#[derive(PartialEq)]
enum Operand<'a> {
    Number(&'a [u8]),
    Text(&'a [u8]),
    True,
}

/// `OR 1=1` and its relatives around a sighting in the comparison.
pub(super) fn tautology(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(48);
    let text = lower(content, from..end + 48);
    let near = end - from;
    let (keyword, after) = last_or(text.get(..near.min(text.len()))?)?;
    let mut at = skip_gap(&text, after);
    if rest_of(&text, at).starts_with(b"not ") {
        at = skip_gap(&text, at + 4);
        // `not false` is as true as `true`.
        if rest_of(&text, at).starts_with(b"false") {
            return Some(Draft::new(ID, from + keyword..from + at + 5, 0.7));
        }
    }
    let (left, behind, is_closed) = operand(&text, at)?;
    // Only the last quote may be left to the statement: `'1'='1`.
    if !is_closed {
        return None;
    }
    at = skip_gap(&text, behind);
    let is_broken = text
        .get(..keyword)?
        .trim_ascii_end()
        .last()
        .is_some_and(|byte| matches!(byte, b'\'' | b'"' | b')'));
    if left == Operand::True || !matches!(rest_of(&text, at).first(), Some(b'=' | b'<' | b'>' | b'l')) {
        let ends = rest_of(&text, at);
        // The comment of the next line belongs to something else.
        let is_same_line = !text.get(behind..at)?.contains(&b'\n');
        let is_comment = is_same_line
            && (ends.starts_with(b"--")
                || ends.starts_with(b"#")
                || ends.starts_with(b"/*")
                || ends.starts_with(b";--"));
        // `0 or 1  # …` is code: without a quote before it only a comment of SQL itself cuts.
        let says = ends.strip_prefix(b"-- ").and_then(|words| words.first());
        let is_cut = is_broken || !ends.starts_with(b"#") && !says.is_some_and(u8::is_ascii_alphabetic);
        return (is_comment && is_cut && left != Operand::Text(b""))
            .then(|| Draft::new(ID, from + keyword..from + at + 2, 0.8));
    }
    let last = compared(&text, at, &left)?;
    let tail = rest_of(&text, skip_blanks(&text, last));
    let is_cut = tail.starts_with(b"--") || tail.starts_with(b"#") || tail.starts_with(b"/*");
    let confidence = if is_broken || is_cut { 0.9 } else { 0.75 };
    Some(Draft::new(
        ID,
        from + keyword..(from + last).min(content.len()),
        confidence,
    ))
}

/// Start of the last `or`, `||` or `and` that stands alone, and the place behind it.
fn last_or(text: &[u8]) -> Option<(usize, usize)> {
    let stands = |at: usize, length: usize| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let after = text.get(at + length);
        !before.is_some_and(u8::is_ascii_alphabetic)
            && before != Some(&b'_')
            && !after.is_some_and(|byte| is_word(*byte))
    };
    let or = memchr::memmem::rfind_iter(text, b"or")
        .find(|at| stands(*at, 2))
        .map(|at| (at, at + 2));
    let bars = memchr::memmem::rfind(text, b"||").map(|at| (at, at + 2));
    let and = memchr::memmem::rfind_iter(text, b"and")
        .find(|at| stands(*at, 3))
        .map(|at| (at, at + 3));
    let having = memchr::memmem::rfind_iter(text, b"having")
        .find(|at| stands(*at, 6))
        .map(|at| (at, at + 6));
    [or, bars, and, having].into_iter().flatten().max()
}

/// An operand, the place behind it, and whether its quote is closed.
fn operand(text: &[u8], at: usize) -> Option<(Operand<'_>, usize, bool)> {
    let rest = rest_of(text, at);
    match rest.first()? {
        b'0'..=b'9' => {
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (length <= 9).then(|| {
                (
                    Operand::Number(rest.get(..length).unwrap_or(&[])),
                    at + length,
                    true,
                )
            })
        }
        // In JSON the quotes are escaped.
        b'\\' => operand(text, at + 1),
        mark @ (b'\'' | b'"') => {
            let inner = rest_of(rest, 1);
            let length = inner
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric())
                .count();
            let value = inner.get(..length)?;
            let closing = rest_of(inner, length);
            let closed = match closing {
                [b'\\', quote, ..] if quote == mark => 2,
                [quote, ..] if quote == mark => 1,
                _ => 0,
            };
            (length <= 16).then_some((Operand::Text(value), at + 1 + length + closed, closed > 0))
        }
        _ if rest.starts_with(b"true") => Some((Operand::True, at + 4, true)),
        _ => None,
    }
}

/// The place behind a comparison that always holds.
fn compared<'a>(text: &'a [u8], at: usize, left: &Operand<'a>) -> Option<usize> {
    let rest = rest_of(text, at);
    let length = match rest {
        // `==` is a comparison of programming languages.
        [b'=', b'=', ..] => return None,
        [b'<' | b'>', b'=' | b'>', ..] => 2,
        [b'=' | b'<' | b'>', ..] => 1,
        _ if rest.starts_with(b"like") => 4,
        _ => return None,
    };
    let (right, end, _) = operand(text, skip_gap(text, at + length))?;
    let number = |operand: &Operand<'_>| match operand {
        Operand::Number(digits) => std::str::from_utf8(digits).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    let holds = match (rest.first()?, number(left), number(&right)) {
        (b'=', Some(one), Some(two)) => one == two,
        (b'>', Some(one), Some(two)) => one > two,
        (b'<', Some(one), Some(two)) => one < two || rest.starts_with(b"<>") && one != two,
        _ => *left == right,
    };
    holds.then_some(end)
}

/// A comment that cuts off the rest of a statement behind a quote that was never opened: `admin'--`.
pub(super) fn cut(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(100);
    let head = slice(content, from..end);
    let head = head.get(memchr::memrchr(b'\n', head).map_or(0, |at| at + 1)..)?;
    let quote = memchr::memrchr(b'\'', head)?;
    let before = head.get(..quote)?;
    let is_unopened = memchr::memchr_iter(b'\'', before).count() % 2 == 0;
    // One letter before a quote is the prefix of a raw string.
    let is_word_before =
        matches!(before, [.., a, b] if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric());
    let is_close = head.get(quote + 1) == head.last();
    let rest = slice(content, end..end + 8);
    let blanks = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let ends = match rest.get(blanks) {
        None | Some(b'\r' | b'\n' | b'"' | b'|' | b'&' | b'`') => true,
        Some(b'<') => rest.get(blanks + 1) == Some(&b'/'),
        // A comment behind a blank is prose as often as not.
        Some(_) => is_close && blanks > 0 && head.ends_with(b"--"),
    };
    let is_escaped = rest.starts_with(b"\\n") || rest.starts_with(b"\\\"");
    let start = end - (head.len() - quote);
    (is_unopened && is_word_before && (ends || is_escaped)).then(|| Draft::new(ID, start..end, 0.6))
}

/// A second statement behind a semicolon.
pub(super) fn stacked(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(16);
    let start = from + memchr::memrchr(b';', slice(content, from..end))?;
    let text = lower(content, start + 1..start + 96);
    let at = skip_gap(&text, 0);
    let mut following = words(rest_of(&text, at));
    let (verb, object) = (following.next()?, following.next().unwrap_or(b""));
    let third = following.next().unwrap_or(b"");
    let is_statement = match verb {
        b"drop" | b"alter" => matches!(
            object,
            b"table" | b"database" | b"schema" | b"user" | b"view" | b"index" | b"procedure"
        ),
        b"delete" => object == b"from",
        b"insert" => object == b"into",
        b"update" => third == b"set" || object.len() > 1 && text.windows(5).any(|five| five == b" set "),
        b"truncate" => object == b"table",
        b"exec" | b"execute" => {
            object.starts_with(b"xp_")
                || object.starts_with(b"sp_")
                || matches!(object, b"master" | b"immediate")
        }
        b"shutdown" => third.is_empty() || text.windows(2).any(|two| two == b"--"),
        _ => false,
    };
    if !is_statement {
        return None;
    }
    let line = text.get(..memchr::memchr(b'\n', &text).unwrap_or(text.len()))?;
    let is_cut = line.windows(2).any(|two| two == b"--") || line.contains(&b'#');
    let is_new_line = rest_of(&text, 0).get(..at)?.contains(&b'\n');
    let before = slice(content, start.saturating_sub(8)..start).trim_ascii_end();
    let confidence = match before.last() {
        Some(b'\'' | b'"') if !is_new_line => 0.85,
        Some(b'0'..=b'9' | b')') if !is_new_line => {
            if is_cut {
                0.85
            } else {
                0.7
            }
        }
        _ if is_cut && !is_new_line => 0.7,
        _ if !is_new_line && matches!(verb, b"drop" | b"truncate" | b"exec" | b"execute") => 0.6,
        _ => 0.35,
    };
    let length = line
        .iter()
        .position(|byte| matches!(byte, b'"' | b'<'))
        .unwrap_or(line.len())
        .min(64);
    Some(Draft::new(ID, start..start + 1 + length, confidence))
}

/// `DROP TABLE name`; prose about the statement has other words behind it.
pub(super) fn statement(content: &[u8], end: usize) -> Option<Draft> {
    const PROSE: &[&[u8]] = &[
        b"statement",
        b"statements",
        b"command",
        b"commands",
        b"privilege",
        b"is",
        b"the",
        b"and",
        b"or",
        b"to",
        b"for",
        b"in",
        b"on",
        b"a",
        b"an",
        b"with",
        b"permission",
        b"permissions",
        b"queries",
        b"query",
        b"will",
        b"operation",
        b"operations",
        b"now",
        b"no",
        b"not",
        b"followed",
        b"due",
        b"after",
        b"before",
        b"when",
        b"then",
        b"that",
        b"which",
        b"where",
        b"as",
        b"at",
        b"by",
        b"was",
        b"were",
        b"are",
        b"can",
        b"could",
        b"did",
        b"does",
        b"fails",
        b"failed",
        b"works",
        b"worked",
        b"syntax",
        b"from",
        b"without",
        b"inside",
        b"within",
        b"while",
        b"during",
    ];
    let from = end.saturating_sub(20);
    let head = lower(content, from..end);
    let verb = [&b"drop"[..], b"truncate"]
        .iter()
        .filter_map(|verb| memchr::memmem::rfind(&head, verb))
        .max()?;
    let after = lower(content, end..end + 80);
    let blanks = skip_gap(&after, 0);
    if blanks == 0 {
        return None;
    }
    let mut following = words(rest_of(&after, blanks)).filter(|word| !matches!(*word, b"if" | b"exists"));
    let name = following.next()?;
    let starts_as_name = rest_of(&after, blanks)
        .first()
        .is_some_and(|byte| is_word(*byte) || matches!(byte, b'"' | b'`' | b'[' | b'\\'));
    if PROSE.contains(&name) || !starts_as_name {
        return None;
    }
    // "We had to drop table tennis from the program" is no statement.
    let is_written_small = slice(content, from + verb..from + verb + 4)
        .iter()
        .all(u8::is_ascii_lowercase);
    let goes_on = following
        .next()
        .is_some_and(|word| matches!(word, b"from" | b"off" | b"at" | b"because" | b"until" | b"when"));
    if is_written_small && goes_on {
        return None;
    }
    let length = memchr::memmem::find(&after, name)? + name.len();
    Some(Draft::new(ID, from + verb..end + length, 0.6))
}

/// Calls that only an attack makes, and sleeping inside of a query.
pub(super) fn call(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(24);
    let head = lower(content, from..end);
    if let Some(at) = memchr::memmem::rfind(&head, b"xp_cmdshell") {
        return Some(Draft::new(ID, from + at..end, 0.8));
    }
    if let Some(at) = memchr::memmem::rfind(&head, b"waitfor") {
        let is_time = slice(content, end..end + 8)
            .iter()
            .any(|byte| byte.is_ascii_digit());
        return is_time.then(|| Draft::new(ID, from + at..end, 0.85));
    }
    if let Some(at) = memchr::memmem::rfind(&head, b"pg_sleep") {
        // `gnupg_sleep` is a function of another program.
        let is_longer = at
            .checked_sub(1)
            .and_then(|before| head.get(before))
            .is_some_and(|byte| is_word(*byte));
        if is_longer || slice(content, end..end + 1) == b")" {
            return None;
        }
        return Some(Draft::new(ID, from + at..end, 0.75));
    }
    let argument = slice(content, end..end + 12);
    let digits = argument.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let start = from
        + memchr::memmem::rfind(&head, b"sleep").or_else(|| memchr::memmem::rfind(&head, b"benchmark"))?;
    if digits == 0 {
        return None;
    }
    if head.ends_with(b"benchmark(") {
        return (digits >= 4 && argument.get(digits) == Some(&b','))
            .then(|| Draft::new(ID, start..end + digits, 0.75));
    }
    let before = lower(content, start.saturating_sub(40)..start);
    let trimmed: &[u8] = before.trim_ascii_end();
    let trimmed = trimmed.strip_suffix(b"(").unwrap_or(trimmed).trim_ascii_end();
    let (lead, is_joined) = match () {
        () if trimmed.ends_with(b"select") => return Some(Draft::new(ID, start..end + digits, 0.8)),
        () if trimmed.ends_with(b" and") || trimmed.ends_with(b"'and") => {
            (trimmed.get(..trimmed.len() - 3)?, true)
        }
        () if trimmed.ends_with(b" or") || trimmed.ends_with(b"'or") => {
            (trimmed.get(..trimmed.len() - 2)?, true)
        }
        () => (trimmed, false),
    };
    let last = lead.trim_ascii_end().last();
    let is_attack = is_joined && last.is_some_and(|byte| matches!(byte, b'\'' | b'"' | b')' | b'0'..=b'9'));
    is_attack.then(|| Draft::new(ID, start..end + digits, 0.8))
}
