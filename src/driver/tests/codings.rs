//! Compressed requests, and the codings that the upstream is offered.

use std::io::Write;

use super::*;
use crate::coding::CodingFault;

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 3).unwrap()
}

fn deflate(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The text in these codings, flushed after each of its lines, and how many bytes of it clients
/// need to read all of the text.
fn flushed(text: &str) -> [(&'static str, Vec<u8>, usize); 3] {
    fn write<W: Write>(mut encoder: W, text: &str) -> W {
        for line in text.split_inclusive('\n') {
            encoder.write_all(line.as_bytes()).unwrap();
            encoder.flush().unwrap();
        }
        encoder
    }
    let fast = flate2::Compression::fast();
    let gzip = write(flate2::write::GzEncoder::new(Vec::new(), fast), text);
    let zlib = write(flate2::write::ZlibEncoder::new(Vec::new(), fast), text);
    let zstd = write(zstd::Encoder::new(Vec::new(), 3).unwrap(), text);
    let needed = [gzip.get_ref(), zlib.get_ref(), zstd.get_ref()].map(Vec::len);
    [
        ("gzip", gzip.finish().unwrap(), needed[0]),
        ("deflate", zlib.finish().unwrap(), needed[1]),
        ("zstd", zstd.finish().unwrap(), needed[2]),
    ]
}

/// How an answer ends.
#[derive(Clone, Copy)]
enum End {
    Whole,
    Closed(Closer),
}

const CLIENT_GONE: End = End::Closed(Closer::Client);
const UPSTREAM_GONE: End = End::Closed(Closer::Host);
const BODY_ENDS: End = End::Whole;

/// An exchange whose answer comes in this coding.
fn coming(worker: &Rc<TestWorker>, coding: &str, body: &[u8], extra: Extra<'_>) -> Host {
    let mut host = Host::new(worker);
    host.request(&post(&[("accept-encoding", coding)]), ASK_STREAM);
    let lines = [&[("content-encoding", coding)], extra].concat();
    host.response_headers(&ok("text/event-stream", &lines), true);
    for chunk in body.chunks(7) {
        host.response_bytes(chunk, false);
    }
    host
}

/// The same, and how it ends.
fn ended(worker: &Rc<TestWorker>, coding: &str, body: &[u8], end: End) -> Host {
    let mut host = coming(worker, coding, body, &[]);
    match end {
        End::Whole => host.response_body("", true),
        End::Closed(closer) => host.close_by(closer),
    }
    host
}

#[test]
fn a_client_that_hangs_up_before_its_coding_ends_leaves_a_plain_answer() {
    let worker = worker("{}");
    for (coding, body, needed) in flushed(STREAM) {
        for come in needed..body.len() {
            let stored = || ended(&worker, coding, &body[..come], CLIENT_GONE);
            assert_eq!(stored().answer_result(), Some(AnswerResult::Stored));
            for accepts in [&[][..], &[("accept-encoding", coding)]] {
                let hit = again(&worker, stored(), &post(accepts), ASK_STREAM, 0);
                assert_eq!(text_of(&hit), STREAM, "{coding} {come}");
                assert_eq!(hit.header("content-encoding"), None);
                assert_eq!(hit.header("content-type").unwrap(), "text/event-stream");
            }
        }
        // Whatever has come in whole stays as it is.
        let whole = ended(&worker, coding, &body, CLIENT_GONE);
        let accepts = post(&[("accept-encoding", coding)]);
        let hit = again(&worker, whole, &accepts, ASK_STREAM, 0);
        assert_eq!(hit.reply().unwrap().body.as_bytes(), body);
        assert_eq!(hit.header("content-encoding").unwrap(), coding);
    }
    assert_eq!(worker.budget.left(), 64 << 20);
}

#[test]
fn a_coding_that_is_cut_by_the_upstream_or_before_the_end_marker_is_not_stored() {
    let worker = worker("{}");
    for (coding, body, needed) in flushed(STREAM) {
        for come in 0..body.len() {
            for (end, reason) in [
                (UPSTREAM_GONE, NotStored::Aborted),
                (BODY_ENDS, NotStored::Coding(CodingFault::Truncated)),
            ] {
                let host = ended(&worker, coding, &body[..come], end);
                let expected = Some(not_stored(reason));
                assert_eq!(host.answer_result(), expected, "{coding} {come}");
            }
        }
        let length = body.len().to_string();
        let told = [("content-length", length.as_str())];
        let mut host = coming(&worker, coding, &body[..needed], &told);
        host.close_by(Closer::Client);
        let short = not_stored(NotStored::Length);
        assert_eq!(host.answer_result(), Some(short));
    }
    let unmarked = STREAM.split_once("data: [DONE]").unwrap().0;
    for (coding, body, _) in flushed(unmarked) {
        for come in 0..=body.len() {
            let host = ended(&worker, coding, &body[..come], CLIENT_GONE);
            let aborted = not_stored(NotStored::Aborted);
            assert_eq!(host.answer_result(), Some(aborted), "{coding} {come}");
        }
    }
    assert_eq!(worker.budget.left(), 64 << 20);
}

#[test]
fn what_a_cut_coding_decodes_to_counts_as_captured() {
    let comment = format!(": {}\n", "x".repeat(999));
    let padded = comment.repeat(5_000) + STREAM;
    for (coding, body, needed) in flushed(&padded) {
        // Enough for what passes, its window included, and not for all that it decodes to.
        let tight = if coding == "zstd" { "8MiB" } else { "5MiB" };
        for (budget, expected) in [
            ("64MiB", AnswerResult::Stored),
            (tight, not_stored(NotStored::CaptureLimit)),
        ] {
            let limits = format!(
                r#"{{"limits": {{"max_capture_bytes": "{budget}"}},
                    "store": {{"memory": {{"max_entry_bytes": "8MiB"}}}}}}"#
            );
            let worker = worker(&limits);
            let before = worker.budget.left();
            let mut host = coming(&worker, coding, &body[..needed], &[]);
            assert_eq!(host.answer_result(), None, "{coding} {budget}");
            host.close_by(Closer::Client);
            assert_eq!(host.answer_result(), Some(expected), "{coding} {budget}");
            assert_eq!(worker.budget.left(), before);
        }
    }
}

/// A request with this `content-encoding` and body, against what `first` stored.
fn coded(worker: &Rc<TestWorker>, first: Option<Host>, coding: &str, body: &[u8]) -> Host {
    let mut host = Host::new(worker);
    if let Some(first) = first {
        host.remember(&first);
    }
    host.request_headers(&post(&[("content-encoding", coding)]));
    host.request_bytes(body);
    host
}

#[test]
fn a_compressed_request_shares_answers_with_a_plain_one() {
    let worker = worker("{}");
    for (coding, body) in [
        ("gzip", gzip(ASK_JSON)),
        ("x-gzip", gzip(ASK_JSON)),
        ("GZIP", gzip(ASK_JSON)),
        ("deflate", deflate(ASK_JSON)),
        ("zstd", zstd(ASK_JSON)),
        ("identity", ASK_JSON.into()),
    ] {
        for _ in 0..3 {
            let hit = coded(&worker, Some(json_miss(&worker)), coding, &body);
            assert_eq!(hit.request_result(), Some(RequestResult::Hit), "{coding}");
        }
        let miss = coded(&worker, None, coding, &body);
        assert_eq!(
            miss.request_result(),
            Some(RequestResult::Miss(Miss::Absent))
        );
        drop(miss);
        assert_eq!(worker.budget.left(), 64 << 20, "{coding}");
    }
}

#[test]
fn a_compressed_request_that_cannot_be_read_is_a_bypass_that_says_why() {
    let worker = worker(r#"{"limits":{"max_request_bytes":"64KiB"}}"#);
    let whole = gzip(ASK_JSON);
    let bomb = "x".repeat(100_000);
    let twice = [whole.clone(), whole.clone()].concat();
    for (coding, body, bypass) in [
        ("br", &whole[..], Bypass::ContentEncoding),
        ("gzip, gzip", &whole, Bypass::ContentEncoding),
        (
            "gzip",
            ASK_JSON.as_bytes(),
            Bypass::Coding(CodingFault::Malformed),
        ),
        ("zstd", &whole, Bypass::Coding(CodingFault::Malformed)),
        ("gzip", &whole[..20], Bypass::Coding(CodingFault::Truncated)),
        ("gzip", &twice, Bypass::Coding(CodingFault::AfterEnd)),
        ("gzip", &gzip(&bomb), Bypass::Coding(CodingFault::TooLarge)),
        (
            "deflate",
            &deflate(&bomb),
            Bypass::Coding(CodingFault::TooLarge),
        ),
        ("zstd", &zstd(&bomb), Bypass::Coding(CodingFault::TooLarge)),
    ] {
        let host = coded(&worker, Some(json_miss(&worker)), coding, body);
        assert_eq!(host.request_result(), Some(RequestResult::Bypass(bypass)));
        assert!(!host.holds_request(), "{coding}");
        assert_eq!(worker.budget.left(), 64 << 20, "{coding}");
    }
    let mut host = Host::new(&worker);
    let lines = [("content-encoding", "gzip"), ("content-encoding", "zstd")];
    host.request(&post(&lines), ASK_JSON);
    let bypass = RequestResult::Bypass(Bypass::ContentEncoding);
    assert_eq!(host.request_result(), Some(bypass));
}

#[test]
fn what_a_request_decodes_to_is_bounded_by_what_the_worker_may_hold() {
    let worker = worker(r#"{"limits":{"max_capture_bytes":"1MiB","max_request_bytes":"4MiB"}}"#);
    // Compressed as little as prose is.
    let numbers: String = (0_u32..300_000)
        .map(|number| format!("{} ", number.wrapping_mul(0x9e37_79b9)))
        .collect();
    let text = format!(r#"{{"model":"m","messages":[],"x":"{numbers}"}}"#);
    assert!(text.len() > 2 << 20);
    let host = coded(&worker, None, "gzip", &gzip(&text));
    let bypass = RequestResult::Bypass(Bypass::Coding(CodingFault::TooLarge));
    assert_eq!(host.request_result(), Some(bypass));
}

#[test]
fn what_a_request_decodes_to_is_given_back_before_the_stores_are_searched() {
    let worker = worker(r#"{"limits":{"max_capture_bytes":"1MiB"}}"#);
    let numbers: String = (0_u32..60_000)
        .map(|number| format!("{} ", number.wrapping_mul(0x9e37_79b9)))
        .collect();
    let text = format!(r#"{{"model":"m","messages":[],"x":"{numbers}"}}"#);
    let answer = JSON.replace("Hi", &"Hi ".repeat(10_000));
    let response = ok("application/json", &[]);
    let first = miss(&worker, &post(&[]), &text, &response, &answer);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    let api = crate::llm::Api::from_path(b"/v1/chat/completions").unwrap();
    let conversion = api.conversion_bytes(answer.as_bytes());
    assert!(conversion < 1 << 20 && conversion + text.len() > 1 << 20);
    let stream = text.replacen('{', r#"{"stream":true,"#, 1);
    let host = coded(&worker, Some(first), "gzip", &gzip(&stream));
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
}

#[test]
fn what_a_request_decodes_to_is_bounded_by_what_came() {
    let worker = worker("{}");
    let ask = |length: usize| {
        let head = r#"{"model":"m","messages":[],"x":""#;
        format!(r#"{head}{}"}}"#, "x".repeat(length - head.len() - 2))
    };
    let result = |coding: &str, body: &[u8]| coded(&worker, None, coding, body).request_result();
    let miss = Some(RequestResult::Miss(Miss::Absent));
    let laborious = RequestResult::Bypass(Bypass::Coding(CodingFault::Laborious));
    let by = |coding: &str, text: &str| match coding {
        "gzip" => gzip(text),
        "deflate" => deflate(text),
        _ => zstd(text),
    };
    for coding in ["gzip", "deflate", "zstd"] {
        let coded = |text: &str| by(coding, text);
        assert_eq!(result(coding, &coded(&ask(64 << 10))), miss, "{coding}");
        for length in [(64 << 10) + 1, 1 << 20, 16 << 20] {
            let body = coded(&ask(length));
            assert_eq!(result(coding, &body), Some(laborious), "{coding}, {length}");
        }
        // The same file read ten times, among others.
        let file: String = (0_u32..900)
            .map(|n| format!("{:x}\\n", n.wrapping_mul(0x9e37_79b9)))
            .collect();
        let text = format!(r#"{{"model":"m","messages":[],"x":"{}"}}"#, file.repeat(10));
        let body = coded(&text);
        assert!(
            text.len() > (64 << 10) && text.len() < 32 * body.len(),
            "{coding}: {} of {}",
            text.len(),
            body.len()
        );
        assert_eq!(result(coding, &body), miss, "{coding}");
        assert_eq!(worker.budget.left(), 64 << 20, "{coding}");
    }
}

/// What the upstream is offered instead of what the client sent, if anything.
fn offered(config: &str, extra: Extra<'_>) -> Option<String> {
    let worker = worker(config);
    let mut host = Host::new(&worker);
    host.request(&post(extra), ASK_JSON);
    let set = host.fake.set_in_request.take();
    let mut offers = set.into_iter();
    let (_, codings) = offers.find(|(name, _)| name == "accept-encoding")?;
    Some(codings)
}

const CHROMIUM: (&str, &str) = ("accept-encoding", "gzip, deflate, br, zstd");

#[test]
fn the_upstream_is_offered_what_can_be_decoded() {
    let narrowed = Some("gzip, deflate, zstd".to_owned());
    assert_eq!(offered("{}", &[CHROMIUM]), narrowed);
    assert_eq!(offered(r#"{"mode":"write_only"}"#, &[CHROMIUM]), narrowed);
    let by_model = r#"{"mode":"disabled","rules":[{"match":{"model":"m"},"mode":"read_write"}]}"#;
    assert_eq!(offered(by_model, &[CHROMIUM]), narrowed);
    let lines = [("accept-encoding", "br"), ("accept-encoding", "gzip")];
    assert_eq!(offered("{}", &lines).as_deref(), Some("gzip"));
    for unchanged in [
        &[][..],
        &[("accept-encoding", "gzip, deflate")],
        &[("accept-encoding", "br, identity;q=0")],
        &[CHROMIUM, ("cache-control", "no-store")],
        &[CHROMIUM, (":method", "GET")],
        &[CHROMIUM, ("content-encoding", "br")],
        &[CHROMIUM, (":path", "/v1/models")],
    ] {
        assert_eq!(offered("{}", unchanged), None, "{unchanged:?}");
    }
    for mode in ["disabled", "read_only", "shadow"] {
        let config = format!(r#"{{"mode":"{mode}"}}"#);
        assert_eq!(offered(&config, &[CHROMIUM]), None, "{mode}");
    }
}

#[test]
fn what_the_client_accepts_decides_what_a_hit_is_coded_in() {
    let worker = worker("{}");
    let stored = || {
        let request = post(&[CHROMIUM]);
        let mut host = Host::new(&worker);
        host.request(&request, ASK_JSON);
        host.response_headers(
            &ok("application/json", &[("content-encoding", "zstd")]),
            true,
        );
        let body = zstd(JSON);
        host.response_bytes(&body, true);
        assert_eq!(host.answer_result(), Some(AnswerResult::Stored));
        host
    };
    let as_it_is = again(&worker, stored(), &post(&[CHROMIUM]), ASK_JSON, 0);
    assert_eq!(as_it_is.reply().unwrap().body.as_bytes(), zstd(JSON));
    assert_eq!(as_it_is.header("content-encoding").unwrap(), "zstd");
    for other in ["gzip, deflate", "*", "br", "gzip, zstd;q=0"] {
        let accepts = post(&[("accept-encoding", other)]);
        let plain = again(&worker, stored(), &accepts, ASK_JSON, 0);
        assert_eq!(text_of(&plain), JSON, "{other}");
        assert_eq!(plain.header("content-encoding"), None, "{other}");
    }
}

#[test]
fn only_who_names_x_gzip_is_served_it() {
    let worker = worker("{}");
    let stored = || {
        let mut host = Host::new(&worker);
        host.request(&post(&[("accept-encoding", "gzip")]), ASK_JSON);
        host.response_headers(
            &ok("application/json", &[("content-encoding", "x-gzip")]),
            true,
        );
        let body = gzip(JSON);
        host.response_bytes(&body, true);
        host
    };
    let accepts = post(&[("accept-encoding", "gzip, deflate")]);
    let plain = again(&worker, stored(), &accepts, ASK_JSON, 0);
    assert_eq!(text_of(&plain), JSON);
    assert_eq!(plain.header("content-encoding"), None);
    let accepts = post(&[("accept-encoding", "x-gzip")]);
    let coded = again(&worker, stored(), &accepts, ASK_JSON, 0);
    assert_eq!(coded.header("content-encoding").unwrap(), "x-gzip");
}

/// An exchange whose answer comes compressed, cut into small pieces.
fn coded_miss(worker: &Rc<TestWorker>, ask: &str, content_type: &str, body: &[u8]) -> Host {
    let mut host = Host::new(worker);
    host.request(&post(&[("accept-encoding", "gzip")]), ask);
    host.response_headers(&ok(content_type, &[("content-encoding", "gzip")]), true);
    for chunk in body.chunks(7) {
        host.response_bytes(chunk, false);
    }
    host.response_body("", true);
    host.close();
    host
}

#[test]
fn a_compressed_answer_is_judged_and_served_compressed_to_those_who_accept_it() {
    let worker = worker("{}");
    for (ask, content_type, text) in [
        (ASK_JSON, "application/json", JSON),
        (ASK_STREAM, "text/event-stream", STREAM),
    ] {
        let body = gzip(text);
        let stored = || coded_miss(&worker, ask, content_type, &body);
        assert_eq!(stored().answer_result(), Some(AnswerResult::Stored));
        let accepts = post(&[("accept-encoding", "br, gzip;q=0.5")]);
        let hit = again(&worker, stored(), &accepts, ask, 0);
        assert_eq!(hit.reply().unwrap().body.as_bytes(), body);
        assert_eq!(hit.header("content-encoding").unwrap(), "gzip");
        let plain = again(&worker, stored(), &post(&[]), ask, 0);
        assert_eq!(text_of(&plain), text);
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.header("content-type").unwrap(), content_type);
        assert_eq!(worker.budget.left(), 64 << 20);
    }
    let json = coded_miss(&worker, ASK_JSON, "application/json", &gzip(JSON));
    let accepts = post(&[("accept-encoding", "gzip")]);
    let converted = again(&worker, json, &accepts, ASK_STREAM, 0);
    assert!(text_of(&converted).contains("[DONE]"));
    assert_eq!(converted.header("content-encoding"), None);
}

#[test]
fn a_compressed_answer_that_is_cut_or_bad_is_not_stored() {
    let worker = worker("{}");
    let body = gzip(STREAM);
    for cut in 0..body.len() {
        let host = coded_miss(&worker, ASK_STREAM, "text/event-stream", &body[..cut]);
        assert_ne!(host.answer_result(), Some(AnswerResult::Stored), "{cut}");
    }
    let error = gzip("data: {\"error\":{}}\n\n");
    let host = coded_miss(&worker, ASK_STREAM, "text/event-stream", &error);
    let fault = NotStored::NotWhole(crate::llm::NotWhole::Error);
    assert_eq!(host.answer_result(), Some(not_stored(fault)));
}

#[test]
fn what_a_compressed_stream_unpacks_to_counts_as_captured() {
    let worker = worker(r#"{"limits": {"max_capture_bytes": "1MiB"}}"#);
    let bomb = gzip(&format!("data: {}", "x".repeat(2 << 20)));
    let host = coded_miss(&worker, ASK_STREAM, "text/event-stream", &bomb);
    let limit = not_stored(NotStored::CaptureLimit);
    assert_eq!(host.answer_result(), Some(limit));
    assert_eq!(worker.budget.left(), 1 << 20);
}
