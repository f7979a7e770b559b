//! Regular expressions: regexp_* and SIMILAR TO, with PostgreSQL's flags and escapes on the regex crate.
//!
//! Patterns are translated: `\m \M \y \Y \Z` become the crate's, `.` matches line ends unless the flag n says otherwise. Back
//! references and look-around are refused. Alternatives match in order (PostgreSQL takes the longest).

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, FieldRef};
use datafusion_common::Result;
use datafusion_expr::ReturnFieldArgs;
use regex::{Regex, RegexBuilder};

use super::super::call::{Call, FromArgument, IntoResult, Many, Value, fail};
use super::super::define::{Function, def};
use crate::types::SqlType;

/// A compiled pattern and whether it is applied to all matches.
#[derive(Clone)]
struct Pattern {
    regex: Regex,
    global: bool,
}

/// Compiles PostgreSQL's syntax with its flags.
fn compile(pattern: &str, flags: &str) -> Value<Pattern> {
    let (mut global, mut ignore_case, mut lines, mut dot_newline, mut spaced, mut quoted) =
        (false, false, false, true, false, false);
    for flag in flags.chars() {
        match flag {
            'g' => global = true,
            'i' => ignore_case = true,
            'c' => ignore_case = false,
            'n' | 'm' => (lines, dot_newline) = (true, false),
            's' => (lines, dot_newline) = (false, true),
            'p' => (lines, dot_newline) = (false, false),
            'w' => (lines, dot_newline) = (true, true),
            'x' => spaced = true,
            't' => spaced = false,
            'q' => quoted = true,
            'e' | 'b' => {}
            other => return fail("22023", format!("invalid regular expression option: \"{other}\"")),
        }
    }
    let translated = if quoted || pattern.starts_with("***=") {
        Cow::Owned(regex::escape(pattern.strip_prefix("***=").unwrap_or(pattern)))
    } else {
        translate(pattern.strip_prefix("***:").unwrap_or(pattern))?
    };
    let built = RegexBuilder::new(&translated)
        .case_insensitive(ignore_case)
        .multi_line(lines)
        .dot_matches_new_line(dot_newline)
        .ignore_whitespace(spaced)
        .size_limit(16 << 20)
        .build();
    match built {
        Ok(regex) => Ok(Pattern { regex, global }),
        Err(regex::Error::CompiledTooBig(_)) => {
            fail("2201B", "invalid regular expression: regular expression is too complex")
        }
        Err(error) => fail("2201B", format!("invalid regular expression: {}", reason(&error.to_string()))),
    }
}

/// PostgreSQL's words for what is wrong with a pattern.
fn reason(error: &str) -> &'static str {
    let known = [
        ("unclosed character class", "brackets [] not balanced"),
        ("unclosed group", "parentheses () not balanced"),
        ("unopened group", "parentheses () not balanced"),
        ("repetition operator missing", "quantifier operand invalid"),
        ("repetition quantifier expects", "braces {} not balanced"),
        ("unclosed counted repetition", "braces {} not balanced"),
        ("invalid repetition count", "invalid repetition count(s)"),
        ("invalid character class range", "invalid character range"),
        ("invalid escape", "invalid escape \\ sequence"),
        ("unrecognized escape", "invalid escape \\ sequence"),
        ("incomplete escape", "invalid escape \\ sequence"),
        ("Unicode", "invalid character class"),
    ];
    known.iter().find(|(theirs, _)| error.contains(theirs)).map_or("invalid regexp", |(_, ours)| ours)
}

/// The pattern in the crate's syntax.
fn translate(pattern: &str) -> Value<Cow<'_, str>> {
    if !pattern.contains(['\\', '[']) && !pattern.contains("(?") {
        return Ok(Cow::Borrowed(pattern));
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut characters = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                None => return fail("2201B", "invalid regular expression: invalid escape \\ sequence"),
                Some('m') if !in_class => out.push_str("\\b{start}"),
                Some('M') if !in_class => out.push_str("\\b{end}"),
                Some('y') if !in_class => out.push_str("\\b"),
                Some('Y') if !in_class => out.push_str("\\B"),
                Some('Z') if !in_class => out.push_str("\\z"),
                Some('a') => out.push_str("\\x07"),
                Some('b') => out.push_str("\\x08"),
                Some('e') => out.push_str("\\x1b"),
                Some('B') => out.push_str("\\\\"),
                Some('0') => out.push_str("\\x00"),
                Some('1'..='9') if !in_class => {
                    return fail("0A000", "back references in regular expressions are not supported");
                }
                Some(
                    other @ ('d' | 'D' | 's' | 'S' | 'w' | 'W' | 'A' | 'n' | 'r' | 't' | 'f' | 'v' | 'x' | 'u' | 'U'),
                ) => {
                    out.push('\\');
                    out.push(other);
                }
                Some(other) if other.is_alphanumeric() => {
                    return fail("2201B", "invalid regular expression: invalid escape \\ sequence");
                }
                Some(other) => out.push_str(&regex::escape(&other.to_string())),
            },
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A bracket that comes first is a member.
                if characters.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            '[' => {
                out.push('[');
                if let Some(kind) = characters.next_if(|c| matches!(c, ':' | '.' | '=')) {
                    out.push(kind);
                    for inner in characters.by_ref() {
                        out.push(inner);
                        if inner == ']' {
                            break;
                        }
                    }
                } else {
                    out.insert(out.len() - 1, '\\');
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(character);
            }
            '(' if !in_class && characters.peek() == Some(&'?') => {
                let rest: String = characters.clone().take(3).collect();
                if ["?=", "?!", "?<=", "?<!"].iter().any(|look| rest.starts_with(look)) {
                    return fail("0A000", "look-around in regular expressions is not supported");
                }
                out.push('(');
            }
            other => out.push(other),
        }
    }
    Ok(Cow::Owned(out))
}

/// Remembers the last pattern: usually there is only one.
#[derive(Default)]
struct Patterns(RefCell<Option<(String, String, Pattern)>>);

impl Patterns {
    fn get(&self, pattern: &str, flags: &str) -> Value<Pattern> {
        if let Some((known, known_flags, compiled)) = &*self.0.borrow()
            && known == pattern
            && known_flags == flags
        {
            return Ok(compiled.clone());
        }
        let compiled = compile(pattern, flags)?;
        *self.0.borrow_mut() = Some((pattern.to_owned(), flags.to_owned(), compiled.clone()));
        Ok(compiled)
    }
}

/// An optional argument: missing, or its value; the row's result is null where it is null.
fn optional<'a, A: FromArgument<'a> + Clone + 'a>(
    call: &'a Call<'_>,
    index: usize,
    default: A,
) -> Result<impl Fn(usize) -> Option<A> + 'a> {
    let column = if call.args.len() > index { Some(call.column::<A>(index)?) } else { None };
    Ok(move |row| column.as_ref().map_or(Some(default.clone()), |column| column.get(row)))
}

/// Applies `f(text, pattern)` to rows without nulls; the flags are argument `flags`.
fn matching<'a, R: IntoResult>(
    call: &'a Call<'_>,
    flags: usize,
    global: Option<&str>,
    mut f: impl FnMut(&'a str, &Pattern, usize) -> Value<R>,
) -> Result<ArrayRef> {
    let (texts, sources) = (call.column::<&str>(0)?, call.column::<&str>(1)?);
    let flags = optional(call, flags, "")?;
    let patterns = Patterns::default();
    call.collect(|row| match (texts.get(row), sources.get(row), flags(row)) {
        (Some(text), Some(source), Some(flags)) => {
            if let Some(name) = global.filter(|_| flags.contains('g')) {
                let mut error =
                    crate::types::ValueError::new("22023", format!("{name}() does not support the \"global\" option"));
                if name == "regexp_match" {
                    error.hint = Some("Use the regexp_matches function instead.".into());
                }
                return Err(error);
            }
            f(text, &patterns.get(source, flags)?, row).map(Some)
        }
        _ => Ok(None),
    })
}

/// The byte offset where a search that starts at a character (counted from 1) begins; `None`: behind the end.
fn start_offset(text: &str, start: i32) -> Value<Option<usize>> {
    if start <= 0 {
        return fail("22023", format!("invalid value for parameter \"start\": {start}"));
    }
    let skip = start.unsigned_abs() as usize - 1;
    Ok(text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(skip))
}

/// Appends the replacement for one match: `\1`, `\&`, `\\`.
fn expand(out: &mut String, replacement: &str, captures: &regex::Captures<'_>) {
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.chars().next() {
            Some(digit @ '1'..='9') => {
                let group = usize::from(u8::try_from(digit).unwrap_or(b'0') - b'0');
                out.push_str(captures.get(group).map_or("", |m| m.as_str()));
                rest = &rest[1..];
            }
            Some('&') => {
                out.push_str(&captures[0]);
                rest = &rest[1..];
            }
            Some('\\') => {
                out.push('\\');
                rest = &rest[1..];
            }
            _ => out.push('\\'),
        }
    }
    out.push_str(rest);
}

/// Replaces the n-th match (0: all) from an offset on.
fn replace<'a>(text: &'a str, pattern: &Regex, replacement: &str, from: usize, nth: usize) -> Cow<'a, str> {
    let mut out = String::new();
    let mut done = 0;
    for (number, captures) in (1..).zip(captures_from(pattern, text, from)) {
        if nth == 0 || nth == number {
            let found = captures.get(0).expect("group 0 is the match");
            out.push_str(&text[done..found.start()]);
            expand(&mut out, replacement, &captures);
            done = found.end();
        }
        if number == nth {
            break;
        }
    }
    if done == 0 && out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// All matches from an offset on.
fn captures_from<'r, 't>(
    regex: &'r Regex,
    text: &'t str,
    from: usize,
) -> impl Iterator<Item = regex::Captures<'t>> + use<'r, 't> {
    let mut at = from;
    let mut last_end = None;
    std::iter::from_fn(move || {
        loop {
            if at > text.len() {
                return None;
            }
            let captures = regex.captures_at(text, at)?;
            let found = captures.get(0).expect("group 0 is the match");
            if found.is_empty() {
                let step = text[found.end()..].chars().next().map_or(1, char::len_utf8);
                at = found.end() + step;
                if last_end == Some(found.end()) {
                    continue;
                }
            } else {
                at = found.end();
            }
            last_end = Some(found.end());
            return Some(captures);
        }
    })
}

fn regexp_replace(call: &Call<'_>) -> Result<ArrayRef> {
    let replacements = call.column::<&str>(2)?;
    matching(call, 3, None, |text, pattern, row| {
        let nth = if pattern.global { 0 } else { 1 };
        Ok(replacements.get(row).map(|replacement| replace(text, &pattern.regex, replacement, 0, nth)))
    })
}

fn regexp_replace_from(call: &Call<'_>) -> Result<ArrayRef> {
    let (replacements, starts) = (call.column::<&str>(2)?, call.column::<i32>(3)?);
    let nths = optional(call, 4, 1i32)?;
    let has_nth = call.args.len() > 4;
    matching(call, 5, None, |text, pattern, row| {
        let (Some(replacement), Some(start), Some(nth)) = (replacements.get(row), starts.get(row), nths(row)) else {
            return Ok(None);
        };
        let Ok(nth) = usize::try_from(nth) else {
            return fail("22023", format!("invalid value for parameter \"n\": {nth}"));
        };
        let nth = if !has_nth && pattern.global { 0 } else { nth };
        Ok(Some(match start_offset(text, start)? {
            Some(from) => replace(text, &pattern.regex, replacement, from, nth),
            None => Cow::Borrowed(text),
        }))
    })
}

/// The groups of a match, or the whole of it if there are none.
fn groups<'t>(captures: &regex::Captures<'t>) -> Vec<Option<&'t str>> {
    let first = usize::from(captures.len() > 1);
    captures.iter().skip(first).map(|group| group.map(|group| group.as_str())).collect()
}

fn regexp_match(call: &Call<'_>) -> Result<ArrayRef> {
    matching(call, 2, Some("regexp_match"), |text, pattern, _| {
        Ok(pattern.regex.captures(text).map(|captures| Many(groups(&captures))))
    })
}

/// One text[] per match.
struct Matches<'a>(Vec<Vec<Option<&'a str>>>);

impl<'a> IntoResult for Matches<'a> {
    type Item = Vec<Vec<Option<&'a str>>>;
    fn into_option(self) -> Option<Self::Item> {
        Some(self.0)
    }
    fn build(
        rows: usize,
        data_type: &arrow::datatypes::DataType,
        mut next: impl FnMut(usize) -> Value<Option<Self::Item>>,
    ) -> Result<ArrayRef> {
        let arrow::datatypes::DataType::List(item) = data_type else {
            return datafusion_common::exec_err!("regexp_matches gives a list, not {data_type}");
        };
        let mut lengths = Vec::with_capacity(rows);
        let mut nulls = arrow::array::NullBufferBuilder::new(rows);
        let mut all = vec![];
        for row in 0..rows {
            let matches = next(row)?;
            nulls.append(matches.is_some());
            let matches = matches.unwrap_or_default();
            lengths.push(matches.len());
            all.extend(matches);
        }
        let count = all.len();
        let mut all = all.into_iter();
        let values = Many::<&'a str>::build(count, item.data_type(), |_| Ok(all.next()))?;
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(arrow::array::ListArray::try_new(Arc::clone(item), offsets, values, nulls.finish())?))
    }
}

fn list_of_text_arrays(_: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    let item = SqlType::Array(Arc::new(SqlType::Text)).field("item", true);
    Ok(Arc::new(Field::new_list("regexp_matches", item, true)))
}

fn regexp_matches(call: &Call<'_>) -> Result<ArrayRef> {
    matching(call, 2, None, |text, pattern, _| {
        let limit = if pattern.global { usize::MAX } else { 1 };
        Ok(Matches(captures_from(&pattern.regex, text, 0).take(limit).map(|captures| groups(&captures)).collect()))
    })
}

/// Empty matches split only between characters.
fn split<'t>(regex: &Regex, text: &'t str) -> Vec<Option<&'t str>> {
    let mut parts = vec![];
    let mut from = 0;
    for captures in captures_from(regex, text, 0) {
        let found = captures.get(0).expect("group 0 is the match");
        if found.is_empty() && (found.start() == from || found.start() >= text.len()) {
            continue;
        }
        parts.push(Some(&text[from..found.start()]));
        from = found.end();
    }
    parts.push(Some(&text[from..]));
    parts
}

fn regexp_split(call: &Call<'_>) -> Result<ArrayRef> {
    matching(call, 2, Some("regexp_split_to_array"), |text, pattern, _| Ok(Many(split(&pattern.regex, text))))
}

fn regexp_count(call: &Call<'_>) -> Result<ArrayRef> {
    let starts = optional(call, 2, 1i32)?;
    matching(call, 3, Some("regexp_count"), |text, pattern, row| {
        let Some(start) = starts(row) else { return Ok(None) };
        let from = start_offset(text, start)?;
        let count = from.map_or(0, |from| captures_from(&pattern.regex, text, from).count());
        Ok(Some(i32::try_from(count).unwrap_or(i32::MAX)))
    })
}

/// A group of the n-th match from a start on.
fn nth_group<'t>(pattern: &Pattern, text: &'t str, start: i32, nth: i32, group: i32) -> Value<Option<&'t str>> {
    let Some(nth) = usize::try_from(nth).ok().filter(|n| *n > 0) else {
        return fail("22023", format!("invalid value for parameter \"n\": {nth}"));
    };
    let Ok(group) = usize::try_from(group) else {
        return fail("22023", format!("invalid value for parameter \"subexpr\": {group}"));
    };
    let Some(from) = start_offset(text, start)? else { return Ok(None) };
    let found = captures_from(&pattern.regex, text, from).nth(nth - 1);
    let range = found.and_then(|captures| captures.get(group).map(|found| found.range()));
    Ok(range.map(|range| &text[range]))
}

fn regexp_substr(call: &Call<'_>) -> Result<ArrayRef> {
    let (starts, nths, groups) = (optional(call, 2, 1i32)?, optional(call, 3, 1i32)?, optional(call, 5, 0i32)?);
    matching(call, 4, Some("regexp_substr"), |text, pattern, row| {
        let (Some(start), Some(nth), Some(group)) = (starts(row), nths(row), groups(row)) else { return Ok(None) };
        nth_group(pattern, text, start, nth, group)
    })
}

fn regexp_like(call: &Call<'_>) -> Result<ArrayRef> {
    matching(call, 2, Some("regexp_like"), |text, pattern, _| Ok(pattern.regex.is_match(text)))
}

/// substring(text FROM pattern): the first group, or the whole match.
pub(crate) fn substring(call: &Call<'_>) -> Result<ArrayRef> {
    matching(call, usize::MAX, None, |text, pattern, _| {
        let captures = pattern.regex.captures(text);
        Ok(captures.and_then(|captures| captures.get(usize::from(captures.len() > 1))).map(|found| found.as_str()))
    })
}

/// substring(text SIMILAR pattern ESCAPE c): the part between the escaped quotes.
pub(crate) fn substring_similar(call: &Call<'_>) -> Result<ArrayRef> {
    call.map3(|text: &str, pattern: &str, escape: &str| {
        let pattern = compile(&similar_to(pattern, escape)?, "")?;
        let captures = pattern.regex.captures(text);
        Ok(captures
            .and_then(|captures| captures.get(usize::from(captures.len() > 1)))
            .map(|found| found.as_str().to_owned()))
    })
}

/// like_escape(pattern, escape): the pattern of LIKE … ESCAPE with backslashes for escapes.
fn like_escape(call: &Call<'_>) -> Result<ArrayRef> {
    call.map2(|pattern: &str, escape: &str| {
        let mut escapes = escape.chars();
        let escape = escapes.next();
        if escapes.next().is_some() {
            let mut error = crate::types::ValueError::new("22019", "invalid escape string");
            error.hint = Some("Escape string must be empty or one character.".into());
            return Err(error);
        }
        let mut result = String::with_capacity(pattern.len());
        let mut letters = pattern.chars();
        while let Some(letter) = letters.next() {
            if Some(letter) == escape {
                result.push('\\');
                result.extend(letters.next());
            } else {
                if letter == '\\' {
                    result.push('\\');
                }
                result.push(letter);
            }
        }
        Ok(Some(result))
    })
}

/// A SIMILAR TO pattern as a regular expression over the whole string.
fn similar_to(pattern: &str, escape: &str) -> Value<String> {
    let mut escapes = escape.chars();
    let escape = escapes.next();
    if escapes.next().is_some() {
        let mut error = crate::types::ValueError::new("22025", "invalid escape string");
        error.hint = Some("Escape string must be empty or one character.".into());
        return Err(error);
    }
    let mut out = String::from("^(?:");
    let mut quotes = 0;
    let mut in_class = false;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            match characters.next() {
                Some('"') if !in_class => {
                    out.push_str(match quotes {
                        0 => "){1,1}?(",
                        1 => "){1,1}(?:",
                        _ => {
                            return fail(
                                "2200C",
                                "SQL regular expression may not contain more than two escape-double-quote separators",
                            );
                        }
                    });
                    quotes += 1;
                }
                Some(other) => out.push_str(&regex::escape(&other.to_string())),
                None => out.push_str("\\\\"),
            }
            continue;
        }
        match character {
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
        match character {
            '\\' => out.push_str("\\\\"),
            '%' if !in_class => out.push_str(".*"),
            '_' if !in_class => out.push('.'),
            '(' if !in_class => out.push_str("(?:"),
            '.' | '^' | '$' if !in_class => {
                out.push('\\');
                out.push(character);
            }
            other => out.push(other),
        }
    }
    out.push_str(")$");
    Ok(out)
}

/// The functions.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        def("like_escape", "A pattern of LIKE … ESCAPE, with backslashes.", "like_escape('10#%%', '#')")
            .on("text, text -> text", like_escape),
        def(
            "regexp_replace",
            "With the first match (flag g: all; or the n-th from a start) replaced.",
            "regexp_replace('a1b2', '\\d', '#', 'g')",
        )
        .on("text, text, text [, text] -> text", regexp_replace)
        .on("text, text, text, int4 [, int4 [, text]] -> text", regexp_replace_from),
        def(
            "regexp_match",
            "The groups of the first match, or the whole of it.",
            "regexp_match('foo=42', '(\\w+)=(\\d+)')",
        )
        .on("text, text [, text] -> text[]", regexp_match),
        def(
            "regexp_matches",
            "The groups of the first match (flag g: of all), an array each.",
            "regexp_matches('a1b2', '\\d', 'g')",
        )
        .computed("text, text [, text] -> text[]", list_of_text_arrays, regexp_matches),
        def("regexp_split_to_array", "The parts between matches.", "regexp_split_to_array('a, b', ',\\s*')")
            .alias(&["regexp_split_to_table"])
            .on("text, text [, text] -> text[]", regexp_split),
        def("regexp_count", "The number of matches from a start on.", "regexp_count('a1b2', '\\d')")
            .on("text, text [, int4 [, text]] -> int4", regexp_count),
        def("regexp_substr", "The n-th match from a start on, or a group of it.", "regexp_substr('a1b2', '\\d', 1, 2)")
            .on("text, text [, int4 [, int4 [, text [, int4]]]] -> text", regexp_substr),
        def("regexp_like", "Is there a match?", "regexp_like('Hello', 'h', 'i')")
            .on("text, text [, text] -> bool", regexp_like),
        def("similar_to_escape", "A SIMILAR TO pattern as a regular expression.", "similar_to_escape('a%')")
            .on("text -> text", |c| c.map1(|pattern| similar_to(pattern, "\\")))
            .on("text, text -> text", |c| c.map2(similar_to)),
    ]
}
