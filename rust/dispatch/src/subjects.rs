//! Subjects and topics as workers name them (protocol spec §13).

/// Trimmed topics without blanks and repetitions, in the order given.
pub fn clean_topics(topics: &[String]) -> Vec<String> {
    let mut seen = Vec::new();
    for topic in topics
        .iter()
        .map(|topic| topic.trim())
        .filter(|topic| !topic.is_empty())
    {
        if !seen.iter().any(|known| known == topic) {
            seen.push(topic.to_owned());
        }
    }
    seen
}

/// Printable ASCII without whitespace and wildcards: usable in `worker.<id>.jobs`.
pub fn is_subject_token(id: &str) -> bool {
    !id.is_empty()
        && !id.starts_with('.')
        && !id.ends_with('.')
        && !id.contains("..")
        && id
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'*' && byte != b'>')
}

/// NATS subject matching: `*` is one token, a final `>` the rest.
pub fn subject_matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    let mut wanted = pattern.split('.').peekable();
    while let Some(token) = wanted.next() {
        if token == ">" && wanted.peek().is_none() {
            return tokens.next().is_some();
        }
        match tokens.next() {
            Some(actual) if token == "*" || token == actual => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}
