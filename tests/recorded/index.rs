//! The recorded provider answers: test data under other people's licences, which is read from
//! where it lies and is no part of this repository. `LLM_CACHE_RECORDED` names the folder, which
//! must then be there; `../shared/recorded` is taken without being asked for. Without the folder the
//! tests of them are ignored (`build.rs`). What stands beside it in a folder of the same name with
//! `-dialects` behind it is read as well; no path is in both.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A line of `INDEX.tsv`, which says how each answer came and what it is.
pub(crate) struct Recorded {
    pub(crate) path: String,
    /// What stands before the file in the path: a provider and an API of it, or `derived`.
    pub(crate) folder: String,
    /// Whether it came as a stream, by what was asked for.
    pub(crate) is_stream: bool,
    /// `complete`, with what it ended by unless that is a plain end, or what else became of it.
    pub(crate) status: String,
    pub(crate) http_status: String,
    /// Empty where it was not recorded.
    pub(crate) content_type: String,
}

impl Recorded {
    pub(crate) fn body(&self) -> Vec<u8> {
        read(&self.path)
    }

    /// What stands behind the folder in the path.
    pub(crate) fn file(&self) -> &str {
        self.path.split_once('/').unwrap().1
    }

    pub(crate) fn extension(&self) -> &str {
        self.path.rsplit('.').next().unwrap()
    }
}

/// All that was recorded.
pub(crate) fn recorded() -> impl Iterator<Item = Recorded> {
    by_folder().into_iter().flatten()
}

/// What each of the folders has.
pub(crate) fn by_folder() -> Vec<Vec<Recorded>> {
    let index = |folder: PathBuf| {
        let index = fs::read_to_string(folder.join("INDEX.tsv")).unwrap();
        index.lines().skip(1).map(line).collect()
    };
    folders().into_iter().map(index).collect()
}

fn line(line: &str) -> Recorded {
    let columns: Vec<_> = line.split('\t').collect();
    Recorded {
        path: columns[0].to_owned(),
        folder: columns[1].to_owned(),
        is_stream: columns[2] == "stream",
        status: columns[3].to_owned(),
        http_status: columns[6].to_owned(),
        content_type: columns[7].to_owned(),
    }
}

/// The folders that are there.
fn folders() -> Vec<PathBuf> {
    let named = env::var_os("LLM_CACHE_RECORDED").map(PathBuf::from);
    let folder =
        named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recorded"));
    assert!(folder.is_dir(), "no folder {}", folder.display());
    let mut dialects = folder.clone().into_os_string();
    dialects.push("-dialects");
    let dialects = PathBuf::from(dialects);
    let dialects = Some(dialects).filter(|folder| folder.is_dir());
    [folder].into_iter().chain(dialects).collect()
}

/// The bytes of a file in one of the folders.
pub(crate) fn read(path: &str) -> Vec<u8> {
    let folders = folders();
    let file = folders
        .iter()
        .map(|folder| folder.join(path))
        .find(|file| file.is_file());
    let file = file.unwrap_or_else(|| panic!("{path}: in none of {folders:?}"));
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
