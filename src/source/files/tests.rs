//! Which names are meant.

use super::{is_like, is_unfinished};

#[test]
fn names_are_like_patterns() {
    let cases = [
        ("a.json", "*.json", true),
        ("a.json.gz", "*.json", false),
        ("a.json", "*", true),
        ("", "*", true),
        ("abc", "a?c", true),
        ("ac", "a?c", false),
        ("aXbXb", "a*b", true),
        ("aab", "*a*b*", true),
        ("ba", "*a*b*", false),
        ("ä.csv", "?.csv", true),
        ("a", "", false),
    ];
    for (name, pattern, expected) in cases {
        assert_eq!(is_like(name, pattern), expected, "{name} {pattern}");
    }
    // A pattern of many stars takes no exponential time.
    assert!(!is_like(&"a".repeat(10_000), &"*a".repeat(50).replace("a*a", "a*b")));
}

#[test]
fn unfinished_files_are_known_by_their_names() {
    for name in [".x.json", "_x.json", "x.json.tmp", "x.json.PART", "x.json~"] {
        assert!(is_unfinished(name), "{name}");
    }
    assert!(!is_unfinished("part-0.json"));
}
