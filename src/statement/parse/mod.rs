//! Text to statements: the text is cut into tokens once, split on `;`, and each statement is either ours (a small
//! recursive-descent grammar over the tokens) or sqlparser's Postgres dialect. Positions are byte offsets in the text;
//! text is never made from syntax trees.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

use crate::error::SqlState;
use crate::statement::control::Control;
use crate::{Error, Result};

mod relation;
mod tokens;
mod utility;

pub use tokens::Offsets;
use tokens::Tokens;

/// Nesting of expressions and subqueries; PostgreSQL's limit is its stack (54001).
const DEPTH_MAX: usize = 200;

/// One statement of a query string.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The text its spans and offsets refer to. A nested statement (EXPLAIN, PREPARE, DECLARE) shares its parent's text.
    pub text: std::sync::Arc<str>,
    /// Where `text` begins in the query string, characters.
    pub offset: usize,
    /// What it is.
    pub statement: Statement,
}

/// A parsed statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// sqlparser's: a query, INSERT, UPDATE, DELETE, MERGE.
    Sql(Box<ast::Statement>),
    /// Ours.
    Control(Box<Control>),
}

/// Splits and parses a query string. Empty statements are left out.
///
/// # Errors
/// 42601 with position, as PostgreSQL words it: `syntax error at or near "x"`.
pub fn parse(sql: &str) -> Result<Vec<Parsed>> {
    let tokens = tokenize(sql)?;
    let pieces: Vec<&[TokenWithSpan]> = split(&tokens).into_iter().filter(|piece| !piece.is_empty()).collect();
    let offsets = Offsets::new(sql);
    if let [piece] = pieces.as_slice() {
        return Ok(vec![parse_tokens(&std::sync::Arc::from(sql), 0, piece)?]);
    }
    pieces
        .into_iter()
        .map(|piece| {
            // Each statement gets its own text, so that its spans do not depend on its neighbours.
            let start = offsets.start(&piece[0]);
            let end = offsets.end(&piece[piece.len() - 1]);
            let text: std::sync::Arc<str> = std::sync::Arc::from(&sql[start..end]);
            let tokens = tokenize(&text)?;
            let before = sql[..start].chars().count();
            parse_tokens(&text, before, &tokens).map_err(|error| shift(error, start))
        })
        .collect()
}

/// Parses one expression, for stored texts (DEFAULT, CHECK).
///
/// # Errors
/// 42601.
pub fn parse_expression(sql: &str) -> Result<ast::Expr> {
    let tokens = tokenize(sql)?;
    expression(&Offsets::new(sql), &tokens)
}

/// Parses one query, for stored texts (views).
///
/// # Errors
/// 42601.
pub fn parse_query(sql: &str) -> Result<ast::Query> {
    match parse(sql)?.pop().map(|parsed| parsed.statement) {
        Some(Statement::Sql(statement)) => match *statement {
            ast::Statement::Query(query) => Ok(*query),
            _ => Err(Error::internal("a stored query is not a query")),
        },
        _ => Err(Error::internal("a stored query is not a query")),
    }
}

fn shift(mut error: Error, by: usize) -> Error {
    if let Some(offset) = &mut error.report_mut().offset {
        *offset += by;
    }
    error
}

fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>> {
    let mut tokens = Vec::with_capacity(sql.len() / 4 + 4);
    Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location_into_buf(&mut tokens)
        .map_err(|error| lexical_error(&Offsets::new(sql), &error))?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    Ok(continued(tokens))
}

/// What PostgreSQL's grammar has and sqlparser's has not, where tokens alone tell: strings with nothing but a line break
/// between them are one; `trim(leading from x)` names its blank; SYMMETRIC is an operator before the first bound, which
/// the planner takes off again.
fn continued(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut joined: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if let (Token::SingleQuotedString(more), Some(last)) = (&token.token, joined.last_mut())
            && last.span.end.line < token.span.start.line
            && let Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text)
            | Token::NationalStringLiteral(text) = &mut last.token
        {
            text.push_str(more);
            last.span.end = token.span.end;
            continue;
        }
        let word = |ago: usize, words: &[&str]| {
            joined.len() > ago
                && matches!(&joined[joined.len() - 1 - ago].token, Token::Word(word)
                    if word.quote_style.is_none() && words.iter().any(|other| word.value.eq_ignore_ascii_case(other)))
        };
        let mut token = token;
        match &token.token {
            Token::Word(from) if from.keyword == Keyword::FROM && from.quote_style.is_none() => {
                if word(0, &["leading", "trailing", "both"]) && word(2, &["trim"]) {
                    joined.push(TokenWithSpan::new(Token::SingleQuotedString(" ".into()), token.span));
                }
            }
            Token::Word(symmetric)
                if symmetric.quote_style.is_none()
                    && symmetric.value.eq_ignore_ascii_case("symmetric")
                    && word(0, &["between"]) =>
            {
                token.token = Token::DoubleExclamationMark;
            }
            _ => {}
        }
        joined.push(token);
    }
    joined
}

fn lexical_error(offsets: &Offsets<'_>, error: &TokenizerError) -> Error {
    let offset = offsets.at(error.location.line, error.location.column);
    let rest: String = offsets.text()[offset..].chars().take(40).collect();
    let message = if error.message.to_lowercase().contains("unterminated") {
        let what = match error.message.to_lowercase() {
            text if text.contains("comment") => "/* comment",
            text if text.contains("dollar") => "dollar-quoted string",
            text if text.contains("delimited identifier") || text.contains("expected close delimiter '\"'") => {
                "quoted identifier"
            }
            _ => "quoted string",
        };
        format!("unterminated {what} at or near \"{rest}\"")
    } else if error.message.contains("close delimiter") {
        format!("unterminated quoted identifier at or near \"{rest}\"")
    } else {
        format!("syntax error at or near \"{rest}\"")
    };
    Error::new(SqlState::SYNTAX_ERROR, message).at(offset)
}

fn split(tokens: &[TokenWithSpan]) -> Vec<&[TokenWithSpan]> {
    tokens.split(|token| token.token == Token::SemiColon).collect()
}

/// Parses the tokens of one statement, which lie in `text`.
fn parse_tokens(text: &std::sync::Arc<str>, offset: usize, tokens: &[TokenWithSpan]) -> Result<Parsed> {
    let offsets = Offsets::new(text);
    let statement = match utility::control(&mut Tokens::new(text, &offsets, tokens))? {
        Some(control) => Statement::Control(Box::new(control)),
        None => Statement::Sql(Box::new(sql(&offsets, tokens)?)),
    };
    Ok(Parsed { text: std::sync::Arc::clone(text), offset, statement })
}

/// A query or DML statement by sqlparser.
fn sql(offsets: &Offsets<'_>, tokens: &[TokenWithSpan]) -> Result<ast::Statement> {
    let first = tokens.first().map_or(&Token::EOF, |token| &token.token);
    let known = match first {
        Token::LParen => true,
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::SELECT
                | Keyword::WITH
                | Keyword::VALUES
                | Keyword::TABLE
                | Keyword::INSERT
                | Keyword::UPDATE
                | Keyword::DELETE
                | Keyword::MERGE
        ),
        _ => false,
    };
    if !known {
        return Err(near(offsets, tokens.first()));
    }
    run_parser(offsets, tokens, |parser| parser.parse_statement())
}

fn expression(offsets: &Offsets<'_>, tokens: &[TokenWithSpan]) -> Result<ast::Expr> {
    run_parser(offsets, tokens, |parser| parser.parse_expr())
}

fn run_parser<T>(
    offsets: &Offsets<'_>,
    tokens: &[TokenWithSpan],
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T> {
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens.to_vec());
    let result = parse(&mut parser);
    let next = parser.peek_token();
    match result {
        Ok(result) if next.token == Token::EOF => Ok(result),
        Ok(_) => Err(near(offsets, Some(&next))),
        Err(ParserError::RecursionLimitExceeded) => {
            Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                .hint("Nest fewer subqueries and parentheses."))
        }
        Err(ParserError::ParserError(message) | ParserError::TokenizerError(message)) => {
            Err(parser_error(offsets, tokens, &message))
        }
    }
}

/// sqlparser says `… found: X at Line: 1, Column: 8`; PostgreSQL names the token.
fn parser_error(offsets: &Offsets<'_>, tokens: &[TokenWithSpan], message: &str) -> Error {
    let location = message.rfind(" at Line: ").and_then(|at| {
        let (line, column) = message[at + 10..].split_once(", Column: ")?;
        Some((line.parse::<u64>().ok()?, column.trim().parse::<u64>().ok()?))
    });
    match location {
        Some((line, column)) => near(
            offsets,
            tokens.iter().find(|token| token.span.start.line == line && token.span.start.column == column),
        ),
        None if message.contains("found: EOF") => near(offsets, None),
        None => Error::new(SqlState::SYNTAX_ERROR, "syntax error").detail(message.to_owned()),
    }
}

/// `syntax error at or near "x"`.
fn near(offsets: &Offsets<'_>, token: Option<&TokenWithSpan>) -> Error {
    match token.filter(|token| token.token != Token::EOF) {
        Some(token) => {
            let (start, end) = (offsets.start(token), offsets.end(token));
            Error::new(
                SqlState::SYNTAX_ERROR,
                format!("syntax error at or near \"{}\"", offsets.text().get(start..end).unwrap_or_default()),
            )
            .at(start)
        }
        None => Error::new(SqlState::SYNTAX_ERROR, "syntax error at end of input").at(offsets.text().len()),
    }
}
