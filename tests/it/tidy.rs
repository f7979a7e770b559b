//! Rules of the source tree that no lint holds. Each is a few lines; the message says what to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every Rust file of ours, relative, with its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "catalog/src", "ingest/src", "operators/src", "udfs/src", "tests", "benches"] {
        find(&root.join(dir), &mut files);
    }
    assert!(files.len() > 40, "the source tree is not where this test looks");
    files.sort();
    let relative = |path: &Path| path.strip_prefix(root).expect("below the root").display().to_string();
    files.iter().map(|path| (relative(path), std::fs::read_to_string(path).expect("UTF-8"))).collect()
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "these files do not begin with a module doc (//!): {silent:?}");
}

#[test]
fn long_files_say_why() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        let doc: String = text.lines().take_while(|line| line.starts_with("//!")).collect::<String>().to_lowercase();
        let excused = doc.contains("lines") || doc.contains("long");
        assert!(
            lines <= 1000 || excused,
            "{path} has {lines} lines: split it, or say in its module doc why it is long"
        );
    }
}

#[test]
fn one_version_of_the_engine() {
    let lock = read("Cargo.lock");
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let value =
            |key: &str| package.lines().find_map(|line| line.strip_prefix(key)).map(|text| text.trim_matches('"'));
        let (name, version) = (value("name = ").expect("a name"), value("version = ").expect("a version"));
        versions.entry(name).or_default().push(version);
    }
    for name in [
        "arrow",
        "arrow-array",
        "arrow-schema",
        "datafusion",
        "datafusion-common",
        "parquet",
        "object_store",
        "sqlparser",
    ] {
        let found = versions.get(name).map_or(0, Vec::len);
        assert_eq!(found, 1, "Cargo.lock must have exactly one {name}: {:?}", versions.get(name));
    }
}

#[test]
fn functions_do_not_depend_on_the_engine() {
    let manifest = read("udfs/Cargo.toml");
    let named: Vec<_> =
        manifest.lines().filter(|line| line.starts_with("datafusion ") || line.starts_with("datafusion.")).collect();
    assert!(named.is_empty(), "udfs depends on datafusion-expr and datafusion-common only, not {named:?}");
    assert!(!manifest.contains("tidemill-catalog"), "udfs stands alone");
}

/// SQLSTATEs are spelled as constants of `SqlState`; literals only where functions (which know no server) raise them or
/// rules raise them on the functions' behalf (`ValueError`), and in tests.
#[test]
fn sqlstates_are_constants() {
    for (path, text) in sources() {
        let allowed =
            path == "src/error.rs" || path.starts_with("udfs/") || path.starts_with("tests/") || is_test(&path);
        if allowed {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            if line.contains("ValueError") {
                continue;
            }
            let found = line.split('"').skip(1).step_by(2).find(|literal| is_sqlstate(literal));
            assert!(found.is_none(), "{path}:{}: the SQLSTATE {found:?} belongs in src/error.rs", number + 1);
        }
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

/// Like `42P01`: five of 0-9A-Z, beginning as a class does, not a plain number or word.
fn is_sqlstate(text: &str) -> bool {
    let classes =
        ["22", "23", "25", "26", "28", "2B", "34", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "XX"];
    text.len() == 5
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        && classes.contains(&&text[..2])
        && !text.bytes().all(|byte| byte.is_ascii_uppercase())
        && !(text.bytes().all(|byte| byte.is_ascii_digit())
            && !text.ends_with("00")
            && !text[2..].starts_with('0')
            && !text[2..].starts_with("50"))
}

#[test]
fn sqlstates_are_recognised() {
    for (text, expected) in [
        ("42P01", true),
        ("22P02", true),
        ("57014", true),
        ("40001", true),
        ("HELLO", false),
        ("65536", false),
        ("utf-8", false),
    ] {
        assert_eq!(is_sqlstate(text), expected, "{text}");
    }
}
