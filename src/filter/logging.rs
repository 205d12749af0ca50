//! The host's log, which the `log` crate writes to.

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::abi;

/// Sends what is logged to Envoy's log, and a panic's message too. Legal in `_initialize`.
pub(super) fn install() {
    static LOGGER: Logger = Logger;
    // Fails only if there is one already.
    let _already = log::set_logger(&LOGGER);
    std::panic::set_hook(Box::new(|panic| {
        abi::log(abi::LOG_CRITICAL, &panic.to_string())
    }));
}

/// Logs what Envoy would print, and formats nothing else. Legal from `on_vm_start` on.
pub(super) fn adopt_level() {
    log::set_max_level(match abi::log_level() {
        Ok(0) => LevelFilter::Trace,
        Ok(1) => LevelFilter::Debug,
        Ok(2) => LevelFilter::Info,
        Ok(3) => LevelFilter::Warn,
        _ => LevelFilter::Error,
    });
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                Level::Trace => 0,
                Level::Debug => 1,
                Level::Info => 2,
                Level::Warn => 3,
                Level::Error => 4,
            };
            abi::log(level, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}
