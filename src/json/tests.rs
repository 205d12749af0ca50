use std::borrow::Cow;

use super::*;

fn canonical(body: &str) -> String {
    without(body, &[])
}

fn without(body: &str, pointers: &[&str]) -> String {
    let removes: Vec<Edit> = pointers.iter().map(|at| remove(at)).collect();
    let edits: Vec<&Edit> = removes.iter().collect();
    String::from_utf8(canonicalize(body.as_bytes(), &edits).unwrap().bytes).unwrap()
}

fn remove(at: &str) -> Edit {
    Edit {
        at: Pointer::parse(at).unwrap(),
        change: Change::Remove,
    }
}

#[track_caller]
fn refused(body: impl AsRef<[u8]>, reason: NotPlain) {
    assert_eq!(
        canonicalize(body.as_ref(), &[]).map(|c| c.bytes),
        Err(reason)
    );
}

#[test]
fn white_space_between_tokens_is_dropped() {
    assert_eq!(
        canonical(" {\t\"a\"\r\n: [ 1 ,\t2 ] , \"b\" : { } , \"c\":[ ]\n}\r"),
        r#"{"a":[1,2],"b":{},"c":[]}"#
    );
    for other in [
        "\u{b}1",
        "\u{c}1",
        "\u{a0}1",
        "1\u{2028}",
        "1\0",
        "/**/1",
        "1//",
    ] {
        refused(other, NotPlain::Syntax);
    }
}

#[test]
fn members_are_sorted_at_every_level() {
    assert_eq!(
        canonical(r#"{"b":{"d":[{"z":1,"y":2}],"c":0},"a":1,"":2,"ab":3,"a!":4}"#),
        r#"{"":2,"a":1,"a!":4,"ab":3,"b":{"c":0,"d":[{"y":2,"z":1}]}}"#
    );
}

#[test]
fn numbers_stay_as_written() {
    for number in [
        "0",
        "-0",
        "1",
        "1.0",
        "1.00",
        "1e400",
        "1E+2",
        "1e-2",
        "-0.0e-0",
        "123456789012345678901234567890",
    ] {
        assert_eq!(canonical(number), number);
    }
    assert_ne!(canonical("1"), canonical("1.0"));
}

#[test]
fn only_rfc_8259_numbers_are_numbers() {
    for other in [
        "01",
        "-01",
        "00",
        "+1",
        ".5",
        "1.",
        "1.e1",
        "-",
        "--1",
        "1e",
        "1e+",
        "1e+-1",
        "0x1",
        "1_0",
        "1f",
        "NaN",
        "Infinity",
        "-Infinity",
        "1 2",
        "-a",
    ] {
        refused(other, NotPlain::Syntax);
    }
}

#[test]
fn words_are_lower_case_and_whole() {
    assert_eq!(canonical("[true,false,null]"), "[true,false,null]");
    for other in ["True", "tru", "nul", "falsehood", "nulll", "undefined", "t"] {
        refused(other, NotPlain::Syntax);
    }
}

#[test]
fn strings_are_written_by_value() {
    for (written, value) in [
        (r#""\u0041""#, r#""A""#),
        (r#""\/""#, r#""/""#),
        (r#""\u002F\u005c\u0022""#, r#""/\\\"""#),
        (
            r#""\n\t\r\b\f\u001F""#,
            r#""\u000a\u0009\u000d\u0008\u000c\u001f""#,
        ),
        (r#""\u00e9\u20AC""#, "\"é€\""),
        ("\"\u{7f}\u{2028}\u{feff}\"", "\"\u{7f}\u{2028}\u{feff}\""),
        (r#""\u0000""#, r#""\u0000""#),
    ] {
        assert_eq!(canonical(written), value);
    }
}

#[test]
fn surrogate_pairs_are_joined_and_lone_ones_kept() {
    for (written, value) in [
        (r#""\ud83d\ude00""#, "\"😀\""),
        (r#""\uD83D\uDE00""#, "\"😀\""),
        (r#""\uD800""#, r#""\ud800""#),
        (r#""\uDC00\uD800""#, r#""\udc00\ud800""#),
        (r#""\ud800\ud83d\ude00""#, "\"\\ud800😀\""),
        (r#""\ud800\u0041""#, r#""\ud800A""#),
        (r#""\ud800x\udc00""#, r#""\ud800x\udc00""#),
        (r#""\ud800\n""#, r#""\ud800\u000a""#),
    ] {
        assert_eq!(canonical(written), value);
        assert_eq!(canonical(value), value);
    }
    assert_ne!(canonical(r#""\ud800""#), canonical("\"\u{fffd}\""));
    assert_ne!(canonical(r#""\ud800""#), canonical(r#""\\ud800""#));
}

#[test]
fn broken_strings_are_refused() {
    for other in [
        "\"",
        "\"a",
        r#""\"#,
        r#""\""#,
        r#""\x""#,
        r#""\u""#,
        r#""\u00""#,
        r#""\u00g0""#,
        r#""\u+123""#,
        "\"\n\"",
        "\"\t\"",
        "\"\u{1f}\"",
        "\"\0\"",
        "'a'",
        r#""\ud800\u""#,
        r#""\ud800\uzzzz""#,
        r#""\U0041""#,
    ] {
        refused(other, NotPlain::Syntax);
    }
}

#[test]
fn broken_structures_are_refused() {
    for other in [
        "",
        " ",
        "\u{feff}{}",
        "{",
        "[",
        "}",
        "]",
        "{]",
        "[}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\" 1}",
        "{1:2}",
        "{} {}",
        "{}x",
        "1,",
        "[1],",
        "{\"a\"::1}",
    ] {
        refused(other, NotPlain::Syntax);
    }
}

#[test]
fn invalid_utf8_is_refused_wherever_it_is() {
    for body in [
        &b"\"\xff\""[..],
        b"\"\xed\xa0\x80\"",
        b"\"\xc0\x80\"",
        b"{}\xff",
        b"\xff\xfe{\0}\0",
    ] {
        refused(body, NotPlain::Utf8);
    }
}

#[test]
fn a_name_that_occurs_twice_is_refused() {
    for body in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"b":3,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"/":1,"\/":2}"#,
        r#"{"\ud83d\ude00":1,"😀":2}"#,
        r#"[0,{"x":{"a":1,"a":2}}]"#,
        r#"{"":1,"":2}"#,
    ] {
        refused(body, NotPlain::DuplicateName);
    }
    assert_eq!(
        canonical(r#"[{"a":1},{"a":1},{"b":{"a":{"a":1}},"a":1}]"#),
        r#"[{"a":1},{"a":1},{"a":1,"b":{"a":{"a":1}}}]"#
    );
}

#[test]
fn whatever_shares_its_upper_case_is_one_name() {
    let folded_char = |c: char| {
        let mut folded = String::new();
        push_folded(&mut folded, format!("{c}").as_bytes());
        folded
    };
    for c in ('\0'..=char::MAX).filter(|c| !matches!(c, '\0'..' ' | '"' | '\\')) {
        let folded = folded_char(c);
        for other in c.to_lowercase().chain(c.to_uppercase()) {
            // Where one stands for several, nothing has it for its other case.
            if c.to_uppercase().len() == 1 && c.to_lowercase().len() == 1 {
                assert_eq!(folded_char(other), folded, "{c} and {other}");
            }
        }
    }
    // One case for two, although their upper case is several (Unicode's CaseFolding.txt).
    for (one, other) in [
        ('\u{390}', '\u{1fd3}'),
        ('\u{3b0}', '\u{1fe3}'),
        ('\u{fb05}', '\u{fb06}'),
    ] {
        assert_eq!(folded_char(one), folded_char(other));
    }
}

#[test]
fn names_that_differ_only_in_case_are_duplicates() {
    for (one, other) in [
        ("model", "Model"),
        ("stream", "\u{17f}tream"),
        ("STREAM", "\u{17f}tream"),
        ("top_k", "top_\u{212a}"),
        ("é", "É"),
        ("σ", "ς"),
        ("Σ", "ς"),
        ("ß", "ẞ"),
        ("µ", "μ"),
        ("å", "\u{212b}"),
        ("ω", "\u{2126}"),
        ("\u{3f4}", "\u{3d1}"),
        ("ǆ", "ǅ"),
        ("\u{390}", "\u{1fd3}"),
        ("\u{fb05}", "\u{fb06}"),
        ("\u{1c80}", "в"),
        ("Ꭰ", "ꭰ"),
        ("\\u000aA", "\\u000aa"),
        ("\\\\U", "\\\\u"),
        ("\\ud800", "\\udbff"),
        ("\\ud800", "\u{fffd}"),
    ] {
        refused(
            format!(r#"{{"{one}":1,"m":0,"{other}":2}}"#),
            NotPlain::DuplicateName,
        );
        refused(
            format!(r#"{{"{other}":1,"m":0,"{one}":2}}"#),
            NotPlain::DuplicateName,
        );
    }
    let differ_in_more = r#"{"Max_items":2,"\\\\n":5,"\\u000a":6,"e":4,"maxItems":1,"é":3}"#;
    assert_eq!(canonical(differ_in_more), differ_in_more);
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let levels = open.matches(['[', '{']).count();
        let nested = |depth: usize| {
            format!(
                "{}1{}",
                open.repeat(depth / levels),
                close.repeat(depth / levels)
            )
        };
        assert_eq!(canonical(&nested(MAX_DEPTH)), nested(MAX_DEPTH));
        refused(nested(MAX_DEPTH + levels), NotPlain::TooDeep);
        refused(nested(10_000), NotPlain::TooDeep);
    }
    refused("[".repeat(10_000), NotPlain::TooDeep);
    refused("[".repeat(MAX_DEPTH), NotPlain::Syntax);
}

#[test]
fn an_excluded_member_leaves_no_trace() {
    for (body, pointer, left) in [
        (r#"{"a":1,"b":2,"c":3}"#, "/b", r#"{"a":1,"c":3}"#),
        (r#"{"b":2,"a":1}"#, "/b", r#"{"a":1}"#),
        (r#"{"b":2}"#, "/b", "{}"),
        (
            r#"{"a":{"b":2,"c":{"b":3}}}"#,
            "/a/b",
            r#"{"a":{"c":{"b":3}}}"#,
        ),
        (
            r#"{"a":{"b":{"y":1,"x":2}}}"#,
            "/a/b/z",
            r#"{"a":{"b":{"x":2,"y":1}}}"#,
        ),
        (r#"{"\u0062":1}"#, "/b", "{}"),
        (
            r#"{"a\/b":1,"m~n":2,"~1":3}"#,
            "/a~1b",
            r#"{"m~n":2,"~1":3}"#,
        ),
        (
            r#"{"a/b":1,"m~n":2,"~1":3}"#,
            "/m~0n",
            r#"{"a/b":1,"~1":3}"#,
        ),
        (
            r#"{"a/b":1,"m~n":2,"~1":3}"#,
            "/~01",
            r#"{"a/b":1,"m~n":2}"#,
        ),
        (r#"{"":1,"a":{"":2}}"#, "/", r#"{"a":{"":2}}"#),
        (r#"{"":1,"a":{"":2}}"#, "/a/", r#"{"":1,"a":{}}"#),
        (r#"{"\"":1,"\n":2}"#, "/\n", r#"{"\"":1}"#),
        (r#"{"0":1,"1":2}"#, "/0", r#"{"1":2}"#),
        (r#"{"b":1,"B_":2}"#, "/B", r#"{"B_":2,"b":1}"#),
        (r#"[{"b":1}]"#, "/b", r#"[{"b":1}]"#),
        ("1", "/b", "1"),
    ] {
        assert_eq!(without(body, &[pointer]), left, "{body} without {pointer}");
    }
    assert_eq!(
        without(
            r#"{"a":{"x":1,"y":2},"b":3,"c":4}"#,
            &["/c", "/a/y", "/a/x", "/a/y"]
        ),
        r#"{"a":{},"b":3}"#
    );
}

#[test]
fn an_excluded_element_leaves_a_trace() {
    for (body, pointer, left) in [
        ("[1,2]", "/0", "[\0,2]"),
        ("[1,2]", "/1", "[1,\0]"),
        ("[1,2]", "/2", "[1,2]"),
        ("[1,2]", "/-", "[1,2]"),
        ("[1,2]", "/00", "[1,2]"),
        ("[1,2]", "/+1", "[1,2]"),
        ("[1]", "/0", "[\0]"),
        ("[[]]", "/0", "[\0]"),
        ("[]", "/0", "[]"),
        (
            r#"{"m":[{"t":1,"r":2},{"t":3}]}"#,
            "/m/0/t",
            r#"{"m":[{"r":2},{"t":3}]}"#,
        ),
    ] {
        assert_eq!(without(body, &[pointer]), left, "{body} without {pointer}");
    }
}

#[test]
fn a_star_is_every_member_and_every_element() {
    for (body, pointer, left) in [
        (
            r#"{"a":{"id":1,"x":2},"b":[{"id":3}]}"#,
            "/*/id",
            r#"{"a":{"x":2},"b":[{"id":3}]}"#,
        ),
        (
            r#"{"b":[{"id":3,"x":4},5,{"id":6}]}"#,
            "/b/*/id",
            r#"{"b":[{"x":4},5,{}]}"#,
        ),
        (
            r#"{"m":{"a":1,"b":[2]},"n":3}"#,
            "/m/*",
            r#"{"m":{},"n":3}"#,
        ),
        (
            r#"{"m":["a",["b"]],"n":3}"#,
            "/m/*",
            "{\"m\":[\0,\0],\"n\":3}",
        ),
        (r#"{"m":[],"n":{}}"#, "/*/*", r#"{"m":[],"n":{}}"#),
        (r#"{"m":"text"}"#, "/m/*", r#"{"m":"text"}"#),
        (r#"{"*":1,"a":2}"#, "/~2", r#"{"a":2}"#),
        (r#"{"a*b":1,"a":2}"#, "/a~2b", r#"{"a":2}"#),
        (r#"{"~2":1,"*":2}"#, "/~02", r#"{"*":2}"#),
    ] {
        assert_eq!(without(body, &[pointer]), left, "{body} without {pointer}");
    }
    assert_eq!(without(r#"{"a":1}"#, &["/*"]), "{}");
}

#[test]
fn what_is_excluded_must_be_plain_all_the_same() {
    let exclude = [&remove("/a")];
    for (body, reason) in [
        (r#"{"a":01}"#, NotPlain::Syntax),
        (r#"{"a":{"x":1,"x":1}}"#, NotPlain::DuplicateName),
        (r#"{"a":1,"a":2}"#, NotPlain::DuplicateName),
        (r#"{"a":1,"A":2}"#, NotPlain::DuplicateName),
    ] {
        assert_eq!(
            canonicalize(body.as_bytes(), &exclude).map(|c| c.bytes),
            Err(reason),
            "{body}"
        );
    }
}

#[test]
fn pointers_that_could_not_work_are_refused() {
    assert_eq!(Pointer::parse(""), Err(PointerError::WholeBody));
    assert_eq!(Pointer::parse("user"), Err(PointerError::NoSlash));
    assert_eq!(Pointer::parse("#/user"), Err(PointerError::NoSlash));
    assert_eq!(Pointer::parse("/a~"), Err(PointerError::BadEscape));
    assert_eq!(Pointer::parse("/a~3/b"), Err(PointerError::BadEscape));
    for partial in ["/a*", "/*a/b", "/a/**", "/*~2"] {
        assert_eq!(Pointer::parse(partial), Err(PointerError::PartialWildcard));
    }
    assert_eq!(
        PointerError::NoSlash.to_string(),
        "is not a JSON pointer, start it with /"
    );
}

#[test]
fn top_level_members_are_listed_in_order() {
    let exclude = [&remove("/user")];
    let body = br#" {"z":{"d":1,"c":[2]}, "a\n":1, "user":{"x":0}, "a":"x"} "#;
    let canonical = canonicalize(body, &exclude).unwrap();
    let members: Vec<_> = canonical.members().collect();
    let expected: [(&[u8], &[u8]); 3] = [
        (b"\"a\"", b"\"x\""),
        (b"\"a\\u000a\"", b"1"),
        (b"\"z\"", br#"{"c":[2],"d":1}"#),
    ];
    assert_eq!(members, expected);
    assert_eq!(canonical.member("z"), Some(&br#"{"c":[2],"d":1}"#[..]));
    assert_eq!(canonical.member("user"), None);
    assert_eq!(canonical.member("d"), None);
    for no_object in [
        "[{\"a\":1}]",
        "[]",
        "{}",
        "1",
        "\"a\"",
        "[1,{\"a\":{\"b\":1}}]",
    ] {
        assert_eq!(
            canonicalize(no_object.as_bytes(), &[])
                .unwrap()
                .members()
                .count(),
            0,
            "{no_object}"
        );
    }
}

#[test]
fn a_canonical_string_can_be_read() {
    assert_eq!(string_value(b"\"abc\""), Some(Cow::Borrowed("abc")));
    assert!(matches!(string_value(b"\"abc\""), Some(Cow::Borrowed(_))));
    assert_eq!(
        string_value(canonical(r#""\n\"\\é\ud83d\ude00""#).as_bytes()).as_deref(),
        Some("\n\"\\é😀")
    );
    for other in [&b"1"[..], b"", b"\"", b"null", b"\"\\ud800\"", b"[\"a\"]"] {
        assert_eq!(string_value(other), None);
    }
}

#[test]
fn hostile_bodies_take_about_linear_time() {
    // Quadratic work on any of these would take minutes.
    let names = |name: &dyn Fn(usize) -> String| {
        let members: Vec<String> = (0..200_000)
            .rev()
            .map(|i| format!("\"{}\":{i}", name(i)))
            .collect();
        format!("{{{}}}", members.join(","))
    };
    let bodies = [
        names(&|i| i.to_string()),
        names(&|i| format!("É{i}")),
        format!("\"{}\"", "\\n".repeat(2_000_000)),
        format!("\"{}\"", "\\ud800".repeat(1_000_000)),
        format!("[{}1]", "1,".repeat(2_000_000)),
        format!("[{}[]]", "[[]],".repeat(1_000_000)),
        // Every level is out of order, so the innermost value moves each time.
        format!(
            "{}\"{}\"{}",
            "{\"b\":".repeat(MAX_DEPTH),
            "x".repeat(1_000_000),
            ",\"a\":1}".repeat(MAX_DEPTH)
        ),
    ];
    let exclude = [&remove("/b/b/c"), &remove("/*/*/*/*/c"), &remove("/*/b")];
    for body in bodies {
        assert!(
            canonicalize(body.as_bytes(), &exclude).is_ok(),
            "{body:.30}"
        );
    }
    // Each escape starts a search for the end, which is not there.
    refused(format!("\"{}", "\\\\".repeat(1_000_000)), NotPlain::Syntax);
}
