use super::*;

#[test]
fn what_a_request_asks_for_is_read_from_its_canonical_body() {
    let form = |body: &str| traits(body).map(|traits| traits.form.unwrap());
    assert_eq!(form("{}"), Ok(Form::json()));
    assert_eq!(
        form(r#"{"stream":true,"stream_options":{"include_obfuscation":false}}"#),
        Ok(Form::new(Framing::Sse, b""))
    );
    assert_eq!(
        form(r#"{"stream":true,"stream_options":{"new":1}}"#),
        Ok(Form::new(Framing::Sse, br#"{"new":1}"#))
    );
    assert_eq!(form(r#"{"stream":"yes"}"#), Err(Unfit::UnclearForm));
    let warm = traits(r#"{"temperature":0.5,"previous_response_id":"resp_1"}"#).unwrap();
    assert_eq!(warm.temperature, Some(0.5));
    assert_eq!(API.read(b"/", b"", None), Ok(RequestTraits::unreadable()));
}

#[test]
fn what_the_provider_changes_later_is_unfit() {
    for (body, unfit) in [
        (r#"{"background":true}"#, Unfit::Background),
        (r#"{"background":"true"}"#, Unfit::Background),
        (r#"{"conversation":"conv_1"}"#, Unfit::Conversation),
        (r#"{"conversation":{"id":"conv_1"}}"#, Unfit::Conversation),
    ] {
        assert_eq!(traits(body), Err(unfit), "{body}");
    }
    for fit in [
        r#"{"background":false,"conversation":null}"#,
        r#"{"background":null}"#,
    ] {
        assert!(traits(fit).is_ok(), "{fit}");
    }
}

#[test]
fn tools_that_the_provider_runs_are_told_from_the_client_s() {
    for server in [
        r#"{"tools":[{"type":"function","name":"f"},{"type":"web_search"}]}"#,
        r#"{"tools":[{"type":"mcp"}]}"#,
        r#"{"tools":[{"type":"code_interpreter"}]}"#,
        r#"{"tools":[{"type":"computer_use_preview"}]}"#,
        r#"{"prompt":{"id":"pmpt_1"}}"#,
        r#"{"plugins":[{"id":"web"}]}"#,
        r#"{"model":"openai/gpt-4o:online"}"#,
        r#"{"tools":"nonsense"}"#,
    ] {
        assert!(traits(server).unwrap().server_tools, "{server}");
    }
    for client in [
        r#"{"tools":[{"type":"function"},{"type":"custom"},{"type":"local_shell"},{}]}"#,
        r#"{"tools":null,"prompt":null,"plugins":[]}"#,
    ] {
        assert!(!traits(client).unwrap().server_tools, "{client}");
    }
}

#[test]
fn a_path_is_ours_by_its_end() {
    for path in ["/v1/responses", "/openai/responses", "/api/v1/responses"] {
        assert!(OpenaiResponses.owns(path.as_bytes()), "{path}");
    }
    for path in [
        "/v1/responses/resp_1",
        "/v1/responses/compact",
        "/v1/chat/completions",
    ] {
        assert!(!OpenaiResponses.owns(path.as_bytes()), "{path}");
    }
}

#[test]
fn a_namespace_is_the_client_s_if_all_it_holds_is() {
    let server_tools = |tools: &str| {
        let traits = traits(&format!(
            r#"{{"tools":[{{"type":"namespace","name":"mcp__files","tools":{tools}}}]}}"#
        ));
        traits.unwrap().server_tools
    };
    assert!(!server_tools(r#"[{"type":"function","name":"read"}]"#));
    assert!(!server_tools(r#"[{"type":"function"},{"type":"custom"}]"#));
    for tools in [
        "[]",
        "null",
        "{}",
        r#""all""#,
        r#"[{"type":"function"},{"type":"web_search"}]"#,
        r#"[{"type":"web_search"},{"type":"function"}]"#,
        r#"[{"type":"namespace","tools":[{"type":"function"}]}]"#,
        r#"[{"Type":"web_search"}]"#,
    ] {
        assert!(server_tools(tools), "{tools}");
    }
    let mcp = r#"{"tools":[{"type":"mcp","tools":[{"type":"function"}]}]}"#;
    assert!(traits(mcp).unwrap().server_tools);
}
