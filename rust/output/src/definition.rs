//! A detector as data (output policy spec §16.2–§16.5): what it reports, how it is spotted, what proves it.

use std::ops::Range;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The severity of this name, lower-case.
    pub fn named(name: &str) -> Option<Severity> {
        let all = [
            Severity::Info,
            Severity::Low,
            Severity::Medium,
            Severity::High,
            Severity::Critical,
        ];
        all.into_iter().find(|severity| severity.as_str() == name)
    }
}

/// What a family of detectors finds (output policy spec §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    SecretLeak,
    Pii,
    CodeInjection,
    PromptInjection,
    /// Operator patterns, rule patterns and keywords.
    Custom,
}

impl Group {
    /// The `type` of its findings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Group::SecretLeak => "secret_leak",
            Group::Pii => "pii",
            Group::CodeInjection => "code_injection",
            Group::PromptInjection => "prompt_injection",
            Group::Custom => "custom",
        }
    }

    /// The `scanner` of its findings (§5.3).
    pub const fn scanner(self) -> &'static str {
        match self {
            Group::SecretLeak => "secret_leak",
            Group::Pii => "pii",
            Group::CodeInjection => "injection",
            Group::PromptInjection => "prompt_injection",
            Group::Custom => "custom",
        }
    }
}

/// Which of two findings of one group over one span stays (§16.6, overlap): the higher rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// A value that is only rare, or only numbers.
    Generic,
    /// Header or assignment.
    Assigned,
    /// URL, PEM, JWT, manifest.
    Structured,
    /// A format of one issuer.
    Vendor,
}

/// What makes the engine look at a place.
#[derive(Clone, Copy, Debug)]
pub enum Trigger {
    /// The token starts with one of these (3 bytes or more each), and the prefix is followed by a long run.
    Prefix(&'static [&'static str]),
    /// A run of `A-Za-z0-9_+/-` of so many bytes.
    Run(usize, usize),
    /// Groups of digits: `3_2_4` is three, two and four with one kind of blank or dash between, any other separator is meant
    /// as it is written.
    Groups(&'static [&'static str]),
    /// Searched near one of these lower-case words (64 bytes after, 32 before).
    Near(&'static [&'static str]),
    /// Found by a parser of its own: PEM, URL, assignment, e-mail, manifest, prose.
    Parser,
}

/// A place that may be a finding.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub content: &'a [u8],
    /// What was matched.
    pub whole: Range<usize>,
    /// Its sensitive part.
    pub value: Range<usize>,
}

impl<'a> Candidate<'a> {
    pub fn text(&self) -> &'a [u8] {
        self.content.get(self.value.clone()).unwrap_or_default()
    }

    pub fn before(&self) -> Option<u8> {
        let at = self.whole.start.checked_sub(1)?;
        self.content.get(at).copied()
    }

    pub fn after(&self) -> Option<u8> {
        self.content.get(self.whole.end).copied()
    }
}

/// What a check says of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Reject,
    /// With the confidence of the form.
    Accept,
    /// With this confidence.
    Score(f32),
    /// With the confidence of the form, at another place: a part of the candidate, or more than it.
    At(usize, usize),
}

impl Verdict {
    pub fn accept_if(is_real: bool) -> Verdict {
        if is_real {
            Verdict::Accept
        } else {
            Verdict::Reject
        }
    }
}

pub type Check = fn(&Candidate<'_>) -> Verdict;

/// One way a detector's value looks.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub trigger: Trigger,
    /// Matched where the trigger stands; a group named `value` is the sensitive part. Empty: the trigger is the match.
    pub pattern: &'static str,
    pub check: Check,
    /// The check costs more than the look for context: it is asked last. It only accepts or rejects.
    pub is_checked_last: bool,
    /// `None`: that of the detector.
    pub confidence: Option<f32>,
    /// `None`: that of the detector.
    pub severity: Option<Severity>,
    /// Reported only with a context word nearby (§16.6, "C").
    pub needs_context: bool,
    /// Whether a letter, digit, `_` or `-` may follow.
    pub is_open: bool,
}

/// Confidence of a form that needs context, before the context adds its 0.35.
pub const CONFIDENCE_WITHOUT_CONTEXT: f32 = 0.3;

const fn accept(_: &Candidate<'_>) -> Verdict {
    Verdict::Accept
}

impl Form {
    const fn new(trigger: Trigger, pattern: &'static str) -> Form {
        Form {
            trigger,
            pattern,
            check: accept,
            is_checked_last: false,
            confidence: None,
            severity: None,
            needs_context: false,
            is_open: false,
        }
    }

    pub const fn prefix(prefixes: &'static [&'static str], pattern: &'static str) -> Form {
        Form::new(Trigger::Prefix(prefixes), pattern)
    }

    pub const fn run(min: usize, max: usize, pattern: &'static str) -> Form {
        Form::new(Trigger::Run(min, max), pattern)
    }

    pub const fn groups(shapes: &'static [&'static str]) -> Form {
        Form::new(Trigger::Groups(shapes), "")
    }

    pub const fn near(words: &'static [&'static str], pattern: &'static str) -> Form {
        Form::new(Trigger::Near(words), pattern)
    }

    pub const fn check(mut self, check: Check) -> Form {
        self.check = check;
        self
    }

    /// A costly check that only accepts or rejects.
    pub const fn check_last(mut self, check: Check) -> Form {
        self.check = check;
        self.is_checked_last = true;
        self
    }

    pub const fn confidence(mut self, confidence: f32) -> Form {
        self.confidence = Some(confidence);
        self
    }

    pub const fn severity(mut self, severity: Severity) -> Form {
        self.severity = Some(severity);
        self
    }

    pub const fn in_context(mut self) -> Form {
        self.needs_context = true;
        self.confidence = Some(CONFIDENCE_WITHOUT_CONTEXT);
        self
    }

    pub const fn open(mut self) -> Form {
        self.is_open = true;
        self
    }
}

/// One detector. Ids are API: never rename.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub id: &'static str,
    pub group: Group,
    pub severity: Severity,
    /// 0 to 1, before context.
    pub confidence: f32,
    pub rank: Rank,
    /// Human label, the `detail` of its findings.
    pub detail: &'static str,
    /// What it is and why it matters, one sentence.
    pub description: &'static str,
    /// Where the format is documented.
    pub source: &'static str,
    pub forms: &'static [Form],
    /// Words that make a finding likelier when they stand nearby (§16.6).
    pub context: &'static [&'static str],
    /// Part of its group's scanner; otherwise it runs only when named.
    pub is_default: bool,
    /// Suppresses every other finding inside its span, of any group.
    pub is_absorbing: bool,
    /// Templates of text it reports and of text it does not; see `sample::expand`.
    pub hits: &'static [&'static str],
    pub misses: &'static [&'static str],
}

impl Definition {
    pub const fn new(group: Group, id: &'static str, detail: &'static str) -> Definition {
        Definition {
            id,
            group,
            severity: match group {
                Group::SecretLeak => Severity::Critical,
                _ => Severity::High,
            },
            confidence: 0.9,
            rank: Rank::Vendor,
            detail,
            description: "",
            source: "",
            forms: &[],
            context: &[],
            is_default: true,
            is_absorbing: false,
            hits: &[],
            misses: &[],
        }
    }

    pub const fn secret(id: &'static str, detail: &'static str) -> Definition {
        Definition::new(Group::SecretLeak, id, detail)
    }

    pub const fn pii(id: &'static str, detail: &'static str) -> Definition {
        Definition::new(Group::Pii, id, detail)
    }

    pub const fn code(id: &'static str, detail: &'static str) -> Definition {
        Definition::new(Group::CodeInjection, id, detail)
    }

    pub const fn prompt(id: &'static str, detail: &'static str) -> Definition {
        Definition::new(Group::PromptInjection, id, detail)
    }

    pub const fn severity(mut self, severity: Severity) -> Definition {
        self.severity = severity;
        self
    }

    pub const fn confidence(mut self, confidence: f32) -> Definition {
        self.confidence = confidence;
        self
    }

    pub const fn rank(mut self, rank: Rank) -> Definition {
        self.rank = rank;
        self
    }

    /// Description and source of the format.
    pub const fn about(mut self, description: &'static str, source: &'static str) -> Definition {
        self.description = description;
        self.source = source;
        self
    }

    pub const fn forms(mut self, forms: &'static [Form]) -> Definition {
        self.forms = forms;
        self
    }

    pub const fn context(mut self, words: &'static [&'static str]) -> Definition {
        self.context = words;
        self
    }

    pub const fn only_when_named(mut self) -> Definition {
        self.is_default = false;
        self
    }

    pub const fn absorbing(mut self) -> Definition {
        self.is_absorbing = true;
        self
    }

    /// Templates of text that is reported, and of text that is not.
    pub const fn examples(
        mut self,
        hits: &'static [&'static str],
        misses: &'static [&'static str],
    ) -> Definition {
        self.hits = hits;
        self.misses = misses;
        self
    }
}
