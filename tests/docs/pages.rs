//! The pages, their headings, tables and code spans.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the package.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page: at the root, and in docs/.
pub(crate) fn all() -> Vec<PathBuf> {
    let of = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut pages: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .collect();
        pages.sort();
        pages
    };
    [of(root()), of(&root().join("docs"))].concat()
}

pub(crate) fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The lines of a page outside of code blocks.
pub(crate) fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

#[derive(Debug)]
pub(crate) struct Table {
    /// The heading above it.
    pub(crate) heading: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The tables of a page, in order.
pub(crate) fn tables(page: &str) -> Vec<Table> {
    let text = read(page);
    let mut tables: Vec<Table> = Vec::new();
    let mut heading = String::new();
    let mut in_table = false;
    for line in prose(&text) {
        if let Some(title) = line.strip_prefix('#') {
            title
                .trim_start_matches('#')
                .trim()
                .clone_into(&mut heading);
        }
        let cells = line
            .strip_prefix('|')
            .and_then(|line| line.strip_suffix('|'));
        let Some(cells) = cells else {
            in_table = false;
            continue;
        };
        let cells: Vec<_> = cells
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect();
        if !in_table {
            let (heading, rows) = (heading.clone(), Vec::new());
            tables.push(Table {
                heading,
                head: cells,
                rows,
            });
        } else if !cells[0].starts_with("--") {
            let table = tables.last_mut().unwrap();
            assert_eq!(cells.len(), table.head.len(), "{page}: {line}");
            table.rows.push(cells);
        }
        in_table = true;
    }
    tables
}

/// The tables of a page whose first column has this head.
pub(crate) fn tables_of(page: &str, first: &str) -> Vec<Table> {
    let tables = tables(page).into_iter();
    let found: Vec<_> = tables.filter(|table| table.head[0] == first).collect();
    assert!(!found.is_empty(), "{page} has no table of {first:?}");
    found
}

/// The code spans of a text.
pub(crate) fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The code spans of the first column, over some tables.
pub(crate) fn first_column(tables: &[Table]) -> Vec<String> {
    let rows = tables.iter().flat_map(|table| &table.rows);
    rows.flat_map(|row| spans(&row[0]).map(str::to_owned))
        .collect()
}

/// Fails with what stands on one side alone.
pub(crate) fn assert_same(what: &str, documented: Vec<String>, known: Vec<String>) {
    let (documented, known) = (sorted(documented, what), sorted(known, what));
    let lacks = |of: &[String], other: &[String]| -> Vec<String> {
        of.iter()
            .filter(|word| !other.contains(word))
            .cloned()
            .collect()
    };
    let (unknown, missing) = (lacks(&documented, &known), lacks(&known, &documented));
    assert!(
        unknown.is_empty() && missing.is_empty(),
        "{what}: the code does not know {unknown:?}; the documentation lacks {missing:?}"
    );
}

fn sorted(mut words: Vec<String>, what: &str) -> Vec<String> {
    words.sort();
    let count = words.len();
    words.dedup();
    assert_eq!(words.len(), count, "{what}: something stands twice");
    words
}
