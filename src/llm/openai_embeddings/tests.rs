use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, NotWhole, Verdict};

const API: Api = Api(&OpenaiEmbeddings);

fn traits(body: &str) -> RequestTraits {
    read(API, "/v1/embeddings", body).unwrap()
}

fn judge_for(traits: &RequestTraits, json: &str) -> Result<Verdict, NotWhole> {
    API.judge(traits, Framing::Json).finish(json.as_bytes())
}

fn judge_of(inputs: u32, json: &str) -> Result<Verdict, NotWhole> {
    let traits = RequestTraits {
        choices: inputs,
        ..traits("{}")
    };
    judge_for(&traits, json)
}

/// An answer with embeddings of these indexes.
fn list(indexes: &[u64]) -> String {
    let embedding = |index: &u64| {
        format!(r#"{{"object":"embedding","index":{index},"embedding":[0.5,-1e-3,0]}}"#)
    };
    let data: Vec<_> = indexes.iter().map(embedding).collect();
    format!(
        r#"{{"object":"list","data":[{}],"model":"m","usage":{{"prompt_tokens":4,"total_tokens":4}}}}"#,
        data.join(",")
    )
}

#[test]
fn as_many_embeddings_are_expected_as_there_are_inputs() {
    for (body, inputs) in [
        (r#"{"input":"text"}"#, 1),
        (r#"{"input":[15,16,17]}"#, 1),
        (r#"{"input":[-1]}"#, 1),
        (r#"{"input":["a","b","c"]}"#, 3),
        (r#"{"input":[[1,2],[3]]}"#, 2),
        (r#"{"input":[{"text":"a"},{"image":"b"}]}"#, 2),
        (r#"{"input":[]}"#, 1),
        (r#"{"input":{}}"#, 1),
        ("{}", 1),
    ] {
        let traits = traits(body);
        assert_eq!(traits.choices, inputs, "{body}");
        assert_eq!(traits.form, Some(Form::json()));
    }
}

#[test]
fn an_answer_with_one_embedding_per_input_is_whole() {
    assert_eq!(judge_of(1, &list(&[0])), Ok(WHOLE));
    assert_eq!(judge_of(3, &list(&[2, 0, 1])), Ok(WHOLE));
    for (inputs, indexes) in [
        (1, &[][..]),
        (2, &[0]),
        (1, &[0, 1]),
        (2, &[0, 0]),
        (2, &[0, 2]),
        (2, &[1, 2]),
        (1, &[u64::MAX]),
    ] {
        let judged = judge_of(inputs, &list(indexes));
        assert_eq!(judged, Err(NotWhole::Choices), "{inputs} {indexes:?}");
    }
}

#[test]
fn of_a_request_that_cannot_be_read_any_number_is_whole() {
    let traits = API.read(b"/v1/embeddings", b"", None).unwrap();
    assert_eq!(judge_for(&traits, &list(&[0, 1])), Ok(WHOLE));
    assert_eq!(judge_for(&traits, &list(&[])), Err(NotWhole::Choices));
}

#[test]
fn an_embedding_is_a_list_of_numbers_or_base64_with_something_in_it() {
    let vector = "[0.5,-1e-3,0]";
    for good in [
        "[1]",
        "\"AACAPw==\"",
        "\"AAAAAAAAAAA=\"",
        "\"ab+/ab+/ab+/ab+/\"",
        "[-128,127]",
        "[1e300]",
    ] {
        let json = list(&[0]).replace(vector, good);
        assert_eq!(judge_of(1, &json), Ok(WHOLE), "{good}");
    }
    for bad in [
        "[]", "\"\"", "null", "{}", "7", "[null]", "[\"1\"]", "[[1]]", "\"AAA\"", "\"====\"",
        "\"A===\"", "\"AA A\"", "\"AAAA\"", "\"AA==\"", "\"AAA=\"", "[1,]", "[1e999]",
    ] {
        let json = list(&[0]).replace(vector, bad);
        assert_eq!(judge_of(1, &json), Err(NotWhole::Malformed), "{bad}");
    }
}

#[test]
fn an_error_or_a_part_of_an_answer_is_a_fault() {
    for error in [
        r#"{"error":{"message":"m"}}"#,
        r#"{"object":"error","message":"m"}"#,
        &list(&[0]).replace("\"model\"", "\"error\":\"e\",\"model\""),
    ] {
        assert_eq!(judge_of(1, error), Err(NotWhole::Error), "{error}");
    }
    let whole = list(&[0, 1]);
    for cut in 0..whole.len() {
        assert_eq!(
            judge_of(2, whole.get(..cut).unwrap()),
            Err(NotWhole::Malformed)
        );
    }
    let no_index = list(&[0]).replace("\"index\":0,", "");
    assert_eq!(judge_of(1, &no_index), Err(NotWhole::Malformed));
}

#[test]
fn only_json_is_an_answer_and_it_has_no_other_form() {
    let traits = traits("{}");
    let framing = |media_type| API.framing(&traits, media_type);
    assert_eq!(framing(b"application/json"), Some(Framing::Json));
    assert_eq!(framing(b"text/event-stream"), None);
    let stream = Form::new(Framing::Sse, b"");
    let split = OpenaiEmbeddings.split(list(&[0]).as_bytes(), &stream);
    assert_eq!(split, Err(ConversionError::Unsupported));
    assert!(OpenaiEmbeddings.owns(b"/openai/deployments/e/embeddings"));
    assert!(!OpenaiEmbeddings.owns(b"/api/embed"));
    // Ollama's, whatever they answer.
    assert!(!OpenaiEmbeddings.owns(b"/api/embeddings"));
}

#[test]
fn zero_usage_leaves_the_embeddings_alone() {
    let json = list(&[0]);
    let zeroed = OpenaiEmbeddings
        .zero_usage(json.as_bytes(), &Form::json())
        .unwrap();
    let expected = json.replace("tokens\":4", "tokens\":0");
    assert_eq!(values(zeroed), values(expected));
}
