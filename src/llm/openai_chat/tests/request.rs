use super::*;

#[test]
fn what_a_request_asks_for_is_read_from_its_canonical_body() {
    let form = |body: &str| traits(body).map(|traits| traits.form.unwrap());
    assert_eq!(form("{}"), Ok(Form::json()));
    assert_eq!(form(r#"{"stream":null}"#), Ok(Form::json()));
    assert_eq!(
        form(r#"{"stream":false,"stream_options":7}"#),
        Ok(Form::json())
    );
    let plain = Form::new(Framing::Sse, b"");
    assert_eq!(form(r#"{"stream":true}"#), Ok(plain));
    assert_eq!(
        form(r#"{"stream":true,"stream_options":{ "include_usage": true }}"#),
        Ok(Form::new(Framing::Sse, br#"{"include_usage":true}"#))
    );
    for unclear in [
        r#"{"stream":"true"}"#,
        r#"{"stream":1}"#,
        r#"{"stream":true,"stream_options":[]}"#,
    ] {
        assert_eq!(form(unclear), Err(Unfit::UnclearForm), "{unclear}");
    }
    assert_eq!(traits(r#"{"n":3}"#).map(|traits| traits.choices), Ok(3));
    assert_eq!(traits(r#"{"n":"x"}"#).map(|traits| traits.choices), Ok(1));
    let warm = traits(r#"{"temperature":0.25}"#).unwrap();
    assert_eq!(warm.temperature, Some(0.25));
}

#[test]
fn tools_that_the_provider_runs_are_told_from_the_client_s() {
    for server in [
        r#"{"web_search_options":{}}"#,
        r#"{"tools":[{"type":"function","function":{}},{"type":"openrouter:web_search"}]}"#,
        r#"{"tools":[{"google_search":{}}]}"#,
        r#"{"tools":[{"type":"function"},1]}"#,
        r#"{"tools":"nonsense"}"#,
    ] {
        assert!(traits(server).unwrap().server_tools, "{server}");
    }
    for client in [
        r#"{"web_search_options":null,"tools":null}"#,
        r#"{"tools":[{"type":"function","function":{}},{"type":"custom"}]}"#,
        r#"{"tools":[]}"#,
    ] {
        assert!(!traits(client).unwrap().server_tools, "{client}");
    }
}

#[test]
fn ways_to_say_the_same_in_stream_options_are_one_form() {
    let form = |options: &str| {
        let body = format!(r#"{{"stream":true,"stream_options":{options}}}"#);
        let form = traits(&body).unwrap().form.unwrap();
        String::from_utf8(form.options.into()).unwrap()
    };
    let usage = r#"{"include_usage":true}"#;
    let continuous = r#"{"continuous_usage_stats":true,"include_usage":true}"#;
    for (options, expected) in [
        ("null", ""),
        ("{}", ""),
        (r#"{"include_usage":false,"include_obfuscation":false}"#, ""),
        (r#"{"include_usage":null}"#, ""),
        (r#"{"continuous_usage_stats":true}"#, ""),
        (usage, usage),
        (
            r#"{"include_usage":true,"include_obfuscation":true}"#,
            usage,
        ),
        (continuous, continuous),
        (r#"{"new":1}"#, r#"{"new":1}"#),
        (r#"{"include_usage":1}"#, r#"{"include_usage":1}"#),
    ] {
        assert_eq!(form(options), expected, "{options}");
    }
}

#[test]
fn what_providers_run_by_other_names_is_told_too() {
    for server in [
        r#"{"plugins":[{"id":"web"}]}"#,
        r#"{"search_parameters":{"mode":"auto"}}"#,
        r#"{"enable_search":true}"#,
        r#"{"data_sources":[{"type":"azure_search"}]}"#,
        r#"{"tools":[{"type":"builtin_function"}]}"#,
        r#"{"model":"perplexity/sonar-pro"}"#,
        r#"{"model":"sonar"}"#,
        r#"{"model":"groq/compound"}"#,
        r#"{"model":"gpt-4o-search-preview"}"#,
        r#"{"model":"openai/gpt-4o:online"}"#,
    ] {
        assert!(traits(server).unwrap().server_tools, "{server}");
    }
    for client in [
        r#"{"plugins":[],"enable_search":false,"model":"gpt-4o"}"#,
        r#"{"model":"sonarx"}"#,
    ] {
        assert!(!traits(client).unwrap().server_tools, "{client}");
    }
    assert_eq!(traits(r#"{"deferred":true}"#), Err(Unfit::Background));
}

#[test]
fn paths_that_end_in_completions_go_to_the_api_that_answers_on_them() {
    for (path, api) in [
        ("/v1/chat/completions", "openai_chat"),
        ("/openai/deployments/x/chat/completions", "openai_chat"),
        ("/v1/fim/completions", "openai_chat"),
        ("/v1/completions", "openai_completions"),
        ("/openai/deployments/x/completions", "openai_completions"),
        ("/client/v4/accounts/a/ai/run/@cf/meta/llama", "workers_ai"),
        ("/v1/acc/gw/workers-ai/@cf/meta/llama", "workers_ai"),
        ("/api/embeddings", "ollama"),
        ("/v1/embeddings", "openai_embeddings"),
        ("/v1/embed", "cohere"),
        ("/v1/messages", "anthropic_messages"),
        (
            "/client/v4/accounts/a/ai/v1/chat/completions",
            "openai_chat",
        ),
    ] {
        let found = Api::from_path(path.as_bytes()).map(Api::name);
        assert_eq!(found, Some(api), "{path}");
        let owners = Api::all().filter(|api| api.0.owns(path.as_bytes()));
        assert_eq!(owners.count(), 1, "{path}");
    }
}

#[test]
fn a_function_without_a_type_is_the_client_s() {
    let server_tools = |tool: &str| {
        let traits = traits(&format!(r#"{{"tools":[{tool}]}}"#));
        traits.unwrap().server_tools
    };
    assert!(!server_tools(r#"{"function":{"name":"f"}}"#));
    assert!(!server_tools(
        r#"{"type":null,"function":{"name":"f","parameters":{}}}"#
    ));
    for tool in [
        r#"{"function":{}}"#,
        r#"{"function":{"name":"f"},"google_search":{}}"#,
        r#"{"google_search":{}}"#,
        r#"{"type":"web_search","function":{"name":"f"}}"#,
        "{}",
    ] {
        assert!(server_tools(tool), "{tool}");
    }
}
