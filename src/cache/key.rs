//! The cache key: a digest of everything in a request that may change its answer.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::config::{Exclude, KeySettings, Tenant};
use crate::http::Headers;
use crate::json::{Canonical, Change};
use crate::llm::{Api, Ask};

/// Raised whenever the same request gets another key; `tests/golden/key.hex` changes with it.
const FORMAT_VERSION: u64 = 3;

/// Where clients put their credentials: OpenAI and most others, Anthropic, Azure, Gemini. Another
/// list is another [`FORMAT_VERSION`].
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// Request headers that steer what a provider answers, and so take part in every key. Another list
/// is another [`FORMAT_VERSION`].
const HEADERS: [&str; 17] = [
    // Cohere: by this, misspelt, its first API is asked for another framing.
    "accepts",
    "anthropic-beta",
    "anthropic-version",
    "api-version",
    "azureml-model-deployment",
    "extra-parameters",
    "groq-model-version",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "x-ai-eg-model",
    "x-amzn-bedrock-guardrailidentifier",
    "x-amzn-bedrock-guardrailversion",
    "x-amzn-bedrock-performanceconfig-latency",
    "x-amzn-bedrock-service-tier",
    "x-amzn-bedrock-trace",
    "x-goog-user-project",
];

/// SHA-256 of a request's [`KeyParts`]. Equal keys mean equal requests; nothing of the request can
/// be read from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheKey([u8; 32]);

/// The headers that these settings make keys of, beside `:authority` and `:path`.
pub fn key_headers(settings: &KeySettings) -> impl Iterator<Item = &str> {
    let (credentials, tenant) = match &settings.tenant {
        Tenant::Shared => (&[][..], None),
        Tenant::Credentials => (&CREDENTIALS[..], None),
        Tenant::Header(name) => (&[][..], Some(name.as_str())),
    };
    HEADERS
        .iter()
        .chain(credentials)
        .copied()
        .chain(tenant)
        .chain(settings.headers.iter().map(String::as_str))
}

/// Everything that a key is made of, and what is left out.
#[derive(Debug)]
pub struct KeyParts<'a> {
    /// What the configuration says of keys.
    pub settings: &'a KeySettings,
    /// The request's headers, pseudo-headers included.
    pub headers: &'a Headers,
    /// How the request is read.
    pub api: Api,
    /// The request's body.
    pub body: Body<'a>,
    /// Which form of the answer is asked for.
    pub ask: &'a Ask,
}

/// A request's body as the key sees it.
#[derive(Debug)]
pub enum Body<'a> {
    /// Equal for bodies that every parser reads alike.
    Canonical(&'a Canonical),
    /// For a body that is not plainly JSON: all its bytes.
    Raw(&'a [u8]),
}

/// The request lacks the header that tells tenants apart, or it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTenant;

impl CacheKey {
    /// Length of a key in bytes.
    pub const LENGTH: usize = 32;

    /// The key of a request.
    ///
    /// # Errors
    /// If the request lacks the header that tells tenants apart.
    pub fn new(parts: &KeyParts<'_>) -> Result<Self, NoTenant> {
        let KeyParts {
            settings:
                KeySettings {
                    tenant,
                    headers: extra_headers,
                    exclude,
                    mask,
                    namespace,
                },
            headers,
            api,
            body,
            // The form (stream or not) is left out because one entry serves all of them, and the
            // rest because it is in the body.
            ask: _,
        } = parts;
        let mut fields = Fields(Sha256::new());
        fields.number(FORMAT_VERSION);
        fields.bytes(namespace.as_bytes());
        fields.tenant(tenant, headers)?;
        fields.bytes(headers.get(":authority").unwrap_or_default());
        // With its query, byte for byte as it goes to the upstream, but for the form of the answer.
        fields.bytes(&api.key_path(headers.get(":path").unwrap_or_default()));
        fields.bytes(api.name().as_bytes());
        fields.present(&HEADERS, headers);
        fields.number(length(extra_headers.len()));
        for name in extra_headers {
            fields.header(name, headers);
        }
        // Two rules that leave out different parts must not meet in what is left.
        let mut exclude: Vec<_> = exclude.iter().map(Exclude::as_str).collect();
        exclude.sort_unstable();
        exclude.dedup();
        fields.number(length(exclude.len()));
        for excluded in exclude {
            fields.bytes(excluded.as_bytes());
        }
        fields.number(length(mask.len()));
        for edit in mask {
            fields.bytes(edit.at.as_str().as_bytes());
            if let Change::Mask(mask) = &edit.change {
                fields.bytes(mask.scope().as_str().as_bytes());
                for text in mask.texts() {
                    fields.bytes(text.as_bytes());
                }
            }
        }
        match body {
            Body::Canonical(json) => {
                fields.number(0);
                let path = headers.get(":path").unwrap_or_default();
                let chooses_form = |(name, value): &(&[u8], &[u8])| {
                    // A name with an escape is none that an API knows.
                    plain(name).is_some_and(|name| api.chooses_form(path, name, value))
                };
                if json.as_bytes().starts_with(b"{") {
                    for (name, value) in json.members().filter(|member| !chooses_form(member)) {
                        fields.bytes(name);
                        fields.bytes(value);
                    }
                } else {
                    fields.bytes(json.as_bytes());
                }
            }
            Body::Raw(bytes) => {
                fields.number(1);
                fields.bytes(bytes);
            }
        }
        Ok(Self(fields.0.finalize().into()))
    }

    /// A key read from where it was stored.
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// 32 bits that choose whether the key takes part in a sample.
    pub fn sample_bits(&self) -> u32 {
        // The last ones: the store places entries by the first.
        let [.., a, b, c, d] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }
}

impl fmt::Display for CacheKey {
    /// Lower-case hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

/// Feeds fields to the digest, each with its length before it, so that no two lists of fields feed
/// the same bytes.
struct Fields(Sha256);

impl Fields {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(length(bytes.len()));
        self.0.update(bytes);
    }

    /// A header's name and all its values: an absent header differs from an empty one.
    fn header(&mut self, name: &str, headers: &Headers) {
        self.bytes(name.as_bytes());
        self.number(length(headers.get_all(name).count()));
        for value in headers.get_all(name) {
            self.bytes(value);
        }
    }

    /// Those of a list of headers that are there. All requests have the same list, so that what is
    /// absent need not be told.
    fn present(&mut self, names: &[&str], headers: &Headers) {
        for name in names.iter().filter(|name| headers.contains(name)) {
            self.header(name, headers);
        }
        // No name is so short.
        self.number(0);
    }

    fn tenant(&mut self, tenant: &Tenant, headers: &Headers) -> Result<(), NoTenant> {
        match tenant {
            Tenant::Shared => self.number(0),
            Tenant::Credentials => {
                self.number(1);
                self.present(&CREDENTIALS, headers);
            }
            Tenant::Header(name) => {
                if headers.get(name).is_none_or(<[u8]>::is_empty) {
                    return Err(NoTenant);
                }
                self.number(2);
                self.header(name, headers);
            }
        }
        Ok(())
    }
}

/// A canonical member name without its quotes.
fn plain(canonical: &[u8]) -> Option<&str> {
    let name = canonical.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(name).ok()
}

fn length(length: usize) -> u64 {
    // No platform has more than 64 bits of address.
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
