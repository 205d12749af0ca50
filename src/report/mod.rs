//! What operators are told. Every "no" has a reason, and the same word serves header, metric and log.

pub mod all;
mod log_record;
mod metrics;

use std::rc::Rc;
use std::time::Duration;

use crate::cache::{CacheKey, UpstreamCost};
use crate::clock::{DeltaSeconds, as_millis};
use crate::coding::CodingFault;
use crate::llm::{Api, ConversionError, NotWhole, Tokens, Unfit};
use crate::store::{MemoryUsage, StoreFault, Turn};

pub use log_record::LogRecord;
pub use metrics::{MetricKind, Metrics, MetricsHost};

/// The label of models that have none of their own.
pub const OTHER_MODEL: &str = "other";

/// Why a request that takes part is not looked up. Its answer is not stored either, but for
/// [`Bypass::WriteOnly`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// The body is longer than `limits.max_request_bytes`.
    RequestTooLarge,
    /// There is no `content-length`, and `hold_headers` needs one.
    UnknownLength,
    /// The body collected is not as long as `content-length` says, or cannot be read.
    BodyIncomplete,
    /// The client asked for it: `cache-control: no-store`.
    NoStore,
    /// The key is not in the sample.
    Sample,
    /// Nothing in the request tells callers apart: see `key.tenant`, and `key.anonymous`.
    NoTenant,
    /// It is signed, and so equals no other request: see `key.tenant`.
    SignedRequest,
    /// The host knows no cluster to which it goes.
    NoCluster,
    /// `x-llm-cache-ttl` is not a duration.
    InvalidTtl,
    /// The body is compressed in a way that cannot be decoded, or in several.
    ContentEncoding,
    /// The body is compressed, and not as its coding says, or decodes to more than
    /// `limits.max_request_bytes`.
    Coding(CodingFault),
    /// The mode does not read.
    WriteOnly,
    /// The worker holds too much already: `limits.max_capture_bytes`.
    CaptureLimit,
    /// The request lets the provider run tools on its side; a hit would skip what they do.
    ServerTools,
    /// The request names no temperature, or one above `store_if.max_temperature`.
    Temperature,
    /// The answer must not come from a cache.
    Unfit(Unfit),
}

impl Bypass {
    /// The word for header, metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestTooLarge => "request_too_large",
            Self::UnknownLength => "unknown_length",
            Self::BodyIncomplete => "body_incomplete",
            Self::NoStore => "no_store",
            Self::Sample => "sample",
            Self::NoTenant => "no_tenant",
            Self::SignedRequest => "signed_request",
            Self::NoCluster => "no_cluster",
            Self::InvalidTtl => "invalid_ttl",
            Self::ContentEncoding => "content_encoding",
            Self::Coding(fault) => fault.as_str(),
            Self::WriteOnly => "write_only",
            Self::CaptureLimit => "capture_limit",
            Self::ServerTools => "server_tools",
            Self::Temperature => "temperature",
            Self::Unfit(unfit) => unfit.as_str(),
        }
    }
}

/// Why a request that might have been answered from the cache was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// There was no entry.
    Absent,
    /// The entry had expired.
    Expired,
    /// The entry had expired and may be of use yet, but there was no room left to hold it: see
    /// `limits.max_capture_bytes`.
    CaptureLimit,
    /// The entry is in another form than asked for, and to convert it would lose something.
    Form(ConversionError),
    /// The entry is in another form than asked for, and there was no room left to convert it: see
    /// `limits.max_capture_bytes`.
    ConversionLimit,
    /// Browsers would not let a page of the request's `origin` read the entry's answer, which was given
    /// to another one or to none; the upstream's may be for it.
    Origin,
    /// The request said `no-cache`.
    NoCache,
    /// The entry is older than the request's `max-age`, or has expired.
    MaxAge,
    /// What was found is not an entry for this key: of another version, corrupt, or from a clock
    /// far ahead of ours.
    Unusable,
    /// A store could not be asked, or did not answer as it should.
    Store(StoreFault),
    /// It waited for the answer to an identical request, which did not serve it.
    Collapse(CollapseFault),
}

/// Why the answer to an identical request did not serve one that waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollapseFault {
    /// It did not come within `collapse.max_wait`.
    Timeout,
    /// It did not become an entry, or the request that asked for it is gone.
    LeaderFailed,
    /// There was no room left to hold it for those who wait: see `limits.max_capture_bytes`.
    CaptureLimit,
    /// It is in another form than asked for, and to convert it would lose something.
    Unusable,
}

impl CollapseFault {
    fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "collapse_timeout",
            Self::LeaderFailed => "collapse_leader_failed",
            Self::CaptureLimit => "collapse_capture_limit",
            Self::Unusable => "collapse_unusable",
        }
    }
}

impl Miss {
    /// The word for metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Expired => "expired",
            Self::CaptureLimit => "capture_limit",
            Self::Form(lossy) => lossy.as_str(),
            Self::ConversionLimit => "conversion_limit",
            Self::Origin => "origin",
            Self::NoCache => "no_cache",
            Self::MaxAge => "max_age",
            Self::Unusable => "unusable_entry",
            Self::Store(fault) => fault.as_str(),
            Self::Collapse(fault) => fault.as_str(),
        }
    }
}

/// Why an answer was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// `x-llm-cache-ttl: 0s`, or a `client.max_ttl` of 0.
    ZeroTtl,
    /// Envoy or one of its filters answered, not the upstream.
    LocalReply,
    /// It came by another route, or from another cluster, than the key names.
    Rerouted,
    /// The status is not 200.
    Status,
    /// Not a content type that the API answers in.
    ContentType,
    /// With status 200, and yet only a part: it has a `content-range`.
    ContentRange,
    /// Compressed in a way that cannot be decoded, and so not to be judged.
    ContentEncoding,
    /// Compressed, and not as its coding says.
    Coding(CodingFault),
    /// The answer is in a form that the request did not ask for.
    Form,
    /// Streams are not stored: `store_if.streams`.
    Streams,
    /// Longer than `limits.max_response_bytes`.
    ResponseTooLarge,
    /// The worker captures too much already: `limits.max_capture_bytes`.
    CaptureLimit,
    /// A chunk could not be read.
    Unreadable,
    /// Not as long as `content-length` says.
    Length,
    /// Trailers after the body that may say that it failed.
    Trailers,
    /// The stream was cut off: by the upstream, the client or a timeout.
    Aborted,
    /// The answer is not whole.
    NotWhole(NotWhole),
    /// The end marker or a finish reason is missing.
    UnmarkedEnd,
    /// Cut off by a limit on tokens.
    FinishLength,
    /// Replaced by a filter or a refusal.
    FinishFiltered,
    /// Complete, which `store_if.finish` does not name.
    FinishComplete,
    /// Its pieces repeat what was already sent.
    Stuttering,
    /// Says nothing.
    Empty,
    /// It names another model than the request: `store_if.same_model`.
    OtherModel,
    /// It has a header that `store_if.unless_header` names.
    VetoedByHeader,
    /// There is a fresh entry that serves forms which this answer cannot serve.
    LessGeneral,
    /// The store refused it.
    Store(StoreFault),
}

impl NotStored {
    /// The word for metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ZeroTtl => "zero_ttl",
            Self::LocalReply => "local_reply",
            Self::Rerouted => "rerouted",
            Self::Status => "status",
            Self::ContentType => "content_type",
            Self::ContentRange => "content_range",
            Self::ContentEncoding => "content_encoding",
            Self::Coding(fault) => fault.as_str(),
            Self::Form => "form",
            Self::Streams => "streams",
            Self::ResponseTooLarge => "response_too_large",
            Self::CaptureLimit => "capture_limit",
            Self::Unreadable => "unreadable",
            Self::Length => "length",
            Self::Trailers => "trailers",
            Self::Aborted => "aborted",
            Self::NotWhole(fault) => fault.as_str(),
            Self::UnmarkedEnd => "unmarked_end",
            Self::FinishLength => "finish_length",
            Self::FinishFiltered => "finish_filtered",
            Self::FinishComplete => "finish_complete",
            Self::Stuttering => "stuttering",
            Self::Empty => "empty",
            Self::OtherModel => "other_model",
            Self::VetoedByHeader => "vetoed_by_header",
            Self::LessGeneral => "less_general",
            Self::Store(fault) => fault.as_str(),
        }
    }
}

/// How a request that takes part went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestResult {
    /// Answered from the cache.
    Hit,
    /// Answered with an entry that had expired.
    Stale(StaleBecause),
    /// Answered with the answer to an identical request.
    Collapsed,
    /// Would have been answered from the cache, but for `mode: shadow`.
    ShadowHit,
    /// Not answered from the cache.
    Miss(Miss),
    /// Kept out of the cache.
    Bypass(Bypass),
}

impl RequestResult {
    /// The words for its result, and for the reason if it has one.
    pub fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Hit => ("hit", None),
            Self::Stale(because) => ("stale", Some(because.as_str())),
            Self::Collapsed => ("collapsed", None),
            Self::ShadowHit => ("shadow_hit", None),
            Self::Miss(miss) => ("miss", Some(miss.as_str())),
            Self::Bypass(bypass) => ("bypass", Some(bypass.as_str())),
        }
    }
}

/// Why an entry that had expired was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleBecause {
    /// It is being refreshed, or will be (`stale_while_revalidate`).
    Revalidating,
    /// The upstream failed (`stale_if_error`).
    UpstreamFailed,
}

impl StaleBecause {
    fn as_str(self) -> &'static str {
        match self {
            Self::Revalidating => "revalidating",
            Self::UpstreamFailed => "upstream_failed",
        }
    }
}

/// What came of a refresh in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshResult {
    /// The upstream was asked.
    Sent,
    /// A request went to the upstream in its place.
    ByRequest,
    /// A request went to the upstream in its place: too many are under way, on behalf of the same
    /// caller or of all, or there is no room for the request.
    Busy,
}

impl RefreshResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::ByRequest => "by_request",
            Self::Busy => "busy",
        }
    }
}

/// How the upstream's answer compares with the stored one, in `mode: shadow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowResult {
    /// They say the same.
    Agreed,
    /// They do not.
    Disagreed,
    /// There is no telling.
    Incomparable,
    /// The upstream's answer is not one that would be stored.
    NotWhole,
}

impl ShadowResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Disagreed => "disagreed",
            Self::Incomparable => "incomparable",
            Self::NotWhole => "not_whole",
        }
    }
}

/// What is asked of the store behind HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOperation {
    /// A lookup for which a request waits.
    Lookup,
    /// A lookup to see whether the store is well again.
    Probe,
    /// A write.
    Write,
    /// A removal of an expired entry.
    Delete,
}

impl StoreOperation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Probe => "probe",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationResult {
    /// Something is under the key.
    Found,
    /// Nothing is under the key.
    Absent,
    /// It was done.
    Done,
    /// It was not done.
    Failed(StoreFault),
}

impl OperationResult {
    pub(crate) fn of_lookup(found: &Result<Option<Vec<u8>>, StoreFault>) -> Self {
        match found {
            Ok(Some(_)) => Self::Found,
            Ok(None) => Self::Absent,
            Err(fault) => Self::Failed(*fault),
        }
    }

    fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Found => ("found", None),
            Self::Absent => ("absent", None),
            Self::Done => ("done", None),
            Self::Failed(fault) => ("failed", Some(fault.as_str())),
        }
    }
}

/// What became of an answer that might have been stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerResult {
    /// It was stored.
    Stored,
    /// It was not.
    NotStored(NotStored),
}

impl AnswerResult {
    fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Stored => ("stored", None),
            Self::NotStored(reason) => ("not_stored", Some(reason.as_str())),
        }
    }
}

/// The request that a report is about, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Its API.
    pub api: Option<Api>,
    /// The label of its model; only with `metrics.model`.
    pub label: Option<Rc<str>>,
    /// The model that it names.
    pub model: Option<Rc<str>>,
    /// Its key.
    pub key: Option<CacheKey>,
    /// Whether it asks for a stream.
    pub is_stream: Option<bool>,
}

/// A stored answer that was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The time since it was received.
    pub age: DeltaSeconds,
    /// What it saves.
    pub cost: UpstreamCost,
}

/// How an answer passed that was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// In how many chunks Envoy handed it on.
    pub chunks: u32,
    /// The time from the request to its first byte; `None` if none came.
    pub first_byte: Option<Duration>,
    /// The time from the request to its last byte.
    pub last_byte: Duration,
    /// The tokens that it reports, if it does and came to its end.
    pub tokens: Option<Tokens>,
    /// Whether it came to its end.
    pub is_ended: bool,
}

/// What a worker holds at a time, and how full the memory store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Bytes held of requests and answers, of `limits.max_capture_bytes`.
    pub capture_bytes: u64,
    /// Requests that are held back.
    pub held_requests: u64,
    /// Those of them that wait for the answer to an identical one.
    pub waiting_requests: u64,
    /// The memory store of the process, if it was looked at.
    pub memory: Option<MemoryUsage>,
}

/// Something that operators see: in metrics and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// How a request went. At most once per exchange.
    Request(RequestResult),
    /// A stored answer was served. At most once per exchange.
    Served(Served),
    /// Nothing was stored for a request that differs from an earlier one in this member of the body
    /// only.
    NearMiss(&'static str),
    /// An answer that was recorded is over. At most once per exchange.
    Passed(Passage),
    /// What became of an answer that might have been stored. At most once per exchange.
    Answer(AnswerResult),
    /// The number of entries that made room in memory for another before they expired.
    Evictions(u32),
    /// What came of a callout to the store behind HTTP.
    Store(StoreOperation, OperationResult),
    /// A request has waited so long for the store behind HTTP.
    StoreLookup(Duration),
    /// The breaker in front of that store has turned.
    Breaker(Turn),
    /// What came of a refresh in the background.
    Refresh(RefreshResult),
    /// How two answers compare, in `mode: shadow`.
    Shadow(ShadowResult),
    /// What a hit would have saved, in `mode: shadow`.
    ShadowSaved(UpstreamCost),
    /// A hit was found to have opened a request to the upstream: no buffer filter behind this one held
    /// it back.
    UpstreamAskedInVain,
}

/// The name of a counter: its family, and labels with their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterName {
    family: &'static str,
    operation: Option<&'static str>,
    result: Option<&'static str>,
    reason: Option<&'static str>,
    direction: Option<&'static str>,
    member: Option<&'static str>,
    is_by_api: bool,
}

impl CounterName {
    /// A counter without labels.
    const fn of(family: &'static str) -> Self {
        Self {
            family,
            operation: None,
            result: None,
            reason: None,
            direction: None,
            member: None,
            is_by_api: false,
        }
    }

    const fn by_api(self) -> Self {
        Self {
            is_by_api: true,
            ..self
        }
    }

    const fn with_result(self, (result, reason): (&'static str, Option<&'static str>)) -> Self {
        Self {
            result: Some(result),
            reason,
            ..self
        }
    }

    const fn with_direction(self, direction: &'static str) -> Self {
        Self {
            direction: Some(direction),
            ..self
        }
    }
}

/// Counters, and what is added to each.
type Counts = [Option<(CounterName, u64)>; 5];

impl Report {
    /// The counters, and what is added to each; none for what is not counted.
    pub fn counters(self) -> impl Iterator<Item = (CounterName, u64)> {
        let counts: Counts = match self {
            Self::Breaker(_) | Self::StoreLookup(_) | Self::Passed(_) => [None; 5],
            Self::Request(result) => {
                let name = CounterName::of("llm_cache_requests_total").by_api();
                one(name.with_result(result.words()), 1)
            }
            Self::Served(Served { cost, .. }) => {
                let [input, cached_input, output, last_byte] = costs(
                    "llm_cache_saved_tokens_total",
                    "llm_cache_saved_milliseconds_total",
                    cost,
                );
                let first_byte = "llm_cache_saved_first_byte_milliseconds_total";
                let first_byte = CounterName::of(first_byte).by_api();
                let first_byte = (first_byte, as_millis(cost.first_byte()));
                [input, cached_input, output, last_byte, first_byte].map(Some)
            }
            Self::NearMiss(member) => one(
                CounterName {
                    member: Some(member),
                    ..CounterName::of("llm_cache_near_misses_total")
                },
                1,
            ),
            Self::Answer(result) => {
                let name = CounterName::of("llm_cache_answers_total").by_api();
                one(name.with_result(result.words()), 1)
            }
            Self::Store(operation, result) => one(
                CounterName {
                    operation: Some(operation.as_str()),
                    ..CounterName::of("llm_cache_store_operations_total")
                        .with_result(result.words())
                },
                1,
            ),
            Self::Evictions(evicted) => {
                one(CounterName::of("llm_cache_evictions_total"), evicted.into())
            }
            Self::Refresh(result) => {
                let name = CounterName::of("llm_cache_refreshes_total");
                one(name.with_result((result.as_str(), None)), 1)
            }
            Self::Shadow(result) => {
                let name = CounterName::of("llm_cache_shadow_comparisons_total").by_api();
                one(name.with_result((result.as_str(), None)), 1)
            }
            Self::ShadowSaved(cost) => {
                let [input, cached_input, output, last_byte] = costs(
                    "llm_cache_shadow_saved_tokens_total",
                    "llm_cache_shadow_saved_milliseconds_total",
                    cost,
                )
                .map(Some);
                [input, cached_input, output, last_byte, None]
            }
            Self::UpstreamAskedInVain => {
                one(CounterName::of("llm_cache_upstream_asked_in_vain_total"), 1)
            }
        };
        counts.into_iter().flatten()
    }
}

fn one(name: CounterName, added: u64) -> Counts {
    [Some((name, added)), None, None, None, None]
}

/// The counters of tokens and of milliseconds, and what is added for an answer of this cost.
fn costs(
    tokens: &'static str,
    milliseconds: &'static str,
    cost: UpstreamCost,
) -> [(CounterName, u64); 4] {
    let Tokens {
        input,
        cached_input,
        output,
    } = cost.tokens().unwrap_or_default();
    let tokens = CounterName::of(tokens).by_api();
    let milliseconds = CounterName::of(milliseconds).by_api();
    [
        (tokens.with_direction("input"), input),
        (tokens.with_direction("cached_input"), cached_input),
        (tokens.with_direction("output"), output),
        (milliseconds, as_millis(cost.last_byte())),
    ]
}
