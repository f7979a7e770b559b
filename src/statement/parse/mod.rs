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

mod asof;
/// The body of DO.
pub(super) mod block;
mod constraint;
mod distinct;
mod frames;
/// GRANT, REVOKE and kin.
mod grant;
mod joins;
mod latest;
mod relation;
mod sequence;
/// CREATE and ALTER SOURCE.
mod source;
mod stretch;
mod tokens;
mod user_type;
mod utility;

pub use tokens::Offsets;
use tokens::Tokens;

/// The mark of an ASOF JOIN's condition: no name that a text can spell without quotes.
pub const ASOF: &str = "\u{1}asof";
/// The same, for the nearest row on either side.
pub const ASOF_NEAREST: &str = "\u{1}asof_nearest";
/// The mark of an LT JOIN's condition.
pub const LT: &str = "\u{1}lt";
/// The mark of a WINDOW JOIN's condition.
pub const WINDOW: &str = "\u{1}window";
/// Says in USING that all columns are keys, and none is the time.
pub const KEYS: &str = "\u{1}keys";
/// The mark that LATEST ON is in WHERE.
pub const LATEST: &str = "\u{1}latest";

/// What stands first in INSERT's list of columns for OVERRIDING SYSTEM VALUE.
pub const OVERRIDING_SYSTEM: &str = "\u{1}overriding system";
/// And for OVERRIDING USER VALUE.
pub const OVERRIDING_USER: &str = "\u{1}overriding user";

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
    let tokens = latest::clauses(sql, distinct::operands(continued(tokens)))?;
    asof::joins(sql, tokens)
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
            Token::Word(from)
                if from.keyword == Keyword::FROM
                    && from.quote_style.is_none()
                    && word(0, &["leading", "trailing", "both"])
                    && word(2, &["trim"]) =>
            {
                joined.push(TokenWithSpan::new(Token::SingleQuotedString(" ".into()), token.span));
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
        None => match selected_into(sql(&offsets, tokens)?) {
            (sql, None) => Statement::Sql(Box::new(sql)),
            (sql, Some(into)) => {
                let statement = Statement::Sql(Box::new(sql));
                let query = Parsed { text: std::sync::Arc::clone(text), offset, statement };
                Statement::Control(Box::new(created_by(&into, &offsets, query)))
            }
        },
    };
    Ok(Parsed { text: std::sync::Arc::clone(text), offset, statement })
}

/// `SELECT … INTO t` is CREATE TABLE AS: the query without INTO, and what stood there.
fn selected_into(mut statement: ast::Statement) -> (ast::Statement, Option<ast::SelectInto>) {
    let into = match &mut statement {
        ast::Statement::Query(query) => match query.body.as_mut() {
            ast::SetExpr::Select(select) => select.into.take(),
            _ => None,
        },
        _ => None,
    };
    (statement, into)
}

fn created_by(into: &ast::SelectInto, offsets: &Offsets<'_>, query: Parsed) -> Control {
    let idents: Vec<&ast::Ident> = into.name.0.iter().filter_map(ast::ObjectNamePart::as_ident).collect();
    let fold = |ident: &&ast::Ident| match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    let offset = idents.first().map_or(0, |ident| offsets.at(ident.span.start.line, ident.span.start.column));
    Control::CreateTable(Box::new(super::control::CreateTable {
        name: super::control::Name { parts: idents.iter().map(fold).collect(), offset },
        temporary: into.temporary,
        if_not_exists: false,
        columns: vec![],
        checks: vec![],
        primary_key: vec![],
        key_name: None,
        unique: vec![],
        foreign_keys: vec![],
        like: vec![],
        options: vec![],
        on_commit_drop: None,
        query: Some(Box::new(query)),
        no_data: false,
    }))
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
    if is_word(tokens.first(), Keyword::INSERT) && !is_word(tokens.get(1), Keyword::INTO) {
        return Err(near(offsets, tokens.get(1)));
    }
    // A clause word where a table should be: sqlparser would take it for a name.
    if let Some(pair) = tokens
        .windows(2)
        .find(|pair| is_word(pair.first(), Keyword::FROM) && CLAUSES.iter().any(|clause| is_word(pair.get(1), *clause)))
    {
        return Err(near(offsets, pair.get(1)));
    }
    if tokens.windows(3).any(|words| {
        is_word(words.first(), Keyword::WHERE)
            && is_word(words.get(1), Keyword::CURRENT)
            && is_word(words.get(2), Keyword::OF)
    }) {
        return Err(Error::unsupported("WHERE CURRENT OF is not supported"));
    }
    let (tokens, overriding) = without_overriding(tokens);
    let tokens = tokens.as_ref();
    let nested = joins::parenthesized(tokens).map_err(|at| near(offsets, tokens.get(at)))?;
    let tokens = nested.as_deref().unwrap_or(tokens);
    let framed = frames::parenthesized(tokens);
    let tokens = framed.as_deref().unwrap_or(tokens);
    let mut statement = run_parser(offsets, &plainer(tokens), |parser| parser.parse_statement())?;
    if let Some(mark) = overriding {
        mark_insert(&mut statement, mark)?;
    }
    distinct::restore(tokens, &mut statement);
    Ok(with_inside(statement))
}

/// INSERT without OVERRIDING … VALUE, which sqlparser does not know, and the mark that stands for it.
fn without_overriding(tokens: &[TokenWithSpan]) -> (std::borrow::Cow<'_, [TokenWithSpan]>, Option<&'static str>) {
    let word = |at: usize, text: &str| {
        matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
    };
    // Where it stands after the table or its columns: a query comes next.
    let found = (2..tokens.len()).find_map(|at| {
        let mark = match (word(at, "overriding"), word(at + 1, "system"), word(at + 1, "user")) {
            (true, true, _) => OVERRIDING_SYSTEM,
            (true, _, true) => OVERRIDING_USER,
            _ => return None,
        };
        word(at + 2, "value").then_some((at, mark))
    });
    match found {
        Some((at, mark)) if tokens.iter().any(|token| is_word(Some(token), Keyword::INSERT)) => {
            let rest = tokens[..at].iter().chain(&tokens[at + 3..]).cloned().collect();
            (std::borrow::Cow::Owned(rest), Some(mark))
        }
        _ => (std::borrow::Cow::Borrowed(tokens), None),
    }
}

fn mark_insert(statement: &mut ast::Statement, mark: &str) -> Result<()> {
    let columns = match statement {
        ast::Statement::Insert(insert) => Some(&mut insert.columns),
        ast::Statement::Query(query) => match query.body.as_mut() {
            ast::SetExpr::Insert(ast::Statement::Insert(insert)) => Some(&mut insert.columns),
            _ => None,
        },
        ast::Statement::Merge(merge) => {
            let mut inserts = merge.clauses.iter_mut().filter_map(|clause| match &mut clause.action {
                ast::MergeAction::Insert(insert) => Some(&mut insert.columns),
                _ => None,
            });
            inserts.next().filter(|_| inserts.next().is_none())
        }
        _ => None,
    };
    let columns =
        columns.ok_or_else(|| Error::unsupported("OVERRIDING is supported in INSERT, and in MERGE with one INSERT"))?;
    columns.insert(0, ast::ObjectName::from(ast::Ident::with_quote('"', mark)));
    Ok(())
}

/// Reserved words that begin a clause after FROM.
const CLAUSES: [Keyword; 8] = [
    Keyword::WHERE,
    Keyword::GROUP,
    Keyword::ORDER,
    Keyword::HAVING,
    Keyword::LIMIT,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
];

fn is_word(token: Option<&TokenWithSpan>, keyword: Keyword) -> bool {
    matches!(token, Some(TokenWithSpan { token: Token::Word(word), .. }) if word.keyword == keyword && word.quote_style.is_none())
}

/// Names the column that stands for DO NOTHING in MERGE.
pub(crate) const NOTHING: &str = "\u{2}nothing";
/// Names the column that stands for DEFAULT VALUES in MERGE.
pub(crate) const DEFAULTS: &str = "\u{2}defaults";

/// `("name") VALUES (0)`
fn one_value(name: &str, place: &TokenWithSpan) -> Vec<TokenWithSpan> {
    let tokens = [
        Token::LParen,
        Token::make_word(name, Some('"')),
        Token::RParen,
        Token::make_keyword("VALUES"),
        Token::LParen,
        Token::Number("0".into(), false),
        Token::RParen,
    ];
    tokens.into_iter().map(|token| TokenWithSpan { token, span: place.span }).collect()
}

/// MERGE's DO NOTHING as an action that sqlparser knows, of a column that no table has.
fn nothing(not_matched: bool, place: &TokenWithSpan) -> Vec<TokenWithSpan> {
    let at_place = |token| TokenWithSpan { token, span: place.span };
    if not_matched {
        let mut insert = vec![at_place(Token::make_keyword("INSERT"))];
        insert.extend(one_value(NOTHING, place));
        return insert;
    }
    let tokens = [
        Token::make_keyword("UPDATE"),
        Token::make_keyword("SET"),
        Token::make_word(NOTHING, Some('"')),
        Token::Eq,
        Token::Number("0".into(), false),
    ];
    tokens.into_iter().map(at_place).collect()
}

/// PostgreSQL's forms that sqlparser does not know, in the words of those it does. Positions stay.
fn plainer(tokens: &[TokenWithSpan]) -> std::borrow::Cow<'_, [TokenWithSpan]> {
    let keyword = |at: usize, keyword: Keyword| is_word(tokens.get(at), keyword);
    let token = |at: usize, wanted: &Token| tokens.get(at).is_some_and(|token| token.token == *wanted);
    let named = |at: usize| matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(_)));
    let merges = (0..tokens.len()).any(|at| keyword(at, Keyword::MERGE));
    let touched = |at: usize| {
        merges
            || keyword(at, Keyword::TABLE)
            || keyword(at, Keyword::ONLY)
            || keyword(at, Keyword::USING)
            || keyword(at, Keyword::FOR) && (keyword(at + 1, Keyword::NO) || keyword(at + 1, Keyword::KEY))
            || token(at, &Token::Period) && token(at + 1, &Token::Mul)
    };
    if !(0..tokens.len()).any(touched) {
        return std::borrow::Cow::Borrowed(tokens);
    }
    let word = |text: &str, place: &TokenWithSpan| TokenWithSpan { token: Token::make_keyword(text), span: place.span };
    let mut result: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    let mut at = 0;
    while at < tokens.len() {
        let here = &tokens[at];
        let before = |keyword: Keyword| at > 0 && is_word(tokens.get(at - 1), keyword);
        if keyword(at, Keyword::TABLE) && named(at + 1) {
            // TABLE t
            result.extend([
                word("SELECT", here),
                TokenWithSpan { token: Token::Mul, span: here.span },
                word("FROM", here),
            ]);
        } else if keyword(at, Keyword::ONLY)
            && [Keyword::FROM, Keyword::JOIN, Keyword::TABLE, Keyword::UPDATE, Keyword::INTO].into_iter().any(before)
        {
            // No table has children.
        } else if keyword(at, Keyword::FOR) && keyword(at + 1, Keyword::NO) && keyword(at + 2, Keyword::KEY) {
            // FOR NO KEY UPDATE
            result.push(here.clone());
            at += 2;
        } else if keyword(at, Keyword::FOR) && keyword(at + 1, Keyword::KEY) && keyword(at + 2, Keyword::SHARE) {
            result.push(here.clone());
            at += 1;
        } else if merges && before(Keyword::THEN) && keyword(at, Keyword::DO) && keyword(at + 1, Keyword::NOTHING) {
            let when = (0..at).rev().find(|at| keyword(*at, Keyword::WHEN)).unwrap_or(at);
            result.extend(nothing(keyword(when + 1, Keyword::NOT), here));
            at += 1;
        } else if merges && keyword(at, Keyword::DEFAULT) && before(Keyword::INSERT) && keyword(at + 1, Keyword::VALUES)
        {
            result.extend(one_value(DEFAULTS, here));
            at += 1;
        } else if keyword(at, Keyword::USING) && (token(at + 1, &Token::Lt) || token(at + 1, &Token::Gt)) {
            // ORDER BY x USING >
            result.push(word(if token(at + 1, &Token::Lt) { "ASC" } else { "DESC" }, here));
            at += 1;
        } else if token(at, &Token::LParen)
            && named(at + 1)
            && token(at + 2, &Token::RParen)
            && token(at + 3, &Token::Period)
            && token(at + 4, &Token::Mul)
            && (at == 0 || [Keyword::SELECT, Keyword::DISTINCT].into_iter().any(before) || token(at - 1, &Token::Comma))
        {
            // (t).*
            result.push(tokens[at + 1].clone());
            at += 2;
        } else {
            result.push(here.clone());
        }
        at += 1;
    }
    std::borrow::Cow::Owned(result)
}

/// `WITH … INSERT` as an INSERT whose query has the WITH; UPDATE and DELETE stay the body of a query.
pub(crate) fn with_inside(statement: ast::Statement) -> ast::Statement {
    let ast::Statement::Query(mut query) = statement else { return statement };
    let hoists =
        matches!(query.body.as_ref(), ast::SetExpr::Insert(ast::Statement::Insert(insert)) if insert.source.is_some());
    if !hoists {
        return ast::Statement::Query(query);
    }
    let with = query.with.take();
    let ast::SetExpr::Insert(ast::Statement::Insert(mut insert)) = *query.body else {
        unreachable!("just looked at");
    };
    if let Some(source) = &mut insert.source {
        source.with = match (with, source.with.take()) {
            (Some(mut outer), Some(inner)) => {
                outer.recursive |= inner.recursive;
                outer.cte_tables.extend(inner.cte_tables);
                Some(outer)
            }
            (outer, inner) => outer.or(inner),
        };
    }
    ast::Statement::Insert(insert)
}

fn expression(offsets: &Offsets<'_>, tokens: &[TokenWithSpan]) -> Result<ast::Expr> {
    let mut expression = run_parser(offsets, tokens, |parser| parser.parse_expr())?;
    distinct::restore(tokens, &mut expression);
    Ok(expression)
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
