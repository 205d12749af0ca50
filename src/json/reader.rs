//! Reading JSON texts: what is wanted of them is kept, all else is skipped.
//!
//! What is read must be JSON (RFC 8259) throughout, also where it is skipped. Two things are looser
//! than in [`canonicalize`](super::canonicalize): names that nobody wants may occur twice, and a
//! string in what is skipped may hold bytes that are not UTF-8. An empty list stands for an object
//! without members, as it does for those who write JSON in PHP.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::fold::is_misspelled;
use super::lexical::{split_escape, split_number, split_plain, split_space};
use super::string::push_raw;
use crate::steps;

/// It is not JSON, or not of the shape that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What can be read from the next value of a JSON text.
///
/// Values start as their defaults: a member that is missing leaves its own as it is.
pub trait Read<'a> {
    /// Reads all of the next value.
    ///
    /// # Errors
    /// If it is not JSON, or of another shape.
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed>;
}

/// Takes the name of a member, and reads its value.
pub type TakeMember<'t, 'a> = &'t mut dyn FnMut(&str, &mut Reader<'a>) -> Result<(), Malformed>;

/// What is left of a JSON text.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// How many elements of lists were kept.
    kept: usize,
}

/// More elements than any answer has that is looked at, of all its lists together. What is kept of one
/// takes many times the `{}` that the author of the text needs for it.
const MAX_KEPT: usize = 1 << 16;

impl<'a> Reader<'a> {
    /// A reader of all of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            kept: 0,
        }
    }

    /// Reads a text that is one value.
    ///
    /// # Errors
    /// If it is not JSON, or of another shape.
    pub fn whole(text: &'a [u8], value: &mut dyn Read<'a>) -> Result<(), Malformed> {
        let mut json = Self::new(text);
        value.read(&mut json)?;
        json.end()
    }

    /// Counts an element of a list that is kept.
    ///
    /// # Errors
    /// If there are too many.
    pub fn keep(&mut self) -> Result<(), Malformed> {
        self.kept = self.kept.saturating_add(1);
        match self.kept {
            0..=MAX_KEPT => Ok(()),
            _ => Err(Malformed),
        }
    }

    /// Whether a text is JSON.
    pub fn is_json(text: &'a [u8]) -> bool {
        let mut json = Self::new(text);
        json.skip().and_then(|()| json.end()).is_ok()
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The first byte of what comes next, which tells its type.
    pub fn peek(&mut self) -> Option<u8> {
        self.rest = split_space(self.rest);
        self.rest.first().copied()
    }

    /// Whether the next value is null, which is then read.
    ///
    /// # Errors
    /// If it is another word that begins so.
    pub fn null(&mut self) -> Result<bool, Malformed> {
        match self.peek() {
            Some(b'n') => self.word(b"null").map(|()| true),
            _ => Ok(false),
        }
    }

    /// Reads an object, or null as one without members: each of `wanted` at most once, by its name.
    ///
    /// # Errors
    /// As [`Read::read`], and where a wanted name occurs twice, or in a spelling that others take
    /// for it.
    pub fn members(&mut self, wanted: &mut [(&str, &mut dyn Read<'a>)]) -> Result<(), Malformed> {
        if self.null()? {
            return Ok(());
        }
        let mut seen = 0_u64;
        self.each_member(&mut |name, json| {
            steps::take(wanted.len());
            let place = wanted.iter().position(|(wanted, _)| *wanted == name);
            let Some((place, (_, value))) = place.and_then(|at| Some((at, wanted.get_mut(at)?)))
            else {
                return match wanted.iter().any(|(wanted, _)| is_misspelled(name, wanted)) {
                    true => Err(Malformed),
                    false => json.skip(),
                };
            };
            let bit = 1 << (place & 63);
            if seen & bit != 0 {
                return Err(Malformed);
            }
            seen |= bit;
            value.read(json)
        })
    }

    /// Reads an object: `take` is called with each name, and reads the value.
    ///
    /// # Errors
    /// As [`Read::read`], and what `take` says.
    pub fn each_member(&mut self, take: TakeMember<'_, 'a>) -> Result<(), Malformed> {
        self.peek();
        self.expect(b'{')?;
        let mut open = self.peek() != Some(b'}');
        while open {
            steps::take(1);
            self.peek();
            let name = self.string()?;
            self.peek();
            self.expect(b':')?;
            take(&name, self)?;
            open = self.peek() == Some(b',');
            if open {
                self.expect(b',')?;
            }
        }
        self.expect(b'}')
    }

    /// Reads a list: `take` reads each element.
    ///
    /// # Errors
    /// As [`Read::read`], and what `take` says.
    pub fn each_element(
        &mut self,
        take: &mut dyn FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.peek();
        self.expect(b'[')?;
        let mut open = self.peek() != Some(b']');
        while open {
            steps::take(1);
            take(self)?;
            open = self.peek() == Some(b',');
            if open {
                self.expect(b',')?;
            }
        }
        self.expect(b']')
    }

    /// Reads a string; lent where it has no escapes.
    ///
    /// # Errors
    /// If it is none, or holds what no UTF-8 can.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        match self.bytes()? {
            Cow::Borrowed(text) => str::from_utf8(text).map(Cow::Borrowed).ok(),
            Cow::Owned(text) => String::from_utf8(text).map(Cow::Owned).ok(),
        }
        .ok_or(Malformed)
    }

    /// A string that may not be UTF-8.
    fn bytes(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        self.peek();
        self.expect(b'"')?;
        let plain = self.plain();
        if self.take(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        while !self.take(b'"') {
            self.expect(b'\\')?;
            let (escaped, rest) = split_escape(self.rest).ok_or(Malformed)?;
            push_raw(&mut text, escaped.map_err(|_| Malformed)?);
            self.rest = rest;
            text.extend_from_slice(self.plain());
        }
        Ok(Cow::Owned(text))
    }

    /// Reads a number, as it is written.
    ///
    /// # Errors
    /// If it is none.
    pub fn number(&mut self) -> Result<&'a str, Malformed> {
        self.peek();
        let (number, rest) = split_number(self.rest).ok_or(Malformed)?;
        self.rest = rest;
        str::from_utf8(number).map_err(|_| Malformed)
    }

    /// Reads a number that must not be beyond all that an `f64` can hold.
    ///
    /// # Errors
    /// If it is, or is none.
    pub fn finite(&mut self) -> Result<(), Malformed> {
        is_finite(self.number()?).then_some(()).ok_or(Malformed)
    }

    /// Reads a value, and keeps nothing of it.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        // The brackets that will end what is open, so that no depth takes stack.
        let mut open = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => self.skip_string()?,
                Some(bracket @ (b'{' | b'[')) => {
                    self.expect(bracket)?;
                    let end = if bracket == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(end) {
                        open.push(end);
                        if end == b'}' {
                            self.skip_name()?;
                        }
                        continue;
                    }
                    self.expect(end)?;
                }
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => self.number().map(|_| ())?,
            }
            loop {
                let Some(end) = open.last().copied() else {
                    return Ok(());
                };
                if self.peek() != Some(end) {
                    self.expect(b',')?;
                    if end == b'}' {
                        self.skip_name()?;
                    }
                    break;
                }
                self.expect(end)?;
                open.pop();
            }
        }
    }

    fn skip_name(&mut self) -> Result<(), Malformed> {
        self.peek();
        self.skip_string()?;
        self.peek();
        self.expect(b':')
    }

    fn skip_string(&mut self) -> Result<(), Malformed> {
        self.expect(b'"')?;
        self.plain();
        while !self.take(b'"') {
            self.expect(b'\\')?;
            (_, self.rest) = split_escape(self.rest).ok_or(Malformed)?;
            self.plain();
        }
        Ok(())
    }

    /// What is before the next escape or the end of a string.
    fn plain(&mut self) -> &'a [u8] {
        let (plain, rest) = split_plain(self.rest);
        self.rest = rest;
        plain
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Malformed> {
        self.rest = self.rest.strip_prefix(word).ok_or(Malformed)?;
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        self.take(byte).then_some(()).ok_or(Malformed)
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Checks that nothing is left but white space.
    ///
    /// # Errors
    /// If there is.
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Malformed),
        }
    }
}

impl<'a> Read<'a> for u64 {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        *self = json.number()?.parse().map_err(|_| Malformed)?;
        Ok(())
    }
}

/// A number that is not beyond all that an `f64` can hold.
impl<'a> Read<'a> for f64 {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        let number = json.number()?;
        *self = number.parse().map_err(|_| Malformed)?;
        is_finite(number).then_some(()).ok_or(Malformed)
    }
}

/// Whether a JSON number is not beyond all that an `f64` can hold. Decided by magnitude, because
/// parsing a number close to half way between two `f64` takes a hundred times as long. Numbers between
/// [`LARGEST`] and the first that rounds to infinity count as infinite.
fn is_finite(number: &str) -> bool {
    let number = number.strip_prefix('-').unwrap_or(number);
    // Without an exponent, so few digits are never as many.
    if number.len() <= LARGEST_EXPONENT && !number.contains(['e', 'E']) {
        return true;
    }
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let whole = mantissa.split('.').next().unwrap_or_default();
    let digits = || mantissa.bytes().filter(u8::is_ascii_digit);
    let Some(zeros) = digits().position(|digit| digit != b'0') else {
        return true;
    };
    // The power of ten of the first digit that counts.
    let place = i64::try_from(whole.len()).unwrap_or(i64::MAX);
    let zeros_before = i64::try_from(zeros).unwrap_or(i64::MAX);
    let is_negative = exponent.starts_with('-');
    let exponent = exponent.trim_start_matches(['+', '-']);
    // One of more digits outweighs the longest text, unless they are zeros.
    let exponent = match exponent.trim_start_matches('0') {
        "" => 0,
        exponent if exponent.len() > 15 && is_negative => return true,
        exponent if exponent.len() > 15 => return false,
        exponent => exponent.parse::<i64>().unwrap_or(0),
    };
    let exponent = if is_negative { -exponent } else { exponent };
    let magnitude = place - 1 - zeros_before + exponent;
    match magnitude.cmp(&(LARGEST_EXPONENT as i64)) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => {
            let significant = digits().skip(zeros).take(LARGEST.len());
            significant.le(LARGEST.bytes())
        }
    }
}

/// The digits of the largest `f64`, the first ones, and the power of ten of the first.
const LARGEST: &str = "17976931348623157";
const LARGEST_EXPONENT: usize = 308;

impl<'a> Read<'a> for bool {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        *self = json.peek() == Some(b't');
        json.word(if *self { b"true" } else { b"false" })
    }
}

/// Null is `None`.
impl<'a, T: Read<'a> + Default> Read<'a> for Option<T> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        *self = None;
        if json.null()? {
            return Ok(());
        }
        self.insert(T::default()).read(json)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::canonicalize;

    proptest! {
        #[test]
        fn a_number_is_finite_where_its_f64_is(
            mantissa in r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?",
            exponent in -350..350_i32,
        ) {
            let number = format!("{mantissa}e{exponent}");
            let parsed: f64 = number.parse().unwrap();
            prop_assert_eq!(is_finite(&number), parsed.is_finite());
        }
    }

    #[derive(Debug, Default, PartialEq)]
    struct Wanted {
        count: Option<u64>,
        flag: bool,
        inner: Option<Box<Wanted>>,
    }

    impl<'a> Read<'a> for Wanted {
        fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
            let wanted: &mut [(&str, &mut dyn Read<'a>)] = &mut [
                ("count", &mut self.count),
                ("flag", &mut self.flag),
                ("inner", &mut self.inner),
            ];
            json.members(wanted)
        }
    }

    impl<'a> Read<'a> for Box<Wanted> {
        fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
            self.as_mut().read(json)
        }
    }

    fn read(json: &str) -> Result<Wanted, Malformed> {
        let mut wanted = Wanted::default();
        Reader::whole(json.as_bytes(), &mut wanted).map(|()| wanted)
    }

    #[test]
    fn what_is_wanted_is_found_among_the_rest() {
        let json = r#" { "x" : [ 1 , {"count":2,"a":[]} ] , "co\u0075nt":7,"inner" :{"flag":true},"x":"\ud800"} "#;
        assert_eq!(
            read(json),
            Ok(Wanted {
                count: Some(7),
                flag: false,
                inner: Some(Box::new(Wanted {
                    flag: true,
                    ..Wanted::default()
                }))
            })
        );
        for nothing in ["{}", " { } ", "null", r#"{"count":null,"inner":null}"#] {
            assert_eq!(read(nothing), Ok(Wanted::default()), "{nothing}");
        }
    }

    #[test]
    fn another_shape_is_malformed() {
        for json in [
            "",
            "nul",
            "1",
            "\"a\"",
            "[]",
            "[1]",
            "{} {}",
            r#"{"count":1,"count":1}"#,
            r#"{"Count":1}"#,
            r#"{"count":1,"COUNT":1}"#,
            r#"{"count":-1}"#,
            r#"{"count":1.0}"#,
            r#"{"count":"1"}"#,
            r#"{"count":18446744073709551616}"#,
            r#"{"flag":null}"#,
            r#"{"flag":1}"#,
            r#"{"inner":[]}"#,
            r#"{"inner":[1]}"#,
            r#"{"\ud800":1}"#,
        ] {
            assert_eq!(read(json), Err(Malformed), "{json}");
        }
        let not_utf_8 = b"{\"\xff\":1}";
        assert_eq!(
            Reader::whole(not_utf_8, &mut Wanted::default()),
            Err(Malformed)
        );
    }

    #[test]
    fn what_is_skipped_must_be_json() {
        for json in [
            "{}",
            "[]",
            "[[],{}]",
            r#"{"a":{"b":[1,-0.5e+7,true,false,null]},"c":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é"}"#,
            "0",
            " \r\n\t\"\" ",
        ] {
            assert!(Reader::is_json(json.as_bytes()), "{json}");
        }
        for json in [
            "",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{1:1}",
            "01",
            "1.",
            "-",
            "+1",
            ".5",
            "1e",
            "tru",
            "truex",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "1 2",
            "\u{c}1",
            "\u{feff}1",
        ] {
            assert!(!Reader::is_json(json.as_bytes()), "{json}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(Reader::is_json(deep.as_bytes()));
    }

    #[test]
    fn strings_and_numbers_come_as_they_are_meant() {
        for (json, text) in [
            (r#""""#, ""),
            (r#""é""#, "é"),
            (r#""a\u0062\n\/\ud83d\ude00c""#, "ab\n/😀c"),
        ] {
            let mut reader = Reader::new(json.as_bytes());
            assert_eq!(reader.string().as_deref(), Ok(text));
            assert_eq!(canonicalize(json.as_bytes(), &[]).map(|_| ()), Ok(()));
        }
        for json in [&br#""\ud83d""#[..], b"\"\xff\"", br#""\ud83d\u0041""#] {
            assert_eq!(Reader::new(json).string(), Err(Malformed));
            let _valid_where_it_is_skipped = Reader::is_json(json);
        }
        assert_eq!(Reader::new(b" -1.50e3,").number(), Ok("-1.50e3"));
        let long = "9".repeat(308);
        let tiny = format!("0.{}1e400", "0".repeat(1_000));
        let many_zeros = format!("1e{}7", "0".repeat(100));
        let far_below = format!("1e-{}", "9".repeat(100));
        for number in [
            "0",
            "-0.5",
            "1e308",
            "-1.7976931348623157e308",
            "17976931348623157e292",
            "0.00017976931348623157E+312",
            "1.0715086071862674399e+301",
            "1e-999",
            "0e999",
            "0.0e99999999999999999999999999999999999999999",
            &long,
            &tiny,
            &many_zeros,
            &far_below,
        ] {
            assert_eq!(Reader::new(number.as_bytes()).finite(), Ok(()), "{number}");
        }
        let too_long = "9".repeat(310);
        let far_above = format!("1e+{}", "9".repeat(100));
        for number in [
            "1e309",
            "-1E+999",
            "1.8e308",
            "0.0001e313",
            "17977e304",
            "x",
            &too_long,
            &far_above,
        ] {
            let mut float = 0.0;
            let bytes = number.as_bytes();
            assert_eq!(Reader::new(bytes).finite(), Err(Malformed), "{number}");
            assert_eq!(Reader::whole(bytes, &mut float), Err(Malformed), "{number}");
        }
    }
}
