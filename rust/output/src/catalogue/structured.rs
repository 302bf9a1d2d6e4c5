//! Secrets recognised by the structure around them: keys, tokens, URLs, headers, files.

use crate::check::shape;
use crate::definition::{
    Definition, Form, Rank,
    Severity::{High, Medium},
};

const fn structured(id: &'static str, detail: &'static str) -> Definition {
    Definition::secret(id, detail).rank(Rank::Structured)
}

pub(super) const CATALOGUE: &[Definition] = &[
    structured("private_key", "private key")
        .absorbing()
        .about(
            "PEM block of a private key of any kind, or a PuTTY key file, with real or escaped line ends.",
            "RFC 7468; PuTTY user manual, appendix C",
        )
        .examples(
            &[
                "-----BEGIN RSA PRIVATE KEY-----\n<b64:64>\n<b64:64>\n-----END RSA PRIVATE KEY-----",
                "\"-----BEGIN PRIVATE KEY-----\\n<b64:64>\\n-----END PRIVATE KEY-----\\n\"",
                "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-MAC: <hex:64>",
            ],
            &[
                "-----BEGIN PUBLIC KEY-----\n<b64:64>\n-----END PUBLIC KEY-----",
                "-----BEGIN CERTIFICATE-----\n<b64:64>\n-----END CERTIFICATE-----",
            ],
        ),
    structured("jwt", "JSON web token")
        .severity(High)
        .about("Signed token; header and payload are JSON.", "RFC 7519")
        .forms(&[Form::prefix(
            &["eyJ", "ewog"],
            r"e[yw][A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{4,8192}\.[A-Za-z0-9_-]{8,2048}",
        )
        .check(shape::jwt)])
        .examples(
            &["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.<w:43>"],
            &["eyJhbGciOiJIUzI1NiJ9", "eyJ<b62:30>.eyJ<b62:30>.<w:43>"],
        ),
    structured("database_url_password", "database URL with a password")
        .absorbing()
        .about("Connection string of a database or broker.", "RFC 3986, userinfo")
        .examples(
            &[
                "postgres://app:hunter22@db/x",
                "mongodb+srv://u:<b62:12>@c.example.net",
                "redis://:<b62:10>@cache:6379/0",
            ],
            &[
                "postgres://app@db/x",
                "postgres://user:${DB_PASSWORD}@db/x",
                "postgres://user:password@localhost/x",
            ],
        ),
    structured("basic_auth_url", "URL with a password")
        .severity(High)
        .absorbing()
        .about("URL that logs in.", "RFC 3986, userinfo")
        .examples(
            &[
                "https://deploy:<b62:16>@git.example.com/x.git",
                "ftp://u:Tr0ub4dor@files.example.com",
            ],
            &[
                "https://user@example.com",
                "https://user:<password>@example.com",
                "http://localhost:8080/@scope/x",
            ],
        ),
    Definition::secret("http_authorization", "HTTP authorization")
        .severity(High)
        .rank(Rank::Assigned)
        .about(
            "Header that carries a password or a bearer token.",
            "RFC 7617, RFC 6750",
        )
        .examples(
            &[
                "Authorization: Basic YWRtaW46aHVudGVyMjI=",
                "-H 'authorization: Bearer <b62:40>'",
                "\"Authorization\": \"Bearer <w:60>\"",
            ],
            &[
                "Authorization: Bearer <token>",
                "Authorization: Bearer ${TOKEN}",
                "Authorization: Basic <b62:5>",
            ],
        ),
    structured("docker_config_auth", "Docker registry credentials")
        .about(
            "Base64 of user and password in a Docker configuration.",
            "Docker documentation, config.json",
        )
        .examples(
            &["{\"auths\": {\"r.example.com\": {\"auth\": \"YWRtaW46aHVudGVyMjI=\"}}}"],
            &["{\"auth\": \"none\"}"],
        ),
    structured("kubernetes_secret", "Kubernetes secret")
        .about("Values of a Secret manifest.", "Kubernetes documentation, Secret")
        .examples(
            &[
                "apiVersion: v1\nkind: Secret\ndata:\n  password: <b62:16>\n",
                "{\"kind\": \"Secret\", \"stringData\": {\"k\": \"<b62:12>\"}}",
            ],
            &[
                "kind: Secret\nmetadata:\n  name: x\n",
                "kind: SecretProviderClass\ndata:\n  x: <b62:12>\n",
            ],
        ),
    structured("netrc_credentials", "netrc credentials")
        .severity(High)
        .about("Login and password of a host.", "GNU inetutils manual, .netrc")
        .examples(
            &["machine api.example.com login joe password <b62:10>"],
            &["machine learning needs no login, password reset"],
        ),
    structured("password_hash", "password hash")
        .severity(Medium)
        .about("Crypt string of a password.", "crypt(5)")
        .examples(
            &[
                "$2b$12$<b62:53>",
                "root:$6$<b62:8>$<b62:86>:19000:0",
                "$argon2id$v=19$m=65536,t=3,p=4$<b62:22>$<b62:43>",
                "$apr1$<b62:8>$<b62:22>",
            ],
            &["$2b$12$short", "$6$x"],
        ),
];
