//! The load generator of `make bench`, and the upstream behind what it loads, in one loop on one
//! core, so that on a machine with two cores the other one belongs to the proxy alone. It asks the
//! kernel again and again what is ready, and never sleeps: a proxy that had to wake it would pay for
//! that with processor time of its own, and the more often the slower it is than the load.
//!
//!     load --target 127.0.0.1:10000 --request FILE --seconds 2 --pids 123
//!
//! prints one line of JSON, in which `load_busy_us` is how long it had something to do. Every
//! connection asks again as soon as it is answered. Options:
//!
//!     --connections N     how many at once (1)
//!     --warm S            seconds before measuring (0)
//!     --sleep 1           sleep while nothing is ready: somebody else has work to do on this core
//!     --seconds S         seconds of measuring; or
//!     --count N           that many requests, all of them measured
//!     --pids A,B          whose processor time is read, when measuring begins and ends
//!     --first N           the first number to put where the request has ################ (0)
//!     --distinct N        how many different numbers there are (no end)
//!     --expect TEXT       what the head of every answer must contain
//!     --expect-bytes N    the length of every answer's body
//!     --upstream-fd FD    a listening socket, inherited: be the upstream too
//!     --answer FILE       what the upstream answers: a whole HTTP/1.1 response
//!     --pace-us N         the upstream sends the events of the answer one by one, N us apart, as
//!                         chunks, with the time after `~T` in them

mod client;
mod cpu;
mod framing;
mod tally;
mod upstream;

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::os::fd::FromRawFd;
use std::str::FromStr;
use std::time::Duration;

use mio::{Events, Poll, Token};

use client::{Client, Plan};
use tally::{Tally, percentile};
use upstream::{Answer, Upstream};

/// Stands in a request for its number.
const COUNTER: &[u8] = b"################";
/// Stands in a piece of a stream before the time at which it was written.
const STAMP: &[u8] = b"~T";
const STAMP_DIGITS: usize = 20;

const LISTENER: Token = Token(1 << 20);

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(std::env::args().skip(1))?;
    let mut poll = Poll::new()?;
    let connections: usize = options.number("connections", 1)?;
    let pids = options.pids()?;
    let mut plan = options.plan()?;
    let mut upstream = options.upstream(&poll, connections)?;
    let mut tally = Tally::new();
    let mut clients = (0..connections)
        .map(|index| Client::connect(&plan, poll.registry(), Token(index)))
        .collect::<io::Result<Vec<_>>>()?;

    let count = plan.count;
    let window_from = seconds_to_nanos(options.number("warm", 0.0)?);
    let window_to = window_from + seconds_to_nanos(options.number("seconds", 0.0)?);
    let sleeps = options.number("sleep", 0)? != 0;
    let timeout = if sleeps {
        Duration::from_millis(20)
    } else {
        Duration::ZERO
    };
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    let mut begin = Reading::default();
    // Nanoseconds of turns of the loop, since the window opened, in which there was something to do.
    let mut busy = 0;
    let mut turn = 0;
    let mut idle = true;
    let end = loop {
        let now = tally.now();
        if tally.open && !idle {
            busy += now - turn;
        }
        turn = now;
        if !tally.open && now >= window_from {
            tally.open = true;
            begin = Reading::take(now, &pids)?;
        }
        let over = if count > 0 {
            tally.answered + tally.broken >= count
        } else {
            now >= window_to
        };
        if tally.open && over {
            break Reading::take(now, &pids)?;
        }
        let mut played = false;
        if let Some(upstream) = &mut upstream {
            played = upstream.play(&tally)?;
        }
        poll.poll(&mut events, Some(timeout))?;
        idle = events.is_empty() && !played;
        for event in &events {
            let registry = poll.registry();
            if event.token() < LISTENER {
                clients[event.token().0].ready(&mut plan, &mut tally, registry, &mut buffer)?;
            } else if let Some(upstream) = &mut upstream {
                upstream.ready(event.token(), &mut tally, registry, &mut buffer)?;
            }
        }
    };

    let load = end.load - begin.load;
    // What sleeps has nothing to do, and a turn may be sleep for the most part.
    let busy = if sleeps { load } else { busy };
    tally.latencies.sort_unstable();
    tally.piece_latencies.sort_unstable();
    println!(
        "{{\"requests\": {}, \"seconds\": {:.6}, \"cpu_us\": {:.1}, \"load_cpu_us\": {:.1}, \
         \"load_busy_us\": {:.1}, \"all_cpu_us\": {:.1}, \
         \"p50_us\": {:.1}, \"p99_us\": {:.1}, \"pieces\": {}, \"chunks\": {}, \
         \"piece_p50_us\": {:.1}, \"piece_p99_us\": {:.1}, \"unexpected\": {}, \"broken\": {}, \
         \"upstream\": {}}}",
        tally.latencies.len(),
        (end.at - begin.at) as f64 / 1e9,
        end.proxy.saturating_sub(begin.proxy) as f64 / 1e3,
        load as f64 / 1e3,
        busy as f64 / 1e3,
        (end.all - begin.all) as f64 / 1e3,
        percentile(&tally.latencies, 0.5),
        percentile(&tally.latencies, 0.99),
        tally.piece_latencies.len(),
        tally.chunks,
        percentile(&tally.piece_latencies, 0.5),
        percentile(&tally.piece_latencies, 0.99),
        tally.unexpected,
        tally.broken,
        tally.upstream,
    );
    Ok(())
}

/// Processor time used so far, in nanoseconds, and when that was.
#[derive(Default)]
struct Reading {
    at: u64,
    proxy: u64,
    load: u64,
    all: u64,
}

impl Reading {
    fn take(at: u64, proxy: &[u32]) -> io::Result<Self> {
        Ok(Self {
            at,
            proxy: cpu::used(proxy)?,
            load: cpu::used_here()?,
            all: cpu::used_by_all()?,
        })
    }
}

fn seconds_to_nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

struct Options(HashMap<String, String>);

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = HashMap::new();
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} wants a value"))?;
            options.insert(name.trim_start_matches("--").to_owned(), value);
        }
        Ok(Self(options))
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        self.0
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| format!("--{name} is missing"))
    }

    fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        match self.0.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("--{name} {text} is no number")),
        }
    }

    fn pids(&self) -> Result<Vec<u32>, String> {
        let text = self.0.get("pids").map_or("", String::as_str);
        text.split(',')
            .filter(|pid| !pid.is_empty())
            .map(|pid| {
                pid.parse()
                    .map_err(|_| format!("--pids {pid} is no number"))
            })
            .collect()
    }

    fn plan(&self) -> Result<Plan, Box<dyn Error>> {
        let request = std::fs::read(self.text("request")?)?;
        Ok(Plan {
            target: self.text("target")?.parse()?,
            counter_at: framing::find(&request, COUNTER),
            request,
            first: self.number("first", 0)?,
            distinct: self.number("distinct", 0)?,
            count: self.number("count", 0)?,
            expect: self
                .0
                .get("expect")
                .cloned()
                .unwrap_or_default()
                .into_bytes(),
            expect_bytes: self.number("expect-bytes", 0)?,
            stamped: self.number("pace-us", 0)? != 0,
            begun: 0,
        })
    }

    fn upstream(&self, poll: &Poll, streams: usize) -> Result<Option<Upstream>, Box<dyn Error>> {
        let Ok(descriptor) = self.text("upstream-fd") else {
            return Ok(None);
        };
        // SAFETY: whoever starts this process hands the descriptor over for nothing else.
        let listener = unsafe { std::net::TcpListener::from_raw_fd(descriptor.parse()?) };
        listener.set_nonblocking(true)?;
        let answer = std::fs::read(self.text("answer")?)?;
        let answer = match self.number("pace-us", 0)? {
            0 => Answer::at_once(answer),
            pace => Answer::paced(&answer, pace * 1000, streams as u64)?,
        };
        let listener = mio::net::TcpListener::from_std(listener);
        Ok(Some(Upstream::new(
            listener,
            LISTENER,
            answer,
            poll.registry(),
        )?))
    }
}
