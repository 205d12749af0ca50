//! Trailers: whether they may say that the answer before them failed.

use crate::http::Headers;

/// Trailers that say nothing of whether the answer is good: digests, dates, traces, times.
const HARMLESS: [&str; 12] = [
    "content-digest",
    "content-md5",
    "date",
    "digest",
    "etag",
    "expires",
    "last-modified",
    "repr-digest",
    "server-timing",
    "traceparent",
    "tracestate",
    "x-request-id",
];

/// Whether no trailer may report a failure. A server that has sent 200 reports a later error in a
/// trailer, under a name of its own, so an unknown name counts as a failure.
pub(crate) fn are_harmless(trailers: &Headers) -> bool {
    trailers.iter().all(|(name, value)| match name {
        b"grpc-status" => value == b"0",
        b"grpc-message" => value.is_empty(),
        name => {
            HARMLESS.iter().any(|known| known.as_bytes() == name)
                || name.starts_with(b"x-amz-checksum-")
                || is_trace(name)
        }
    })
}

/// `x-cloud-trace-context` and the like.
fn is_trace(name: &[u8]) -> bool {
    let ends: [&[u8]; 3] = [b"-trace", b"-trace-id", b"-trace-context"];
    name.starts_with(b"x-") && ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trailers_that_are_known_to_say_nothing_of_the_answer_are_harmless() {
        for (name, value, harmless) in [
            ("server-timing", "total;dur=120", true),
            ("etag", "\"a\"", true),
            ("content-digest", "sha-256=:AA==:", true),
            ("x-amz-checksum-crc32", "AAAAAA==", true),
            ("x-cloud-trace-context", "1/2;o=1", true),
            ("x-b3-trace-id", "1", true),
            ("grpc-status", "0", true),
            ("grpc-message", "", true),
            ("grpc-status", "13", false),
            ("grpc-status", "00", false),
            ("grpc-status", "", false),
            ("grpc-message", "out of memory", false),
            ("error", "", false),
            ("x-error", "1", false),
            ("x-stream-error", "upstream reset", false),
            ("x-amz-errortype", "ThrottlingException", false),
            ("x-amzn-errortype", "ThrottlingException", false),
            ("status", "500", false),
            ("warning", "299 - cut", false),
            ("x-error-trace-state", "1", false),
            ("x-whatever", "", false),
        ] {
            let trailers: Headers = [("date", "now"), (name, value)].into_iter().collect();
            assert_eq!(are_harmless(&trailers), harmless, "{name}: {value}");
        }
        assert!(are_harmless(&Headers::new()));
    }
}
