//! A request that the request memo recognizes gets the same result as one that it does not.

mod simulated;

use std::sync::LazyLock;

use envoy_llm_cache::attributes::{Attribute, CertificateField};
use envoy_llm_cache::store::SharedData;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use simulated::{Gateway, Seen, post};

impl Gateway {
    /// Lets time pass, in milliseconds.
    fn pass(&self, milliseconds: u64) {
        self.host.now.set(self.host.now.get() + milliseconds);
    }

    fn reads(&self) -> usize {
        self.host.shared.reads.get()
    }
}

const SECRET: Option<[u64; 4]> = Some([0x0123, 0x4567, 0x89ab, 0xcdef]);
const ASK: &[u8] = br#"{"model":"m","messages":[]}"#;
/// Every kind of thing that a configuration lets a header or a body decide.
const CONFIGS: [&str; 7] = [
    r#"{"key":{"anonymous":"share"}}"#,
    r#"{"key":{"tenant":[{"metadata":["f","team"]},"credentials"]},"rules":[
        {"match":{"model":"other*"},"key":{"tenant":{"certificate":"sha256"}}}]}"#,
    "{}",
    r#"{"key":{"tenant":{"header":"x-team"},"headers":["x-variant"],"exclude":["/user"]},
        "store_if":{"max_temperature":0.5}}"#,
    r#"{"key":{"tenant":"shared"},"sample":50,"stale_if_error":"1s","rules":[
        {"match":{"header":{"x-rule":"a*"}},"key":{"namespace":"a"},"ttl":"2s"},
        {"match":{"model":"other*"},"mode":"read_only"},
        {"match":{"host":"b.example"},"mode":"disabled"},
        {"match":{"path":"/odd/path"},"api":"openai_chat","key":{"headers":["x-deep"]}}]}"#,
    r#"{"respond":{"usage":"zero","expose_key":true},"client":{"cache_control":"ignore"}}"#,
    r#"{"key":{"exclude":["attribution","call_ids"],"mask":[{"at":"/messages/*/content","line":"at *"}]},
        "rules":[{"match":{"model":"other*"},"client":{"cache_control":"ignore","max_ttl":"1s"}},
        {"match":{"header":{"x-rule":"a*"}},"client":{"cache_control":"ignore"},"key":{"mask":[]}}]}"#,
];
/// Every header that is looked at, somewhere, and some that are not.
const NAMES: [&str; 51] = [
    ":authority",
    ":method",
    ":path",
    "accept-encoding",
    "accepts",
    "anthropic-beta",
    "anthropic-version",
    "api-key",
    "api-version",
    "authorization",
    "azureml-model-deployment",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "extra-parameters",
    "groq-model-version",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "range",
    "traceparent",
    "upgrade",
    "user-agent",
    "x-ai-eg-model",
    "x-amzn-bedrock-guardrailidentifier",
    "x-amzn-bedrock-guardrailversion",
    "x-amzn-bedrock-performanceconfig-latency",
    "x-amzn-bedrock-service-tier",
    "x-amzn-bedrock-trace",
    "x-api-key",
    "x-deep",
    "x-forwarded-for",
    "x-goog-api-key",
    "x-goog-user-project",
    "x-http-method",
    "x-http-method-override",
    "x-llm-cache-ttl",
    "x-method-override",
    "x-request-id",
    "x-rule",
    "x-team",
    "x-unknown",
    "x-variant",
    "content-language",
    "proxy-authorization",
    "x-forwarded-user",
    "x-forwarded-client-cert",
    "signature-input",
    "cf-aig-authorization",
];
/// Headers that take part in every key: the configuration cannot leave them out.
const IN_EVERY_KEY: [&str; 23] = [
    ":authority",
    "accepts",
    "anthropic-beta",
    "anthropic-version",
    "api-key",
    "api-version",
    "authorization",
    "azureml-model-deployment",
    "extra-parameters",
    "groq-model-version",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "x-ai-eg-model",
    "x-amzn-bedrock-guardrailidentifier",
    "x-amzn-bedrock-guardrailversion",
    "x-amzn-bedrock-performanceconfig-latency",
    "x-amzn-bedrock-service-tier",
    "x-amzn-bedrock-trace",
    "x-api-key",
    "x-goog-api-key",
    "x-goog-user-project",
    ":path",
];

fn reply(seen: &Seen) -> Option<&[u8]> {
    seen.reply.as_ref().map(|reply| reply.body.as_bytes())
}

#[test]
fn a_request_that_comes_again_is_answered_with_one_read() {
    let mut gateway = Gateway::new("{}", SECRET);
    gateway.ask(post(&[]), ASK);
    let long = gateway.ask(post(&[]), ASK);
    let before = gateway.reads();
    let short = gateway.ask(post(&[("x-request-id", "2")]), ASK);
    assert_eq!(gateway.reads(), before + 1);
    assert_eq!((&short, gateway.asked), (&long, 1));
    gateway.pass(1_000);
    gateway.ask(post(&[]), ASK);
    let with_head = gateway.reads();
    assert_eq!(with_head, before + 1 + 2, "the head is to know of it");
    for _ in 0..16 {
        gateway.ask(post(&[]), ASK);
    }
    assert_eq!(gateway.reads(), with_head + 16);
}

#[test]
fn an_entry_with_long_headers_is_looked_up_anew_each_time() {
    for (length, reads) in [(10, 1), (300, 1), (600, 2)] {
        let mut gateway = Gateway::new("{}", SECRET);
        gateway.language = "x".repeat(length);
        for _ in 0..2 {
            gateway.ask(post(&[]), ASK);
        }
        let before = gateway.reads();
        gateway.ask(post(&[]), ASK);
        assert_eq!(gateway.reads() - before, reads, "{length}");
        assert_eq!(gateway.asked, 1);
    }
}

#[test]
fn another_header_that_decides_is_another_request() {
    let config = r#"{"key":{"headers":["x-variant"]},"rules":[
        {"match":{"header":{"x-rule":"a"}},"key":{"namespace":"a"}}]}"#;
    let own = [("x-variant", "b"), ("x-rule", "a")];
    let others = IN_EVERY_KEY.map(|name| match name {
        ":path" => (name, "/v1/chat/completions?api-version=2"),
        name => (name, "other"),
    });
    for other in own.into_iter().chain(others) {
        let mut gateway = Gateway::new(config, SECRET);
        for _ in 0..3 {
            gateway.ask(post(&[]), ASK);
        }
        assert_eq!(gateway.asked, 1);
        gateway.ask(post(&[other]), ASK);
        assert_eq!(gateway.asked, 2, "{other:?}");
    }
    let mut gateway = Gateway::new(r#"{"key":{"tenant":{"header":"x-team"}}}"#, SECRET);
    for team in ["a", "a", "a", "b"] {
        gateway.ask(post(&[("x-team", team)]), ASK);
    }
    assert_eq!(gateway.asked, 2);
}

#[test]
fn another_body_is_another_request_and_another_spelling_is_not() {
    let mut gateway = Gateway::new("{}", SECRET);
    for _ in 0..3 {
        gateway.ask(post(&[]), ASK);
    }
    gateway.ask(post(&[]), br#"{"model":"n","messages":[]}"#);
    assert_eq!(gateway.asked, 2);
    gateway.ask(post(&[]), br#" {"messages":[],"model":"m"}"#);
    assert_eq!(gateway.asked, 2);
}

#[test]
fn what_takes_no_part_in_the_key_is_told_apart_all_the_same() {
    let config = r#"{"key":{"exclude":["attribution","call_ids"],
        "mask":[{"at":"/messages/*/content","line":"at *"}]}}"#;
    let body = |call: &str, user: &str, text: &str| {
        let call = format!(r#"{{"tool_calls":[{{"id":"{call}"}}]}}"#);
        let body = format!(
            r#"{{"model":"m","user":"{user}","messages":[{call},{{"content":"{text}"}}]}}"#
        );
        body.into_bytes()
    };
    let mut gateway = Gateway::new(config, SECRET);
    let first = body("call_aaaa", "u", "at 1");
    let same = [
        body("call_bbbb", "v", "at 2"),
        body("call_cccc", "w", "at 3"),
    ];
    for _ in 0..3 {
        gateway.ask(post(&[]), &first);
        for same in &same {
            gateway.ask(post(&[]), same);
        }
    }
    assert_eq!(gateway.asked, 1);
    for (asked, other) in (2..).zip(["in 1", "at 1\\n", "at 1\\nx"]) {
        for _ in 0..3 {
            gateway.ask(post(&[]), &body("call_aaaa", "u", other));
        }
        assert_eq!(gateway.asked, asked, "{other}");
    }
}

#[test]
fn a_remembered_slot_that_was_rewritten_is_not_used() {
    let remembered = || {
        let mut gateway = Gateway::new("{}", SECRET);
        for _ in 0..3 {
            gateway.ask(post(&[]), ASK);
        }
        gateway
    };
    let slot = |gateway: &Gateway| {
        let values = gateway.host.shared.values.borrow();
        let mut values = values.iter();
        let slot = values.find(|(_, (value, _))| value.ends_with(b"SL\x01"));
        let (name, (value, _)) = slot.unwrap();
        (name.clone(), value.clone())
    };
    let mut gateway = remembered();
    let (name, whole) = slot(&gateway);
    // All but the trailer, which says whose the slot is.
    for at in 0..whole.len() - 43 {
        let mut gateway = remembered();
        let mut value = whole.clone();
        value[at] ^= 0x20;
        gateway.host.shared.set(&name, &value, None).unwrap();
        gateway.ask(post(&[]), ASK);
        assert_eq!(gateway.asked, 2, "byte {at}");
    }
    gateway.host.shared.set(&name, &[], None).unwrap();
    gateway.ask(post(&[]), ASK);
    assert_eq!(gateway.asked, 2);
}

#[test]
fn a_new_answer_takes_the_place_of_the_one_that_was_seen() {
    let mut gateway = Gateway::new("{}", SECRET);
    for _ in 0..3 {
        gateway.ask(post(&[]), ASK);
    }
    gateway.ask(post(&[("cache-control", "no-cache")]), ASK);
    let now = gateway.ask(post(&[]), ASK);
    let text = String::from_utf8(reply(&now).unwrap().to_vec()).unwrap();
    assert!(text.contains("answer 2"), "{text}");
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let value = select(vec![
        "a",
        "ab",
        "",
        "POST",
        "b.example",
        "/odd/path",
        "/v1/chat/completions?a",
        "gzip",
        "identity;q=0",
        "application/json",
        "text/plain",
        "no-cache",
        "no-store",
        "max-age=1",
        "only-if-cached",
        "1s",
        "27",
        "session=0123456789abcdef",
    ]);
    prop::collection::vec((select(NAMES.to_vec()), value), 0..3)
}

/// Two that are long enough to be compared, and differ where nobody looks at first.
static LONG: LazyLock<String> = LazyLock::new(|| long("p"));
static LONGER: LazyLock<String> = LazyLock::new(|| long("q"));

fn long(word: &str) -> String {
    let text = "a".repeat(10_000);
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}{word}{text}"}}]}}"#)
}

/// What the host knows: a route, and perhaps a certificate or a token that Envoy has verified.
fn attributes() -> impl Strategy<Value = Vec<(Attribute, Vec<u8>)>> {
    let sha256 = Attribute::Certificate(CertificateField::Sha256);
    // `{fields: {team: value}}` of a filter `f`.
    let metadata = |value: &str| {
        let mut bytes = b"\n\x14\n\x01f\x12\x0f\n\r\n\x04team\x12\x05\x1a\x03".to_vec();
        bytes.extend_from_slice(value.as_bytes());
        bytes
    };
    let known = vec![
        (Attribute::RouteName, b"one".to_vec()),
        (sha256, b"1".to_vec()),
        (sha256, b"2".to_vec()),
        (Attribute::DynamicMetadata, metadata("red")),
        (Attribute::DynamicMetadata, metadata("tan")),
    ];
    let cluster = select(vec![b"one".to_vec(), b"two".to_vec()]);
    let more = prop::collection::vec(select(known), 0..3);
    (cluster, more).prop_map(|(cluster, mut more)| {
        more.push((Attribute::Cluster, cluster));
        more
    })
}

fn body() -> impl Strategy<Value = &'static [u8]> {
    select(vec![
        ASK,
        br#"{"model":"m", "messages":[]}"#,
        br#"{"model":"other","messages":[]}"#,
        br#"{"model":"m","messages":[],"stream":true}"#,
        br#"{"model":"m","messages":[],"temperature":0}"#,
        br#"{"model":"m","messages":[],"temperature":1}"#,
        br#"{"model":"m","messages":[],"user":"u"}"#,
        br#"{"model":"m","messages":[],"model":"m"}"#,
        br#"{"model":"m","messages":[{"tool_calls":[{"id":"call_aaaa"}]},{"content":"at 1"}]}"#,
        br#"{"model":"m","messages":[{"tool_calls":[{"id":"call_bbbb"}]},{"content":"at 2"}]}"#,
        br#"{"model":"m","messages":[{"tool_calls":[{"id":"call_bbbb"}]},{"content":"in 2"}]}"#,
        b"no JSON",
        b"",
        LONG.as_bytes(),
        LONGER.as_bytes(),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is asked in whatever order, some of it again and again.
    #[test]
    fn the_short_way_leads_where_the_long_one_does(
        config in select(CONFIGS.to_vec()),
        requests in prop::collection::vec((headers(), attributes(), body()), 1..6),
        order in prop::collection::vec((any::<Index>(), 0..3_000_u64), 1..40),
    ) {
        let mut long = Gateway::new(config, None);
        let mut short = Gateway::new(config, SECRET);
        for (index, passed) in order {
            let (extra, attributes, body) = index.get(&requests);
            long.attributes.clone_from(attributes);
            short.attributes.clone_from(attributes);
            long.pass(passed);
            short.pass(passed);
            let expected = long.ask(post(extra), body);
            prop_assert_eq!(short.ask(post(extra), body), expected);
        }
        prop_assert!(short.reads() <= long.reads());
    }
}
