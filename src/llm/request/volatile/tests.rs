use super::*;
use crate::config::{Exclude, KeySettings};
use crate::json::canonicalize;

fn keyed(api: &str, body: &str) -> Vec<u8> {
    let settings = KeySettings {
        exclude: vec![Exclude::Attribution, Exclude::CallIds],
        ..KeySettings::default()
    };
    let edits = settings.edits(Api::from_name(api).unwrap());
    let canonical = canonicalize(body.as_bytes(), &edits).unwrap();
    canonical.as_bytes().to_vec()
}

#[test]
fn every_place_is_a_pointer() {
    for (api, definition) in Api::all().zip(APIS) {
        assert_eq!(
            api.attribution().len(),
            definition.facts().attribution.len(),
            "{api:?}"
        );
        assert_eq!(
            api.call_ids().len(),
            definition.facts().call_ids.len(),
            "{api:?}"
        );
    }
}

#[test]
fn who_asks_takes_no_part() {
    let openai = [
        r#""user":"u""#,
        r#""safety_identifier":"s""#,
        r#""prompt_cache_key":"p""#,
        r#""metadata":{"trace":"t"}"#,
        r#""client_metadata":{"x-codex-installation-id":"i"}"#,
        r#""trace":{"id":"t"}"#,
        r#""request_id":"r""#,
    ];
    for (api, members) in [
        ("openai_chat", &openai[..]),
        ("openai_completions", &openai),
        ("openai_responses", &openai),
        ("openai_embeddings", &openai),
        ("workers_ai", &openai),
        ("anthropic_messages", &[r#""metadata":{"user_id":"u"}"#]),
        ("gemini", &[r#""labels":{"team":"t"}"#]),
        (
            "bedrock",
            &[
                r#""requestMetadata":{"a":"b"}"#,
                r#""metadata":{"user_id":"u"}"#,
            ],
        ),
    ] {
        let plain = keyed(api, r#"{"model":"m"}"#);
        for member in members {
            let with = keyed(api, &format!(r#"{{"model":"m",{member}}}"#));
            assert_eq!(plain, with, "{api} {member}");
        }
    }
}

#[test]
fn what_an_answer_may_depend_on_takes_part() {
    for api in Api::all().map(Api::name) {
        let plain = keyed(api, r#"{"model":"m"}"#);
        for member in [
            r#""store":true"#,
            r#""previous_response_id":"resp_1""#,
            r#""service_tier":"flex""#,
            r#""seed":1"#,
            r#""cache_salt":"s""#,
            r#""user_id":"u""#,
            r#""session_id":"s""#,
            r#""messages":[{"user":"u","metadata":{}}]"#,
            r#""container":"c""#,
        ] {
            let with = keyed(api, &format!(r#"{{"model":"m",{member}}}"#));
            assert_ne!(plain, with, "{api} {member}");
        }
    }
}

#[test]
fn the_billing_line_of_claude_code_takes_no_part() {
    let line = |version: &str, digest: &str| {
        format!(
            "x-anthropic-billing-header: cc_version={version}; cc_entrypoint=cli; cch={digest};"
        )
    };
    let [one, other] = [line("2.1.177.01c", "36ee5"), line("2.1.177.7b4", "0aaa9")];
    for api in ["anthropic_messages", "bedrock"] {
        let list = |line: &str, then: &str| {
            keyed(
                api,
                &format!(r#"{{"system":[{{"type":"text","text":"{line}"}},{{"text":"{then}"}}]}}"#),
            )
        };
        assert_eq!(list(&one, "x"), list(&other, "x"));
        assert_ne!(list(&one, "x"), list(&other, "y"));
        let text =
            |line: &str, then: &str| keyed(api, &format!(r#"{{"system":"{line}\n{then}"}}"#));
        assert_eq!(text(&one, "x"), text(&other, "x"));
        assert_ne!(text(&one, "x"), text(&other, "y"));
        let asked = |line: &str| keyed(api, &format!(r#"{{"messages":[{{"content":"{line}"}}]}}"#));
        assert_ne!(asked(&one), asked(&other));
    }
}

/// A run of an agent with two calls in each API, `A` and `B` their ids, and where their results are.
const RUNS: [(&str, &str); 9] = [
    (
        "openai_chat",
        r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"A","function":{"arguments":"1"}},{"id":"B","function":{"arguments":"2"}}]},{"role":"tool","tool_call_id":"A","content":"a"},{"role":"tool","tool_call_id":"B","content":"b"}]}"#,
    ),
    (
        "workers_ai",
        r#"{"messages":[{"tool_calls":[{"id":"A","n":1},{"id":"B","n":2}]},{"tool_call_id":"A","content":"a"},{"tool_call_id":"B","content":"b"}]}"#,
    ),
    (
        "ollama",
        r#"{"messages":[{"tool_calls":[{"id":"A","n":1},{"id":"B","n":2}]},{"tool_call_id":"A","content":"a"},{"tool_call_id":"B","content":"b"}]}"#,
    ),
    (
        "cohere",
        r#"{"messages":[{"tool_calls":[{"id":"A","n":1},{"id":"B","n":2}]},{"tool_call_id":"A","content":"a"},{"tool_call_id":"B","content":"b"}]}"#,
    ),
    (
        "openai_responses",
        r#"{"input":[{"type":"function_call","id":"item_of_A","call_id":"A","arguments":"1"},{"type":"function_call","id":"item_of_B","call_id":"B","arguments":"2"},{"type":"function_call_output","call_id":"A","output":"a"},{"type":"function_call_output","call_id":"B","output":"b"}]}"#,
    ),
    (
        "anthropic_messages",
        r#"{"messages":[{"content":[{"type":"tool_use","id":"A","input":1},{"type":"tool_use","id":"B","input":2}]},{"content":[{"type":"tool_result","tool_use_id":"A","content":"a"},{"type":"tool_result","tool_use_id":"B","content":"b"}]}]}"#,
    ),
    (
        "gemini",
        r#"{"contents":[{"parts":[{"functionCall":{"id":"A","args":{"n":1}}},{"function_call":{"id":"B","args":{"n":2}}}]},{"parts":[{"functionResponse":{"id":"A","response":"a"}},{"function_response":{"id":"B","response":"b"}}]}]}"#,
    ),
    (
        "bedrock",
        r#"{"messages":[{"content":[{"toolUse":{"toolUseId":"A","input":1}},{"toolUse":{"toolUseId":"B","input":2}}]},{"content":[{"toolResult":{"toolUseId":"A","content":"a"}},{"toolResult":{"toolUseId":"B","content":"b"}}]}]}"#,
    ),
    (
        "bedrock",
        r#"{"messages":[{"content":[{"type":"tool_use","id":"A","input":1},{"type":"tool_use","id":"B","input":2}]},{"content":[{"type":"tool_result","tool_use_id":"A","content":"a"},{"type":"tool_result","tool_use_id":"B","content":"b"}]}]}"#,
    ),
];

#[test]
fn how_the_ids_of_calls_are_spelt_takes_no_part_and_which_is_which_does() {
    for (api, run) in RUNS {
        let with = |a: &str, b: &str| {
            run.replace("\"A\"", a)
                .replace("\"B\"", b)
                .replace("item_of_A", &format!("item-{}", a.trim_matches('"')))
                .replace("item_of_B", &format!("item-{}", b.trim_matches('"')))
        };
        let one = keyed(api, &with(r#""call_0000aaaa""#, r#""call_0000bbbb""#));
        let other = keyed(api, &with(r#""toolu_xyz0001""#, r#""toolu_xyz0002""#));
        assert_eq!(one, other, "{api}");
        let (calls, results) = run.rsplit_once(r#""A""#).unwrap();
        let (between, rest) = results.split_once(r#""B""#).unwrap();
        let swapped = format!("{calls}\"B\"{between}\"A\"{rest}");
        let swapped = swapped
            .replace("\"A\"", "\"call_0000aaaa\"")
            .replace("\"B\"", "\"call_0000bbbb\"");
        let swapped = swapped
            .replace("item_of_A", "item-call_0000aaaa")
            .replace("item_of_B", "item-call_0000bbbb");
        assert_ne!(one, keyed(api, &swapped), "{api}");
    }
}

#[test]
fn an_id_by_which_a_provider_looks_something_up_takes_part() {
    let responses = |input: &str| keyed("openai_responses", &format!(r#"{{"input":[{input}]}}"#));
    for item in [
        r#"{"type":"item_reference","id":"ID"}"#,
        r#"{"type":"reasoning","id":"ID","summary":[]}"#,
        r#"{"type":"image_generation_call","id":"ID"}"#,
        r#"{"type":"computer_call","id":"ID","call_id":"call_1"}"#,
        // The call is in the response before.
        r#"{"type":"function_call_output","call_id":"ID","output":"a"}"#,
        r#"{"id":"ID"}"#,
    ] {
        let [one, other] =
            ["id_0000aaaa", "id_0000bbbb"].map(|id| responses(&item.replace("ID", id)));
        assert_ne!(one, other, "{item}");
    }
    let message = r#"{"type":"message","id":"ID","role":"assistant","content":[]}"#;
    let [one, other] =
        ["id_0000aaaa", "id_0000bbbb"].map(|id| responses(&message.replace("ID", id)));
    assert_eq!(one, other);
    let anthropic = |content: &str| {
        keyed(
            "anthropic_messages",
            &format!(r#"{{"messages":[{{"content":[{content}]}}]}}"#),
        )
    };
    let server = r#"{"type":"server_tool_use","id":"ID"}"#;
    let [one, other] =
        ["id_0000aaaa", "id_0000bbbb"].map(|id| anthropic(&server.replace("ID", id)));
    assert_ne!(one, other);
}
