//! Topic patterns with exactly the semantics of policy spec §5.2.

use crate::limits::MAX_GLOB_CHARS;

/// A compiled pattern, trimmed. A blank pattern matches nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Glob {
    text: String,
    tokens: Vec<Token>,
    shape: Shape,
}

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Star,
    One,
    Char(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// What a pattern looks like to an index.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Blank,
    /// Exactly this topic.
    Literal(String),
    /// This prefix, then a run without `/`.
    Prefix(String),
    /// This prefix, then anything the tokens say.
    General(String),
}

impl Glob {
    /// Compile `pattern`; `None` for an unclosed or empty class, a trailing backslash, or more than 1024 characters.
    pub fn new(pattern: &str) -> Option<Glob> {
        let text = pattern.trim();
        if text.chars().count() > MAX_GLOB_CHARS {
            return None;
        }
        let tokens = tokenize(text)?;
        let shape = shape(&tokens);
        Some(Glob {
            text: text.to_owned(),
            tokens,
            shape,
        })
    }

    /// The trimmed source text.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The text every match begins with; `None` for a blank pattern, which matches nothing.
    pub(crate) fn prefix(&self) -> Option<&str> {
        match &self.shape {
            Shape::Blank => None,
            Shape::Literal(text) | Shape::Prefix(text) | Shape::General(text) => Some(text),
        }
    }

    /// Whether the whole `topic` matches.
    pub fn matches(&self, topic: &str) -> bool {
        match &self.shape {
            Shape::Blank => false,
            Shape::Literal(literal) => topic == literal,
            Shape::Prefix(prefix) => topic
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| !rest.contains('/')),
            Shape::General(prefix) => topic.starts_with(prefix.as_str()) && self.simulate(topic),
        }
    }

    /// All states at once, so time is bounded by topic length × pattern length whatever the pattern.
    fn simulate(&self, topic: &str) -> bool {
        let mut now = vec![false; self.tokens.len() + 1];
        if let Some(first) = now.first_mut() {
            *first = true;
        }
        self.skip_stars(&mut now);
        for c in topic.chars() {
            let mut next = vec![false; now.len()];
            for (at, (token, _)) in self
                .tokens
                .iter()
                .zip(&now)
                .enumerate()
                .filter(|(_, (_, on))| **on)
            {
                let reached = match token {
                    Token::Star => (c != '/').then_some(at),
                    other => other.takes(c).then_some(at + 1),
                };
                if let Some(cell) = reached.and_then(|at| next.get_mut(at)) {
                    *cell = true;
                }
            }
            self.skip_stars(&mut next);
            now = next;
        }
        now.last().copied().unwrap_or(false)
    }

    fn skip_stars(&self, states: &mut [bool]) {
        let mut carry = false;
        for (at, state) in states.iter_mut().enumerate() {
            *state |= carry;
            carry = *state && matches!(self.tokens.get(at), Some(Token::Star));
        }
    }
}

impl Token {
    pub(crate) fn takes(&self, c: char) -> bool {
        match self {
            Token::Star => false,
            Token::One => c != '/',
            Token::Char(expected) => c == *expected,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn shape(tokens: &[Token]) -> Shape {
    if tokens.is_empty() {
        return Shape::Blank;
    }
    let prefix: String = tokens
        .iter()
        .map_while(|token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        })
        .collect();
    let rest = tokens.get(prefix.chars().count()..).unwrap_or_default();
    match rest {
        [] => Shape::Literal(prefix),
        [Token::Star] => Shape::Prefix(prefix),
        _ => Shape::General(prefix),
    }
}

fn tokenize(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let token = match c {
            '*' => Token::Star,
            '?' => Token::One,
            '\\' => Token::Char(chars.next()?),
            '[' => class(&mut chars)?,
            other => Token::Char(other),
        };
        // Two stars in a row say the same as one.
        if token != Token::Star || tokens.last() != Some(&Token::Star) {
            tokens.push(token);
        }
    }
    Some(tokens)
}

fn class(chars: &mut std::str::Chars<'_>) -> Option<Token> {
    let mut ranges = Vec::new();
    let negated = chars.as_str().starts_with('^');
    if negated {
        chars.next();
    }
    while !chars.as_str().starts_with(']') {
        let low = member(chars)?;
        let mut high = low;
        if chars.as_str().starts_with('-') {
            chars.next();
            high = member(chars)?;
        }
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
    chars.next();
    (!ranges.is_empty()).then_some(Token::Class { negated, ranges })
}

/// One member of a class; `-` and `]` must be escaped.
fn member(chars: &mut std::str::Chars<'_>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        '-' | ']' => None,
        c => Some(c),
    }
}
