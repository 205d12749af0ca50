//! What the host knows of a request besides its headers: those of Envoy's attributes that take part in
//! keys.

use serde_json::{Map, Value};

use crate::protobuf::{Unreadable, decode_filter_metadata};

/// Envoy's filter that verifies tokens, and puts what they say into dynamic metadata if its providers
/// have `payload_in_metadata`, as those of Istio and Envoy Gateway do.
const JWT_FILTER: &str = "envoy.filters.http.jwt_authn";

/// Something that the host can tell of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The name of the cluster that the route leads to.
    Cluster,
    /// The name of the route, if it has one.
    RouteName,
    /// What filters before this one found out, an `envoy.config.core.v3.Metadata`.
    DynamicMetadata,
    /// Of the client's certificate.
    Certificate(CertificateField),
}

/// What of a client's certificate tells one client from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateField {
    /// The SHA-256 digest of the whole certificate.
    Sha256,
    /// The first URI among its alternative names, such as a SPIFFE ID.
    UriSan,
    /// The first DNS name among its alternative names.
    DnsSan,
    /// Its subject.
    Subject,
}

/// A path into Envoy's dynamic metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataPath {
    /// The name of the filter that sets it.
    pub filter: String,
    /// The names of the members that lead to the value, at least one.
    pub members: Vec<String>,
}

impl Attribute {
    /// What tells one route from another.
    pub const OF_ROUTE: [Self; 2] = [Self::Cluster, Self::RouteName];

    fn is_of_route(self) -> bool {
        Self::OF_ROUTE.contains(&self)
    }

    /// Its path among Envoy's attributes, the parts separated by NUL.
    pub fn path(self) -> &'static [u8] {
        match self {
            Self::Cluster => b"xds\0cluster_name",
            Self::RouteName => b"xds\0route_name",
            // As one message: asked for a part of it, Envoy gives no value that has a list or a null
            // in it, and others without their types.
            Self::DynamicMetadata => b"metadata",
            Self::Certificate(field) => match field {
                CertificateField::Sha256 => b"connection\0sha256_peer_certificate_digest",
                CertificateField::UriSan => b"connection\0uri_san_peer_certificate",
                CertificateField::DnsSan => b"connection\0dns_san_peer_certificate",
                CertificateField::Subject => b"connection\0subject_peer_certificate",
            },
        }
    }
}

/// What tokens say of the caller that Envoy has verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Claims {
    /// Nothing.
    #[default]
    Absent,
    /// As JSON, the issuer and the subject by the provider's name, or else the whole payload.
    Verified(String),
    /// Something that cannot be read, or whose numbers Envoy has rounded, so that it cannot tell callers
    /// apart.
    Unreadable,
}

/// What is known of a request besides its headers. What is absent or empty is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    values: Vec<(Attribute, Vec<u8>)>,
    claims: Claims,
    metadata: Vec<(MetadataPath, String)>,
}

impl Attributes {
    /// What the host tells. Of dynamic metadata, which may be large, there remain the verified claims
    /// and what is at these paths.
    pub fn read(mut values: Vec<(Attribute, Vec<u8>)>, paths: &[MetadataPath]) -> Self {
        let (mut claims, mut metadata) = (Claims::Absent, Vec::new());
        values.retain(|(attribute, value)| {
            let is_metadata = *attribute == Attribute::DynamicMetadata;
            if is_metadata {
                claims = verified_claims(value);
                let found = paths
                    .iter()
                    .filter_map(|path| Some((path.clone(), value_at(value, path)?)));
                metadata = found.collect();
            }
            !is_metadata && !value.is_empty()
        });
        Self {
            values,
            claims,
            metadata,
        }
    }

    /// The same with what the host tells of the route, in place of what it told before.
    pub fn with_route(mut self, mut route: Vec<(Attribute, Vec<u8>)>) -> Self {
        route.retain(|(attribute, value)| attribute.is_of_route() && !value.is_empty());
        self.values
            .retain(|(attribute, _)| !attribute.is_of_route());
        // Most requests have no others: then nothing is copied.
        route.append(&mut self.values);
        self.values = route;
        self
    }

    /// The value of an attribute other than dynamic metadata.
    pub fn get(&self, attribute: Attribute) -> Option<&[u8]> {
        let mut values = self.values.iter();
        let (_, value) = values.find(|(known, _)| *known == attribute)?;
        Some(value)
    }

    /// What tokens say of the caller that Envoy has verified.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What dynamic metadata has at a path, as JSON; nothing if it is null or empty.
    pub fn metadata(&self, path: &MetadataPath) -> Option<&str> {
        let mut found = self.metadata.iter();
        let (_, value) = found.find(|(known, _)| known == path)?;
        Some(value)
    }

    /// Those of the route alone.
    pub fn of_route(&self) -> Self {
        let values = self.values.iter();
        let of_route = values.filter(|(attribute, _)| attribute.is_of_route());
        Self {
            values: of_route.cloned().collect(),
            ..Self::default()
        }
    }

    /// About how much memory they take, in bytes.
    pub fn held_bytes(&self) -> usize {
        let value = |(_, value): &(Attribute, Vec<u8>)| value.capacity();
        let found = |(path, found): &(MetadataPath, String)| {
            let names = path.members.iter().chain([&path.filter]);
            names.map(String::capacity).sum::<usize>() + found.capacity()
        };
        let lists = self.values.capacity() * size_of::<(Attribute, Vec<u8>)>()
            + self.metadata.capacity() * size_of::<(MetadataPath, String)>();
        lists
            + self.values.iter().map(value).sum::<usize>()
            + self.metadata.iter().map(found).sum::<usize>()
            + match &self.claims {
                Claims::Verified(claims) => claims.capacity(),
                Claims::Absent | Claims::Unreadable => 0,
            }
    }

    /// Appends all that is known to `out`, in a form that is unambiguous and prefix-free.
    pub fn write(&self, out: &mut Vec<u8>) {
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX).to_le_bytes();
        let mut part = |part: &[u8]| {
            out.extend_from_slice(&number(part.len()));
            out.extend_from_slice(part);
        };
        for (attribute, value) in &self.values {
            part(attribute.path());
            part(value);
        }
        part(b"");
        part(match &self.claims {
            Claims::Absent => b"",
            Claims::Verified(claims) => claims.as_bytes(),
            // No JSON is this.
            Claims::Unreadable => b"?",
        });
        for (path, value) in &self.metadata {
            part(path.filter.as_bytes());
            path.members.iter().for_each(|name| part(name.as_bytes()));
            part(b"");
            part(value.as_bytes());
        }
        part(b"");
    }
}

/// The claims of the tokens that Envoy has verified, by the names under which its providers keep them.
/// Of a payload with an issuer and a subject these two, so that a renewed token is the same caller's;
/// else all of it.
fn verified_claims(metadata: &[u8]) -> Claims {
    let payloads = match decode_filter_metadata(metadata, JWT_FILTER) {
        Ok(Some(Value::Object(payloads))) => payloads,
        Ok(_) => return Claims::Absent,
        Err(Unreadable) => return Claims::Unreadable,
    };
    let mut claims = Map::new();
    for (name, payload) in payloads {
        let Value::Object(payload) = payload else {
            continue;
        };
        if !is_payload(&payload) {
            continue;
        }
        let caller = ["iss", "sub"].map(|claim| {
            let value = payload.get(claim)?.as_str().filter(|text| !text.is_empty());
            value.map(|text| (claim.to_owned(), text.into()))
        });
        let caller = match caller {
            [Some(issuer), Some(subject)] => Map::from_iter([issuer, subject]),
            _ => payload,
        };
        claims.insert(name, Value::Object(caller));
    }
    let claims = Value::Object(claims);
    match &claims {
        Value::Object(members) if members.is_empty() => Claims::Absent,
        // The members of a map are sorted: the same claims are the same text.
        exact if is_exact(exact) => Claims::Verified(claims.to_string()),
        _ => Claims::Unreadable,
    }
}

/// Whether all numbers are what was said. Envoy keeps them as doubles, so that several of those from
/// 2^53 on are one: the identifiers of several users.
fn is_exact(value: &Value) -> bool {
    const ROUNDED: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() < ROUNDED),
        Value::Array(elements) => elements.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// Under names that its configuration chooses, the filter keeps the payloads of tokens, but their
/// headers too (`header_in_metadata`), and why it refused one (`failed_status_in_metadata`). Many
/// callers have those in common.
fn is_payload(object: &Map<String, Value>) -> bool {
    let is_header = object.contains_key("alg") && !object.contains_key("sub");
    let is_status = object
        .keys()
        .all(|name| name == "code" || name == "message");
    !is_header && !is_status
}

fn value_at(metadata: &[u8], path: &MetadataPath) -> Option<String> {
    let mut value = decode_filter_metadata(metadata, &path.filter).ok()??;
    for name in &path.members {
        value = value.get_mut(name)?.take();
    }
    let says_something = match &value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
    };
    (says_something && is_exact(&value)).then(|| value.to_string())
}

#[cfg(test)]
pub(crate) mod tests;
