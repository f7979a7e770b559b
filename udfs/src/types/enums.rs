//! Enums: types whose values are labels, in the order in which they were declared.
//!
//! Values are their labels; what depends on the order asks for [`EnumType::ordinal`]. The type carries its labels with it,
//! in the metadata of fields too, so that nothing below needs the catalog.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use super::ValueError;

/// How the stored spelling of an enum begins. No name of a type in SQL has a parenthesis before its end.
const PREFIX: &str = "enum(";

/// An enum. Equal to every other version of the same type, whatever its labels are called meanwhile.
#[derive(Debug, Clone)]
pub struct EnumType {
    /// pg_type.oid
    pub oid: u32,
    /// pg_type.oid of its array.
    pub array_oid: u32,
    /// pg_type.typname
    pub name: String,
    /// Its labels in their order.
    pub labels: Vec<String>,
}

impl PartialEq for EnumType {
    fn eq(&self, other: &Self) -> bool {
        self.oid == other.oid
    }
}

impl Eq for EnumType {}

impl Hash for EnumType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.oid.hash(state);
    }
}

impl EnumType {
    /// The place of a label in the order, from 0; `None` if it is none.
    pub fn ordinal(&self, label: &str) -> Option<usize> {
        self.labels.iter().position(|known| known == label)
    }

    /// The places of all labels.
    pub fn ordinals(&self) -> HashMap<&str, i32> {
        (0..).zip(&self.labels).map(|(place, label)| (label.as_str(), place)).collect()
    }

    /// The text if it is a label.
    ///
    /// # Errors
    /// 22P02 for others.
    pub fn label<'a>(&self, text: &'a str) -> Result<&'a str, ValueError> {
        match self.ordinal(text) {
            Some(_) => Ok(text),
            None => {
                Err(ValueError::new("22P02", format!("invalid input value for enum {}: \"{text}\"", quoted_name(self))))
            }
        }
    }

    /// How metadata and definitions of columns spell the type: `enum(16400,16401,"mood",'sad','ok')`.
    pub(super) fn stored(&self) -> String {
        let labels: String = self.labels.iter().map(|label| format!(",'{}'", label.replace('\'', "''"))).collect();
        format!("{PREFIX}{},{},\"{}\"{labels})", self.oid, self.array_oid, self.name.replace('"', "\"\""))
    }

    /// The type of a stored spelling, and what follows it; `None` if it is no enum's.
    pub(super) fn of_stored(text: &str) -> Option<(Self, &str)> {
        let rest = text.strip_prefix(PREFIX)?;
        let (oid, rest) = rest.split_once(',')?;
        let (array_oid, rest) = rest.split_once(',')?;
        let (name, mut rest) = delimited(rest, '"')?;
        let mut labels = vec![];
        while let Some(after) = rest.strip_prefix(',') {
            let (label, after) = delimited(after, '\'')?;
            labels.push(label);
            rest = after;
        }
        let rest = rest.strip_prefix(')')?;
        Some((Self { oid: oid.parse().ok()?, array_oid: array_oid.parse().ok()?, name, labels }, rest))
    }
}

fn quoted_name(of: &EnumType) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if of.name.chars().all(is_plain) && !of.name.starts_with(|c: char| c.is_ascii_digit()) {
        of.name.clone()
    } else {
        format!("\"{}\"", of.name.replace('"', "\"\""))
    }
}

impl std::fmt::Display for EnumType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&quoted_name(self))
    }
}

/// A text between two signs, doubled ones in it undone, and what follows.
fn delimited(text: &str, sign: char) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix(sign)?;
    let mut found = String::new();
    loop {
        let end = rest.find(sign)?;
        found.push_str(&rest[..end]);
        rest = &rest[end + sign.len_utf8()..];
        match rest.strip_prefix(sign) {
            Some(after) => {
                found.push(sign);
                rest = after;
            }
            None => return Some((found, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::SqlType;
    use super::*;

    #[test]
    fn stored_and_back() {
        for (name, labels) in [("mood", vec!["sad", "ok"]), ("a\"b", vec!["it's", "a,b", "", "'"]), ("e", vec![])] {
            let labels = labels.into_iter().map(str::to_owned).collect();
            let made = EnumType { oid: 16400, array_oid: 16401, name: name.to_owned(), labels };
            let sql_type = SqlType::Array(Arc::new(SqlType::Enum(Arc::new(made.clone()))));
            let SqlType::Array(item) = SqlType::of_stored(&sql_type.stored()).unwrap() else { panic!("no array") };
            let SqlType::Enum(read) = item.as_ref() else { panic!("no enum") };
            assert_eq!((read.oid, read.array_oid, &read.name, &read.labels), (16400, 16401, &made.name, &made.labels));
            assert_eq!(SqlType::of_field(&sql_type.field("x", true)), sql_type);
        }
        // Nobody spells one in SQL.
        assert!(SqlType::parse("enum(1,2,\"m\",'a')").is_err());
        for broken in
            ["enum(", "enum(1,2", "enum(1,2,\"m\"", "enum(1,2,\"m\",'a", "enum(x,2,\"m\")", "enum(1,2,\"m\")x"]
        {
            assert!(SqlType::of_stored(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn labels() {
        let of = EnumType { oid: 1, array_oid: 2, name: "Mood".into(), labels: vec!["sad".into(), "ok".into()] };
        assert_eq!((of.ordinal("sad"), of.ordinal("ok"), of.ordinal("Sad")), (Some(0), Some(1), None));
        let error = of.label("x").unwrap_err();
        assert_eq!((error.code, &*error.message), ("22P02", "invalid input value for enum \"Mood\": \"x\""));
    }
}
