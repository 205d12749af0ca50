//! Which answers are stored, and why others are not.

use super::*;

#[test]
fn an_answer_is_stored_only_when_everything_speaks_for_it() {
    let worker = worker(r#"{"limits": {"max_response_bytes": "1KiB"}}"#);
    let json = |extra: Extra<'_>| ok("application/json", extra);
    let long = format!("{JSON}{}", " ".repeat(1_024));
    for (response, body, reason) in [
        (json(&[(":status", "201")]), JSON, NotStored::Status),
        (json(&[(":status", "429")]), JSON, NotStored::Status),
        (ok("text/html", &[]), JSON, NotStored::ContentType),
        (ok("", &[]), JSON, NotStored::ContentType),
        (
            json(&[("content-encoding", "br")]),
            JSON,
            NotStored::ContentEncoding,
        ),
        (ok("text/event-stream", &[]), STREAM, NotStored::Form),
        (
            json(&[("content-length", "2000")]),
            JSON,
            NotStored::ResponseTooLarge,
        ),
        (json(&[]), &long, NotStored::ResponseTooLarge),
        (json(&[("content-length", "7")]), JSON, NotStored::Length),
        (
            json(&[]),
            "{",
            NotStored::NotWhole(crate::llm::NotWhole::Malformed),
        ),
        (
            json(&[]),
            "",
            NotStored::NotWhole(crate::llm::NotWhole::Malformed),
        ),
        (
            json(&[]),
            &JSON.replace("\"stop\"", "null"),
            NotStored::UnmarkedEnd,
        ),
        (
            json(&[]),
            &JSON.replace("stop", "length"),
            NotStored::FinishLength,
        ),
        (
            json(&[]),
            &JSON.replace("stop", "content_filter"),
            NotStored::FinishFiltered,
        ),
        (json(&[]), &JSON.replace("\"Hi\"", "\"\""), NotStored::Empty),
    ] {
        let result = stored(&worker, &response, body);
        assert_eq!(result, not_stored(reason), "{response:?} {body}");
        assert_eq!(worker.budget.left(), 64 << 20);
    }
}

#[test]
fn the_configuration_may_want_other_answers() {
    let worker = worker(
        r#"{"store_if": {"finish": ["length", "filtered"], "empty": true, "unmarked_end": true}}"#,
    );
    let json = ok("application/json", &[]);
    let length = JSON.replace("stop", "length");
    let empty = length.replace("\"Hi\"", "\"\"");
    assert_eq!(stored(&worker, &json, &length), AnswerResult::Stored);
    assert_eq!(stored(&worker, &json, &empty), AnswerResult::Stored);
    assert_eq!(
        stored(&worker, &json, JSON),
        not_stored(NotStored::FinishComplete)
    );
}

#[test]
fn an_answer_of_another_model_can_be_kept_out() {
    let worker = worker(r#"{"store_if": {"same_model": true}}"#);
    let json_of = |model: &str| JSON.replacen('{', &format!("{{\"model\":\"{model}\","), 1);
    let stream_of = |model: &str| STREAM.replacen('{', &format!("{{\"model\":\"{model}\","), 1);
    let result = |ask: &str, content_type: &str, body: &str| {
        miss(&worker, &post(&[]), ask, &ok(content_type, &[]), body).answer_result()
    };
    let (json, sse) = ("application/json", "text/event-stream");
    for (model, expected) in [
        ("m", AnswerResult::Stored),
        ("provider/m-2024-08-06", AnswerResult::Stored),
        ("m-mini", not_stored(NotStored::OtherModel)),
    ] {
        let (whole, stream) = (json_of(model), stream_of(model));
        assert_eq!(result(ASK_JSON, json, &whole), Some(expected), "{model}");
        assert_eq!(result(ASK_STREAM, sse, &stream), Some(expected), "{model}");
    }
    assert_eq!(result(ASK_JSON, json, JSON), Some(AnswerResult::Stored));
    // A fallback in the middle of a stream.
    let mixed =
        stream_of("m").replace("[DONE]", "{\"model\":\"n\",\"choices\":[]}\n\ndata: [DONE]");
    let other = Some(not_stored(NotStored::OtherModel));
    assert_eq!(result(ASK_STREAM, sse, &mixed), other);
}

#[test]
fn a_request_that_comes_again_is_held_to_its_model_too() {
    let worker = worker(r#"{"store_if": {"same_model": true}}"#);
    let of = |model: &str| JSON.replacen('{', &format!("{{\"model\":\"{model}\","), 1);
    let json = ok("application/json", &[]);
    let stored = miss(&worker, &post(&[]), ASK_JSON, &json, &of("m"));
    let hit = again(&worker, stored, &post(&[]), ASK_JSON, 0);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
    // The worker remembers the request, and the entry is gone.
    let other = miss(&worker, &post(&[]), ASK_JSON, &json, &of("n"));
    assert_eq!(
        other.answer_result(),
        Some(not_stored(NotStored::OtherModel))
    );
}

#[test]
fn a_response_header_can_keep_an_answer_out() {
    let worker = worker(r#"{"store_if": {"unless_header": {"x-fallbacks": "1", "x-from": "b*"}}}"#);
    let result = |extra: Extra<'_>| stored(&worker, &ok("application/json", extra), JSON);
    let vetoed = not_stored(NotStored::VetoedByHeader);
    assert_eq!(result(&[("x-fallbacks", "1")]), vetoed);
    assert_eq!(
        result(&[("x-fallbacks", "0"), ("x-from", "backup")]),
        vetoed
    );
    assert_eq!(result(&[("x-fallbacks", "0")]), AnswerResult::Stored);
}

#[test]
fn streams_can_be_kept_out_by_configuration() {
    let worker = worker(r#"{"store_if": {"streams": false}}"#);
    let event_stream = ok("text/event-stream", &[]);
    let host = miss(&worker, &post(&[]), ASK_STREAM, &event_stream, STREAM);
    assert_eq!(host.answer_result(), Some(not_stored(NotStored::Streams)));
}

#[test]
fn what_envoy_answers_itself_is_not_stored() {
    let mut host = Host::new(&worker("{}"));
    host.request(&post(&[]), ASK_JSON);
    host.response_headers(&ok("application/json", &[]), false);
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::LocalReply))
    );
}

#[test]
fn what_never_ends_is_not_stored() {
    let worker = worker("{}");
    for chunks in 0..2 {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        host.response_headers(&ok("application/json", &[]), true);
        for _ in 0..chunks {
            host.response_body(JSON, false);
        }
        host.close();
        assert_eq!(host.answer_result(), Some(not_stored(NotStored::Aborted)));
        assert_eq!(worker.budget.left(), 64 << 20);
    }
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.close();
    assert_eq!(host.answer_result(), Some(not_stored(NotStored::Aborted)));
}

#[test]
fn a_client_that_hangs_up_at_the_end_marker_leaves_a_whole_answer() {
    let worker = worker("{}");
    let closed = |body: &str, closer: Closer| {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_STREAM);
        host.response_headers(&ok("text/event-stream", &[]), true);
        host.response_body(body, false);
        host.close_by(closer);
        host.answer_result()
    };
    let aborted = Some(not_stored(NotStored::Aborted));
    assert_eq!(closed(STREAM, Closer::Client), Some(AnswerResult::Stored));
    assert_eq!(closed(STREAM, Closer::Host), aborted);
    let unmarked = STREAM.split_once("data: [DONE]").unwrap().0;
    assert_eq!(closed(unmarked, Closer::Client), aborted);
    assert_eq!(
        closed(STREAM.strip_suffix('\n').unwrap(), Closer::Client),
        aborted
    );
    assert_eq!(worker.budget.left(), 64 << 20);
}

#[test]
fn a_part_of_an_answer_is_not_stored_whatever_its_status() {
    let worker = worker("{}");
    let json = ok("application/json", &[("content-range", "bytes 0-99/200")]);
    assert_eq!(
        stored(&worker, &json, JSON),
        not_stored(NotStored::ContentRange)
    );
}

#[test]
fn a_configuration_may_know_more_words_for_a_finish() {
    let json = ok("application/json", &[]);
    let answer = JSON.replace("stop", "fin");
    let unknown = NotStored::NotWhole(crate::llm::NotWhole::UnknownFinish);
    let result = stored(&worker("{}"), &json, &answer);
    assert_eq!(result, not_stored(unknown));
    let worker = worker(r#"{"store_if": {"finish_words": {"complete": ["fin"]}}}"#);
    assert_eq!(stored(&worker, &json, &answer), AnswerResult::Stored);
}

#[test]
fn a_stream_whose_content_type_does_not_say_so_is_stored_and_gets_one_that_does() {
    let worker = worker("{}");
    let untyped = vec![(":status", "200".to_owned())];
    for headers in [
        untyped,
        ok("text/plain", &[]),
        ok("Text/Plain; charset=utf-8", &[]),
    ] {
        let first = miss(&worker, &post(&[]), ASK_STREAM, &headers, STREAM);
        assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
        let second = again(&worker, first, &post(&[]), ASK_STREAM, 0);
        let content_type = second.header("content-type").unwrap();
        assert_eq!(content_type, "text/event-stream; charset=utf-8");
    }
}

#[test]
fn a_capture_ends_as_soon_as_the_answer_cannot_be_whole() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_STREAM);
    host.response_headers(&ok("text/event-stream", &[]), true);
    host.response_body("data: {\"error\":{}}\n\n", false);
    assert!(!host.captures_response());
    assert_eq!(worker.budget.left(), 64 << 20);
    let error = NotStored::NotWhole(crate::llm::NotWhole::Error);
    assert_eq!(host.answer_result(), Some(not_stored(error)));
}

#[test]
fn a_worker_that_captures_too_much_stores_less_and_serves_all_the_same() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    let _others = fill(&worker);
    host.response_headers(&ok("application/json", &[]), true);
    host.response_body(JSON, true);
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::CaptureLimit))
    );
}

#[test]
fn a_chunk_or_a_body_that_cannot_be_read_ends_caching_and_nothing_else() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.response_headers(&ok("application/json", &[]), true);
    host.call(|stream| stream.response_body(1, false));
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::Unreadable))
    );
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    host.call(StreamContext::request_trailers);
    assert!(!host.holds_request());
}

#[test]
fn a_chunk_of_another_length_than_told_is_not_captured() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.response_headers(&ok("application/json", &[]), true);
    host.fake.response_chunk.replace(Some(Vec::new()));
    host.call(|stream| stream.response_body(10, false));
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::Unreadable))
    );
}

#[test]
fn a_stream_that_stutters_is_passed_on_and_not_stored() {
    let words = "It was the best of times, it was the worst of times, it was the age of wisdom";
    let mut stream = String::new();
    for (end, _) in words.match_indices(' ') {
        let text = words.get(..end).unwrap();
        let delta = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        stream.push_str(&format!("data: {delta}\n\n"));
    }
    stream.push_str(STREAM);
    for (config, result) in [
        ("{}", not_stored(NotStored::Stuttering)),
        (
            r#"{"store_if": {"stuttering": true}}"#,
            AnswerResult::Stored,
        ),
    ] {
        let worker = worker(config);
        let event_stream = ok("text/event-stream", &[]);
        let host = miss(&worker, &post(&[]), ASK_STREAM, &event_stream, &stream);
        assert_eq!(host.answer_result(), Some(result));
    }
}

#[test]
fn an_answer_whose_trailers_may_tell_of_an_error_is_not_stored() {
    for (trailers, result) in [
        (Some(("etag", "1")), AnswerResult::Stored),
        (Some(("grpc-status", "0")), AnswerResult::Stored),
        (
            Some(("grpc-status", "14")),
            AnswerResult::NotStored(NotStored::Trailers),
        ),
        (
            Some(("x-error", "1")),
            AnswerResult::NotStored(NotStored::Trailers),
        ),
        (None, AnswerResult::NotStored(NotStored::Unreadable)),
    ] {
        let mut host = Host::new(&worker("{}"));
        host.request(&post(&[]), ASK_JSON);
        host.response_headers(&ok("application/json", &[]), true);
        host.response_body(JSON, false);
        let trailers: Option<Headers> = trailers.map(|trailer| [trailer].into_iter().collect());
        host.response_trailers(trailers.clone());
        assert_eq!(host.answer_result(), Some(result), "{trailers:?}");
    }
}
