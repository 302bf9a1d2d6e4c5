//! Secrets of code forges, package registries and build services.

use crate::check::{shape, token};
use crate::definition::{Definition, Form, Severity::High};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::secret("github_token", "GitHub token")
        .about(
            "Personal, OAuth, user, server or refresh token.",
            "GitHub documentation, token prefixes and checksum",
        )
        .forms(&[Form::prefix(
            &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
            "gh[pousr]_[0-9A-Za-z]{36,255}",
        )
        .check(token::crc32_base62)])
        .examples(
            &["ghp_<b62:30><crc>", "gho_<b62:30><crc>", "ghs_<b62:80>"],
            &["ghp_", "ghp_<b62:20>", "ghp_<b62:36>"],
        ),
    Definition::secret("github_fine_grained_pat", "GitHub fine-grained token")
        .about(
            "Personal token limited to repositories.",
            "GitHub documentation, personal access tokens",
        )
        .forms(&[Form::prefix(
            &["github_pat_"],
            "github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}",
        )])
        .examples(&["github_pat_<b62:22>_<b62:59>"], &["github_pat_<b62:22>"]),
    Definition::secret("gitlab_token", "GitLab token")
        .about(
            "Personal, deploy, runner, trigger, feed, SCIM, build, mail or agent token.",
            "GitLab documentation, token prefixes",
        )
        .forms(&[
            Form::prefix(
                &[
                    "glpat-", "gldt-", "glrt-", "glptt-", "glft-", "glsoat-", "glcbt-", "glimt-", "glagent-",
                ],
                r"gl(?:pat|dt|rt|ptt|ft|soat|cbt|imt|agent)-[A-Za-z0-9_-]{27,300}\.[0-9a-z]{2}\.?[0-9a-z]{7}",
            ),
            Form::prefix(
                &[
                    "glpat-", "gldt-", "glrt-", "glptt-", "glft-", "glsoat-", "glcbt-", "glimt-", "glagent-",
                ],
                "gl(?:pat|dt|rt|ptt|ft|soat|cbt|imt|agent)-[A-Za-z0-9_-]{20,300}",
            ),
        ])
        .examples(
            &[
                "glpat-<w:20>",
                "glrt-<w:20>",
                "glagent-<w:50>",
                "glpat-<w:27>.01.<a9:7>",
            ],
            &["glpat-<w:8>"],
        ),
    Definition::secret("bitbucket_app_password", "Bitbucket app password")
        .about("Acts for a Bitbucket user.", "Bitbucket Cloud documentation")
        .forms(&[Form::prefix(&["ATBB"], "ATBB[0-9A-Za-z]{32}")])
        .examples(&["ATBB<b62:32>"], &["ATBB<b62:10>"]),
    Definition::secret("atlassian_api_token", "Atlassian API token")
        .about(
            "Acts for an Atlassian account.",
            "Atlassian documentation, API tokens",
        )
        .forms(&[Form::prefix(&["ATATT3"], "ATATT3[A-Za-z0-9_=-]{180,200}").open()])
        .examples(&["ATATT3<w:186>"], &["ATATT3<w:40>"]),
    Definition::secret("npm_token", "npm token")
        .about(
            "Publishes packages; ends in a checksum.",
            "npm documentation, access tokens",
        )
        .forms(&[Form::prefix(&["npm_"], "npm_[0-9A-Za-z]{36}").check(token::crc32_base62)])
        .examples(
            &["npm_<b62:30><crc>"],
            &["npm_<b62:36>", "npm_config_registry_url"],
        ),
    Definition::secret("pypi_token", "PyPI token")
        .about(
            "Uploads to PyPI or TestPyPI; a macaroon.",
            "PyPI help, API tokens",
        )
        .forms(&[Form::prefix(
            &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"],
            "pypi-(?:AgEIcHlwaS5vcmc|AgENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,1000}",
        )])
        .examples(
            &["pypi-AgEIcHlwaS5vcmc<w:150>", "pypi-AgENdGVzdC5weXBpLm9yZw<w:80>"],
            &["pypi-AgEIcHlwaS5vcmc<w:10>"],
        ),
    Definition::secret("rubygems_token", "RubyGems key")
        .about("Pushes gems.", "RubyGems guides, API keys")
        .forms(&[Form::prefix(&["rubygems_"], "rubygems_[0-9a-f]{48}")])
        .examples(&["rubygems_<hex:48>"], &["rubygems_<hex:20>"]),
    Definition::secret("nuget_api_key", "NuGet key")
        .about("Pushes packages to nuget.org.", "NuGet documentation, API keys")
        .forms(&[Form::prefix(&["oy2"], "oy2[a-z0-9]{43}")])
        .examples(&["oy2<a9:43>"], &["oy2<a9:20>"]),
    Definition::secret("crates_io_token", "crates.io token")
        .about("Publishes crates.", "crates.io source, token format")
        .forms(&[Form::prefix(&["cio"], "cio[0-9A-Za-z]{32}").check(shape::has_digit)])
        .examples(&["cio<b62:32>"], &["cio<b62:10>"]),
    Definition::secret("dockerhub_pat", "Docker Hub token")
        .about(
            "Personal access token of Docker Hub.",
            "Docker documentation, access tokens",
        )
        .forms(&[Form::prefix(&["dckr_pat_"], "dckr_pat_[A-Za-z0-9_-]{27}")])
        .examples(&["dckr_pat_<w:27>"], &["dckr_pat_<w:9>"]),
    Definition::secret("circleci_token", "CircleCI token")
        .about("Personal API token.", "CircleCI documentation, API tokens")
        .forms(&[Form::prefix(
            &["CCIPAT_"],
            "CCIPAT_[0-9A-Za-z]{22}_[0-9a-fA-F]{40}",
        )])
        .examples(&["CCIPAT_<b62:22>_<hex:40>"], &["CCIPAT_<b62:22>"]),
    Definition::secret("buildkite_token", "Buildkite token")
        .about("API access token.", "Buildkite documentation, token security")
        .forms(&[Form::prefix(&["bkua_"], "bkua_[0-9a-f]{40}")])
        .examples(&["bkua_<hex:40>"], &["bkua_<hex:10>"]),
    Definition::secret("sonarqube_token", "SonarQube token")
        .severity(High)
        .about(
            "User, project or global analysis token.",
            "SonarQube documentation, tokens",
        )
        .forms(&[Form::prefix(&["squ_", "sqp_", "sqa_"], "sq[upa]_[0-9a-f]{40}")])
        .examples(&["squ_<hex:40>", "sqp_<hex:40>"], &["squ_<hex:12>"]),
    Definition::secret("jfrog_token", "JFrog token")
        .about(
            "API key or reference token of Artifactory.",
            "JFrog documentation, access tokens",
        )
        .forms(&[
            Form::prefix(&["AKCp"], "AKCp[0-9A-Za-z]{69}"),
            Form::prefix(&["cmVmd"], "cmVmd[0-9A-Za-z]{59}"),
        ])
        .examples(&["AKCp<b62:69>", "cmVmd<b62:59>"], &["AKCp<b62:20>"]),
    Definition::secret("sourcegraph_token", "Sourcegraph token")
        .about(
            "Access token of an instance.",
            "Sourcegraph documentation, access tokens",
        )
        .forms(&[Form::prefix(
            &["sgp_"],
            "sgp_(?:(?:[0-9a-fA-F]{16}|local)_)?[0-9a-fA-F]{40}",
        )])
        .examples(
            &["sgp_<hex:16>_<hex:40>", "sgp_local_<hex:40>", "sgp_<hex:40>"],
            &["sgp_<hex:12>"],
        ),
];
