//! A store or a host that fails, and callbacks in any order.

use super::*;

#[test]
fn any_bytes_from_the_store_are_an_entry_or_a_miss() {
    let worker = worker("{}");
    let (key, entry) = json_miss(&worker).stored().unwrap();
    let mut odd: Vec<Vec<u8>> = (0..entry.len()).map(|end| entry[..end].to_vec()).collect();
    odd.push(b"garbage".to_vec());
    for bytes in odd {
        let mut host = Host::new(&worker);
        host.put(key, &bytes);
        host.request(&post(&[]), ASK_JSON);
        // An entry without bytes is none.
        let miss = [Miss::Unusable, Miss::Absent][usize::from(bytes.is_empty())];
        assert_eq!(host.request_result(), Some(RequestResult::Miss(miss)));
    }
}

#[test]
fn a_store_that_fails_costs_a_miss() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    host.memory.refused.set(Some("llm-cache/"));
    host.request_body(ASK_JSON);
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::Store(StoreFault::Unavailable)))
    );
    assert!(host.awaits_response());
}

#[test]
fn a_reply_that_the_host_cannot_send_goes_to_the_upstream_instead() {
    let worker = worker("{}");
    let mut host = Host::with_memory_of(&worker, &json_miss(&worker));
    host.fake.refuses_replies.set(true);
    host.request(&post(&[]), ASK_JSON);
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert!(!host.holds_request());
}

/// Whatever callbacks come, in whatever order, nothing panics, nothing is counted twice, and a request
/// is never held once its stream is over.
#[test]
fn the_machine_is_total() {
    let worker = worker(r#"{"collapse": {"max_wait": "10s"}, "stale_while_revalidate": "1m"}"#);
    let mut random = 1_u64;
    for _ in 0..20_000 {
        let mut host = Host::new(&worker);
        host.fake.request_headers.replace(Some(headers(&post(&[]))));
        host.fake.request_body.replace(Some(ASK_JSON.into()));
        let response = headers(&ok("application/json", &[]));
        host.fake.response_headers.replace(Some(response.clone()));
        host.fake.response_chunk.replace(Some(JSON.into()));
        host.fake.response_trailers.replace(Some(response));
        host.fake.is_via_upstream.set(true);
        for _ in 0..8 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let end = random >> 63 == 1;
            match (random >> 40) % 10 {
                0 => drop(host.call(|stream| stream.request_headers(end))),
                1 => drop(host.call(|stream| stream.request_body(ASK_JSON.len(), end))),
                2 => drop(host.call(StreamContext::request_trailers)),
                3 => host.call(|stream| stream.response_headers(end)),
                4 => host.call(|stream| stream.response_body(JSON.len(), end)),
                5 => host.call(StreamContext::response_trailers),
                6 => host.called(Err(CalloutFault::NoReply)),
                7 => worker.settle(&host.memory),
                8 => worker.tick(NOW + 60_000, &host.memory),
                _ => host.close_by([Closer::Client, Closer::Host][usize::from(end)]),
            }
        }
        host.close();
        let _counted_once = (host.answer_result(), host.request_result());
        assert!(!host.holds_request());
    }
    assert_eq!(worker.budget.left(), 64 << 20);
}
