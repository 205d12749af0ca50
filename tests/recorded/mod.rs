//! The recorded provider answers: test data under other people's licences, which is read from
//! where it lies and is no part of this repository. `LLM_CACHE_RECORDED` names the folder, which
//! must then be there; `../shared/recorded` is taken without being asked for.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The folder, or `None` with a printed word where it is absent.
pub fn folder() -> Option<PathBuf> {
    let named = env::var_os("LLM_CACHE_RECORDED").map(PathBuf::from);
    if let Some(named) = &named {
        assert!(
            named.is_dir(),
            "LLM_CACHE_RECORDED: no folder {}",
            named.display()
        );
    }
    let folder =
        named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recorded"));
    if folder.is_dir() {
        Some(folder)
    } else {
        println!("skipped: no folder {}", folder.display());
        None
    }
}

/// The text of a file in the folder, or `None` where the folder is absent.
pub fn read(path: &str) -> Option<Vec<u8>> {
    let file = folder()?.join(path);
    Some(fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}
