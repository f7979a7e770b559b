//! INSERT … VALUES statements that differ only in their constants: the text with its constants taken out is the key of a
//! prepared statement, so that a client which sends one row at a time as text is not planned anew each time.
//!
//! Taken out are integers (their type is their size's, as PostgreSQL has it), and strings and decimals that are a whole value
//! of a row: the column decides their type, as it does for a literal. Everything else stays in the key. A text that this
//! does not understand completely has no shape, and goes the ordinary way.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_udfs::types::SqlType;

use super::{Parameter, PlanKind, Portal, Prepared, Session};
use crate::statement::parse;

/// Constants of a statement; one with more is planned as it is.
const CONSTANTS_MAX: usize = 256;
/// Longest text looked at, bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Shapes a session remembers.
const SHAPES_MAX: usize = 64;

/// What is known of a shape.
#[derive(Debug, Clone)]
enum Known {
    /// Seen once.
    Seen,
    /// Its constants cannot be taken out.
    Unfit,
    Prepared(Arc<Prepared>),
}

/// The shapes of one session.
#[derive(Debug, Default)]
pub(super) struct Shapes(HashMap<String, Known>);

/// A constant taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Int4,
    Int8,
    /// A decimal that is a whole value: good for a column of floating-point or numeric type.
    Decimal,
    Text,
}

/// A statement's text without its constants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    /// `$1`, `$2`, … where they were.
    text: String,
    constants: Vec<(Class, String)>,
}

impl Session {
    /// The text as a bound statement: if it is an INSERT of a shape seen before, and its constants are values of the columns.
    pub fn recall(&mut self, sql: &str) -> Option<Portal> {
        let shape = Shape::of(sql)?;
        let key = shape.key();
        let prepared = match self.shapes.0.get(&key) {
            Some(Known::Prepared(prepared)) => Arc::clone(prepared),
            Some(Known::Unfit) => return None,
            Some(Known::Seen) => {
                let known = self.prepare_shape(&shape).map_or(Known::Unfit, Known::Prepared);
                self.shapes.0.insert(key, known.clone());
                match known {
                    Known::Prepared(prepared) => prepared,
                    _ => return None,
                }
            }
            None => {
                if self.shapes.0.len() >= SHAPES_MAX {
                    self.shapes.0.clear();
                }
                self.shapes.0.insert(key, Known::Seen);
                return None;
            }
        };
        let parameters: Vec<_> = shape.constants.into_iter().map(|(_, text)| Parameter::Text(text.into())).collect();
        self.bind_inner(&prepared, &parameters, vec![]).ok()
    }

    fn prepare_shape(&mut self, shape: &Shape) -> Option<Arc<Prepared>> {
        let parsed = parse::parse(&shape.text).ok()?.pop()?;
        let types: Vec<SqlType> = shape.constants.iter().map(|(class, _)| class.declared()).collect();
        let prepared = self.parse_inner(Some(parsed), &types, false).ok()?;
        let fits = prepared.parameters.len() == types.len()
            && shape.constants.iter().zip(&prepared.parameters).all(|((class, _), found)| class.fits(found));
        let is_plain = match &prepared.planned.lock().kind {
            PlanKind::Insert(plan) => plan.program.is_some() && plan.returning.is_none(),
            _ => false,
        };
        (fits && is_plain).then_some(prepared)
    }
}

impl Class {
    fn declared(self) -> SqlType {
        match self {
            Self::Int4 => SqlType::Int4,
            Self::Int8 => SqlType::Int8,
            Self::Decimal | Self::Text => SqlType::Unknown,
        }
    }

    fn fits(self, found: &SqlType) -> bool {
        match self {
            Self::Int4 => *found == SqlType::Int4,
            Self::Int8 => *found == SqlType::Int8,
            Self::Decimal => matches!(found, SqlType::Float4 | SqlType::Float8 | SqlType::Numeric(_)),
            Self::Text => true,
        }
    }
}

impl Shape {
    fn key(&self) -> String {
        let mut key = String::with_capacity(self.text.len() + self.constants.len() + 1);
        key.push_str(&self.text);
        key.push('\0');
        key.extend(self.constants.iter().map(|(class, _)| match class {
            Class::Int4 => 'i',
            Class::Int8 => 'I',
            Class::Decimal => 'd',
            Class::Text => 't',
        }));
        key
    }

    /// `None`: no INSERT, or something in it that this scanner leaves to the parser.
    fn of(sql: &str) -> Option<Self> {
        let bytes = sql.as_bytes();
        let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
        if bytes.len() > TEXT_BYTES_MAX || !bytes.get(start..start + 6)?.eq_ignore_ascii_case(b"insert") {
            return None;
        }
        let mut shape = Self { text: String::with_capacity(sql.len() + 16), constants: vec![] };
        let (mut at, mut depth, mut in_values) = (start, 0_usize, false);
        // The last byte that is not white space.
        let mut before = b' ';
        while let Some(&byte) = bytes.get(at) {
            let end = match byte {
                b'\'' => {
                    let (text, end) = string(sql, at)?;
                    if in_values && begins_value(depth, before) && ends_value(bytes, end) {
                        shape.take_out(Class::Text, text)?;
                    } else {
                        shape.text.push_str(&sql[at..end]);
                    }
                    end
                }
                b'-' if begins_value(depth, before) && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                    let end = number(bytes, at + 1)?;
                    if in_values && ends_value(bytes, end) && is_decimal(&sql[at..end]) {
                        shape.take_out(Class::Decimal, sql[at..end].to_owned())?;
                        end
                    } else {
                        shape.text.push('-');
                        at + 1
                    }
                }
                b'0'..=b'9' => {
                    let end = number(bytes, at)?;
                    let text = &sql[at..end];
                    let is_value = begins_value(depth, before) && ends_value(bytes, end);
                    let class = match text.parse::<i64>() {
                        _ if !in_values || depth == 0 => None,
                        Ok(value) if i32::try_from(value).is_ok() => Some(Class::Int4),
                        Ok(_) => Some(Class::Int8),
                        Err(_) => (is_value && is_decimal(text)).then_some(Class::Decimal),
                    };
                    match class {
                        Some(class) => shape.take_out(class, text.to_owned())?,
                        None => shape.text.push_str(text),
                    }
                    end
                }
                b'"' => {
                    let end = at + 1 + bytes[at + 1..].iter().position(|&byte| byte == b'"')? + 1;
                    shape.text.push_str(&sql[at..end]);
                    end
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                    let length = bytes[at..]
                        .iter()
                        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_')))
                        .unwrap_or(bytes.len() - at);
                    let word = &sql[at..at + length];
                    // A prefix of a string (E'', U&''), or a number with a word's ending.
                    if matches!(bytes.get(at + length), Some(b'\'' | b'$' | 128..)) {
                        return None;
                    }
                    if depth == 0 && word.eq_ignore_ascii_case("values") {
                        in_values = true;
                    } else if depth == 0 && in_values {
                        // RETURNING, ON CONFLICT.
                        return None;
                    }
                    shape.text.push_str(word);
                    at + length
                }
                b'(' | b'[' => {
                    depth += 1;
                    shape.text.push(char::from(byte));
                    at + 1
                }
                b')' | b']' => {
                    depth = depth.checked_sub(1)?;
                    shape.text.push(char::from(byte));
                    at + 1
                }
                b';' if bytes[at + 1..].iter().all(u8::is_ascii_whitespace) => break,
                // Typed literals (`interval '1 day'`) keep their text; comments, parameters and other languages do not.
                b'-' if bytes.get(at + 1) == Some(&b'-') => return None,
                b'/' if bytes.get(at + 1) == Some(&b'*') => return None,
                b';' | b'$' | b'\\' | b'&' | 0 | 128.. => return None,
                byte => {
                    shape.text.push(char::from(byte));
                    at + 1
                }
            };
            if !byte.is_ascii_whitespace() {
                before = byte;
            }
            at = end;
        }
        (in_values && depth == 0 && !shape.constants.is_empty()).then_some(shape)
    }

    fn take_out(&mut self, class: Class, text: String) -> Option<()> {
        use std::fmt::Write as _;
        self.constants.push((class, text));
        write!(self.text, "${}", self.constants.len()).ok()?;
        (self.constants.len() <= CONSTANTS_MAX).then_some(())
    }
}

/// A `'…'` at `at`: what it says, and where it ends.
fn string(sql: &str, at: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut from = at + 1;
    loop {
        let end = from + sql.as_bytes()[from..].iter().position(|&byte| byte == b'\'')?;
        text.push_str(&sql[from..end]);
        if sql.as_bytes().get(end + 1) != Some(&b'\'') {
            return Some((text, end + 1));
        }
        text.push('\'');
        from = end + 2;
    }
}

/// The end of a plain number at `at`: digits, with or without a point and an exponent.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(at);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    // Exponents, hexadecimal and the like are left to the parser.
    match bytes.get(end) {
        Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | 128..) => None,
        _ => Some(end),
    }
}

/// True for digits with a point, few enough after it that no numeric column keeps more.
fn is_decimal(text: &str) -> bool {
    text.split_once('.').is_some_and(|(_, fraction)| fraction.len() <= 16)
}

/// True if a row's value begins here, as far as what is before it says.
fn begins_value(depth: usize, before: u8) -> bool {
    depth == 1 && matches!(before, b'(' | b',')
}

/// True if a row's value ends here.
fn ends_value(bytes: &[u8], at: usize) -> bool {
    matches!(bytes[at..].iter().find(|byte| !byte.is_ascii_whitespace()), Some(b',' | b')'))
}

#[cfg(test)]
mod tests {
    use super::{Class, Shape};

    fn shape(sql: &str) -> Option<(String, Vec<(Class, &'static str)>)> {
        let shape = Shape::of(sql)?;
        let constants = shape.constants.into_iter().map(|(class, text)| (class, &*text.leak())).collect();
        Some((shape.text, constants))
    }

    #[test]
    fn takes_constants_out() {
        use Class::{Decimal, Int4, Int8, Text};
        type Case<'a> = (&'a str, &'a str, &'a [(Class, &'a str)]);
        let cases: &[Case<'_>] = &[
            (
                " insert INTO t2 (a, \"b 1\") VALUES (1, 'it''s'), (5000000000 , 1.50);",
                "insert INTO t2 (a, \"b 1\") VALUES ($1, $2), ($3 , $4)",
                &[(Int4, "1"), (Text, "it's"), (Int8, "5000000000"), (Decimal, "1.50")],
            ),
            // In an expression only integers are: other literals' types depend on what is around them.
            (
                "INSERT INTO t VALUES (now(), 7 / 3.0, -1, -1.5, -2.5 * 2, 'a' || 'b', f(2, '3'))",
                "INSERT INTO t VALUES (now(), $1 / 3.0, -$2, $3, -2.5 * $4, 'a' || 'b', f($5, '3'))",
                &[(Int4, "7"), (Int4, "1"), (Decimal, "-1.5"), (Int4, "2"), (Int4, "2")],
            ),
            (
                "INSERT INTO t VALUES (date '2024-01-01', 1)",
                "INSERT INTO t VALUES (date '2024-01-01', $1)",
                &[(Int4, "1")],
            ),
            ("INSERT INTO t VALUES ('a'::text, 1)", "INSERT INTO t VALUES ('a'::text, $1)", &[(Int4, "1")]),
        ];
        for (sql, text, constants) in cases {
            assert_eq!(shape(sql), Some(((*text).to_owned(), constants.to_vec())), "{sql}");
        }
    }

    #[test]
    fn leaves_the_rest_to_the_parser() {
        for sql in [
            "SELECT 1",
            "INSERT INTO t SELECT 1",
            "INSERT INTO t VALUES (1); SELECT 2",
            "INSERT INTO t VALUES (1) RETURNING 2",
            "INSERT INTO t VALUES (1) -- (2)",
            "INSERT INTO t VALUES (1 /* 2 */)",
            "INSERT INTO t VALUES ($1, 2)",
            "INSERT INTO t VALUES (E'\\n', 2)",
            "INSERT INTO t VALUES ('abc",
            "INSERT INTO t VALUES (1e5)",
            "INSERT INTO t VALUES (0x1f)",
            "INSERT INTO t VALUES (1, 2",
            "INSERT INTO tä VALUES (1, 2)",
            "INSERT INTO t VALUES (99999999999999999999)",
        ] {
            assert_eq!(shape(sql), None, "{sql}");
        }
    }
}
