//! Imports go down only: between the modules of `src/lib.rs`, which lists them from the top down, and
//! between the files of each. What a module passes on of its children (`pub use`) is the child's.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may fail"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path from the crate's root, such as `["exchange", "lookup"]`.
type Module = Vec<String>;

/// What a file imports, and what it passes on.
#[derive(Default)]
struct Source {
    /// The paths that it names, from the crate's root.
    named: BTreeSet<Module>,
    /// What it passes on of other modules, by the names under which it does.
    passed_on: BTreeMap<String, Module>,
}

/// The code of a file: without comments, literals and its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut code = String::new();
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match (char, rest.peek()) {
            ('/', Some('/')) => {
                for skipped in rest.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
                code.push('\n');
            }
            ('"', _) => {
                while let Some(skipped) = rest.next() {
                    match skipped {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            _ => code.push(char),
        }
    }
    code
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The paths of a `use` tree, with the names that they get.
fn tree_paths(tree: &str, before: &[String], out: &mut Vec<(Module, String)>) {
    let tree = tree.trim();
    if let Some(group) = tree.strip_prefix('{') {
        let group = group.strip_suffix('}').unwrap();
        let (mut depth, mut start) = (0, 0);
        for (at, char) in group.char_indices() {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    tree_paths(&group[start..at], before, out);
                    start = at + 1;
                }
                _ => {}
            }
        }
        tree_paths(&group[start..], before, out);
    } else if let Some((first, rest)) = tree.split_once("::") {
        let before = [before, &[first.trim().to_owned()]].concat();
        tree_paths(rest, &before, out);
    } else if !tree.is_empty() {
        let (name, alias) = tree.split_once(" as ").unwrap_or((tree, tree));
        let path = match name.trim() {
            "self" => before.to_vec(),
            name => [before, &[name.to_owned()]].concat(),
        };
        let alias = match alias.trim() {
            "self" => before.last().cloned().unwrap_or_default(),
            alias => alias.to_owned(),
        };
        out.push((path, alias));
    }
}

/// A path as it is named in a module, from the crate's root; `None` if it leads out of the crate.
fn absolute(path: &[String], module: &[String], children: &BTreeSet<String>) -> Option<Module> {
    let mut base = module.to_vec();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([&base, &path[1..]].concat()),
        "super" => {
            let mut rest = path;
            while rest.first().is_some_and(|first| first == "super") {
                base.pop();
                rest = &rest[1..];
            }
            Some([&base, rest].concat())
        }
        child if children.contains(child) => Some([&base, path].concat()),
        _ => None,
    }
}

fn read(file: &Path, module: &[String]) -> Source {
    let code = code(&fs::read_to_string(file).unwrap());
    let words: Vec<&str> = code.split_whitespace().collect();
    let children: BTreeSet<String> = words
        .windows(2)
        .filter(|pair| pair[0] == "mod")
        .map(|pair| pair[1].trim_end_matches(';').to_owned())
        .collect();
    let mut source = Source::default();
    let mut rest = code.as_str();
    let mut other_code = String::new();
    while let Some(at) = rest.find("use ") {
        let (before, after) = rest.split_at(at);
        let starts_word = before.chars().next_back().is_none_or(|char| !is_word(char));
        let line = before.rsplit('\n').next().unwrap_or_default().trim();
        let is_use = starts_word && (line.is_empty() || line.starts_with("pub"));
        if !is_use {
            other_code.push_str(&rest[..at + 4]);
            rest = &rest[at + 4..];
            continue;
        }
        other_code.push_str(before);
        let (tree, next) = after[4..].split_once(';').unwrap();
        rest = next;
        let mut paths = Vec::new();
        tree_paths(tree, &[], &mut paths);
        for (path, alias) in paths {
            let Some(path) = absolute(&path, module, &children) else {
                continue;
            };
            if line.starts_with("pub") && path.starts_with(module) {
                source.passed_on.insert(alias, path);
            } else {
                source.named.insert(path);
            }
        }
    }
    other_code.push_str(rest);
    // Paths that stand in the midst of code.
    for root in ["crate::", "super::"] {
        for (at, _) in other_code.match_indices(root) {
            let visibility = other_code[..at].ends_with("pub(in ");
            let before = other_code[..at].chars().next_back();
            if visibility || before.is_some_and(|char| is_word(char) || char == ':' || char == '$')
            {
                continue;
            }
            let end = other_code[at..].find(|char| !is_word(char) && char != ':');
            let path = &other_code[at..end.map_or(other_code.len(), |end| at + end)];
            let path: Module = path
                .split("::")
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect();
            source.named.extend(absolute(&path, module, &children));
        }
    }
    source
}

fn is_of_tests(path: &Path) -> bool {
    path.iter().any(|part| {
        part.to_str()
            .is_some_and(|part| part.trim_end_matches(".rs") == "tests")
    })
}

fn sources() -> BTreeMap<Module, Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let relative = path.strip_prefix(&root).unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") && !is_of_tests(relative) {
                let mut module: Module = relative
                    .with_extension("")
                    .iter()
                    .map(|part| part.to_str().unwrap().to_owned())
                    .collect();
                module.pop_if(|last| ["mod", "lib"].contains(&last.as_str()));
                let source = read(&path, &module);
                sources.insert(module, source);
            }
        }
    }
    sources
}

/// The file in which what a path names is written.
fn file_of(path: &[String], sources: &BTreeMap<Module, Source>) -> Option<Module> {
    let length = (0..=path.len())
        .rev()
        .find(|length| sources.contains_key(&path[..*length]))?;
    let (module, item) = path.split_at(length);
    let passed_on = item
        .first()
        .and_then(|name| sources[module].passed_on.get(name));
    match passed_on {
        Some(target) => file_of(&[target, &item[1..]].concat(), sources),
        // The root has no code of its own.
        None => (!module.is_empty()).then(|| module.to_vec()),
    }
}

fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let sources = sources();
    let of = |(module, source): (&Module, &Source)| {
        let files = source
            .named
            .iter()
            .filter_map(|path| file_of(path, &sources));
        let files = files.filter(|file| file != module);
        (module.clone(), files.collect())
    };
    sources.iter().map(of).collect()
}

/// The modules of the crate from the top down, as `src/lib.rs` lists them.
fn layers() -> Vec<String> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let lib = code(&fs::read_to_string(lib).unwrap());
    let mut layers = Vec::new();
    for line in lib.lines() {
        let declaration = line.trim().trim_start_matches("pub ");
        if let Some(name) = declaration.strip_prefix("mod ") {
            let name = name.trim_end_matches(';').to_owned();
            if !layers.contains(&name) {
                layers.push(name);
            }
        }
    }
    layers
}

#[test]
fn modules_import_only_what_is_listed_below_them() {
    let layers = layers();
    let layer = |module: &Module| layers.iter().position(|layer| *layer == module[0]).unwrap();
    let mut upwards = Vec::new();
    let mut downwards = 0;
    for (module, imported) in imports() {
        for other in imported {
            if module.is_empty() || module[0] == other[0] {
                continue;
            }
            if layer(&module) < layer(&other) {
                downwards += 1;
            } else {
                upwards.push(format!(
                    "{} imports {}",
                    module.join("::"),
                    other.join("::")
                ));
            }
        }
    }
    assert!(downwards > 100, "the test reads no imports");
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let imports = imports();
    let reached = |from: &Module| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            let new = imports[module]
                .iter()
                .filter(|other| !reached.contains(*other));
            let new: Vec<_> = new.collect();
            reached.extend(new.iter().copied());
            next.extend(new);
        }
        reached
    };
    let reached: BTreeMap<_, _> = imports.keys().map(|from| (from, reached(from))).collect();
    let mut circles = Vec::new();
    for (module, imported) in &imports {
        let back = imported
            .iter()
            .filter(|other| reached[other].contains(module));
        let back: Vec<_> = back.map(|other| other.join("::")).collect();
        if !back.is_empty() {
            circles.push(format!("{} imports {}", module.join("::"), back.join(", ")));
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}
