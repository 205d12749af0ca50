//! The cache key: a digest of everything in a request that may change its answer.

use std::fmt;

use highway::{HighwayHash, HighwayHasher};
use sha2::{Digest, Sha256};

use super::caller::{Caller, NoCaller, query_secrets, tenant_headers};
use super::explain::{Explanation, Part};
use crate::attributes::{Attribute, Attributes};
use crate::config::{Distinction, Exclude, KeySettings, Tenant};
use crate::http::{Headers, authority};
use crate::json::{Canonical, Change};
use crate::llm::{Api, RequestTraits};

/// Raised whenever the same request gets another key; `tests/golden/key.hex` changes with it.
pub(super) const FORMAT_VERSION: u64 = 3;

/// Request headers that steer what a provider answers, or which one a gateway behind this one asks,
/// and so take part in every key. A change of the list changes [`FORMAT_VERSION`].
const HEADERS: [&str; 25] = [
    // Cohere: by this, misspelt, its first API is asked for another framing.
    "accepts",
    "anthropic-beta",
    "anthropic-version",
    "api-version",
    "azureml-model-deployment",
    "cf-aig-byok-alias",
    "extra-parameters",
    "groq-model-version",
    "helicone-fallbacks",
    "helicone-llm-security-enabled",
    "helicone-moderations-enabled",
    "helicone-target-provider",
    "helicone-target-url",
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
    "x-higress-llm-model",
    "x-litellm-tags",
];

/// With Portkey, most headers with this prefix are settings of the upstream.
const STEERING_PREFIX: &[u8] = b"x-portkey-";

/// The exceptions, which are for Portkey's logs.
const OF_PORTKEY_S_LOGS: [&str; 6] = [
    "x-portkey-debug",
    "x-portkey-parent-span-id",
    "x-portkey-request-timeout",
    "x-portkey-span-id",
    "x-portkey-span-name",
    "x-portkey-trace-id",
];

/// Whether a header that no list names steers what is answered.
pub fn steers_by_prefix(name: &[u8]) -> bool {
    name.starts_with(STEERING_PREFIX)
        && !OF_PORTKEY_S_LOGS
            .iter()
            .any(|known| known.as_bytes() == name)
}

/// SHA-256 of a request's [`KeyParts`]. Equal keys mean equal requests; nothing of the request can
/// be read from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheKey([u8; 32]);

/// The headers that these settings make keys of, beside `:authority`, `:scheme` and `:path`, and those
/// that [steer by their prefix](steers_by_prefix).
pub fn key_headers(settings: &KeySettings) -> impl Iterator<Item = &str> {
    HEADERS
        .into_iter()
        .chain(tenant_headers(&settings.tenant))
        .chain(settings.headers.iter().map(String::as_str))
}

/// Everything that a key is made of, and what is left out.
#[derive(Debug)]
pub struct KeyParts<'a> {
    /// What the configuration says of keys.
    pub settings: &'a KeySettings,
    /// The request's headers, pseudo-headers included.
    pub headers: &'a Headers,
    /// What else the host knows of it.
    pub attributes: &'a Attributes,
    /// How the request is read.
    pub api: Api,
    /// The request's body.
    pub body: Body<'a>,
    /// Which form of the answer is asked for.
    pub traits: &'a RequestTraits,
}

/// A request's body as the key sees it.
#[derive(Debug)]
pub enum Body<'a> {
    /// Equal for bodies that every parser reads alike.
    Canonical(&'a Canonical),
    /// For a body that is not plainly JSON: all its bytes.
    Raw(&'a [u8]),
}

impl KeyParts<'_> {
    /// The members of the body that take part, by canonical name and value; `None` if it is no object.
    pub fn members(&self) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
        let Body::Canonical(json) = self.body else {
            return None;
        };
        let path = self.headers.get(":path").unwrap_or_default();
        let path = self.api.normal_path(path);
        let chooses_form = move |name: &[u8], value: &[u8]| {
            // A name with an escape is none that an API knows.
            plain(name).is_some_and(|name| self.api.chooses_form(&path, name, value))
        };
        let is_object = json.as_bytes().starts_with(b"{");
        is_object.then(|| {
            json.members()
                .filter(move |(name, value)| !chooses_form(name, value))
        })
    }
}

impl CacheKey {
    /// Length of a key in bytes.
    pub const LENGTH: usize = 32;

    /// The key of a request.
    ///
    /// # Errors
    /// If it cannot be told whose request this is.
    pub fn new(parts: &KeyParts<'_>) -> Result<Self, NoCaller> {
        Self::explained(parts, None)
    }

    /// The same, with an explanation that takes the parts as the key does.
    ///
    /// # Errors
    /// If it cannot be told whose request this is.
    pub fn explained(
        parts: &KeyParts<'_>,
        explanation: Option<&mut Explanation>,
    ) -> Result<Self, NoCaller> {
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
            attributes,
            api,
            body,
            // The form (stream or not) is left out because one entry serves all of them, and the
            // rest because it is in the body.
            traits: _,
        } = parts;
        let mut fields = Fields::new(explanation);
        fields.number(FORMAT_VERSION);
        fields.bytes(namespace.as_bytes());
        fields.begin(Part::Own("caller"));
        fields.tenant(tenant, headers, attributes)?;
        // Routes may choose by what takes no other part in the key, or by chance.
        for (name, attribute) in [
            ("cluster", Attribute::Cluster),
            ("route", Attribute::RouteName),
        ] {
            fields.begin(Part::Own(name));
            fields.bytes(attributes.get(attribute).unwrap_or_default());
        }
        let header = |name| headers.get(name).unwrap_or_default();
        fields.begin(Part::Own("authority"));
        fields.bytes(&authority::normal(header(":authority"), header(":scheme")));
        // With its query, as it goes to the upstream, but for the form of the answer, and for what
        // no server minds.
        fields.begin(Part::Own("path"));
        fields.bytes(&api.key_path(header(":path")));
        fields.begin(Part::Own("api"));
        fields.bytes(api.name().as_bytes());
        fields.begin(Part::Settings);
        fields.steering(headers);
        fields.number(length(extra_headers.len()));
        for name in extra_headers {
            fields.part_header(name, headers);
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
        fields.begin(Part::Own("body"));
        match body {
            Body::Canonical(json) => {
                fields.number(0);
                match parts.members() {
                    Some(members) => {
                        for (name, value) in members {
                            fields.begin(Part::Member(name));
                            fields.bytes(name);
                            fields.bytes(value);
                        }
                    }
                    None => fields.bytes(json.as_bytes()),
                }
            }
            Body::Raw(bytes) => {
                fields.number(1);
                fields.bytes(bytes);
            }
        }
        Ok(Self(fields.digest.finalize().into()))
    }

    /// Stands for the caller where what a worker has is shared out: a digest of what no client can vary
    /// at will, its likeliest secret, or else of what the key holds of it.
    ///
    /// # Errors
    /// If it cannot be told whose request this is.
    pub fn tenant(
        settings: &KeySettings,
        headers: &Headers,
        attributes: &Attributes,
    ) -> Result<u64, NoCaller> {
        if let [Distinction::Credentials(anonymous)] = settings.tenant.distinctions() {
            let mut hasher = HighwayHasher::default();
            match Caller::find(headers, attributes, *anonymous)? {
                Caller::Credentials((name, value)) => {
                    hasher.append(name);
                    hasher.append(value);
                    return Ok(hasher.finalize64());
                }
                Caller::Query => {
                    query_secrets(headers).for_each(|secret| hasher.append(secret));
                    return Ok(hasher.finalize64());
                }
                _ => {}
            }
        }
        let mut fields = Fields::new(None);
        fields.tenant(&settings.tenant, headers, attributes)?;
        let digest: [u8; Self::LENGTH] = fields.digest.finalize().into();
        let [first, ..] = digest.as_chunks::<8>().0 else {
            return Ok(0);
        };
        Ok(u64::from_le_bytes(*first))
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
struct Fields<'e> {
    digest: Sha256,
    explanation: Option<&'e mut Explanation>,
}

impl<'e> Fields<'e> {
    fn new(explanation: Option<&'e mut Explanation>) -> Self {
        Self {
            digest: Sha256::new(),
            explanation,
        }
    }

    /// What follows is of this part.
    fn begin(&mut self, part: Part<'_>) {
        if let Some(explanation) = &mut self.explanation {
            explanation.begin(part);
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        if let Some(explanation) = &mut self.explanation {
            explanation.feed(bytes);
        }
    }

    fn number(&mut self, number: u64) {
        self.feed(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(length(bytes.len()));
        self.feed(bytes);
    }

    /// A header that is a part of its own.
    fn part_header(&mut self, name: &str, headers: &Headers) {
        self.begin(Part::Header(name));
        self.header(name, headers);
        self.begin(Part::Settings);
    }

    /// A header's name and all its values: an absent header differs from an empty one.
    fn header(&mut self, name: &str, headers: &Headers) {
        self.values(name.as_bytes(), headers);
    }

    fn values(&mut self, name: &[u8], headers: &Headers) {
        let named = || headers.iter().filter(|(known, _)| *known == name);
        self.bytes(name);
        self.number(length(named().count()));
        for (_, value) in named() {
            self.bytes(value);
        }
    }

    /// The headers that steer what is answered. All requests have the same list, so that what is
    /// absent need not be told.
    fn steering(&mut self, headers: &Headers) {
        for name in HEADERS.iter().filter(|name| headers.contains(name)) {
            self.part_header(name, headers);
        }
        let by_prefix = headers.iter().map(|(name, _)| name);
        let by_prefix = by_prefix.filter(|name| steers_by_prefix(name));
        let mut by_prefix: Vec<_> = by_prefix
            .filter_map(|name| str::from_utf8(name).ok())
            .collect();
        by_prefix.sort_unstable();
        by_prefix.dedup();
        for name in by_prefix {
            self.part_header(name, headers);
        }
        // No name is so short.
        self.number(0);
    }

    fn tenant(
        &mut self,
        tenant: &Tenant,
        headers: &Headers,
        attributes: &Attributes,
    ) -> Result<(), NoCaller> {
        for distinction in tenant.distinctions() {
            match distinction {
                Distinction::Credentials(anonymous) => {
                    self.number(1);
                    self.caller(&Caller::find(headers, attributes, *anonymous)?, headers);
                }
                Distinction::Header(name) => {
                    self.number(2);
                    self.header(name, headers);
                    if headers.get_all(name).all(<[u8]>::is_empty) {
                        return Err(NoCaller::NoTenant);
                    }
                }
                Distinction::Metadata(path) => {
                    self.number(3);
                    self.bytes(path.filter.as_bytes());
                    self.number(length(path.members.len()));
                    for name in &path.members {
                        self.bytes(name.as_bytes());
                    }
                    let value = attributes.metadata(path).ok_or(NoCaller::NoTenant)?;
                    self.bytes(value.as_bytes());
                }
                Distinction::Certificate(field) => {
                    let attribute = Attribute::Certificate(*field);
                    self.number(4);
                    self.bytes(attribute.path());
                    self.bytes(attributes.get(attribute).ok_or(NoCaller::NoTenant)?);
                }
            }
        }
        self.number(0);
        Ok(())
    }

    /// The caller, by everything that identifies it.
    fn caller(&mut self, caller: &Caller<'_>, headers: &Headers) {
        self.number(match caller {
            Caller::Credentials(_) => 1,
            Caller::Query => 2,
            Caller::Verified { .. } => 3,
            Caller::Session => 4,
            Caller::Anonymous => 5,
            Caller::Named { .. } => 6,
        });
        if let Caller::Verified {
            claims,
            certificate,
        }
        | Caller::Named {
            claims,
            certificate,
        } = caller
        {
            for part in [claims.map(str::as_bytes), *certificate] {
                self.bytes(part.unwrap_or_default());
            }
        }
        // In whatever order they come, values of one name keep theirs.
        let owned = headers.iter().map(|(name, _)| name);
        let mut names: Vec<_> = owned.filter(|name| caller.owns(name)).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.values(name, headers);
        }
        // No name is so short.
        self.number(0);
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
