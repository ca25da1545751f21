//! Scenarios that make no sense, and what is said about them; and those that are shipped, which do.

use std::path::{Path, PathBuf};

use kvraft::scenario::{Source, read};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension() == Some("toml".as_ref())).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// All that is said about a file.
fn lint(path: &Path) -> String {
    let (name, text) = (name(path), std::fs::read_to_string(path).unwrap());
    let source = Source { name: &name, text: &text };
    match read(source) {
        Ok(_) => String::new(),
        Err(mistakes) => mistakes.iter().map(|it| source.show(it)).collect::<Vec<_>>().join("\n"),
    }
}

/// To take over a change: `UPDATE_GOLDENFILES=1 cargo test --test scenario_lint`.
#[test]
fn each_wrong_file_is_told_what_is_wrong_with_it() {
    let files = files("tests/golden/lint");
    assert!(files.len() > 10, "{files:?}");
    for path in files {
        let said = lint(&path);
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        assert!(!said.is_empty(), "{}: nothing is wrong", name(&path));
        let agreed = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(said, agreed, "{}", name(&path));
    }
}

#[test]
fn what_is_shipped_makes_sense_and_teaches_something() {
    let files = files("ops/scenarios");
    assert!(files.len() >= 15, "{}", files.len());
    let table =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ops/scenarios/README.md"));
    let table = table.unwrap();
    for path in files {
        assert_eq!(lint(&path), "");
        let (name, text) = (name(&path), std::fs::read_to_string(&path).unwrap());
        let scenario = read(Source { name: &name, text: &text }).unwrap();
        assert_eq!(format!("{}.toml", scenario.name), name, "it is named like its file");
        assert!(scenario.teaches.len() > 80 && scenario.teaches.ends_with('.'), "{name}");
        assert!(
            table.contains(&format!("[{0}]({0}.toml)", scenario.name)),
            "{name}: no line of it"
        );
    }
}
