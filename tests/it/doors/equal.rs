//! Whether a row says what its document said: every field is in one column, or in `_rest`, with an equal value; and the row
//! has nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A table as it came back.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) columns: Vec<String>,
    /// Oids.
    pub(super) types: Vec<u32>,
    /// Fields with columns of their own, by path.
    pub(super) by_field: BTreeMap<String, usize>,
}

/// What columns say that a document may leave out.
pub(super) const DEFAULTS: &[(&str, &str)] = &[("note", "none")];

impl Table {
    /// What is wrong with the row, if something is.
    pub(super) fn fault(&self, row: &[Option<String>], says: &Map<String, Value>) -> Option<String> {
        let at = |name: &str| self.columns.iter().position(|column| column == name);
        let rest = at("_rest").and_then(|at| row[at].as_deref());
        let mut rest = rest.map_or(Value::Null, |text| serde_json::from_str(text).expect("jsonb is JSON"));
        let mut seen: BTreeSet<usize> = at("_rest").into_iter().collect();
        for (name, value) in says {
            if let Some(fault) = self.find(row, &[name], value, &mut rest, &mut seen) {
                return Some(fault);
            }
        }
        if has_more(&rest) {
            return Some(format!("_rest has {rest} from nowhere"));
        }
        let extra = (0..row.len()).find(|at| {
            let is_default = |text: &String| DEFAULTS.contains(&(self.columns[*at].as_str(), text.as_str()));
            !seen.contains(at) && row[*at].as_ref().is_some_and(|text| !is_default(text))
        });
        extra.map(|at| format!("column {} has {:?} from nowhere", self.columns[at], row[at]))
    }

    /// Looks for a value; takes it out of `rest`, or adds its column to `seen`.
    fn find(
        &self,
        row: &[Option<String>],
        path: &[&str],
        value: &Value,
        rest: &mut Value,
        seen: &mut BTreeSet<usize>,
    ) -> Option<String> {
        if value.is_null() {
            return None;
        }
        let name = path.join("_");
        let names = [name.clone(), name.to_lowercase(), if name.is_empty() { "_".to_owned() } else { name }];
        let by_name = names.iter().filter_map(|name| self.columns.iter().position(|column| column == name));
        let own = self.by_field.get(&path.join(".")).copied();
        for at in own.into_iter().chain(by_name) {
            let is_it = |text: &String| same(value, text, self.types[at]);
            if !seen.contains(&at) && row[at].as_ref().is_some_and(is_it) {
                seen.insert(at);
                return None;
            }
        }
        let (last, objects) = path.split_last().expect("a field has a name");
        let place = objects.iter().try_fold(&mut *rest, |place, name| place.get_mut(*name));
        if let Some(Value::Object(object)) = place
            && object.get(*last).is_some_and(|found| same_json(value, found))
        {
            object.remove(*last);
            return None;
        }
        match value {
            Value::Object(members) if !members.is_empty() => members.iter().find_map(|(name, member)| {
                let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
                self.find(row, &path, member, rest, seen)
            }),
            _ => {
                let columns: Vec<_> = self.columns.iter().zip(row).filter(|(_, value)| value.is_some()).collect();
                Some(format!("{path:?} was {value}, the row has {columns:?}"))
            }
        }
    }
}

/// Something beside NULL in objects.
fn has_more(rest: &Value) -> bool {
    match rest {
        Value::Object(members) => members.values().any(has_more),
        other => !other.is_null(),
    }
}

/// Whether a column's text is the value.
fn same(value: &Value, text: &str, oid: u32) -> bool {
    let written = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match oid {
        16 => {
            matches!((value, text), (Value::Bool(true), "t") | (Value::Bool(false), "f"))
                || truth(&written) == truth(text)
        }
        20 | 21 | 23 | 1700 => is_number(&written) && decimal(&written) == decimal(text),
        700 => written.parse::<f32>().is_ok_and(|number| text.parse() == Ok(number)),
        701 => written.parse::<f64>().is_ok_and(|number| text.parse() == Ok(number)),
        114 | 3802 => serde_json::from_str(text).is_ok_and(|found| same_json(value, &found)),
        1082 => written.get(..10) == Some(text),
        1114 | 1184 => time(&written).is_some_and(|found| time(text) == Some(found)),
        2950 => written.eq_ignore_ascii_case(text),
        1000 | 1005 | 1007 | 1016 | 1021 | 1022 | 1231 | 1009 | 1182 | 1185 | 2951 | 3807 => {
            let (Value::Array(elements), Some(found)) = (value, elements(text)) else { return false };
            let is_same = |(value, found): (&Value, &Option<String>)| match found {
                Some(text) if value.is_array() && text.starts_with('{') => same(value, text, oid),
                Some(text) => same(value, text, element_of(oid)),
                None => value.is_null(),
            };
            elements.len() == found.len() && elements.iter().zip(&found).all(is_same)
        }
        _ => match value {
            Value::String(_) | Value::Bool(_) => written == text,
            Value::Number(_) => written == text || (is_number(text) && decimal(&written) == decimal(text)),
            _ => serde_json::from_str(text).is_ok_and(|found| same_json(value, &found)),
        },
    }
}

fn element_of(array: u32) -> u32 {
    match array {
        1000 => 16,
        1005 => 21,
        1007 => 23,
        1016 => 20,
        1021 => 700,
        1022 => 701,
        1231 => 1700,
        1182 => 1082,
        1185 => 1184,
        2951 => 2950,
        3807 => 3802,
        _ => 25,
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "t" | "true" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn time(text: &str) -> Option<chrono::DateTime<chrono::FixedOffset>> {
    let text = text.replacen(' ', "T", 1);
    let zoned = |text: &str| chrono::DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z").ok();
    zoned(&text).or_else(|| zoned(&format!("{text}+00")))
}

fn is_number(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

/// Sign, digits without zeros around them, and where the point is; zero has none.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let unsigned = text.trim_start_matches(['-', '+']);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return None;
    }
    let point = whole.len() as i64 - (all.len() - digits.len()) as i64 + exponent.parse::<i64>().ok()?;
    Some((text.starts_with('-'), digits.trim_end_matches('0').to_owned(), point))
}

fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => decimal(&a.to_string()) == decimal(&b.to_string()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same_json(a, b)))
        }
        (a, b) => a == b,
    }
}

/// The elements of `{1,"two",NULL}`; those of arrays in it as they are written.
fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut found = vec![];
    let (mut element, mut depth, mut is_quoted, mut was_quoted) = (String::new(), 0, false, false);
    let mut signs = inner.chars();
    if inner.is_empty() {
        return Some(found);
    }
    while let Some(sign) = signs.next() {
        let is_kept = match sign {
            '"' => {
                (is_quoted, was_quoted) = (!is_quoted, true);
                depth > 0
            }
            '\\' => {
                if depth > 0 {
                    element.push(sign);
                }
                element.push(signs.next()?);
                false
            }
            ',' if !is_quoted && depth == 0 => {
                let text = std::mem::take(&mut element);
                found.push((was_quoted || text != "NULL").then_some(text));
                was_quoted = false;
                false
            }
            '{' | '}' if !is_quoted => {
                depth += if sign == '{' { 1 } else { -1 };
                true
            }
            _ => true,
        };
        if is_kept {
            element.push(sign);
        }
    }
    found.push((was_quoted || element != "NULL").then_some(element));
    Some(found)
}
