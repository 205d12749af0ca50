//! What processes have used of the processor, in nanoseconds: user and system, all threads.

use std::{fs, io};

/// The sum over processes. `/proc/<pid>/stat` counts ticks of 10 ms; `schedstat` nanoseconds.
///
/// A thread that is gone counts nothing: nginx's cache loader ends a minute after its start, having
/// done next to nothing. A server that is gone is noticed by its connections.
pub fn used(pids: &[u32]) -> io::Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).map(Iterator::collect::<Vec<_>>);
        for task in unless_gone(tasks)?.unwrap_or_default() {
            let used =
                task.and_then(|task| on_cpu(&format!("{}/schedstat", task.path().display())));
            sum += unless_gone(used)?.unwrap_or(0);
        }
    }
    Ok(sum)
}

fn unless_gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    const NO_SUCH_PROCESS: i32 = 3;
    match found {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(NO_SUCH_PROCESS) =>
        {
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// What this thread has used.
pub fn used_here() -> io::Result<u64> {
    on_cpu("/proc/thread-self/schedstat")
}

/// What all processes have used, as far as ticks of 10 ms tell; waiting and stolen time is no use.
pub fn used_by_all() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, and what is not ours to use.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum();
    Ok(busy * 10_000_000)
}

fn on_cpu(path: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let first = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    first.ok_or_else(|| io::Error::other(format!("{path} says {text:?}")))
}
