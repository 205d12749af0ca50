use super::*;

#[test]
fn a_request_says_which_form_it_wants() {
    let form = |body: &str| traits(body).map(|traits| traits.form.unwrap());
    for json in ["{}", r#"{"stream":null}"#, r#"{"stream":false}"#] {
        assert_eq!(form(json), Ok(Form::json()), "{json}");
    }
    assert_eq!(form(r#"{"stream":true}"#), Ok(sse()));
    assert_eq!(form(r#"{"stream":"true"}"#), Err(Unfit::UnclearForm));
    assert_eq!(API.read(b"/v1/messages", b"", None).unwrap().form, None);
    assert_eq!(
        traits(r#"{"temperature":0.5}"#).unwrap().temperature,
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
        assert_eq!(traits(body), Err(Unfit::Conversation), "{body}");
    }
    assert!(traits(r#"{"container":null}"#).is_ok());
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
        assert!(traits(server).unwrap().server_tools, "{server}");
    }
    for client in [
        "{}",
        r#"{"tools":[{"name":"f","input_schema":{}},{"name":"g","type":"custom"}]}"#,
        r#"{"tools":[{"name":"f","type":null}]}"#,
        r#"{"tools":[{"name":"bash","type":"bash_20250124"},{"name":"e","type":"text_editor_20250728"}]}"#,
        r#"{"tools":[{"name":"c","type":"computer_20250124"},{"name":"memory","type":"memory_20250818"}]}"#,
        r#"{"tools":null,"mcp_servers":[]}"#,
    ] {
        assert!(!traits(client).unwrap().server_tools, "{client}");
    }
}

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
            .map(|traits| traits.form.unwrap())
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
