//! `data_exfil_instruction`: orders that carry data out.

use super::read::Read;
use super::vocabulary::{NOT, PRIVATE, WAKES_SEND, YOUR};
use super::Draft;
use crate::around::{contains, slice};

const ORDER: &str = "data_exfil_instruction";

/// Orders to send what is private to a place outside.
pub(super) fn find_orders(content: &[u8], read: &Read<'_>, found: &mut Vec<Draft>) {
    if !read.holds(0, PRIVATE) {
        return;
    }
    for place in read.waking(WAKES_SEND) {
        if is_send(read, place) && !read.preceding(place, 2).any(|at| read.has(at, NOT)) {
            found.extend(order_at(content, read, place));
        }
    }
}

fn is_send(read: &Read<'_>, place: usize) -> bool {
    let word = read.text(place);
    // `email = …` and `post: …` are names.
    let is_name = read
        .word(place)
        .is_some_and(|word| read.view.after(word, 2).trim_start().starts_with(['=', ':']));
    let next = read.text(place + 1);
    let is_noun = match word {
        // "Username, password and email address must match".
        "email" | "mail" => matches!(next, "address" | "addresses" | "account" | "accounts"),
        // What is called, not who calls it: "curl could leak".
        "curl" => read.word(place).is_some_and(|word| {
            let rest = read.view.after(word, 9);
            !rest.starts_with(" -")
                && !rest
                    .trim_start_matches([' ', '"', '\'', '\\'])
                    .starts_with("http")
        }),
        _ => false,
    };
    if is_name || is_noun {
        return false;
    }
    let is_mail = word == "mail"
        && place
            .checked_sub(1)
            .is_some_and(|before| read.text(before) == "e");
    is_mail
        || matches!(
            word,
            "send"
                | "post"
                | "upload"
                | "email"
                | "forward"
                | "exfiltrate"
                | "transmit"
                | "leak"
                | "submit"
                | "deliver"
                | "put"
                | "append"
                | "curl"
        )
        || word == "mail" && read.is_order(place)
        || is_request(read, place)
}

/// "Make a request to …", "in a GET request to …", "fetch … followed by the …".
fn is_request(read: &Read<'_>, place: usize) -> bool {
    match read.text(place) {
        "request" => read.text(place + 1) == "to",
        "fetch" | "visit" | "open" | "load" | "call" => {
            read.is_order(place) && matches!(read.text(place + 1), "http" | "https")
        }
        _ => false,
    }
}

fn order_at(content: &[u8], read: &Read<'_>, place: usize) -> Option<Draft> {
    // The verb may be the second of two orders: "read the key and send it to".
    let is_request = is_request(read, place);
    let is_order = if is_request {
        // Somebody has to be told to make it, and what to put into it.
        let tells = |at: usize| {
            let is_verb = matches!(
                read.text(at),
                "make"
                    | "send"
                    | "issue"
                    | "perform"
                    | "include"
                    | "add"
                    | "attach"
                    | "put"
                    | "embed"
                    | "fetch"
                    | "visit"
                    | "open"
                    | "load"
                    | "call"
            );
            is_verb && read.is_order(at)
        };
        let holds = |at: usize| {
            matches!(
                read.text(at),
                "with"
                    | "containing"
                    | "including"
                    | "include"
                    | "followed"
                    | "add"
                    | "attach"
                    | "embed"
                    | "put"
            )
        };
        let around = place.saturating_sub(8)..=place + 16;
        (tells(place) || read.preceding(place, 8).any(tells)) && around.clone().any(holds)
    } else {
        let before = |count: usize| place.checked_sub(count).map_or("", |at| read.text(at));
        // "You need to send", "use curl to post", not "addresses to send runs to".
        let is_used = |count: usize| {
            let tool = place.checked_sub(count).filter(|_| before(count) == "use");
            tool.is_some_and(|tool| read.is_order(tool))
        };
        let is_told = before(1) == "to"
            && (is_used(3)
                || is_used(4)
                || matches!(
                    before(2),
                    "you"
                        | "need"
                        | "have"
                        | "want"
                        | "must"
                        | "order"
                        | "is"
                        | "agent"
                        | "assistant"
                        | "ai"
                        | "sure"
                ));
        let is_mail = before(1) == "e" && read.text(place) == "mail" && read.is_order(place.wrapping_sub(1));
        // "We collect cookies and send them" tells what somebody does.
        let is_narrated = before(1) == "and"
            && read.preceding(place, 6).any(|at| {
                matches!(
                    read.text(at),
                    "we" | "they" | "i" | "he" | "she" | "who" | "which"
                )
            });
        // "Note that this will transmit", "the user agent MUST append".
        let is_described = matches!(
            (before(2), before(1)),
            (
                "this" | "that" | "it" | "which",
                "will" | "should" | "must" | "shall"
            ) | ("agent", "must" | "shall" | "should")
        ) && before(3) != "assistant"
            && !(before(2) == "agent" && matches!(before(3), "ai" | "the"));
        read.is_order(place) && !is_narrated && !is_described
            || is_told
            || is_mail
            || matches!(before(1), "then" | "also")
    };
    if !is_order || !is_request && matches!(read.text(place + 1), "request" | "requests") {
        return None;
    }
    let (aim, last, is_url) = destination(content, read, place)?;
    // "Append the header values with semicolon [#1](…)".
    let is_added = matches!(read.text(place), "append" | "put");
    let is_place = |at: usize| matches!(read.text(at), "to" | "into" | "onto" | "on" | "at");
    if is_added && !(place + 1..aim).any(is_place) {
        return None;
    }
    let reach = if is_request { 22 } else { 14 };
    let after = (place + 1..=(place + reach).min(last + 6)).filter_map(|at| value_of(read, at));
    // What was named before is sent as "it".
    let is_named_before = is_request
        || matches!(read.text(place + 1), "to" | "at")
        || (place + 1..=place + 4).any(|at| {
            matches!(
                read.text(at),
                "it" | "them"
                    | "its"
                    | "their"
                    | "this"
                    | "that"
                    | "these"
                    | "those"
                    | "contents"
                    | "content"
                    | "result"
                    | "results"
                    | "everything"
                    | "all"
            )
        });
    let before = read
        .preceding(place, if is_named_before { 14 } else { 0 })
        .filter_map(|at| value_of(read, at));
    let (object, worth) = after
        .chain(before)
        .max_by(|left, right| left.1.total_cmp(&right.1))?;
    let around = place.saturating_sub(14).max(object.min(place).saturating_sub(4))..=last.max(object);
    // What the destination is called says nothing of the data.
    let says = |words: &[&str]| {
        let mut places = around.clone().filter(|at| !(aim..=last).contains(at));
        places.any(|at| words.contains(&read.text(at)))
    };
    let mut confidence = worth;
    if says(&[
        "all", "entire", "full", "every", "user", "user's", "users", "any", "whole", "contents",
    ]) {
        confidence += 0.1;
    }
    if is_system_place(content, read, place.min(object), aim) {
        confidence += 0.15;
    }
    if read.text(place) == "exfiltrate" {
        confidence += 0.3;
    }
    if says(&["silently", "secretly", "quietly", "without"]) {
        confidence += 0.15;
    }
    if (place..=object).any(|at| read.has(at, YOUR)) && !says(&["prompt", "instructions"]) {
        confidence -= 0.2;
    }
    if !is_url {
        confidence -= 0.05;
    }
    Some(Draft::new(
        ORDER,
        read.source(place.min(object), last),
        confidence.min(0.95),
    ))
}

/// Whether a folder of the system or of its user is named: "the files in /etc".
fn is_system_place(content: &[u8], read: &Read<'_>, first: usize, aim: usize) -> bool {
    const PLACES: &[&[u8]] = &[
        b"/etc", b"/root", b"/home", b"/var/", b"~/", b"$HOME", b".ssh", b".aws",
    ];
    let before = read.source(first, aim.saturating_sub(1).max(first));
    let text = slice(content, before);
    PLACES.iter().any(|place| contains(text, place))
}

/// How private a named thing is.
fn value_of(read: &Read<'_>, at: usize) -> Option<(usize, f64)> {
    let worth = match read.text(at) {
        "secret" | "secrets" | "credential" | "credentials" | "password" | "passwords" | "env"
        | "environment" | "conversation" | "cookie" | "cookies" | "ssh" | "id_rsa" | "rsa" | "passwd"
        | "dotenv" => 0.75,
        "token" | "tokens"
            if matches!(
                read.text(at.wrapping_sub(1)),
                "session" | "access" | "auth" | "api" | "refresh"
            ) =>
        {
            0.75
        }
        "key" | "keys"
            if matches!(
                read.text(at.wrapping_sub(1)),
                "api" | "private" | "ssh" | "access" | "secret" | "encryption"
            ) =>
        {
            0.75
        }
        "history" | "log" | "transcript"
            if matches!(read.text(at.wrapping_sub(1)), "chat" | "message" | "browsing") =>
        {
            0.75
        }
        "prompt" if read.text(at.wrapping_sub(1)) == "system" => 0.75,
        "files" | "file" | "contents" | "documents" | "data" | "tokens" | "token" | "keys" | "history"
        | "messages" | "database" | "emails" | "inbox" | "records" | "context" | "memory" | "contacts" => {
            0.45
        }
        _ => return None,
    };
    Some((at, worth))
}

/// A URL, address or host behind "to", "at", "via": its first and last word, and whether it is a URL.
fn destination(content: &[u8], read: &Read<'_>, place: usize) -> Option<(usize, usize, bool)> {
    // An address of the next paragraph belongs to somebody else, a URL may be the last of several orders.
    let ends = |at: usize| {
        let (Some(left), Some(right)) = (at.checked_sub(1).and_then(|left| read.word(left)), read.word(at))
        else {
            return true;
        };
        let gap = read.view.between(left, right);
        gap.bytes().filter(|byte| *byte == b'\n').count() > 1
    };
    let end = (place + 1..=place + 26)
        .find(|at| ends(*at))
        .unwrap_or(place + 27);
    (place + 1..end).find_map(|at| {
        let word = read.word(at)?;
        let next = read.word(at + 1);
        let between = next.map_or("", |next| read.view.between(word, next));
        let scheme = read.view.source_of(at)?.end;
        // The numbers of an address may be no words.
        let host_number = content.get(scheme + 3).is_some_and(u8::is_ascii_digit);
        if matches!(read.text(at), "http" | "https" | "ftp" | "ws" | "wss")
            && between.starts_with("://")
            && (between == "://" || host_number)
        {
            if host_number {
                let is_local = slice(content, scheme + 3..scheme + 6) == b"127";
                return (!is_local).then(|| (at, last_of_host(content, read, scheme, at), true));
            }
            let host = read.view.source_of(at + 1)?;
            let is_local = read.text(at + 1) == "localhost";
            return (!is_local).then(|| (at, last_of_host(content, read, host.start, at + 1), true));
        }
        let is_led = matches!(
            read.text(at.wrapping_sub(1)),
            "to" | "at" | "via" | "on" | "into" | "with"
        );
        let start = read.view.source_of(at)?.start;
        let tail = slice(content, start..start + 80);
        // A place has one of these.
        let is_marked = match is_led {
            true => memchr::memchr2(b'@', b'.', tail).is_some(),
            false => memchr::memchr(b'@', tail).is_some(),
        };
        if !is_marked {
            return None;
        }
        let length = tail
            .iter()
            .take_while(|byte| !byte.is_ascii_whitespace() && !b"\"'<>,;)\\".contains(byte))
            .count();
        let token = tail
            .get(..length)?
            .strip_suffix(b".")
            .unwrap_or(tail.get(..length)?);
        let is_place = is_address(token) || is_led && is_host(token);
        is_place.then(|| (at, last_of_host(content, read, start, at), false))
    })
}

/// Last word within the run without blanks that starts at `start`.
fn last_of_host(content: &[u8], read: &Read<'_>, start: usize, first: usize) -> usize {
    let run = slice(content, start..start + 200);
    let end = start
        + run
            .iter()
            .take_while(|byte| !byte.is_ascii_whitespace() && !b"\"'<>)\\".contains(byte))
            .count();
    (first..first + 24)
        .take_while(|at| read.view.source_of(*at).is_some_and(|source| source.end <= end))
        .last()
        .unwrap_or(first)
}

fn is_address(token: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b'@', token) else {
        return false;
    };
    at > 0 && is_host(token.get(at + 1..).unwrap_or(&[]))
}

/// `name.tld` or an IPv4 address, perhaps with port and path.
fn is_host(token: &[u8]) -> bool {
    let end = token
        .iter()
        .position(|byte| matches!(byte, b'/' | b':' | b'?'))
        .unwrap_or(token.len());
    let host = token.get(..end).unwrap_or(&[]);
    let labels: Vec<&[u8]> = host.split(|byte| *byte == b'.').collect();
    let is_label = |label: &&[u8]| {
        !label.is_empty()
            && label
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    let is_number = |label: &&[u8]| label.iter().all(u8::is_ascii_digit);
    if labels.len() < 2 || !labels.iter().all(is_label) {
        return false;
    }
    let last = labels.last().copied().unwrap_or(&[]);
    labels.len() == 4 && labels.iter().all(is_number)
        || last.len() >= 2 && last.iter().all(u8::is_ascii_alphabetic) && !is_file_ending(last)
}

fn is_file_ending(ending: &[u8]) -> bool {
    const ENDINGS: &[&[u8]] = &[
        b"txt", b"md", b"py", b"rs", b"json", b"yaml", b"yml", b"js", b"ts", b"html", b"csv", b"log", b"env",
        b"toml", b"go", b"java", b"rb", b"sh", b"pdf", b"zip", b"exe", b"xml", b"cfg", b"ini", b"lock",
        b"png", b"jpg",
    ];
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}
