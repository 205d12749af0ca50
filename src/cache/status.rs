//! `Cache-Status` (RFC 9211) and `x-cache`.

use std::fmt;

/// The cache's name in `Cache-Status`.
const NAME: &str = "envoy-llm-cache";

/// How the cache handled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// Answered from the cache.
    Hit {
        /// Seconds until the entry expires.
        ttl: u64,
        /// The store it came from.
        tier: Tier,
    },
    /// Went on to the upstream.
    Forwarded {
        /// Why (RFC 9211, section 2.2).
        because: Forward,
        /// Why in more detail, as a token.
        detail: Option<&'static str>,
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
            Self::Hit { .. } => "HIT",
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
            Self::Forwarded { because, detail } => {
                write!(f, "{NAME}; fwd={}", because.as_str())?;
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
        let forwarded = |because, detail| CacheStatus::Forwarded { because, detail };
        for (status, x_cache, value) in [
            (
                CacheStatus::Hit {
                    ttl: 3_540,
                    tier: Tier::Memory,
                },
                "HIT",
                "envoy-llm-cache; hit; ttl=3540; detail=memory",
            ),
            (
                CacheStatus::Hit {
                    ttl: 0,
                    tier: Tier::Http,
                },
                "HIT",
                "envoy-llm-cache; hit; ttl=0; detail=http",
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
