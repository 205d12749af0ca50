//! Links, anchors, and the length of README.md.

use std::fs;

use crate::pages;

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages::all() {
        let text = fs::read_to_string(&page).unwrap();
        let targets = pages::prose(&text).flat_map(|line| line.split("](").skip(1));
        for target in targets.map(|rest| rest.split(')').next().unwrap()) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let said = format!("{}: {target}", page.display());
            assert!(file.exists(), "{said}");
            if !fragment.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let mut headings = pages::prose(&text).filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|heading| anchor(heading) == fragment),
                    "{said}"
                );
            }
        }
    }
}

#[test]
fn every_page_of_docs_is_reached_from_readme() {
    let readme = pages::read("README.md");
    for page in pages::all() {
        let page = page.strip_prefix(pages::root()).unwrap().to_str().unwrap();
        if page.starts_with("docs/") {
            assert!(readme.contains(&format!("]({page}")), "{page}");
        }
    }
}

#[test]
fn readme_is_short() {
    assert!(pages::read("README.md").lines().count() <= 200);
}
