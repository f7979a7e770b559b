//! The reference in `docs/functions.md` is made of what functions say of themselves.

use std::fmt::Write;
use std::path::Path;

use super::all_info;

fn reference() -> String {
    let mut text = String::from(
        "# Functions\n\nThose that Tidemill has besides DataFusion's own. Made from the code: `TIDEMILL_UPDATE_DOCS=1 cargo test \
         the_reference_is_current` writes this file. The same is in the table `tidemill.functions`.\n",
    );
    for info in all_info() {
        write!(text, "\n## {}\n\n{}\n\n", info.name, info.description).unwrap();
        if !info.aliases.is_empty() {
            writeln!(text, "Also: `{}`\n", info.aliases.join("`, `")).unwrap();
        }
        let kind = if info.kind == "scalar" { String::new() } else { format!(" ({})", info.kind) };
        for signature in &info.signatures {
            writeln!(text, "- `{signature}`{kind}").unwrap();
        }
        writeln!(text, "\n```sql\n{}\n```", info.example).unwrap();
    }
    text
}

#[test]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/functions.md");
    let wanted = reference();
    if std::env::var_os("TIDEMILL_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/functions.md is not current: run this test with TIDEMILL_UPDATE_DOCS=1");
}

#[test]
fn every_function_says_what_it_is_for() {
    for info in all_info() {
        assert!(info.description.ends_with(['.', '?']), "{}: {}", info.name, info.description);
        assert!(!info.signatures.is_empty() && !info.example.is_empty(), "{}", info.name);
    }
}
