use super::*;

#[test]
fn what_a_request_asks_for_is_read_from_its_path_and_body() {
    for (path, body, expected) in [
        ("/v2/chat", "{}", Ok(Form::json())),
        ("/v2/chat", r#"{"stream":null}"#, Ok(Form::json())),
        ("/v2/chat?x", r#"{"stream":true}"#, Ok(form(Framing::Sse))),
        ("/v1/chat", r#"{"stream":true}"#, Ok(form(Framing::Ndjson))),
        ("/v1/chat", r#"{"stream":1}"#, Err(Unfit::UnclearForm)),
        (
            "/v1/chat",
            r#"{"conversation_id":"c"}"#,
            Err(Unfit::Conversation),
        ),
        ("/v2/embed", r#"{"stream":true}"#, Ok(Form::json())),
        ("/v1/embed", "{}", Ok(Form::json())),
    ] {
        let read = traits(path.as_bytes(), body).map(|traits| traits.form.unwrap());
        assert_eq!(read, expected, "{path} {body}");
    }
    let server = |body: &str| traits(b"/v1/chat", body).unwrap().server_tools;
    assert!(server(r#"{"connectors":[{"id":"web-search"}]}"#));
    assert!(server(r#"{"tools":[{"type":"web"}]}"#));
    assert!(!server(
        r#"{"connectors":[],"tools":[{"type":"function"},{"name":"v1"}]}"#
    ));
    assert_eq!(
        traits(b"/v2/chat", r#"{"temperature":0.3}"#)
            .unwrap()
            .temperature,
        Some(0.3)
    );
    assert!(!Cohere.owns(b"/v1/chat/completions"));
    let framing = |media_type| API.framing(&RequestTraits::unreadable(), media_type);
    assert_eq!(framing(b"application/stream+json"), Some(Framing::Ndjson));
    assert_eq!(framing(b"application/json"), Some(Framing::Json));
}
