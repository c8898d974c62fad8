//! The rules of the house: who may import whom. Reads the sources, so it needs nothing to run.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room, and the rooms (and outside crates under watch) that it may name. A room may always name itself.
const RULES: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["app", "config", "demo", "log", "operator", "probe", "volume"]),
    ("app", &["*"]),
    ("operator", &["controller", "backend", "volume", "error"]),
    ("demo", &["client", "proto", "error", "volume", "host", "nix"]),
    ("probe", &["error"]),
    ("client", &["proto", "error", "tonic", "hyper_util"]),
    (
        "config",
        &[
            "document",
            "volume",
            "error",
            "backend::cinder",
            "backend::file",
            "backend::storpool",
            "node",
            "registrar",
        ],
    ),
    ("document", &["volume"]),
    (
        "csi",
        &[
            "controller",
            "node",
            "volume",
            "error",
            "metrics",
            "flight",
            "proto",
            "backend",
            "host",
            "tonic",
            "prost_types",
        ],
    ),
    ("controller", &["backend", "volume", "error", "flight", "failpoint"]),
    ("node", &["backend", "host", "volume", "error", "flight", "metrics", "failpoint"]),
    ("backend", &["volume", "error", "metrics"]),
    ("backend::late", &["backend", "volume", "error"]),
    ("backend::cinder", &["backend", "volume", "error", "flight", "http", "metrics", "document", "host"]),
    ("backend::file", &["backend", "volume", "error", "flight", "failpoint", "host"]),
    ("backend::storpool", &["backend", "volume", "error", "flight", "http", "metrics", "host"]),
    ("http", &["error", "metrics", "reqwest", "rustls", "rustls_native_certs"]),
    ("host", &["backend", "volume", "error", "flight", "failpoint", "nix"]),
    ("registrar", &["server", "metrics", "error", "proto", "tonic"]),
    ("server", &["metrics", "error", "tonic", "nix", "axum", "hyper_util"]),
    (
        "kube",
        &[
            "controller",
            "operator",
            "backend",
            "config",
            "http",
            "volume",
            "error",
            "k8s_openapi",
            "hyper_util",
        ],
    ),
    ("log", &["config", "error"]),
    ("proto", &["tonic", "prost", "prost_types"]),
    ("flight", &["error"]),
    ("metrics", &[]),
    ("failpoint", &["nix"]),
    ("volume", &["error"]),
    ("error", &[]),
];

/// Crates that only some rooms may name.
const WATCHED: &[&str] = &[
    "tonic",
    "prost",
    "prost_types",
    "nix",
    "axum",
    "kube",
    "k8s_openapi",
    "reqwest",
    "rustls",
    "rustls_native_certs",
    "hyper_util",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn room(path: &Path) -> String {
    let parts: Vec<_> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match parts.as_slice() {
        [first, second, ..] if first == "backend" && is_back_end(second) => format!("backend::{second}"),
        [first, ..] => first.clone(),
        [] => unreachable!("a source file has a name"),
    }
}

/// A folder for a kind of cloud, as against the trait's own helpers.
fn is_back_end(name: &str) -> bool {
    !matches!(name, "facts" | "metered" | "orders" | "paging" | "registry" | "tests" | "turns")
}

/// What a source names: `x` for `crate::x`, `backend::x` for a back end's room, and watched crates.
fn named(text: &str) -> BTreeSet<String> {
    let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join(" ");
    let mut names = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let mut paths = Vec::new();
        open_paths(&code[at + start.len()..], "", &mut paths);
        for path in paths {
            let mut parts = path.split("::");
            let first = parts.next().unwrap_or_default().to_owned();
            let second =
                parts.next().filter(|name| name.starts_with(char::is_lowercase) && is_back_end(name));
            names.insert(match second {
                Some(second) if first == "backend" => format!("backend::{second}"),
                _ => first,
            });
        }
    }
    for krate in WATCHED {
        let word = format!("{krate}::");
        let mut uses = code.match_indices(&word).map(|(at, _)| &code[..at]);
        if uses.any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')) {
            names.insert((*krate).to_owned());
        }
    }
    names
}

/// Opens `a::{b, c::{d, e}}` into `a::b`, `a::c::d` and `a::c::e`; returns what follows the path.
fn open_paths<'a>(mut text: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    text = text.trim_start();
    if let Some(mut inside) = text.strip_prefix('{') {
        loop {
            inside = open_paths(inside, prefix, paths).trim_start();
            match inside.strip_prefix(',') {
                Some(rest) => inside = rest,
                None => return inside.strip_prefix('}').unwrap_or(inside),
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let path = format!("{prefix}{}", &text[..end]);
    match text[end..].strip_prefix("::") {
        Some(rest) => open_paths(rest, &format!("{path}::"), paths),
        None => {
            if !path.is_empty() && !path.ends_with(':') {
                paths.push(path);
            }
            let rest = &text[end..];
            // `a as b`: the new name is no path of its own.
            rest.trim_start()
                .strip_prefix("as ")
                .map_or(rest, |renamed| renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'))
        }
    }
}

fn allowed(room: &str, name: &str) -> bool {
    let Some((_, may)) = RULES.iter().find(|(known, _)| *known == room) else { return false };
    // The vocabulary's own helpers, and macros and items of the room itself.
    name == room
        || room.strip_prefix("backend::").is_some_and(|_| name == "backend")
        || may.iter().any(|allowed| *allowed == "*" || *allowed == name)
}

#[test]
fn nobody_imports_what_the_house_forbids() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut faults = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap();
        let room = room(path);
        if room == "lib" {
            continue;
        }
        if !RULES.iter().any(|(known, _)| *known == room) {
            faults.push(format!("{}: the room {room} has no rule in tests/house.rs", path.display()));
            continue;
        }
        // Unit tests may build what they need.
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        if path.ends_with("tests.rs")
            || path.to_string_lossy().contains("/tests/")
            || path.ends_with("fake.rs")
        {
            continue;
        }
        for name in named(code) {
            if !allowed(&room, &name) {
                faults.push(format!("{}: {room} must not name {name}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_reader_sees_every_form_of_an_import() {
    let text = "use crate::{backend::{Backend, file::X as Z}, node,};\nfn f() { crate::host::sync(); nix::unistd::sync(); } // tonic::x";
    let names: Vec<_> = named(text).into_iter().collect();
    assert_eq!(names, ["backend", "backend::file", "host", "nix", "node"], "a comment is no import");
    assert!(
        !allowed("backend::file", "tonic")
            && !allowed("controller", "backend::file")
            && allowed("app", "nix")
    );
}

#[test]
fn no_mod_rs() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(!files.iter().any(|file| file.ends_with("mod.rs")));
}
