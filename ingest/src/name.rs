//! Names of fields as names of columns.

/// A name as PostgreSQL folds it when it is not quoted: ASCII letters to lower case.
pub(crate) fn folded(field: &str) -> String {
    field.to_ascii_lowercase()
}

/// Names that no column can have.
const RESERVED: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Names to try for a field's column, the best one first. `exact`: the field as it is spelled, if its folded name is taken
/// by another field.
pub(crate) fn candidates(folded: &str, exact: Option<&str>) -> impl Iterator<Item = String> {
    // PostgreSQL has no empty names.
    let usable = |name: &str| if name.is_empty() { "_".to_owned() } else { name.to_owned() };
    let first = usable(exact.unwrap_or(folded));
    let stem = usable(folded);
    std::iter::once(first)
        .chain((1..=TRIES).map(move |n| format!("{stem}_{n}")))
        .filter(|name| !RESERVED.contains(&name.as_str()))
}

/// Numbers behind a name that are tried before the field goes to `_rest`.
const TRIES: usize = 20;
