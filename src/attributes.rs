//! What the host knows of a request besides its headers: Envoy's attributes, as far as they decide
//! about a key.

use serde_json::{Map, Value};

use crate::protobuf::decode_filter_metadata;

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

/// A place in Envoy's dynamic metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataPath {
    /// The name of the filter that sets it.
    pub filter: String,
    /// The names of the members that lead to the value, at least one.
    pub members: Vec<String>,
}

impl Attribute {
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

/// What is known of a request besides its headers. What is absent or empty is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    values: Vec<(Attribute, Vec<u8>)>,
    claims: Option<String>,
    metadata: Vec<(MetadataPath, String)>,
}

impl Attributes {
    /// What the host tells. Of dynamic metadata, which may be large, there remain the verified claims
    /// and what is at these paths.
    pub fn read(told: Vec<(Attribute, Vec<u8>)>, paths: &[MetadataPath]) -> Self {
        let (mut claims, mut metadata) = (None, Vec::new());
        let mut values = told;
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

    /// The value of an attribute other than dynamic metadata.
    pub fn get(&self, attribute: Attribute) -> Option<&[u8]> {
        let mut values = self.values.iter();
        let (_, value) = values.find(|(known, _)| *known == attribute)?;
        Some(value)
    }

    /// What tokens say of the caller that Envoy has verified, as JSON: see [`verified_claims`].
    pub fn claims(&self) -> Option<&str> {
        self.claims.as_deref()
    }

    /// What dynamic metadata has at a path, as JSON; nothing if it is null or empty.
    pub fn metadata(&self, path: &MetadataPath) -> Option<&str> {
        let mut found = self.metadata.iter();
        let (_, value) = found.find(|(known, _)| known == path)?;
        Some(value)
    }

    /// Those of the route alone.
    pub fn of_route(&self) -> Self {
        let of_route = |(attribute, _): &&(Attribute, Vec<u8>)| {
            matches!(attribute, Attribute::Cluster | Attribute::RouteName)
        };
        Self {
            values: self.values.iter().filter(of_route).cloned().collect(),
            ..Self::default()
        }
    }

    /// How much memory they take, in bytes, about.
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
            + self.claims.as_ref().map_or(0, String::capacity)
    }

    /// Appends all that is known to `out`. No two of them append the same bytes, nor does one append
    /// what begins with what another does.
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
        part(self.claims.as_deref().unwrap_or_default().as_bytes());
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
fn verified_claims(metadata: &[u8]) -> Option<String> {
    let Value::Object(told) = decode_filter_metadata(metadata, JWT_FILTER)? else {
        return None;
    };
    let mut claims = Map::new();
    for (name, payload) in told {
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
    // The members of a map are sorted: the same claims are the same text.
    (!claims.is_empty()).then(|| Value::Object(claims).to_string())
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
    let mut value = decode_filter_metadata(metadata, &path.filter)?;
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
    says_something.then(|| value.to_string())
}

#[cfg(test)]
pub(crate) mod tests;
