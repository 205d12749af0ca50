use super::*;

#[test]
fn the_url_chooses_the_form() {
    let form = |path: &str| {
        API.read(path.as_bytes(), b"", None)
            .map(|traits| traits.form.unwrap().framing)
    };
    for (path, framing) in [
        ("/v1/models/m:generateContent", Ok(Framing::Json)),
        ("/v1/models/m:generateContent?alt=json", Ok(Framing::Json)),
        (
            "/v1/models/m:generateContent?alt=sse",
            Err(Unfit::UnclearForm),
        ),
        ("/v1/models/m:streamGenerateContent", Ok(Framing::JsonArray)),
        (
            "/v1/models/m:streamGenerateContent?key=k&alt=sse",
            Ok(Framing::Sse),
        ),
        (
            "/v1/models/m:streamGenerateContent?%24alt=sse",
            Ok(Framing::Sse),
        ),
        (
            "/v1/models/m:generateContent?%24alt=json%3Benum-encoding%3Dint",
            Ok(Framing::Json),
        ),
        (
            "/v1/models/m:streamGenerateContent?$alt=json;enum-encoding=int",
            Ok(Framing::JsonArray),
        ),
        (
            "/v1/models/m:streamGenerateContent?al%74=%73se",
            Ok(Framing::Sse),
        ),
        (
            "/v1/models/m:streamGenerateContent?alt=sse&%24alt=sse",
            Ok(Framing::Sse),
        ),
        (
            "/v1/models/m:embedContent?%24alt=json%3Benum-encoding%3Dint",
            Ok(Framing::Json),
        ),
        (
            "/v1/models/m:generateContent?alt=json&$alt=json;enum-encoding=int",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:generateContent?alt=json;enum-encoding=name",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:generateContent?alt=json%3",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:streamGenerateContent?alt=proto",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:streamGenerateContent?alt",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:streamGenerateContent?alt=sse&alt=json",
            Err(Unfit::UnclearForm),
        ),
        ("/v1/models/m:embedContent", Ok(Framing::Json)),
        ("/v1/models/m:batchEmbedContents", Ok(Framing::Json)),
    ] {
        assert_eq!(form(path), framing, "{path}");
        assert!(Gemini.owns(path.split('?').next().unwrap().as_bytes()));
    }
    assert!(!Gemini.owns(b"/v1/models/m:countTokens"));
}

#[test]
fn all_forms_of_a_request_share_one_key_and_nothing_else_does() {
    let key = |path: &'static str| String::from_utf8(API.key_path(path.as_bytes()).into()).unwrap();
    let plain = "/v1/models/m:generateContent";
    for path in [
        plain,
        "/v1/models/m:streamGenerateContent",
        "/v1/models/m:streamGenerateContent?alt=sse",
        "/v1/models/m:generateContent?alt=json",
    ] {
        assert_eq!(key(path), plain);
    }
    for (path, expected) in [
        (
            "/m:streamGenerateContent?key=a&alt=sse&b",
            "/m:generateContent?key=a&b",
        ),
        ("/m:generateContent?b&key=a", "/m:generateContent?b&key=a"),
        // Numbers for words are another answer.
        (
            "/m:streamGenerateContent?%24alt=json%3Benum-encoding%3Dint&b",
            "/m:generateContent?b&alt=json;enum-encoding=int",
        ),
        (
            "/m:generateContent?$alt=json;enum-encoding=int",
            "/m:generateContent?alt=json;enum-encoding=int",
        ),
        ("/m:generateContent?%24alt=json", "/m:generateContent"),
        (
            "/m:streamGenerateContent?xalt=sse",
            "/m:generateContent?xalt=sse",
        ),
        ("/m:embedContent?alt=json", "/m:embedContent?alt=json"),
        (
            "/m:streamGenerateContent/x?alt=sse",
            "/m:streamGenerateContent/x?alt=sse",
        ),
    ] {
        assert_eq!(key(path), expected);
    }
}

#[test]
fn the_array_form_is_told_by_what_was_asked_for() {
    let framing =
        |path: &[u8], media_type| API.framing(&API.read(path, b"", None).unwrap(), media_type);
    assert_eq!(
        framing(STREAM, b"application/json"),
        Some(Framing::JsonArray)
    );
    assert_eq!(
        framing(b"/m:generateContent", b"application/json"),
        Some(Framing::Json)
    );
    assert_eq!(framing(STREAM, b"text/event-stream"), Some(Framing::Sse));
    assert_eq!(framing(STREAM, b"text/html"), None);
}

#[test]
fn candidates_temperature_and_tools_are_read_from_the_body() {
    for body in [
        r#"{"generationConfig":{"candidateCount":3,"temperature":0.5}}"#,
        r#"{"generation_config":{"candidate_count":3,"temperature":0.5}}"#,
    ] {
        let traits = traits(STREAM, body).unwrap();
        assert_eq!(
            (traits.choices, traits.temperature),
            (3, Some(0.5)),
            "{body}"
        );
    }
    let batch = traits(b"/m:batchEmbedContents", r#"{"requests":[{},{}]}"#).unwrap();
    assert_eq!(batch.choices, 2);
    for (tools, server) in [
        (r#"[{"googleSearch":{}}]"#, true),
        (r#"[{"google_search":{}}]"#, true),
        (
            r#"[{"functionDeclarations":[{}]},{"codeExecution":{}}]"#,
            true,
        ),
        (r#"[{"someNewTool":{}}]"#, true),
        (
            r#"[{"functionDeclarations":[{}],"googleMaps":null}]"#,
            false,
        ),
        (
            r#"[{"computerUse":{}},{"function_declarations":[]}]"#,
            false,
        ),
        ("null", false),
        ("7", true),
        (r#"{"googleSearch":{}}"#, true),
    ] {
        let traits = traits(STREAM, &format!(r#"{{"tools":{tools}}}"#)).unwrap();
        assert_eq!(traits.server_tools, server, "{tools}");
    }
}
