//! Text to statements: our lexer splits a query string on `;` and keeps byte offsets; statements that sqlparser does not
//! know (or parses wrongly) are ours; the rest is sqlparser's Postgres dialect.

use datafusion::sql::sqlparser::ast;

use crate::Result;

/// One statement of a query string.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// Its text, without the semicolon.
    pub text: String,
    /// Where it begins in the query string, bytes.
    pub offset: usize,
    /// What it is.
    pub statement: Statement,
}

/// A parsed statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// sqlparser knows it. Spans in it are relative to `Parsed::text`.
    Sql(Box<ast::Statement>),
    /// Ours.
    Control(Control),
}

/// Statements that are not sqlparser's.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {}

/// Splits and parses a query string.
///
/// # Errors
/// 42601 with position, as PostgreSQL words it: `syntax error at or near "x"`.
pub fn parse(sql: &str) -> Result<Vec<Parsed>> {
    let _ = sql;
    todo!()
}
