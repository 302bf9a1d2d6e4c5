//! Secrets of chat and mail services.

use crate::check::shape;
use crate::definition::{Definition, Form, Rank, Severity::High};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::secret("slack_token", "Slack token")
        .about("Bot, user, app, refresh or legacy token.", "Slack documentation, token types")
        .forms(&[
            Form::prefix(&["xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-"], "xox[abeoprs]-[A-Za-z0-9-]{10,250}").check(shape::has_digit),
            Form::prefix(&["xoxe."], r"xoxe\.xox[bp]-[A-Za-z0-9-]{20,250}").check(shape::has_digit),
            Form::prefix(&["xapp-"], "xapp-[0-9]-[A-Za-z0-9-]{10,250}").check(shape::has_digit),
        ])
        .examples(&["xoxb-<D:12>-<D:12>-<b62:24>", "xoxp-<D:11>-<b62:24>", "xapp-1-A<A9:10>-<D:13>-<hex:64>"], &["xoxb-abc", "xoxb-your-bot-token"]),
    Definition::secret("slack_webhook", "Slack webhook")
        .severity(High)
        .rank(Rank::Structured)
        .about("Address that posts to a channel.", "Slack documentation, incoming webhooks")
        .forms(&[Form::prefix(
            &["services/", "workflows/", "triggers/"],
            "(?:services|workflows|triggers)/[A-Za-z0-9+/]{24,80}",
        ).check(shape::slack_webhook)])
        .examples(
            &["https://hooks.slack.com/services/T<A9:8>/B<A9:10>/<b62:24>", "https://hooks.slack.com/workflows/T<A9:9>/A<A9:9>/<D:18>/<b62:24>"],
            &["https://hooks.slack.com/services/", "https://example.com/services/T<A9:8>/B<A9:10>/<b62:24>"],
        ),
    Definition::secret("discord_bot_token", "Discord bot token")
        .about("Acts for a bot; begins with the base64 of its number.", "Discord developer documentation")
        .forms(&[Form::run(24, 28, r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}").check(shape::discord)])
        .examples(&["MTE4NzYxMjM0NTY3ODkwMTIz.<w:6>.<w:38>", "token: OTg3NjU0MzIxMDEyMzQ1Njc4.<w:6>.<w:27>"], &["M<w:23>.<w:6>.<w:5>", "M<a:25>.<w:6>.<w:38>"]),
    Definition::secret("discord_webhook", "Discord webhook")
        .severity(High)
        .rank(Rank::Structured)
        .about("Address that posts to a channel.", "Discord developer documentation, webhooks")
        .forms(&[Form::prefix(&["api/"], "api/(?:v[0-9]{1,2}/)?webhooks/[0-9]{17,20}/[A-Za-z0-9_-]{60,68}").check(shape::discord_webhook)])
        .examples(&["https://discord.com/api/webhooks/<D:18>/<w:68>", "https://discordapp.com/api/v10/webhooks/<D:19>/<w:64>"], &["https://discord.com/api/webhooks/<D:18>"]),
    Definition::secret("telegram_bot_token", "Telegram bot token")
        .about("Acts for a bot.", "Telegram bot API")
        .forms(&[Form::run(35, 35, "AA[A-Za-z0-9_-]{33}").check(shape::telegram)])
        .examples(&["<D:9>:AA<w:33>", "https://api.telegram.org/bot<D:10>:AA<w:33>/getMe"], &["<D:9>:AA<w:20>", "<D:5>:AA<w:33>"]),
    Definition::secret("teams_webhook", "Teams webhook")
        .severity(High)
        .rank(Rank::Structured)
        .about("Address that posts to a channel.", "Microsoft Teams documentation, incoming webhooks")
        .forms(&[Form::prefix(&["webhookb2/", "webhook/"], "webhook(?:b2)?/[0-9a-fA-F-]{36}@[0-9a-fA-F-]{36}/IncomingWebhook/[0-9a-fA-F]{32}/[0-9a-fA-F-]{36}(?:/[A-Za-z0-9_-]{1,64})?").check(shape::teams_webhook)])
        .examples(&["https://acme.webhook.office.com/webhookb2/<uuid>@<uuid>/IncomingWebhook/<hex:32>/<uuid>"], &["https://acme.webhook.office.com/webhookb2/<uuid>"]),
    Definition::secret("twilio_api_key", "Twilio key")
        .about("API key, or the authentication token of an account.", "Twilio documentation, API keys")
        .forms(&[
            Form::run(34, 34, "SK[0-9a-fA-F]{32}").in_context(),
            Form::run(32, 32, "[0-9a-f]{32}").check_last(shape::random_hex).in_context(),
        ])
        .context(&["twilio", "twilio_auth_token", "twilio_api"])
        .examples(&["twilio key SK<hex:32>", "TWILIO_AUTH_TOKEN=<hex:32>"], &["SK<hex:32>", "etag <hex:32>"]),
    Definition::secret("sendgrid_api_key", "SendGrid API key")
        .about("Sends mail.", "SendGrid documentation, API keys")
        .forms(&[Form::prefix(&["SG."], r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}")])
        .examples(&["SG.<w:22>.<w:43>"], &["SG.<w:22>", "MSG.<w:22>.<w:43>"]),
    Definition::secret("mailgun_api_key", "Mailgun API key")
        .about("Sends mail.", "Mailgun documentation, API keys")
        .forms(&[Form::prefix(&["key-"], "key-[0-9a-f]{32}").in_context()])
        .context(&["mailgun", "mg_api", "mg_key"])
        .examples(&["MAILGUN_API_KEY=key-<hex:32>"], &["key-<hex:32>"]),
    Definition::secret("mailchimp_api_key", "Mailchimp API key")
        .about("Ends in the data centre of the account.", "Mailchimp documentation, API keys")
        .forms(&[Form::run(36, 37, "[0-9a-f]{32}-us[0-9]{1,2}").check(shape::random_body)])
        .examples(&["<hex:32>-us14", "key <hex:32>-us6"], &["<hex:32>-eu1", "<hex:20>-us14"]),
    Definition::secret("brevo_api_key", "Brevo API key")
        .about("Sends mail.", "Brevo documentation, API keys")
        .forms(&[Form::prefix(&["xkeysib-"], "xkeysib-[0-9a-f]{64}-[0-9A-Za-z]{16}")])
        .examples(&["xkeysib-<hex:64>-<b62:16>"], &["xkeysib-<hex:64>"]),
    Definition::secret("resend_api_key", "Resend API key")
        .about("Sends mail.", "Resend documentation, API keys")
        .forms(&[Form::prefix(&["re_"], "re_[0-9A-Za-z]{8}_[0-9A-Za-z]{24}").check(shape::is_mixed)])
        .examples(&["re_<b62:8>_<b62:24>"], &["re_<b62:8>", "re_compiled_pattern_for_tokens"]),
];
