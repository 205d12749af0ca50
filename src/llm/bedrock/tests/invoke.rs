use super::*;

#[test]
fn an_anthropic_model_s_own_events_are_judged_as_anthropic_s() {
    let bytes = native_stream(&NATIVE);
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        let (answer, heard) = judge_chunks(INVOKE_STREAM, [head, tail]);
        assert_eq!((answer, heard.as_str()), (Ok(WHOLE), "Héllo"), "{at}");
    }
    for length in 0..bytes.len() {
        let answer = judge(INVOKE_STREAM, &bytes[..length]);
        assert!(!answer.is_ok_and(|answer| answer.marked_end), "{length}");
    }
    let json =
        br#"{"type":"message","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn"}"#;
    assert_eq!(judge(INVOKE, json), Ok(WHOLE));
}

#[test]
fn a_guardrail_s_word_on_a_native_answer_counts_as_filtered() {
    let stop = NATIVE[5].replacen('{', r#"{"amazon-bedrock-guardrailAction":"INTERVENED","#, 1);
    let mut events = NATIVE.to_vec();
    events[5] = &stop;
    let finish = judge(INVOKE_STREAM, &native_stream(&events)).map(|answer| answer.finish);
    assert_eq!(finish, Ok(Finish::Filtered));
    let json = |action: &str| {
        format!(
            r#"{{"type":"message","content":[],"stop_reason":"end_turn","amazon-bedrock-guardrailAction":"{action}"}}"#
        )
    };
    let finish = |action| judge(INVOKE, json(action).as_bytes()).map(|answer| answer.finish);
    assert_eq!(finish("INTERVENED"), Ok(Finish::Filtered));
    assert_eq!(finish("NONE"), Ok(Finish::Complete));
}

#[test]
fn nothing_tells_that_another_model_s_answer_is_whole() {
    for native in [
        r#"{"completion":"Hi","stop_reason":"stop"}"#,
        r#"{"choices":[{"text":"Hi"}]}"#,
        r#"{"results":[{"index":0,"relevance_score":0.9}]}"#,
        r#"{"images":["aGk="],"error":null}"#,
        r#"{"message":"too many tokens"}"#,
        "{}",
    ] {
        let streamed = judge(INVOKE_STREAM, &native_stream(&[native]));
        assert!(!is_marked(streamed), "{native}");
        assert!(!is_marked(judge(INVOKE, native.as_bytes())), "{native}");
    }
    for bad in [r#"{"bytes":"???"}"#, r#"{"bytes":7}"#, "{}"] {
        let bytes = message("chunk", bad);
        assert_eq!(
            judge(INVOKE_STREAM, &bytes),
            Err(NotWhole::Malformed),
            "{bad}"
        );
    }
    // Neither operation's events are the other's.
    assert_eq!(
        judge(INVOKE_STREAM, &stream(&SHORT)),
        Err(NotWhole::Malformed)
    );
    assert!(judge(CONVERSE_STREAM, &native_stream(&NATIVE)).is_err());
}

#[test]
fn an_answer_of_nova_titan_cohere_meta_or_mistral_that_says_why_it_ended_is_whole() {
    for (native, answer) in [
        (
            r#"{"output":{"message":{"content":[{"text":"Hi"}],"role":"assistant"}},"stopReason":"end_turn","usage":{"inputTokens":1}}"#,
            Ok(WHOLE),
        ),
        (
            r#"{"output":{"message":{"content":[{"text":"Hi"}]}},"stopReason":"max_tokens"}"#,
            Ok(LENGTH),
        ),
        (
            r#"{"inputTextTokenCount":5,"results":[{"tokenCount":2,"outputText":"Hi","completionReason":"FINISH"}]}"#,
            Ok(WHOLE),
        ),
        (
            r#"{"results":[{"outputText":"Hi","completionReason":"LENGTH"}]}"#,
            Ok(LENGTH),
        ),
        (
            r#"{"results":[{"outputText":"No.","completionReason":"CONTENT_FILTERED"}]}"#,
            Ok(FILTERED),
        ),
        (
            r#"{"results":[{"outputText":"Hi","completionReason":"FINISH"}],"amazon-bedrock-guardrailAction":"INTERVENED"}"#,
            Ok(FILTERED),
        ),
        (
            r#"{"results":[{"outputText":"Hi","completionReason":"RAG_QUERY_WHEN_RAG_DISABLED"}]}"#,
            Err(NotWhole::UnknownFinish),
        ),
        (
            r#"{"generations":[{"finish_reason":"COMPLETE","id":"1","text":"Hi"}],"id":"2","prompt":"p"}"#,
            Ok(WHOLE),
        ),
        (
            r#"{"generations":[{"finish_reason":"ERROR","text":"Hi"}]}"#,
            Err(NotWhole::Error),
        ),
        (
            r#"{"text":"Hi","generation_id":"g","finish_reason":"COMPLETE","chat_history":[]}"#,
            Ok(WHOLE),
        ),
        (r#"{"generation":"Hi","stop_reason":"stop"}"#, Ok(WHOLE)),
        (
            r#"{"outputs":[{"text":"Hi","stop_reason":"length"}]}"#,
            Ok(LENGTH),
        ),
        (
            r#"{"embedding":[0.5,-1e-3],"inputTextTokenCount":3}"#,
            Ok(WHOLE),
        ),
        (
            r#"{"embedding":[0.5],"embeddingsByType":{"float":[0.5]},"inputTextTokenCount":3}"#,
            Ok(WHOLE),
        ),
        (
            r#"{"embedding":[0.5],"message":"the image is broken"}"#,
            Err(NotWhole::Error),
        ),
        (r#"{"embedding":[]}"#, Err(NotWhole::Malformed)),
        (r#"{"embedding":["0.5"]}"#, Err(NotWhole::Malformed)),
        (
            r#"{"embeddings":[[0.1]],"id":"i","response_type":"embeddings_floats","texts":["a"]}"#,
            Ok(WHOLE),
        ),
        (
            r#"{"embeddings":{"float":[[0.1]],"int8":[[1]]},"response_type":"embeddings_by_type"}"#,
            Ok(WHOLE),
        ),
        (
            r#"{"embeddings":[[0.1],[0.2]],"id":"i"}"#,
            Err(NotWhole::Choices),
        ),
        (
            r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[0.1]}]}"#,
            Ok(WHOLE),
        ),
    ] {
        assert_eq!(judge(INVOKE, native.as_bytes()), answer, "{native}");
    }
    for open in [
        r#"{"results":[{"outputText":"Hi","completionReason":null}]}"#,
        r#"{"output":{"message":{"content":[{"text":"Hi"}]}}}"#,
        r#"{"generations":[{"text":"Hi"}]}"#,
        r#"{"text":"Hi"}"#,
        r#"{"generation":"Hi","stop_reason":null}"#,
    ] {
        assert!(!is_marked(judge(INVOKE, open.as_bytes())), "{open}");
    }
}

#[test]
fn a_native_stream_of_each_model_is_whole_with_its_last_event_and_not_before() {
    for events in MODELS {
        let bytes = native_stream(events);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let (answer, heard) = judge_chunks(INVOKE_STREAM, [head, tail]);
            assert_eq!(
                (answer, heard.as_str()),
                (Ok(WHOLE), "H\u{e9}llo"),
                "{events:?}"
            );
            let is_whole = at == bytes.len();
            assert_eq!(
                is_marked(judge(INVOKE_STREAM, head)),
                is_whole,
                "{events:?} {at}"
            );
        }
        for missing in 0..events.len() {
            let mut others = events.to_vec();
            let gone = others.remove(missing);
            // Nobody can tell that a piece of text is missing, but of Cohere's chat.
            let is_piece = gone.contains("ext\":\"") || gone.contains("generation\":\"H");
            let of_text = is_piece && missing + 1 < events.len();
            let answer = judge(INVOKE_STREAM, &native_stream(&others));
            let is_start = gone.contains("stream-start") || gone.contains("contentBlockStop");
            assert!(of_text || is_start || !is_marked(answer), "{gone}");
        }
        let twice = [events, &events[events.len() - 1..]].concat();
        let answer = judge(INVOKE_STREAM, &native_stream(&twice));
        assert_eq!(answer, Err(NotWhole::AfterEnd), "{events:?}");
    }
}

#[test]
fn metrics_of_bedrock_may_follow_in_an_event_of_their_own() {
    const METRICS_ALONE: &str = r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":3}}"#;
    for events in [&NOVA[..], &TITAN, &COMMAND, &LLAMA, &MISTRAL] {
        let with = [events, &[METRICS_ALONE]].concat();
        assert_eq!(judge(INVOKE_STREAM, &native_stream(&with)), Ok(WHOLE));
    }
    let before_the_end = [TITAN[0], METRICS_ALONE, TITAN[1]];
    let answer = judge(INVOKE_STREAM, &native_stream(&before_the_end));
    assert_eq!(answer, Err(NotWhole::Malformed));
}

#[test]
fn an_error_or_another_model_s_event_ends_a_native_stream() {
    for events in MODELS {
        for other in [
            r#"{"message":"The system encountered an unexpected error"}"#,
            r#"{"type":"error","error":{"message":"overloaded"}}"#,
            r#"{"x":1,"y":2}"#,
            "[]",
        ] {
            let mut broken = events.to_vec();
            broken.insert(1, other);
            let answer = judge(INVOKE_STREAM, &native_stream(&broken));
            // Nova's clients pass over events that they do not know.
            assert!(!is_marked(answer) || events == NOVA, "{other} {events:?}");
        }
    }
    let with_a_guardrail = TITAN.map(|event| event.replace("\"index\":0", "\"index\":0.0"));
    let events = with_a_guardrail.each_ref().map(String::as_str);
    assert_eq!(judge(INVOKE_STREAM, &native_stream(&events)), Ok(WHOLE));
    for index in ["0.5", "-1", "1e3", "\"0\""] {
        let odd = TITAN[0].replace("\"index\":0", &format!("\"index\":{index}"));
        let answer = judge(INVOKE_STREAM, &native_stream(&[&odd]));
        assert_eq!(answer, Err(NotWhole::Malformed), "{index}");
    }
    for finish in ["INTERVENED", "BLOCKED"] {
        let last = TITAN[1].replacen(
            '{',
            &format!(r#"{{"amazon-bedrock-guardrailAction":"{finish}","#),
            1,
        );
        let answer = judge(INVOKE_STREAM, &native_stream(&[TITAN[0], &last]));
        assert_eq!(answer, Ok(FILTERED));
    }
}

#[test]
fn several_samples_are_whole_when_each_has_ended() {
    let end = |index: u32| {
        format!(r#"{{"finish_reason":"COMPLETE","index":{index},"is_finished":true}}"#)
    };
    let piece = |index: u32| format!(r#"{{"index":{index},"is_finished":false,"text":"Hi"}}"#);
    let judged = |events: &[String]| {
        let body = canonical(r#"{"prompt":"p","num_generations":2,"stream":true}"#);
        let traits = API
            .read(INVOKE_STREAM.as_bytes(), b"", Some(&body))
            .unwrap();
        assert_eq!(traits.choices, 2);
        let events: Vec<_> = events.iter().map(String::as_str).collect();
        let bytes = native_stream(&events);
        let mut judge = API.judge(&traits, Framing::EventStream);
        judge.feed(&bytes, &mut |_, _| {})?;
        judge.finish(&bytes)
    };
    let both = [piece(0), piece(1), end(1), end(0)];
    assert_eq!(judged(&both), Ok(WHOLE));
    assert!(!is_marked(judged(&both[..3])));
    assert_eq!(judged(&[piece(0), end(0)]), Err(NotWhole::Choices));
    assert_eq!(
        judged(&[piece(0), end(0), piece(0)]),
        Err(NotWhole::AfterEnd)
    );
}
