//! Who asks: what tells one caller from another, so that nobody gets what was answered to somebody
//! else.
//!
//! A filter before this one may have taken a credential away once it was verified, and then nobody can
//! tell an authenticated caller from one who never was. So a caller needs something that stands for
//! them alone, and who has nothing is anonymous.

use std::rc::Rc;

use crate::attributes::{Attribute, Attributes, CertificateField, MetadataPath};
use crate::config::{Anonymous, Distinction, Settings, Tenant};
use crate::http::Headers;

/// Where clients put credentials, and where gateways say whom they have authenticated. Sorted. Another
/// list is another [`FORMAT_VERSION`](super::key::FORMAT_VERSION).
///
/// None of them says which group somebody is in, or what they may do: many have that in common.
const IDENTITY_HEADERS: [&str; 82] = [
    "api-key",
    "apikey",
    "authorization",
    "cf-access-authenticated-user-email",
    "cf-access-client-id",
    "cf-access-client-secret",
    "cf-access-jwt-assertion",
    "cf-access-token",
    "cf-aig-authorization",
    "helicone-auth",
    "helicone-user-id",
    "ocp-apim-subscription-key",
    "private-token",
    "proxy-authorization",
    "remote-email",
    "remote-user",
    "tailscale-user-login",
    "x-access-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-anthropic-api-key",
    "x-api-key",
    "x-api-token",
    "x-apikey",
    "x-auth-email",
    "x-auth-key",
    "x-auth-request-access-token",
    "x-auth-request-email",
    "x-auth-request-preferred-username",
    "x-auth-request-user",
    "x-auth-token",
    "x-auth-user",
    "x-authenticated-user",
    "x-authenticated-userid",
    "x-authentik-email",
    "x-authentik-uid",
    "x-authentik-username",
    "x-consumer-custom-id",
    "x-consumer-id",
    "x-consumer-username",
    "x-credential-identifier",
    "x-credential-username",
    "x-forwarded-access-token",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-forwarded-user",
    "x-functions-key",
    "x-goog-api-key",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    "x-goog-iap-jwt-assertion",
    "x-id-token",
    "x-jwt-assertion",
    "x-jwt-payload",
    "x-litellm-api-key",
    "x-litellm-customer-id",
    "x-litellm-end-user-id",
    "x-mashape-key",
    "x-ms-client-principal",
    "x-ms-client-principal-id",
    "x-ms-client-principal-name",
    "x-ms-token-aad-access-token",
    "x-ms-token-aad-id-token",
    "x-mse-consumer",
    "x-openai-api-key",
    "x-original-authorization",
    "x-pomerium-claim-email",
    "x-pomerium-claim-sub",
    "x-pomerium-jwt-assertion",
    "x-portkey-api-key",
    "x-portkey-virtual-key",
    "x-rapidapi-key",
    "x-rapidapi-user",
    "x-remote-user",
    "x-serverless-authorization",
    "x-token",
    "x-user-email",
    "x-user-id",
    "x-userinfo",
    "x-vault-token",
    "x-webauth-user",
];

/// Where proxies put the certificate of the client of theirs, which may be one more proxy that speaks
/// for many. So they count together with what Envoy has verified, not in its place. Sorted.
const CERTIFICATE_HEADERS: [&str; 12] = [
    "client-cert",
    "ssl-client-cert",
    "x-amzn-mtls-clientcert",
    "x-amzn-mtls-clientcert-leaf",
    "x-arr-clientcert",
    "x-client-cert",
    "x-client-certificate",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-ssl-cert",
    "x-ssl-client-cert",
    "x-ssl-client-s-dn",
];

/// Members of a URL's query in which clients put credentials. The query is in every key as it is.
const QUERY_CREDENTIALS: [&str; 9] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth_token",
    "key",
    "subscription-key",
    "token",
    "x-api-key",
];

/// Members of a URL's query that sign it (AWS, Google).
const QUERY_SIGNATURES: [&str; 2] = ["x-amz-signature", "x-goog-signature"];

/// Schemes of `authorization` that prove each request anew. What they prove cannot be verified here,
/// and the names in them are no secrets.
const SIGNING_SCHEMES: [&str; 12] = [
    "acs3-hmac-sha256",
    "aws",
    "aws4-ecdsa-p256-sha256",
    "aws4-hmac-sha256",
    "digest",
    "hmac",
    "hmac-sha256",
    "negotiate",
    "ntlm",
    "oauth",
    "signature",
    "tc3-hmac-sha256",
];

/// No session's identifier is shorter than this, nor is a key in a query: what is shorter says how
/// somebody likes the page (`theme=dark`), which many have in common.
const MIN_SECRET_BYTES: usize = 16;

/// Why a request has no caller whose answers could be told from those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCaller {
    /// It lacks what tells callers apart.
    NoTenant,
    /// It is signed, and so is unlike any other request.
    SignedRequest,
}

/// What stands for the caller of a request.
#[derive(Debug)]
pub(super) enum Caller<'a> {
    /// Credentials, or what gateways say of whom they have authenticated.
    Identified,
    /// The credential in the query, which stands in the key as it is.
    Query,
    /// What Envoy has verified, or proxies before it.
    Verified {
        claims: Option<&'a str>,
        certificate: Option<&'a [u8]>,
    },
    /// The session of a browser.
    Session,
    /// Nobody knows, and the configuration lets them share.
    Anonymous,
}

/// The attributes that a configuration needs to tell callers and their routes apart.
#[derive(Debug)]
pub struct NeededAttributes {
    /// Of every request.
    always: Rc<[Attribute]>,
    /// Also of those without a header that stands for the caller.
    unidentified: Rc<[Attribute]>,
    /// The places in dynamic metadata that are looked at.
    pub paths: Vec<MetadataPath>,
}

impl NeededAttributes {
    /// What any of these settings may need.
    pub fn new<'a>(settings: impl Iterator<Item = &'a Settings>) -> Self {
        let mut always = vec![Attribute::Cluster, Attribute::RouteName];
        let mut unidentified = Vec::new();
        let mut paths = Vec::new();
        for distinction in settings.flat_map(|settings| settings.key.tenant.distinctions()) {
            match distinction {
                Distinction::Credentials(_) => unidentified.extend([
                    Attribute::DynamicMetadata,
                    Attribute::Certificate(CertificateField::Sha256),
                ]),
                Distinction::Header(_) => {}
                Distinction::Metadata(path) => {
                    always.push(Attribute::DynamicMetadata);
                    paths.push(path.clone());
                }
                Distinction::Certificate(field) => always.push(Attribute::Certificate(*field)),
            }
        }
        let distinct = |attributes: Vec<Attribute>| {
            let mut distinct = Vec::new();
            for attribute in attributes {
                if !distinct.contains(&attribute) {
                    distinct.push(attribute);
                }
            }
            distinct
        };
        let unidentified = [always.as_slice(), &unidentified].concat();
        Self {
            always: distinct(always).into(),
            unidentified: distinct(unidentified).into(),
            paths,
        }
    }

    /// What is needed for a request with these headers.
    pub fn of(&self, headers: &Headers) -> Rc<[Attribute]> {
        Rc::clone(if is_identified(headers) {
            &self.always
        } else {
            &self.unidentified
        })
    }
}

/// The headers that tell tenants apart.
pub(super) fn tenant_headers(tenant: &Tenant) -> impl Iterator<Item = &str> {
    tenant.distinctions().iter().flat_map(|distinction| {
        let (lists, own) = match distinction {
            Distinction::Credentials(_) => {
                let lists = [&IDENTITY_HEADERS[..], &CERTIFICATE_HEADERS, &["cookie"]];
                (lists, None)
            }
            Distinction::Header(name) => ([&[][..]; 3], Some(name.as_str())),
            Distinction::Metadata(_) | Distinction::Certificate(_) => ([&[][..]; 3], None),
        };
        lists.into_iter().flatten().copied().chain(own)
    })
}

/// Whether a request has what a tenant is told by.
///
/// # Errors
/// What it lacks.
pub fn check_caller(
    tenant: &Tenant,
    headers: &Headers,
    attributes: &Attributes,
) -> Result<(), NoCaller> {
    let mut distinctions = tenant.distinctions().iter();
    distinctions.try_for_each(|distinction| match distinction {
        Distinction::Credentials(anonymous) => {
            Caller::find(headers, attributes, *anonymous).map(|_| ())
        }
        Distinction::Header(name) => {
            let is_there = headers.get_all(name).any(|value| !value.is_empty());
            is_there.then_some(()).ok_or(NoCaller::NoTenant)
        }
        Distinction::Metadata(path) => {
            let found = attributes.metadata(path).map(|_| ());
            found.ok_or(NoCaller::NoTenant)
        }
        Distinction::Certificate(field) => {
            let found = attributes.get(Attribute::Certificate(*field));
            found.map(|_| ()).ok_or(NoCaller::NoTenant)
        }
    })
}

impl<'a> Caller<'a> {
    /// Who asks, by their credentials as far as they can be seen here.
    pub(super) fn find(
        headers: &Headers,
        attributes: &'a Attributes,
        anonymous: Anonymous,
    ) -> Result<Self, NoCaller> {
        if is_signed(headers) {
            return Err(NoCaller::SignedRequest);
        }
        if has_identity_header(headers) {
            return Ok(Self::Identified);
        }
        if has_query(headers, &QUERY_CREDENTIALS, MIN_SECRET_BYTES) {
            return Ok(Self::Query);
        }
        let claims = attributes.claims();
        let certificate = attributes.get(Attribute::Certificate(CertificateField::Sha256));
        let is_certified = certificate.is_some() || has_any(headers, is_certificate_header);
        if claims.is_some() || is_certified {
            return Ok(Self::Verified {
                claims,
                certificate,
            });
        }
        if headers.get_all("cookie").any(holds_session) {
            return Ok(Self::Session);
        }
        match anonymous {
            Anonymous::Share => Ok(Self::Anonymous),
            Anonymous::Bypass => Err(NoCaller::NoTenant),
        }
    }

    /// Which headers are its own: all of these together.
    pub(super) fn owns(&self, name: &[u8]) -> bool {
        match self {
            Self::Identified => is_identity_header(name) || is_certificate_header(name),
            // The certificate alone may be that of a proxy, which speaks for many sessions.
            Self::Verified { claims: None, .. } => is_certificate_header(name) || name == b"cookie",
            Self::Verified { .. } => is_certificate_header(name),
            Self::Session => name == b"cookie",
            Self::Query | Self::Anonymous => false,
        }
    }
}

/// Whether a request's headers say who asks, so that nothing else needs to be known.
fn is_identified(headers: &Headers) -> bool {
    has_identity_header(headers) || has_query(headers, &QUERY_CREDENTIALS, MIN_SECRET_BYTES)
}

fn has_identity_header(headers: &Headers) -> bool {
    has_any(headers, is_identity_header)
}

/// Whether one of these headers says something: an empty one does not, nor does a scheme alone.
fn has_any(headers: &Headers, is_wanted: fn(&[u8]) -> bool) -> bool {
    let is_scheme = |value: &[u8]| {
        let schemes: [&[u8]; 3] = [b"basic", b"bearer", b"token"];
        schemes
            .iter()
            .any(|scheme| value.eq_ignore_ascii_case(scheme))
    };
    headers.iter().any(|(name, value)| {
        let value = value.trim_ascii();
        is_wanted(name) && !value.is_empty() && !is_scheme(value)
    })
}

fn is_identity_header(name: &[u8]) -> bool {
    is_in(&IDENTITY_HEADERS, name)
}

fn is_certificate_header(name: &[u8]) -> bool {
    is_in(&CERTIFICATE_HEADERS, name)
}

fn is_in(sorted: &[&str], name: &[u8]) -> bool {
    let found = sorted.binary_search_by(|known| known.as_bytes().cmp(name));
    found.is_ok()
}

/// Whether a request is signed, so that it is unlike any other.
fn is_signed(headers: &Headers) -> bool {
    let signs = |value: &[u8]| {
        let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
        SIGNING_SCHEMES
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(scheme))
    };
    let mut fields = headers.iter();
    let by_header = fields.any(|(name, value)| match name {
        b"authorization" => signs(value),
        // RFC 9421.
        b"signature-input" => true,
        _ => false,
    });
    by_header || has_query(headers, &QUERY_SIGNATURES, 1)
}

/// Whether one of these members of the query has a value of so many bytes.
fn has_query(headers: &Headers, names: &[&str], min_bytes: usize) -> bool {
    let path = headers.get(":path").unwrap_or_default();
    let Some(at) = memchr::memchr(b'?', path) else {
        return false;
    };
    let query = path.get(at..).and_then(|query| query.get(1..));
    let mut members = query.unwrap_or_default().split(|byte| *byte == b'&');
    members.any(|member| {
        let mut parts = member.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        let has_value = parts.next().is_some_and(|value| value.len() >= min_bytes);
        has_value
            && names
                .iter()
                .any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    })
}

/// Whether one of the cookies in a header may be a session's.
fn holds_session(cookies: &[u8]) -> bool {
    cookies.split(|byte| *byte == b';').any(|cookie| {
        let value = cookie.splitn(2, |byte| *byte == b'=').nth(1);
        value.is_some_and(|value| value.trim_ascii().len() >= MIN_SECRET_BYTES)
    })
}

#[cfg(test)]
mod tests;
