//! What is counted while the window is open.

use std::time::Instant;

/// What came of the requests.
pub struct Tally {
    /// Set while measuring: warming up counts nothing but faults.
    pub open: bool,
    /// All requests answered since the start, counted or not.
    pub answered: u64,
    /// Nanoseconds from the first byte written to the last byte read.
    pub latencies: Vec<u64>,
    /// Nanoseconds from one piece of a stream being written by the upstream to its being read.
    pub piece_latencies: Vec<u64>,
    /// Chunks that clients read.
    pub chunks: u64,
    /// Answers that were not what they should be.
    pub unexpected: u64,
    /// Connections that broke while an answer was awaited.
    pub broken: u64,
    /// What the upstream was asked.
    pub upstream: u64,
    epoch: Instant,
}

impl Tally {
    pub fn new() -> Self {
        Self {
            open: false,
            answered: 0,
            latencies: Vec::with_capacity(1 << 20),
            piece_latencies: Vec::with_capacity(1 << 20),
            chunks: 0,
            unexpected: 0,
            broken: 0,
            upstream: 0,
            epoch: Instant::now(),
        }
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The first answer that is wrong is shown.
    pub fn wrong(&mut self, what: &str, head: &[u8]) {
        if self.unexpected == 0 {
            eprintln!("load: {what}: {}", String::from_utf8_lossy(head));
        }
        self.unexpected += 1;
    }
}

/// The value below which `share` of the sorted values lie, in microseconds.
pub fn percentile(sorted: &[u64], share: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let last = sorted.len() - 1;
    let index = (last as f64 * share).round() as usize;
    let value = sorted[index.min(last)] as f64;
    value / 1000.0
}
