//! Which share of requests the memory store answers on traffic as LLM gateways see it, beside what
//! other policies would with the same room. Not a measurement of time: the table is the same on
//! every machine.
//!
//! The other policies have the whole room as one; the store is cut into sets of 1 MiB. All of them
//! count bytes, and no more entries than the store has slots.
#![expect(clippy::print_stdout, reason = "it is its purpose")]
#![expect(clippy::indexing_slicing, reason = "a panic ends the benchmark only")]
#![expect(clippy::unwrap_used, reason = "a panic ends the benchmark only")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, VecDeque};

use envoy_llm_cache::clock::UnixMillis;
use envoy_llm_cache::store::{HostFault, MemoryStore, SetFault, SharedData, Version, Versioned};

const REQUESTS: u64 = 200_000;
const MIB: u64 = 1 << 20;
/// Slots of a set, what a slot costs beside the answer, and what a set has room for.
const WAYS: usize = 256;
const OVERHEAD: u64 = 64 + 43;
const SET_ROOM: u64 = MIB - 40_000;

/// Which answer a request is for, and how long it is.
#[derive(Clone, Copy)]
struct Request {
    key: u64,
    bytes: u32,
}

impl Request {
    fn charge(self) -> u64 {
        u64::from(self.bytes) + OVERHEAD
    }
}

struct Trace {
    name: &'static str,
    mib: u64,
    requests: Vec<Request>,
}

/// How many of the requests are hits.
type Hits = fn(&Trace) -> usize;

fn main() {
    let policies: [(&str, Hits); 5] = [
        ("this store", this_store),
        ("LRU", lru),
        ("S3-FIFO", s3_fifo),
        ("SIEVE", sieve),
        ("optimum", optimum),
    ];
    let names = policies.map(|(name, _)| name).join(" | ");
    println!("| traffic | room | {names} |\n|---|--:|--:|--:|--:|--:|--:|");
    for trace in traces() {
        let shares = policies.map(|(_, hits)| {
            let share = hits(&trace) as f64 / trace.requests.len() as f64;
            format!("{:.1} %", share * 100.0)
        });
        let Trace { name, mib, .. } = trace;
        println!("| {name} | {mib} MiB | {} |", shares.join(" | "));
    }
}

fn traces() -> Vec<Trace> {
    let popular = Zipf::new(20_000);
    // No popular answer has such a key.
    let unique = |number: u64| (1 << 40) + number;
    let plain = |key| Request { key, bytes: 2_000 };
    let trace = |name, mib, request: &mut dyn FnMut(u64, &mut Random) -> Request| {
        let mut random = Random(7);
        let requests = (0..REQUESTS).map(|number| request(number, &mut random));
        Trace {
            name,
            mib,
            requests: requests.collect(),
        }
    };
    let mixed = |number, random: &mut Random, share, key: &dyn Fn(u64) -> u64| {
        if random.unit() < share {
            unique(number)
        } else {
            key(popular.draw(random))
        }
    };
    vec![
        trace("75 % unique, others Zipf", 4, &mut |number, random| {
            plain(mixed(number, random, 0.75, &|rank| rank))
        }),
        trace("Zipf", 4, &mut |number, random| {
            plain(mixed(number, random, 0.0, &|rank| rank))
        }),
        trace(
            "75 % unique, popularity drifts fast",
            4,
            &mut |number, random| plain(mixed(number, random, 0.75, &|rank| rank + number / 4)),
        ),
        trace(
            "75 % unique, all anew after 20,000",
            4,
            &mut |number, random| {
                let phase = number / 20_000 * 100_000;
                plain(mixed(number, random, 0.75, &|rank| rank + phase))
            },
        ),
        trace(
            "50 % unique, 1 to 200 KB, log-normal",
            16,
            &mut |number, random| {
                let key = mixed(number, random, 0.5, &|rank| rank);
                let bytes = log_normal(key);
                Request { key, bytes }
            },
        ),
        trace("Zipf, and a scan of 5,000", 4, &mut |number, random| {
            let share = if number % 20_000 < 15_000 { 0.0 } else { 1.0 };
            plain(mixed(number, random, share, &|rank| rank))
        }),
        agents(),
    ]
}

/// Eight agents at once. A session asks 10 to 40 times, each prompt longer than the one before; 40 %
/// of the sessions are runs of one of 500 scripts, the others never come again.
fn agents() -> Trace {
    struct Session {
        script: u64,
        turn: u64,
    }
    let scripts = Zipf::new(500);
    let mut random = Random(7);
    let mut sessions: Vec<Session> = Vec::new();
    let mut requests = Vec::new();
    for number in 0..REQUESTS {
        while sessions.len() < 8 {
            let script = if random.unit() < 0.6 {
                1_000_000 + number * 8 + sessions.len() as u64
            } else {
                scripts.draw(&mut random)
            };
            sessions.push(Session { script, turn: 0 });
        }
        let which = (random.next() % 8) as usize;
        let Session { script, turn } = &mut sessions[which];
        requests.push(Request {
            key: *script * 100 + *turn,
            bytes: (1_000 + 400 * *turn) as u32,
        });
        *turn += 1;
        if *turn == 10 + spread(*script) % 31 {
            sessions.swap_remove(which);
        }
    }
    Trace {
        name: "sessions of agents",
        mib: 4,
        requests,
    }
}

fn this_store(trace: &Trace) -> usize {
    let shared = Shared::default();
    let store = MemoryStore::open(&shared, trace.mib * MIB, 1 << 20);
    let entry = vec![b'.'; 200_000];
    let mut hits = 0;
    for (number, request) in (0_u64..).zip(&trace.requests) {
        let mut key = [0; 32];
        for (word, salt) in key.as_chunks_mut::<8>().0.iter_mut().zip(0..) {
            *word = spread(request.key ^ salt << 56).to_le_bytes();
        }
        let found = store
            .look_up(&shared, &key, UnixMillis::from_millis(number))
            .unwrap();
        if found.is_some() {
            hits += 1;
        } else {
            let entry = &entry[..request.bytes as usize];
            let (now, expires) = (
                UnixMillis::from_millis(1_000),
                UnixMillis::from_millis(2_000),
            );
            store.insert(&shared, &key, entry, now, expires).unwrap();
        }
    }
    hits
}

/// Shared data in a map.
#[derive(Default)]
struct Shared {
    values: RefCell<HashMap<String, Versioned>>,
    versions: Cell<u32>,
}

impl SharedData for Shared {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        Ok(self.values.borrow().get(name).cloned())
    }

    fn set(&self, name: &str, value: &[u8], _version: Option<Version>) -> Result<(), SetFault> {
        self.versions.set(self.versions.get() + 1);
        let version = Version(self.versions.get());
        let value = value.to_vec().into();
        let versioned = Versioned { value, version };
        self.values.borrow_mut().insert(name.to_owned(), versioned);
        Ok(())
    }
}

/// What is left of the room of a whole store.
struct Room {
    bytes: u64,
    slots: usize,
}

impl Room {
    fn of(trace: &Trace) -> Self {
        Self {
            bytes: trace.mib * SET_ROOM,
            slots: trace.mib as usize * WAYS,
        }
    }

    fn fits(&self, request: Request) -> bool {
        self.slots > 0 && self.bytes >= request.charge()
    }

    fn take(&mut self, request: Request) {
        self.bytes -= request.charge();
        self.slots -= 1;
    }

    fn give_back(&mut self, request: Request) {
        self.bytes += request.charge();
        self.slots += 1;
    }
}

fn lru(trace: &Trace) -> usize {
    let mut room = Room::of(trace);
    let mut used_at: HashMap<u64, usize> = HashMap::new();
    let mut order: BTreeSet<(usize, u64)> = BTreeSet::new();
    let mut hits = 0;
    for (now, request) in trace.requests.iter().enumerate() {
        if let Some(before) = used_at.insert(request.key, now) {
            order.remove(&(before, request.key));
            hits += 1;
        } else {
            while !room.fits(*request) {
                let (used, key) = order.pop_first().unwrap();
                used_at.remove(&key);
                room.give_back(trace.requests[used]);
            }
            room.take(*request);
        }
        order.insert((now, request.key));
    }
    hits
}

/// As in J. Yang and others, "FIFO Queues are All You Need for Cache Eviction" (SOSP 2023): a tenth
/// for new entries, counts up to 3, as many ghosts as entries.
fn s3_fifo(trace: &Trace) -> usize {
    let whole = Room::of(trace);
    let (mut room, mut small_room) = (Room::of(trace), Room::of(trace));
    let (mut small, mut main) = (VecDeque::new(), VecDeque::new());
    let mut ghosts: VecDeque<u64> = VecDeque::new();
    let mut counts: HashMap<u64, u8> = HashMap::new();
    let mut hits = 0;
    for request in &trace.requests {
        if let Some(count) = counts.get_mut(&request.key) {
            *count = 3.min(*count + 1);
            hits += 1;
            continue;
        }
        while !room.fits(*request) {
            let is_over = whole.bytes - small_room.bytes > whole.bytes / 10
                || whole.slots - small_room.slots > whole.slots / 10;
            if !small.is_empty() && (is_over || main.is_empty()) {
                let old: Request = small.pop_back().unwrap();
                small_room.give_back(old);
                if counts[&old.key] > 1 {
                    counts.insert(old.key, 0);
                    main.push_front(old);
                } else {
                    counts.remove(&old.key);
                    room.give_back(old);
                    ghosts.push_front(old.key);
                    ghosts.truncate(whole.slots);
                }
            } else {
                let old: Request = main.pop_back().unwrap();
                let count = counts.get_mut(&old.key).unwrap();
                if *count > 0 {
                    *count -= 1;
                    main.push_front(old);
                } else {
                    counts.remove(&old.key);
                    room.give_back(old);
                }
            }
        }
        room.take(*request);
        counts.insert(request.key, 0);
        if ghosts.contains(&request.key) {
            main.push_front(*request);
        } else {
            small_room.take(*request);
            small.push_front(*request);
        }
    }
    hits
}

/// As in Y. Zhang and others, "SIEVE is Simpler than LRU" (NSDI 2024).
fn sieve(trace: &Trace) -> usize {
    let mut room = Room::of(trace);
    // The oldest first.
    let mut queue: Vec<Request> = Vec::new();
    let mut visited: HashMap<u64, bool> = HashMap::new();
    let (mut hand, mut hits) = (0, 0);
    for request in &trace.requests {
        if let Some(visited) = visited.get_mut(&request.key) {
            *visited = true;
            hits += 1;
            continue;
        }
        while !room.fits(*request) {
            if hand == queue.len() {
                hand = 0;
            }
            let old = queue[hand];
            if visited.insert(old.key, false) == Some(false) {
                visited.remove(&old.key);
                room.give_back(queue.remove(hand));
            } else {
                hand += 1;
            }
        }
        room.take(*request);
        visited.insert(request.key, false);
        queue.push(*request);
    }
    hits
}

/// What is asked for again last goes first (L. Belady, 1966): no policy has more hits where all
/// answers are of one length.
fn optimum(trace: &Trace) -> usize {
    let mut next = vec![usize::MAX; trace.requests.len()];
    let mut last: HashMap<u64, usize> = HashMap::new();
    for (now, request) in trace.requests.iter().enumerate().rev() {
        if let Some(later) = last.insert(request.key, now) {
            next[now] = later;
        }
    }
    let mut room = Room::of(trace);
    let mut held: BTreeSet<usize> = BTreeSet::new();
    let mut hits = 0;
    for (now, request) in trace.requests.iter().enumerate() {
        if held.remove(&now) {
            room.give_back(*request);
            hits += 1;
        }
        if next[now] == usize::MAX {
            continue;
        }
        // For a moment there is one too many.
        held.insert(next[now]);
        while !room.fits(*request) {
            let farthest = held.pop_last().unwrap();
            if farthest == next[now] {
                break;
            }
            room.give_back(trace.requests[farthest]);
        }
        if held.contains(&next[now]) {
            room.take(*request);
        }
    }
    hits
}

/// The probability of rank r is as 1 / (r + 1)^0.9.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(ranks: u32) -> Self {
        let mut sum = 0.0;
        let sums = (1..=ranks).map(|rank| {
            sum += f64::from(rank).powf(-0.9);
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let drawn = random.unit() * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum < drawn) as u64
    }
}

/// The length of the answer under a key: half of them are shorter than 8 KB.
fn log_normal(key: u64) -> u32 {
    let mut random = Random(spread(key) | 1);
    let (radius, angle) = (random.unit().max(1e-12), random.unit());
    let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
    (8_000.0 * (1.2 * normal).exp()).clamp(1_000.0, 200_000.0) as u32
}

/// As a digest would.
fn spread(key: u64) -> u64 {
    Random(key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).next()
}

/// xorshift64* (S. Vigna, 2016). Its state is never 0.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
