//! Secrets of monitoring, identity and feature services.

use crate::check::shape;
use crate::definition::{Definition, Form};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::secret("datadog_key", "Datadog key")
        .about("API key (32 characters) or application key (40).", "Datadog documentation, API and application keys")
        .forms(&[
            Form::run(32, 32, "[0-9a-f]{32}").check_last(shape::random_hex).in_context(),
            Form::run(40, 40, "[0-9a-f]{40}").check_last(shape::random_hex).in_context(),
        ])
        .context(&["datadog", "dd_api_key", "dd_app_key", "dd-api-key", "dd-application-key", "ddog"])
        .examples(&["DD_API_KEY=<hex:32>", "datadog app key: <hex:40>"], &["checksum <hex:32>", "commit <hex:40>"]),
    Definition::secret("new_relic_key", "New Relic key")
        .about("User, ingest, browser or license key.", "New Relic documentation, API keys")
        .forms(&[
            Form::prefix(&["NRAK-", "NRII-", "NRJS-", "NRIQ-", "NRRA-", "NRSP-", "NRAA-"], "NR(?:AK-[A-Za-z0-9]{27}|II-[A-Za-z0-9_-]{32}|JS-[A-Za-z0-9]{19}|IQ-[A-Za-z0-9_-]{32}|RA-[A-Za-z0-9]{42}|SP-[A-Za-z0-9]{32,64}|AA-[A-Za-z0-9]{27})"),
            Form::run(40, 40, "[0-9a-fA-F]{36}NRAL"),
            Form::run(40, 40, "(?:eu01xx|us01xx|gov01x)[0-9a-fA-F]{30}NRAL"),
        ])
        .examples(&["NRAK-<A9:27>", "NRII-<w:32>", "NRJS-<hex:19>", "<hex:36>NRAL", "eu01xx<hex:30>NRAL"], &["NRAK-<A9:8>", "<hex:36>NRAX"]),
    Definition::secret("grafana_token", "Grafana token")
        .about("Service account or cloud access policy token.", "Grafana documentation, service accounts")
        .forms(&[
            Form::prefix(&["glsa_"], "glsa_[0-9A-Za-z]{32}_[0-9a-fA-F]{8}"),
            Form::prefix(&["glc_"], "glc_[A-Za-z0-9+/]{32,400}={0,2}"),
        ])
        .examples(&["glsa_<b62:32>_<hex:8>", "glc_<b64:120>"], &["glsa_<b62:32>", "glc_<b62:8>"]),
    Definition::secret("sentry_token", "Sentry token")
        .about("User or organization token.", "Sentry documentation, auth tokens")
        .forms(&[
            Form::prefix(&["sntryu_"], "sntryu_[0-9a-f]{64}"),
            Form::prefix(&["sntrys_eyJ"], "sntrys_eyJ[A-Za-z0-9+/_-]{20,800}={0,2}_[A-Za-z0-9+/_-]{43}"),
        ])
        .examples(&["sntryu_<hex:64>", "sntrys_eyJ<b62:120>=_<b62:43>"], &["sntryu_<hex:20>"]),
    Definition::secret("dynatrace_token", "Dynatrace token")
        .about("Access token with its public and secret part.", "Dynatrace documentation, access tokens")
        .forms(&[Form::prefix(&["dt0c01."], r"dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}")])
        .examples(&["dt0c01.<A9:24>.<A9:64>"], &["dt0c01.<A9:24>"]),
    Definition::secret("okta_api_token", "Okta API token")
        .about("Acts for the administrator who made it.", "Okta documentation, API tokens")
        .forms(&[Form::run(42, 42, "00[A-Za-z0-9_-]{40}").check_last(shape::random).in_context()])
        .context(&["okta", "ssws", "okta_token", "okta_api_token"])
        .examples(&["OKTA_TOKEN=00<w:40>", "Authorization: SSWS 00<w:40>"], &["00<w:40>"]),
    Definition::secret("launchdarkly_key", "LaunchDarkly key")
        .about("SDK, API or mobile key.", "LaunchDarkly documentation, keys")
        .forms(&[Form::prefix(
            &["sdk-", "api-", "mob-"],
            "(?:sdk|api|mob)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        ).in_context()])
        .context(&["launchdarkly", "launch_darkly", "ld_sdk", "ld_api", "ldclient", "ld_key"])
        .examples(&["LAUNCHDARKLY_SDK_KEY=sdk-<uuid>", "launchdarkly: api-<uuid>"], &["sdk-<uuid>"]),
];
