//! Topic and tenant grammar (protocol spec §7, security spec §7).

/// `job.` and non-empty segments of letters, digits, `_` and `-`; the whole begins and ends with a letter or digit.
pub fn is_topic(topic: &str) -> bool {
    let Some(rest) = topic.strip_prefix("job.") else {
        return false;
    };
    let bytes = rest.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.into_iter()
        .all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        && !rest.contains("..")
}

/// 1 to 64 letters, digits, `.`, `_`, `-`, beginning with a letter or digit.
pub fn is_tenant(tenant: &str) -> bool {
    tenant.len() <= 64
        && tenant
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && tenant
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_follow_the_grammar() {
        for topic in ["job.default", "job.a.b-c.d_e", "job.A1", "job.a-.b"] {
            assert!(is_topic(topic), "{topic}");
        }
        for topic in [
            "",
            "job",
            "job.",
            "job..a",
            "job.a.",
            "job.*",
            "job.a.>",
            "job.a b",
            "sys.job.submit",
            "job.-a",
            "job.a-",
            "job.ä",
            "Job.a",
            "job.a\n",
        ] {
            assert!(!is_topic(topic), "{topic}");
        }
        assert!(
            is_tenant("acme")
                && is_tenant("a.b-c_d")
                && !is_tenant("-a")
                && !is_tenant("")
                && !is_tenant("a{b}")
        );
    }
}
