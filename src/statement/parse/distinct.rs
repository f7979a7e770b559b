//! `a IS [NOT] DISTINCT FROM b` holds no more than `b` together: sqlparser takes all that follows, AND and OR too, as its
//! right side. With parentheses around the operand it does not.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Puts the parentheses.
pub(super) fn operands(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut end = tokens.len();
    // From the last: an operand may have the operator inside parentheses of its own.
    while let Some(at) = tokens[..end].iter().rposition(|token| is_word(token, "distinct")) {
        end = at;
        let is = |back: usize, text: &str| at.checked_sub(back).is_some_and(|place| is_word(&tokens[place], text));
        let begins = tokens.get(at + 1).is_some_and(|token| is_word(token, "from"));
        if !begins || !(is(1, "is") || is(1, "not") && is(2, "is")) {
            continue;
        }
        let begin = at + 2;
        let stop = operand_end(&tokens, begin);
        if stop > begin {
            let (first, last) = (tokens[begin].span, tokens[stop - 1].span);
            tokens.insert(stop, TokenWithSpan::new(Token::RParen, last));
            tokens.insert(begin, TokenWithSpan::new(Token::LParen, first));
        }
    }
    tokens
}

fn word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
        _ => None,
    }
}

fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    word(token).is_some_and(|word| word == text)
}

/// Words that end an operand.
const ENDS: [&str; 38] = [
    "and",
    "or",
    "then",
    "when",
    "else",
    "end",
    "is",
    "from",
    "as",
    "asc",
    "desc",
    "nulls",
    "on",
    "using",
    "set",
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "fetch",
    "union",
    "intersect",
    "except",
    "window",
    "for",
    "returning",
    "join",
    "inner",
    "full",
    "cross",
    "natural",
    "asof",
    "tolerance",
    "over",
    "filter",
    "within",
];
/// Words that go on with it.
const GOES_ON: [&str; 16] = [
    "collate",
    "at",
    "time",
    "zone",
    "like",
    "ilike",
    "similar",
    "to",
    "in",
    "between",
    "not",
    "symmetric",
    "overlaps",
    "operator",
    "escape",
    "precision",
];

/// Where the operand that begins at `begin` ends: before a word that no operand has, or at an alias.
fn operand_end(tokens: &[TokenWithSpan], begin: usize) -> usize {
    let (mut depth, mut cases, mut betweens) = (0_usize, 0_usize, 0_usize);
    // The token before can be the end of a value: a word after it is an alias.
    let mut value_ends = false;
    for (place, token) in tokens.iter().enumerate().skip(begin) {
        match &token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth == 0 => return place,
            Token::RParen | Token::RBracket => depth -= 1,
            Token::Comma | Token::SemiColon if depth == 0 => return place,
            Token::Word(quoted) if depth == 0 => {
                let text = word(token).unwrap_or_default();
                match text.as_str() {
                    "case" => cases += 1,
                    "end" if cases > 0 => {
                        cases -= 1;
                        value_ends = true;
                        continue;
                    }
                    "between" => betweens += 1,
                    "and" if betweens > 0 => betweens -= 1,
                    _ if cases > 0 => {}
                    text if ENDS.contains(&text) => return place,
                    text => {
                        let goes_on = GOES_ON.contains(&text);
                        if value_ends && !goes_on {
                            return place;
                        }
                        value_ends = !goes_on && text != "interval" || quoted.quote_style.is_some();
                        continue;
                    }
                }
                value_ends = false;
                continue;
            }
            _ => {}
        }
        value_ends = depth == 0
            && matches!(
                token.token,
                Token::RParen
                    | Token::RBracket
                    | Token::Number(..)
                    | Token::SingleQuotedString(_)
                    | Token::EscapedStringLiteral(_)
                    | Token::Placeholder(_)
            );
    }
    tokens.len()
}
