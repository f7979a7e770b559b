//! `ASOF JOIN`, which no grammar here knows: said with tokens that every grammar knows.
//!
//! ```text
//! a ASOF LEFT JOIN b ON c TOLERANCE '10 s'     →  a LEFT JOIN b ON "asof"(c, '10 s')
//! a ASOF JOIN b MATCH_CONDITION (m) ON c       →  a JOIN b ON "asof"((c) AND (m))
//! a ASOF JOIN b USING (k, ts)                  →  a JOIN b USING (k, ts, "asof")      (the last column is the inequality)
//! ```
//! DuckDB's, Snowflake's and QuestDB's spellings. `plan::asof` finds the mark again.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::tokens::Offsets;
use super::{ASOF, ASOF_NEAREST};
use crate::{Error, Result};

/// Says every such join in other words.
///
/// # Errors
/// 42601 for one without a condition or with a tolerance that is none.
pub(super) fn joins(sql: &str, mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut end = tokens.len();
    // From the last: what follows one has none any more.
    while let Some(at) = tokens[..end].iter().rposition(|token| is_word(token, "asof")) {
        if !is_name(&tokens, at)
            && let Some(join) = Join::parse(sql, &tokens, at)?
        {
            let range = at..join.end;
            let said = join.said(&tokens);
            tokens.splice(range, said);
        }
        end = at;
    }
    Ok(tokens)
}

fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// True where a relation's or column's name stands: `FROM asof`, `t.asof`, `AS asof`.
fn is_name(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| &tokens[before]) else { return true };
    matches!(before.token, Token::Comma | Token::Period)
        || ["from", "join", "as", "select", "lateral"].iter().any(|word| is_word(before, word))
}

/// One join: ranges of tokens.
struct Join {
    /// Where the word ASOF is.
    at: usize,
    nearest: bool,
    /// LEFT
    outer: Option<usize>,
    join: usize,
    relation: (usize, usize),
    matched: Option<(usize, usize)>,
    on: Option<(usize, usize)>,
    /// Columns, without the parentheses; where USING is.
    using: Option<(usize, usize)>,
    tolerance: Option<String>,
    end: usize,
}

impl Join {
    /// The join that begins at `at`; `None` if the word is a name.
    fn parse(sql: &str, tokens: &[TokenWithSpan], at: usize) -> Result<Option<Self>> {
        let is = |place: usize, text: &str| tokens.get(place).is_some_and(|token| is_word(token, text));
        let near = |place: usize, hint: &str| super::near(&Offsets::new(sql), tokens.get(place)).hint(hint);
        let mut place = at + 1;
        let nearest = is(place, "nearest");
        place += usize::from(nearest);
        let outer = is(place, "left").then_some(place);
        if outer.is_some() {
            place += 1 + usize::from(is(place + 1, "outer"));
        } else if is(place, "inner") {
            place += 1;
        }
        for side in ["right", "full"] {
            let by = 1 + usize::from(is(place + 1, "outer"));
            if is(place, side) && is(place + by, "join") {
                let message = format!("ASOF {} JOIN is not supported", side.to_uppercase());
                let error = Error::unsupported(message).hint("Only ASOF JOIN and ASOF LEFT JOIN are.");
                return Err(error.at(Offsets::new(sql).start(&tokens[at])));
            }
        }
        if !is(place, "join") {
            return Ok(None);
        }
        let join = place;
        let begin = place + 1;
        // The first word is the relation's name, whatever it is.
        place = stretch(tokens, (begin + 1).min(tokens.len()), &["match_condition", "on", "using", "tolerance"]);
        if tokens.get(begin).is_some_and(|token| token.token == Token::LParen) {
            place = stretch(tokens, begin, &["match_condition", "on", "using", "tolerance"]);
        }
        let relation = (begin, place);
        let mut matched = None;
        if is(place, "match_condition") {
            let close =
                closing(tokens, place + 1).ok_or_else(|| near(place + 1, "Write MATCH_CONDITION (a.ts >= b.ts)."))?;
            matched = Some((place + 2, close));
            place = close + 1;
        }
        let (mut on, mut using) = (None, None);
        if is(place, "on") && !is(place + 1, "conflict") {
            let end = stretch(tokens, place + 1, &["tolerance", "on"]);
            on = Some((place + 1, end));
            place = end;
        } else if is(place, "using") {
            let close = closing(tokens, place + 1).ok_or_else(|| near(place + 1, "Write USING (key, ts)."))?;
            if matched.is_some() {
                return Err(near(place, "With MATCH_CONDITION say the keys with ON."));
            }
            using = Some((place + 2, close));
            place = close + 1;
        }
        if matched.is_none() && on.is_none() && using.is_none() {
            return Err(near(
                place,
                "An ASOF JOIN needs a condition: ON a.key = b.key AND a.ts >= b.ts, or USING (key, ts).",
            ));
        }
        let mut tolerance = None;
        if is(place, "tolerance") {
            let (text, next) = duration(tokens, place + 1).ok_or_else(|| {
                near(place + 1, "Write TOLERANCE '10 seconds', or a number where numbers are matched.")
            })?;
            tolerance = Some(text);
            place = next;
        }
        Ok(Some(Self { at, nearest, outer, join, relation, matched, on, using, tolerance, end: place }))
    }

    /// The same in words that every grammar knows, at the places of those that were written.
    fn said(&self, tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
        let name = if self.nearest { ASOF_NEAREST } else { ASOF };
        let mut said = vec![];
        said.extend(self.outer.map(|outer| tokens[outer].clone()));
        said.push(tokens[self.join].clone());
        said.extend_from_slice(&tokens[self.relation.0..self.relation.1]);
        let span = tokens[self.at].span;
        let token = |token: Token| TokenWithSpan::new(token, span);
        // A stored text ends where the last token does.
        let last = TokenWithSpan::new(Token::RParen, tokens[self.end - 1].span);
        let quoted =
            |value: String| token(Token::Word(Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword }));
        if let Some((begin, end)) = self.using {
            said.extend_from_slice(&tokens[begin - 2..end]);
            let tolerance = self.tolerance.iter().map(|text| format!("|{text}"));
            said.extend([token(Token::Comma), quoted(format!("{name}{}", tolerance.collect::<String>())), last]);
            return said;
        }
        said.push(token(Token::make_keyword("ON")));
        said.extend([quoted(name.to_owned()), token(Token::LParen)]);
        for (at, (begin, end)) in self.on.iter().chain(&self.matched).enumerate() {
            if at > 0 {
                said.push(token(Token::make_keyword("AND")));
            }
            said.push(token(Token::LParen));
            said.extend_from_slice(&tokens[*begin..*end]);
            said.push(token(Token::RParen));
        }
        if let Some(text) = &self.tolerance {
            said.extend([token(Token::Comma), token(Token::SingleQuotedString(text.clone()))]);
        }
        said.push(last);
        said
    }
}

/// Words that end an item of FROM and its condition.
const ENDS: [&str; 19] = [
    "join",
    "inner",
    "full",
    "cross",
    "natural",
    "asof",
    "where",
    "group",
    "order",
    "having",
    "window",
    "limit",
    "offset",
    "fetch",
    "union",
    "intersect",
    "except",
    "for",
    "returning",
];

/// The end of what begins at `begin`: one of `words`, a word or sign that ends an item of FROM, or the end of the statement.
fn stretch(tokens: &[TokenWithSpan], begin: usize, words: &[&str]) -> usize {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(begin) {
        match &token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth == 0 => return place,
            Token::RParen | Token::RBracket => depth -= 1,
            Token::Comma | Token::SemiColon if depth == 0 => return place,
            Token::Word(word) if depth == 0 && word.quote_style.is_none() => {
                let text = word.value.to_lowercase();
                // Also functions.
                let is_side = ["left", "right"].contains(&text.as_str())
                    && tokens.get(place + 1).is_none_or(|next| next.token != Token::LParen);
                // `a.on` is a column.
                let is_name = place > 0 && tokens[place - 1].token == Token::Period;
                let is_word =
                    words.contains(&text.as_str()) && (text != "tolerance" || duration(tokens, place + 1).is_some());
                if !is_name && (is_side || ENDS.contains(&text.as_str()) || is_word) {
                    return place;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The parenthesis that closes the one at `open`.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (place > open).then_some(place);
        }
    }
    None
}

/// `'10 s'`, `INTERVAL '10 s'`, `10`, `10s`, `10 seconds`, and the place after it.
fn duration(tokens: &[TokenWithSpan], at: usize) -> Option<(String, usize)> {
    let at = at + usize::from(tokens.get(at).is_some_and(|token| is_word(token, "interval")));
    match &tokens.get(at)?.token {
        Token::SingleQuotedString(text) => Some((text.clone(), at + 1)),
        Token::Number(digits, _) => match &tokens.get(at + 1).map(|token| &token.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() && is_unit(&word.value) => {
                Some((format!("{digits} {}", word.value), at + 2))
            }
            _ => Some((digits.clone(), at + 1)),
        },
        _ => None,
    }
}

fn is_unit(word: &str) -> bool {
    let word = word.to_lowercase();
    let word = word.strip_suffix('s').filter(|word| word.len() > 2).unwrap_or(&word);
    matches!(
        word,
        "us" | "ms"
            | "s"
            | "m"
            | "h"
            | "d"
            | "w"
            | "sec"
            | "min"
            | "hr"
            | "microsecond"
            | "millisecond"
            | "second"
            | "minute"
            | "hour"
            | "day"
            | "week"
    )
}
