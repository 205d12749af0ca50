//! `Cache-Status` (RFC 9211) and `x-cache`.

use crate::clock::DeltaSeconds;
use std::fmt;
use std::time::Duration;

/// The cache's name in `Cache-Status`.
const NAME: &str = "envoy-llm-cache";

/// How the cache handled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// Answered from the cache.
    Hit {
        /// The time until the entry expires.
        ttl: DeltaSeconds,
        /// The store it came from.
        tier: Tier,
    },
    /// Answered with an entry that has expired, while it is refreshed.
    Stale {
        /// For how long it has been.
        expired_for: Duration,
        /// The store it came from.
        tier: Tier,
    },
    /// Answered with an entry that has expired, because the upstream failed.
    StaleIfError {
        /// For how long it has been.
        expired_for: Duration,
        /// The status that the upstream gave, or Envoy in its place.
        status: u16,
    },
    /// Answered with the answer to an identical request that was in flight.
    Collapsed {
        /// Why it would have gone to the upstream.
        because: Forward,
        /// The time until the entry expires.
        ttl: DeltaSeconds,
    },
    /// Went on to the upstream.
    Forwarded {
        /// Why (RFC 9211, section 2.2).
        because: Forward,
        /// Why in more detail, as a token.
        detail: Option<&'static str>,
        /// It had waited for the answer to an identical request, which did not serve it.
        waited: bool,
    },
    /// Answered by the cache without an entry and without the upstream.
    Refused {
        /// Why, as a token.
        detail: &'static str,
    },
}

/// Where an entry was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Envoy's shared data.
    Memory,
    /// The store behind HTTP.
    Http,
}

impl Tier {
    fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Http => "http",
        }
    }
}

/// Why a request went on to the upstream (RFC 9211, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache was told, or decided, not to look.
    Bypass,
    /// The request's directives kept it from using what it may have had.
    Request,
    /// There was no entry for this key.
    UriMiss,
    /// There was an entry, but none that fits.
    Miss,
    /// The entry had expired.
    Stale,
}

impl Forward {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Request => "request",
            Self::UriMiss => "uri-miss",
            Self::Miss => "miss",
            Self::Stale => "stale",
        }
    }
}

impl CacheStatus {
    /// The value of `x-cache`.
    pub fn x_cache(&self) -> &'static str {
        match self {
            Self::Hit { .. } | Self::Collapsed { .. } => "HIT",
            Self::Stale { .. } | Self::StaleIfError { .. } => "STALE",
            Self::Forwarded {
                because: Forward::Bypass,
                ..
            } => "BYPASS",
            Self::Forwarded { .. } | Self::Refused { .. } => "MISS",
        }
    }
}

impl fmt::Display for CacheStatus {
    /// The value of `Cache-Status`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit { ttl, tier } => {
                write!(f, "{NAME}; hit; ttl={ttl}; detail={}", tier.as_str())
            }
            // A lifetime that is over is a negative one (RFC 9211, section 2.4). A part of a second counts
            // as one: `ttl=-0` would be fresh.
            Self::Stale { expired_for, tier } => {
                let seconds = DeltaSeconds::ceil(*expired_for);
                write!(f, "{NAME}; hit; ttl=-{seconds}; detail={}", tier.as_str())
            }
            Self::StaleIfError {
                expired_for,
                status,
            } => {
                let seconds = DeltaSeconds::ceil(*expired_for);
                write!(
                    f,
                    "{NAME}; fwd=stale; fwd-status={status}; ttl=-{seconds}; detail=stale_if_error"
                )
            }
            Self::Collapsed { because, ttl } => {
                write!(f, "{NAME}; fwd={}; collapsed; ttl={ttl}", because.as_str())
            }
            Self::Forwarded {
                because,
                detail,
                waited,
            } => {
                write!(f, "{NAME}; fwd={}", because.as_str())?;
                // Section 2.6: false where a new request had to be made.
                if *waited {
                    f.write_str("; collapsed=?0")?;
                }
                match detail {
                    Some(detail) => write!(f, "; detail={detail}"),
                    None => Ok(()),
                }
            }
            Self::Refused { detail } => write!(f, "{NAME}; detail={detail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_reads_as_rfc_9211_writes_it() {
        let forwarded = |because, detail| CacheStatus::Forwarded {
            because,
            detail,
            waited: false,
        };
        for (status, x_cache, value) in [
            (
                CacheStatus::Hit {
                    ttl: DeltaSeconds::new(3_540),
                    tier: Tier::Memory,
                },
                "HIT",
                "envoy-llm-cache; hit; ttl=3540; detail=memory",
            ),
            (
                CacheStatus::Hit {
                    ttl: DeltaSeconds::new(0),
                    tier: Tier::Http,
                },
                "HIT",
                "envoy-llm-cache; hit; ttl=0; detail=http",
            ),
            (
                CacheStatus::Stale {
                    expired_for: Duration::from_millis(11_001),
                    tier: Tier::Memory,
                },
                "STALE",
                "envoy-llm-cache; hit; ttl=-12; detail=memory",
            ),
            (
                CacheStatus::StaleIfError {
                    expired_for: Duration::from_secs(12),
                    status: 503,
                },
                "STALE",
                "envoy-llm-cache; fwd=stale; fwd-status=503; ttl=-12; detail=stale_if_error",
            ),
            (
                CacheStatus::Collapsed {
                    because: Forward::UriMiss,
                    ttl: DeltaSeconds::new(3_599),
                },
                "HIT",
                "envoy-llm-cache; fwd=uri-miss; collapsed; ttl=3599",
            ),
            (
                CacheStatus::Forwarded {
                    because: Forward::Miss,
                    detail: Some("collapse_timeout"),
                    waited: true,
                },
                "MISS",
                "envoy-llm-cache; fwd=miss; collapsed=?0; detail=collapse_timeout",
            ),
            (
                forwarded(Forward::UriMiss, None),
                "MISS",
                "envoy-llm-cache; fwd=uri-miss",
            ),
            (
                forwarded(Forward::Bypass, Some("request_too_large")),
                "BYPASS",
                "envoy-llm-cache; fwd=bypass; detail=request_too_large",
            ),
            (
                forwarded(Forward::Request, None),
                "MISS",
                "envoy-llm-cache; fwd=request",
            ),
            (
                forwarded(Forward::Stale, None),
                "MISS",
                "envoy-llm-cache; fwd=stale",
            ),
            (
                forwarded(Forward::Miss, Some("wire")),
                "MISS",
                "envoy-llm-cache; fwd=miss; detail=wire",
            ),
            (
                CacheStatus::Refused {
                    detail: "only_if_cached",
                },
                "MISS",
                "envoy-llm-cache; detail=only_if_cached",
            ),
        ] {
            assert_eq!(status.x_cache(), x_cache);
            assert_eq!(status.to_string(), value);
        }
    }
}
