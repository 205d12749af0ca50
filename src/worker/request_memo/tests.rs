use super::*;
use crate::cache::CacheKey;
use crate::config::Settings;
use crate::llm::{Api, Form, Framing, RequestTraits};

fn resolved(options: &[u8]) -> Rc<ResolvedRequest> {
    Rc::new(ResolvedRequest {
        key: CacheKey::from_bytes([7; 32]),
        tenant: 1,
        api: Api::from_path(b"/v1/chat/completions").unwrap(),
        settings: Rc::new(Settings::default()),
        traits: RequestTraits {
            form: Some(Form::new(Framing::Sse, options)),
            choices: 1,
            temperature: None,
            server_tools: false,
        },
        parts: None,
        model: None,
    })
}

#[test]
fn what_is_remembered_is_found_by_its_whole_fingerprint_only() {
    let memo = RequestMemo::new([1; 4]);
    let known = Fingerprint([5, 6]);
    memo.remember(known, None, &resolved(b""));
    let found = memo.remembered(known).unwrap();
    assert_eq!(found.resolved.key.as_bytes(), &[7; 32]);
    assert!(found.entry.is_none());
    // The first shares its place.
    for other in [[5 + MEMOS as u64, 6], [5, 7], [6, 6]] {
        assert!(memo.remembered(Fingerprint(other)).is_none(), "{other:?}");
    }
}

#[test]
fn a_worker_remembers_no_more_than_it_has_places_for() {
    let memo = RequestMemo::new([1; 4]);
    for number in 0..3 * MEMOS as u64 {
        memo.remember(Fingerprint([number, 0]), None, &resolved(b""));
    }
    let kept = |number| memo.remembered(Fingerprint([number, 0])).is_some();
    let first_kept = 2 * MEMOS as u64;
    assert!((0..first_kept).all(|number| !kept(number)));
    assert!((first_kept..3 * MEMOS as u64).all(kept));
    assert_eq!(memo.memos.borrow().len(), MEMOS);
    let long = Fingerprint([9, 9]);
    memo.remember(long, None, &resolved(&[b' '; MAX_OPTION_BYTES + 1]));
    assert!(memo.remembered(long).is_none());
}

#[test]
fn a_fingerprint_depends_on_the_key_and_on_where_fields_end() {
    let of = |key, headers: &[(&str, &str)], body: &[u8]| {
        let headers: Headers = headers.iter().copied().collect();
        RequestMemo::new(key)
            .find(&headers, &Attributes::default(), body)
            .0
    };
    let all = [
        of([1; 4], &[("a", "b")], b"c"),
        of([2; 4], &[("a", "b")], b"c"),
        of([1; 4], &[("a", "")], b"bc"),
        of([1; 4], &[("ab", "")], b"c"),
        of([1; 4], &[("", "ab")], b"c"),
        of([1; 4], &[("a", "b"), ("", "")], b"c"),
        of([1; 4], &[], b"a\0b\0c"),
        of([1; 4], &[("a", "b")], b"c\0"),
        of([1; 4], &[("a", "b")], b""),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(all.iter().skip(at + 1).all(|other| other != one), "{at}");
    }
    assert_eq!(all[0], of([1; 4], &[("a", "b")], b"c"));
}

#[test]
fn a_long_body_that_came_before_has_the_fingerprint_that_it_had() {
    let memo = RequestMemo::new([1; 4]);
    let headers: Headers = [(":path", "/v1/chat/completions")].into_iter().collect();
    let nothing_more = Attributes::default();
    let mut pairs = headers.to_pairs();
    nothing_more.write(&mut pairs);
    let body = vec![b'x'; 100_000];
    let (first, found) = memo.find(&headers, &nothing_more, &body);
    assert!(found.is_none());
    assert_eq!(memo.long.borrow().fingerprint(&pairs, &body), None);
    memo.remember(first, None, &resolved(b""));
    for _ in 0..2 {
        let (again, found) = memo.find(&headers, &nothing_more, &body);
        assert_eq!(again, first);
        assert!(found.is_some());
        let kept = memo.long.borrow().fingerprint(&pairs, &body);
        assert_eq!(kept, Some(first));
    }
    // Nor is another one taken for it.
    let mut other = body.clone();
    other[50_000] = b'y';
    let (fingerprint, found) = memo.find(&headers, &nothing_more, &other);
    assert!(fingerprint != first && found.is_none());
    let others: Headers = [(":path", "/v2/chat/completions")].into_iter().collect();
    let (_, found) = memo.find(&others, &nothing_more, &body);
    assert!(found.is_none());
}
