//! The grammar of UNIQUE, REFERENCES and FOREIGN KEY, and of indexes.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::Tokens;
use super::utility::value;
use crate::error::SqlState;
use crate::statement::control::Control;
use crate::statement::trees::{CreateIndex, ForeignKeySyntax, IndexKeySyntax, RelationKind, UniqueSyntax};
use crate::{Error, Result};

/// What follows UNIQUE: `[NULLS [NOT] DISTINCT] [(columns)] [INCLUDE (columns)] …`. `column`: of a column's constraint.
pub(super) fn unique(t: &mut Tokens<'_>, name: Option<String>, column: Option<&str>) -> Result<UniqueSyntax> {
    let offset = t.offset();
    nulls_distinct(t, offset)?;
    if t.eat(&["USING", "INDEX"]) {
        return Err(Error::unsupported("a constraint cannot be made of an index").at(offset));
    }
    let columns = match column {
        Some(column) => vec![column.to_owned()],
        None => t.parenthesized(Tokens::identifier)?,
    };
    let include = if t.eat(&["INCLUDE"]) { t.parenthesized(Tokens::identifier)? } else { vec![] };
    storage(t)?;
    let (deferrable, _) = deferral(t)?;
    if deferrable {
        return Err(Error::unsupported("a unique constraint cannot be deferrable").at(offset));
    }
    Ok(UniqueSyntax { name, columns, include, offset })
}

fn nulls_distinct(t: &mut Tokens<'_>, offset: usize) -> Result<()> {
    if t.eat(&["NULLS", "NOT", "DISTINCT"]) {
        return Err(Error::unsupported("NULLS NOT DISTINCT is not supported").at(offset));
    }
    t.eat(&["NULLS", "DISTINCT"]);
    Ok(())
}

/// `WITH (…)` and `USING INDEX TABLESPACE name`, which mean nothing here: the parameters.
fn storage(t: &mut Tokens<'_>) -> Result<Vec<(String, String)>> {
    let mut parameters = vec![];
    if t.eat(&["WITH"]) {
        parameters = t.parenthesized(|t| {
            let name = t.name()?.parts.join(".");
            Ok((name, if t.eat_token(&Token::Eq) { value(t)? } else { "true".to_owned() }))
        })?;
    }
    if t.eat(&["USING", "INDEX", "TABLESPACE"]) {
        t.identifier()?;
    }
    Ok(parameters)
}

/// `[NOT] DEFERRABLE`, `INITIALLY {DEFERRED | IMMEDIATE}`: deferrable, and deferred at first.
fn deferral(t: &mut Tokens<'_>) -> Result<(bool, bool)> {
    let (mut deferrable, mut deferred) = (false, false);
    loop {
        if t.eat(&["NOT", "DEFERRABLE"]) {
            deferrable = false;
        } else if t.eat(&["DEFERRABLE"]) {
            deferrable = true;
        } else if t.eat(&["INITIALLY", "DEFERRED"]) {
            (deferrable, deferred) = (true, true);
        } else if !t.eat(&["INITIALLY", "IMMEDIATE"]) {
            return Ok((deferrable, deferred));
        }
    }
}

/// What follows FOREIGN KEY: `(columns) REFERENCES …`.
pub(super) fn foreign_key(t: &mut Tokens<'_>, name: Option<String>) -> Result<ForeignKeySyntax> {
    let columns = t.parenthesized(Tokens::identifier)?;
    references(t, name, columns)
}

/// `REFERENCES table [(columns)] [MATCH …] [ON …] …`
pub(super) fn references(t: &mut Tokens<'_>, name: Option<String>, columns: Vec<String>) -> Result<ForeignKeySyntax> {
    t.expect(&["REFERENCES"])?;
    let table = t.name()?;
    let key = if t.peek() == &Token::LParen { t.parenthesized(Tokens::identifier)? } else { vec![] };
    let mut syntax = ForeignKeySyntax {
        name,
        columns,
        table,
        key,
        on_update: 'a',
        on_delete: 'a',
        match_full: false,
        deferrable: false,
        deferred: false,
    };
    loop {
        let offset = t.offset();
        if t.eat(&["MATCH"]) {
            match t.eat_any(&["FULL", "SIMPLE", "PARTIAL"]) {
                Some("FULL") => syntax.match_full = true,
                Some("SIMPLE") => {}
                Some(_) => return Err(Error::unsupported("MATCH PARTIAL not yet implemented").at(offset)),
                None => return Err(t.error()),
            }
        } else if t.eat(&["ON", "UPDATE"]) {
            syntax.on_update = action(t)?;
        } else if t.eat(&["ON", "DELETE"]) {
            syntax.on_delete = action(t)?;
        } else {
            break;
        }
    }
    (syntax.deferrable, syntax.deferred) = deferral(t)?;
    let _ = t.eat(&["NOT", "VALID"]) || t.eat(&["NOT", "ENFORCED"]);
    Ok(syntax)
}

fn action(t: &mut Tokens<'_>) -> Result<char> {
    let action = if t.eat(&["NO", "ACTION"]) {
        'a'
    } else if t.eat(&["RESTRICT"]) {
        'r'
    } else if t.eat(&["CASCADE"]) {
        'c'
    } else if t.eat(&["SET", "NULL"]) {
        'n'
    } else if t.eat(&["SET", "DEFAULT"]) {
        'd'
    } else {
        return Err(t.error());
    };
    if matches!(action, 'n' | 'd') && t.peek() == &Token::LParen {
        t.parenthesized(Tokens::identifier)?;
    }
    Ok(action)
}

/// What follows CREATE [UNIQUE] INDEX.
pub(super) fn create_index(t: &mut Tokens<'_>, unique: bool) -> Result<Control> {
    t.eat(&["CONCURRENTLY"]);
    let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
    let name = if t.is("ON") { None } else { Some(t.identifier()?) };
    t.expect(&["ON"])?;
    t.eat(&["ONLY"]);
    let table = t.name()?;
    let method = if t.eat(&["USING"]) { t.identifier()? } else { "btree".to_owned() };
    let keys = t.parenthesized(index_key)?;
    let include = if t.eat(&["INCLUDE"]) { t.parenthesized(Tokens::identifier)? } else { vec![] };
    let offset = t.offset();
    nulls_distinct(t, offset)?;
    let parameters = storage(t)?;
    if t.eat(&["TABLESPACE"]) {
        t.identifier()?;
    }
    let predicate = if t.eat(&["WHERE"]) { Some(t.expression(&|_| false)?) } else { None };
    let create = CreateIndex { name, table, unique, if_not_exists, method, keys, include, parameters, predicate };
    Ok(Control::CreateIndex(Box::new(create)))
}

/// `{column | function(…) | (expression)} [COLLATE name] [class] [ASC | DESC] [NULLS {FIRST | LAST}]`
fn index_key(t: &mut Tokens<'_>) -> Result<IndexKeySyntax> {
    const WORDS: [&str; 4] = ["COLLATE", "ASC", "DESC", "NULLS"];
    let offset = t.offset();
    let is_plain = matches!(t.peek(), Token::Word(_)) && !t.followed_by(&Token::LParen);
    let (column, expression) = if is_plain {
        (Some(t.identifier()?), None)
    } else if t.peek() == &Token::LParen {
        t.advance();
        let expression = t.expression(&|_| false)?;
        t.expect_token(&Token::RParen)?;
        (None, Some(expression))
    } else {
        // A call of a function needs no parentheses around it.
        let mut depth = 0_usize;
        let begin = t.position();
        loop {
            match t.advance() {
                Token::LParen => depth += 1,
                Token::RParen if depth == 1 => break,
                Token::RParen => depth = depth.saturating_sub(1),
                Token::EOF => return Err(t.error()),
                _ => {}
            }
        }
        let end = t.position();
        t.rewind(begin);
        let expression = t.expression_to(end)?;
        (None, Some(expression))
    };
    if t.eat(&["COLLATE"]) {
        t.name()?;
    }
    let is_class = matches!(t.peek(), Token::Word(_)) && !WORDS.iter().any(|word| t.is(word));
    let class = if is_class { Some(t.name()?.last().to_owned()) } else { None };
    let descending = t.eat_any(&["ASC", "DESC"]) == Some("DESC");
    let nulls_first = if t.eat(&["NULLS", "FIRST"]) {
        true
    } else if t.eat(&["NULLS", "LAST"]) {
        false
    } else {
        descending
    };
    if column.is_none() && expression.is_none() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "an index needs columns").at(offset));
    }
    Ok(IndexKeySyntax { column, expression, class, descending, nulls_first, offset })
}

/// REINDEX: accepted, there is nothing to build again.
pub(super) fn reindex(t: &mut Tokens<'_>) -> Result<Control> {
    t.expect(&["REINDEX"])?;
    if t.peek() == &Token::LParen {
        t.parenthesized(|t| {
            t.identifier()?;
            if !matches!(t.peek(), Token::Comma | Token::RParen) {
                value(t)?;
            }
            Ok(())
        })?;
    }
    let kind = match t.eat_any(&["INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM"]) {
        Some("INDEX") => Some(RelationKind::Index),
        Some("TABLE") => Some(RelationKind::Table),
        Some(_) => None,
        None => return Err(t.error()),
    };
    t.eat(&["CONCURRENTLY"]);
    let name = if t.at_end() { None } else { Some(t.name()?) };
    if name.is_none() && kind.is_some() {
        return Err(t.error());
    }
    Ok(Control::Reindex { kind, name })
}
