//! Stretches of tokens: where a clause that no grammar here knows begins and ends.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// True for that word, unquoted.
pub(super) fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// True where a relation's or column's name stands: `FROM asof`, `t.asof`, `AS asof`.
pub(super) fn is_name(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| &tokens[before]) else { return true };
    matches!(before.token, Token::Comma | Token::Period)
        || ["from", "join", "as", "select", "lateral"].iter().any(|word| is_word(before, word))
}

/// A quoted name: it reads as it is written, whatever is in it.
pub(super) fn quoted(value: String) -> Token {
    Token::Word(Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword })
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
pub(super) fn stretch(tokens: &[TokenWithSpan], begin: usize, words: &[&str]) -> usize {
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
                let begins = match text.as_str() {
                    "tolerance" => duration(tokens, place + 1).is_some(),
                    "range" => tokens.get(place + 1).is_some_and(begins_window),
                    _ => true,
                };
                let is_word = words.contains(&text.as_str()) && begins;
                let is_join = text == "lt" && super::asof::begins_join(tokens, place);
                if !is_name && (is_side || is_join || ENDS.contains(&text.as_str()) || is_word) {
                    return place;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// True for what follows RANGE, where it is no column.
fn begins_window(token: &TokenWithSpan) -> bool {
    let words = ["between", "current", "unbounded", "interval"];
    matches!(token.token, Token::Number(..) | Token::SingleQuotedString(_))
        || words.iter().any(|word| is_word(token, word))
}

/// The parenthesis that closes the one at `open`.
pub(super) fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
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
pub(super) fn duration(tokens: &[TokenWithSpan], at: usize) -> Option<(String, usize)> {
    let at = at + usize::from(tokens.get(at).is_some_and(|token| is_word(token, "interval")));
    match &tokens.get(at)?.token {
        // The mark in USING has its texts between bars.
        Token::SingleQuotedString(text) if !text.contains('|') => Some((text.clone(), at + 1)),
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
