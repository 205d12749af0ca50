use super::*;
use crate::json::canonicalize;

fn edited(body: &str, edits: &[Edit]) -> String {
    let edits: Vec<&Edit> = edits.iter().collect();
    let canonical = canonicalize(body.as_bytes(), &edits).unwrap();
    String::from_utf8(canonical.as_bytes().to_vec()).unwrap()
}

fn mask(scope: Scope, at: &str, pattern: &str) -> Edit {
    Edit {
        at: Pointer::parse(at).unwrap(),
        change: Change::Mask(Mask::parse(scope, pattern).unwrap()),
    }
}

fn id(at: &str, role: Role, types: &'static [&'static str]) -> Edit {
    Edit {
        at: Pointer::parse(at).unwrap(),
        change: Change::Number(IdPlace { role, types }),
    }
}

#[test]
fn a_mask_of_a_line_takes_what_its_star_stands_for() {
    use Scope::Line;
    for (text, pattern, masked) in [
        ("date: 1", "date: *", Some("date: \0")),
        ("date: ", "date: *", Some("date: \0")),
        ("a\ndate: 1\r\nb\n", "date: *", Some("a\ndate: \0\r\nb\n")),
        ("date: 1\ndate: 2", "date: *", Some("date: \0\ndate: \0")),
        (
            "It is 1 o'clock",
            "It is * o'clock",
            Some("It is \0 o'clock"),
        ),
        ("It is o'clock", "It is * o'clock", None),
        ("a date: 1", "date: *", None),
        ("", "date: *", None),
    ] {
        let mask = Mask::parse(Line, pattern).unwrap();
        assert_eq!(mask.apply(text).as_deref(), masked, "{text:?} by {pattern}");
    }
}

#[test]
fn a_mask_of_a_part_takes_every_one_in_every_line() {
    use Scope::Part;
    for (text, pattern, masked) in [
        ("v=1; cch=ab; x", "cch=*;", Some("v=1; cch=\0; x")),
        ("cch=a;cch=b;", "cch=*;", Some("cch=\0;cch=\0;")),
        ("cch=a\n;", "cch=*;", None),
        ("cch=a", "cch=*;", None),
        ("on 1\nand on 2\n", "on *", Some("on \0\nand on \0\n")),
        ("aaXbb", "a*b", Some("a\0bb")),
        ("<d>é</d>", "<d>*</d>", Some("<d>\0</d>")),
        ("", "a*", None),
    ] {
        let mask = Mask::parse(Part, pattern).unwrap();
        assert_eq!(mask.apply(text).as_deref(), masked, "{text:?} by {pattern}");
    }
}

#[test]
fn patterns_that_would_mask_nothing_or_everything_are_refused() {
    for scope in [Scope::Line, Scope::Part] {
        for (pattern, error) in [
            ("", MaskError::NotOneStar),
            ("date", MaskError::NotOneStar),
            ("a*b*", MaskError::NotOneStar),
            ("*", MaskError::NothingBefore),
            ("*b", MaskError::NothingBefore),
            ("a\n*", MaskError::LineBreak),
        ] {
            assert_eq!(Mask::parse(scope, pattern), Err(error), "{pattern:?}");
        }
    }
}

#[test]
fn texts_are_masked_where_the_pointer_leads_and_no_other_text_looks_the_same() {
    let edits = [
        mask(Scope::Line, "/s", "date: *"),
        mask(Scope::Part, "/s", "at * o"),
        mask(Scope::Line, "/m/*/t", "date: *"),
    ];
    for (body, canonical) in [
        (
            r#"{"s":"date: 1\nat 5 o"}"#,
            "{\"s\":\"date: \0\\u000aat \0 o\"}",
        ),
        (
            r#"{"m":[{"t":"date: 1"},{"u":"date: 1"}]}"#,
            "{\"m\":[{\"t\":\"date: \0\"},{\"u\":\"date: 1\"}]}",
        ),
        // No text, and texts that cannot be masked beyond doubt.
        (r#"{"s":1}"#, r#"{"s":1}"#),
        (r#"{"s":["date: 1"]}"#, r#"{"s":["date: 1"]}"#),
        (r#"{"s":"date: \u0000"}"#, r#"{"s":"date: \u0000"}"#),
        (r#"{"s":"date: \ud800"}"#, r#"{"s":"date: \ud800"}"#),
        // A line feed that is spelt, and not one.
        (r#"{"s":"x\\u000adate: 1"}"#, r#"{"s":"x\\u000adate: 1"}"#),
        (
            r#"{"s":"\"\\\ndate: \""}"#,
            "{\"s\":\"\\\"\\\\\\u000adate: \0\"}",
        ),
    ] {
        assert_eq!(edited(body, &edits), canonical, "{body}");
    }
    let s = |text: &str| edited(&format!(r#"{{"s":"{text}"}}"#), &edits);
    assert_eq!(s("date: 1"), s("date: 2"));
    assert_ne!(s("date: 1"), s("date: ".trim_end()));
    assert_ne!(s("date: 1"), s("Date: 1"));
    assert_ne!(s("date: 1"), s("date: 1\\n"));
}

const FEW: usize = 3;

fn chat(ids: [&str; FEW], results: [&str; FEW], text: &str) -> String {
    let calls = ids.map(|id| format!(r#"{{"tool_calls":[{{"id":"{id}","name":"f"}}]}}"#));
    let results = results.map(|id| format!(r#"{{"content":"r","tool_call_id":"{id}"}}"#));
    format!(
        r#"{{"messages":[{},{},{{"content":"{text}"}}]}}"#,
        calls.join(","),
        results.join(",")
    )
}

fn numbered(body: &str) -> String {
    edited(
        body,
        &[
            id("/messages/*/tool_calls/*/id", Role::Names, &[]),
            id("/messages/*/tool_call_id", Role::Refers, &[]),
        ],
    )
}

#[test]
fn requests_whose_ids_map_one_to_one_are_the_same() {
    let one = numbered(&chat(
        ["call_aaaa", "call_bbbb", "call_cccc"],
        ["call_bbbb", "call_aaaa", "call_cccc"],
        "x",
    ));
    let other = numbered(&chat(
        ["0000-call-1", "0000-call-2", "0000-call-3"],
        ["0000-call-2", "0000-call-1", "0000-call-3"],
        "x",
    ));
    assert_eq!(one, other);
    assert!(one.contains("\u{1}2"), "{one:?}");
}

#[test]
fn which_call_a_result_belongs_to_takes_part() {
    let ids = ["call_aaaa", "call_bbbb", "call_cccc"];
    let [a, b, c] = ids;
    let one = numbered(&chat(ids, [a, b, c], "x"));
    for (ids, results) in [
        (ids, [b, a, c]),
        (ids, [a, a, c]),
        ([a, a, c], [a, a, c]),
        (ids, [a, b, "call_dddd"]),
    ] {
        assert_ne!(
            one,
            numbered(&chat(ids, results, "x")),
            "{ids:?} {results:?}"
        );
    }
}

#[test]
fn no_id_is_numbered_where_the_rest_tells_of_one() {
    let ids = ["call_aaaa", "call_bbbb", "call_cccc"];
    let swapped = ["call_bbbb", "call_aaaa", "call_cccc"];
    for text in [
        "What was call_bbbb?",
        "the one that ends in all_bbbb",
        r#"{\"id\":\"call_bbbb\"}"#,
    ] {
        let told = chat(ids, ids, text);
        assert_ne!(
            numbered(&told),
            numbered(&chat(swapped, swapped, text)),
            "{text}"
        );
        assert_eq!(numbered(&told), edited(&told, &[]), "{text}");
    }
    let silent = chat(ids, ids, "What was call_bbb?");
    assert_ne!(numbered(&silent), edited(&silent, &[]));
}

#[test]
fn ids_that_are_short_odd_or_named_elsewhere_stay() {
    for id in [
        "1",
        "call_12",
        "call_é_aaaa",
        "call aaaa bbbb",
        r#"call_\"aaaa"#,
    ] {
        let body = format!(r#"{{"messages":[{{"tool_calls":[{{"id":"{id}"}}]}}]}}"#);
        assert_eq!(numbered(&body), edited(&body, &[]), "{id}");
    }
    // The call is in a response that the provider keeps.
    let body = r#"{"messages":[{"tool_call_id":"call_aaaa"}]}"#;
    assert_eq!(numbered(body), body);
    for not_text in ["1234567890", "null", r#"["call_aaaa"]"#] {
        let body = format!(r#"{{"messages":[{{"tool_calls":[{{"id":{not_text}}}]}}]}}"#);
        assert_eq!(numbered(&body), body);
    }
}

#[test]
fn an_id_is_one_only_beside_its_type() {
    let items = |body: &str| edited(body, &[id("/input/*/id", Role::Names, &["message"])]);
    for (body, canonical) in [
        (
            r#"{"input":[{"id":"msg_aaaa","type":"message"}]}"#,
            "{\"input\":[{\"id\":\u{1}0,\"type\":\"message\"}]}",
        ),
        (
            r#"{"input":[{"type":"message","id":"msg_aaaa"}]}"#,
            "{\"input\":[{\"id\":\u{1}0,\"type\":\"message\"}]}",
        ),
        (
            r#"{"input":[{"id":"msg_aaaa","type":"item_reference"}]}"#,
            r#"{"input":[{"id":"msg_aaaa","type":"item_reference"}]}"#,
        ),
        (
            r#"{"input":[{"id":"msg_aaaa"}]}"#,
            r#"{"input":[{"id":"msg_aaaa"}]}"#,
        ),
    ] {
        assert_eq!(items(body), canonical, "{body}");
    }
    // A reference to an item that is here tells of it.
    let told = r#"{"input":[{"id":"msg_aaaa","type":"message"},{"id":"msg_aaaa","type":"item_reference"}]}"#;
    assert_eq!(items(told), told);
}

#[test]
fn more_ids_than_are_remembered_stay_all_of_them() {
    let body = |count: usize| {
        let calls = (0..count).map(|n| format!(r#"{{"id":"call_{n:08}"}}"#));
        let calls: Vec<_> = calls.collect();
        format!(r#"{{"messages":[{{"tool_calls":[{}]}}]}}"#, calls.join(","))
    };
    assert!(numbered(&body(Ids::MOST)).contains(char::from(NUMBER)));
    let more = body(Ids::MOST + 1);
    assert_eq!(numbered(&more), more);
}

#[test]
fn what_is_excluded_needs_no_mask_and_no_number() {
    let at = Pointer::parse("/a").unwrap();
    let edits = [
        Edit {
            at,
            change: Change::Remove,
        },
        mask(Scope::Line, "/a", "x*"),
        id("/a", Role::Names, &[]),
    ];
    assert_eq!(edited(r#"{"a":"xxxxxxxxxx","b":1}"#, &edits), r#"{"b":1}"#);
}

#[test]
fn hostile_texts_and_ids_take_about_linear_time() {
    // Quadratic work on any of these would take minutes.
    let long = mask(Scope::Part, "/*", &format!("{}b*c", "a".repeat(200)));
    let edits = [
        long,
        mask(Scope::Part, "/*", "a*c"),
        mask(Scope::Line, "/*", "a*b"),
        id("/*/*/id", Role::Names, &[]),
        id("/*/*/ref", Role::Refers, &[]),
    ];
    let calls = (0..4_000).map(|n| format!(r#"{{"id":"{}{n:08}"}}"#, "a".repeat(200)));
    let calls: Vec<_> = calls.collect();
    for body in [
        format!(r#"["{}"]"#, "a".repeat(4_000_000)),
        format!(r#"["{}"]"#, "a\\n".repeat(1_000_000)),
        format!(
            r#"["{}"]"#,
            format!("{}\\n", "a".repeat(250)).repeat(10_000)
        ),
        format!(
            r#"{{"a":[{}],"b":"{}"}}"#,
            calls.join(","),
            "a".repeat(4_000_000)
        ),
        format!(
            r#"{{"a":[{}],"b":"{}"}}"#,
            calls.join(","),
            "00000001".repeat(400_000)
        ),
    ] {
        edited(&body, &edits);
    }
}

#[test]
fn edits_reach_the_same_places_by_wildcards_by_index_and_by_both() {
    let mask = |at: &str| Edit {
        at: Pointer::parse(at).unwrap(),
        change: Change::Mask(Mask::parse(Scope::Part, "t=*").unwrap()),
    };
    let remove = |at: &str| Edit {
        at: Pointer::parse(at).unwrap(),
        change: Change::Remove,
    };
    let body = r#"{"a":[0,"t=1",{"b":2,"c":"t=3"},["t=4"], [] ,"t=5"]}"#;
    for (edits, canonical) in [
        (
            vec![mask("/a/*")],
            "{\"a\":[0,\"t=\0\",{\"b\":2,\"c\":\"t=3\"},[\"t=4\"],[],\"t=\0\"]}",
        ),
        (
            vec![mask("/a/1"), remove("/a/0")],
            "{\"a\":[\0,\"t=\0\",{\"b\":2,\"c\":\"t=3\"},[\"t=4\"],[],\"t=5\"]}",
        ),
        (
            vec![remove("/a/*/b"), mask("/a/3/0"), mask("/a/5")],
            "{\"a\":[0,\"t=1\",{\"c\":\"t=3\"},[\"t=\0\"],[],\"t=\0\"]}",
        ),
        (
            vec![remove("/a/2/*"), mask("/*/*/*")],
            "{\"a\":[0,\"t=1\",{},[\"t=\0\"],[],\"t=5\"]}",
        ),
        (vec![remove("/a/*")], "{\"a\":[\0,\0,\0,\0,\0,\0]}"),
    ] {
        assert_eq!(edited(body, &edits), canonical);
    }
}

#[test]
fn a_mask_leaves_the_lines_between_as_they_are() {
    for scope in [Scope::Line, Scope::Part] {
        let mask = Mask::parse(scope, "at *").unwrap();
        for (text, masked) in [
            ("at 1", Some("at \0")),
            ("\nat 1\n", Some("\nat \0\n")),
            (
                "x\r\n\r\nat 1\r\r\ny\nat 2\n\nz",
                Some("x\r\n\r\nat \0\r\r\ny\nat \0\n\nz"),
            ),
            ("at\n at", None),
            ("", None),
        ] {
            assert_eq!(mask.apply(text).as_deref(), masked, "{text:?}");
        }
    }
    let line = Mask::parse(Scope::Line, "at *").unwrap();
    assert_eq!(line.apply("no at 1\nat 2").unwrap(), "no at 1\nat \0");
}
