//! `a JOIN b JOIN c ON inner ON outer`: joins whose right side is a join, without the parentheses that sqlparser wants.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::is_word;

/// A join that has no condition yet.
struct Open {
    /// Where its right side begins.
    right: usize,
    /// There are joins in its right side.
    nested: bool,
}

/// Words that end FROM.
const ENDS: [Keyword; 12] = [
    Keyword::WHERE,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::WINDOW,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::FETCH,
    Keyword::RETURNING,
];

/// The tokens with parentheses around right sides that are joins; `None` where there are none. Positions stay.
///
/// # Errors
/// Where a join should have had ON or USING: the place of the token that is there instead.
pub(super) fn parenthesized(tokens: &[TokenWithSpan]) -> Result<Option<Vec<TokenWithSpan>>, usize> {
    let is = |at: usize, keyword: Keyword| is_word(tokens.get(at), keyword);
    if !(0..tokens.len()).any(|at| is(at, Keyword::JOIN)) {
        return Ok(None);
    }
    let mut inserts: Vec<(usize, Token)> = vec![];
    // One for each parenthesis that is open.
    let mut levels: Vec<Vec<Open>> = vec![vec![]];
    for (at, TokenWithSpan { token, .. }) in tokens.iter().enumerate() {
        let ends =
            matches!(token, Token::RParen | Token::Comma | Token::SemiColon) || ENDS.iter().any(|word| is(at, *word));
        if ends && levels.last().is_some_and(|open| !open.is_empty()) {
            return Err(at);
        }
        match token {
            Token::LParen => levels.push(vec![]),
            Token::RParen if levels.len() > 1 => drop(levels.pop()),
            _ => {}
        }
        let Some(open) = levels.last_mut() else { break };
        if is(at, Keyword::JOIN) {
            if let Some(outer) = open.last_mut() {
                outer.nested = true;
            }
            let before = |keyword: Keyword, by: usize| at >= by && is(at - by, keyword);
            let natural = (1..=3).any(|by| before(Keyword::NATURAL, by));
            if !natural && !before(Keyword::CROSS, 1) {
                open.push(Open { right: at + 1, nested: false });
            }
        } else if (is(at, Keyword::ON) || is(at, Keyword::USING))
            && let Some(Open { right, nested: true }) = open.pop()
        {
            inserts.push((right, Token::LParen));
            inserts.push((at, Token::RParen));
        }
    }
    if levels.iter().any(|open| !open.is_empty()) {
        return Err(tokens.len());
    }
    if inserts.is_empty() {
        return Ok(None);
    }
    // A right side may begin where another one does, none ends where one begins.
    inserts.sort_by_key(|(at, _)| *at);
    let mut result = Vec::with_capacity(tokens.len() + inserts.len());
    let mut inserts = inserts.into_iter().peekable();
    for (at, token) in tokens.iter().enumerate() {
        while let Some((_, parenthesis)) = inserts.next_if(|(place, _)| *place == at) {
            result.push(TokenWithSpan { token: parenthesis, span: token.span });
        }
        result.push(token.clone());
    }
    Ok(Some(result))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn of(sql: &str) -> String {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().unwrap();
        let tokens: Vec<_> = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        match parenthesized(&tokens) {
            Ok(Some(tokens)) => tokens.iter().map(|token| token.token.to_string()).collect::<Vec<_>>().join(" "),
            Ok(None) => "as it is".to_owned(),
            Err(at) => format!("wrong at {at}"),
        }
    }

    #[test]
    fn right_sides_that_are_joins_are_found() {
        for (sql, expected) in [
            ("a JOIN b ON x JOIN c ON y", "as it is"),
            ("a JOIN b JOIN c ON x ON y", "a JOIN ( b JOIN c ON x ) ON y"),
            ("a JOIN b JOIN c JOIN d ON x ON y ON z", "a JOIN ( b JOIN ( c JOIN d ON x ) ON y ) ON z"),
            ("a JOIN b JOIN c USING (k) JOIN d ON y ON z", "a JOIN ( b JOIN c USING ( k ) JOIN d ON y ) ON z"),
            ("a JOIN b CROSS JOIN c ON x", "a JOIN ( b CROSS JOIN c ) ON x"),
            ("a NATURAL LEFT OUTER JOIN b JOIN c ON x", "as it is"),
            ("a LEFT JOIN (b JOIN c ON x) ON y", "as it is"),
            ("a JOIN b", "wrong at 3"),
            ("a JOIN b JOIN c ON x WHERE y", "wrong at 7"),
            ("(SELECT 1 FROM a JOIN b) JOIN c ON x", "wrong at 7"),
            ("a JOIN (SELECT DISTINCT ON (p) q FROM b JOIN c ON x) s ON y", "as it is"),
        ] {
            assert_eq!(of(sql), expected, "{sql}");
        }
    }
}
