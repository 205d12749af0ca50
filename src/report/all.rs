//! Everything that can be reported, so that all counters exist from the start, and the documentation can
//! be held to them.

use crate::cache::UpstreamCost;
use crate::clock::DeltaSeconds;
use crate::coding::CodingFault;
use crate::llm::{ConversionError, NotWhole, Unfit};
use crate::store::StoreFault;

use super::{
    AnswerResult, Bypass, CollapseFault, Miss, NotStored, OperationResult, RefreshResult, Report,
    RequestResult, Served, ShadowResult, StaleBecause, StoreOperation,
};

/// The variants of an enum that hold no value. The variants that hold one follow the semicolon. A variant
/// that is not named here is a compile error.
macro_rules! variants {
    ($enum:ident: $($variant:ident),* $(; $($holder:ident),*)?) => {{
        const _: fn($enum) = |value| match value {
            $($enum::$variant => (),)*
            $($($enum::$holder(..) => (),)*)?
        };
        &[$($enum::$variant),*]
    }};
}

/// Why a store does not do what it was asked for.
pub const STORE_FAULTS: &[StoreFault] = variants!(StoreFault: TooLarge, Contended, Unavailable, Timeout,
    Refused, BreakerOpen, Busy);

const CODING_FAULTS: &[CodingFault] = variants!(CodingFault: Malformed, Checksum, Truncated, AfterEnd,
    TooLarge, Laborious);

const UNFIT: &[Unfit] = variants!(Unfit: UnclearForm, UnclearBody, Background, Conversation);

const BYPASSES: &[Bypass] = variants!(Bypass: RequestTooLarge, UnknownLength, BodyIncomplete, NoStore,
    Sample, NoTenant, SignedRequest, NoCluster, InvalidTtl, ContentEncoding, WriteOnly, CaptureLimit,
    ServerTools, Temperature; Coding, Unfit);

const CONVERSION_ERRORS: &[ConversionError] = variants!(ConversionError: Unsupported, NoUsage,
    UnknownMember, Content, TooLarge, Malformed);

const COLLAPSE_FAULTS: &[CollapseFault] = variants!(CollapseFault: Timeout, LeaderFailed, CaptureLimit,
    Unusable);

const MISSES: &[Miss] = variants!(Miss: Absent, Expired, CaptureLimit, ConversionLimit, Origin, NoCache,
    MaxAge, Unusable; Form, Store, Collapse);

const NOT_WHOLE: &[NotWhole] = variants!(NotWhole: Error, Malformed, StrayLines, NoData, Pending,
    AfterEnd, UnknownFinish, Choices, Unfinished, ToolArguments);

const NOT_STORED: &[NotStored] = variants!(NotStored: ZeroTtl, LocalReply, Rerouted, Status, ContentType,
    ContentRange, ContentEncoding, Form, Streams, ResponseTooLarge, CaptureLimit, Unreadable, Length,
    Trailers, Aborted, UnmarkedEnd, FinishLength, FinishFiltered, FinishComplete, Stuttering, Empty,
    OtherModel, VetoedByHeader, LessGeneral; Coding, NotWhole, Store);

const REQUEST_RESULTS: &[RequestResult] = variants!(RequestResult: Hit, Collapsed, ShadowHit;
    Stale, Miss, Bypass);

const STALE: &[StaleBecause] = variants!(StaleBecause: Revalidating, UpstreamFailed);

const ANSWER_RESULTS: &[AnswerResult] = variants!(AnswerResult: Stored; NotStored);

const REFRESH_RESULTS: &[RefreshResult] = variants!(RefreshResult: Sent, ByRequest, Busy);

const SHADOW_RESULTS: &[ShadowResult] = variants!(ShadowResult: Agreed, Disagreed, Incomparable,
    NotWhole);

const OPERATIONS: &[StoreOperation] = variants!(StoreOperation: Lookup, Probe, Write, Delete);

const OPERATION_RESULTS: &[OperationResult] =
    variants!(OperationResult: Found, Absent, Done; Failed);

const REPORTS: &[Report] = variants!(Report: UpstreamAskedInVain; Request, Served, NearMiss, Passed, Answer,
    Evictions, Store, StoreLookup, Breaker, Refresh, Shadow, ShadowSaved);

/// Why requests are kept out.
pub fn bypasses() -> Vec<Bypass> {
    let mut all = BYPASSES.to_vec();
    all.extend(CODING_FAULTS.iter().copied().map(Bypass::Coding));
    all.extend(UNFIT.iter().copied().map(Bypass::Unfit));
    all
}

/// Why requests are not answered from the cache.
pub fn misses() -> Vec<Miss> {
    let mut all = MISSES.to_vec();
    all.extend(CONVERSION_ERRORS.iter().copied().map(Miss::Form));
    all.extend(STORE_FAULTS.iter().copied().map(Miss::Store));
    all.extend(COLLAPSE_FAULTS.iter().copied().map(Miss::Collapse));
    all
}

/// Why answers are not stored.
pub fn not_stored() -> Vec<NotStored> {
    let mut all = NOT_STORED.to_vec();
    all.extend(CODING_FAULTS.iter().copied().map(NotStored::Coding));
    all.extend(NOT_WHOLE.iter().copied().map(NotStored::NotWhole));
    all.extend(STORE_FAULTS.iter().copied().map(NotStored::Store));
    all
}

/// What can come of an operation on the store behind HTTP.
fn operation_results(operation: StoreOperation) -> Vec<OperationResult> {
    let mut all = OPERATION_RESULTS.to_vec();
    let looks_up = matches!(operation, StoreOperation::Lookup | StoreOperation::Probe);
    all.retain(|result| looks_up != (*result == OperationResult::Done));
    all.extend(STORE_FAULTS.iter().copied().map(OperationResult::Failed));
    all
}

/// A report for each counter there can be, those of most requests first. Near misses are left out: each
/// member that API documents name has a counter.
pub fn reports() -> Vec<Report> {
    let mut requests = REQUEST_RESULTS.to_vec();
    requests.extend(STALE.iter().copied().map(RequestResult::Stale));
    requests.extend(misses().into_iter().map(RequestResult::Miss));
    requests.extend(bypasses().into_iter().map(RequestResult::Bypass));
    let mut answers = ANSWER_RESULTS.to_vec();
    answers.extend(not_stored().into_iter().map(AnswerResult::NotStored));
    let mut all: Vec<_> = requests.into_iter().map(Report::Request).collect();
    all.extend(answers.into_iter().map(Report::Answer));
    all.extend(REFRESH_RESULTS.iter().copied().map(Report::Refresh));
    all.extend(SHADOW_RESULTS.iter().copied().map(Report::Shadow));
    for operation in OPERATIONS.iter().copied() {
        let results = operation_results(operation).into_iter();
        all.extend(results.map(|result| Report::Store(operation, result)));
    }
    all.extend_from_slice(REPORTS);
    all.push(Report::Served(Served {
        age: DeltaSeconds::default(),
        cost: UpstreamCost::default(),
    }));
    all.push(Report::Evictions(0));
    all.push(Report::ShadowSaved(UpstreamCost::default()));
    all
}
