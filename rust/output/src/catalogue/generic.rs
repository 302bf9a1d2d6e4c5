//! Keys of wallets, and values that only their name tells secret.

use crate::check::shape;
use crate::definition::{Definition, Form, Rank, Severity::High};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::secret("bitcoin_wif_key", "Bitcoin private key")
        .confidence(0.97)
        .about(
            "Private key in wallet import format; base58 with a checksum.",
            "Bitcoin developer guide, WIF",
        )
        .forms(&[Form::run(51, 52, "[5KL][1-9A-HJ-NP-Za-km-z]{50,51}").check(shape::wif)])
        .examples(&["<wif>"], &["5<b62:50>"]),
    Definition::secret("ethereum_private_key", "Ethereum private key")
        .about("32 bytes named as a key.", "Ethereum yellow paper, appendix F")
        .forms(&[
            Form::run(64, 64, "[0-9a-fA-F]{64}")
                .check_last(shape::random_hex)
                .in_context(),
            Form::run(66, 66, "0x[0-9a-fA-F]{64}")
                .check(shape::is_mixed)
                .in_context(),
        ])
        .context(&[
            "private",
            "private_key",
            "privatekey",
            "mnemonic",
            "wallet key",
            "wallet_key",
        ])
        .examples(
            &["private key 0x<hex:64>", "ETH_PRIVATE_KEY=<hex:64>"],
            &["tx 0x<hex:64>", "sha256 <hex:64>"],
        ),
    Definition::secret("generic_secret", "secret assigned in the text")
        .severity(High)
        .rank(Rank::Generic)
        .confidence(0.7)
        .about(
            "Value assigned to a name such as password, token, API key.",
            "convention",
        )
        .examples(
            &[
                "api_key = \"super-private-value\"",
                "password: \"<b62:20>\"",
                "DB_PASSWORD=<b62:24>",
                "<config secret=\"<b62:18>\"/>",
            ],
            &[
                "password := os.Getenv(\"PW\")",
                "password = \"changeme\"",
                "token_url = \"https://example.com/oauth\"",
                "secret: ${SECRET}",
            ],
        ),
];
