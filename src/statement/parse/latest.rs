//! `LATEST ON`, QuestDB's clause between WHERE and GROUP BY: a condition, in tokens that every grammar knows.
//!
//! ```text
//! SELECT … FROM t WHERE c LATEST ON ts PARTITION BY k, l   →   SELECT … FROM t WHERE (c) AND "latest"(ts, k, l)
//! FROM (t LATEST ON ts PARTITION BY k)                     →   FROM (SELECT * FROM t WHERE "latest"(ts, k))
//! ```
//! `plan::latest` finds the mark again.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::LATEST;
use super::stretch::{is_name, is_word, quoted, stretch};
use super::tokens::Offsets;
use crate::Result;

/// What is wrong with most clauses that are.
const HINT: &str = "Write SELECT … FROM t [WHERE …] LATEST ON ts PARTITION BY key [, …].";

/// Says every such clause as a condition.
///
/// # Errors
/// 42601 for one that is incomplete or in the wrong place.
pub(super) fn clauses(sql: &str, mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut end = tokens.len();
    // From the last: the conditions before one may have others in parentheses.
    while let Some(at) = tokens[..end].iter().rposition(|token| is_word(token, "latest")) {
        end = at;
        if is_name(&tokens, at) || !tokens.get(at + 1).is_some_and(|token| is_word(token, "on")) {
            continue;
        }
        let before = Before::of(&tokens, at);
        let Some(clause) = Clause::parse(sql, &tokens, at, &before)? else { continue };
        let mut said = vec![];
        if before.implicit {
            let word = |text: &str| TokenWithSpan::new(Token::make_keyword(text), tokens[before.begin].span);
            said.extend([word("SELECT"), TokenWithSpan::new(Token::Mul, tokens[before.begin].span), word("FROM")]);
        }
        said.extend_from_slice(&tokens[before.begin..before.condition.unwrap_or(at)]);
        said.extend(clause.said(&tokens, at, before.condition));
        tokens.splice(before.begin..clause.end, said);
        // At least what stands before the clause stays where it was, and it is shorter than what comes in.
        end = at;
    }
    Ok(tokens)
}

/// What stands before the clause in its SELECT.
struct Before {
    /// The first token of the SELECT.
    begin: usize,
    /// `(t LATEST ON …)`: SELECT * FROM is understood.
    implicit: bool,
    /// Where WHERE is.
    condition: Option<usize>,
    /// A clause that should come later.
    later: bool,
    /// Relations are joined: the word may be the last one's alias.
    joins: bool,
    /// It is a SELECT.
    selects: bool,
}

impl Before {
    fn of(tokens: &[TokenWithSpan], at: usize) -> Self {
        let mut found = Self { begin: 0, implicit: false, condition: None, later: false, joins: false, selects: false };
        let mut depth = 0_usize;
        for place in (0..at).rev() {
            let token = &tokens[place];
            match &token.token {
                Token::RParen | Token::RBracket => depth += 1,
                Token::LParen | Token::LBracket if depth == 0 => {
                    found.begin = place + 1;
                    found.implicit = true;
                    found.selects = true;
                    return found;
                }
                Token::LParen | Token::LBracket => depth -= 1,
                Token::SemiColon if depth == 0 => {
                    found.begin = place + 1;
                    return found;
                }
                Token::Word(word) if depth == 0 && word.quote_style.is_none() => {
                    let follows_period = place > 0 && tokens[place - 1].token == Token::Period;
                    match word.value.to_lowercase().as_str() {
                        _ if follows_period => {}
                        "where" => found.condition = found.condition.or(Some(place)),
                        "join" => found.joins = true,
                        "group" | "order" | "having" | "limit" | "offset" | "fetch" => found.later = true,
                        "select" => {
                            found.begin = place;
                            found.selects = true;
                            return found;
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// The clause: ranges of tokens.
struct Clause {
    time: (usize, usize),
    keys: (usize, usize),
    end: usize,
}

impl Clause {
    /// The clause that begins at `at`; `None` if the word is an alias before a join's condition.
    fn parse(sql: &str, tokens: &[TokenWithSpan], at: usize, before: &Before) -> Result<Option<Self>> {
        let is = |place: usize, text: &str| tokens.get(place).is_some_and(|token| is_word(token, text));
        let near = |place: usize, hint: &str| super::near(&Offsets::new(sql), tokens.get(place)).hint(hint);
        let partition = stretch(tokens, at + 2, &["partition"]);
        if !is(partition, "partition") || !is(partition + 1, "by") {
            return if before.joins { Ok(None) } else { Err(near(partition, HINT)) };
        }
        if partition == at + 2 {
            return Err(near(partition, HINT));
        }
        if before.later || !before.selects {
            return Err(near(at, "LATEST ON is a clause of SELECT, after WHERE and before GROUP BY and ORDER BY."));
        }
        let begin = partition + 2;
        let mut end = begin;
        loop {
            let next = stretch(tokens, end, &["latest"]);
            if next == end {
                return Err(near(next, HINT));
            }
            end = next;
            if tokens.get(end).is_none_or(|token| token.token != Token::Comma) {
                break;
            }
            end += 1;
        }
        if is(end, "where") {
            return Err(near(end, "WHERE comes before LATEST ON; for conditions on the latest rows use a subquery."));
        }
        Ok(Some(Self { time: (at + 2, partition), keys: (begin, end), end }))
    }

    /// From WHERE on.
    fn said(&self, tokens: &[TokenWithSpan], at: usize, condition: Option<usize>) -> Vec<TokenWithSpan> {
        let token = |token: Token| TokenWithSpan::new(token, tokens[at].span);
        let mut said = vec![];
        match condition {
            Some(place) => {
                said.extend([tokens[place].clone(), token(Token::LParen)]);
                said.extend_from_slice(&tokens[place + 1..at]);
                said.extend([token(Token::RParen), token(Token::make_keyword("AND"))]);
            }
            None => said.push(token(Token::make_keyword("WHERE"))),
        }
        said.extend([token(quoted(LATEST.to_owned())), token(Token::LParen)]);
        said.extend_from_slice(&tokens[self.time.0..self.time.1]);
        said.push(token(Token::Comma));
        said.extend_from_slice(&tokens[self.keys.0..self.keys.1]);
        // A stored text ends where the last token does.
        said.push(TokenWithSpan::new(Token::RParen, tokens[self.end - 1].span));
        said
    }
}
