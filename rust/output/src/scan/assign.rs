//! Values assigned to names that say they are secret (output policy spec §16.2, `generic_secret`).

use std::ops::Range;

use crate::bytes::{is, slice, ALNUM, DIGIT, SPACE};
use crate::catalogue::detector;
use crate::definition::Verdict;
use crate::rarity::{class_count, is_random, is_worn_out, word_coverage};
use crate::scan::block::Block;
use crate::scan::context::has_word;
use crate::scan::manifest::{end_of_name, word_around};
use crate::scan::secrecy::{is_secret_name, is_secret_value, words_of};

const MIN_QUOTED: usize = 8;
const MIN_BARE: usize = 12;
const MAX_VALUE: usize = 2_048;
impl Block<'_> {
    /// A fragment of a secret name at `found`: the name, the operator, the value.
    pub(crate) fn assignment(&mut self, found: Range<usize>) {
        if found.start < self.value_end {
            return;
        }
        self.work.spend(64);
        let fragment = slice(self.content, found.start, found.end);
        // A manifest may be named whatever follows.
        if !may_precede_value(self.content, end_of_name(self.content, found.end))
            && !fragment.eq_ignore_ascii_case(b"cret")
        {
            return;
        }
        let (start, end) = word_around(self.content, found.start, found.end);
        let name = slice(self.content, start, end);
        if name.ends_with(b"ecret") && name.len() == 6 {
            self.kubernetes_secret(start, end);
        }
        if self.netrc(start, end) {
            return;
        }
        let (generic, session) = (
            self.wanted(detector!("generic_secret")),
            self.wanted(detector!("aws_session_token")),
        );
        if generic.is_none() && session.is_none() {
            return;
        }
        let Some(value) = self.assigned(start, end) else {
            return;
        };
        if !value.is_quoted {
            self.value_end = value.span.end;
        }
        self.work.spend(value.span.len().saturating_mul(4));
        if is_session_token(name, slice(self.content, value.span.start, value.span.end)) {
            self.report(detector!("aws_session_token"), value.span, Verdict::Score(0.9));
            return;
        }
        if !is_secret_name(name) && !self.is_spaced_name(start, name) || self.is_in_reference(start) {
            return;
        }
        let span = value.span.clone();
        let text = slice(self.content, span.start, span.end);
        // Names follow each other in a list, and some are secret names.
        let lead = slice(self.content, span.start.saturating_sub(4), span.start);
        let is_listed = lead
            .iter()
            .rfind(|byte| !matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b' '))
            .is_some_and(|byte| *byte == b',');
        let is_named = is_listed && text.iter().all(u8::is_ascii_alphabetic);
        let is_sure = (!value.is_loose && !is_named) || is_random(text);
        if is_sure && is_secret_value(text, name, value.is_quoted) {
            self.report(
                detector!("generic_secret"),
                span,
                Verdict::Score(if value.is_quoted { 0.75 } else { 0.7 }),
            );
        }
    }

    /// A long base64 value on a line that says what it is: `private value: …` (§5.2).
    pub(crate) fn long_value(&mut self, start: usize, end: usize) {
        if self.wanted(detector!("generic_secret")).is_none() {
            return;
        }
        let head = slice(self.content, start.saturating_sub(64), start);
        let line = head
            .get(memchr::memrchr(b'\n', head).map_or(0, |at| at.saturating_add(1))..)
            .unwrap_or_default();
        let operator = line.iter().rposition(|byte| matches!(byte, b'=' | b':'));
        let name = operator.and_then(|at| line.get(..at)).unwrap_or_default();
        if name.is_empty() || !has_word(name, &["secret", "token", "password", "private"]) {
            return;
        }
        let value = slice(self.content, start, end);
        let is_one_character = value.iter().all(|byte| Some(byte) == value.first());
        if class_count(value) >= 3 && word_coverage(value) < 0.5 && !is_one_character {
            let padding = slice(self.content, end, end.saturating_add(2))
                .iter()
                .take_while(|byte| **byte == b'=')
                .count();
            self.report(
                detector!("generic_secret"),
                start..end.saturating_add(padding),
                Verdict::Score(0.7),
            );
        }
    }

    /// `api key: …`: the first word stands before a blank.
    fn is_spaced_name(&self, start: usize, name: &[u8]) -> bool {
        let lower = name.to_ascii_lowercase();
        let head = slice(self.content, start.saturating_sub(8), start).to_ascii_lowercase();
        lower == b"key"
            && ["api ", "access ", "private ", "auth ", "secret "]
                .iter()
                .any(|word| head.ends_with(word.as_bytes()))
    }

    /// The name is a part of what refers to a resource: `arn:aws:secretsmanager:eu-west-1:1234:secret:prod/db-AbCdEf`.
    fn is_in_reference(&self, start: usize) -> bool {
        let head = slice(self.content, start.saturating_sub(160), start);
        let ends = |byte: &u8| {
            is(*byte, SPACE) || matches!(byte, b'"' | b'\'' | b'`' | b'=' | b'(' | b'<' | b'>' | b',')
        };
        let token = head
            .get(head.iter().rposition(ends).map_or(0, |at| at.saturating_add(1))..)
            .unwrap_or_default();
        let is_name = memchr::memmem::find(token, b"arn:aws").is_some() || token.starts_with(b"urn:");
        token.ends_with(b":") && (is_name || token.starts_with(b"arn:"))
    }

    /// What is assigned to the name.
    fn assigned(&self, start: usize, end: usize) -> Option<Value> {
        self.named_beside(end)
            .or_else(|| self.after_operator(end))
            .or_else(|| self.without_operator(start, end))
    }

    /// The name is a value itself, and the secret stands beside it: `key="DbPassword" value="…"`, `name: API_KEY` and
    /// `value: …` on the next line, `"name": "API_KEY", "value": "…"`.
    fn named_beside(&self, end: usize) -> Option<Value> {
        let tail = slice(self.content, end, end.saturating_add(80));
        let gap = tail
            .iter()
            .take_while(|byte| is(**byte, SPACE) || matches!(byte, b'"' | b'\'' | b',' | b'\\'))
            .count();
        let gap = gap.saturating_add(next_line(
            tail.get(gap..).unwrap_or_default(),
            slice(tail, 0, gap),
        ));
        let name = slice(tail, gap, gap.saturating_add(5));
        let is_field = gap > 0 && name.eq_ignore_ascii_case(b"value");
        is_field.then(|| self.after_operator(end.saturating_add(gap).saturating_add(5)))?
    }

    /// Where blanks, columns or a word stand for the operator: `--api-key …`, `ENV API_KEY …`, `| api_key | … |`,
    /// `the password is …`.
    fn without_operator(&self, start: usize, end: usize) -> Option<Value> {
        let content = self.content;
        let at = self.after_blanks(end.saturating_add(usize::from(content.get(end) == Some(&b'`'))));
        let head = slice(content, start.saturating_sub(8), start);
        let (head, is_option) = match slice(content, start, start.saturating_add(2)) {
            b"--" => (head, true),
            _ => (head.strip_suffix(b"`").unwrap_or(head), false),
        };
        let is_set = [&b"ENV "[..], b"setenv ", b"ARG ", b"env "]
            .iter()
            .any(|word| head.ends_with(word));
        let is_column = head.trim_ascii_end().ends_with(b"|") && content.get(at) == Some(&b'|');
        let is_said = at > end && matches!(slice(content, at, at.saturating_add(3)), b"is " | b"is:");
        let at = match () {
            () if is_said => self.after_blanks(at.saturating_add(3)),
            () if is_column => self.after_blanks(at.saturating_add(1)),
            () if (is_option || is_set) && at > end => at,
            () => return None,
        };
        // A cell may be set in code.
        let at = at.saturating_add(usize::from(is_column && content.get(at) == Some(&b'`')));
        let value = self.value_at(at)?;
        Some(Value {
            is_loose: !(is_said && value.is_quoted),
            ..value
        })
    }

    /// What stands behind `=`, `:`, `=>`, `:=` or, in XML, between the tags.
    fn after_operator(&self, end: usize) -> Option<Value> {
        let content = self.content;
        let byte = |at: usize| content.get(at).copied().unwrap_or(0);
        let mut at = end;
        // Closing quote of the name, escaped or not, and closing bracket of an index.
        let mut is_key = false;
        let escapes = self.escapes(at);
        let quote = at.saturating_add(escapes);
        if matches!(byte(quote), b'"' | b'\'') || byte(at) == b'`' {
            at = quote.saturating_add(1);
            // In a cell of a table it is written twice.
            at = at.saturating_add(usize::from(
                escapes == 0 && byte(at) == b'"' && byte(quote) == b'"',
            ));
            is_key = true;
        }
        // Index of a map, or length of an array: `password[32] = "…"`.
        if byte(at) == b'[' {
            let length = slice(content, at, at.saturating_add(8));
            let digits = length.iter().skip(1).take_while(|byte| is(**byte, DIGIT)).count();
            at = at.saturating_add(digits).saturating_add(1);
        }
        if byte(at) == b']' {
            at = at.saturating_add(1);
        }
        // `<password>…</password>`, `<string name="api_key">…</string>`.
        if byte(at) == b'>' {
            return self.element(at.saturating_add(1));
        }
        at = self.after_blanks(at);
        // A type may stand behind the name: `var token string = "…"`.
        if !is_key && at > end && slice(content, at, at.saturating_add(7)) == b"string " {
            at = self.after_blanks(at.saturating_add(7));
        }
        let operator = slice(content, at, at.saturating_add(2));
        at = at.saturating_add(match operator {
            b":=" | b"=>" => 2,
            b"==" | b"=~" | b"::" => return None,
            [b'=' | b':', ..] => 1,
            [b',', ..] if is_key => 1,
            _ => return None,
        });
        let is_colon = operator.first() == Some(&b':') && operator != b":=";
        at = self.after_blanks(at);
        // A list of names goes on in the next line as well.
        if operator.first() != Some(&b',') {
            if let Some(value) = self.on_next_line(at) {
                return Some(value);
            }
        }
        // A type stands between the name and the value: `password: str = "…"`.
        if is_colon && (is(byte(at), ALNUM) || byte(at) == b'&') {
            let word = slice(content, at, at.saturating_add(48));
            let length = word
                .iter()
                .take_while(|byte| {
                    is(**byte, ALNUM)
                        || matches!(byte, b'&' | b'\'' | b'[' | b']' | b'|' | b'?' | b' ' | b'_')
                })
                .count();
            if word.get(length) == Some(&b'=') && word.get(length.saturating_add(1)) != Some(&b'=') {
                at = self.after_blanks(at.saturating_add(length).saturating_add(1));
            }
        }
        self.value_at(at)
    }

    /// The value stands below: in quotes, behind the mark of a YAML block (`|`, `>-`), or behind a backslash.
    fn on_next_line(&self, at: usize) -> Option<Value> {
        let head = slice(self.content, at, at.saturating_add(4));
        let (mark, is_any) = match head {
            [b'|' | b'>', b'-' | b'+', ..] => (2, true),
            [b'|' | b'>' | b'\\', ..] => (1, true),
            _ => (0, false),
        };
        let rest = head.get(mark..).unwrap_or_default();
        let rest = rest.strip_prefix(b"\r").unwrap_or(rest);
        if rest.first() != Some(&b'\n') {
            return None;
        }
        let line = at
            .saturating_add(head.len().saturating_sub(rest.len()))
            .saturating_add(1);
        let value = self.value_at(self.after_blanks(line))?;
        (is_any || value.is_quoted).then_some(value)
    }

    /// The text of an XML element that begins at `at`.
    fn element(&self, at: usize) -> Option<Value> {
        let body = slice(self.content, at, at.saturating_add(MAX_VALUE));
        let length = body
            .iter()
            .position(|byte| is(*byte, SPACE) || matches!(byte, b'<' | b'>'))?;
        let is_closed = slice(body, length, length.saturating_add(2)) == b"</";
        (is_closed && length >= MIN_QUOTED).then_some(Value {
            span: at..at.saturating_add(length),
            is_quoted: true,
            is_loose: false,
        })
    }

    /// Backslashes before a quote: JSON within JSON within JSON has three.
    fn escapes(&self, at: usize) -> usize {
        let text = slice(self.content, at, at.saturating_add(8));
        text.iter().take_while(|byte| **byte == b'\\').count()
    }

    fn after_blanks(&self, at: usize) -> usize {
        let blanks = slice(self.content, at, at.saturating_add(32))
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        at.saturating_add(blanks)
    }

    fn value_at(&self, at: usize) -> Option<Value> {
        let content = self.content;
        let tail = slice(content, at, at.saturating_add(MAX_VALUE).saturating_add(4));
        let prefix = match tail {
            [b'b' | b'r' | b'f' | b'u' | b'@', b'"' | b'\'', ..] => 1,
            _ => 0,
        };
        let quoted = tail.get(prefix..).unwrap_or_default();
        let escapes = self.escapes(at.saturating_add(prefix));
        let (open, quote): (usize, u8) = match quoted.get(escapes) {
            // In a cell of a table, and in SQL, a quote is written twice.
            Some(quote @ (b'"' | b'\'')) if escapes == 0 && is_doubled(quoted) => (2, *quote),
            Some(quote @ (b'"' | b'\'')) => (escapes.saturating_add(1), *quote),
            Some(b'`') if escapes == 0 => (1, b'`'),
            _ => (0, 0),
        };
        if open == 0 {
            let length = tail
                .iter()
                .take_while(|byte| {
                    !is(**byte, SPACE)
                        && !matches!(
                            byte,
                            b'"' | b'\'' | b'`' | b'<' | b'>' | b',' | b';' | b'&' | b'\\' | b'|'
                        )
                })
                .count();
            let length = before_mark(tail.get(..length).unwrap_or_default());
            let text = tail.get(..length).unwrap_or_default();
            let trailing = text
                .iter()
                .rev()
                .take_while(|byte| matches!(byte, b'.' | b')' | b'}' | b']' | b':'))
                .count();
            let length = length.saturating_sub(trailing);
            // Bold in Markdown.
            let text = tail.get(..length).unwrap_or_default();
            let length = text.strip_suffix(b"**").map_or(length, <[u8]>::len);
            // What goes on behind is an expression.
            let is_code = matches!(tail.get(length), Some(b'(' | b'['));
            return (length >= MIN_BARE && !is_code).then_some(Value {
                span: at..at.saturating_add(length),
                is_quoted: false,
                is_loose: false,
            });
        }
        let start = at.saturating_add(prefix).saturating_add(open);
        let body = slice(content, start, start.saturating_add(MAX_VALUE));
        let length = if open > 1 {
            memchr::memmem::find(body, quoted.get(..open)?)?
        } else {
            let mut is_escaped = false;
            body.iter().position(|byte| {
                let ends = *byte == quote && !is_escaped;
                is_escaped = *byte == b'\\' && !is_escaped;
                ends || *byte == b'\n'
            })?
        };
        let is_closed = open > 1 || body.get(length) == Some(&quote);
        (is_closed && length >= MIN_QUOTED).then_some(Value {
            span: start..start.saturating_add(length),
            is_quoted: true,
            is_loose: false,
        })
    }
}

/// Two quotes that open a value together: `""value""`. Before anything else they are an empty one.
fn is_doubled(text: &[u8]) -> bool {
    matches!(text, [first, second, third, ..]
        if first == second && third != first && !is(*third, SPACE) && !matches!(third, b',' | b';' | b')' | b'}' | b']' | b'\\'))
}

/// Whether what stands at `at`, behind a name, may lead to a value: most names are spoken of, called or passed on.
fn may_precede_value(content: &[u8], at: usize) -> bool {
    content.get(at).is_some_and(|byte| {
        is(*byte, SPACE)
            || matches!(
                byte,
                b'"' | b'\'' | b'`' | b',' | b'\\' | b'[' | b']' | b'>' | b':' | b'=' | b'|'
            )
    })
}

/// Length up to a typographic mark: quotes and full stops of other scripts end a value as those of ASCII do.
fn before_mark(text: &[u8]) -> usize {
    let Some(at) = text.iter().position(|byte| !byte.is_ascii()) else {
        return text.len();
    };
    let rest = String::from_utf8_lossy(slice(text, at, at.saturating_add(4)));
    if rest.chars().next().is_some_and(char::is_alphanumeric) {
        text.len()
    } else {
        at
    }
}

/// What stands between two lines of a list that is a comment, an added text or a quotation, or is written in one string: the letter
/// of `\n`, signs, blanks.
fn next_line(rest: &[u8], gap: &[u8]) -> usize {
    let letter = usize::from(gap.ends_with(b"\\") && rest.first() == Some(&b'n'));
    if letter == 0 && !gap.contains(&b'\n') {
        return 0;
    }
    let signs = rest
        .iter()
        .skip(letter)
        .take_while(|byte| is(**byte, SPACE) || matches!(byte, b'#' | b'/' | b'+' | b'-' | b'>' | b'*'))
        .count();
    letter.saturating_add(signs)
}

/// A long base64 value named as the session token of AWS.
fn is_session_token(name: &[u8], value: &[u8]) -> bool {
    // Few values are so long.
    if value.len() < 100 {
        return false;
    }
    let joined = words_of(name).joined;
    let is_named = ["sessiontoken", "securitytoken"]
        .iter()
        .any(|end| joined.ends_with(end.as_bytes()));
    let is_base64 = value
        .iter()
        .all(|byte| is(*byte, ALNUM) || matches!(byte, b'+' | b'/' | b'='));
    is_named && is_base64 && !is_worn_out(value)
}

struct Value {
    span: Range<usize>,
    is_quoted: bool,
    /// Nothing but its place says that it is the value: it has to look drawn at random.
    is_loose: bool,
}
