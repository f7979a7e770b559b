//! `'1 day'::interval PRECEDING`: sqlparser reads a string in front of PRECEDING as all there is; in parentheses it is an expression.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::is_word;

/// The tokens with parentheses around strings with a cast that bound a frame; `None` where there are none. Positions stay.
pub(super) fn parenthesized(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let ends = |at: usize| is_word(tokens.get(at), Keyword::PRECEDING) || is_word(tokens.get(at), Keyword::FOLLOWING);
    let is_cast = |at: usize| {
        matches!(tokens.get(at).map(|token| &token.token), Some(Token::SingleQuotedString(_)))
            && tokens.get(at + 1).is_some_and(|token| token.token == Token::DoubleColon)
    };
    let begins = |at: &usize| {
        let before = |keyword: Keyword| *at > 0 && is_word(tokens.get(at - 1), keyword);
        let frame = [Keyword::BETWEEN, Keyword::AND, Keyword::RANGE, Keyword::ROWS, Keyword::GROUPS];
        is_cast(*at) && frame.into_iter().any(before)
    };
    // A type has a few tokens at most: `'…'::pg_catalog.interval(0)`.
    let longest = 8;
    let begin_of = |end: usize| (end.saturating_sub(longest)..end).rev().take_while(|at| !ends(*at)).find(begins);
    let pairs: Vec<(usize, usize)> =
        (0..tokens.len()).filter(|at| ends(*at)).filter_map(|end| Some((begin_of(end)?, end))).collect();
    if pairs.is_empty() {
        return None;
    }
    let mut result = Vec::with_capacity(tokens.len() + 2 * pairs.len());
    for (at, token) in tokens.iter().enumerate() {
        let place = |token: Token| TokenWithSpan { token, span: tokens[at].span };
        if pairs.iter().any(|(_, end)| *end == at) {
            result.push(place(Token::RParen));
        }
        if pairs.iter().any(|(begin, _)| *begin == at) {
            result.push(place(Token::LParen));
        }
        result.push(token.clone());
    }
    Some(result)
}
