use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&Json);

fn judge_json(json: &str) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Json, 1, json)
}

#[test]
fn a_document_that_parses_and_is_no_error_is_whole() {
    let whole = |empty| {
        Ok(Verdict {
            finish: Finish::Complete,
            empty,
            marked_end: true,
        })
    };
    for json in [
        r#"{"results":[{"index":0,"relevance_score":0.9}]}"#,
        r#"{"error":null,"object":{"any":1},"type":[2],"a":1}"#,
        r#"{"error":false,"a":1}"#,
        r#"{"status":"ok","code":"a","success":true}"#,
        r#"{"status":["error"],"success":null,"a":1}"#,
        " [1] \n",
        "7",
        "\"text\"",
    ] {
        assert_eq!(judge_json(json), whole(false), "{json}");
    }
    for json in ["{}", " { } ", "[]", "null", "\"\""] {
        assert_eq!(judge_json(json), whole(true), "{json}");
    }
}

#[test]
fn an_error_object_is_a_fault() {
    for json in [
        r#"{"error":{"message":"m"}}"#,
        r#"{"error":"m","results":[]}"#,
        r#"{"object":"error"}"#,
        r#"{"type":"error"}"#,
        r#"{"status":"error","results":[]}"#,
        r#"{"status":"FAILED","results":[]}"#,
        r#"{"code":"failure","results":[]}"#,
        r#"{"success":false,"results":[]}"#,
    ] {
        assert_eq!(judge_json(json), Err(NotWhole::Error), "{json}");
    }
}

#[test]
fn what_is_not_one_document_is_a_fault() {
    for json in [
        "",
        " ",
        "{",
        "{}{}",
        "[1",
        "{\"a\":\"\u{1}\"}",
        "nul",
        "data: {}",
    ] {
        assert_eq!(judge_json(json), Err(NotWhole::Malformed), "{json}");
    }
    let whole = r#"{"a":[{"b":"c"},null,1.5e3]}"#;
    for cut in 0..whole.len() {
        assert_eq!(
            judge_json(whole.get(..cut).unwrap()),
            Err(NotWhole::Malformed)
        );
    }
    let traits = API.read(b"/", b"", None).unwrap();
    let invalid = API
        .judge(&traits, Framing::Json)
        .finish(b"{\"a\":\"\xff\"}");
    assert_eq!(invalid, Err(NotWhole::Malformed));
}

#[test]
fn it_is_used_by_its_name_only_and_its_form_is_always_json() {
    assert_eq!(Api::from_name("json").map(Api::name), Some("json"));
    for path in ["/", "/v1/rerank", "/json", ""] {
        assert_ne!(Api::from_path(path.as_bytes()).map(Api::name), Some("json"));
    }
    let body = canonical(r#"{"stream":true,"temperature":0.5}"#);
    for body in [Some(&body), None] {
        let traits = API.read(b"/", b"", body).unwrap();
        assert_eq!(traits.form, Some(Form::json()));
        assert_eq!(traits.temperature, body.map(|_| 0.5));
        assert_eq!(API.framing(&traits, b"text/event-stream"), None);
        assert_eq!(
            API.framing(&traits, b"application/json"),
            Some(Framing::Json)
        );
    }
    assert!(!API.chooses_form(b"/rerank", "stream", b"true"));
}

#[test]
fn zero_usage_knows_where_such_apis_count() {
    let zeroed = |json: &str| {
        let zeroed = Json.zero_usage(json.as_bytes(), &Form::json());
        values(zeroed.unwrap())
    };
    assert_eq!(
        zeroed(r#"{"usage":{"total_tokens":9},"results":[{"index":3}]}"#),
        values(r#"{"usage":{"total_tokens":0},"results":[{"index":3}]}"#)
    );
    assert_eq!(
        zeroed(r#"{"meta":{"api_version":{"version":2},"billed_units":{"search_units":1}}}"#),
        values(r#"{"meta":{"api_version":{"version":2},"billed_units":{"search_units":0}}}"#)
    );
    assert_eq!(zeroed("[ 1 ]"), values("[ 1 ]"));
}
