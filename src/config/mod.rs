//! The plugin configuration: parsed once, into types that cannot hold a wrong value.
//!
//! Empty is a good configuration. Unknown keys, wrong types and values out of range are errors,
//! all of them reported at once, each with its path.

mod exclude;
mod parse;
mod rule;
mod section;
mod store;
mod tenant;
mod units;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::attributes::{CertificateField, MetadataPath};
use crate::http::{Headers, RequestDirectives};
use crate::json::Edit;
use crate::llm::{Api, Finish, FinishWords};

pub use rule::{HeaderMatch, Match, PathMatch, Pattern, Rule};
pub use section::ConfigError;
pub use units::{parse_duration, parse_size};

/// The longest lifetime that can be configured: one year.
pub const LONGEST_TTL: Duration = Duration::from_secs(365 * 86_400);

/// The whole plugin configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Hold request headers back until the lookup is done. Needs Envoy 1.35 and
    /// `allow_on_headers_stop_iteration: true` on the plugin; without it requests would hang.
    pub hold_headers: bool,
    /// Bounds on what is buffered and captured.
    pub limits: Limits,
    /// The store in Envoy's shared data, unless it is turned off.
    pub memory: Option<Memory>,
    /// The store behind HTTP, if there is one.
    pub http: Option<Http>,
    /// What metrics tell apart, and what access logs can tell.
    pub metrics: Metrics,
    /// What holds where no rule matches.
    pub settings: Rc<Settings>,
    /// First match wins.
    pub rules: Vec<Rule>,
}

/// Bounds on what is buffered and captured, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Larger prompts pass through uncached.
    pub max_request_bytes: usize,
    /// Larger answers pass through unstored.
    pub max_response_bytes: usize,
    /// What one worker holds of requests and answers together.
    pub max_capture_bytes: usize,
}

/// What metrics tell apart, and what access logs can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Whether metrics tell models apart.
    pub model: bool,
    /// How many models have a label of their own.
    pub max_models: usize,
    /// Whether each exchange leaves a record in Envoy's filter state.
    pub filter_state: bool,
}

/// The store in Envoy's shared data, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All slots together, for all workers of the process.
    pub max_bytes: u64,
    /// The largest entry that is kept.
    pub max_entry_bytes: usize,
}

/// The store behind HTTP, which a fleet of gateways may share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The Envoy cluster.
    pub cluster: String,
    /// What it speaks.
    pub protocol: StoreProtocol,
    /// The `:authority` of requests to it.
    pub authority: String,
    /// Stands before the key: in the path, or in the name of a Redis key.
    pub path_prefix: String,
    /// Further headers of requests to it; names are lower-case.
    pub headers: Vec<(String, Secret)>,
    /// How long a request waits for a lookup, whole milliseconds.
    pub lookup_timeout: Duration,
    /// How long a write may take, whole milliseconds.
    pub store_timeout: Duration,
    /// Larger entries are neither written nor read, in bytes.
    pub max_entry_bytes: usize,
    /// When no requests are sent to the store.
    pub breaker: Breaker,
    /// Seals entries with an HMAC, so that nobody without this key can make an entry that is accepted.
    pub integrity_key: Option<Secret>,
}

/// What a store behind HTTP speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreProtocol {
    /// Redis or Valkey behind Webdis.
    Webdis,
    /// `GET`, `PUT` and `DELETE` of objects: S3 and compatible, GCS, nginx WebDAV.
    Rest,
}

/// When requests to a failing store stop, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// The number of failures in a row that open it.
    pub failures: u32,
    /// It stays open at least this long.
    pub min_open: Duration,
    /// It stays open at most this long.
    pub max_open: Duration,
}

/// A credential. It is never printed, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` to itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for request headers and seals.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What clients may ask of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Whether the `Cache-Control` of requests is obeyed.
    pub honor_cache_control: bool,
    /// Upper bound for `x-llm-cache-ttl`.
    pub max_ttl: Duration,
}

impl Client {
    /// Those of a request's directives that are obeyed.
    pub fn obeyed(self, directives: RequestDirectives) -> RequestDirectives {
        if self.honor_cache_control {
            directives
        } else {
            RequestDirectives::default()
        }
    }
}

/// What a rule can change.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which halves of the cache are in use.
    pub mode: Mode,
    /// Which keys take part.
    pub sample: Sample,
    /// Lifetime of what is stored.
    pub ttl: Duration,
    /// How much shorter a lifetime may turn out, so that what was stored together does not expire
    /// together.
    pub ttl_jitter: Jitter,
    /// How long past its expiry an entry is served while it is refreshed in the background.
    pub stale_while_revalidate: Duration,
    /// How long past its expiry an entry is served where the upstream fails.
    pub stale_if_error: Duration,
    /// Whether identical requests in flight wait for the first one's answer.
    pub collapse: Collapse,
    /// What the key is made of.
    pub key: KeySettings,
    /// Which whole answers are stored.
    pub store_if: StoreIf,
    /// What clients may ask of the cache.
    pub client: Client,
    /// What answers look like.
    pub respond: Respond,
}

impl Settings {
    /// How long past its expiry an entry is of use.
    pub fn stale_window(&self) -> Duration {
        self.stale_while_revalidate.max(self.stale_if_error)
    }
}

/// The share of a lifetime that chance may take away, from 0 to 50 percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    percent: u32,
}

impl Jitter {
    /// No jitter.
    pub const NONE: Self = Self { percent: 0 };

    /// `None` if `percent` is above 50.
    pub fn new(percent: u32) -> Option<Self> {
        (percent <= 50).then_some(Self { percent })
    }

    /// Shortens a lifetime by a random part of at most `percent`. `bits` are 32 random bits.
    pub fn apply(self, lifetime: Duration, bits: u32) -> Duration {
        let share = f64::from(self.percent) / 100.0 * (f64::from(bits) / f64::from(u32::MAX));
        lifetime.mul_f64(1.0 - share)
    }
}

/// Whether identical requests in flight wait for the first one's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collapse {
    /// How long a request waits at the most; zero turns it off.
    pub max_wait: Duration,
    /// Whether requests for a stream wait too.
    pub streams: bool,
}

/// Which halves of the cache are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Look up and store.
    ReadWrite,
    /// Look up, never store.
    ReadOnly,
    /// Never look up, store.
    WriteOnly,
    /// Look up, ask the upstream all the same, compare the answers and count; store what was
    /// missing. Clients see no difference.
    Shadow,
    /// Take no part: nothing is buffered, no header is added.
    Disabled,
}

impl Mode {
    /// Whether entries are looked up.
    pub fn reads(self) -> bool {
        matches!(self, Self::ReadWrite | Self::ReadOnly | Self::Shadow)
    }

    /// Whether answers are stored.
    pub fn writes(self) -> bool {
        matches!(self, Self::ReadWrite | Self::WriteOnly | Self::Shadow)
    }
}

/// The share of keys that take part, from 0 to 100 percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample(f64);

impl Sample {
    /// Every key.
    pub const ALL: Self = Self(100.0);

    /// `None` if `percent` is not from 0 to 100.
    pub fn new(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Self(percent))
    }

    /// Whether a key takes part, given 32 of its bits: the same key always gives the same answer,
    /// and a key that takes part keeps doing so when the share grows.
    pub fn takes(self, bits: u32) -> bool {
        f64::from(bits) < self.0 / 100.0 * 4_294_967_296.0
    }
}

/// What the key is made of beyond authority, path and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// Which callers share answers.
    pub tenant: Tenant,
    /// Further request headers that take part, lower-case.
    pub headers: Vec<String>,
    /// Parts of the request body that take no part.
    pub exclude: Vec<Exclude>,
    /// Parts of texts in the request body that take no part.
    pub mask: Vec<Edit>,
    /// Change it and every older entry is unreachable.
    pub namespace: String,
}

impl KeySettings {
    /// The edits of a request's body before the key is made of it, for this API.
    pub fn edits(&self, api: Api) -> Vec<&Edit> {
        let excluded = self.exclude.iter().flat_map(|exclude| match exclude {
            Exclude::Pointer(edit) => std::slice::from_ref(edit),
            Exclude::Attribution => api.attribution(),
            Exclude::CallIds => api.call_ids(),
        });
        excluded.chain(&self.mask).collect()
    }
}

/// Parts of the request body that take no part in the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclude {
    /// The values at a JSON pointer are removed.
    Pointer(Edit),
    /// The members by which the API names the end user.
    Attribution,
    /// How the ids of calls are spelt; which call a result belongs to does take part.
    CallIds,
}

impl Exclude {
    /// The text for it in configuration and keys.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pointer(edit) => edit.at.as_str(),
            Self::Attribution => "attribution",
            Self::CallIds => "call_ids",
        }
    }
}

/// Which callers share answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// All callers share.
    Shared,
    /// Callers share if their requests agree in all of these. A request that lacks one takes no part.
    Same(Vec<Distinction>),
}

impl Tenant {
    /// What a request must have; nothing where all callers share.
    pub fn distinctions(&self) -> &[Distinction] {
        match self {
            Self::Shared => &[],
            Self::Same(distinctions) => distinctions,
        }
    }
}

/// What tells one tenant from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distinction {
    /// The caller's credentials, as far as the filter sees them.
    Credentials(Anonymous),
    /// The value of this header (lower-case name).
    Header(String),
    /// What Envoy's dynamic metadata has at this path.
    Metadata(MetadataPath),
    /// The certificate of the client.
    Certificate(CertificateField),
}

/// What happens to requests whose caller is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// They take no part: an earlier filter may have removed a credential.
    Bypass,
    /// They share answers, as one tenant.
    Share,
}

/// Which whole answers are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreIf {
    /// The accepted ways for an answer to finish.
    pub finish: Vec<Finish>,
    /// The meaning of finish reasons that the API's judge does not know.
    pub finish_words: FinishWords,
    /// Whether streamed answers are stored at all.
    pub streams: bool,
    /// Whether answers with no content are stored.
    pub empty: bool,
    /// Whether streams that end cleanly but lack the API's end marker or finish reason are stored.
    pub unmarked_end: bool,
    /// Whether streams whose pieces repeat what was already sent are stored.
    pub stuttering: bool,
    /// Whether answers to requests that let the provider run tools are stored.
    pub server_tools: bool,
    /// Only requests with an explicit temperature at or below this; `None` takes all.
    pub max_temperature: Option<f64>,
    /// Whether answers that name another model than the request are not stored.
    pub same_model: bool,
    /// Response headers, one of which keeps an answer from being stored.
    pub unless_headers: Vec<HeaderMatch>,
}

/// What answers look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Respond {
    /// Adds `x-cache-key`.
    pub expose_key: bool,
    /// Adds `x-cache-key-parts`.
    pub explain: bool,
    /// Which token usage a hit reports.
    pub usage: Usage,
    /// Adds `x-accel-buffering: no` to streams, so that a proxy in front does not hold them back.
    pub anti_buffering: bool,
    /// What tells browsers which origins may read a hit.
    pub cors: Cors,
}

/// What tells browsers which origins may read a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cors {
    /// The CORS headers that the upstream sent with the stored answer: it is served to the origins that
    /// they allow.
    Upstream,
    /// Envoy's cors filter, for every answer: this filter ignores the request's origin.
    Envoy,
}

/// Which token usage a hit reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// What the stored answer reports.
    Replay,
    /// None: every count of tokens is 0.
    Zero,
}

/// The API and the settings that hold for a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How the request and its answer are read.
    pub api: Api,
    /// What holds for them.
    pub settings: Rc<Settings>,
}

/// What the rules say of a request whose headers are known and whose body is not.
#[derive(Debug, PartialEq)]
pub enum Selection {
    /// The request takes no part, whatever its body says.
    NoPart,
    /// The body cannot change the outcome.
    Decided(Policy),
    /// A rule asks for the model: [`Config::select_with_model`] decides.
    NeedsModel,
}

impl Config {
    /// Parses the plugin configuration: a JSON object as text, a `google.protobuf.Struct` in its
    /// binary form, or nothing at all.
    ///
    /// # Errors
    /// Every problem found, each with its path.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<ConfigError>> {
        parse::parse(bytes)
    }

    /// The settings of all rules, and those that hold where none matches.
    pub fn all_settings(&self) -> impl Iterator<Item = &Settings> {
        let rules = self.rules.iter().map(|rule| &rule.settings);
        rules.chain([&self.settings]).map(AsRef::as_ref)
    }

    /// Finds what holds for a request, as far as its headers tell. `path` is without the query.
    pub fn select(&self, headers: &Headers, path: &[u8]) -> Selection {
        // The body may choose between rules that ask for a model, and what holds without them.
        let mut matching = self
            .rules
            .iter()
            .filter(|r| r.when.matches_without_model(headers, path));
        let mut needs_model = false;
        let mut takes_part = false;
        let last = loop {
            let Some(rule) = matching.next() else {
                break Self::policy(None, path, &self.settings);
            };
            let policy = Self::policy(rule.api, path, &rule.settings);
            if rule.when.model.is_none() {
                break policy;
            }
            needs_model = true;
            takes_part |= policy.is_some();
        };
        match last {
            Some(policy) if !needs_model => Selection::Decided(policy),
            None if !takes_part => Selection::NoPart,
            _ => Selection::NeedsModel,
        }
    }

    /// All settings that may hold for a request, as far as its headers tell.
    pub fn candidates(&self, headers: &Headers, path: &[u8]) -> impl Iterator<Item = &Settings> {
        let rules = self
            .rules
            .iter()
            .filter(|r| r.when.matches_without_model(headers, path));
        let rules = rules.map(|rule| &rule.settings);
        rules.chain([&self.settings]).map(AsRef::as_ref)
    }

    /// Finds what holds for a request whose model is known; `None` if it takes no part.
    pub fn select_with_model(
        &self,
        headers: &Headers,
        path: &[u8],
        model: Option<&str>,
    ) -> Option<Policy> {
        let rule = self.rules.iter().find(|rule| {
            rule.when.matches_without_model(headers, path) && rule.when.matches_model(model)
        });
        match rule {
            Some(rule) => Self::policy(rule.api, path, &rule.settings),
            None => Self::policy(None, path, &self.settings),
        }
    }

    /// Whether any request can be one of this API.
    pub fn may_select(&self, api: Api) -> bool {
        api.has_paths() || self.rules.iter().any(|rule| rule.api == Some(api))
    }

    fn policy(api: Option<Api>, path: &[u8], settings: &Rc<Settings>) -> Option<Policy> {
        if settings.mode == Mode::Disabled {
            return None;
        }
        Some(Policy {
            api: api.or_else(|| Api::from_path(path))?,
            settings: Rc::clone(settings),
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hold_headers: false,
            limits: Limits::default(),
            memory: Some(Memory::default()),
            metrics: Metrics::default(),
            http: None,
            settings: Rc::new(Settings::default()),
            rules: Vec::new(),
        }
    }
}

impl Limits {
    const DEFAULT: Self = Self {
        max_request_bytes: 16 << 20,
        max_response_bytes: 10 << 20,
        max_capture_bytes: 64 << 20,
    };

    /// The defaults with `hold_headers`. Envoy then refuses requests over the listener's buffer limit,
    /// which is 1 MiB unless configured.
    pub const WITH_HEADERS_HELD: Self = Self {
        max_request_bytes: 1 << 20,
        ..Self::DEFAULT
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            model: false,
            max_models: 50,
            filter_state: false,
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_entry_bytes: 1 << 20,
        }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self {
            honor_cache_control: true,
            max_ttl: Duration::from_secs(24 * 3_600),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::ReadWrite,
            sample: Sample::ALL,
            ttl: Duration::from_secs(3_600),
            ttl_jitter: Jitter::NONE,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            collapse: Collapse {
                max_wait: Duration::ZERO,
                streams: false,
            },
            key: KeySettings::default(),
            store_if: StoreIf::default(),
            client: Client::default(),
            respond: Respond::default(),
        }
    }
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            tenant: Tenant::Same(vec![Distinction::Credentials(Anonymous::Bypass)]),
            headers: Vec::new(),
            exclude: Vec::new(),
            mask: Vec::new(),
            namespace: String::new(),
        }
    }
}

impl Default for StoreIf {
    fn default() -> Self {
        Self {
            finish: vec![Finish::Complete],
            finish_words: FinishWords::default(),
            streams: true,
            empty: false,
            unmarked_end: false,
            stuttering: false,
            server_tools: false,
            max_temperature: None,
            same_model: false,
            unless_headers: Vec::new(),
        }
    }
}

impl Default for Respond {
    fn default() -> Self {
        Self {
            expose_key: false,
            explain: false,
            usage: Usage::Replay,
            anti_buffering: true,
            cors: Cors::Upstream,
        }
    }
}

#[cfg(test)]
mod tests;
