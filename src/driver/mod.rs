//! The loop between a host and the exchanges and tasks of one worker: callbacks in, and what is to be
//! done outside of them. A host makes a [`WorkerContext`] for each worker and configuration and a
//! [`StreamContext`] for each stream, and calls both.

mod stream;
mod worker;

pub use stream::StreamContext;
pub use worker::WorkerContext;

#[cfg(test)]
mod tests;
