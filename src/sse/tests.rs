use super::*;

type Owned = (String, String);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parse<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<Owned>, Ending) {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    for chunk in chunks {
        parser.feed(chunk, |e| events.push((text(e.event), text(e.data))));
    }
    (events, parser.finish())
}

/// Parses `stream` whole, at every two-way split and byte by byte, and checks
/// that the chunking makes no difference.
fn parse_every_way(stream: &[u8]) -> (Vec<Owned>, Ending) {
    let whole = parse([stream]);
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(parse([head, tail]), whole, "split at {at}");
    }
    for size in 1..4 {
        assert_eq!(parse(stream.chunks(size)), whole, "chunks of {size}");
    }
    whole
}

fn events(stream: &[u8]) -> Vec<Owned> {
    parse_every_way(stream).0
}

fn event(event: &str, data: &str) -> Owned {
    (event.to_owned(), data.to_owned())
}

#[test]
fn every_line_end_ends_a_line() {
    let expected = vec![event("x", "a\nb"), event("", "c")];
    for end in ["\n", "\r\n", "\r"] {
        let stream = "event: x\ndata: a\ndata: b\n\ndata: c\n\n".replace('\n', end);
        assert_eq!(events(stream.as_bytes()), expected, "{end:?}");
    }
    assert_eq!(
        events(b"event: x\rdata: a\r\ndata: b\n\r\ndata: c\r\r"),
        expected
    );
}

#[test]
fn a_cr_at_the_end_of_a_chunk_acts_at_once() {
    let mut parser = Parser::new();
    let mut seen = 0;
    parser.feed(b"data: a\r\r", |_| seen += 1);
    assert_eq!(seen, 1);
    // The LF belongs to that CR: it is no second blank line and no data.
    parser.feed(b"\n", |_| seen += 1);
    parser.feed(b"\n", |_| seen += 1);
    assert_eq!(seen, 1);
    assert_eq!(parser.finish().pending, None);
}

#[test]
fn an_empty_chunk_does_not_forget_the_cr() {
    let mut parser = Parser::new();
    let mut seen = Vec::new();
    for chunk in [b"data: a\r".as_slice(), b"", b"\n", b"data: b\n\n"] {
        parser.feed(chunk, |e| seen.push(text(e.data)));
    }
    assert_eq!(seen, ["a\nb"]);
}

#[test]
fn one_event_inside_one_chunk_is_lent_from_the_chunk() {
    let chunk = b"event: delta\ndata: {\"a\":1}\n\n";
    let range = chunk.as_ptr_range();
    let mut parser = Parser::new();
    // A first event over two chunks leaves nothing behind that forces a copy.
    parser.feed(b"data: a", |_| {});
    parser.feed(b"\n\n", |_| {});
    let mut seen = 0;
    parser.feed(chunk, |e| {
        assert!(range.contains(&e.data.as_ptr()) && range.contains(&e.event.as_ptr()));
        seen += 1;
    });
    assert_eq!(seen, 1);
}

#[test]
fn one_byte_order_mark_is_stripped_and_only_at_the_start() {
    assert_eq!(events(b"\xEF\xBB\xBFdata: a\n\n"), [event("", "a")]);
    let (seen, ending) = parse_every_way(b"\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\ndata: b\n\n");
    assert_eq!((seen, ending.stray_lines), (vec![event("", "b")], 1));
    let (seen, ending) = parse_every_way(b"\xEF\xBBdata: a\n\ndata: b\n\n");
    assert_eq!(
        (seen, ending.stray_lines, ending.invalid_utf8_lines),
        (vec![event("", "b")], 1, 1)
    );
}

#[test]
fn a_stream_that_is_half_a_byte_order_mark_is_a_stray_line() {
    let (_, ending) = parse_every_way(b"\xEF\xBB");
    assert_eq!((ending.stray_lines, ending.invalid_utf8_lines), (1, 1));
    assert!(ending.pending.is_some());
    assert_eq!(parse_every_way(b"\xEF\xBB\xBF").1.pending, None);
}

#[test]
fn a_byte_order_mark_is_told_and_half_of_one_is_none() {
    for (stream, has_bom) in [
        (&b"\xEF\xBB\xBFdata: a\n\n"[..], true),
        (b"\xEF\xBB\xBF", true),
        (b"\xEF\xBBdata: a\n\n", false),
        (b"data: \xEF\xBB\xBF\n\n", false),
    ] {
        for at in 0..=stream.len() {
            let mut parser = Parser::new();
            let (head, tail) = stream.split_at(at);
            parser.feed(head, |_| {});
            parser.feed(tail, |_| {});
            assert_eq!(parser.has_bom(), has_bom, "{stream:?} split at {at}");
        }
    }
}

#[test]
fn lines_that_are_not_plain_data_are_counted() {
    for (stream, count) in [
        (&b"data: a\r\ndata: b\r\n\r\ndata: \n\n"[..], 0),
        (b": c\n\ndata: a\n\n", 1),
        (b"event: e\nid: 1\ndata: a\n\nretry: 1\n\n", 3),
        (b"data:a\n\ndata\n\ndata:\n\n", 3),
        (b"data: a\n\n: c", 1),
    ] {
        assert_eq!(parse_every_way(stream).1.other_lines, count, "{stream:?}");
    }
}

#[test]
fn one_leading_space_of_a_value_is_dropped() {
    assert_eq!(
        events(b"data:a\ndata: b\ndata:  c\ndata:\td\n\n"),
        [event("", "a\nb\n c\n\td")]
    );
}

#[test]
fn a_line_without_a_colon_is_a_field_with_an_empty_value() {
    assert_eq!(
        events(b"data\n\ndata\ndata\n\n"),
        [event("", ""), event("", "\n")]
    );
    assert_eq!(events(b"event: x\nevent\ndata: a\n\n"), [event("", "a")]);
}

#[test]
fn an_event_type_without_data_is_no_event_and_is_forgotten() {
    assert_eq!(events(b"event: ping\n\ndata: a\n\n"), [event("", "a")]);
}

#[test]
fn the_last_event_type_wins_and_lasts_for_one_event() {
    let stream = b"event: x\nevent: y\ndata: a\n\ndata: b\n\n";
    assert_eq!(events(stream), [event("y", "a"), event("", "b")]);
}

#[test]
fn lines_that_are_no_field_are_counted() {
    let stream =
        b"data: {}\n\n{\n  \"error\": 1\n}\n:comment\nid: 1\nretry: 2\nData: x\n data: y\n";
    let (seen, ending) = parse_every_way(stream);
    assert_eq!(seen, [event("", "{}")]);
    assert_eq!(ending.stray_lines, 5);
    assert_eq!(
        parse_every_way(b": hello\nid\nretry\nevent\ndata\n\n")
            .1
            .stray_lines,
        0
    );
}

#[test]
fn a_stray_line_without_a_line_end_is_counted() {
    let (_, ending) = parse_every_way(b"data: [DONE]\n\n{\"error\":1}");
    assert_eq!(ending.stray_lines, 1);
}

#[test]
fn invalid_utf8_is_delivered_as_it_came_and_counted_by_line() {
    let mut parser = Parser::new();
    let mut seen = Vec::new();
    parser.feed(b"data: \xFF\xFE\n:\xFF\ndata: \xE2\x82", |_| {});
    parser.feed(b"\xAC\n\n", |e| seen.extend_from_slice(e.data));
    assert_eq!(seen, b"\xFF\xFE\n\xE2\x82\xAC");
    assert_eq!(parser.invalid_utf8_lines(), 2);
    parser.feed(b"data: \xE2", |_| {});
    assert_eq!(parser.finish().invalid_utf8_lines, 3);
}

#[test]
fn a_stream_that_ends_on_an_event_boundary_leaves_nothing() {
    for stream in [
        "",
        "\n",
        "data: a\n\n",
        "data: a\n\n:comment",
        "data: a\r\n\r",
        ":c\n",
    ] {
        assert_eq!(
            parse_every_way(stream.as_bytes()).1.pending,
            None,
            "{stream:?}"
        );
    }
}

#[test]
fn an_event_without_its_blank_line_is_pending() {
    for stream in [
        "data: {}\n\ndata: [DONE]",
        "data: {}\n\ndata: [DONE]\n",
        "data: [DONE]\r",
    ] {
        let pending = parse_every_way(stream.as_bytes()).1.pending;
        let expected = Pending {
            event: vec![],
            data: Some(b"[DONE]".to_vec()),
        };
        assert_eq!(pending, Some(expected), "{stream:?}");
    }
    let pending = parse_every_way(b"event: message_stop\ndata: {\"a\":\ndata:1}")
        .1
        .pending;
    let expected = Pending {
        event: b"message_stop".to_vec(),
        data: Some(b"{\"a\":\n1}".to_vec()),
    };
    assert_eq!(pending, Some(expected));
}

#[test]
fn an_event_cut_off_before_its_data_is_pending_without_data() {
    for stream in ["data: a\n\nevent: x", "data: a\n\nid: 1\nevent: x\n"] {
        let pending = parse_every_way(stream.as_bytes()).1.pending;
        assert_eq!(
            pending,
            Some(Pending {
                event: b"x".to_vec(),
                data: None
            })
        );
    }
    for stream in ["data: a\n\ndat", "data: a\n\nid", "data: a\n\n{}\n"] {
        assert!(
            parse_every_way(stream.as_bytes()).1.pending.is_some(),
            "{stream:?}"
        );
    }
    let pending = parse_every_way(b"data").1.pending;
    assert_eq!(
        pending,
        Some(Pending {
            event: vec![],
            data: Some(vec![])
        })
    );
}

#[test]
fn a_large_event_byte_by_byte_takes_linear_time() {
    // 4 MB: quadratic work (8e12 byte moves) would not end.
    let mut stream = b"data: ".to_vec();
    stream.resize(4_000_000, b'x');
    stream.extend_from_slice(b"\n\n");
    let (seen, _) = parse(stream.chunks(1));
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].1.len(), 4_000_000 - 6);
}
