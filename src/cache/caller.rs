//! Tells one caller from another, so that a caller never gets an answer that was stored for another
//! one.
//!
//! An earlier filter may have removed a credential after it verified it. Then an authenticated request
//! looks like an anonymous one. So a request counts as anonymous unless something in it identifies one
//! caller. A secret is enough, because no other caller can send it. A name is not: a client may choose
//! it.

use crate::attributes::{Attribute, Attributes, CertificateField, Claims, MetadataPath};
use crate::config::{Anonymous, Distinction, Settings, Tenant};
use crate::http::Headers;

/// Headers in which clients send credentials, and gateways the tokens of authenticated callers. Their
/// values are secrets. Sorted. A change of the list changes
/// [`FORMAT_VERSION`](super::key::FORMAT_VERSION).
const CREDENTIAL_HEADERS: [&str; 39] = [
    "api-key",
    "apikey",
    "authorization",
    "cf-access-client-secret",
    "cf-access-jwt-assertion",
    "cf-access-token",
    "cf-aig-authorization",
    "helicone-auth",
    "ocp-apim-subscription-key",
    "private-token",
    "proxy-authorization",
    "x-access-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-anthropic-api-key",
    "x-api-key",
    "x-api-token",
    "x-apikey",
    "x-auth-key",
    "x-auth-request-access-token",
    "x-auth-token",
    "x-forwarded-access-token",
    "x-functions-key",
    "x-goog-api-key",
    "x-goog-iap-jwt-assertion",
    "x-id-token",
    "x-jwt-assertion",
    "x-litellm-api-key",
    "x-mashape-key",
    "x-ms-token-aad-access-token",
    "x-ms-token-aad-id-token",
    "x-openai-api-key",
    "x-original-authorization",
    "x-pomerium-jwt-assertion",
    "x-portkey-api-key",
    "x-rapidapi-key",
    "x-serverless-authorization",
    "x-token",
    "x-vault-token",
];

/// Headers in which gateways name the callers that they have authenticated. A name is no secret, and a
/// client may send any name if no gateway removes it. So a name counts together with what Envoy has
/// verified, not instead of it. Sorted.
///
/// Headers that name groups or roles are not among them: many callers have those in common.
const NAME_HEADERS: [&str; 43] = [
    "cf-access-authenticated-user-email",
    "cf-access-client-id",
    "helicone-user-id",
    "remote-email",
    "remote-user",
    "tailscale-user-login",
    "x-amzn-oidc-identity",
    "x-auth-email",
    "x-auth-request-email",
    "x-auth-request-preferred-username",
    "x-auth-request-user",
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
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-forwarded-user",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    "x-jwt-payload",
    "x-litellm-customer-id",
    "x-litellm-end-user-id",
    "x-ms-client-principal",
    "x-ms-client-principal-id",
    "x-ms-client-principal-name",
    "x-mse-consumer",
    "x-pomerium-claim-email",
    "x-pomerium-claim-sub",
    "x-portkey-virtual-key",
    "x-rapidapi-user",
    "x-remote-user",
    "x-user-email",
    "x-user-id",
    "x-userinfo",
    "x-webauth-user",
];

/// Headers in which proxies send the certificate of their client, which may be another proxy with many
/// clients. So they count together with what Envoy has verified, not instead of it. Sorted.
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
const SIGNING_SCHEMES: [&str; 19] = [
    "acs3-hmac-sha256",
    "aws",
    "aws4-ecdsa-p256-sha256",
    "aws4-hmac-sha256",
    "bce-auth-v1",
    "digest",
    "goog4-hmac-sha256",
    "goog4-rsa-sha256",
    "hawk",
    "hmac",
    "hmac-sha256",
    "negotiate",
    "ntlm",
    "oauth",
    "sdk-hmac-sha256",
    "sharedkey",
    "sharedkeylite",
    "signature",
    "tc3-hmac-sha256",
];

/// By RFC 9421, the header that tells what is signed.
const SIGNATURE_HEADER: &str = "signature-input";

/// Words in the names of cookies that hold sessions. Others say what somebody likes or agreed to
/// (`theme`, `consent`), which many callers have in common.
const SESSION_WORDS: [&str; 12] = [
    "auth", "aspnet", "iap", "identity", "jwt", "login", "logged", "pomerium", "sess", "sid",
    "token", "uid",
];

/// No secret is shorter: what is shorter may be a placeholder (`EMPTY`) or a setting.
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
    /// A secret in its headers, with whatever else they say: the likeliest, as a header.
    Credentials((&'a [u8], &'a [u8])),
    /// The credential in the query, which stands in the key as it is.
    Query,
    /// What its headers say that is no secret, and what Envoy has verified besides.
    Named {
        claims: Option<&'a str>,
        certificate: Option<&'a [u8]>,
    },
    /// What Envoy has verified, or proxies before it.
    Verified {
        claims: Option<&'a str>,
        certificate: Option<&'a [u8]>,
    },
    /// The session of a browser.
    Session,
    /// The caller is unknown, and the configuration lets such requests share.
    Anonymous,
}

/// The attributes that a configuration needs to tell callers apart.
#[derive(Debug)]
pub struct NeededAttributes {
    /// Of the caller of every request.
    always: Box<[Attribute]>,
    /// Of those without a secret that stands for the caller.
    without_secret: Box<[Attribute]>,
    /// The places in dynamic metadata that are looked at.
    pub paths: Vec<MetadataPath>,
}

impl NeededAttributes {
    /// What any of these settings may need.
    pub fn new<'a>(settings: impl Iterator<Item = &'a Settings>) -> Self {
        let mut always = Vec::new();
        let mut verified = Vec::new();
        let mut paths = Vec::new();
        for distinction in settings.flat_map(|settings| settings.key.tenant.distinctions()) {
            match distinction {
                Distinction::Credentials(_) => verified.extend([
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
        let without_secret = [always.as_slice(), &verified].concat();
        Self {
            always: distinct(always).into(),
            without_secret: distinct(without_secret).into(),
            paths,
        }
    }

    /// What is needed to tell the caller of a request with these headers.
    pub fn of_caller(&self, headers: &Headers) -> &[Attribute] {
        let has_secret = secrets(headers).next().is_some();
        if has_secret || has_query_secret(headers) {
            &self.always
        } else {
            &self.without_secret
        }
    }
}

/// The headers that tell tenants apart.
pub(super) fn tenant_headers(tenant: &Tenant) -> impl Iterator<Item = &str> {
    tenant.distinctions().iter().flat_map(|distinction| {
        let (lists, own) = match distinction {
            Distinction::Credentials(_) => {
                let lists = [
                    &CREDENTIAL_HEADERS[..],
                    &NAME_HEADERS,
                    &CERTIFICATE_HEADERS,
                    &["cookie", SIGNATURE_HEADER],
                ];
                (lists, None)
            }
            Distinction::Header(name) => ([&[][..]; 4], Some(name.as_str())),
            Distinction::Metadata(_) | Distinction::Certificate(_) => ([&[][..]; 4], None),
        };
        lists.into_iter().flatten().copied().chain(own)
    })
}

impl<'a> Caller<'a> {
    /// The caller, by the credentials that the filter can see.
    pub(super) fn find(
        headers: &'a Headers,
        attributes: &'a Attributes,
        anonymous: Anonymous,
    ) -> Result<Self, NoCaller> {
        if is_signed(headers) {
            return Err(NoCaller::SignedRequest);
        }
        if let Some(secret) = secret(headers) {
            return Ok(Self::Credentials(secret));
        }
        if has_query_secret(headers) {
            return Ok(Self::Query);
        }
        let claims = match attributes.claims() {
            Claims::Absent => None,
            Claims::Verified(claims) => Some(claims.as_str()),
            Claims::Unreadable => return Err(NoCaller::NoTenant),
        };
        let certificate = attributes.get(Attribute::Certificate(CertificateField::Sha256));
        if has_any(headers, is_identity_header) {
            return Ok(Self::Named {
                claims,
                certificate,
            });
        }
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
            Self::Credentials(_) | Self::Named { .. } => {
                is_identity_header(name) || is_certificate_header(name)
            }
            // The certificate alone may be that of a proxy, which speaks for many sessions.
            Self::Verified { claims: None, .. } => is_certificate_header(name) || name == b"cookie",
            Self::Verified { .. } => is_certificate_header(name),
            Self::Session => name == b"cookie",
            Self::Query | Self::Anonymous => false,
        }
    }
}

/// The header with a secret of the caller's, of several the likeliest: what a worker has for all its
/// callers is shared out by it, and a client may send others beside it to pass for many.
fn secret(headers: &Headers) -> Option<(&[u8], &[u8])> {
    let rank = |name: &[u8]| {
        let mut likeliest = LIKELIEST.iter();
        likeliest.position(|known| known.as_bytes() == name)
    };
    secrets(headers).min_by_key(|(name, _)| rank(name).unwrap_or(LIKELIEST.len()))
}

const LIKELIEST: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

fn secrets(headers: &Headers) -> impl Iterator<Item = (&[u8], &[u8])> {
    let is_credential = |name: &[u8]| is_in(&CREDENTIAL_HEADERS, name);
    headers
        .iter()
        .filter(move |(name, value)| is_credential(name) && is_secret(credential(value)))
}

fn has_query_secret(headers: &Headers) -> bool {
    query_secrets(headers).next().is_some()
}

/// The secrets in the query.
pub(super) fn query_secrets(headers: &Headers) -> impl Iterator<Item = &[u8]> {
    let values = query_values(headers, &QUERY_CREDENTIALS);
    values.filter(|value| is_secret(value))
}

/// A credential without its scheme.
fn credential(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let scheme = value.iter().position(|byte| *byte == b' ');
    let credential = scheme.and_then(|end| value.get(end..));
    credential.unwrap_or(value).trim_ascii()
}

/// Whether a value may be a secret: long, and with a digit, unlike the placeholders of local servers
/// (`sk-no-key-required`).
fn is_secret(value: &[u8]) -> bool {
    value.len() >= MIN_SECRET_BYTES && value.iter().any(u8::is_ascii_digit)
}

/// Whether one of these headers has a value that is not empty, nor a scheme alone.
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
    is_in(&CREDENTIAL_HEADERS, name) || is_in(&NAME_HEADERS, name)
}

fn is_certificate_header(name: &[u8]) -> bool {
    is_in(&CERTIFICATE_HEADERS, name)
}

fn is_in(sorted: &[&str], name: &[u8]) -> bool {
    // Every request has pseudo-headers, and no list does.
    !name.starts_with(b":")
        && sorted
            .binary_search_by(|known| known.as_bytes().cmp(name))
            .is_ok()
}

/// Whether a request is signed, and so differs from every other request.
fn is_signed(headers: &Headers) -> bool {
    let signs = |value: &[u8]| {
        // Baidu's has a slash behind it.
        let mut words = value.split(|byte| matches!(byte, b' ' | b'/'));
        let scheme = words.next().unwrap_or_default();
        SIGNING_SCHEMES
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(scheme))
    };
    let mut fields = headers.iter();
    let by_header = fields.any(|(name, value)| match name {
        b"authorization" => signs(value),
        name => name == SIGNATURE_HEADER.as_bytes(),
    });
    by_header || query_values(headers, &QUERY_SIGNATURES).any(|value| !value.is_empty())
}

/// The values of these members of the query.
fn query_values<'h>(
    headers: &'h Headers,
    names: &'static [&str],
) -> impl Iterator<Item = &'h [u8]> {
    let path = headers.get(":path").unwrap_or_default();
    let mut parts = path.splitn(2, |byte| *byte == b'?');
    let query = parts.nth(1).unwrap_or_default();
    query.split(|byte| *byte == b'&').filter_map(|member| {
        let mut parts = member.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        let mut known = names.iter().map(|known| known.as_bytes());
        let is_wanted = known.any(|known| known.eq_ignore_ascii_case(name));
        parts.next().filter(|_| is_wanted)
    })
}

/// Whether one of the cookies in a header is a session's.
fn holds_session(cookies: &[u8]) -> bool {
    cookies.split(|byte| *byte == b';').any(|cookie| {
        let mut parts = cookie.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let has_word = |word: &&str| memchr::memmem::find(&name, word.as_bytes()).is_some();
        SESSION_WORDS.iter().any(has_word)
            && parts
                .next()
                .is_some_and(|value| is_secret(value.trim_ascii()))
    })
}

#[cfg(test)]
mod tests;
