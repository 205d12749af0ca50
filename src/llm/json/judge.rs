//! Whether a JSON document is whole, and no error.

use crate::json::{Malformed, Read, Reader};
use crate::llm::scan::{self, Content, Said, read_members};
use crate::llm::{NotWhole, Verdict};

pub(super) fn judge(json: &[u8]) -> Result<Verdict, NotWhole> {
    let empty = match json.trim_ascii_start().first() {
        Some(b'{') => {
            let object: Object<'_> = scan::parse_object(json)?;
            let is_error = object.error.0
                || object.errors.0
                || object.object.as_str() == Some("error")
                || object.r#type.as_str() == Some("error")
                || object.code.0
                || object.status.0
                || object.success.is_false;
            if is_error || is_message_alone(json)? {
                return Err(NotWhole::Error);
            }
            is_empty_object(json)
        }
        _ => {
            let mut said = Said::default();
            Reader::whole(json, &mut said).map_err(|Malformed| NotWhole::Malformed)?;
            !said.0
        }
    };
    Ok(Verdict::complete(empty))
}

/// Of what parses as an object.
fn is_empty_object(json: &[u8]) -> bool {
    let inner = json.trim_ascii().strip_prefix(b"{").unwrap_or_default();
    inner.trim_ascii_start().starts_with(b"}")
}

/// An answer that is an object, as far as the judge looks.
#[derive(Default)]
struct Object<'a> {
    error: Said,
    errors: Said,
    // Any value: what these hold is the API's affair.
    object: Content<'a>,
    r#type: Content<'a>,
    code: ErrorCode,
    status: ErrorCode,
    success: Success,
}

read_members!(Object<'a>: error, errors, object, r#type as "type", code, status, success);

/// Whether a number is an HTTP status that says error, or a word does. Any value: what it is is the
/// API's affair.
#[derive(Default)]
struct ErrorCode(bool);

impl<'a> Read<'a> for ErrorCode {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        self.0 = match json.peek() {
            Some(b'0'..=b'9') => matches!(json.number()?.parse(), Ok(400_u16..=599)),
            Some(b'"') => {
                let word = json.string()?;
                ["error", "failed", "failure"]
                    .iter()
                    .any(|error| word.eq_ignore_ascii_case(error))
            }
            _ => {
                json.skip()?;
                false
            }
        };
        Ok(())
    }
}

#[derive(Default)]
struct Success {
    is_false: bool,
}

/// Any value, as above.
impl<'a> Read<'a> for Success {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        self.is_false = json.peek() == Some(b'f');
        json.skip()
    }
}

/// Whether an object holds a message and nothing else but what comes with those of frameworks and
/// gateways: FastAPI's `detail`, Kong's `message`, problem details (RFC 9457).
fn is_message_alone(json: &[u8]) -> Result<bool, NotWhole> {
    let (mut has_message, mut has_more) = (false, false);
    let mut reader = Reader::new(json);
    let read = reader.each_member(&mut |name, json| {
        match name {
            "detail" | "message" | "msg" => has_message = true,
            "code" | "status" | "status_code" | "statusCode" | "title" | "type" | "instance"
            | "path" | "timestamp" | "request_id" | "requestId" | "success" => {}
            _ => has_more = true,
        }
        json.skip()
    });
    read.map_err(|Malformed| NotWhole::Malformed)?;
    Ok(has_message && !has_more)
}
