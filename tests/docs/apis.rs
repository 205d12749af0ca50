//! The APIs, their paths and what they attribute requests by, in docs/apis-and-conversion.md and
//! docs/configuration.md.

use envoy_llm_cache::llm::Api;

use crate::pages::{self, assert_same, spans};

fn names() -> Vec<String> {
    Api::all().map(|api| api.name().to_owned()).collect()
}

#[test]
fn every_api_is_documented_with_its_paths() {
    let tables = pages::tables_of("docs/apis-and-conversion.md", "api");
    assert_same("APIs", pages::first_column(&tables), names());
    for row in &tables[0].rows {
        let api = Api::from_name(spans(&row[0]).next().unwrap());
        for end in spans(&row[1]) {
            let end = end.replace("...", "m");
            let path = match end.strip_prefix(':') {
                Some(_) => format!("/v1beta/models/m{end}"),
                None => end,
            };
            assert_eq!(Api::from_path(path.as_bytes()), api, "{path}");
        }
    }
}

#[test]
fn every_api_says_what_attribution_leaves_out() {
    let tables = pages::tables_of("docs/configuration.md", "attribution of");
    for row in &tables[0].rows {
        let named: Vec<_> = spans(&row[1]).collect();
        for api in spans(&row[0]) {
            for edit in Api::from_name(api).unwrap().attribution() {
                let at = edit.at.as_str();
                let is_named = at.split('/').any(|name| named.contains(&name));
                // Bedrock's invoke takes what Anthropic's API takes.
                let is_by_name = named.contains(&"anthropic_messages");
                assert!(is_named || is_by_name, "{api}: {at}");
            }
        }
    }
    let documented = pages::first_column(&tables);
    let known = names().into_iter().filter(|api| {
        let api = Api::from_name(api).unwrap();
        !api.attribution().is_empty()
    });
    assert_same("attribution", documented, known.collect());
}
