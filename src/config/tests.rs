use super::*;
use crate::json::{Change, Mask, Pointer, Scope};

fn parse(json: &str) -> Config {
    Config::parse(json.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn problems(json: &str) -> Vec<String> {
    let problems = Config::parse(json.as_bytes()).expect_err("the configuration is wrong");
    problems.iter().map(ToString::to_string).collect()
}

fn place(at: &str) -> Exclude {
    Exclude::Pointer(Edit {
        at: Pointer::parse(at).unwrap(),
        change: Change::Remove,
    })
}

fn masked(at: &str, scope: Scope, pattern: &str) -> Edit {
    Edit {
        at: Pointer::parse(at).unwrap(),
        change: Change::Mask(Mask::parse(scope, pattern).unwrap()),
    }
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    fields.iter().copied().collect()
}

#[test]
fn nothing_at_all_is_a_good_configuration() {
    for empty in ["", "{}", " \n", "{\"rules\": []}"] {
        assert_eq!(parse(empty), Config::default(), "{empty:?}");
    }
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"{
        "mode": "read_only", "sample": 12.5, "ttl": "10m", "hold_headers": true,
        "ttl_jitter": "10%", "stale_while_revalidate": "1m", "stale_if_error": "1h",
        "collapse": {"max_wait": "30s", "streams": true},
        "key": {"tenant": {"header": "X-Tenant-Id"}, "headers": ["X-Team"],
                "exclude": ["/user", "attribution", "call_ids", "/input/*/id"], "namespace": "v2",
                "mask": [{"at": "/system/*/text", "line": "x-billing:*"},
                         {"at": "/messages/*/content", "part": "Today is *."}]},
        "store_if": {"finish": ["complete", "length"],
            "finish_words": {"complete": ["fin"], "filtered": ["nope", "no"]}, "streams": false, "empty": true,
                     "unmarked_end": true, "server_tools": true, "max_temperature": 0.5,
                     "stuttering": true, "same_model": true,
                     "unless_header": {"X-Fallback": "1*"}},
        "limits": {"max_request_bytes": "2MiB", "max_response_bytes": 1000.0,
                   "max_capture_bytes": "3MiB"},
        "metrics": {"model": true, "max_models": 7, "filter_state": true},
        "store": {"memory": {"max_bytes": "128MiB", "max_entry_bytes": "64KiB"}},
        "client": {"cache_control": "ignore", "max_ttl": "2h"},
        "respond": {"expose_key": true, "explain": true, "anti_buffering": false, "usage": "zero", "cors": "envoy"}
    }"#,
    );
    let settings = Settings {
        mode: Mode::ReadOnly,
        sample: Sample::new(12.5).unwrap(),
        ttl: Duration::from_secs(600),
        ttl_jitter: Jitter::new(10).unwrap(),
        stale_while_revalidate: Duration::from_secs(60),
        stale_if_error: Duration::from_secs(3_600),
        collapse: Collapse {
            max_wait: Duration::from_secs(30),
            streams: true,
        },
        key: KeySettings {
            tenant: Tenant::Same(vec![Distinction::Header("x-tenant-id".into())]),
            headers: vec!["x-team".into()],
            exclude: vec![
                place("/user"),
                Exclude::Attribution,
                Exclude::CallIds,
                place("/input/*/id"),
            ],
            mask: vec![
                masked("/system/*/text", Scope::Line, "x-billing:*"),
                masked("/messages/*/content", Scope::Part, "Today is *."),
            ],
            namespace: "v2".into(),
        },
        store_if: StoreIf {
            finish: vec![Finish::Complete, Finish::Length],
            finish_words: FinishWords::Listed(
                [
                    ("fin".into(), Finish::Complete),
                    ("nope".into(), Finish::Filtered),
                    ("no".into(), Finish::Filtered),
                ]
                .into(),
            ),
            streams: false,
            empty: true,
            unmarked_end: true,
            stuttering: true,
            server_tools: true,
            max_temperature: Some(0.5),
            same_model: true,
            unless_headers: vec![HeaderMatch {
                name: "x-fallback".into(),
                value: Pattern::Prefix("1".into()),
            }],
        },
        client: Client {
            honor_cache_control: false,
            max_ttl: Duration::from_secs(7_200),
        },
        respond: Respond {
            expose_key: true,
            explain: true,
            usage: Usage::Zero,
            anti_buffering: false,
            cors: Cors::Envoy,
        },
    };
    assert_eq!(
        config,
        Config {
            hold_headers: true,
            limits: Limits {
                max_request_bytes: 2 << 20,
                max_response_bytes: 1_000,
                max_capture_bytes: 3 << 20,
            },
            metrics: Metrics {
                model: true,
                max_models: 7,
                filter_state: true,
            },
            memory: Some(Memory {
                max_bytes: 128 << 20,
                max_entry_bytes: 64 << 10,
            }),
            http: None,
            settings: Rc::new(settings),
            rules: Vec::new(),
        }
    );
}

#[test]
fn a_prompt_may_be_as_long_as_envoy_buffers_without_being_told() {
    for (json, max_request_bytes) in [
        ("{}", 16 << 20),
        (r#"{"limits": {"max_response_bytes": "1MiB"}}"#, 16 << 20),
        (r#"{"hold_headers": true}"#, 1 << 20),
        (r#"{"hold_headers": true, "limits": {}}"#, 1 << 20),
        (
            r#"{"hold_headers": true, "limits": {"max_request_bytes": "2MiB"}}"#,
            2 << 20,
        ),
    ] {
        let config = Config::parse(json.as_bytes()).unwrap();
        assert_eq!(config.limits.max_request_bytes, max_request_bytes, "{json}");
    }
}

#[test]
fn every_problem_is_told_at_once_with_its_path() {
    let told = problems(
        r#"{
        "mode": "readwrite", "ttl": 3600, "sample": 101, "frobnicate": 1,
        "ttl_jitter": "51%", "stale_if_error": "1y", "collapse": {"max_wait": "1h", "polls": 1},
        "key": {"tenant": "me", "exclude": ["user"], "headers": ["a b"], "x": 1},
        "store": {"memory": {"max_bytes": "1KiB"}, "http": {}},
        "limits": {"max_request_bytes": -1},
        "store_if": {"finish": ["done"], "finish_words": {"complete": [""], "done": []},
            "max_temperature": -1, "same_model": "yes", "unless_header": {"x-a": "a*b"}},
        "client": [], "metrics": {"model": "gpt", "max_models": 0, "models": []},
        "respond": {"expose_key": "yes"},
        "rules": [{"match": {"path": "/a", "path_suffix": "/b"}}, {"api": "soap"}, 3]
    }"#,
    );
    let paths: Vec<_> = told
        .iter()
        .map(|problem| problem.split(": ").next().unwrap())
        .collect();
    for path in [
        "mode",
        "ttl",
        "sample",
        "frobnicate",
        "ttl_jitter",
        "stale_if_error",
        "collapse.max_wait",
        "collapse.polls",
        "key.tenant",
        "key.exclude[0]",
        "key.headers[0]",
        "key.x",
        "store.memory.max_bytes",
        "store.http.cluster",
        "store.http.protocol",
        "limits.max_request_bytes",
        "store_if.finish[0]",
        "store_if.finish_words.complete[0]",
        "store_if.finish_words.done",
        "store_if.max_temperature",
        "store_if.same_model",
        "store_if.unless_header",
        "client",
        "metrics.model",
        "metrics.max_models",
        "metrics.models",
        "respond.expose_key",
        "rules[0].match.path_suffix",
        "rules[1].match",
        "rules[1].api",
        "rules[2]",
    ] {
        assert!(paths.contains(&path), "{path} is not among {told:#?}");
    }
    let ttl = "ttl: must be a duration from 1s to 31536000s, such as \"250ms\", \"30s\", \"1h\" or \"7d\", got 3600";
    assert!(told.iter().any(|problem| problem == ttl), "{told:#?}");
}

#[test]
fn what_is_wrong_with_exclusions_and_masks_is_told_all_of_it() {
    let many: Vec<_> = (0..65).map(|n| format!("\"/{n}\"")).collect();
    let long = "x".repeat(256);
    for (key, told) in [
        (
            r#""exclude": ["user", "", "/a*", "/a~", "attributions", 3, {}, "/*"]"#.to_owned(),
            &[
                "key.exclude[0]: \"user\" is not a JSON pointer, start it with /; or write attribution or call_ids",
                "key.exclude[1]: \"\" is empty and would exclude the whole body, name a member such as /user; or write attribution or call_ids",
                "key.exclude[2]: \"/a*\" has a * within a name, but * stands for a whole one; write ~2 for * in a name",
                "key.exclude[3]: \"/a~\" has a ~ without 0, 1 or 2, write ~0 for ~, ~1 for / and ~2 for *",
                "key.exclude[4]: \"attributions\" is not a JSON pointer, start it with /; or write attribution or call_ids",
                "key.exclude[5]: must be attribution or call_ids, or a JSON pointer such as \"/metadata\", got 3",
                "key.exclude[6]: must be attribution or call_ids, or a JSON pointer such as \"/metadata\", got an object",
                "key.exclude[7]: \"/*\" would exclude the whole body, name members such as /user",
            ][..],
        ),
        (
            format!("\"exclude\": [{}]", many.join(",")),
            &["key.exclude: must be a list of at most 64, got a list"],
        ),
        (
            r#""exclude": "/user", "mask": {}"#.to_owned(),
            &[
                "key.exclude: must be a list of at most 64, got \"/user\"",
                "key.mask: must be a list of at most 16, got an object",
            ],
        ),
        (
            r#""mask": [{"line": "a*"}, {"at": "/a"}, {"at": "a", "line": "a", "text": 1}]"#
                .to_owned(),
            &[
                "key.mask[0].at: is missing; it leads to the texts, as \"/system/*/text\" does",
                "key.mask[1].line: is missing, and so is part: give one of them",
                "key.mask[2].at: \"a\" is not a JSON pointer, start it with /",
                "key.mask[2].line: must have one *, which stands for what is masked",
                "key.mask[2].text: unknown key; known here are at, line, part",
            ],
        ),
        (
            format!(
                r#""mask": [{{"at": "/a", "line": "a*", "part": "*b"}}, {{"at": "/a", "part": "{long}*"}}, 1]"#
            ),
            &[
                "key.mask[0].part: only one of line and part can be given",
                "key.mask[0].part: must have a text before its *, so that not everything is masked",
                "key.mask[1].part: must have at most 256 bytes",
                "key.mask[2]: must be an object, got 1",
                "key.mask[2].at: is missing; it leads to the texts, as \"/system/*/text\" does",
                "key.mask[2].line: is missing, and so is part: give one of them",
            ],
        ),
    ] {
        assert_eq!(problems(&format!("{{\"key\": {{{key}}}}}")), told, "{key}");
    }
}

#[test]
fn a_rule_has_exclusions_masks_and_clients_of_its_own() {
    let config = parse(
        r#"{"key": {"exclude": ["attribution"], "mask": [{"at": "/a", "line": "b*"}]},
            "client": {"max_ttl": "2h"},
            "rules": [{"match": {}, "key": {"exclude": []}, "client": {"cache_control": "ignore"}},
                      {"match": {}, "key": {"mask": []}, "client": {"max_ttl": "1h"}}]}"#,
    );
    let [one, two] = config.rules.as_slice() else {
        panic!("{:?}", config.rules)
    };
    let (one, two) = (&one.settings, &two.settings);
    assert_eq!((one.key.exclude.len(), one.key.mask.len()), (0, 1));
    assert_eq!((two.key.exclude.len(), two.key.mask.len()), (1, 0));
    let hours = |client: Client| client.max_ttl.as_secs() / 3_600;
    assert!(!one.client.honor_cache_control && hours(one.client) == 2);
    assert!(two.client.honor_cache_control && hours(two.client) == 1);
}

#[test]
fn what_is_not_an_object_is_one_problem() {
    for (odd, problem) in [
        ("[]", "must be an object, got a list"),
        ("\"x\"", "must be an object, got \"x\""),
    ] {
        assert_eq!(problems(odd), [problem]);
    }
    assert!(
        problems("{\"ttl\":")[0]
            .starts_with("must be a JSON object: it is no JSON at line 1, column 8")
    );
}

#[test]
fn null_leaves_no_store_and_says_what_to_do() {
    assert_eq!(
        problems(r#"{"store": {"memory": null}}"#),
        ["store.memory: null leaves no store; to turn the cache off, use mode: disabled"]
    );
}

#[test]
fn a_store_behind_http_stands_in_for_the_memory() {
    let config =
        parse(r#"{"store": {"memory": null, "http": {"cluster": "cache", "protocol": "webdis"}}}"#);
    assert_eq!(config.memory, None);
    assert_eq!(
        config.http,
        Some(Http {
            cluster: "cache".into(),
            protocol: StoreProtocol::Webdis,
            authority: "cache.local".into(),
            path_prefix: "/llm-cache/".into(),
            headers: vec![],
            lookup_timeout: Duration::from_millis(50),
            store_timeout: Duration::from_secs(2),
            max_entry_bytes: 10 << 20,
            breaker: Breaker {
                failures: 5,
                min_open: Duration::from_secs(1),
                max_open: Duration::from_secs(30),
            },
            integrity_key: None,
        })
    );
    let both = parse(r#"{"store": {"http": {"cluster": "c", "protocol": "rest"}}}"#);
    assert_eq!(both.memory, Some(Memory::default()));
    assert_eq!(parse(r#"{"store": {"http": null}}"#).http, None);
}

#[test]
fn every_key_of_the_store_behind_http_is_read() {
    let key = "0123456789abcdef0123456789abcdef";
    let config = parse(&format!(
        r#"{{"store": {{"http": {{
            "cluster": "s3", "protocol": "rest", "authority": "b.s3.eu-west-1.amazonaws.com",
            "path_prefix": "/llm/v1", "headers": {{"Authorization": "Bearer x"}},
            "lookup_timeout": "100ms", "store_timeout": "5s", "max_entry_bytes": "1MiB",
            "breaker": {{"failures": 2, "min_open": "2s", "max_open": "1m"}},
            "integrity_key": "{key}"}}}}}}"#
    ));
    assert_eq!(
        config.http,
        Some(Http {
            cluster: "s3".into(),
            protocol: StoreProtocol::Rest,
            authority: "b.s3.eu-west-1.amazonaws.com".into(),
            path_prefix: "/llm/v1".into(),
            headers: vec![("authorization".into(), Secret::new("Bearer x"))],
            lookup_timeout: Duration::from_millis(100),
            store_timeout: Duration::from_secs(5),
            max_entry_bytes: 1 << 20,
            breaker: Breaker {
                failures: 2,
                min_open: Duration::from_secs(2),
                max_open: Duration::from_secs(60),
            },
            integrity_key: Some(Secret::new(key)),
        })
    );
}

#[test]
fn what_is_wrong_with_the_store_behind_http_is_told() {
    for (member, problem) in [
        (r#""cluster": """#, "cluster: must be the name"),
        (
            r#""protocol": "memcached""#,
            "protocol: must be one of webdis, rest",
        ),
        (r#""authority": "a b""#, "authority: must be a host"),
        (r#""path_prefix": "llm""#, "path_prefix: must be a path"),
        (r#""path_prefix": "/a/../b""#, "path_prefix: must be a path"),
        (r#""path_prefix": "/a//b""#, "path_prefix: must be a path"),
        (r#""path_prefix": "/a?b""#, "path_prefix: must be a path"),
        (r#""path_prefix": "/a%2f""#, "path_prefix: must be a path"),
        (r#""lookup_timeout": "0s""#, "lookup_timeout: must be"),
        (r#""store_timeout": "2m""#, "store_timeout: must be"),
        (r#""max_entry_bytes": "33MiB""#, "max_entry_bytes: must be"),
        (
            r#""breaker": {"failures": 0}"#,
            "breaker.failures: must be a whole number from 1 to 1000, got 0",
        ),
        (
            r#""breaker": {"failures": 1.5}"#,
            "breaker.failures: must be",
        ),
        (
            r#""breaker": {"min_open": "1m"}"#,
            "breaker.min_open: must not exceed max_open, which is 30s",
        ),
        (r#""headers": {"Host": "x"}"#, "headers: \"Host\" is set by"),
        (r#""headers": {"a b": "x"}"#, "headers: \"a b\" is not"),
        (r#""retries": 3"#, "retries: unknown key"),
    ] {
        let name = member.split(':').next().unwrap();
        let needed = [r#""cluster": "c""#, r#""protocol": "rest""#];
        let needed = needed.iter().filter(|needed| !needed.starts_with(name));
        let members: Vec<_> = needed.copied().chain([member]).collect();
        let told = problems(&format!(
            r#"{{"store": {{"http": {{{}}}}}}}"#,
            members.join(", ")
        ));
        let expected = format!("store.http.{problem}");
        assert!(
            told.len() == 1 && told[0].starts_with(&expected),
            "{told:?} is not {expected}"
        );
    }
    let dotted =
        r#"{"store": {"http": {"cluster": "c", "protocol": "webdis", "path_prefix": "llm:v1."}}}"#;
    assert_eq!(parse(dotted).http.unwrap().path_prefix, "llm:v1.");
}

#[test]
fn a_problem_with_a_credential_does_not_tell_it() {
    let told = problems(
        r#"{"store": {"http": {"cluster": "c", "protocol": "rest", "integrity_key": "hunter2",
            "headers": {"authorization": "hunter2\n", "host": "hunter2", "x y": "hunter2"}}}}"#,
    );
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(!told.concat().contains("hunter2"), "{told:?}");
    for odd in [r#""hunter2""#, r#"["hunter2"]"#] {
        for key in ["headers", "integrity_key"] {
            let told = problems(&format!(
                r#"{{"store": {{"http": {{"cluster": "c", "protocol": "rest", "{key}": {odd}}}}}}}"#
            ));
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(!told.concat().contains("hunter2"), "{told:?}");
        }
    }
    let held = parse(
        r#"{"store": {"http": {"cluster": "c", "protocol": "rest", "headers": {"a": "hunter2"},
            "integrity_key": "hunter2-hunter2-hunter2-hunter2-hunter2"}}}"#,
    );
    assert!(!format!("{held:?}").contains("hunter2"));
}

#[test]
fn a_rule_changes_what_it_names_and_nothing_else() {
    let config = parse(
        r#"{"ttl": "2h", "key": {"namespace": "n", "tenant": "shared"},
            "rules": [{"match": {}, "mode": "read_only", "key": {"namespace": "m"}}]}"#,
    );
    let rule = &config.rules[0].settings;
    assert_eq!(rule.mode, Mode::ReadOnly);
    assert_eq!(rule.ttl, Duration::from_secs(7_200));
    assert_eq!(rule.key.namespace, "m");
    assert_eq!(rule.key.tenant, Tenant::Shared);
    assert_eq!(config.settings.key.namespace, "n");
    assert_eq!(config.settings.mode, Mode::ReadWrite);
}

#[test]
fn the_first_rule_that_matches_wins() {
    let config = parse(
        r#"{"rules": [
            {"match": {"host": "*.internal", "path_prefix": "/a/"}, "ttl": "1m"},
            {"match": {"host": "llm.internal"}, "ttl": "2m"},
            {"match": {"header": {"x-tier": "gold"}, "path": "/v1/chat/completions"}, "ttl": "3m"}
        ]}"#,
    );
    let ttl = |authority: &str, path: &str, tier: &str| {
        let request = headers(&[(":authority", authority), ("x-tier", tier)]);
        match config.select(&request, path.as_bytes()) {
            Selection::Decided(policy) => policy.settings.ttl.as_secs() / 60,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ttl("LLM.internal:80", "/a/chat/completions", ""), 1);
    assert_eq!(ttl("LLM.internal:80", "/b/chat/completions", ""), 2);
    assert_eq!(ttl("llm.internal.evil", "/v1/chat/completions", "gold"), 3);
    assert_eq!(ttl("other", "/v1/chat/completions", "silver"), 60);
}

#[test]
fn a_rule_for_a_model_waits_for_the_body() {
    let config = parse(
        r#"{"rules": [
            {"match": {"model": "gpt-4o*"}, "ttl": "1m"},
            {"match": {"path": "/x/chat/completions"}, "mode": "disabled"}
        ]}"#,
    );
    let none = headers(&[]);
    let path = b"/v1/chat/completions";
    assert_eq!(config.select(&none, path), Selection::NeedsModel);
    let ttl = |model| {
        let policy = config.select_with_model(&none, path, model);
        policy.map(|policy| policy.settings.ttl.as_secs())
    };
    assert_eq!(ttl(Some("gpt-4o-mini")), Some(60));
    assert_eq!(ttl(Some("o3")), Some(3_600));
    assert_eq!(ttl(None), Some(3_600));
    let disabled = b"/x/chat/completions";
    assert_eq!(config.select(&none, disabled), Selection::NeedsModel);
    assert_eq!(config.select_with_model(&none, disabled, Some("o3")), None);
}

#[test]
fn an_unknown_path_takes_part_only_under_a_rule_that_names_its_api() {
    let config = parse(r#"{"rules": [{"match": {"path": "/ask"}, "api": "openai_chat"}]}"#);
    let none = headers(&[]);
    assert!(matches!(
        config.select(&none, b"/ask"),
        Selection::Decided(_)
    ));
    assert_eq!(config.select(&none, b"/other"), Selection::NoPart);
    let disabled = parse(r#"{"mode": "disabled"}"#);
    assert_eq!(
        disabled.select(&none, b"/v1/chat/completions"),
        Selection::NoPart
    );
}

#[test]
fn a_sample_takes_its_share_of_keys_and_keeps_them_when_it_grows() {
    let taken = |percent: f64| {
        let sample = Sample::new(percent).unwrap();
        let bits = (0..10_000u32).map(|n| n.wrapping_mul(429_497));
        bits.filter(|bits| sample.takes(*bits)).collect::<Vec<_>>()
    };
    assert!(taken(0.0).is_empty());
    assert_eq!(taken(100.0).len(), 10_000);
    assert!(Sample::ALL.takes(u32::MAX));
    let (ten, twenty) = (taken(10.0), taken(20.0));
    assert!((900..1_100).contains(&ten.len()), "{}", ten.len());
    assert!(ten.iter().all(|bits| twenty.contains(bits)));
    assert_eq!(Sample::new(-0.1), None);
    assert_eq!(Sample::new(f64::NAN), None);
}

#[test]
fn a_rule_can_lift_the_bound_on_the_temperature() {
    let config = parse(
        r#"{"store_if": {"max_temperature": 0},
            "rules": [{"match": {}, "store_if": {"max_temperature": null}}]}"#,
    );
    assert_eq!(config.settings.store_if.max_temperature, Some(0.0));
    assert_eq!(config.rules[0].settings.store_if.max_temperature, None);
}

#[test]
fn a_rule_can_allow_other_models_and_every_header() {
    let config = parse(
        r#"{"store_if": {"same_model": true, "unless_header": {"x-fallback": "*"}},
            "rules": [{"match": {}, "store_if": {"same_model": false}},
                      {"match": {}, "store_if": {"unless_header": {}}}]}"#,
    );
    let of = |settings: &Settings| {
        let store_if = &settings.store_if;
        (store_if.same_model, store_if.unless_headers.len())
    };
    assert_eq!(of(&config.settings), (true, 1));
    assert_eq!(of(&config.rules[0].settings), (false, 1));
    assert_eq!(of(&config.rules[1].settings), (true, 0));
    assert_eq!(of(&parse("{}").settings), (false, 0));
}

#[test]
fn a_rule_for_a_model_does_not_draw_in_paths_that_no_api_has() {
    let config = parse(r#"{"rules": [{"match": {"model": "gpt*"}, "ttl": "2h"}]}"#);
    assert_eq!(
        config.select(&headers(&[]), b"/v1/files"),
        Selection::NoPart
    );
    let named = parse(r#"{"rules": [{"match": {"model": "gpt*"}, "api": "openai_chat"}]}"#);
    assert_eq!(
        named.select(&headers(&[]), b"/v1/files"),
        Selection::NeedsModel
    );
    let off = parse(r#"{"mode": "disabled", "rules": [{"match": {"model": "a"}, "ttl": "2h"}]}"#);
    let chat = b"/v1/chat/completions";
    assert_eq!(off.select(&headers(&[]), chat), Selection::NoPart);
}

#[test]
fn a_key_that_occurs_twice_is_a_problem() {
    let told = problems(r#"{"ttl": "1h", "store": {"memory": {}}, "ttl": "2h"}"#);
    assert_eq!(
        told,
        ["has an object in which a key occurs twice; keep one of them"]
    );
}

#[test]
fn every_way_to_tell_tenants_apart_is_read() {
    let tenant = |key: &str| {
        parse(&format!("{{\"key\": {key}}}"))
            .settings
            .key
            .tenant
            .clone()
    };
    let credentials = Distinction::Credentials;
    let path = Distinction::Metadata(MetadataPath {
        filter: "f".into(),
        members: vec!["a".into(), "b".into()],
    });
    let certificate = Distinction::Certificate(CertificateField::UriSan);
    for (key, distinctions) in [
        ("{}", vec![credentials(Anonymous::Bypass)]),
        (
            r#"{"anonymous": "share"}"#,
            vec![credentials(Anonymous::Share)],
        ),
        (
            r#"{"tenant": "credentials"}"#,
            vec![credentials(Anonymous::Bypass)],
        ),
        (
            r#"{"tenant": {"metadata": ["f", "a", "b"]}}"#,
            vec![path.clone()],
        ),
        (
            r#"{"tenant": {"certificate": "uri_san"}}"#,
            vec![certificate.clone()],
        ),
        (
            r#"{"tenant": ["credentials", {"metadata": ["f", "a", "b"]},
                {"certificate": "uri_san"}, {"header": "X-A"}], "anonymous": "share"}"#,
            vec![
                credentials(Anonymous::Share),
                path,
                certificate,
                Distinction::Header("x-a".into()),
            ],
        ),
    ] {
        assert_eq!(tenant(key), Tenant::Same(distinctions), "{key}");
    }
    assert_eq!(tenant(r#"{"tenant": "shared"}"#), Tenant::Shared);
}

#[test]
fn a_rule_keeps_what_the_top_says_of_anonymous_callers() {
    let config = parse(
        r#"{"key": {"anonymous": "share"}, "rules": [
            {"match": {}, "key": {"namespace": "n"}},
            {"match": {}, "key": {"tenant": "credentials"}},
            {"match": {}, "key": {"anonymous": "bypass"}}]}"#,
    );
    let of = |index: usize| config.rules[index].settings.key.tenant.clone();
    let credentials = |anonymous| Tenant::Same(vec![Distinction::Credentials(anonymous)]);
    assert_eq!(of(0), credentials(Anonymous::Share));
    assert_eq!(of(1), credentials(Anonymous::Share));
    assert_eq!(of(2), credentials(Anonymous::Bypass));
}

#[test]
fn what_tells_no_tenants_apart_is_a_problem() {
    for (key, path) in [
        (r#"{"tenant": []}"#, "key.tenant"),
        (r#"{"tenant": ["shared"]}"#, "key.tenant[0]"),
        (
            r#"{"tenant": [{"header": "a"}, {"metadata": ["f"]}]}"#,
            "key.tenant[1].metadata",
        ),
        (
            r#"{"tenant": {"metadata": ["f", ""]}}"#,
            "key.tenant.metadata",
        ),
        (
            r#"{"tenant": {"certificate": "serial"}}"#,
            "key.tenant.certificate",
        ),
        (r#"{"tenant": {"cookie": "a"}}"#, "key.tenant.cookie"),
        (
            r#"{"tenant": {"header": "a", "metadata": ["f", "a"]}}"#,
            "key.tenant",
        ),
        (
            r#"{"tenant": {"header": "a"}, "anonymous": "share"}"#,
            "key.anonymous",
        ),
        (
            r#"{"tenant": "shared", "anonymous": "bypass"}"#,
            "key.anonymous",
        ),
        (r#"{"anonymous": "ignore"}"#, "key.anonymous"),
    ] {
        let told = problems(&format!("{{\"key\": {key}}}"));
        assert_eq!(told.len(), 1, "{key}: {told:#?}");
        assert!(
            told[0].starts_with(&format!("{path}: ")),
            "{key}: {told:#?}"
        );
    }
}
