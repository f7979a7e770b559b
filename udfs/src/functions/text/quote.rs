//! Quoting for SQL: quote_ident, quote_literal, quote_nullable, format, parse_ident.

use std::borrow::Cow;

use arrow::array::ArrayRef;
use datafusion_common::Result;

use super::super::call::{Call, Many, Value, fail};
use super::super::define::{Function, def};
use super::super::values::{self, Printer};
use crate::types::ValueError;

/// PostgreSQL 15's keywords that are not free as names.
const KEYWORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// A name as SQL writes it: quoted only if it has to be.
pub(crate) fn identifier(name: &str) -> Cow<'_, str> {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && KEYWORDS.binary_search(&name).is_err();
    if plain { Cow::Borrowed(name) } else { Cow::Owned(format!("\"{}\"", name.replace('"', "\"\""))) }
}

/// A string as SQL writes it.
pub(crate) fn literal(text: &str) -> String {
    let quotes = text.replace('\'', "''");
    if quotes.contains('\\') { format!("E'{}'", quotes.replace('\\', "\\\\")) } else { format!("'{quotes}'") }
}

fn too_few<T>() -> Value<T> {
    fail("22023", "too few arguments for format()")
}

fn bad_specifier<T>(message: String) -> Value<T> {
    let mut error = ValueError::new("22023", message);
    error.hint = Some("For a single \"%\" use \"%%\".".into());
    Err(error)
}

/// One `%…` of a format string.
struct Specifier {
    position: Option<usize>,
    left: bool,
    width: Width,
    kind: char,
}

enum Width {
    None,
    Fixed(usize),
    /// The width is an argument: the next one, or the one of that number.
    Argument(Option<usize>),
}

/// Reads digits at the start.
fn digits(text: &str) -> Value<(Option<usize>, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Ok((None, text));
    }
    match text[..end].parse::<i32>() {
        Ok(number) => Ok((usize::try_from(number).ok(), &text[end..])),
        Err(_) => fail("22003", "number is out of range"),
    }
}

fn argument_number(number: usize) -> Value<usize> {
    if number == 0 {
        fail("22023", "format specifies argument 0, but arguments are numbered from 1")
    } else {
        Ok(number)
    }
}

/// Reads what follows a `%`.
fn specifier(text: &str) -> Value<(Specifier, &str)> {
    let mut position = None;
    let mut width = Width::None;
    let (number, mut rest) = digits(text)?;
    let mut left = false;
    match number {
        Some(number) if rest.starts_with('$') => {
            position = Some(argument_number(number)?);
            rest = &rest[1..];
        }
        Some(number) => width = Width::Fixed(number),
        None => {}
    }
    if matches!(width, Width::None) {
        while let Some(after) = rest.strip_prefix('-') {
            left = true;
            rest = after;
        }
        if let Some(after) = rest.strip_prefix('*') {
            let (number, after) = digits(after)?;
            width = Width::Argument(match number {
                Some(number) if after.starts_with('$') => {
                    rest = &after[1..];
                    Some(argument_number(number)?)
                }
                Some(_) => return fail("22023", "width argument position must be ended by \"$\""),
                None => {
                    rest = after;
                    None
                }
            });
        } else {
            let (number, after) = digits(rest)?;
            if let Some(number) = number {
                width = Width::Fixed(number);
            }
            rest = after;
        }
    }
    match rest.chars().next() {
        None => bad_specifier("unterminated format() type specifier".into()),
        Some(kind) => Ok((Specifier { position, left, width, kind }, &rest[kind.len_utf8()..])),
    }
}

/// format() of one row.
fn format_row(pattern: &str, call: &Call<'_>, printers: &[Printer], row: usize) -> Value<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut next = 1;
    let argument = |number: usize| match printers.get(number - 1) {
        Some(printer) => printer.text(call.args[number].at(row)),
        None => too_few(),
    };
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (mut specifier, after) = specifier(rest)?;
        rest = after;
        if !matches!(specifier.kind, 's' | 'I' | 'L') {
            return bad_specifier(format!("unrecognized format() type specifier \"{}\"", specifier.kind));
        }
        let width = match specifier.width {
            Width::None => 0,
            Width::Fixed(width) => width,
            Width::Argument(number) => {
                let number = number.unwrap_or(next);
                next = number + 1;
                let width = argument(number)?.map_or(Ok(0), |text| text.parse::<i32>());
                let Ok(width) = width else { return fail("22P02", "width of format() is not an integer") };
                specifier.left |= width < 0;
                width.unsigned_abs() as usize
            }
        };
        let number = specifier.position.unwrap_or(next);
        next = number + 1;
        let value = argument(number)?;
        let text = match (specifier.kind, value) {
            ('I', None) => return fail("22004", "null values cannot be formatted as an SQL identifier"),
            ('I', Some(text)) => identifier(&text).into_owned(),
            ('L', None) => "NULL".to_owned(),
            ('L', Some(text)) => literal(&text),
            (_, value) => value.unwrap_or_default(),
        };
        let padding = width.min(0x3fff_ffff).saturating_sub(text.chars().count());
        if specifier.left {
            out.push_str(&text);
        }
        out.extend(std::iter::repeat_n(' ', padding));
        if !specifier.left {
            out.push_str(&text);
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn format_all(call: &Call<'_>) -> Result<ArrayRef> {
    let patterns = call.column::<&str>(0)?;
    let printers = values::printers(call, 1)?;
    call.collect(|row| match patterns.get(row) {
        Some(pattern) => format_row(pattern, call, &printers, row).map(Some),
        None => Ok(None),
    })
}

/// The parts of a dotted name, folded as the parser would.
pub(crate) fn parse_ident(name: &str, strict: bool) -> Value<Vec<String>> {
    let invalid = |detail: Option<&str>| {
        let mut error = ValueError::new("22023", format!("string is not a valid identifier: \"{name}\""));
        error.detail = detail.map(Into::into);
        error
    };
    let mut parts = vec![];
    let mut rest = name.trim_start();
    let mut after_dot = false;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut text = quoted;
            loop {
                let Some(end) = text.find('"') else { return Err(invalid(Some("String has unclosed double quotes."))) };
                part.push_str(&text[..end]);
                text = &text[end + 1..];
                match text.strip_prefix('"') {
                    Some(after) => {
                        part.push('"');
                        text = after;
                    }
                    None => break,
                }
            }
            if part.is_empty() {
                return Err(invalid(Some("Quoted identifier must not be empty.")));
            }
            parts.push(part);
            rest = text;
        } else {
            let starts = |c: char| c.is_alphabetic() || c == '_' || !c.is_ascii();
            if !rest.starts_with(starts) {
                return Err(match (rest.starts_with('.'), after_dot) {
                    (true, _) => invalid(Some("No valid identifier before \".\".")),
                    (false, true) => invalid(Some("No valid identifier after \".\".")),
                    (false, false) => invalid(None),
                });
            }
            let end = rest.find(|c: char| !(starts(c) || c.is_ascii_digit() || c == '$')).unwrap_or(rest.len());
            parts.push(rest[..end].to_lowercase());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(after) => {
                after_dot = true;
                rest = after.trim_start();
            }
            None if rest.is_empty() || !strict => return Ok(parts),
            None => return Err(invalid(None)),
        }
    }
}

fn quote_value(call: &Call<'_>, null: Option<&str>) -> Result<ArrayRef> {
    let printers = values::printers(call, 0)?;
    call.collect(|row| {
        let text = printers[0].text(call.args[0].at(row))?;
        Ok(text.map(|text| literal(&text)).or_else(|| null.map(str::to_owned)))
    })
}

fn many(parts: Vec<String>) -> Many<String> {
    Many(parts.into_iter().map(Some).collect())
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("quote_ident", "As an identifier, quoted if it has to be.", "quote_ident('My Table')")
            .on("text -> text", |c| c.map1(|name| Ok(identifier(name)))),
        def("quote_literal", "As a string literal.", "quote_literal('it''s')")
            .stable()
            .on("any -> text", |c| quote_value(c, None)),
        def("quote_nullable", "As a string literal, or NULL.", "quote_nullable(null)")
            .stable()
            .on("any -> text", |c| quote_value(c, Some("NULL"))),
        def(
            "format",
            "Text with %s, %I (identifier) and %L (literal) replaced by the arguments.",
            "format('%I = %L', 'a b', 'c')",
        )
        .stable()
        .on("text, ...any -> text", format_all),
        def("parse_ident", "The parts of a qualified name.", "parse_ident('\"My Schema\".t')")
            .on("text -> text[]", |c| c.map1(|name| parse_ident(name, true).map(many)))
            .on("text, bool -> text[]", |c| c.map2(|name, strict| parse_ident(name, strict).map(many))),
    ]
}
