//! `shell_injection`: commands that run what they fetch, open a shell outwards or destroy.

use super::Draft;
use crate::around::{contains, has_any_word, lower, rest_of, skip_blanks, slice, words};
use crate::sightings::is_word;

const ID: &str = "shell_injection";
const DOWNLOADS: &[&[u8]] = &[
    b"curl",
    b"wget",
    b"fetch",
    b"iwr",
    b"irm",
    b"aria2c",
    b"webrequest",
    b"restmethod",
    b"downloadstring",
    b"webclient",
];
const SHELLS: &[&[u8]] = &[b"sh", b"bash", b"zsh", b"ksh", b"dash", b"fish", b"iex"];
const LANGUAGES: &[&[u8]] = &[
    b"python", b"python2", b"python3", b"perl", b"node", b"ruby", b"php",
];
/// Text of one command that is looked at.
const COMMAND: usize = 320;

/// `… | sh`: a download or a decoded text behind it.
pub(super) fn piped(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(16);
    let pipe = from + memchr::memrchr(b'|', slice(content, from..end))?;
    if pipe > 0 && content.get(pipe - 1) == Some(&b'|') {
        return None;
    }
    let after = lower(content, pipe + 1..pipe + 96);
    let length = interpreter(&after)?;
    let start = command_start(content, pipe);
    let command = lower(content, start..pipe);
    let found = words(&command).any(|word| DOWNLOADS.contains(&word));
    let is_decoded = contains(&command, b"base64 -d")
        || contains(&command, b"base64 --d")
        || contains(&command, b"xxd -r");
    let lead = if found {
        let (at, tool) = DOWNLOADS
            .iter()
            .filter_map(|tool| memchr::memmem::find(&command, tool).map(|at| (at, tool)))
            .min()?;
        // "The curl|bash way" downloads nothing.
        if rest_of(&command, at + tool.len()).trim_ascii().is_empty() {
            return None;
        }
        at
    } else if is_decoded {
        memchr::memmem::find(&command, b"base64").or_else(|| memchr::memmem::find(&command, b"xxd"))?
    } else {
        return None;
    };
    Some(Draft::new(ID, start + lead..pipe + 1 + length, 0.9))
}

/// Start of the command that ends at `end`: its line, or lines joined by a backslash.
fn command_start(content: &[u8], end: usize) -> usize {
    let from = end.saturating_sub(COMMAND);
    let text = slice(content, from..end);
    let is_break = |at: &usize| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        before != Some(&b'\\') && !(before == Some(&b'\r') && *at > 1 && text.get(at - 2) == Some(&b'\\'))
    };
    memchr::memrchr_iter(b'\n', text)
        .find(is_break)
        .map_or(from, |at| from + at + 1)
}

/// Length of the interpreter that runs its input, at the start of `after`.
fn interpreter(after: &[u8]) -> Option<usize> {
    let mut at = skip_blanks(after, 0);
    for _ in 0..4 {
        let rest = rest_of(after, at);
        let length = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"/_.-".contains(byte))
            .count();
        let word = rest.get(..length)?;
        // "Run curl … | bash." ends a sentence.
        let word = word.strip_suffix(b".").unwrap_or(word);
        let name = word.rsplit(|byte| *byte == b'/').next()?;
        let behind = at + word.len();
        if SHELLS.contains(&name) {
            return Some(behind);
        }
        if LANGUAGES.contains(&name) || name.starts_with(b"python3.") {
            // With a program of its own it reads its input as data.
            let argument = rest_of(after, skip_blanks(after, behind));
            let is_file = argument
                .split(|byte| byte.is_ascii_whitespace())
                .next()
                .is_some_and(|word| {
                    word.starts_with(b"./")
                        || [&b".py"[..], b".js", b".pl", b".rb", b".php"]
                            .iter()
                            .any(|end| word.ends_with(end))
                });
            let reads_data = is_file
                || matches!(argument, [b'-', flag, ..] if flag.is_ascii_alphanumeric() && *flag != b'u');
            let is_same_line = !rest_of(after, behind).starts_with(b"\n");
            return (!(reads_data && is_same_line)).then_some(behind);
        }
        if !matches!(name, b"sudo" | b"env" | b"exec" | b"nohup" | b"command") && !name.starts_with(b"-") {
            return None;
        }
        at = skip_blanks(after, behind);
    }
    None
}

/// `$(curl …)` run by a shell, and substitution behind a metacharacter inside of a value.
pub(super) fn substituted(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(16);
    let head = lower(content, from..end);
    let fetches = head.ends_with(b"curl") || head.ends_with(b"wget");
    if fetches {
        let open = head.iter().rposition(|byte| matches!(byte, b'$' | b'`' | b'<'))?;
        let start = from + open;
        let before = lower(content, start.saturating_sub(32)..start);
        let trimmed = before.trim_ascii_end().trim_ascii_end();
        let trimmed = trimmed
            .strip_suffix(b"\"")
            .or_else(|| trimmed.strip_suffix(b"'"))
            .unwrap_or(trimmed);
        let trimmed = trimmed.strip_suffix(b"\\").unwrap_or(trimmed).trim_ascii_end();
        let runs = [
            &b"sh -c"[..],
            b"sh -lc",
            b"sh -ic",
            b"eval",
            b"source",
            b" .",
            b"<",
        ]
        .iter()
        .any(|lead| trimmed.ends_with(lead))
            || content.get(start) == Some(&b'<')
                && words(trimmed).last().is_some_and(|word| SHELLS.contains(&word));
        return runs.then(|| Draft::new(ID, start..end, 0.9));
    }
    let open = head.iter().rposition(|byte| matches!(byte, b';' | b'|' | b'&'))?;
    let start = from + open;
    let line = slice(content, start.saturating_sub(120)..start);
    let line = line.get(memchr::memrchr(b'\n', line).map_or(0, |at| at + 1)..)?;
    let line = line.strip_suffix(b"&").unwrap_or(line).trim_ascii_end();
    let inner = slice(content, end..end + 60);
    // Nobody appends this file to anything of their own.
    if head.ends_with(b"/etc/") {
        let is_secret = inner.starts_with(b"passwd") || inner.starts_with(b"shadow");
        return is_secret.then(|| Draft::new(ID, start..end + 6, 0.65));
    }
    let runs_command = inner.first().is_some_and(u8::is_ascii_lowercase);
    let is_value = if head.ends_with(b"`") {
        (in_query(line) || ends_in_address(line)) && inner.contains(&b'`')
    } else {
        in_query(line) || in_string(line) || ends_in_address(line)
    };
    (is_value && runs_command).then(|| Draft::new(ID, start..end, 0.6))
}

/// The last token of the line is `name=value` without blanks, as in a query.
fn in_query(line: &[u8]) -> bool {
    let token = line
        .rsplit(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'>'))
        .next()
        .unwrap_or(&[]);
    let Some(at) = memchr::memchr(b'=', token) else {
        return false;
    };
    // `x=1;` in a script is an assignment: a query has a name behind `?`, `&` or a host, or a file or address for a value.
    let is_lower = token.first().is_some_and(u8::is_ascii_lowercase);
    at > 0
        && at + 1 < token.len()
        && (token.contains(&b'?')
            || token.contains(&b'/')
            || token.contains(&b'&')
            || is_lower && token.get(at..).is_some_and(|value| value.contains(&b'.')))
}

/// The last token of the line is an address of four numbers, alone or behind `name=`.
fn ends_in_address(line: &[u8]) -> bool {
    let token = line
        .rsplit(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'=' | b'>'))
        .next()
        .unwrap_or(&[]);
    let parts = token.split(|byte| *byte == b'.');
    parts.clone().count() == 4
        && parts
            .into_iter()
            .all(|part| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit))
}

/// The line ends inside of a quoted value: `"name": "x` or `name="x`.
fn in_string(line: &[u8]) -> bool {
    let Some(open) = memchr::memrchr2(b'"', b'\'', line) else {
        return false;
    };
    let before = line.get(..open).unwrap_or(&[]).trim_ascii_end();
    let is_named = before.ends_with(b":") || before.ends_with(b"=");
    let count = line.iter().filter(|byte| **byte == b'"').count();
    // Shell assignments have no blank and no quoted name.
    is_named && count % 2 == 1 && before.ends_with(b"\":")
}

/// A program that connects to a host and hands the connection to the shell named at `end`.
fn called_home(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(280);
    let before = lower(content, from..end);
    let start = [
        &b"socket("[..],
        b"socket.socket",
        b"fsockopen(",
        b"tcpsocket",
        b"net.connect",
        b"net.socket",
    ]
    .iter()
    .filter_map(|call| memchr::memmem::find(&before, call))
    .min()?;
    let line = rest_of(&before, start);
    let is_connected = [&b"connect("[..], b"fsockopen(", b"sockaddr_in", b"tcpsocket"]
        .iter()
        .any(|call| contains(line, call));
    is_connected.then(|| Draft::new(ID, from + start..end, 0.8))
}

/// Shells that listen or call home.
pub(super) fn socket(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(12);
    let head = lower(content, from..end);
    let line_end = end + memchr::memchr(b'\n', slice(content, end..end + 240)).unwrap_or(240);
    let after = lower(content, end..line_end);
    let start_of = |name: &[u8]| memchr::memmem::rfind(&head, name).map(|at| from + at);
    if let Some(start) = start_of(b"/dev/tcp/").or_else(|| start_of(b"/dev/udp/")) {
        let before = slice(content, start.saturating_sub(24)..start);
        let is_used = before.iter().any(|byte| matches!(byte, b'<' | b'>' | b'&'))
            || after.iter().take(40).any(u8::is_ascii_digit);
        // `/dev/tcp/host/port` is what it is called like in a manual.
        let is_named = after.starts_with(b"host/port");
        let confidence = match () {
            () if is_named => 0.4,
            () if is_used => 0.9,
            () => 0.55,
        };
        return Some(Draft::new(ID, start..end, confidence));
    }
    if head.ends_with(b"/bin/sh") || head.ends_with(b"/bin/bash") {
        return called_home(content, end);
    }
    if let Some(start) = start_of(b"mkfifo") {
        let is_shell = has_any_word(&after, &[b"nc", b"ncat", b"netcat", b"telnet", b"openssl"])
            && has_any_word(&after, SHELLS);
        let is_absolute = after.first() == Some(&b'/');
        return (is_shell || is_absolute)
            .then(|| Draft::new(ID, start..end, if is_shell { 0.9 } else { 0.5 }));
    }
    if let Some(start) = start_of(b"socat") {
        return contains(&after, b"exec:").then(|| Draft::new(ID, start..end, 0.85));
    }
    // The tool may stand before its address and the option behind: `nc host port -e /bin/sh`.
    let line_start = end.saturating_sub(100);
    let before = lower(content, line_start..end);
    let before_start = memchr::memrchr(b'\n', &before).map_or(0, |at| at + 1);
    let before = rest_of(&before, before_start);
    let tool = words(before)
        .filter(|word| matches!(*word, b"nc" | b"ncat" | b"netcat"))
        .last()?;
    let start = line_start + before_start + memchr::memmem::rfind(before, tool)?;
    let arguments = lower(content, start..line_end);
    let has_flag = arguments.split(|byte| byte.is_ascii_whitespace()).any(|word| {
        matches!(word, [b'-', flag, ..] if *flag != b'-' && word.len() <= 6 && word.contains(&b'e'))
            || matches!(word, b"-c" | b"--exec" | b"--sh-exec")
    });
    let runs = has_any_word(&arguments, SHELLS) || has_any_word(&arguments, &[b"cmd", b"exe", b"powershell"]);
    (has_flag && (runs || contains(&arguments, b" -e "))).then(|| Draft::new(ID, start..end, 0.85))
}

/// `rm -rf /`, `chmod -R 777 /`, `--no-preserve-root`.
pub(super) fn destroyed(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(20);
    let head = lower(content, from..end);
    if head.ends_with(b"no-preserve-root") {
        let before = lower(content, end.saturating_sub(80)..end);
        let is_run = has_any_word(&before, &[b"rm"]);
        return Some(Draft::new(
            ID,
            end.saturating_sub(18)..end,
            if is_run { 0.9 } else { 0.5 },
        ));
    }
    let is_chmod = contains(&head, b"chmod");
    let start = from
        + memchr::memmem::rfind(&head, if is_chmod { b"chmod" } else { b"rm " })
            .or_else(|| memchr::memmem::rfind(&head, b"rm"))?;
    let rest = slice(content, start..start + 120);
    let rest = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len()))?;
    let (mut is_recursive, mut is_forced, mut is_open) = (false, false, false);
    let mut at = memchr::memchr(b' ', rest)?;
    loop {
        at = skip_blanks(rest, at);
        let word = rest_of(rest, at);
        let length = word.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
        let word = word.get(..length).filter(|word| !word.is_empty())?;
        match word {
            [b'-', b'-', long @ ..] => {
                is_recursive |= long.starts_with(b"recursive");
                is_forced |= long.starts_with(b"force");
            }
            [b'-', flags @ ..] => {
                is_recursive |= flags.iter().any(|flag| matches!(flag, b'r' | b'R'));
                is_forced |= flags.contains(&b'f');
            }
            b"777" | b"0777" | b"a+rwx" if is_chmod && !is_open => is_open = true,
            _ => {
                let risk = root(word)?;
                let is_full = if is_chmod {
                    is_recursive && is_open
                } else {
                    is_recursive && is_forced
                };
                let confidence = match (is_full, is_recursive && !is_chmod) {
                    (true, _) => risk,
                    (false, true) => risk - 0.25,
                    _ => return None,
                };
                return Some(Draft::new(ID, start..start + at + length, confidence));
            }
        }
        at += length;
    }
}

/// How bad it is to lose what a word names.
fn root(word: &[u8]) -> Option<f32> {
    const TOP: &[&[u8]] = &[
        b"etc", b"usr", b"var", b"home", b"bin", b"boot", b"root", b"lib", b"sbin", b"opt", b"dev", b"sys",
        b"users", b"data",
    ];
    // A quote may open the word, escaped where the command travels in a string.
    let open = word
        .iter()
        .take_while(|byte| matches!(byte, b'\\' | b'"' | b'\''))
        .count();
    let word = word.get(open..)?;
    let end = word
        .iter()
        .position(|byte| {
            matches!(
                byte,
                b';' | b'&' | b'|' | b')' | b']' | b'"' | b'\'' | b'`' | b',' | b'<'
            )
        })
        .unwrap_or(word.len());
    let end = if end == 0 { word.len() } else { end };
    let word: Vec<u8> = word
        .get(..end)?
        .iter()
        .copied()
        .filter(|byte| !b"\"'\\;`.".contains(byte))
        .collect();
    let word = word.to_ascii_lowercase();
    let bare = word.strip_suffix(b"*").unwrap_or(&word);
    let bare = bare.strip_suffix(b"/").unwrap_or(bare);
    match bare {
        b"" if word.starts_with(b"/") => Some(0.95),
        b"" if word == b"*" => Some(0.5),
        b"~" | b"$home" | b"${home}" => Some(0.9),
        [b'/', name @ ..] if TOP.contains(&name) => Some(0.85),
        _ => None,
    }
}

/// `dd of=/dev/sda`, output sent to a disk, and the fork bomb.
pub(super) fn device(content: &[u8], end: usize) -> Option<Draft> {
    let from = end.saturating_sub(16);
    let head = lower(content, from..end);
    if let Some(at) = memchr::memmem::rfind(&head, b"of=/dev/") {
        let name = lower(content, end..end + 6);
        let is_disk = [&b"sd"[..], b"hd", b"vd", b"nvme", b"xvd", b"mmcblk", b"disk"]
            .iter()
            .any(|disk| name.starts_with(disk));
        let start = from + at;
        let before = lower(content, start.saturating_sub(160)..start);
        let lead = memchr::memmem::rfind(&before, b"dd ")
            .filter(|at| *at == 0 || !before.get(at - 1).is_some_and(|byte| is_word(*byte)))?;
        return is_disk.then(|| Draft::new(ID, start - before.len() + lead..end, 0.85));
    }
    if head.ends_with(b"{") {
        let start = from + memchr::memmem::rfind(&head, b":(")?;
        let body: Vec<u8> = slice(content, start..start + 32)
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        return body
            .starts_with(b":(){:|:&};:")
            .then(|| Draft::new(ID, start..end, 0.95));
    }
    Some(Draft::new(ID, from + memchr::memrchr(b'>', &head)?..end, 0.7))
}
