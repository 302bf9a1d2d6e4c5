"""Secrets in texts that are logged (security spec §17.3)."""

from cordum.runtime.masking import mask_text


def test_secrets_in_the_query_of_a_url_are_masked_and_the_rest_stays() -> None:
    text = "GET https://host/p?page=1&access_token=abc&sig=x%2B1&y=2 ended"
    masked = "GET https://host/p?page=1&access_token=[REDACTED]&sig=[REDACTED]&y=2 ended"
    assert mask_text(text) == masked


def test_the_user_info_of_a_url_is_masked() -> None:
    assert mask_text("redis://user:word@host:1/0") == "redis://***@host:1/0"
