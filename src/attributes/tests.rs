use super::*;

/// What Envoy 1.40 has as dynamic metadata behind `jwt_authn` with `payload_in_metadata: pay` and
/// `header_in_metadata: hdr`.
pub(crate) const METADATA: &[u8] =
    b"\n\xdf\x01\n\x1cenvoy.filters.http.jwt_authn\x12\xbe\x01\n%\n\x03hdr\x12\x1e*\x1c\n\
    \x0e\n\x03alg\x12\x07\x1a\x05RS256\n\n\n\x03kid\x12\x03\x1a\x01k\n\x94\x01\n\x03pay\
    \x12\x8c\x01*\x89\x01\n\x0c\n\x03iss\x12\x05\x1a\x03iss\n<\n\x03ctx\x125*3\n\x17\n\x01\
    c\x12\x122\x10\n\t\x11\0\0\0\0\0\0\xf0?\n\x03\x1a\x01x\n\x0e\n\x01b\x12\t\x11\0\0\0\0\
    \0\0\0@\n\x08\n\x01a\x12\x03\x1a\x011\n\x0e\n\x05email\x12\x05\x1a\x03e@x\n\x0e\n\x03s\
    ub\x12\x07\x1a\x05user1\n\x10\n\x03exp\x12\t\x11\0\0\0\0\0\0\xf0?\n\t\n\x03nul\x12\x02\
    \x08\0";

fn path(filter: &str, members: &[&str]) -> MetadataPath {
    MetadataPath {
        filter: filter.to_owned(),
        members: members.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn read(paths: &[MetadataPath]) -> Attributes {
    let told = vec![
        (Attribute::Cluster, b"upstream".to_vec()),
        (Attribute::RouteName, Vec::new()),
        (Attribute::DynamicMetadata, METADATA.to_vec()),
    ];
    Attributes::read(told, paths)
}

#[test]
fn of_a_verified_token_the_issuer_and_the_subject_remain() {
    let claims = r#"{"pay":{"iss":"iss","sub":"user1"}}"#;
    assert_eq!(read(&[]).claims(), &Claims::Verified(claims.to_owned()));
}

/// A message in which the filter has this, which must be short.
fn metadata(told: &[(&str, &[(&str, &str)])]) -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        let mut out = vec![number << 3 | 2];
        if length >= 0x80 {
            out.extend([length, 1]);
        } else {
            out.push(length);
        }
        out.extend_from_slice(bytes);
        out
    }
    fn entry(name: &str, value: &[u8]) -> Vec<u8> {
        field(1, &[field(1, name.as_bytes()), field(2, value)].concat())
    }
    let object = |members: &[(&str, &str)]| -> Vec<u8> {
        let member = |(name, value): &(&str, &str)| entry(name, &field(3, value.as_bytes()));
        members.iter().flat_map(member).collect()
    };
    let told: Vec<u8> = told
        .iter()
        .flat_map(|(name, members)| entry(name, &field(5, &object(members))))
        .collect();
    entry(JWT_FILTER, &told)
}

fn claims(told: &[(&str, &[(&str, &str)])]) -> Option<String> {
    match verified_claims(&metadata(told)) {
        Claims::Absent => None,
        Claims::Verified(claims) => Some(claims),
        Claims::Unreadable => panic!("{told:?}"),
    }
}

#[test]
fn what_cannot_be_read_or_was_rounded_is_not_as_if_there_were_no_claims() {
    for length in 1..METADATA.len() {
        let cut = verified_claims(&METADATA[..length]);
        assert_eq!(cut, Claims::Unreadable, "{length}");
    }
    // The subject out of it, so that the whole payload counts, and a number in that.
    let with_number = |bits: [u8; 8]| {
        let mut metadata = METADATA.to_vec();
        let at = |wanted: &[u8]| {
            let mut windows = METADATA.windows(wanted.len());
            windows.position(|bytes| bytes == wanted).unwrap()
        };
        metadata[at(b"sub") + 2] = b'_';
        let number = at(b"exp\x12\t\x11") + 6;
        metadata[number..number + 8].copy_from_slice(&bits);
        verified_claims(&metadata)
    };
    let exact = with_number(9_007_199_254_740_991_f64.to_le_bytes());
    assert!(matches!(exact, Claims::Verified(_)), "{exact:?}");
    let rounded = with_number(9_007_199_254_740_992_f64.to_le_bytes());
    assert_eq!(rounded, Claims::Unreadable);
}

#[test]
fn a_token_without_issuer_or_subject_counts_as_a_whole() {
    let whole = claims(&[("p", &[("sub", "a"), ("jti", "1")])]);
    assert_eq!(whole.unwrap(), r#"{"p":{"jti":"1","sub":"a"}}"#);
    let whole = claims(&[("p", &[("iss", "a"), ("sub", ""), ("jti", "1")])]);
    assert_eq!(whole.unwrap(), r#"{"p":{"iss":"a","jti":"1","sub":""}}"#);
    let both = claims(&[("q", &[("iss", "b"), ("sub", "b")]), ("p", &[("oid", "1")])]);
    assert_eq!(
        both.unwrap(),
        r#"{"p":{"oid":"1"},"q":{"iss":"b","sub":"b"}}"#
    );
}

#[test]
fn a_token_that_was_refused_and_the_header_of_one_are_no_claims() {
    assert_eq!(claims(&[("fail", &[("message", "Jwt is expired")])]), None);
    assert_eq!(claims(&[("hdr", &[("alg", "RS256"), ("kid", "k")])]), None);
    assert_eq!(claims(&[("hdr", &[("alg", "RS256"), ("iss", "i")])]), None);
    assert_eq!(claims(&[("empty", &[])]), None);
}

#[test]
fn metadata_is_found_at_its_path() {
    let paths = [
        path(JWT_FILTER, &["pay", "email"]),
        path(JWT_FILTER, &["pay", "ctx", "b"]),
        path(JWT_FILTER, &["pay", "ctx"]),
        path(JWT_FILTER, &["pay", "nul"]),
        path(JWT_FILTER, &["pay", "email", "more"]),
        path("other", &["pay"]),
    ];
    let attributes = read(&paths);
    let found = paths.each_ref().map(|path| attributes.metadata(path));
    let context = r#"{"a":"1","b":2,"c":[1,"x"]}"#;
    assert_eq!(
        found,
        [Some("\"e@x\""), Some("2"), Some(context), None, None, None]
    );
}

#[test]
fn what_is_written_tells_one_list_from_another() {
    let write = |told: Vec<(Attribute, &str)>| {
        let told = told.into_iter().map(|(a, v)| (a, v.as_bytes().to_vec()));
        let mut out = Vec::new();
        Attributes::read(told.collect(), &[]).write(&mut out);
        out
    };
    let all = [
        write(vec![]),
        write(vec![(Attribute::Cluster, "a")]),
        write(vec![(Attribute::RouteName, "a")]),
        write(vec![(Attribute::Cluster, "a"), (Attribute::RouteName, "b")]),
        write(vec![(Attribute::Cluster, "ab"), (Attribute::RouteName, "")]),
        write(vec![(
            Attribute::Certificate(CertificateField::Subject),
            "a",
        )]),
    ];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index + 1..] {
            assert!(!one.starts_with(other) && !other.starts_with(one));
        }
    }
    assert_eq!(
        write(vec![(Attribute::RouteName, "")]),
        write(vec![]),
        "what is empty is not there"
    );
}
