//! Capture, judge, convert: any answer in any framing of any API. What is judged whole and can be
//! converted is whole in its other form too.
#![no_main]

use envoy_llm_cache::llm::{Api, Form, Framing, NotWhole, RequestTraits, Verdict};
use envoy_llm_cache::steps;
use libfuzzer_sys::fuzz_target;

fn judge(
    api: Api,
    ask: &RequestTraits,
    framing: Framing,
    body: &[u8],
    size: usize,
) -> Result<Verdict, NotWhole> {
    steps::taken();
    let mut judge = api.judge(ask, framing);
    for chunk in body.chunks(size) {
        judge.feed(chunk, &mut |_, _| {})?;
    }
    let answer = judge.finish(body);
    let steps = steps::taken();
    assert!(
        steps <= 256 * body.len() + 4_096,
        "{steps} steps for {} bytes",
        body.len()
    );
    answer
}

fuzz_target!(|data: &[u8]| {
    let [api, framing, size, options, body @ ..] = data else {
        return;
    };
    let apis: Vec<_> = Api::all().collect();
    let api = apis[usize::from(*api) % apis.len()];
    let framing = Framing::ALL[usize::from(*framing) % Framing::ALL.len()];
    let usage = br#"{"include_usage":true}"#;
    let options: &[u8] = [b"", &usage[..], b"invoke"][usize::from(*options) % 3];
    let form = Form::new(framing, if framing.is_stream() { options } else { b"" });
    let ask = RequestTraits {
        form: Some(form.clone()),
        choices: 1,
        temperature: None,
        server_tools: false,
    };
    if api.framing(&ask, framing.content_type().as_bytes()) != Some(framing) {
        return;
    }
    let whole = judge(api, &ask, framing, body, body.len().max(1));
    let chunked = judge(api, &ask, framing, body, usize::from(*size).max(1));
    assert_eq!(
        whole.is_ok(),
        chunked.is_ok(),
        "the chunking changes the verdict"
    );
    let mut wanted = vec![Form::json()];
    for framing in Framing::ALL
        .into_iter()
        .filter(|framing| framing.is_stream())
    {
        wanted.push(Form::new(framing, b""));
        wanted.push(Form::new(framing, usage));
    }
    for wanted in wanted {
        let Ok(converted) = api.convert(body, &form, &wanted) else {
            continue;
        };
        assert!(
            converted.len() <= body.len() * 4_096 + (1 << 20),
            "conversion made it long"
        );
        let ask = RequestTraits {
            form: Some(wanted.clone()),
            ..ask.clone()
        };
        if whole.is_ok_and(|answer| answer.marked_end) {
            let verdict = judge(api, &ask, wanted.framing, &converted, 7);
            assert!(
                verdict.is_ok(),
                "{verdict:?} after conversion to {wanted:?}"
            );
        }
    }
    if let Ok(zeroed) = api.zero_usage(body, &form) {
        assert!(
            zeroed.len() <= body.len() * 8 + 1_024,
            "zeroing made it long"
        );
    }
});
