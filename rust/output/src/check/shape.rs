//! Checks that forms of several families share.

use crate::bytes::{follows_escape, follows_sign, is, is_before, slice, ALNUM, DIGIT, WORD};
use crate::check::encoded::{decode_base64, is_jwt};
use crate::definition::{Candidate, Verdict};
use crate::rarity::{is_hex, is_random};

fn before<'a>(candidate: &Candidate<'a>, count: usize) -> &'a [u8] {
    let start = candidate.whole.start;
    slice(candidate.content, start.saturating_sub(count), start)
}

/// The value looks drawn at random.
pub(crate) fn random(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(is_random(candidate.text()))
}

/// Drawn at random from more than hexadecimal digits: those are the name of a commit.
pub(crate) fn random_not_hex(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(!is_hex(candidate.text()) && is_random(candidate.text()))
}

/// Hexadecimal and drawn at random.
pub(crate) fn random_hex(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(is_hex(candidate.text()) && is_random(candidate.text()))
}

/// At least one digit.
pub(crate) fn has_digit(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(candidate.text().iter().any(u8::is_ascii_digit))
}

/// A digit and a letter, as issued identifiers have.
pub(crate) fn is_mixed(candidate: &Candidate<'_>) -> Verdict {
    let text = candidate.text();
    Verdict::accept_if(text.iter().any(u8::is_ascii_digit) && text.iter().any(u8::is_ascii_alphabetic))
}

pub(crate) fn jwt(candidate: &Candidate<'_>) -> Verdict {
    let mut parts = candidate.text().split(|byte| *byte == b'.');
    match (parts.next(), parts.next()) {
        (Some(header), Some(payload)) if is_jwt(header, payload) => Verdict::Score(0.98),
        _ => Verdict::Reject,
    }
}

/// Access key id: the sixteen characters are base 32.
pub(crate) fn aws_key_id(candidate: &Candidate<'_>) -> Verdict {
    let body = candidate.text().get(4..).unwrap_or_default();
    let is_base32 = body
        .iter()
        .all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7'));
    Verdict::Score(if is_base32 { 0.99 } else { 0.9 })
}

/// 40 characters of base64, random, not hexadecimal; context decides the rest.
pub(crate) fn aws_secret(candidate: &Candidate<'_>) -> Verdict {
    let text = candidate.text();
    Verdict::accept_if(!text.contains(&b'-') && !text.contains(&b'_') && is_aws_secret(text))
}

fn is_aws_secret(text: &[u8]) -> bool {
    let has = |test: fn(&u8) -> bool| text.iter().any(test);
    has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && !is_hex(text) && is_random(text)
}

/// An AWS secret beside an access key id.
pub(crate) fn aws_secret_beside_id(candidate: &Candidate<'_>) -> Verdict {
    if aws_secret(candidate) == Verdict::Reject {
        return Verdict::Reject;
    }
    let around = slice(
        candidate.content,
        candidate.whole.start.saturating_sub(256),
        candidate.whole.end.saturating_add(256),
    );
    let is_id = |prefix: &[u8]| {
        memchr::memmem::find_iter(around, prefix).any(|at| {
            let body = slice(around, at.saturating_add(4), at.saturating_add(20));
            body.len() == 16
                && body
                    .iter()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        })
    };
    Verdict::accept_if([&b"AKIA"[..], b"ASIA"].iter().any(|prefix| is_id(prefix)))
}

/// 64 bytes of base64 after `AccountKey=`.
pub(crate) fn azure_storage(candidate: &Candidate<'_>) -> Verdict {
    let end = candidate.whole.end;
    let is_padded = slice(candidate.content, end, end.saturating_add(2)) == b"==";
    let head = before(candidate, 24).to_ascii_lowercase();
    let is_named = [
        "accountkey=",
        "accountkey\":\"",
        "accountkey\": \"",
        "account_key=",
        "accountkey = ",
    ]
    .iter()
    .any(|name| head.ends_with(name.as_bytes()));
    let is_long = decode_base64(candidate.text()).is_some_and(|plain| plain.len() == 64);
    if is_padded && is_named && is_long {
        Verdict::At(candidate.whole.start, end.saturating_add(2))
    } else {
        Verdict::Reject
    }
}

/// Azure DevOps: `AZDO` at its place.
pub(crate) fn azure_devops(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(candidate.text().get(76..80) == Some(b"AZDO"))
}

/// Vault's old service token: `s.` before 24 characters.
pub(crate) fn vault_service(candidate: &Candidate<'_>) -> Verdict {
    let start = candidate.whole.start;
    match before(candidate, 3) {
        [first, b's', b'.'] if is(*first, WORD) => Verdict::Reject,
        [.., b's', b'.'] => Verdict::At(start.saturating_sub(2), candidate.whole.end),
        _ => Verdict::Reject,
    }
}

/// Terraform Cloud: 14 characters and `.atlasv1.` before.
pub(crate) fn terraform(candidate: &Candidate<'_>) -> Verdict {
    let head = before(candidate, 24);
    let Some(id) = head.strip_suffix(b".atlasv1.") else {
        return Verdict::Reject;
    };
    let length = id.iter().rev().take_while(|byte| is(**byte, WORD)).count();
    // The sign of a line that a diff takes away may stand before it.
    let is_alone = length == 14 || length == 15 && id.iter().rev().nth(14) == Some(&b'-');
    let is_id = is_alone && id.iter().rev().take(14).all(|byte| is(*byte, ALNUM));
    if is_id {
        Verdict::At(candidate.whole.start.saturating_sub(23), candidate.whole.end)
    } else {
        Verdict::Reject
    }
}

/// OpenShift: `sha256~` before.
pub(crate) fn openshift(candidate: &Candidate<'_>) -> Verdict {
    let start = candidate.whole.start.saturating_sub(7);
    if before(candidate, 7) == b"sha256~" && begins(candidate, start) {
        Verdict::At(start, candidate.whole.end)
    } else {
        Verdict::Reject
    }
}

/// Whether a token may begin at `start`.
fn begins(candidate: &Candidate<'_>, start: usize) -> bool {
    !is_before(candidate.content, start, WORD)
        || follows_escape(candidate.content, start)
        || follows_sign(candidate.content, start)
}

/// Telegram: the bot's number and a colon before.
pub(crate) fn telegram(candidate: &Candidate<'_>) -> Verdict {
    let Some(id) = before(candidate, 15).strip_suffix(b":") else {
        return Verdict::Reject;
    };
    let digits = id.iter().rev().take_while(|byte| is(**byte, DIGIT)).count();
    let beside = id.iter().rev().nth(digits);
    // The path of the bot interface writes `bot` before the number.
    let is_alone = beside.is_none_or(|byte| !is(*byte, WORD))
        || id.get(..id.len().saturating_sub(digits)).is_some_and(|head| {
            head.ends_with(b"bot") || matches!(head, [.., b'\\', b'n' | b'r' | b't'] | [.., b'\n', b'-'])
        });
    if (8..=10).contains(&digits) && is_alone {
        let start = candidate.whole.start.saturating_sub(digits).saturating_sub(1);
        Verdict::At(start, candidate.whole.end)
    } else {
        Verdict::Reject
    }
}

/// Braintree: `access_token$production$…$` before.
pub(crate) fn braintree(candidate: &Candidate<'_>) -> Verdict {
    let head = before(candidate, 48);
    let mark = memchr::memmem::rfind(head, b"access_token$production$");
    let id = mark
        .and_then(|at| head.get(at.saturating_add(24)..))
        .and_then(|id| id.strip_suffix(b"$"));
    match (mark, id) {
        (Some(at), Some(id)) if id.len() == 16 && id.iter().all(|byte| is(*byte, ALNUM)) => {
            let start = candidate
                .whole
                .start
                .saturating_sub(head.len().saturating_sub(at));
            if begins(candidate, start) {
                Verdict::At(start, candidate.whole.end)
            } else {
                Verdict::Reject
            }
        }
        _ => Verdict::Reject,
    }
}

/// Discord: the first part is the base64 of the bot's number.
pub(crate) fn discord(candidate: &Candidate<'_>) -> Verdict {
    let first = candidate
        .text()
        .split(|byte| *byte == b'.')
        .next()
        .unwrap_or_default();
    let is_number =
        decode_base64(first).is_some_and(|plain| plain.len() >= 15 && plain.iter().all(u8::is_ascii_digit));
    Verdict::accept_if(is_number)
}

/// A path of one of these hosts: the address from its scheme on.
fn webhook(candidate: &Candidate<'_>, hosts: &[&str]) -> Verdict {
    let head = before(candidate, 96);
    let lower = head.to_ascii_lowercase();
    let Some(host) = hosts.iter().find(|host| lower.ends_with(host.as_bytes())) else {
        return Verdict::Reject;
    };
    let rest = lower
        .get(..lower.len().saturating_sub(host.len()))
        .unwrap_or_default();
    let label = rest
        .iter()
        .rev()
        .take_while(|byte| is(**byte, WORD) || **byte == b'.')
        .count();
    let scheme = rest.get(..rest.len().saturating_sub(label)).unwrap_or_default();
    let width = ["https://", "http://"]
        .iter()
        .find(|known| scheme.ends_with(known.as_bytes()))
        .map_or(0, |known| known.len());
    let back = host.len().saturating_add(label).saturating_add(width);
    Verdict::At(candidate.whole.start.saturating_sub(back), candidate.whole.end)
}

pub(crate) fn slack_webhook(candidate: &Candidate<'_>) -> Verdict {
    // Documentation writes the address of nobody: `T00000000/B00000000/XXXX…`.
    let key = candidate.text().rsplit(|byte| *byte == b'/').next();
    if key.is_none_or(crate::rarity::is_worn_out) {
        return Verdict::Reject;
    }
    webhook(candidate, &["hooks.slack.com/", "hooks.slack-gov.com/"])
}

pub(crate) fn discord_webhook(candidate: &Candidate<'_>) -> Verdict {
    webhook(candidate, &["discord.com/", "discordapp.com/"])
}

pub(crate) fn teams_webhook(candidate: &Candidate<'_>) -> Verdict {
    webhook(
        candidate,
        &[
            ".webhook.office.com/",
            "outlook.office.com/",
            "outlook.office365.com/",
        ],
    )
}

/// `sk-` and random characters with a digit, no words with dashes.
pub(crate) fn sk_key(candidate: &Candidate<'_>) -> Verdict {
    let body = candidate.text().get(3..).unwrap_or_default();
    let has = |test: fn(&u8) -> bool| body.iter().any(test);
    let is_real =
        has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) && !crate::rarity::is_worn_out(body);
    Verdict::accept_if(is_real && (is_random(body) || crate::rarity::word_coverage(body) < 0.5))
}

/// Hexadecimal body before a dash, drawn at random.
pub(crate) fn random_body(candidate: &Candidate<'_>) -> Verdict {
    let body = candidate
        .text()
        .split(|byte| *byte == b'-')
        .next()
        .unwrap_or_default();
    Verdict::accept_if(is_random(body))
}

pub(crate) fn bech32(candidate: &Candidate<'_>) -> Verdict {
    Verdict::accept_if(crate::check::bech32::is_bech32(candidate.text()))
}

/// Version byte 0x80 and 32 bytes, or one more for a compressed key.
pub(crate) fn wif(candidate: &Candidate<'_>) -> Verdict {
    let payload = crate::check::base58::decode_check(candidate.text());
    Verdict::accept_if(
        payload.is_some_and(|payload| payload.first() == Some(&0x80) && matches!(payload.len(), 33 | 34)),
    )
}
