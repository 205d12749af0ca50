use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::llm::{Api, Form, Framing, Tokens};

const WITH_USAGE: &[u8] = br#"{"include_usage":true}"#;

fn named(api: &str) -> Api {
    Api::from_name(api).unwrap()
}

/// An answer of an API, and what may be done to it.
struct Case {
    api: &'static str,
    json: Form,
    answer: Value,
    /// The streams that it converts to.
    streams: Vec<Form>,
    /// Members to change, by JSON pointers, so that it says something else.
    other: Vec<(&'static str, Value)>,
    /// Members to change so that it still says the same.
    same: Vec<(&'static str, Value)>,
    tokens: u64,
}

impl Case {
    fn new(api: &'static str, tokens: u64, answer: Value) -> Self {
        Self {
            api,
            json: Form::json(),
            answer,
            streams: Vec::new(),
            other: Vec::new(),
            same: Vec::new(),
            tokens,
        }
    }

    fn streams(mut self, framing: Framing, options: &[u8]) -> Self {
        self.streams.push(Form::new(framing, options));
        self
    }

    fn other(mut self, pointer: &'static str, value: Value) -> Self {
        self.other.push((pointer, value));
        self
    }

    fn same(mut self, pointer: &'static str, value: Value) -> Self {
        self.same.push((pointer, value));
        self
    }

    fn api(&self) -> Api {
        named(self.api)
    }

    /// In all its forms.
    fn forms(&self) -> Vec<(Form, Vec<u8>)> {
        let mut forms = self.those_of(&self.answer);
        assert_eq!(forms.len(), 1 + self.streams.len(), "{}", self.api);
        forms.sort_by_key(|(form, _)| form.options.len());
        forms
    }

    /// An answer in those of the forms that it converts to.
    fn those_of(&self, answer: &Value) -> Vec<(Form, Vec<u8>)> {
        let json = answer.to_string().into_bytes();
        let convert = |form: &Form| self.api().convert(&json, &self.json, form);
        let streams = self.streams.iter();
        let streams = streams.filter_map(|form| Some((form.clone(), convert(form).ok()?)));
        let streams: Vec<_> = streams.collect();
        [(self.json.clone(), json.clone())]
            .into_iter()
            .chain(streams)
            .collect()
    }

    /// With one member changed.
    fn changed(&self, pointer: &str, value: &Value) -> Vec<(Form, Vec<u8>)> {
        let mut answer = self.answer.clone();
        let member = answer.pointer_mut(pointer);
        *member.unwrap_or_else(|| panic!("{} {pointer}", self.api)) = value.clone();
        self.those_of(&answer)
    }

    fn agree(
        &self,
        one: &(Form, Vec<u8>),
        other: &(Form, Vec<u8>),
    ) -> Result<bool, ConversionError> {
        self.api().agree(&one.1, &one.0, &other.1, &other.0)
    }
}

fn cases() -> Vec<Case> {
    let mut cases = completions();
    cases.extend(messages());
    cases.extend(documents());
    cases
}

fn completions() -> Vec<Case> {
    let choice = |index: u32, text: &str| {
        json!({"index": index, "finish_reason": "stop", "logprobs": null,
            "message": {"role": "assistant", "content": text, "refusal": null}})
    };
    let call = |id: &str, name: &str, arguments: &str| {
        json!({"index": 0, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}})
    };
    let of = |message: Value, finish: &str| {
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "system_fingerprint": "fp", "service_tier": "default",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}})
    };
    let calling = json!({"role": "assistant", "content": null,
        "tool_calls": [call("call_1", "f", r#"{"a":1,"b":[]}"#)]});
    let mut two = of(Value::Null, "");
    two["choices"] = json!([choice(0, "Hello"), choice(1, "Good day")]);
    vec![
        Case::new("openai_chat", 12, two)
            .streams(Framing::Sse, b"")
            .streams(Framing::Sse, WITH_USAGE)
            .other("/choices/0/message/content", json!("Hullo"))
            .other("/choices/1/message/content", Value::Null)
            .other("/choices/1/message/refusal", json!("No"))
            .other("/choices/0/finish_reason", json!("length"))
            .other("/choices", json!([choice(0, "Hello")]))
            .other(
                "/choices",
                json!([choice(0, "Good day"), choice(1, "Hello")]),
            )
            .same(
                "/choices",
                json!([choice(1, "Good day"), choice(0, "Hello")]),
            )
            .same("/id", json!("chatcmpl-2"))
            .same("/created", json!(2))
            .same("/model", json!("m-2024"))
            .same("/system_fingerprint", json!("other"))
            .same("/service_tier", json!("flex"))
            .same("/usage/total_tokens", json!(13))
            .same("/choices/0/logprobs", json!({"content": []})),
        Case::new("openai_chat", 12, of(calling, "tool_calls"))
            .streams(Framing::Sse, b"")
            .streams(Framing::Sse, WITH_USAGE)
            .other("/choices/0/message/content", json!("I call"))
            .other("/choices/0/message/tool_calls/0/function/name", json!("g"))
            .other(
                "/choices/0/message/tool_calls/0/function/arguments",
                json!(r#"{"a":"1","b":[]}"#),
            )
            .other(
                "/choices/0/message/tool_calls/0/function/arguments",
                json!(""),
            )
            .other("/choices/0/message/tool_calls", json!([]))
            .same(
                "/choices/0/message/tool_calls/0/function/arguments",
                json!(r#" { "b" : [ ], "a" : 1.0 } "#),
            )
            .same("/choices/0/message/tool_calls/0/id", json!("call_2"))
            .same("/choices/0/message/content", json!("")),
        Case::new(
            "openai_completions",
            3,
            json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "text": "Hi", "logprobs": null, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
        )
        .streams(Framing::Sse, b"")
        .streams(Framing::Sse, WITH_USAGE)
        .other("/choices/0/text", json!("Ha"))
        .other("/choices/0/finish_reason", json!("length"))
        .same("/id", json!("cmpl-2"))
        .same("/usage/completion_tokens", json!(1)),
        Case::new(
            "workers_ai",
            9,
            json!({"result": {"response": "Hi", "usage": {"total_tokens": 9}},
                "success": true, "errors": [], "messages": []}),
        )
        .streams(Framing::Sse, b"")
        .other("/result/response", json!("Ha"))
        .same("/result/usage", json!({"total_tokens": 1})),
        Case::new(
            "workers_ai",
            12,
            json!({"result": of(json!({"role": "assistant", "content": "Hi"}), "stop"),
                "success": true, "errors": [], "messages": []}),
        )
        .streams(Framing::Sse, b"")
        .other("/result/choices/0/message/content", json!("Ha"))
        .other("/result/choices/0/finish_reason", json!("length"))
        .same("/result/id", json!("chatcmpl-2")),
        Case::new(
            "workers_ai",
            2,
            json!({"result": {"response": null, "usage": {"prompt_tokens": 2},
                "tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
                "success": true, "errors": [], "messages": []}),
        )
        .other("/result/tool_calls/0/name", json!("g"))
        .other("/result/tool_calls/0/arguments/a", json!(2))
        .same("/result/tool_calls/0/arguments", json!(r#"{"a": 1}"#))
        .same("/result/response", json!("")),
    ]
}

fn messages() -> Vec<Case> {
    let anthropic = || {
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
                {"type": "text", "text": "Hello"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"id": 1}}],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 5, "cache_creation_input_tokens": 1,
                "cache_read_input_tokens": 2, "output_tokens": 7}})
    };
    let blocks = |text: &[&str]| {
        let text = text.iter();
        let mut blocks: Vec<_> = text
            .map(|text| json!({"type": "text", "text": text}))
            .collect();
        blocks.push(json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"id": 1}}));
        Value::Array(blocks)
    };
    let invoke = Form::new(Framing::Json, b"invoke");
    let of_anthropic = |case: Case| {
        case.other("/content/1/text", json!("Hullo"))
            .other("/content/2/name", json!("g"))
            .other("/content/2/input/id", json!(2))
            .other("/stop_reason", json!("end_turn"))
            .other("/stop_sequence", json!("X"))
            .other("/content", blocks(&["Hello", " there"]))
            .same("/content", blocks(&["Hel", "lo"]))
            .same("/content/0/thinking", json!("Well"))
            .same("/content/0/signature", json!("b3RoZXI="))
            .same("/content/2/id", json!("toolu_2"))
            .same("/id", json!("msg_2"))
            .same("/usage/output_tokens", json!(8))
    };
    let response = json!({"id": "resp_1", "object": "response", "created_at": 1,
        "status": "completed", "incomplete_details": null, "error": null, "model": "m",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [],
                "content": [{"type": "reasoning_text", "text": "Hm"}]},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello", "annotations": [],
                    "logprobs": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f",
                "arguments": "{\"a\":1}", "status": "completed"}],
        "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}});
    let converse = json!({"output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "c2ln"}}},
            {"text": "Hello"},
            {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}]}},
        "stopReason": "tool_use", "metrics": {"latencyMs": 5},
        "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}});
    let mut of_invoke = Case::new("bedrock", 15, anthropic());
    of_invoke.json = invoke;
    vec![
        of_anthropic(Case::new("anthropic_messages", 15, anthropic())).streams(Framing::Sse, b""),
        of_anthropic(of_invoke),
        Case::new("bedrock", 12, converse)
            .streams(Framing::EventStream, b"")
            .other("/output/message/content/1/text", json!("Hullo"))
            .other("/output/message/content/2/toolUse/name", json!("g"))
            .other("/output/message/content/2/toolUse/input/a", json!(2))
            .other("/stopReason", json!("end_turn"))
            .same(
                "/output/message/content/0/reasoningContent/reasoningText/text",
                json!("Well"),
            )
            .same("/output/message/content/2/toolUse/toolUseId", json!("t2"))
            .same("/metrics/latencyMs", json!(6))
            .same("/usage/totalTokens", json!(13)),
        Case::new("openai_responses", 12, response)
            .streams(Framing::Sse, b"")
            .other("/output/1/content/0/text", json!("Hullo"))
            .other(
                "/output/1/content/0",
                json!({"type": "refusal", "refusal": "Hello"}),
            )
            .other("/output/2/name", json!("g"))
            .other("/output/2/arguments", json!("{\"a\":2}"))
            .other("/status", json!("incomplete"))
            .other("/incomplete_details", json!({"reason": "content_filter"}))
            .other("/output/2", Value::Null)
            .same("/output/0", Value::Null)
            .same("/output/0/content/0/text", json!("Well"))
            .same("/output/2/arguments", json!("{ \"a\" : 1 }"))
            .same("/output/2/call_id", json!("call_2"))
            .same("/id", json!("resp_2"))
            .same("/created_at", json!(2))
            .same("/usage/total_tokens", json!(13)),
    ]
}

fn documents() -> Vec<Case> {
    let gemini = json!({"candidates": [{"index": 0, "finishReason": "STOP", "safetyRatings": [],
            "content": {"role": "model", "parts": [
                {"text": "Hm", "thought": true},
                {"text": "Hello"},
                {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}},
                    "thoughtSignature": "c2ln"}]}}],
        "responseId": "r1", "modelVersion": "m",
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7,
            "thoughtsTokenCount": 3, "totalTokenCount": 15}});
    let cohere = json!({"id": "c1", "finish_reason": "TOOL_CALL",
        "message": {"role": "assistant", "tool_plan": "I plan",
            "content": [{"type": "text", "text": "Hello"}],
            "tool_calls": [{"id": "f_1", "type": "function",
                "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
        "usage": {"billed_units": {"input_tokens": 1.0, "output_tokens": 2.0},
            "tokens": {"input_tokens": 5.0, "output_tokens": 7.0}}});
    let cohere_v1 = json!({"generation_id": "g1", "text": "Hello", "finish_reason": "COMPLETE",
        "tool_calls": [{"name": "f", "parameters": {"a": 1}}],
        "meta": {"billed_units": {"input_tokens": 5, "output_tokens": 7}}});
    let ollama = json!({"model": "m", "created_at": "now", "done": true, "done_reason": "stop",
        "message": {"role": "assistant", "content": "Hello", "thinking": "Hm",
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        "total_duration": 9, "prompt_eval_count": 5, "eval_count": 7});
    vec![
        Case::new("gemini", 15, gemini)
            .streams(Framing::Sse, b"")
            .streams(Framing::JsonArray, b"")
            .other("/candidates/0/content/parts/1/text", json!("Hullo"))
            .other(
                "/candidates/0/content/parts/1",
                json!({"text": "Hello", "thought": true}),
            )
            .other(
                "/candidates/0/content/parts/2/functionCall/name",
                json!("g"),
            )
            .other(
                "/candidates/0/content/parts/2/functionCall/args/a",
                json!("1"),
            )
            .other("/candidates/0/finishReason", json!("MAX_TOKENS"))
            .same("/candidates/0/content/parts/0/text", json!("Well"))
            .same("/candidates/0/content/parts/2/functionCall/id", json!("c2"))
            .same("/candidates/0/content/parts/2/thoughtSignature", json!("x"))
            .same("/responseId", json!("r2"))
            .same("/usageMetadata/totalTokenCount", json!(16)),
        Case::new(
            "gemini",
            2,
            json!({"embeddings": [{"values": [0.5, -1e-3]}, {"values": [1]}],
                "usageMetadata": {"promptTokenCount": 2}}),
        )
        .other("/embeddings/0/values/0", json!(0.25))
        .other("/embeddings/1/values", json!([]))
        .same("/embeddings/0/values/1", json!(-0.001))
        .same("/embeddings/1/values/0", json!(1.0)),
        Case::new("ollama", 12, ollama)
            .streams(Framing::Ndjson, b"")
            .other("/message/content", json!("Hullo"))
            .other("/message/tool_calls/0/function/name", json!("g"))
            .other("/message/tool_calls/0/function/arguments/a", json!(2))
            .other("/done_reason", json!("length"))
            .same("/message/thinking", json!("Well"))
            .same("/created_at", json!("then"))
            .same("/total_duration", json!(10))
            .same("/eval_count", json!(8)),
        Case::new(
            "ollama",
            3,
            json!({"response": "Hi", "done": true, "done_reason": "stop", "context": [1],
                "prompt_eval_count": 1, "eval_count": 2}),
        )
        .streams(Framing::Ndjson, b"")
        .other("/response", json!("Ha"))
        .same("/context", json!([2])),
        Case::new(
            "ollama",
            1,
            json!({"embeddings": [[0.5], [1]], "prompt_eval_count": 1}),
        )
        .other("/embeddings/1/0", json!(2))
        .other("/embeddings/1", json!([0.5, 1]))
        .same("/prompt_eval_count", json!(2)),
        Case::new("cohere", 12, cohere)
            .streams(Framing::Sse, b"")
            .other("/message/content/0/text", json!("Hullo"))
            .other("/message/tool_calls/0/function/name", json!("g"))
            .other(
                "/message/tool_calls/0/function/arguments",
                json!("{\"a\":2}"),
            )
            .other("/finish_reason", json!("COMPLETE"))
            .same("/message/tool_plan", json!("Let me"))
            .same("/message/tool_calls/0/id", json!("f_2"))
            .same("/id", json!("c2"))
            .same("/usage/tokens/input_tokens", json!(6)),
        Case::new("cohere", 12, cohere_v1)
            .streams(Framing::Ndjson, b"")
            .other("/text", json!("Hullo"))
            .other("/tool_calls/0/name", json!("g"))
            .other("/tool_calls/0/parameters/a", json!(2))
            .other("/finish_reason", json!("MAX_TOKENS"))
            .same("/generation_id", json!("g2")),
        Case::new(
            "cohere",
            4,
            json!({"id": "e", "embeddings": {"float": [[0.5]], "int8": [[3]]},
                "meta": {"billed_units": {"input_tokens": 4}}}),
        )
        .other("/embeddings/float/0/0", json!(0.25))
        .other("/embeddings/int8/0/0", json!(4))
        .same("/id", json!("f")),
        Case::new(
            "openai_embeddings",
            4,
            json!({"object": "list", "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4},
                "data": [
                    {"object": "embedding", "index": 0, "embedding": [0.1, 1]},
                    {"object": "embedding", "index": 1, "embedding": "AACAPw=="}]}),
        )
        .other("/data/0/embedding/0", json!(0.10000001))
        .other("/data/1/embedding", json!("AACAQA=="))
        .other("/data/0/index", json!(2))
        .same("/data/0/embedding/1", json!(1.0))
        .same("/model", json!("n"))
        .same("/usage/total_tokens", json!(5)),
        Case::new(
            "json",
            2,
            json!({"id": "r", "results": [{"index": 0, "score": 0.5, "id": 1}],
                "meta": {"billed_units": {"input_tokens": 2}}}),
        )
        .other("/results/0/score", json!(0.6))
        .other("/results/0/id", json!(2))
        .same("/results/0/score", json!(5e-1))
        .same("/id", json!("s"))
        .same("/meta", json!({})),
    ]
}

#[test]
fn every_api_has_a_case() {
    let cases = cases();
    for api in Api::all() {
        assert!(cases.iter().any(|case| case.api == api.name()), "{api:?}");
    }
}

#[test]
fn an_answer_agrees_with_itself_in_every_form() {
    for case in cases() {
        let forms = case.forms();
        for one in &forms {
            for other in &forms {
                let context = || format!("{} {:?} {:?}", case.api, one.0, other.0);
                assert_eq!(case.agree(one, other), Ok(true), "{}", context());
            }
        }
    }
}

#[test]
fn an_answer_that_says_something_else_disagrees_in_every_form() {
    for case in cases() {
        for (pointer, value) in &case.other {
            for changed in case.changed(pointer, value) {
                for form in case.forms() {
                    let context = || format!("{} {pointer} {:?} {:?}", case.api, changed.0, form.0);
                    assert_eq!(case.agree(&form, &changed), Ok(false), "{}", context());
                    assert_eq!(case.agree(&changed, &form), Ok(false), "{}", context());
                }
            }
        }
    }
}

#[test]
fn what_only_accompanies_an_answer_may_differ_in_every_form() {
    for case in cases() {
        for (pointer, value) in &case.same {
            for changed in case.changed(pointer, value) {
                for form in case.forms() {
                    let context = || format!("{} {pointer} {:?} {:?}", case.api, changed.0, form.0);
                    assert_eq!(case.agree(&form, &changed), Ok(true), "{}", context());
                }
            }
        }
    }
}

#[test]
fn tokens_are_counted_in_every_form_that_reports_usage() {
    for case in cases() {
        for (form, answer) in case.forms() {
            let silent = case.api.ends_with("_chat") || case.api.ends_with("_completions");
            let silent = silent && form.framing.is_stream() && form.options.is_empty();
            assert_eq!(
                case.api().tokens(&answer, &form).map(Tokens::total),
                (!silent).then_some(case.tokens),
                "{} {form:?}",
                case.api
            );
            let zeroed = case.api().zero_usage(&answer, &form).unwrap();
            let expected = (!silent).then_some(0);
            let tokens = case.api().tokens(&zeroed, &form).map(Tokens::total);
            assert_eq!(tokens, expected, "{}", case.api);
        }
    }
}

fn agree(api: &str, one: &str, other: &str) -> Result<bool, ConversionError> {
    let (api, json) = (named(api), Form::json());
    api.agree(one.as_bytes(), &json, other.as_bytes(), &json)
}

#[test]
fn a_list_of_contents_says_what_their_text_says() {
    let message = |content: &str| {
        format!(r#"{{"choices":[{{"message":{{"content":{content}}},"finish_reason":"stop"}}]}}"#)
    };
    let list = message(
        r#"[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]},{"type":"text","text":"Hi"}]"#,
    );
    assert_eq!(agree("openai_chat", &list, &message(r#""Hi""#)), Ok(true));
    assert_eq!(agree("openai_chat", &list, &message(r#""Hm""#)), Ok(false));
}

#[test]
fn arguments_that_are_no_json_are_compared_as_text() {
    let call = |arguments: &str| {
        let call = json!({"function": {"name": "f", "arguments": arguments}});
        json!({"choices": [{"message": {"tool_calls": [call]}}]}).to_string()
    };
    for (one, other, same) in [
        ("{\"a\":", "{\"a\":", true),
        ("{\"a\":", "{\"a\": ", false),
        ("", "{}", true),
        ("", "{ }", true),
        ("", "[]", false),
        ("1", "\"1\"", false),
        ("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true),
        ("[1,2]", "[2,1]", false),
        ("{\"a\":null}", "{}", false),
    ] {
        let agreed = agree("openai_chat", &call(one), &call(other));
        assert_eq!(agreed, Ok(same), "{one} {other}");
    }
    // What is not the call's arguments does not count as them.
    let two = |first: &str, second: &str| {
        let call = |name, arguments: &str| json!({"name": name, "input": {"v": arguments}});
        json!({"content": [call("f", first), call("g", second)]}).to_string()
    };
    assert_eq!(
        agree("anthropic_messages", &two("1", "2"), &two("2", "1")),
        Ok(false)
    );
}

#[test]
fn numbers_are_compared_by_value_and_exactly() {
    for (one, other, same) in [
        ("1", "1.0", true),
        ("100", "1E+2", true),
        ("0.001", "1e-3", true),
        ("0", "-0.0", true),
        ("0e99999999999999999999", "0", true),
        ("1", "-1", false),
        ("1", "10", false),
        ("12345678901234567890123", "12345678901234567890124", false),
        ("0.1", "0.10000000000000001", false),
        ("1e99999999999999999999", "1e99999999999999999999", true),
        ("1e99999999999999999999", "1e99999999999999999998", false),
        ("1e9223372036854775807", "1e9223372036854775806", false),
        ("1", "\"1\"", false),
        ("1", "true", false),
    ] {
        let agreed = agree("json", &format!("[{one}]"), &format!("[{other}]"));
        assert_eq!(agreed, Ok(same), "{one} {other}");
    }
}

#[test]
fn an_answer_that_says_nothing_known_cannot_be_compared() {
    for (api, answer) in [
        ("openai_chat", r#"{"error":{"message":"no"}}"#),
        ("openai_chat", r#"{"choices":[]}"#),
        (
            "workers_ai",
            r#"{"result":{"image":"aGk="},"success":true}"#,
        ),
        ("json", r#"{"id":"1"}"#),
        ("json", "[]"),
        ("json", "null"),
    ] {
        let agreed = agree(api, answer, answer);
        assert_eq!(agreed, Err(ConversionError::UnknownMember), "{answer}");
    }
}

#[test]
fn an_answer_that_cannot_be_taken_apart_cannot_be_compared() {
    let whole = r#"{"choices":[{"text":"Hi"}]}"#;
    let large = format!("{whole}{}", " ".repeat(4 << 20));
    for (bad, lossy) in [
        ("", ConversionError::Malformed),
        ("{", ConversionError::Malformed),
        (&large, ConversionError::TooLarge),
        (
            r#"{"a":{"$serde_json::private::Number":"1"}}"#,
            ConversionError::UnknownMember,
        ),
    ] {
        assert_eq!(agree("openai_completions", whole, bad), Err(lossy));
        assert_eq!(agree("openai_completions", bad, whole), Err(lossy));
    }
}

#[test]
fn a_stream_without_usage_agrees_with_the_same_answer_in_json() {
    let text = r#"{"choices":[{"index":0,"text":"Hi","finish_reason":"stop"}]}"#;
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    let chat = chunk.replace("delta", "message");
    let sse = Form::new(Framing::Sse, b"");
    for (api, event, whole) in [
        ("openai_completions", text, text.to_owned()),
        ("openai_chat", chunk, chat.clone()),
        ("workers_ai", chunk, format!(r#"{{"result":{chat}}}"#)),
        (
            "workers_ai",
            r#"{"response":"Hi"}"#,
            r#"{"result":{"response":"Hi"}}"#.to_owned(),
        ),
    ] {
        for start in ["", ": hello\n\n"] {
            let stream = format!("{start}data: {event}\n\ndata: [DONE]\n\n");
            let agree = |whole: &str| {
                named(api).agree(stream.as_bytes(), &sse, whole.as_bytes(), &Form::json())
            };
            assert_eq!(agree(&whole), Ok(true), "{api} {start:?}");
            assert_eq!(agree(&whole.replace("Hi", "Ha")), Ok(false), "{api}");
        }
    }
    // Where a stream must have usage, one without is not taken for whole.
    let stream = "data: {\"type\":\"message_start\",\"message\":{\"content\":[]}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n";
    let api = named("anthropic_messages");
    let agreed = api.agree(stream.as_bytes(), &sse, stream.as_bytes(), &sse);
    assert_eq!(agreed, Err(ConversionError::NoUsage));
}

#[test]
fn what_a_stream_would_lose_in_json_cannot_be_compared() {
    let stream = "data: {\"choices\":[{\"delta\":{\"audio\":{\"data\":\"aGk=\"}}}]}\n\n";
    let api = named("openai_chat");
    let sse = Form::new(Framing::Sse, b"");
    let agreed = api.agree(stream.as_bytes(), &sse, stream.as_bytes(), &sse);
    assert_eq!(agreed, Err(ConversionError::Content));
}

proptest! {
    #[test]
    fn any_bytes_are_compared_or_declined(
        place in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..4),
        at in any::<prop::sample::Index>(),
        gone in 0_usize..4,
    ) {
        let cases = cases();
        let case = place.get(&cases);
        for (form, answer) in case.forms() {
            let start = at.index(answer.len());
            let end = answer.len().min(start + gone);
            let mut mangled = answer.clone();
            mangled.splice(start..end, bytes.iter().copied());
            // Whatever it says, it agrees with itself if it can be compared at all.
            let agreed = case.api().agree(&mangled, &form, &mangled, &form);
            prop_assert_ne!(agreed, Ok(false));
            let _ = case.api().agree(&answer, &form, &mangled, &form);
            let _ = case.api().tokens(&mangled, &form);
            for framing in Framing::ALL {
                let form = Form::new(framing, b"");
                let _ = case.api().agree(&mangled, &form, &mangled, &form);
                let _ = case.api().tokens(&mangled, &form);
            }
        }
    }
}
