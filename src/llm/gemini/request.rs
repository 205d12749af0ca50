//! What a Gemini request asks for: its form is in the URL, the rest in the body.

use crate::json::{Canonical, Read, Reader};
use crate::llm::request::asks_for;
use crate::llm::request::path::{Path, decoded, parameters};
use crate::llm::scan::{self, Said, read_members};
use crate::llm::{Form, Framing, RequestTraits, Unfit};

/// What comes after the model in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Generate,
    Stream,
    Embed,
    BatchEmbed,
}

impl Method {
    /// The method of a path without its query.
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        let methods = [Self::Generate, Self::Stream, Self::Embed, Self::BatchEmbed];
        methods.into_iter().find(|m| path.ends_with(m.suffix()))
    }

    fn suffix(self) -> &'static [u8] {
        match self {
            Self::Generate => b":generateContent",
            Self::Stream => b":streamGenerateContent",
            Self::Embed => b":embedContent",
            Self::BatchEmbed => b":batchEmbedContents",
        }
    }
}

/// The path without the choice of a form: `:streamGenerateContent` is written `:generateContent`,
/// and the parameter `alt` is left out, unless it asks for numbers in place of words, which are
/// another answer. All other parameters stay, in their order.
pub(super) fn key_path(path: Path<'_>) -> Option<Vec<u8>> {
    let Path { bare, query } = path;
    let stream = bare.strip_suffix(Method::Stream.suffix());
    let model = stream.or_else(|| bare.strip_suffix(Method::Generate.suffix()))?;
    let kept = parameters(query).filter(|(name, _)| !is_alt(name));
    let numbers = matches!(Alt::of(query), Ok(Alt { numbers: true, .. }));
    let numbers = numbers.then_some(&b"alt=json;enum-encoding=int"[..]);
    let mut key = [model, Method::Generate.suffix()].concat();
    let parameters = kept.map(|(_, parameter)| parameter).chain(numbers);
    for (number, parameter) in parameters.enumerate() {
        key.push(if number == 0 { b'?' } else { b'&' });
        key.extend_from_slice(parameter);
    }
    Some(key)
}

/// # Errors
/// If `alt` asks for a form other than those known for the method.
pub(super) fn read(path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
    let method = Method::of(path.bare).unwrap_or(Method::Generate);
    // The form does not depend on the body, and the path in the key is without it: it must be
    // known even where the body is not plain JSON.
    let form = Some(form(method, path.query)?);
    let Some(body) = body else {
        return Ok(RequestTraits {
            form,
            ..RequestTraits::unreadable()
        });
    };
    let generation = Generation::of(body);
    Ok(RequestTraits {
        form,
        choices: match method {
            Method::Generate | Method::Stream => generation.candidates().unwrap_or(1),
            Method::Embed => 1,
            Method::BatchEmbed => body
                .member("requests")
                .and_then(scan::count_elements)
                .unwrap_or(1),
        },
        temperature: generation.temperature,
        server_tools: runs_server_tools(body),
    })
}

fn form(method: Method, query: &[u8]) -> Result<Form, Unfit> {
    let Alt { is_sse, .. } = Alt::of(query)?;
    match (method, is_sse) {
        (Method::Stream, true) => Ok(Form::new(Framing::Sse, b"")),
        (Method::Stream, false) => Ok(Form::new(Framing::JsonArray, b"")),
        (_, false) => Ok(Form::json()),
        // `alt=sse` of a unary method.
        (_, true) => Err(Unfit::UnclearForm),
    }
}

/// What the parameter `alt` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Alt {
    /// An event stream.
    is_sse: bool,
    /// JSON with numbers for the words of enumerations, as Google's generated clients read it.
    numbers: bool,
}

impl Alt {
    /// # Errors
    /// If it says something else, as protocol buffers, or two things.
    fn of(query: &[u8]) -> Result<Self, Unfit> {
        let mut said = None;
        for (name, parameter) in parameters(query).filter(|(name, _)| is_alt(name)) {
            let value = parameter.get(name.len()..).and_then(decoded);
            let alt = match value.as_deref() {
                Some(b"=json") => Self::default(),
                Some(b"=json;enum-encoding=int") => Self {
                    is_sse: false,
                    numbers: true,
                },
                Some(b"=sse") => Self {
                    is_sse: true,
                    numbers: false,
                },
                _ => return Err(Unfit::UnclearForm),
            };
            if said.is_some_and(|other| other != alt) {
                return Err(Unfit::UnclearForm);
            }
            said = Some(alt);
        }
        Ok(said.unwrap_or_default())
    }
}

/// `alt` and its official spelling, percent-encoded or not.
fn is_alt(name: &[u8]) -> bool {
    matches!(decoded(name).as_deref(), Some(b"alt" | b"$alt"))
}

/// Protocol buffers take both spellings of a name.
#[derive(Default)]
struct Generation {
    candidate_count: Option<u64>,
    candidate_count_in_snake_case: Option<u64>,
    temperature: Option<f64>,
}

read_members!(Generation:
    candidate_count as "candidateCount", candidate_count_in_snake_case as "candidate_count",
    temperature
);

impl Generation {
    fn of(body: &Canonical) -> Self {
        let config = body.member("generationConfig");
        let config = config.or_else(|| body.member("generation_config"));
        // One of another shape is an error for the provider to tell.
        config
            .and_then(|json| scan::parse_object(json).ok())
            .unwrap_or_default()
    }

    fn candidates(&self) -> Option<u32> {
        let count = self
            .candidate_count
            .or(self.candidate_count_in_snake_case)?;
        u32::try_from(count).ok()
    }
}

/// Every tool but the client's functions, and its screen, which the client shows and handles.
fn runs_server_tools(body: &Canonical) -> bool {
    const CLIENT: [&str; 4] = [
        "functionDeclarations",
        "function_declarations",
        "computerUse",
        "computer_use",
    ];
    if !asks_for(body, "tools") {
        return false;
    }
    let mut any = false;
    let read = body.member("tools").map(|tools| {
        let mut tools = Reader::new(tools);
        scan::each_object(&mut tools, &mut |tool| {
            tool.each_member(&mut |name, json| {
                let mut said = Said::default();
                said.read(json)?;
                any |= said.0 && !CLIENT.contains(&name);
                Ok(())
            })
        })
    });
    // Tools of another shape than ours may be anything.
    any || read != Some(Ok(()))
}
