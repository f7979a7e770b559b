//! The grammar of types that users make.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::Tokens;
use super::utility::refused;
use crate::Result;
use crate::statement::control::Control;
use crate::statement::trees::AlterType;

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
