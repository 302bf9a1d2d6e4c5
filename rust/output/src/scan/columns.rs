//! Names of columns: in a table what a number is called stands above it, however far (output policy spec §16.6, context).

use std::ops::Range;

use crate::bytes::slice;

/// Bytes of a line that may be one of a table.
const MAX_LINE: usize = 1024;
/// How far above its value the name of a column may stand.
const MAX_TABLE: usize = 1 << 20;
/// Bytes of a name; no context word is shorter.
const MIN_NAME: usize = 3;
const MAX_NAME: usize = 40;

/// Lines known to be of one table: the first names the columns.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    lines: Range<usize>,
    separator: u8,
    fields: usize,
}

/// Name of the column that the value at `start` stands in. `known` is the table read last, for the next value in it.
pub(crate) fn name_of<'c>(content: &'c [u8], start: usize, known: &mut Option<Table>) -> Option<&'c [u8]> {
    let line = line_around(content, start)?;
    let text = slice(content, line.start, line.end);
    let separator = separator_of(text)?;
    let fields = count(text, separator);
    let table = table_of(content, &line, separator, fields, known);
    let header = line_around(content, table.start)?;
    // A value in the first line has no name, and one too far below is not looked up: the same in every block of a scan.
    if header.start == line.start || start.saturating_sub(header.start) > MAX_TABLE {
        return None;
    }
    let column = count(slice(content, line.start, start), separator);
    let name = cell(slice(content, header.start, header.end), separator, column)?;
    let is_name = (MIN_NAME..=MAX_NAME).contains(&name.len())
        && name.iter().any(|byte| !byte.is_ascii_digit() && *byte > b' ');
    is_name.then_some(name)
}

/// The lines up to `line` that have as many fields as it has.
fn table_of(
    content: &[u8],
    line: &Range<usize>,
    separator: u8,
    fields: usize,
    known: &mut Option<Table>,
) -> Range<usize> {
    let same = known.as_ref().filter(|table| {
        table.separator == separator && table.fields == fields && table.lines.start <= line.start
    });
    let floor = line.start.saturating_sub(MAX_TABLE);
    let mut first = line.start;
    let mut start = None;
    while first > floor {
        if let Some(table) = same.filter(|table| first <= table.lines.end) {
            start = Some(table.lines.start);
            break;
        }
        let above = line_around(content, first.saturating_sub(1));
        let Some(above) =
            above.filter(|above| count(slice(content, above.start, above.end), separator) == fields)
        else {
            break;
        };
        first = above.start;
    }
    let lines = start.unwrap_or(first)..line.end.saturating_add(1);
    let end = same.map_or(lines.end, |table| table.lines.end.max(lines.end));
    *known = Some(Table {
        lines: lines.start..if start.is_some() { end } else { lines.end },
        separator,
        fields,
    });
    lines
}

/// The line that the byte at `at` is in, without its end.
fn line_around(content: &[u8], at: usize) -> Option<Range<usize>> {
    let from = at.saturating_sub(MAX_LINE);
    let before = memchr::memrchr(b'\n', slice(content, from, at));
    let start = match before {
        Some(place) => from.saturating_add(place).saturating_add(1),
        None if from == 0 => 0,
        None => return None,
    };
    let tail = slice(content, at, at.saturating_add(MAX_LINE));
    let length = memchr::memchr(b'\n', tail).or_else(|| (tail.len() < MAX_LINE).then_some(tail.len()))?;
    Some(start..at.saturating_add(length))
}

/// What sets the fields of a line apart.
fn separator_of(line: &[u8]) -> Option<u8> {
    if line.trim_ascii_start().first() == Some(&b'|') {
        return Some(b'|');
    }
    [b'\t', b';', b',', b'|']
        .into_iter()
        .find(|separator| memchr::memchr(*separator, line).is_some())
}

/// Separators of a line that stand outside of quotes.
fn count(line: &[u8], separator: u8) -> usize {
    if memchr::memchr(b'"', line).is_none() {
        return memchr::memchr_iter(separator, line).count();
    }
    fields(line, separator).count().saturating_sub(1)
}

/// The fields of a line.
fn fields(line: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    line.split(move |byte| {
        is_quoted ^= *byte == b'"';
        *byte == separator && !is_quoted
    })
}

/// A field without blanks and quotes.
fn cell(line: &[u8], separator: u8, column: usize) -> Option<&[u8]> {
    let text = fields(line, separator).nth(column)?.trim_ascii();
    let inner = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    Some(inner.unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(content: &str) -> Option<&str> {
        let start = content.find('#').unwrap();
        let name = name_of(content.as_bytes(), start, &mut None);
        name.map(|name| std::str::from_utf8(name).unwrap())
    }

    #[test]
    fn columns_are_named_by_the_first_line() {
        let rows = "7,Al,1\n".repeat(50);
        assert_eq!(name(&format!("id,name,ssn\n{rows}8,Bo,#\n")), Some("ssn"));
        assert_eq!(
            name(&format!("Export of today:\nid,\"full, name\",ssn\n{rows}8,#,2")),
            Some("full, name")
        );
        assert_eq!(name("| a | dob |\n|---|---|\n| 1 | # |\n"), Some("dob"));
        assert_eq!(name("a\tphone\r\n1\t2\r\n3\t#\r\n"), Some("phone"));
        assert_eq!(name("abc;b\n1;\"x;y\"\n\"#\";4"), Some("abc"));
        for text in [
            "a,b,#",
            "a,b\n\n1,#",
            "a,b,c\n1,#",
            "dob\n#",
            "1,2\n3,#",
            "no table #",
        ] {
            assert_eq!(name(text), None, "{text:?}");
        }
        let far = "7,Al,1\n".repeat(MAX_TABLE / 7 + 1);
        assert_eq!(name(&format!("id,name,ssn\n{far}8,Bo,#\n")), None);
    }

    #[test]
    fn a_table_known_already_gives_the_same_names() {
        let mut content = String::from("Two tables, of three\nid,dob\n");
        (0..40).for_each(|row| content += &format!("{row},#\n"));
        content += "\nid,name,ssn\n";
        (0..40).for_each(|row| content += &format!("{row},Al,#\n"));
        let mut known = None;
        for (start, _) in content.match_indices('#') {
            let bytes = content.as_bytes();
            let expected = name_of(bytes, start, &mut None);
            assert!(expected.is_some());
            assert_eq!(name_of(bytes, start, &mut known), expected, "at {start}");
        }
    }
}
