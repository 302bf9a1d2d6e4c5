//! Secrets of payment and shop services.

use crate::check::shape;
use crate::definition::{Definition, Form, Severity::Medium};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::secret("stripe_secret_key", "Stripe secret key")
        .about("Secret or restricted key, live or test. Publishable keys (`pk_`) are public.", "Stripe documentation, API keys")
        .forms(&[
            Form::prefix(&["sk_live_", "rk_live_"], "[sr]k_live_[0-9A-Za-z]{16,250}"),
            Form::prefix(&["sk_test_", "rk_test_"], "[sr]k_test_[0-9A-Za-z]{16,250}").severity(Medium),
        ])
        .examples(&["sk_live_<b62:24>", "rk_live_<b62:99>", "sk_test_<b62:24>"], &["pk_live_<b62:24>", "sk_live_<b62:6>"]),
    Definition::secret("stripe_webhook_secret", "Stripe webhook secret")
        .about("Signs events.", "Stripe documentation, webhook signatures")
        .forms(&[Form::prefix(&["whsec_"], "whsec_[0-9A-Za-z+/]{32,128}={0,2}")])
        .examples(&["whsec_<b62:32>", "whsec_<b64:44>"], &["whsec_<b62:12>"]),
    Definition::secret("square_access_token", "Square access token")
        .about("Access token or application secret.", "Square documentation, access tokens")
        .forms(&[
            Form::prefix(&["sq0atp-"], "sq0atp-[A-Za-z0-9_-]{22}"),
            Form::prefix(&["sq0csp-"], "sq0csp-[A-Za-z0-9_-]{43}"),
            Form::prefix(&["EAAA"], "EAAA[A-Za-z0-9_-]{60}").check(shape::is_mixed),
        ])
        .examples(&["sq0atp-<w:22>", "sq0csp-<w:43>", "EAAA<w:60>"], &["sq0atp-<w:8>"]),
    Definition::secret("shopify_token", "Shopify token")
        .about("Admin, custom app, private app token or shared secret.", "Shopify documentation, access tokens")
        .forms(&[Form::prefix(&["shpat_", "shpca_", "shppa_", "shpss_"], "shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}")])
        .examples(&["shpat_<hex:32>", "shpss_<hex:32>"], &["shpat_<hex:10>"]),
    Definition::secret("braintree_access_token", "Braintree access token")
        .about("Production access token.", "Braintree documentation")
        .forms(&[Form::run(32, 32, "[0-9a-f]{32}").check(shape::braintree)])
        .examples(&["access_token$production$<a9:16>$<hex:32>"], &["access_token$sandbox$<a9:16>$<hex:32>"]),
    Definition::secret("plaid_access_token", "Plaid access token")
        .about("Opens an account's data.", "Plaid documentation, access tokens")
        .forms(&[Form::prefix(
            &["access-sandbox-", "access-development-", "access-production-"],
            "access-(?:sandbox|development|production)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        )])
        .examples(&["access-production-<uuid>", "access-sandbox-<uuid>"], &["access-production-<hex:8>"]),
];
