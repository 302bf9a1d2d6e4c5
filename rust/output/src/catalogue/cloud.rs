//! Secrets of cloud providers and infrastructure services.

use crate::check::shape;
use crate::definition::{Definition, Form, Severity::High};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::secret("aws_access_key_id", "AWS access key id")
        .about("Names the key pair that signs requests to AWS; ASIA marks a temporary one.", "AWS IAM reference, unique identifiers")
        .forms(&[
            Form::prefix(&["AKIA", "ASIA", "ABIA", "ACCA"], "A[A-Z]{3}[A-Z0-9]{16}").check(shape::aws_key_id),
            Form::prefix(&["A3T"], "A3T[A-Z0-9][A-Z0-9]{16}").check(shape::is_mixed),
        ])
        .examples(&["leak test AKIA<A9:16>", "key=ASIA<b32:16>", "ABIA<A9:16>", "A3TX<A9:16>"], &["AKIA<A9:10>", "xAKIA<A9:16>", "AKIA<A9:20>"]),
    Definition::secret("aws_secret_access_key", "AWS secret access key")
        .about("Signs requests to AWS together with an access key id.", "AWS IAM user guide, access keys")
        .forms(&[
            Form::run(40, 40, "").check_last(shape::aws_secret).in_context(),
            Form::run(40, 40, "").check(shape::aws_secret_beside_id).confidence(0.85),
        ])
        .context(&["aws", "secret_access", "secret access", "secretaccess", "access key", "access_key", "accesskey", "aws_secret"])
        .examples(
            &["aws_secret_access_key = <b64:40>", "AWS secret: \"<b64:40>\"", "AKIA<A9:16> <b64:40>"],
            &["aws_secret", "value <b64:40>", "aws commit <hex:40>"],
        ),
    Definition::secret("aws_session_token", "AWS session token")
        .about("Makes temporary AWS keys valid.", "AWS STS reference, Credentials")
        .examples(&["aws_session_token=<b64:356>", "\"SessionToken\": \"<b64:200>\""], &["aws_session_token=<b64:40>", "<b64:200>"]),
    Definition::secret("aws_bedrock_api_key", "AWS Bedrock API key")
        .about("Bearer key of the Bedrock runtime.", "AWS Bedrock user guide, API keys")
        .forms(&[
            Form::prefix(&["ABSK"], "ABSK[A-Za-z0-9+/]{109,269}={0,2}"),
            Form::prefix(&["bedrock-api-key-"], "bedrock-api-key-[A-Za-z0-9+/]{40,1024}={0,2}"),
        ])
        .examples(&["ABSK<b64:120>", "bedrock-api-key-<b64:132>"], &["ABSK<b64:20>"]),
    Definition::secret("gcp_api_key", "Google API key")
        .severity(High)
        .about("Key of a Google Cloud project, billed to its owner.", "Google Cloud documentation, API keys")
        .forms(&[Form::prefix(&["AIza"], "AIza[A-Za-z0-9_-]{35}")])
        .examples(&["key=AIza<w:35>"], &["AIza<w:20>", "AIza<w:50>"]),
    Definition::secret("gcp_service_account_key", "Google service account key")
        .rank(crate::definition::Rank::Structured)
        .absorbing()
        .about("JSON key file of a service account.", "Google Cloud IAM documentation, service account keys")
        .examples(
            &["{\"type\": \"service_account\", \"project_id\": \"p\", \"private_key\": \"-----BEGIN PRIVATE KEY-----\\n<b64:64>\\n-----END PRIVATE KEY-----\\n\"}"],
            &["{\"type\": \"service_account\", \"name\": \"x\"}"],
        ),
    Definition::secret("google_oauth_client_secret", "Google OAuth client secret")
        .about("Secret of an OAuth client.", "Google Identity documentation")
        .forms(&[Form::prefix(&["GOCSPX-"], "GOCSPX-[A-Za-z0-9_-]{28}")])
        .examples(&["GOCSPX-<w:28>"], &["GOCSPX-<w:12>"]),
    Definition::secret("google_oauth_access_token", "Google OAuth access token")
        .severity(High)
        .about("Short-lived bearer token of a Google account.", "Google Identity documentation")
        .forms(&[Form::prefix(&["ya29."], r"ya29\.[A-Za-z0-9_-]{20,1024}")])
        .examples(&["ya29.<w:120>"], &["ya29.<w:8>"]),
    Definition::secret("azure_storage_account_key", "Azure storage account key")
        .about("Full access to a storage account; 64 bytes in base64.", "Azure Storage documentation, connection strings")
        .confidence(0.97)
        .forms(&[Form::run(86, 86, "").check(shape::azure_storage).open()])
        .examples(&["AccountName=x;AccountKey=<b64:86>==;EndpointSuffix=core.windows.net"], &["AccountKey=<b64:40>=="]),
    Definition::secret("azure_ad_client_secret", "Entra client secret")
        .about("Secret of an Entra (Azure AD) application.", "Microsoft Purview, entity definitions")
        .examples(&["<a:3>8Q~<w:34>", "secret: <b62:3>7Q~<b62:31>"], &["<a:3>8Q~<b62:10>"]),
    Definition::secret("azure_sas_token", "Azure shared access signature")
        .severity(High)
        .rank(crate::definition::Rank::Structured)
        .about("Signed query that opens a storage resource.", "Azure Storage documentation, service SAS")
        .examples(
            &["https://x.blob.core.windows.net/c?sv=2022-11-02&se=2031-01-01&sr=c&sp=r&sig=<b62:43>%3D"],
            &["?sv=2022&sig=<b62:43>%3D", "sv=1&se=2&sig=short"],
        ),
    Definition::secret("azure_devops_pat", "Azure DevOps personal access token")
        .about("Acts for a user of Azure DevOps.", "Azure DevOps documentation, personal access tokens")
        .forms(&[
            Form::run(84, 84, "[A-Za-z0-9]{84}").check(shape::azure_devops),
            Form::run(52, 52, "[a-z2-7]{52}").check(shape::has_digit).in_context(),
        ])
        .context(&["azure", "devops", "vsts", "azdo", "azp_token", "ado_pat"])
        .examples(&["<b62:76>AZDO<b62:4>", "AZURE_DEVOPS_PAT=<a7:52>"], &["<b62:84>", "value <a7:52>"]),
    Definition::secret("alibaba_access_key_id", "Alibaba Cloud access key id")
        .severity(High)
        .about("Names a key pair of Alibaba Cloud.", "Alibaba Cloud RAM documentation")
        .forms(&[Form::prefix(&["LTAI"], "LTAI[0-9A-Za-z]{12,20}")])
        .examples(&["LTAI<b62:20>", "LTAI5<b62:15>"], &["LTAI<b62:6>"]),
    Definition::secret("digitalocean_token", "DigitalOcean token")
        .about("Personal, OAuth or refresh token.", "DigitalOcean API reference")
        .forms(&[Form::prefix(&["dop_v1_", "doo_v1_", "dor_v1_"], "do[opr]_v1_[0-9a-f]{64}")])
        .examples(&["dop_v1_<hex:64>", "doo_v1_<hex:64>"], &["dop_v1_<hex:32>"]),
    Definition::secret("cloudflare_token", "Cloudflare token")
        .about("API token or origin CA key.", "Cloudflare API documentation")
        .forms(&[
            Form::prefix(&["v1.0-"], "v1\\.0-[0-9a-f]{24}-[0-9a-f]{146}"),
            Form::run(40, 40, "[A-Za-z0-9_-]{40}").check_last(shape::random_not_hex).in_context(),
        ])
        .context(&["cloudflare", "cf_api", "cf_token", "cf-api", "cf_key"])
        .examples(&["v1.0-<hex:24>-<hex:146>", "CLOUDFLARE_API_TOKEN=<w:40>"], &["v1.0-<hex:24>", "x <w:40>"]),
    Definition::secret("heroku_api_key", "Heroku API key")
        .about("Acts for a Heroku account.", "Heroku platform API reference")
        .forms(&[
            Form::prefix(&["HRKU-AA"], "HRKU-AA[A-Za-z0-9_-]{58}"),
            Form::run(36, 36, "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}").in_context(),
        ])
        .context(&["heroku", "heroku_api_key"])
        .examples(&["HRKU-AA<w:58>", "HEROKU_API_KEY=<uuid>"], &["HRKU-AA<w:20>", "id: <uuid>"]),
    Definition::secret("flyio_token", "Fly.io token")
        .about("Access or macaroon token.", "Fly.io documentation, access tokens")
        .forms(&[
            Form::prefix(&["fo1_"], "fo1_[A-Za-z0-9_-]{43}"),
            Form::prefix(&["fm1r_", "fm1a_", "fm2_"], "fm(?:1r|1a|2)_[A-Za-z0-9+/]{100,2048}={0,3}"),
        ])
        .examples(&["fo1_<w:43>", "fm2_<b64:200>", "fm1r_<b64:160>"], &["fo1_<w:20>"]),
    Definition::secret("netlify_token", "Netlify token")
        .about("Acts for a Netlify user.", "Netlify API documentation")
        .forms(&[Form::prefix(&["nfp_"], "nfp_[0-9A-Za-z]{36}")])
        .examples(&["nfp_<b62:36>"], &["nfp_<b62:20>"]),
    Definition::secret("databricks_token", "Databricks token")
        .about("Personal access token of a workspace.", "Databricks documentation, authentication")
        .forms(&[Form::prefix(&["dapi"], "dapi[0-9a-f]{32}(?:-[0-9])?")])
        .examples(&["dapi<hex:32>", "dapi<hex:32>-2"], &["dapi<hex:12>"]),
    Definition::secret("hashicorp_vault_token", "HashiCorp Vault token")
        .about("Service, batch or recovery token.", "Vault documentation, tokens")
        .forms(&[
            Form::prefix(&["hvs.", "hvb.", "hvr."], r"hv[sbr]\.[A-Za-z0-9_-]{24,512}"),
            Form::run(24, 24, "[0-9A-Za-z]{24}").check(shape::vault_service).in_context(),
        ])
        .context(&["vault", "vault_token"])
        .examples(&["hvs.<w:92>", "hvb.<w:120>", "VAULT_TOKEN=s.<b62:24>"], &["hvs.<w:8>", "s.<b62:24>"]),
    Definition::secret("terraform_cloud_token", "Terraform Cloud token")
        .about("User, team or organization token.", "HCP Terraform documentation, API tokens")
        .forms(&[Form::run(60, 70, "[A-Za-z0-9_-]{60,70}").check(shape::terraform)])
        .examples(&["<b62:14>.atlasv1.<b62:67>"], &["<b62:14>.atlasv1.<b62:20>"]),
    Definition::secret("pulumi_token", "Pulumi token")
        .about("Acts for a Pulumi account.", "Pulumi documentation, access tokens")
        .forms(&[Form::prefix(&["pul-"], "pul-[0-9a-f]{40}")])
        .examples(&["pul-<hex:40>"], &["pul-<hex:20>"]),
    Definition::secret("doppler_token", "Doppler token")
        .about("Personal, service, service account, CLI or SCIM token.", "Doppler documentation, token formats")
        .forms(&[Form::prefix(
            &["dp.pt.", "dp.st.", "dp.sa.", "dp.ct.", "dp.scim."],
            r"dp\.(?:pt|st|sa|ct|scim)\.(?:[a-z0-9_-]{2,35}\.)?[0-9A-Za-z]{40,44}",
        )])
        .examples(&["dp.pt.<b62:43>", "dp.st.<b62:40>", "dp.scim.<b62:43>"], &["dp.pt.<b62:12>"]),
    Definition::secret("planetscale_token", "PlanetScale token")
        .about("Service token, OAuth token or database password.", "PlanetScale documentation")
        .forms(&[Form::prefix(
            &["pscale_tkn_", "pscale_oauth_", "pscale_pw_"],
            r"pscale_(?:tkn|oauth|pw)_[A-Za-z0-9_.=-]{32,64}",
        )])
        .examples(&["pscale_tkn_<w:43>", "pscale_pw_<b62:43>"], &["pscale_tkn_<w:10>"]),
    Definition::secret("supabase_token", "Supabase token")
        .about("Management token or secret API key.", "Supabase documentation, API keys")
        .forms(&[
            Form::prefix(&["sbp_"], "sbp_[0-9a-f]{40}"),
            Form::prefix(&["sb_secret_"], "sb_secret_[A-Za-z0-9_-]{22,128}"),
        ])
        .examples(&["sbp_<hex:40>", "sb_secret_<w:31>"], &["sbp_<hex:12>", "sb_publishable_<w:31>"]),
];
