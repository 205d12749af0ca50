//! Steps of work, which the fuzzer counts: time differs from run to run, and quadratic code is fast on
//! the small inputs of a fuzzer. In every other build, counting does nothing.

#[cfg(fuzzing)]
thread_local! {
    static TAKEN: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts steps, each of some nanoseconds at most.
#[cfg(fuzzing)]
pub(crate) fn take(steps: usize) {
    TAKEN.with(|taken| taken.set(taken.get().saturating_add(steps)));
}

/// Counts nothing.
#[cfg(not(fuzzing))]
#[inline(always)]
pub(crate) fn take(_steps: usize) {}

/// How many steps this thread has taken since it was last asked.
#[cfg(fuzzing)]
pub fn taken() -> usize {
    TAKEN.with(|taken| taken.replace(0))
}
