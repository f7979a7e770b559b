//! Names with wildcards to files: `*` and `?` within a name, `[a-z]` and `[!a-z]` for one character, `**` for any folders.
//!
//! A name that begins with a point is matched only by a pattern that does. Links to folders are not followed by `**`: they
//! could lead back.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::{file_error, shown};
use crate::error::SqlState;
use crate::{Error, Result};

/// Files of one statement: what their names take stays some tens of megabytes.
const FILES_MAX: usize = 100_000;

/// The files a name stands for, in the order of their names; at least one. A name that is there as it is written stands for
/// itself. Folders are left out, unless named without wildcards. Blocking.
///
/// # Errors
/// 58P01 if there is none, 42501 and the like for a folder that cannot be read, 54000 for too many.
pub(crate) fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    if !has_wildcard(pattern.as_bytes()) || Path::new(pattern).symlink_metadata().is_ok() {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    let start = if pattern.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() };
    let parts: Vec<&[u8]> = pattern.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    let mut found = vec![];
    walk(&start, &parts, &mut found)?;
    if found.is_empty() {
        return Err(Error::new(SqlState::UNDEFINED_FILE, format!("no file matches \"{pattern}\"")));
    }
    found.sort_unstable();
    // `a/**/**/b` finds a file on several ways.
    found.dedup();
    Ok(found)
}

/// True if a name stands for others.
pub(crate) fn has_wildcard(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

fn walk(folder: &Path, parts: &[&[u8]], found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if *part == b"**" {
        if rest.is_empty() {
            return walk(folder, &[b"**", b"*"], found);
        }
        walk(folder, rest, found)?;
        for (name, path) in entries(folder)? {
            if !name.starts_with(b".") && path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                walk(&path, parts, found)?;
            }
        }
        return Ok(());
    }
    if !has_wildcard(part) {
        return arrive(folder.join(OsStr::from_bytes(part)), rest, found);
    }
    for (name, path) in entries(folder)? {
        let is_hidden = name.starts_with(b".") && !part.starts_with(b".");
        if !is_hidden && matches(part, &name) {
            arrive(path, rest, found)?;
        }
    }
    Ok(())
}

/// A path that matches so far.
fn arrive(path: PathBuf, rest: &[&[u8]], found: &mut Vec<PathBuf>) -> Result<()> {
    if !rest.is_empty() {
        return if path.is_dir() { walk(&path, rest, found) } else { Ok(()) };
    }
    // A link that leads nowhere is found, so that reading it says so.
    if path.symlink_metadata().is_err() || path.is_dir() {
        return Ok(());
    }
    if found.len() == FILES_MAX {
        let message = format!("the name stands for more than {FILES_MAX} files");
        return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    found.push(path);
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<(Vec<u8>, PathBuf)>> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let failed = |error: std::io::Error| file_error(&shown(here), "reading", &error);
    let entries = match std::fs::read_dir(here) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(failed(error)),
    };
    entries
        .map(|entry| {
            let name = entry.map_err(failed)?.file_name();
            let path = folder.join(&name);
            Ok((name.into_vec(), path))
        })
        .collect()
}

/// Whether a name fits a pattern without slashes. Bytes, except that `?` and `[…]` take a whole character.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on if what is behind the last star does not fit: the star takes one byte more.
    let mut star = None;
    while n < name.len() {
        let next = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(b'?') => Some((p + 1, n + width(name, n))),
            Some(b'[') => match class(pattern, p, &name[n..n + width(name, n)]) {
                Some((end, true)) => Some((end, n + width(name, n))),
                Some((_, false)) => None,
                // A bracket that is not closed is itself.
                None => (name[n] == b'[').then_some((p + 1, n + 1)),
            },
            Some(byte) if *byte == name[n] => Some((p + 1, n + 1)),
            _ => None,
        };
        match (next, star) {
            (Some(next), _) => (p, n) = next,
            (None, Some((after, taken))) => {
                star = Some((after, taken + 1));
                (p, n) = (after, taken + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Bytes of the character at `at`; one where it is not UTF-8.
fn width(name: &[u8], at: usize) -> usize {
    let length = match name[at] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    match name.get(at..at + length) {
        Some(bytes) if std::str::from_utf8(bytes).is_ok() => length,
        _ => 1,
    }
}

/// A class `[…]` that begins at `start`: where it ends, and whether the character is in it. `None` if it does not end.
fn class(pattern: &[u8], start: usize, character: &[u8]) -> Option<(usize, bool)> {
    let mut at = start + 1;
    let is_negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(is_negated);
    let first = at;
    let mut is_in = false;
    loop {
        // A closing bracket that comes first is a member.
        if pattern.get(at)? == &b']' && at > first {
            return Some((at + 1, is_in != is_negated));
        }
        let low = &pattern[at..at + width(pattern, at)];
        at += low.len();
        let mut high = low;
        if pattern.get(at) == Some(&b'-') && pattern.get(at + 1).is_some_and(|byte| *byte != b']') {
            high = &pattern[at + 1..at + 1 + width(pattern, at + 1)];
            at += 1 + high.len();
        }
        // UTF-8's bytes have the order of its characters.
        is_in |= low <= character && character <= high;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        let cases = [
            ("*.json", "a.json", true),
            ("*.json", "a.json.gz", false),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "é", true),
            ("??", "é", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[ä-ü]", "ö", true),
            ("[", "[", true),
            ("a[", "ab", false),
            ("[a-]", "-", true),
            ("*\u{fffd}", "a", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        // Names need not be UTF-8.
        assert!(matches(b"a?b*", b"a\xffb\xfe"));
    }

    #[test]
    fn files_are_found_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for name in ["b.json", "a.json", "c.txt", ".hidden.json", "x[1].json", "d/e/f.json"] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "{}").expect("written");
        }
        std::fs::create_dir(root.join("dir.json")).expect("made");
        let found = |pattern: &str| -> Vec<String> {
            let paths = expand(&format!("{}/{pattern}", root.display())).expect("files");
            paths.iter().map(|path| path.strip_prefix(root).expect("below").display().to_string()).collect()
        };
        assert_eq!(found("*.json"), ["a.json", "b.json", "x[1].json"]);
        assert_eq!(found("x[1].json"), ["x[1].json"], "a name that is there stands for itself");
        assert_eq!(found("**/*.json"), ["a.json", "b.json", "d/e/f.json", "x[1].json"]);
        assert_eq!(found("*/e/*"), ["d/e/f.json"]);
        assert_eq!(found(".*.json"), [".hidden.json"]);
        let missing = expand(&format!("{}/*.csv", root.display())).expect_err("no file");
        assert_eq!(missing.code(), &SqlState::UNDEFINED_FILE);
    }
}
