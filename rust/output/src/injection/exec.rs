//! `code_exec`: calls that run data as code.

use super::Draft;
use crate::around::{contains, has_any_word, lower, rest_of, skip_blanks, slice};
use crate::sightings::is_word;

const ID: &str = "code_exec";

/// Data that was hidden or comes from outside.
const CARRIED: &[&[u8]] = &[
    b"__import__",
    b"b64decode",
    b"base64_decode",
    b"base64.",
    b"atob(",
    b"fromhex",
    b"fromcharcode",
    b"decompress(",
    b"gzinflate",
    b"unescape(",
    b"decodeuricomponent(",
    b"codecs.decode",
    b"marshal.loads",
    b"urlopen(",
    b"requests.get(",
    b"$_get",
    b"$_post",
    b"$_request",
    b"$_cookie",
    b"frombase64string",
    b"buffer.from(",
];

/// Whichever call the sighting ends in.
pub(super) fn found(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(24);
    let head = lower(content, from..end);
    let name: Vec<u8> = head
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let arguments = lower(content, end..end + 240);
    let ends = |what: &[u8]| name.ends_with(what);
    let start_of = |what: &[u8]| memchr::memmem::rfind(&head, what).map(|at| from + at);
    if ends(b"os.system(") || ends(b"os.popen(") {
        return command(content, start_of(b"os.")?, end, &arguments);
    }
    if ends(b"getruntime()") {
        let is_run = rest_of(&arguments, skip_blanks(&arguments, 0)).starts_with(b".exec(");
        let start = start_of(b"getruntime")?;
        return is_run.then(|| Draft::new(ID, start.saturating_sub(8)..end + 6, 0.85));
    }
    if ends(b"__import__(") {
        return imported(start_of(b"__import__")?, end, &arguments);
    }
    if ends(b"shell=true") {
        return shelled(content, end);
    }
    if ends(b".loads(") {
        let start = start_of(b".loads")?;
        let module = lower(content, start.saturating_sub(12)..start);
        let is_code = [&b"pickle"[..], b"dill", b"marshal"]
            .iter()
            .any(|known| module.ends_with(known));
        let inner = argument(&arguments);
        let is_carried = CARRIED.iter().any(|data| contains(inner, data)) || contains(inner, b"request");
        return (is_code && is_carried)
            .then(|| Draft::new(ID, start.saturating_sub(6)..end + inner.len(), 0.85));
    }
    if ends(b"-enc") {
        return encoded(content, end);
    }
    // `-e`, and a script that begins with `$` or `I` in UTF-16.
    if ends(b"jab") || ends(b"sqb") {
        return encoded(content, end.saturating_sub(4));
    }
    if ends(b"iex") || ends(b"invoke-expression") || ends(b"downloadstring") || ends(b"frombase64string") {
        return expression(content, end);
    }
    if ends(b"child_process") {
        let closed = arguments
            .iter()
            .take_while(|byte| b"\"'`) \\".contains(byte))
            .count();
        let after = rest_of(&arguments, closed);
        let is_called = [&b".exec"[..], b".spawn"]
            .iter()
            .any(|call| after.starts_with(call))
            && called_with(after);
        return is_called.then(|| Draft::new(ID, end - 13..end, 0.75));
    }
    let start = [
        &b"eval"[..],
        b"exec",
        b"function(",
        b"passthru",
        b"shell_exec",
        b"system",
        b"popen",
    ]
    .iter()
    .filter_map(|call| start_of(call))
    .max()?;
    let inner = argument(&arguments);
    let is_php = ends(b"system(") || ends(b"passthru(") || ends(b"shell_exec(") || ends(b"popen(");
    let is_carried = if is_php {
        contains(inner, b"$_")
    } else {
        CARRIED.iter().any(|data| contains(inner, data)) || ends(b"(atob")
    };
    is_carried.then(|| Draft::new(ID, start..end + inner.len(), 0.85))
}

/// The arguments up to the closing parenthesis.
fn argument(text: &[u8]) -> &[u8] {
    let mut depth = 1_u32;
    for (place, byte) in text.iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'\n' => return text.get(..place).unwrap_or(text),
            _ => {}
        }
        if depth == 0 {
            return text.get(..=place).unwrap_or(text);
        }
    }
    text
}

/// `os.system(…)`: harmless with a plain command that only shows something.
fn command(content: &[u8], start: usize, end: usize, arguments: &[u8]) -> Option<Draft> {
    const GRAVE: &[&[u8]] = &[
        b"rm",
        b"curl",
        b"wget",
        b"nc",
        b"ncat",
        b"id",
        b"whoami",
        b"cat",
        b"sh",
        b"bash",
        b"powershell",
        b"cmd",
        b"chmod",
        b"python",
        b"perl",
        b"ls",
        b"calc",
        b"uname",
        b"ping",
        b"nslookup",
        b"passwd",
        b"del",
        b"format",
        b"kill",
        b"shutdown",
        b"reboot",
        b"touch",
        b"env",
        b"echo",
    ];
    let inner = argument(arguments);
    let code = inner.trim_ascii_start();
    let code = code.strip_prefix(b"\\").unwrap_or(code);
    let is_literal = code.first().is_some_and(|byte| matches!(byte, b'"' | b'\''));
    let is_built = contains(inner, b"\" +")
        || contains(inner, b"' +")
        || contains(inner, b"\"+")
        || contains(inner, b"'+")
        || code.starts_with(b"f\"")
        || code.starts_with(b"f'")
        || contains(inner, b".format(");
    let confidence = match () {
        () if inner.len() <= 1 => return None,
        () if CARRIED.iter().any(|data| contains(inner, data))
            || contains(inner, b"input(")
            || contains(inner, b"request") =>
        {
            0.9
        }
        () if is_literal && has_any_word(inner, GRAVE) && !is_shown(code) => 0.75,
        () if is_built => 0.6,
        () => 0.4,
    };
    let before = start.checked_sub(1).and_then(|before| content.get(before));
    (!before.is_some_and(|byte| is_word(*byte))).then(|| Draft::new(ID, start..end + inner.len(), confidence))
}

/// `"echo \"hello\""` shows a text, unless more of a shell follows.
fn is_shown(code: &[u8]) -> bool {
    let command = code.strip_prefix(b"\\").unwrap_or(code);
    let command = rest_of(command, 1);
    command.starts_with(b"echo") && !command.iter().any(|byte| b"|;&$`<>".contains(byte))
}

/// Whether `.name(` calls something: `exec()` only names it.
fn called_with(text: &[u8]) -> bool {
    let name = text
        .iter()
        .skip(1)
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    let rest = rest_of(text, name + 1);
    // `exec(command[, options])` is how a manual writes it.
    let is_signature = contains(rest.get(..rest.len().min(40)).unwrap_or(rest), b"[, ");
    matches!(rest, [b'(', first, ..] if *first != b')') && !is_signature
}

/// `__import__('os').system(`
fn imported(start: usize, end: usize, arguments: &[u8]) -> Option<Draft> {
    let inner = argument(arguments);
    let module: Vec<u8> = inner.iter().copied().filter(u8::is_ascii_alphabetic).collect();
    let is_grave = matches!(
        module.as_slice(),
        b"os" | b"subprocess" | b"pty" | b"commands" | b"shutil" | b"socket"
    );
    let after = rest_of(arguments, inner.len());
    let is_called = [
        &b".system"[..],
        b".popen",
        b".call",
        b".run",
        b".check_output",
        b".spawn",
        b".exec",
        b".remove",
        b".rmtree",
        b".getoutput",
        b".environ",
        b".socket",
    ]
    .iter()
    .any(|call| after.starts_with(call));
    (is_grave && is_called).then(|| Draft::new(ID, start..end + inner.len() + 8, 0.9))
}

/// `subprocess.run("…" + x, shell=True)`
fn shelled(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(240);
    let before = lower(content, from..end);
    let call = [&b"subprocess."[..], b"popen("]
        .iter()
        .filter_map(|call| memchr::memmem::rfind(&before, call))
        .max()?;
    let inner = rest_of(&before, call);
    let is_built = [
        &b"\" +"[..],
        b"' +",
        b"\"+",
        b"'+",
        b"(f\"",
        b"(f'",
        b"(f\\\"",
        b".format(",
        b"\" %",
        b"' %",
        b"+ ",
    ]
    .iter()
    .any(|join| contains(inner, join));
    Some(Draft::new(
        ID,
        from + call..end,
        if is_built { 0.75 } else { 0.35 },
    ))
}

/// `powershell -EncodedCommand …`
fn encoded(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(120);
    let before = lower(content, from..end);
    let shell = [&b"powershell"[..], b"pwsh"]
        .iter()
        .filter_map(|shell| memchr::memmem::rfind(&before, shell))
        .max()?;
    let rest = slice(content, end..end + 160);
    let letters = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let at = skip_blanks(rest, letters);
    let value = rest_of(rest, at);
    let value = value.strip_prefix(b"\\").unwrap_or(value);
    let value = value
        .strip_prefix(b"\"")
        .or_else(|| value.strip_prefix(b"'"))
        .unwrap_or(value);
    let length = value
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
        .count();
    (at > letters && length >= 8).then(|| Draft::new(ID, from + shell..end + at + length, 0.9))
}

/// `IEX(New-Object Net.WebClient).DownloadString(…)`
fn expression(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(120);
    let text = lower(content, from..end + 160);
    // `iex` in a list of names runs nothing.
    let is_run = memchr::memmem::find_iter(&text, b"iex").any(|at| {
        let before = text.get(..at).unwrap_or(&[]).trim_ascii_end().last();
        let after = rest_of(&text, at + 3).trim_ascii_start();
        let is_command = [&b"new-object"[..], b"iwr", b"irm", b"invoke-", b"["]
            .iter()
            .any(|name| after.starts_with(name));
        is_command
            || before == Some(&b'|')
            || matches!(after.first(), Some(b'(' | b'$' | b'"' | b'\'' | b'&'))
    }) || contains(&text, b"invoke-expression");
    let is_fetched = [
        &b"new-object"[..],
        b"downloadstring",
        b"frombase64string",
        b"invoke-webrequest",
        b"invoke-restmethod",
        b"iwr ",
        b"irm ",
    ]
    .iter()
    .any(|fetch| contains(&text, fetch));
    let at = memchr::memmem::find(&text, b"iex")
        .or_else(|| memchr::memmem::find(&text, b"invoke-expression"))
        .unwrap_or(end - from);
    let (first, last) = ((from + at).min(end), (from + at).max(end));
    (is_run && is_fetched && last - first < 200).then(|| Draft::new(ID, first..last, 0.9))
}
