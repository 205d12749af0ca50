//! The loop between a host and the exchanges and background tasks of one worker. A host makes a
//! [`WorkerContext`] for each worker and configuration and a [`StreamContext`] for each stream, and
//! forwards its callbacks to them.

mod stream;
mod worker;

pub use stream::StreamContext;
pub use worker::WorkerContext;

#[cfg(test)]
mod tests;
