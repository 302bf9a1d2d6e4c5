//! The baseline detectors (output policy spec §5.2). Ids are API: never rename.

use crate::validate as check;
use crate::{Context, Group, Severity};

/// One detector as data.
pub(crate) struct Definition {
    pub id: &'static str,
    pub group: Group,
    pub severity: Severity,
    pub confidence: f64,
    pub detail: &'static str,
    /// Any one pattern suffices. A group named `value` is the sensitive part.
    pub patterns: &'static [&'static str],
    /// One of these texts must occur at all; empty = not known.
    pub literals: &'static [&'static str],
    /// Fewer digits than this in the whole text rule the detector out.
    pub digits: usize,
    pub is_real: fn(&str, &Context<'_>) -> bool,
}

const fn secret(
    id: &'static str,
    detail: &'static str,
    patterns: &'static [&'static str],
    literals: &'static [&'static str],
    is_real: fn(&str, &Context<'_>) -> bool,
) -> Definition {
    Definition {
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
) -> Definition {
    Definition {
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

const fn injection(
    id: &'static str,
    group: Group,
    detail: &'static str,
    patterns: &'static [&'static str],
) -> Definition {
    Definition {
        id,
        group,
        severity: Severity::High,
        confidence: 0.85,
        detail,
        patterns,
        literals: &[],
        digits: 0,
        is_real: check::always,
    }
}

pub(crate) static CATALOGUE: &[Definition] = &[
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
    Definition {
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
    Definition {
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
    injection(
        "sql_injection",
        Group::CodeInjection,
        "SQL injection",
        &[
            r"(?i)\bunion\s+(?:all\s+)?select\b",
            r"(?i)\b(?:drop|truncate)\s+table\s+\w",
            r#"(?i)\bor\s+(?:1\s*=\s*1\b|'1'\s*=\s*'1'?|"1"\s*=\s*"1"?|true\s*(?:--|#))"#,
            r"(?i)['\x22;]\s*;?\s*(?:drop|delete|update|exec)\s+\w+[^\n]{0,80}(?:--|;)",
            r"(?i)\bxp_cmdshell\b|\bwaitfor\s+delay\b|\bpg_sleep\s*\(|['\x22)]\s*(?:and|or)\s+sleep\s*\(",
        ],
    ),
    injection(
        "shell_injection",
        Group::CodeInjection,
        "shell injection",
        &[
            r"(?i)\b(?:curl|wget|fetch|iwr)\b[^\n|]{0,300}\|\s*(?:sudo\s+)?(?:sh|bash|zsh|python3?|perl|node)\b",
            r#"(?i)\b(?:ba|z)?sh\s+-c\s+["']?\$\(\s*(?:curl|wget)"#,
            r"(?i)/dev/tcp/|\bnc\s+(?:-\w+\s+)*-e\b|\bmkfifo\s+/",
            r"(?i)\brm\s+(?:-[a-z-]+\s+)*(?:-[a-z]*r[a-z]*f|-[a-z]*f[a-z]*r|-r\s+-f|-f\s+-r|--recursive\s+--force|--force\s+--recursive)\s+(?:-[a-z-]+\s+)*(?:/(?:\s|\*|$|[;&|\x22'])|/(?:etc|usr|var|home|bin|boot|root)\b|~|\$HOME|\*)",
            r"(?i)--no-preserve-root|:\(\)\s*\{\s*:\|:&\s*\};:|\bchmod\s+-R\s+777\s+/|\bdd\s+[^\n]{0,80}of=/dev/[sh]d|base64\s+(?:-d|--decode)\s*\|\s*(?:sh|bash)",
        ],
    ),
    injection(
        "instruction_override",
        Group::PromptInjection,
        "instruction override",
        &[
            r"(?i)\bsystem\s+override\s*:",
            r"(?i)\bignore\s+(?:(?:all|any|the|your|these|of)\s+){0,3}(?:safety|security|policy)?\s*(?:rules|checks|controls|instructions)\b",
            r"(?i)\b(?:ignore|disregard|forget|override)\s+(?:(?:all|any|the|your|my|of)\s+){0,3}(?:previous|prior|above|earlier|preceding|system)\s+(?:\w+\s+){0,2}(?:instructions?|rules|prompts?|guidelines|polic(?:y|ies)|checks|restrictions|messages?)\b",
            r"(?i)\bbypass\s+(?:(?:all|any|the|your)\s+){0,3}(?:\w+\s+)?(?:restrictions?|safety|governance)\b",
            r"(?i)\b(?:disregard|forget)\s+(?:all\s+)?(?:(?:of\s+)?(?:your|the)\s+)?(?:rules|instructions|guidelines|restrictions)\b",
        ],
    ),
    injection(
        "role_hijack",
        Group::PromptInjection,
        "role hijack",
        &[
            r"(?i)\byou\s+are\s+now\s+(?:an?\s+|in\s+)?(?:\w+\s+){0,2}(?:unrestricted|unfiltered|jailbroken|dan\b|developer\s+mode)",
            r"(?i)\bact\s+as\s+(?:if|though)\s+(?:you\s+have\s+)?(?:no|without)\s+(?:\w+\s+)?(?:rules|restrictions|limits)\b",
            r"(?i)\b(?:jailbreak|jailbroken)\b",
        ],
    ),
    injection(
        "system_prompt_exfiltration",
        Group::PromptInjection,
        "system prompt exfiltration",
        &[
            r"(?i)\b(?:reveal|print|repeat|show|output|translate|encode)\s+(?:me\s+)?(?:(?:your|the|all|its)\s+){0,2}(?:hidden\s+|full\s+|initial\s+)?(?:system\s+prompt|initial\s+instructions|hidden\s+rules)\b",
        ],
    ),
    injection(
        "fake_role_delimiter",
        Group::PromptInjection,
        "forged chat delimiter",
        &[
            r"<\|(?:im_start|im_end|system|endoftext)\|>|\[INST\]|<<SYS>>|<start_of_turn>|</(?:tool_result|function_results)>",
        ],
    ),
];
