//! What input rules find in the content of a request (policy spec §7).

mod detect;
mod scope;
mod scope_tally;

use std::borrow::Cow;
use std::cell::OnceCell;

pub use detect::CompiledDetectors;
pub use scope_tally::ScopeCounts;

use crate::document::Severity;
use crate::request::Request;

/// One thing found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub text: Cow<'static, str>,
    /// As far as the detector grades what it finds.
    pub severity: Option<Severity>,
    /// 0 = the detector has no degrees of certainty.
    pub confidence: f64,
}

impl Finding {
    pub(crate) fn plain(text: impl Into<Cow<'static, str>>) -> Finding {
        Finding {
            text: text.into(),
            severity: None,
            confidence: 0.0,
        }
    }
}

/// The content of a request in the forms detectors read, each made once and only if asked for.
#[derive(Debug)]
pub struct Content<'a> {
    bytes: &'a [u8],
    text: OnceCell<Cow<'a, str>>,
    lower: OnceCell<String>,
}

impl<'a> Content<'a> {
    /// The content, or else the prompt label (policy spec §4).
    pub fn of(request: &Request<'a>) -> Content<'a> {
        let bytes = if request.input_content.is_empty() {
            request.label("_content.prompt").unwrap_or("").as_bytes()
        } else {
            request.input_content
        };
        Content {
            bytes,
            text: OnceCell::new(),
            lower: OnceCell::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// As text; what is not UTF-8 is replaced, so that the rest can still be found.
    pub(crate) fn text(&self) -> &str {
        self.text.get_or_init(|| String::from_utf8_lossy(self.bytes))
    }

    pub(crate) fn lower(&self) -> &str {
        self.lower.get_or_init(|| self.text().to_lowercase())
    }
}
