use super::*;

#[test]
fn both_operations_of_a_pair_have_one_key_and_other_paths_their_own() {
    let key = |path: &str| String::from_utf8(API.key_path(path.as_bytes()).into()).unwrap();
    assert_eq!(key(CONVERSE_STREAM), CONVERSE);
    assert_eq!(key(INVOKE_STREAM), INVOKE);
    assert_eq!(
        key(&format!("{CONVERSE_STREAM}?x=/a-stream")),
        format!("{CONVERSE}?x=/a-stream")
    );
    for own in [
        CONVERSE,
        INVOKE,
        "/model/m/converse?x=-stream",
        "/model/m-stream/invoke",
        "",
    ] {
        assert_eq!(key(own), own);
    }
    for path in [
        CONVERSE,
        CONVERSE_STREAM,
        INVOKE,
        INVOKE_STREAM,
        "/gateway/model/a%3Ab/invoke",
    ] {
        assert!(Bedrock.owns(path.as_bytes()), "{path}");
    }
    for other in [
        "/chain/invoke",
        "/model/m/invoke/x",
        "/model/m/invoke-async",
        "/model/m",
    ] {
        assert!(!Bedrock.owns(other.as_bytes()), "{other}");
    }
}

#[test]
fn the_path_says_which_form_a_request_wants() {
    assert_eq!(form(CONVERSE), Form::json());
    assert_eq!(form(CONVERSE_STREAM), Form::new(Framing::EventStream, b""));
    assert_eq!(
        form(&format!("{CONVERSE_STREAM}?x")).framing,
        Framing::EventStream
    );
    assert_eq!(form(INVOKE).framing, Framing::Json);
    assert_eq!(
        form(INVOKE_STREAM),
        Form::new(Framing::EventStream, b"invoke")
    );
    let framing = |media_type| API.framing(&RequestTraits::unreadable(), media_type);
    assert_eq!(framing(b"application/json"), Some(Framing::Json));
    assert_eq!(
        framing(b"application/vnd.amazon.eventstream"),
        Some(Framing::EventStream)
    );
    assert_eq!(framing(b"text/event-stream"), None);
}

#[test]
fn what_a_request_asks_for_is_read_from_its_body() {
    let temperature = |path, body| traits(path, body).unwrap().temperature;
    assert_eq!(
        temperature(CONVERSE, r#"{"inferenceConfig":{"temperature":0.5}}"#),
        Some(0.5)
    );
    assert_eq!(
        temperature(
            CONVERSE,
            r#"{"additionalModelRequestFields":{"temperature":1}}"#
        ),
        Some(1.0)
    );
    assert_eq!(temperature(CONVERSE, r#"{"inferenceConfig":7}"#), None);
    assert_eq!(temperature(INVOKE, r#"{"temperature":0.5}"#), Some(0.5));
    for (path, server) in [
        (
            CONVERSE,
            r#"{"toolConfig":{"tools":[{"toolSpec":{}},{"systemTool":{"name":"nova_grounding"}}]}}"#,
        ),
        (
            CONVERSE,
            r#"{"additionalModelRequestFields":{"tools":[{"type":"web_search_20250305"}]}}"#,
        ),
        (
            INVOKE_STREAM,
            r#"{"tools":[{"type":"web_search_20250305"}]}"#,
        ),
    ] {
        assert!(traits(path, server).unwrap().server_tools, "{server}");
    }
    for (path, client) in [
        (
            CONVERSE,
            r#"{"toolConfig":{"tools":[{"toolSpec":{}},{"cachePoint":{}}]}}"#,
        ),
        (
            CONVERSE,
            r#"{"additionalModelRequestFields":{"tools":[{"name":"c","type":"computer_20250124"}]}}"#,
        ),
        (
            CONVERSE,
            r#"{"toolConfig":null,"additionalModelRequestFields":null}"#,
        ),
        (INVOKE, r#"{"tools":[{"name":"f"}]}"#),
    ] {
        assert!(!traits(path, client).unwrap().server_tools, "{client}");
    }
    assert_eq!(
        traits(INVOKE, r#"{"container":"c"}"#),
        Err(Unfit::Conversation)
    );
}
