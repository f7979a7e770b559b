//! The grammar of types that users make.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::relation::{CONSTRAINT_WORDS, type_name};
use super::tokens::Tokens;
use super::utility::refused;
use crate::error::SqlState;
use crate::statement::control::{CheckSyntax, Control};
use crate::statement::trees::{AlterDomain, AlterType, CreateDomain};
use crate::{Error, Result};

/// What follows CREATE TYPE.
pub(super) fn create(t: &mut Tokens<'_>) -> Result<Control> {
    let name = t.name()?;
    if !t.eat(&["AS", "ENUM"]) {
        return Ok(refused(t, "CREATE TYPE of another kind than ENUM"));
    }
    t.expect_token(&Token::LParen)?;
    let labels = if t.peek() == &Token::RParen { vec![] } else { t.list(Tokens::string)? };
    t.expect_token(&Token::RParen)?;
    Ok(Control::CreateEnum { name, labels })
}

/// What follows ALTER TYPE.
pub(super) fn alter(t: &mut Tokens<'_>) -> Result<Control> {
    let name = t.name()?;
    let action = if t.eat(&["ADD", "VALUE"]) {
        let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
        let label = t.string()?;
        let beside = match t.eat_any(&["BEFORE", "AFTER"]) {
            Some(word) => Some((word == "AFTER", t.string()?)),
            None => None,
        };
        AlterType::AddValue { label, if_not_exists, beside }
    } else if t.eat(&["RENAME", "VALUE"]) {
        let from = t.string()?;
        t.expect(&["TO"])?;
        AlterType::RenameValue(from, t.string()?)
    } else {
        common(t)?
    };
    Ok(Control::AlterType { word: "TYPE", name, action: Box::new(action) })
}

/// What follows CREATE DOMAIN.
pub(super) fn create_domain(t: &mut Tokens<'_>) -> Result<Control> {
    let name = t.name()?;
    t.eat(&["AS"]);
    let mut domain = CreateDomain { name, base: type_name(t)?, default: None, not_null: false, checks: vec![] };
    let mut nullable = false;
    loop {
        let offset = t.offset();
        let name = if t.eat(&["CONSTRAINT"]) { Some(t.identifier()?) } else { None };
        if t.eat(&["NOT", "NULL"]) {
            domain.not_null = true;
        } else if t.eat(&["NULL"]) {
            nullable = true;
        } else if t.eat(&["CHECK"]) {
            domain.checks.push(condition(t, name)?);
        } else if name.is_some() {
            return Err(t.error());
        } else if t.eat(&["DEFAULT"]) {
            if domain.default.is_some() {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "multiple default expressions").at(offset));
            }
            domain.default = Some(t.expression(&|word| CONSTRAINT_WORDS.contains(&word))?);
        } else if t.eat(&["COLLATE"]) {
            t.name()?;
        } else if t.at_end() {
            break;
        } else {
            return Err(t.error());
        }
        if nullable && domain.not_null {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "conflicting NULL/NOT NULL constraints").at(offset));
        }
    }
    Ok(Control::CreateDomain(Box::new(domain)))
}

/// What follows CHECK.
fn condition(t: &mut Tokens<'_>, name: Option<String>) -> Result<CheckSyntax> {
    t.expect_token(&Token::LParen)?;
    let condition = t.expression(&|_| false)?;
    t.expect_token(&Token::RParen)?;
    Ok(CheckSyntax { name, condition })
}

/// What follows ALTER DOMAIN.
pub(super) fn alter_domain(t: &mut Tokens<'_>) -> Result<Control> {
    let name = t.name()?;
    let action = if t.eat(&["SET", "DEFAULT"]) {
        AlterDomain::Default(Some(t.expression(&|_| false)?))
    } else if t.eat(&["DROP", "DEFAULT"]) {
        AlterDomain::Default(None)
    } else if t.eat(&["SET", "NOT", "NULL"]) {
        AlterDomain::NotNull(true)
    } else if t.eat(&["DROP", "NOT", "NULL"]) {
        AlterDomain::NotNull(false)
    } else if t.eat(&["ADD"]) {
        let name = if t.eat(&["CONSTRAINT"]) { Some(t.identifier()?) } else { None };
        t.expect(&["CHECK"])?;
        let check = condition(t, name)?;
        AlterDomain::AddCheck { check, not_valid: t.eat(&["NOT", "VALID"]) }
    } else if t.eat(&["DROP", "CONSTRAINT"]) {
        let if_exists = t.eat(&["IF", "EXISTS"]);
        let name = t.identifier()?;
        t.eat_any(&["CASCADE", "RESTRICT"]);
        AlterDomain::DropConstraint { name, if_exists }
    } else if t.eat(&["RENAME", "CONSTRAINT"]) {
        let from = t.identifier()?;
        t.expect(&["TO"])?;
        AlterDomain::RenameConstraint { from, to: t.identifier()? }
    } else if t.eat(&["VALIDATE", "CONSTRAINT"]) {
        AlterDomain::ValidateConstraint(t.identifier()?)
    } else {
        return Ok(Control::AlterType { word: "DOMAIN", name, action: Box::new(common(t)?) });
    };
    Ok(Control::AlterType { word: "DOMAIN", name, action: Box::new(AlterType::Domain(Box::new(action))) })
}

/// What all types have.
fn common(t: &mut Tokens<'_>) -> Result<AlterType> {
    if t.eat(&["RENAME", "TO"]) {
        return Ok(AlterType::Rename(t.identifier()?));
    }
    if t.eat(&["OWNER", "TO"]) {
        return Ok(AlterType::Owner(t.identifier()?));
    }
    t.expect(&["SET", "SCHEMA"])?;
    Ok(AlterType::SetSchema(t.identifier()?))
}

/// What follows DROP TYPE.
pub(super) fn drop(t: &mut Tokens<'_>, word: &'static str) -> Result<Control> {
    let if_exists = t.eat(&["IF", "EXISTS"]);
    let names = t.list(Tokens::name)?;
    let cascade = t.eat_any(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
    Ok(Control::DropType { word, names, if_exists, cascade })
}
