//! The grammar of sequences: their options, and those of identity columns.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::relation::sql_type;
use super::tokens::Tokens;
use crate::error::SqlState;
use crate::statement::control::Control;
use crate::statement::trees::{CreateSequence, IdentitySyntax, OwnedBy, SequenceOptions};
use crate::{Error, Result};

/// What follows CREATE SEQUENCE.
pub(super) fn create(t: &mut Tokens<'_>, temporary: bool) -> Result<Control> {
    let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
    let name = t.name()?;
    let mut options = SequenceOptions::default();
    while option(t, &mut options)? {}
    Ok(Control::CreateSequence(Box::new(CreateSequence { name, temporary, if_not_exists, options })))
}

/// GENERATED {ALWAYS | BY DEFAULT} AS IDENTITY [(options)], where GENERATED comes next.
pub(super) fn identity(t: &mut Tokens<'_>) -> Result<IdentitySyntax> {
    let offset = t.offset();
    t.expect(&["GENERATED"])?;
    let always = t.eat(&["ALWAYS"]);
    if !always {
        t.expect(&["BY", "DEFAULT"])?;
    }
    t.expect(&["AS"])?;
    if t.peek() == &Token::LParen {
        return Err(Error::unsupported("generated columns are not supported")
            .hint("Compute the column in a view, or when rows are inserted.")
            .at(offset));
    }
    t.expect(&["IDENTITY"])?;
    Ok(IdentitySyntax { always, options: parenthesized(t)? })
}

/// `(option …)`, if a parenthesis comes next.
fn parenthesized(t: &mut Tokens<'_>) -> Result<SequenceOptions> {
    let mut options = SequenceOptions::default();
    if t.eat_token(&Token::LParen) {
        while option(t, &mut options)? {}
        t.expect_token(&Token::RParen)?;
    }
    Ok(options)
}

/// Reads one option, if one comes next.
pub(super) fn option(t: &mut Tokens<'_>, options: &mut SequenceOptions) -> Result<bool> {
    let offset = t.offset();
    let set = |known: bool| {
        if known {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options").at(offset));
        }
        Ok(())
    };
    if t.eat(&["AS"]) {
        set(options.sql_type.is_some())?;
        options.sql_type = Some(sql_type(t)?);
    } else if t.eat(&["INCREMENT"]) {
        set(options.increment.is_some())?;
        t.eat(&["BY"]);
        options.increment = Some(number(t)?);
    } else if t.eat(&["MINVALUE"]) {
        set(options.min.is_some())?;
        options.min = Some(Some(number(t)?));
    } else if t.eat(&["MAXVALUE"]) {
        set(options.max.is_some())?;
        options.max = Some(Some(number(t)?));
    } else if t.eat(&["NO", "MINVALUE"]) {
        set(options.min.is_some())?;
        options.min = Some(None);
    } else if t.eat(&["NO", "MAXVALUE"]) {
        set(options.max.is_some())?;
        options.max = Some(None);
    } else if t.eat(&["NO", "CYCLE"]) {
        set(options.cycle.is_some())?;
        options.cycle = Some(false);
    } else if t.eat(&["CYCLE"]) {
        set(options.cycle.is_some())?;
        options.cycle = Some(true);
    } else if t.eat(&["CACHE"]) {
        set(options.cache.is_some())?;
        options.cache = Some(number(t)?);
    } else if t.eat(&["START"]) {
        set(options.start.is_some())?;
        t.eat(&["WITH"]);
        options.start = Some(number(t)?);
    } else if t.eat(&["RESTART"]) {
        set(options.restart.is_some())?;
        let given = t.eat(&["WITH"]) || matches!(t.peek(), Token::Number(..) | Token::Minus | Token::Plus);
        options.restart = Some(if given { Some(number(t)?) } else { None });
    } else if t.eat(&["OWNED", "BY"]) {
        set(options.owner.is_some())?;
        options.owner = Some(owner(t)?);
    } else if t.eat(&["SEQUENCE", "NAME"]) {
        set(options.name.is_some())?;
        options.name = Some(t.name()?);
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// `table.column`, `schema.table.column` or NONE.
fn owner(t: &mut Tokens<'_>) -> Result<OwnedBy> {
    if t.eat(&["NONE"]) {
        return Ok(OwnedBy::Nothing);
    }
    let mut table = t.name()?;
    match table.parts.pop() {
        Some(column) if !table.parts.is_empty() => Ok(OwnedBy::Column(table, column)),
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, "invalid OWNED BY option")
            .hint("Specify OWNED BY table.column or OWNED BY NONE.")),
    }
}

/// A signed number of 64 bits.
fn number(t: &mut Tokens<'_>) -> Result<i64> {
    let sign = if t.eat_token(&Token::Minus) { "-" } else { "" };
    if sign.is_empty() {
        t.eat_token(&Token::Plus);
    }
    let Token::Number(digits, _) = t.peek() else { return Err(t.error()) };
    let text = format!("{sign}{digits}");
    t.advance();
    text.parse().map_err(|_| {
        let message = format!("value \"{text}\" is out of range for type bigint");
        Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
    })
}
