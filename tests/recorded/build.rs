//! Tells the compiler whether the recorded answers are there, so that `cargo test` lists the tests of
//! them as ignored where they are not: see `index.rs`.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(recorded)");
    println!("cargo::rerun-if-env-changed=LLM_CACHE_RECORDED");
    println!("cargo::rerun-if-changed=tests/recorded/build.rs");
    let named = env::var_os("LLM_CACHE_RECORDED").map(PathBuf::from);
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folder = named
        .clone()
        .unwrap_or_else(|| Path::new(&manifest).join("../shared/recorded"));
    if folder.is_dir() {
        println!("cargo::rustc-cfg=recorded");
        println!("cargo::rerun-if-changed={}/INDEX.tsv", folder.display());
    } else if named.is_some() {
        println!(
            "cargo::error=LLM_CACHE_RECORDED: no folder {}",
            folder.display()
        );
    }
}
