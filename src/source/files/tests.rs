//! Which files are not complete.

use super::is_unfinished;

#[test]
fn unfinished_files_are_known_by_their_names() {
    for name in [".x.json", "_x.json", "x.json.tmp", "x.json.PART", "x.json~"] {
        assert!(is_unfinished(name), "{name}");
    }
    assert!(!is_unfinished("part-0.json"));
}
