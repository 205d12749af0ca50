use serde_json::Value;

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&AnthropicMessages);

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn ask(body: &str) -> Result<RequestTraits, Unfit> {
    API.read(b"/v1/messages?beta=true", b"", Some(&canonical(body)))
}

fn sse() -> Form {
    Form::new(Framing::Sse, b"")
}

/// A stream of these events, named by their type as the API does.
fn stream(events: &[&str]) -> Vec<u8> {
    let event = |data: &&str| {
        let parsed: Value = serde_json::from_str(data).unwrap();
        format!(
            "event: {}\ndata: {data}\n\n",
            parsed["type"].as_str().unwrap()
        )
    };
    events.iter().map(event).collect::<String>().into_bytes()
}

/// The name and the data of each event.
fn events_of(stream: &[u8]) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    crate::sse::Parser::new().feed(stream, |event| {
        events.push((text(event.event.to_vec()), value(event.data)));
    });
    events
}

fn judge_chunks<'c>(
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> (Result<Verdict, NotWhole>, String) {
    let mut judge = API.judge(&RequestTraits::unreadable(), Framing::Sse);
    let mut heard = String::new();
    for chunk in chunks {
        if let Err(fault) = judge.feed(chunk, &mut |_, text| heard.push_str(text)) {
            return (Err(fault), heard);
        }
    }
    (judge.finish(b""), heard)
}

fn judge_stream(events: &[&str]) -> Result<Verdict, NotWhole> {
    judge_chunks([&stream(events)[..]]).0
}

fn judge_json(json: &str) -> Result<Verdict, NotWhole> {
    judge_json_bytes(json.as_bytes())
}

fn judge_json_bytes(json: &[u8]) -> Result<Verdict, NotWhole> {
    API.judge(&RequestTraits::unreadable(), Framing::Json)
        .finish(json)
}

fn join(events: &[&str]) -> Result<Value, ConversionError> {
    let json = AnthropicMessages.join(&stream(events), &sse())?;
    Ok(value(&json))
}

fn split(json: &str) -> Result<String, ConversionError> {
    let stream = AnthropicMessages.split(json.as_bytes(), &sse())?;
    Ok(text(stream))
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1,"service_tier":"standard"}}}"#;
const TEXT_START: &str =
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
const TEXT: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"H\u00e9llo"}}"#;
const STOP_0: &str = r#"{"type":"content_block_stop","index":0}"#;
const TOOL_START: &str = r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#;
const ARGUMENTS_1: &str = r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#;
const ARGUMENTS_2: &str = r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1.50}"}}"#;
const STOP_1: &str = r#"{"type":"content_block_stop","index":1}"#;
const END_TURN: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;
const PING: &str = r#"{"type":"ping"}"#;

const SHORT: [&str; 6] = [START, TEXT_START, TEXT, STOP_0, END_TURN, STOP];
const WITH_TOOL: [&str; 11] = [
    START,
    TEXT_START,
    PING,
    TEXT,
    STOP_0,
    TOOL_START,
    ARGUMENTS_1,
    ARGUMENTS_2,
    STOP_1,
    END_TURN,
    STOP,
];

/// The short stream with one event replaced by others.
fn with<'e>(at: usize, events: &[&'e str]) -> Vec<&'e str> {
    let mut all = SHORT.to_vec();
    all.splice(at..=at, events.iter().copied());
    all
}

#[test]
fn a_request_says_which_form_it_wants() {
    let form = |body: &str| ask(body).map(|ask| ask.form.unwrap());
    for json in ["{}", r#"{"stream":null}"#, r#"{"stream":false}"#] {
        assert_eq!(form(json), Ok(Form::json()), "{json}");
    }
    assert_eq!(form(r#"{"stream":true}"#), Ok(sse()));
    assert_eq!(form(r#"{"stream":"true"}"#), Err(Unfit::UnclearForm));
    assert_eq!(API.read(b"/v1/messages", b"", None).unwrap().form, None);
    assert_eq!(
        ask(r#"{"temperature":0.5}"#).unwrap().temperature,
        Some(0.5)
    );
    assert!(AnthropicMessages.owns(b"/v1/messages"));
    for other in [
        "/v1/messages/batches",
        "/v1/messages/count_tokens",
        "/v1/complete",
        // These add to a conversation.
        "/v1/threads/thread_1/messages",
        "/openai/threads/thread_1/messages",
        "/v1/conversations/conv_1/messages",
        "/v1/chat/completions/c/messages",
        "/v1/agents/a/messages",
        "//messages",
        "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
        "/v1/projects/p/locations/l/publishers/mistralai/models/m:rawPredict",
        "/v1/projects/p/locations/l/endpoints/7:rawPredict",
        "/v1/projects/p/locations/l/publishers/anthropic/models/:rawPredict",
        "/v1/projects/p/locations/l/publishers/anthropic/models/m:predict",
    ] {
        assert!(!AnthropicMessages.owns(other.as_bytes()), "{other}");
    }
}

#[test]
fn a_container_is_a_conversation() {
    for body in [
        r#"{"container":"container_1"}"#,
        r#"{"container":{"skills":[1]}}"#,
    ] {
        assert_eq!(ask(body), Err(Unfit::Conversation), "{body}");
    }
    assert!(ask(r#"{"container":null}"#).is_ok());
}

#[test]
fn tools_that_the_provider_runs_are_told_from_the_client_s() {
    for server in [
        r#"{"tools":[{"type":"web_search_20250305"}]}"#,
        r#"{"tools":[{"name":"f"},{"type":"web_fetch_20250910"}]}"#,
        r#"{"tools":[{"type":"code_execution_20250825"}]}"#,
        r#"{"tools":[{"type":"tool_search_tool_bm25"}]}"#,
        r#"{"tools":[{"type":"mcp_toolset"}]}"#,
        r#"{"tools":[{"name":"x","type":"whatever_comes_next"}]}"#,
        r#"{"tools":[{"google_search":{}}]}"#,
        r#"{"tools":"nonsense"}"#,
        r#"{"mcp_servers":[{"type":"url"}]}"#,
        r#"{"plugins":[{"id":"web"}]}"#,
        r#"{"model":"anthropic/claude:online"}"#,
    ] {
        assert!(ask(server).unwrap().server_tools, "{server}");
    }
    for client in [
        "{}",
        r#"{"tools":[{"name":"f","input_schema":{}},{"name":"g","type":"custom"}]}"#,
        r#"{"tools":[{"name":"f","type":null}]}"#,
        r#"{"tools":[{"name":"bash","type":"bash_20250124"},{"name":"e","type":"text_editor_20250728"}]}"#,
        r#"{"tools":[{"name":"c","type":"computer_20250124"},{"name":"memory","type":"memory_20250818"}]}"#,
        r#"{"tools":null,"mcp_servers":[]}"#,
    ] {
        assert!(!ask(client).unwrap().server_tools, "{client}");
    }
}

#[test]
fn a_stream_is_whole_at_every_split() {
    for events in [&SHORT[..], &WITH_TOOL] {
        let bytes = stream(events);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let (answer, heard) = judge_chunks([head, tail]);
            assert_eq!((answer, heard.as_str()), (Ok(WHOLE), "Héllo"), "{at}");
        }
    }
}

#[test]
fn no_prefix_of_a_stream_is_whole() {
    let bytes = stream(&WITH_TOOL);
    for length in 0..bytes.len() {
        let answer = judge_chunks([&bytes[..length]]).0;
        assert!(!answer.is_ok_and(|answer| answer.marked_end), "{length}");
    }
}

#[test]
fn a_stop_reason_alone_or_an_end_alone_does_not_mark_the_end() {
    for events in [&SHORT[..5], &with(4, &[])] {
        assert!(!judge_stream(events).unwrap().marked_end, "{events:?}");
    }
    let null = r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{}}"#;
    assert!(!judge_stream(&with(4, &[null])).unwrap().marked_end);
    assert_eq!(judge_stream(&with(4, &[END_TURN, null])), Ok(WHOLE));
    assert_eq!(judge_stream(&SHORT[..4]), Err(NotWhole::Unfinished));
    assert_eq!(judge_stream(&[]), Err(NotWhole::Choices));
}

#[test]
fn every_stop_reason_is_read() {
    let finish = |reason: &str| {
        let end = END_TURN.replace("end_turn", reason);
        let json = format!(r#"{{"type":"message","content":[],"stop_reason":"{reason}"}}"#);
        let mut events = SHORT.to_vec();
        events[4] = &end;
        let streamed = judge_stream(&events).map(|answer| answer.finish);
        assert_eq!(judge_json(&json).map(|answer| answer.finish), streamed);
        streamed
    };
    for complete in ["end_turn", "stop_sequence", "tool_use"] {
        assert_eq!(finish(complete), Ok(Finish::Complete));
    }
    for length in ["max_tokens", "model_context_window_exceeded"] {
        assert_eq!(finish(length), Ok(Finish::Length));
    }
    assert_eq!(finish("refusal"), Ok(Finish::Filtered));
    for paused in ["pause_turn", "compaction"] {
        assert_eq!(finish(paused), Err(NotWhole::Unfinished));
    }
    for unknown in ["stop", "END_TURN", "error", "new"] {
        assert_eq!(finish(unknown), Err(NotWhole::UnknownFinish));
    }
}

#[test]
fn an_error_anywhere_is_a_fault() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let untyped = r#"{"type":"message_delta","error":{"message":"boom"}}"#;
    for bad in [error, untyped] {
        for at in 0..=SHORT.len() {
            let mut events = SHORT.to_vec();
            events.insert(at, bad);
            assert_eq!(judge_stream(&events), Err(NotWhole::Error), "{bad} at {at}");
        }
    }
    let named = b"event: error\ndata: {\"oops\":1}\n\n";
    assert_eq!(judge_chunks([&named[..]]).0, Err(NotWhole::Error));
}

#[test]
fn what_the_api_does_not_send_is_a_fault() {
    let skipped = r#"{"type":"content_block_start","index":2,"content_block":{"type":"text"}}"#;
    let prefilled = START.replace("[]", r#"[{"type":"text","text":""}]"#);
    let without = START.replace("\"content\":[],", "");
    let null = START.replace("[]", "null");
    let uncounted = START.replace("\"usage\":{", "\"used\":{");
    let wordless = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text"}}"#;
    let end_without_usage = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    let end_without_delta = r#"{"type":"message_delta","usage":{"output_tokens":7}}"#;
    for (events, fault) in [
        // Two answers spliced.
        (with(3, &[START]), NotWhole::Malformed),
        (with(0, &[]), NotWhole::Malformed),
        (with(0, &[&prefilled]), NotWhole::Malformed),
        // What Anthropic's clients raise on.
        (with(0, &[&without]), NotWhole::Malformed),
        (with(0, &[&null]), NotWhole::Malformed),
        (with(0, &[&uncounted]), NotWhole::Malformed),
        (with(1, &[wordless]), NotWhole::Malformed),
        (with(4, &[end_without_usage]), NotWhole::Malformed),
        (with(4, &[end_without_delta]), NotWhole::Malformed),
        (with(1, &[]), NotWhole::Malformed),
        (with(1, &[skipped]), NotWhole::Malformed),
        (with(1, &[TEXT_START, TEXT_START]), NotWhole::Malformed),
        (with(3, &[STOP_0, STOP_0]), NotWhole::Malformed),
        (with(3, &[STOP_0, TEXT]), NotWhole::Malformed),
        // More content after the end.
        (with(4, &[END_TURN, TOOL_START]), NotWhole::Malformed),
        (with(5, &[STOP, END_TURN]), NotWhole::AfterEnd),
        (with(5, &[STOP, STOP]), NotWhole::AfterEnd),
        // A block that never ends.
        (with(3, &[]), NotWhole::Unfinished),
    ] {
        assert_eq!(judge_stream(&events), Err(fault), "{events:?}");
    }
    for bad in [
        "data: {}\n\n",
        "data: {\"choices\":[]}\n\n",
        "data: [DONE]\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":1}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0}\n\n",
        "data: {\"type\":\"content_block_stop\"}\n\n",
    ] {
        let bytes = [&stream(&SHORT[..3]), bad.as_bytes()].concat();
        assert_eq!(
            judge_chunks([&bytes[..]]).0,
            Err(NotWhole::Malformed),
            "{bad}"
        );
    }
    let stray = [&stream(&SHORT)[..], b"{\"error\":1}\n"].concat();
    assert_eq!(judge_chunks([&stray[..]]).0, Err(NotWhole::StrayLines));
    let mut many = vec![START.to_owned()];
    many.extend((0..65).map(|index| TEXT_START.replace(":0", &format!(":{index}"))));
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(judge_stream(&many), Err(NotWhole::Choices));
}

#[test]
fn an_event_is_named_as_its_data_says_because_clients_go_by_the_name() {
    let named = |at: usize, name: &str| {
        let text = text(stream(&WITH_TOOL));
        let mut events: Vec<_> = text.split_inclusive("\n\n").map(str::to_owned).collect();
        let (_, data) = events[at].split_once('\n').unwrap();
        events[at] = format!("{name}{data}");
        judge_chunks([events.concat().as_bytes()]).0
    };
    for (at, event) in WITH_TOOL.iter().enumerate() {
        let is_ping = *event == PING;
        for name in ["", "event:\n", "event: ping\n", "event: foo\n"] {
            let expected = match is_ping && !name.contains("foo") {
                true => Ok(WHOLE),
                false => Err(NotWhole::Malformed),
            };
            assert_eq!(named(at, name), expected, "{at} {name:?}");
        }
        assert_eq!(named(at, "event: error\n"), Err(NotWhole::Error));
    }
    let marked = [&stream(&SHORT)[..], b"event: done\ndata: [DONE]\n\n"].concat();
    assert_eq!(judge_chunks([&marked[..]]).0, Err(NotWhole::Malformed));
}

#[test]
fn what_comes_after_the_end_without_saying_anything_is_fine() {
    let bytes = [
        &stream(&SHORT)[..],
        b": bye\n\ndata: [DONE]\n\n",
        &stream(&[PING]),
    ]
    .concat();
    assert_eq!(judge_chunks([&bytes[..]]).0, Ok(WHOLE));
    let unknown = r#"{"type":"something_new","index":7}"#;
    assert_eq!(judge_stream(&with(2, &[TEXT, unknown])), Ok(WHOLE));
}

#[test]
fn arguments_of_tool_calls_must_parse() {
    let mut broken = WITH_TOOL.to_vec();
    broken.remove(7);
    assert_eq!(judge_stream(&broken), Err(NotWhole::ToolArguments));
    // As recorded when the limit on tokens falls into a call: no stop for the block.
    let length = END_TURN.replace("end_turn", "max_tokens");
    let cut: Vec<_> = [
        START,
        TEXT_START,
        TEXT,
        STOP_0,
        TOOL_START,
        ARGUMENTS_1,
        &length,
        STOP,
    ]
    .into();
    assert_eq!(judge_stream(&cut), Err(NotWhole::ToolArguments));
    let mut none = WITH_TOOL.to_vec();
    none.drain(6..8);
    assert_eq!(judge_stream(&none), Ok(WHOLE));
}

#[test]
fn an_answer_that_says_nothing_is_empty() {
    let thinking = r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#;
    let thought = r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#;
    for events in [with(2, &[]), with(1, &[thinking, thought])] {
        let events: Vec<_> = events.into_iter().filter(|event| *event != TEXT).collect();
        assert!(judge_stream(&events).unwrap().empty, "{events:?}");
    }
    let tool = [
        START,
        &TOOL_START.replace(":1", ":0"),
        STOP_0,
        END_TURN,
        STOP,
    ];
    assert!(!judge_stream(&tool).unwrap().empty);
    for (content, empty) in [
        ("[]", true),
        (r#"[{"type":"text","text":""}]"#, true),
        (r#"[{"type":"thinking","thinking":"hm"}]"#, true),
        (r#"[{"type":"text","text":"a"}]"#, false),
        (r#"[{"type":"tool_use"}]"#, false),
    ] {
        let json = format!(r#"{{"type":"message","content":{content},"stop_reason":"end_turn"}}"#);
        assert_eq!(judge_json(&json).unwrap().empty, empty, "{content}");
    }
}

/// Text with citations, thinking, calls of every kind, results: all that a message can hold.
const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[
    {"type":"thinking","thinking":"hm \"so\"","signature":"c2ln"},
    {"type":"redacted_thinking","data":"ZGF0YQ=="},
    {"type":"text","text":"Look: ","citations":null},
    {"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"x\ny"},"caller":{"type":"direct"}},
    {"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"https://a.example"}]},
    {"citations":[{"type":"web_search_result_location","url":"https://a.example","cited_text":"a"},{"type":"char_location","cited_text":"b"}],"type":"text","text":"é\u0000\u2028"},
    {"type":"text","text":""},
    {"type":"compaction","content":"earlier","encrypted_content":null},
    {"type":"mcp_tool_use","id":"mcptoolu_1","name":"ask","server_name":"s","input":{}},
    {"type":"mcp_tool_result","tool_use_id":"mcptoolu_1","is_error":false,"content":[]},
    {"type":"tool_use","id":"toolu_1","name":"f","input":{"n":1.50,"big":123456789012345678901,"b":[{"a":null}]}}],
  "stop_reason":"stop_sequence","stop_sequence":"END","stop_details":null,"container":null,
  "usage":{"input_tokens":9,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"cache_creation":{"ephemeral_5m_input_tokens":0},"output_tokens":33,"server_tool_use":{"web_search_requests":1},"output_tokens_details":{"thinking_tokens":5},"service_tier":"standard"},
  "context_management":{"applied_edits":[]},"new_member":[1.0]}"#;

#[test]
fn a_message_survives_the_way_to_a_stream_and_back() {
    let streamed = split(MESSAGE).unwrap();
    let (answer, heard) = judge_chunks([streamed.as_bytes()]);
    assert_eq!((answer, heard.as_str()), (Ok(WHOLE), "Look: é\0\u{2028}"));
    let back = AnthropicMessages.join(streamed.as_bytes(), &sse()).unwrap();
    assert_eq!(value(&back), value(MESSAGE.as_bytes()));
    let back = text(back);
    assert!(back.contains("1.50") && back.contains("123456789012345678901"));
}

#[test]
fn a_message_is_split_into_the_events_that_the_api_sends() {
    let json = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Hi"},{"type":"tool_use","id":"toolu_1","name":"f","input":{}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":7,"service_tier":"standard","server_tool_use":null}}"#;
    let expected = stream(&[
        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":0,"service_tier":"standard"}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":9,"output_tokens":7,"server_tool_use":null}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    assert_eq!(
        events_of(split(json).unwrap().as_bytes()),
        events_of(&expected)
    );
}

#[test]
fn a_stream_is_joined_into_the_message_that_the_api_would_have_sent() {
    assert_eq!(
        join(&WITH_TOOL).unwrap(),
        value(br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"H\u00e9llo"},{"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1.50}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":7,"service_tier":"standard"}}"#)
    );
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal"}},"usage":{"input_tokens":null,"output_tokens":7},"context_management":{"applied_edits":[]}}"#;
    let joined = join(&with(4, &[end])).unwrap();
    assert_eq!(joined["stop_details"]["type"], "refusal");
    assert_eq!(joined["usage"]["input_tokens"], 9);
    assert_eq!(
        joined["context_management"].to_string(),
        r#"{"applied_edits":[]}"#
    );
    let fallback = r#"{"type":"content_block_start","index":0,"content_block":{"type":"fallback","from":{"model":"claude"},"to":{"model":"other"}}}"#;
    let joined = join(&[START, fallback, STOP_0, END_TURN, STOP]).unwrap();
    assert_eq!(joined["model"], "other");
    let cited = r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"cited_text":"x"}}}"#;
    let joined = join(&with(2, &[cited, TEXT])).unwrap();
    assert_eq!(joined["content"][0]["citations"][0]["cited_text"], "x");
    let counting = r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"a","estimated_tokens":50}}"#;
    assert!(join(&with(2, &[counting])).is_ok());
}

#[test]
fn a_stream_that_would_lose_something_is_not_joined() {
    let no_usage = END_TURN.replace(r#","usage":{"output_tokens":7}"#, "");
    let mut events = SHORT.to_vec();
    events[4] = &no_usage;
    assert_eq!(join(&events), Err(ConversionError::NoUsage));
    let event = r#"{"type":"something_new","index":7}"#;
    let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"new_delta","x":1}}"#;
    let member = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a","x":1}}"#;
    let beside = r#"{"type":"content_block_delta","index":0,"x":1,"delta":{"type":"text_delta","text":"a"}}"#;
    for unknown in [event, delta, member, beside] {
        assert_eq!(
            join(&with(2, &[unknown])),
            Err(ConversionError::UnknownMember),
            "{unknown}"
        );
    }
}

#[test]
fn what_cannot_be_taken_apart_is_malformed() {
    let error = r#"{"type":"error","error":{}}"#;
    for events in [
        with(3, &[START]),
        with(0, &[]),
        with(1, &[]),
        with(3, &[]),
        with(4, &[]),
        with(5, &[]),
        with(4, &[END_TURN, TOOL_START, STOP_1]),
        with(5, &[STOP, STOP]),
        with(2, &[error]),
        vec![],
    ] {
        assert_eq!(join(&events), Err(ConversionError::Malformed), "{events:?}");
    }
    let bytes = stream(&WITH_TOOL);
    for length in 0..bytes.len() {
        let joined = AnthropicMessages.join(&bytes[..length], &sse());
        assert_eq!(joined, Err(ConversionError::Malformed), "{length}");
    }
    let whole = MESSAGE;
    for (from, to, lossy) in [
        (
            r#""message""#,
            r#""completion""#,
            ConversionError::Malformed,
        ),
        (
            r#""stop_reason":"stop_sequence""#,
            r#""stop_reason":null"#,
            ConversionError::Malformed,
        ),
        (r#""usage""#, r#""use""#, ConversionError::NoUsage),
        (
            r#""output_tokens":33"#,
            r#""output_tokens":null"#,
            ConversionError::NoUsage,
        ),
        (
            r#""type":"redacted_thinking""#,
            r#""type":"something_new""#,
            ConversionError::UnknownMember,
        ),
        (
            r#""type":"redacted_thinking""#,
            r#""type":"fallback""#,
            ConversionError::UnknownMember,
        ),
        (
            r#""type":"redacted_thinking""#,
            r#""type":7"#,
            ConversionError::Malformed,
        ),
        (
            r#""text":"Look: ""#,
            r#""text":7"#,
            ConversionError::Malformed,
        ),
        (r#""content":["#, r#""other":["#, ConversionError::Malformed),
    ] {
        assert_eq!(
            split(&whole.replacen(from, to, 1)),
            Err(lossy),
            "{from} {to}"
        );
    }
    for json in ["", "[]", "null", "{", "{}"] {
        assert_eq!(split(json), Err(ConversionError::Malformed), "{json}");
    }
}

#[test]
fn usage_is_zeroed_in_both_forms_and_nothing_else_changes() {
    let zeroed = AnthropicMessages
        .zero_usage(MESSAGE.as_bytes(), &Form::json())
        .unwrap();
    let mut expected: Value = serde_json::from_str(MESSAGE).unwrap();
    for pointer in [
        "/input_tokens",
        "/cache_creation_input_tokens",
        "/cache_read_input_tokens",
        "/cache_creation/ephemeral_5m_input_tokens",
        "/output_tokens",
        "/server_tool_use/web_search_requests",
        "/output_tokens_details/thinking_tokens",
    ] {
        *expected["usage"].pointer_mut(pointer).unwrap() = 0.into();
    }
    assert_eq!(serde_json::from_slice::<Value>(&zeroed).unwrap(), expected);

    let padded = text(stream(&WITH_TOOL)).replace("}\n\n", "}  \n\n");
    let zeroed = AnthropicMessages.zero_usage(padded.as_bytes(), &sse());
    let zeroed = text(zeroed.unwrap());
    for (before, after) in padded.split("\n\n").zip(zeroed.split("\n\n")) {
        assert!(before == after || before.contains("usage"), "{before}");
    }
    let expected = padded
        .replace(
            r#""input_tokens":9,"output_tokens":1"#,
            r#""input_tokens":0,"output_tokens":0"#,
        )
        .replace(r#""output_tokens":7"#, r#""output_tokens":0"#);
    assert_eq!(events_of(zeroed.as_bytes()), events_of(expected.as_bytes()));
    let none = br#"{"type":"message","usage":null}  "#;
    assert_eq!(
        AnthropicMessages.zero_usage(none, &Form::json()).unwrap(),
        none
    );
}

#[test]
fn a_json_answer_is_judged_by_its_stop_reason() {
    let whole = r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#;
    assert_eq!(judge_json(whole), Ok(WHOLE));
    for length in 0..whole.len() {
        assert_eq!(
            judge_json_bytes(&whole.as_bytes()[..length]),
            Err(NotWhole::Malformed),
            "{length}"
        );
    }
    for (from, to, expected) in [
        (
            r#""end_turn""#,
            "null",
            Ok(Verdict {
                marked_end: false,
                ..WHOLE
            }),
        ),
        (
            r#""role""#,
            r#""error":{"type":"x"},"role""#,
            Err(NotWhole::Error),
        ),
        (r#""message""#, r#""error""#, Err(NotWhole::Error)),
        (r#""message""#, r#""completion""#, Err(NotWhole::Malformed)),
        (r#""type":"message","#, "", Err(NotWhole::Malformed)),
    ] {
        assert_eq!(judge_json(&whole.replacen(from, to, 1)), expected, "{to}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_survives_the_way_to_a_stream_and_back(text: String, key: String, number: f64) {
        let json = serde_json::json!({
            "type": "message",
            "content": [{"type": "text", "text": text}, {"type": "tool_use", "input": {key: [number, text]}}],
            "stop_reason": "end_turn",
            "usage": {"output_tokens": 1},
        });
        let stream = AnthropicMessages.split(json.to_string().as_bytes(), &sse()).unwrap();
        let back = AnthropicMessages.join(&stream, &sse()).unwrap();
        proptest::prop_assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), json);
        proptest::prop_assert!(judge_chunks([&stream[..]]).0.is_ok());
    }

    #[test]
    fn no_bytes_make_a_join_panic(order in proptest::collection::vec(0..WITH_TOOL.len(), 0..20)) {
        let events: Vec<_> = order.into_iter().map(|at| WITH_TOOL[at]).collect();
        let judged = judge_stream(&events);
        let joined = join(&events);
        // What the judge finds whole can be joined, and the other way round.
        proptest::prop_assert_eq!(judged.is_ok_and(|answer| answer.marked_end), joined.is_ok());
    }
}

const RAW: &str = "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:rawPredict";
const STREAM_RAW: &str =
    "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:streamRawPredict";

#[test]
fn a_path_is_ours_by_its_version_or_vendor() {
    for path in [
        "/messages",
        "/v1/messages",
        "/anthropic/messages",
        "/gateway/anthropic/v1/messages",
        "/api/v1beta/messages",
        RAW,
        STREAM_RAW,
    ] {
        assert!(AnthropicMessages.owns(path.as_bytes()), "{path}");
    }
}

#[test]
fn the_verb_of_vertex_ai_chooses_the_form_and_takes_no_part_in_the_key() {
    let form = |path: &str, body: &str| {
        let body = canonical(body);
        API.read(path.as_bytes(), b"", Some(&body))
            .map(|ask| ask.form.unwrap())
    };
    let sse = || Form::new(Framing::Sse, b"");
    for (path, body, expected) in [
        (
            RAW,
            r#"{"anthropic_version":"vertex-2023-10-16"}"#,
            Ok(Form::json()),
        ),
        (RAW, r#"{"stream":false}"#, Ok(Form::json())),
        (RAW, r#"{"stream":true}"#, Err(Unfit::UnclearForm)),
        (STREAM_RAW, r#"{"stream":true}"#, Ok(sse())),
        (STREAM_RAW, "{}", Ok(sse())),
        (STREAM_RAW, r#"{"stream":false}"#, Err(Unfit::UnclearForm)),
        (STREAM_RAW, r#"{"stream":1}"#, Err(Unfit::UnclearForm)),
    ] {
        assert_eq!(form(path, body), expected, "{path} {body}");
    }
    let unread = |path: &str| API.read(path.as_bytes(), b"", None).unwrap().form;
    assert_eq!(unread(RAW), Some(Form::json()));
    assert_eq!(unread(STREAM_RAW), Some(sse()));
    let key = |path: &str| API.key_path(path.as_bytes()).into_owned();
    assert_eq!(key(STREAM_RAW), RAW.as_bytes());
    assert_eq!(key(RAW), RAW.as_bytes());
    assert_eq!(
        key(&format!("{STREAM_RAW}?a=b")),
        format!("{RAW}?a=b").as_bytes()
    );
    assert_eq!(key("/v1/messages?a"), b"/v1/messages?a");
}
