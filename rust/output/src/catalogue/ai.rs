//! Secrets of model providers.

use crate::check::shape;
use crate::definition::{Definition, Form, Rank, Severity::High};

pub(super) const CATALOGUE: &[Definition] = &[
    Definition::secret("openai_api_key", "OpenAI API key")
        .about("User, project, service account or admin key; the middle is the base64 of a fixed word.", "OpenAI API reference, authentication")
        .forms(&[
            Form::prefix(&["sk-proj-", "sk-svcacct-", "sk-admin-"], "sk-(?:proj|svcacct|admin)-(?:[A-Za-z0-9_-]{20,24}|[A-Za-z0-9_-]{48,80})T3BlbkFJ(?:[A-Za-z0-9_-]{48,80}|[A-Za-z0-9_-]{20,24})"),
            Form::prefix(&["sk-"], "sk-(?:[a-z]{2,16}-)?[0-9A-Za-z]{20}T3BlbkFJ[0-9A-Za-z]{20}"),
        ])
        .examples(
            &["sk-<b62:20>T3BlbkFJ<b62:20>", "sk-proj-<w:74>T3BlbkFJ<w:74>", "sk-svcacct-<w:58>T3BlbkFJ<w:58>"],
            &["sk-<b62:5>T3BlbkFJ<b62:5>"],
        ),
    Definition::secret("anthropic_api_key", "Anthropic API key")
        .about("API, admin or OAuth key.", "Anthropic API documentation, authentication")
        .forms(&[
            Form::prefix(&["sk-ant-api03-", "sk-ant-admin01-"], "sk-ant-(?:api03|admin01)-[A-Za-z0-9_-]{93}AA"),
            Form::prefix(&["sk-ant-oat01-"], "sk-ant-oat01-[A-Za-z0-9_-]{80,256}"),
        ])
        .examples(&["sk-ant-api03-<w:93>AA", "sk-ant-admin01-<w:93>AA", "sk-ant-oat01-<w:95>"], &["sk-ant-api03-<w:40>"]),
    Definition::secret("huggingface_token", "Hugging Face token")
        .about("User or organization token of the Hub.", "Hugging Face documentation, security tokens")
        .forms(&[
            Form::prefix(&["hf_"], "hf_[0-9A-Za-z]{34}"),
            Form::prefix(&["api_org_"], "api_org_[0-9A-Za-z]{34}"),
        ])
        .examples(&["hf_<b62:34>", "api_org_<b62:34>"], &["hf_<b62:12>", "hf_model_download_from_the_hub_cache"]),
    Definition::secret("groq_api_key", "Groq API key")
        .about("Key of the Groq API.", "Groq documentation")
        .forms(&[Form::prefix(&["gsk_"], "gsk_[0-9A-Za-z]{52}")])
        .examples(&["gsk_<b62:52>"], &["gsk_<b62:20>"]),
    Definition::secret("replicate_token", "Replicate token")
        .about("API token.", "Replicate documentation, HTTP API")
        .forms(&[Form::prefix(&["r8_"], "r8_[0-9A-Za-z]{37}")])
        .examples(&["r8_<b62:37>"], &["r8_<b62:12>"]),
    Definition::secret("perplexity_api_key", "Perplexity API key")
        .about("Key of the Perplexity API.", "Perplexity documentation")
        .forms(&[Form::prefix(&["pplx-"], "pplx-[0-9A-Za-z]{48}")])
        .examples(&["pplx-<b62:48>"], &["pplx-<b62:10>", "pplx-api-large-online-model"]),
    Definition::secret("xai_api_key", "xAI API key")
        .about("Key of the xAI API.", "xAI documentation")
        .forms(&[Form::prefix(&["xai-"], "xai-[0-9A-Za-z]{80}")])
        .examples(&["xai-<b62:80>"], &["xai-<b62:20>"]),
    Definition::secret("openrouter_api_key", "OpenRouter API key")
        .about("Key of OpenRouter.", "OpenRouter documentation, authentication")
        .forms(&[Form::prefix(&["sk-or-v1-"], "sk-or-v1-[0-9a-f]{64}")])
        .examples(&["sk-or-v1-<hex:64>"], &["sk-or-v1-<hex:20>"]),
    Definition::secret("langsmith_api_key", "LangSmith API key")
        .about("Personal or service key.", "LangSmith documentation, API keys")
        .forms(&[Form::prefix(&["lsv2_pt_", "lsv2_sk_"], "lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}")])
        .examples(&["lsv2_pt_<hex:32>_<hex:10>", "lsv2_sk_<hex:32>_<hex:10>"], &["lsv2_pt_<hex:32>"]),
    Definition::secret("nvidia_api_key", "NVIDIA API key")
        .about("Key of NVIDIA's model services.", "NVIDIA NGC documentation")
        .forms(&[Form::prefix(&["nvapi-"], "nvapi-[A-Za-z0-9_-]{64}")])
        .examples(&["nvapi-<w:64>"], &["nvapi-<w:20>"]),
    Definition::secret("generic_sk_key", "secret key with the prefix sk-")
        .severity(High)
        .rank(Rank::Generic)
        .confidence(0.75)
        .about("The prefix many services use for their secret keys.", "convention")
        .forms(&[Form::prefix(&["sk-"], "sk-[0-9A-Za-z]{20,128}").check(shape::sk_key)])
        .examples(&["sk-<b62:32>", "api key sk-<hex:32>"], &["sk-learn", "sk-aaaaaaaaaaaaaaaaaaaaaaaa", "task-<b62:32>"]),
];
