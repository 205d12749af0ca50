//! `key.tenant` and `key.anonymous`: which callers share answers.

use serde_json::Value;

use super::section::{Section, header_name, one_of};
use super::{Anonymous, Distinction, Tenant};
use crate::attributes::{CertificateField, MetadataPath};

const ANONYMOUS: [(&str, Anonymous); 2] =
    [("bypass", Anonymous::Bypass), ("share", Anonymous::Share)];

const CERTIFICATE_FIELDS: [(&str, CertificateField); 4] = [
    ("sha256", CertificateField::Sha256),
    ("uri_san", CertificateField::UriSan),
    ("dns_san", CertificateField::DnsSan),
    ("subject", CertificateField::Subject),
];

const EXPECTED: &str = "\"credentials\", {header: NAME}, {metadata: [FILTER, MEMBER, ...]} or \
    {certificate: FIELD}";

pub(super) fn tenant(section: &mut Section<'_>, base: &Tenant) -> Tenant {
    let anonymous = section.word("anonymous", &ANONYMOUS);
    let mut tenant = match section.take("tenant") {
        None => base.clone(),
        Some(value) => read(section, value, anonymous_of(base)).unwrap_or_else(|| base.clone()),
    };
    if let Some(anonymous) = anonymous {
        let taken = match &mut tenant {
            Tenant::Shared => None,
            Tenant::Same(distinctions) => {
                distinctions
                    .iter_mut()
                    .find_map(|distinction| match distinction {
                        Distinction::Credentials(taken) => Some(taken),
                        _ => None,
                    })
            }
        };
        match taken {
            Some(taken) => *taken = anonymous,
            None => section.problem(
                "anonymous",
                "has no meaning here: only tenant: credentials tells who is anonymous",
            ),
        }
    }
    tenant
}

/// A rule that sets the tenant keeps the top-level setting for anonymous callers.
fn anonymous_of(tenant: &Tenant) -> Anonymous {
    let mut distinctions = tenant.distinctions().iter();
    let found = distinctions.find_map(|distinction| match distinction {
        Distinction::Credentials(anonymous) => Some(*anonymous),
        _ => None,
    });
    found.unwrap_or(Anonymous::Bypass)
}

fn read(section: &Section<'_>, value: Value, anonymous: Anonymous) -> Option<Tenant> {
    let path = section.path_of("tenant");
    match value {
        Value::String(word) if word == "shared" => Some(Tenant::Shared),
        Value::Array(elements) if elements.is_empty() => {
            section.problem("tenant", "must not be an empty list; shared is everybody");
            None
        }
        Value::Array(elements) => {
            let read = |(index, element)| {
                distinction(section, format!("{path}[{index}]"), element, anonymous)
            };
            // All of them are read, so that all problems are reported.
            let distinctions: Vec<_> = elements.into_iter().enumerate().map(read).collect();
            let distinctions = distinctions.into_iter().collect::<Option<_>>()?;
            Some(Tenant::Same(distinctions))
        }
        value => distinction(section, path, value, anonymous).map(|one| Tenant::Same(vec![one])),
    }
}

fn distinction(
    section: &Section<'_>,
    path: String,
    value: Value,
    anonymous: Anonymous,
) -> Option<Distinction> {
    match value {
        Value::String(word) if word == "credentials" => Some(Distinction::Credentials(anonymous)),
        Value::Object(members) if members.len() == 1 => {
            let problems = section.problems();
            let mut inner = Section::new(path, Value::Object(members), problems);
            let header = inner.take_as("header", "a header name", header_name);
            let metadata = "a list of a filter's name and the members that lead to the value";
            let metadata = inner.take_as("metadata", metadata, metadata_path);
            let certificate = inner.word("certificate", &CERTIFICATE_FIELDS);
            inner.finish();
            header
                .map(Distinction::Header)
                .or(metadata.map(Distinction::Metadata))
                .or(certificate.map(Distinction::Certificate))
        }
        _ => {
            let fields = one_of(&CERTIFICATE_FIELDS);
            let expected = format!(
                "must be {EXPECTED} with FIELD {fields}, or a list of these, or \"shared\""
            );
            section.problems().add(path, expected);
            None
        }
    }
}

fn metadata_path(value: &Value) -> Option<MetadataPath> {
    let names = value.as_array()?.iter().map(|name| {
        let name = name.as_str().filter(|name| !name.is_empty());
        name.map(str::to_owned)
    });
    let mut names: Vec<_> = names.collect::<Option<_>>()?;
    (names.len() >= 2).then(|| MetadataPath {
        filter: names.remove(0),
        members: names,
    })
}
