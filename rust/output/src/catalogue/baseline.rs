//! The baseline of secrets and personal data (output policy spec §5.2), searched pattern by pattern.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use crate::definition::{Definition, Group, Severity};
use crate::hit::Hit;
use crate::mask::{DetectorId, Mask};
use crate::validate as check;

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::secret("aws_access_key_id", "AWS access key id"),
    Definition::secret("aws_secret_access_key", "AWS secret access key"),
    Definition::secret("github_token", "GitHub token"),
    Definition::secret("github_fine_grained_pat", "GitHub fine-grained token"),
    Definition::secret("gitlab_token", "GitLab token"),
    Definition::secret("slack_token", "Slack token"),
    Definition::secret("anthropic_api_key", "Anthropic API key"),
    Definition::secret("openai_api_key", "OpenAI API key"),
    Definition::secret("gcp_api_key", "Google API key"),
    Definition::secret("stripe_secret_key", "Stripe secret key"),
    Definition::secret("npm_token", "npm token"),
    Definition::secret("generic_sk_key", "secret key with the prefix sk-"),
    Definition::secret("private_key", "private key"),
    Definition::secret("jwt", "JSON web token"),
    Definition::secret("database_url_password", "database URL with a password"),
    Definition::secret("generic_secret", "secret assigned in the text"),
    Definition::secret("long_secret_line", "long encoded value named as a secret"),
    Definition::pii("email_address", "e-mail address"),
    Definition::pii("us_ssn", "US social security number"),
    Definition::pii("phone_number", "phone number"),
    Definition::pii("credit_card", "payment card number").severity(Severity::Critical),
    Definition::pii("il_national_id", "Israeli national id"),
    Definition::pii("il_bank_account", "Israeli bank account"),
];

struct Detector {
    definition: &'static Old,
    patterns: Vec<Regex>,
}

static DETECTORS: LazyLock<Vec<Detector>> = LazyLock::new(|| {
    let build = |definition: &'static Old| Detector {
        definition,
        patterns: definition
            .patterns
            .iter()
            .filter_map(|p| Regex::new(p).ok())
            .collect(),
    };
    OLD.iter().map(build).collect()
});

/// Appends what the baseline detectors of the mask find.
pub(crate) fn scan_baseline(content: &[u8], mask: &Mask, hits: &mut Vec<Hit>) {
    let text = std::str::from_utf8(content).map_or_else(
        |_| {
            let plain = content
                .iter()
                .map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' });
            Cow::Owned(plain.collect::<String>())
        },
        Cow::Borrowed,
    );
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    for (detector, id) in DETECTORS.iter().zip((0u16..).map(DetectorId)) {
        if mask.contains(id) && digits >= detector.definition.digits {
            detector.search(&text, id, hits);
        }
    }
}

impl Detector {
    fn search(&self, text: &str, id: DetectorId, hits: &mut Vec<Hit>) {
        let definition = self.definition;
        let literals = definition.literals;
        if !literals.is_empty() && !literals.iter().any(|literal| text.contains(literal)) {
            return;
        }
        for captures in self
            .patterns
            .iter()
            .flat_map(|pattern| pattern.captures_iter(text))
        {
            let Some(whole) = captures.get(0) else { continue };
            let value = captures.name("value").unwrap_or(whole);
            let context = Context {
                text,
                start: whole.start(),
                end: whole.end(),
            };
            if (definition.is_real)(value.as_str(), &context) {
                hits.push(Hit {
                    detector: id,
                    severity: definition.severity,
                    confidence: definition.confidence as f32,
                    offset: value.start(),
                    length: value.len(),
                });
            }
        }
    }
}

/// One detector as data.
#[expect(dead_code, reason = "texts of the catalogue stand in its definitions")]
struct Old {
    id: &'static str,
    group: Group,
    severity: Severity,
    confidence: f64,
    detail: &'static str,
    /// Any one pattern suffices. A group named `value` is the sensitive part.
    patterns: &'static [&'static str],
    /// One of these texts must occur at all; empty = not known.
    literals: &'static [&'static str],
    /// Fewer digits than this in the whole text rule the detector out.
    digits: usize,
    is_real: fn(&str, &Context<'_>) -> bool,
}

const fn secret(
    id: &'static str,
    detail: &'static str,
    patterns: &'static [&'static str],
    literals: &'static [&'static str],
    is_real: fn(&str, &Context<'_>) -> bool,
) -> Old {
    Old {
        id,
        group: Group::SecretLeak,
        severity: Severity::Critical,
        confidence: 0.95,
        detail,
        patterns,
        literals,
        digits: 0,
        is_real,
    }
}

const fn pii(
    id: &'static str,
    detail: &'static str,
    confidence: f64,
    patterns: &'static [&'static str],
    digits: usize,
    is_real: fn(&str, &Context<'_>) -> bool,
) -> Old {
    Old {
        id,
        group: Group::Pii,
        severity: Severity::High,
        confidence,
        detail,
        patterns,
        literals: &[],
        digits,
        is_real,
    }
}

static OLD: &[Old] = &[
    secret(
        "aws_access_key_id",
        "AWS access key id",
        &["(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"],
        &["AKIA", "ASIA", "ABIA", "ACCA"],
        check::delimited,
    ),
    secret(
        "aws_secret_access_key",
        "AWS secret access key",
        &[
            r#"(?i)aws[\w .-]{0,24}?(?:secret|access)[\w .-]{0,24}["']?\s*[=:]\s*["']?(?P<value>[A-Za-z0-9/+=]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        ],
        &[],
        check::aws_secret,
    ),
    secret(
        "github_token",
        "GitHub token",
        &["gh[pousr]_[0-9A-Za-z]{36,255}"],
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        check::delimited,
    ),
    secret(
        "github_fine_grained_pat",
        "GitHub fine-grained token",
        &["github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}"],
        &["github_pat_"],
        check::delimited,
    ),
    secret(
        "gitlab_token",
        "GitLab token",
        &["(?:glpat|gldt|glrt|glptt|glft|glsoat|glcbt|glimt|glagent)-[A-Za-z0-9_-]{20,300}"],
        &["gl"],
        check::delimited,
    ),
    secret(
        "slack_token",
        "Slack token",
        &["xox[abeoprs]-[A-Za-z0-9-]{10,80}"],
        &["xox"],
        check::has_digit,
    ),
    secret(
        "anthropic_api_key",
        "Anthropic API key",
        &[
            "sk-ant-(?:api03|admin01)-[A-Za-z0-9_-]{93}AA",
            "sk-ant-oat01-[A-Za-z0-9_-]{80,}",
        ],
        &["sk-ant-"],
        check::delimited,
    ),
    secret(
        "openai_api_key",
        "OpenAI API key",
        &["sk-(?:(?:proj|svcacct|admin)-)?[A-Za-z0-9_-]{20,80}T3BlbkFJ[A-Za-z0-9_-]{20,80}"],
        &["T3BlbkFJ"],
        check::delimited,
    ),
    secret(
        "gcp_api_key",
        "Google API key",
        &["AIza[A-Za-z0-9_-]{35}"],
        &["AIza"],
        check::delimited,
    ),
    secret(
        "stripe_secret_key",
        "Stripe secret key",
        &["(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{16,}"],
        &["_live_", "_test_"],
        check::delimited,
    ),
    secret(
        "npm_token",
        "npm token",
        &["npm_[0-9A-Za-z]{36}"],
        &["npm_"],
        check::delimited,
    ),
    secret(
        "generic_sk_key",
        "secret key with the prefix sk-",
        &["sk-[0-9A-Za-z]{20,}"],
        &["sk-"],
        check::has_digit,
    ),
    secret(
        "private_key",
        "private key",
        &[
            r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----",
            r"PuTTY-User-Key-File-\d",
        ],
        &["PRIVATE KEY", "PuTTY-User-Key-File"],
        check::always,
    ),
    secret(
        "jwt",
        "JSON web token",
        &[
            r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{8,}",
            r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        ],
        &["eyJ"],
        check::delimited,
    ),
    secret(
        "database_url_password",
        "database URL with a password",
        &[
            r"(?i)(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|sqlserver|mssql|clickhouse|cockroachdb|oracle)://[^\s:/@]{0,128}:(?P<value>[^\s/@]{4,256})@[^\s/]",
        ],
        &["://"],
        check::secret_value,
    ),
    secret(
        "generic_secret",
        "secret assigned in the text",
        &[
            r#"(?i)(?:api[_-]?key|token|secret|password|passwd|credential)["']?\s*(?::=|=>|=|:)\s*(?:"(?P<value>[^"\n]{8,512})"|'[^'\n]{8,512}')"#,
        ],
        &[],
        check::secret_value,
    ),
    secret(
        "long_secret_line",
        "long encoded value named as a secret",
        &[
            r"(?i)(?:secret|token|password|private)[^\n=:]{0,40}[=:][^\n]{0,40}?(?P<value>[A-Za-z0-9+/]{64,}={0,2})",
        ],
        &[],
        check::near_secret_word,
    ),
    Old {
        literals: &["@"],
        ..pii(
            "email_address",
            "e-mail address",
            0.9,
            &[r"[\p{L}\p{N}+._%'-]{1,64}@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,62})\.)+\p{L}{2,24}"],
            0,
            check::email,
        )
    },
    pii(
        "us_ssn",
        "US social security number",
        0.9,
        &[r"\d{3}-\d{2}-\d{4}", r"\d{3} \d{2} \d{4}"],
        9,
        check::us_ssn,
    ),
    pii(
        "phone_number",
        "phone number",
        0.8,
        &[
            r"(?:\+?1[ .-]?)?\([2-9]\d{2}\) ?[2-9]\d{2}[ .-]?\d{4}",
            r"(?:\+?1[ .-])?[2-9]\d{2}[ .-][2-9]\d{2}[ .-]\d{4}",
            r"\+1[2-9]\d{2}[2-9]\d{6}",
            r"05\d-?\d{3}-?\d{4}",
            r"\+972-?5\d-?\d{3}-?\d{4}",
        ],
        10,
        check::phone,
    ),
    Old {
        severity: Severity::Critical,
        ..pii(
            "credit_card",
            "payment card number",
            0.95,
            &[r"\d(?:[ -]?\d){12,18}"],
            13,
            check::payment_card,
        )
    },
    pii(
        "il_national_id",
        "Israeli national id",
        0.8,
        &[r"\d{9}"],
        9,
        check::il_national_id,
    ),
    pii(
        "il_bank_account",
        "Israeli bank account",
        0.7,
        &[r"\d{2}-\d{3}-\d{5,6}"],
        10,
        check::il_bank_account,
    ),
];

/// Where a candidate stands.
pub(crate) struct Context<'a> {
    text: &'a str,
    start: usize,
    end: usize,
}

impl Context<'_> {
    /// Character before the candidate.
    pub(crate) fn before(&self) -> Option<char> {
        self.text.get(..self.start)?.chars().next_back()
    }

    /// Character after the candidate.
    pub(crate) fn after(&self) -> Option<char> {
        self.text.get(self.end..)?.chars().next()
    }

    /// Whether one of the lower-case words stands within 64 bytes before or 32 after (output policy spec §16.6).
    pub(crate) fn has_word(&self, words: &[&str]) -> bool {
        let floor = |mut at: usize| {
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let from = floor(self.start.saturating_sub(64));
        let to = floor(self.text.len().min(self.end + 32));
        let around = self.text.get(from..to).unwrap_or("").to_lowercase();
        words.iter().any(|word| around.contains(word))
    }
}
