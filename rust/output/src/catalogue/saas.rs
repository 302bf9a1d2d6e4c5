//! Secrets of other services.

use crate::check::shape;
use crate::definition::{Definition, Form, Severity::High};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::secret("notion_token", "Notion token")
        .about("Integration token.", "Notion documentation, authorization")
        .forms(&[
            Form::prefix(&["ntn_"], "ntn_[0-9]{11}[0-9A-Za-z]{35}"),
            Form::prefix(&["secret_"], "secret_[0-9A-Za-z]{43}").check(shape::has_digit),
        ])
        .examples(
            &["ntn_<d:11><b62:35>", "secret_<b62:43>"],
            &["ntn_<d:11>", "secret_name"],
        ),
    Definition::secret("linear_api_key", "Linear API key")
        .about("Acts for a user.", "Linear documentation, API keys")
        .forms(&[Form::prefix(&["lin_api_"], "lin_api_[0-9A-Za-z]{40}")])
        .examples(&["lin_api_<b62:40>"], &["lin_api_<b62:10>"]),
    Definition::secret("figma_token", "Figma token")
        .about("Personal access token.", "Figma documentation, authentication")
        .forms(&[Form::prefix(&["figd_"], "figd_[A-Za-z0-9_-]{38,64}")])
        .examples(&["figd_<w:40>"], &["figd_<w:10>"]),
    Definition::secret("airtable_token", "Airtable token")
        .about(
            "Personal access token.",
            "Airtable documentation, personal access tokens",
        )
        .forms(&[Form::prefix(&["pat"], r"pat[0-9A-Za-z]{14}\.[0-9a-f]{64}")])
        .examples(
            &["pat<b62:14>.<hex:64>"],
            &["pat<b62:14>", "pattern_to_match_against.<hex:20>"],
        ),
    Definition::secret("postman_api_key", "Postman API key")
        .about("Acts for a user.", "Postman documentation, API keys")
        .forms(&[Form::prefix(&["PMAK-"], "PMAK-[0-9a-f]{24}-[0-9a-f]{34}")])
        .examples(&["PMAK-<hex:24>-<hex:34>"], &["PMAK-<hex:24>"]),
    Definition::secret("typeform_token", "Typeform token")
        .about("Personal access token.", "Typeform documentation, access tokens")
        .forms(&[Form::prefix(&["tfp_"], "tfp_[A-Za-z0-9_.=-]{59}").open()])
        .examples(&["tfp_<b62:44>_<b62:14>"], &["tfp_<b62:20>"]),
    Definition::secret("dropbox_token", "Dropbox token")
        .about("Short-lived access token.", "Dropbox documentation, OAuth guide")
        .forms(&[Form::prefix(
            &["sl."],
            r"sl\.(?:u\.)?[A-Za-z0-9_-]{130,2000}={0,2}",
        )])
        .examples(&["sl.<w:136>", "sl.u.<w:200>"], &["sl.<w:60>", "ssl.<w:136>"]),
    Definition::secret("onepassword_token", "1Password token")
        .about(
            "Service account token, or the secret key of an account.",
            "1Password documentation",
        )
        .forms(&[
            Form::prefix(&["ops_eyJ"], "ops_eyJ[A-Za-z0-9+/_-]{250,4000}={0,3}"),
            Form::prefix(
                &["A3-"],
                "A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}",
            )
            .check(shape::has_digit),
        ])
        .examples(
            &[
                "ops_eyJ<b62:280>",
                "A3-<A9:6>-<A9:6>-<A9:5>-<A9:5>-<A9:5>-<A9:5>",
                "A3-<A9:6>-<A9:11>-<A9:5>-<A9:5>-<A9:5>",
            ],
            &["ops_eyJ<b62:60>", "A3-<A9:6>"],
        ),
    Definition::secret("age_secret_key", "age secret key")
        .confidence(0.99)
        .about("Decrypts age files; bech32 with a checksum.", "age specification")
        .forms(&[Form::prefix(
            &["AGE-SECRET-KEY-1"],
            "AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}",
        )
        .check(shape::bech32)])
        .examples(
            &["AGE-SECRET-KEY-1<age>"],
            &[
                "AGE-SECRET-KEY-1<A9:20>",
                "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
            ],
        ),
    Definition::secret("openshift_token", "OpenShift token")
        .about(
            "OAuth access token of a cluster.",
            "OpenShift documentation, OAuth tokens",
        )
        .forms(&[Form::run(43, 43, "[A-Za-z0-9_-]{43}").check(shape::openshift)])
        .examples(&["sha256~<w:43>"], &["sha256~<w:20>", "sha256:<w:43>"]),
    Definition::secret("facebook_access_token", "Facebook access token")
        .severity(High)
        .about("User or page token.", "Meta documentation, access tokens")
        .forms(&[Form::prefix(&["EAA"], "EAA[0-9A-Za-z]{100,500}").check(shape::is_mixed)])
        .examples(&["EAA<b62:180>"], &["EAA<b62:30>"]),
];
