//! What one worker knows: the configuration, what its exchanges share, and what it is to do in the
//! background. Data and the rules of each part; what needs several of them at once, or the host, stands
//! in `step`.

mod flights;
mod http_tier;
mod key_headers;
mod models;
mod near_misses;
mod refreshes;
mod released;
mod request_memo;
mod routes;
mod tasks;
mod upstream_watch;

use std::cell::RefCell;
use std::time::Duration;

use crate::budget::CaptureBudget;
use crate::cache::{EntryHead, Freshness, NeededAttributes, freshness};
use crate::clock::UnixMillis;
use crate::config::Config;
use crate::host::Host;
use crate::random::Random;
use crate::store::{Leases, MemoryStore, SharedData, Version};

pub(crate) use flights::{Due, Flights};
pub(crate) use http_tier::HttpTier;
pub(crate) use key_headers::KeyHeaderFilter;
pub(crate) use models::Models;
pub(crate) use near_misses::NearMisses;
pub(crate) use refreshes::Refreshes;
pub(crate) use released::{Release, ReleaseQueue};
pub(crate) use request_memo::{Fingerprint, HitConditions, HitHeaders, MemoEntry, RequestMemo};
pub(crate) use routes::{RouteObserver, what_matters};
pub(crate) use tasks::{Task, TaskQueue};
pub(crate) use upstream_watch::UpstreamWatch;

/// What the exchanges of one worker share, under one configuration.
#[derive(Debug)]
pub struct Worker {
    /// The configuration.
    pub config: Config,
    /// What requests that are held and answers that are captured may take together.
    pub budget: CaptureBudget,
    /// How long an answer may live that is stored under this configuration.
    longest_ttl: Duration,
    pub(crate) memory: Option<MemoryStore>,
    pub(crate) http: Option<HttpTier>,
    pub(crate) leases: Leases,
    queue: Option<u32>,
    pub(crate) flights: Flights,
    pub(crate) refreshes: Refreshes,
    pub(crate) routes: RouteObserver,
    pub(crate) key_headers: KeyHeaderFilter,
    pub(crate) needed: NeededAttributes,
    /// Some requests may be sent once more, to refresh what has expired.
    pub(crate) resends: bool,
    /// Keys what explains keys to clients; `None` explains nothing.
    pub(crate) explaining: Option<[u64; 4]>,
    /// `None` without a random key.
    pub(crate) memo: Option<RequestMemo>,
    pub(crate) near_misses: NearMisses,
    /// `None` if metrics do not tell models apart.
    pub(crate) models: Option<Models>,
    pub(crate) upstream_watch: UpstreamWatch,
    pub(crate) tasks: TaskQueue,
    pub(crate) released: ReleaseQueue,
    random: RefCell<Random>,
}

impl Worker {
    /// A worker without exchanges.
    pub(crate) fn open(config: Config, host: &dyn Host) -> Self {
        let seed = host.random();
        let mut random = Random::new(seed);
        let secret = host.secret();
        let resends = config
            .all_settings()
            .any(|settings| !settings.stale_while_revalidate.is_zero());
        let memory = config.memory.map(|memory| {
            MemoryStore::open(host.shared_data(), memory.max_bytes, memory.max_entry_bytes)
        });
        // Queues cannot be given back: none for a configuration that never needs one.
        let queue = needs_background(&config)
            .then(|| host.register_queue(&format!("llm-cache/worker/{seed:016x}")))
            .and_then(Result::ok);
        let ttls = config
            .all_settings()
            .flat_map(|settings| [settings.ttl, settings.client.max_ttl]);
        Self {
            budget: CaptureBudget::new(config.limits.max_capture_bytes),
            longest_ttl: ttls.max().unwrap_or_default(),
            memory,
            http: (config.http.clone()).map(|http| HttpTier::new(http, random.bits())),
            leases: Leases::new(seed, queue),
            queue,
            flights: Flights::new(random.bits()),
            refreshes: Refreshes::new(),
            routes: RouteObserver::default(),
            key_headers: KeyHeaderFilter::new(&config),
            needed: NeededAttributes::new(config.all_settings()),
            resends,
            explaining: explaining(&config, host),
            memo: secret.map(RequestMemo::new),
            near_misses: NearMisses::new(secret.unwrap_or_default()),
            models: (config.metrics.model).then(|| Models::new(config.metrics.max_models)),
            upstream_watch: UpstreamWatch::default(),
            tasks: TaskQueue::default(),
            released: ReleaseQueue::default(),
            random: RefCell::new(random),
            config,
        }
    }

    /// The freshness of an entry, which lives no longer than what is stored here could: another
    /// gateway may have written it, or an earlier configuration.
    pub(crate) fn freshness(&self, head: &EntryHead, now: UnixMillis) -> Freshness {
        freshness(now, head.created, head.lifetime.min(self.longest_ttl))
    }

    /// The queue that takes messages to this worker, if it has one.
    pub fn queue(&self) -> Option<u32> {
        self.queue
    }

    pub(crate) fn random_bits(&self) -> u32 {
        let [b0, b1, b2, b3, ..] = self.random.borrow_mut().bits().to_le_bytes();
        u32::from_le_bytes([b0, b1, b2, b3])
    }
}

/// Whether requests may be held beyond their own callbacks, or anything be done outside of them.
pub fn needs_background(config: &Config) -> bool {
    config.http.is_some()
        || config.all_settings().any(|settings| {
            !settings.collapse.max_wait.is_zero() || !settings.stale_while_revalidate.is_zero()
        })
}

/// The name of the key that explanations are made with.
const EXPLAINING: &str = "llm-cache/explain";

/// The key that explanations are made with, which all workers of the process share: the first one
/// draws it.
fn explaining(config: &Config, host: &dyn Host) -> Option<[u64; 4]> {
    if !config
        .all_settings()
        .any(|settings| settings.respond.explain)
    {
        return None;
    }
    let shared: &dyn SharedData = host.shared_data();
    let drawn = host.secret()?.map(u64::to_le_bytes);
    // Creates the name, and changes no value that is there: that has another version.
    let _there_already = shared.set(EXPLAINING, drawn.as_flattened(), Some(Version(u32::MAX)));
    let agreed = shared.get(EXPLAINING).ok()??;
    let words = agreed.value.as_chunks::<8>().0;
    Some(
        <[[u8; 8]; 4]>::try_from(words)
            .ok()?
            .map(u64::from_le_bytes),
    )
}
