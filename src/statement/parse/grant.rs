//! The grammar of GRANT, REVOKE, ALTER DEFAULT PRIVILEGES, DROP OWNED and REASSIGN OWNED.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::Tokens;
use super::utility::refused;
use crate::Result;
use crate::statement::control::{Control, Name};
use crate::statement::grant::syntax::{AlterDefaults, Grant, GrantRole, Kind, Privilege, Target};

/// GRANT and REVOKE, of privileges or of roles.
pub(super) fn grant(t: &mut Tokens<'_>) -> Result<Control> {
    let revoke = t.is("REVOKE");
    t.advance();
    let admin_for = revoke && t.eat(&["ADMIN", "OPTION", "FOR"]);
    let option_for = revoke && !admin_for && t.eat(&["GRANT", "OPTION", "FOR"]);
    let privileges = t.list(privilege)?;
    if !t.eat(&["ON"]) {
        return grant_role(t, revoke, admin_for, privileges);
    }
    let Some(target) = target(t)? else {
        return Ok(refused(t, "GRANT and REVOKE on this kind of object"));
    };
    let grant = grant_rest(t, revoke, option_for, privileges, target)?;
    Ok(Control::Grant(Box::new(grant)))
}

/// `word [(columns)]`, `ALL [PRIVILEGES] [(columns)]`
fn privilege(t: &mut Tokens<'_>) -> Result<Privilege> {
    let word = if t.eat(&["ALL"]) {
        t.eat(&["PRIVILEGES"]);
        None
    } else {
        Some(t.identifier()?)
    };
    let columns = if t.peek() == &Token::LParen { t.parenthesized(Tokens::identifier)? } else { vec![] };
    Ok(Privilege { word, columns })
}

fn grant_role(t: &mut Tokens<'_>, revoke: bool, admin_for: bool, privileges: Vec<Privilege>) -> Result<Control> {
    t.expect(&[if revoke { "FROM" } else { "TO" }])?;
    let mut roles = vec![];
    for privilege in privileges {
        match privilege {
            Privilege { word: Some(role), columns } if columns.is_empty() => roles.push(role),
            _ => return Err(t.error()),
        }
    }
    let members = t.list(|t| {
        t.eat(&["GROUP"]);
        t.identifier()
    })?;
    let admin = admin_for || !revoke && t.eat(&["WITH", "ADMIN", "OPTION"]);
    let granted_by = granted_by(t)?;
    if revoke {
        t.eat_any(&["CASCADE", "RESTRICT"]);
    }
    Ok(Control::GrantRole(Box::new(GrantRole { revoke, admin, roles, members, granted_by })))
}

fn granted_by(t: &mut Tokens<'_>) -> Result<Option<String>> {
    if t.eat(&["GRANTED", "BY"]) { t.identifier().map(Some) } else { Ok(None) }
}

/// What is granted on, after ON; `None`: kinds of objects that there are none of.
fn target(t: &mut Tokens<'_>) -> Result<Option<Target>> {
    if t.is("ALL") {
        t.advance();
        let kind = match t.eat_any(&["TABLES", "SEQUENCES", "FUNCTIONS", "PROCEDURES", "ROUTINES"]) {
            Some("TABLES") => Kind::Table,
            Some("SEQUENCES") => Kind::Sequence,
            Some(_) => Kind::Function,
            None => return Err(t.error()),
        };
        t.expect(&["IN", "SCHEMA"])?;
        return Ok(Some(Target::AllIn(kind, t.list(Tokens::name)?)));
    }
    if t.are(&["FOREIGN", "DATA"]) || t.are(&["FOREIGN", "SERVER"]) || t.are(&["LARGE", "OBJECT"]) {
        return Ok(None);
    }
    let kind = match t.eat_any(&[
        "TABLE",
        "SEQUENCE",
        "SCHEMA",
        "DATABASE",
        "FUNCTION",
        "PROCEDURE",
        "ROUTINE",
        "TYPE",
        "DOMAIN",
        "LANGUAGE",
        "TABLESPACE",
        "PARAMETER",
    ]) {
        None | Some("TABLE") => Kind::Table,
        Some("SEQUENCE") => Kind::Sequence,
        Some("SCHEMA") => Kind::Schema,
        Some("DATABASE") => Kind::Database,
        Some("FUNCTION" | "PROCEDURE" | "ROUTINE") => Kind::Function,
        Some("TYPE" | "DOMAIN") => Kind::Type,
        Some("LANGUAGE") => Kind::Language,
        Some(_) => return Ok(None),
    };
    let names = t.list(|t| if kind == Kind::Function { function(t) } else { t.name() })?;
    Ok(Some(Target::Named(kind, names)))
}

/// A function's name; the types of its arguments, which tell it from others, are read over.
fn function(t: &mut Tokens<'_>) -> Result<Name> {
    let name = t.name()?;
    if t.peek() == &Token::LParen {
        let mut depth = 0usize;
        loop {
            match t.advance() {
                Token::LParen => depth += 1,
                Token::RParen if depth == 1 => break,
                Token::RParen => depth -= 1,
                Token::EOF => return Err(t.error()),
                _ => {}
            }
        }
    }
    Ok(name)
}

fn grant_rest(
    t: &mut Tokens<'_>,
    revoke: bool,
    option_for: bool,
    privileges: Vec<Privilege>,
    target: Target,
) -> Result<Grant> {
    t.expect(&[if revoke { "FROM" } else { "TO" }])?;
    let roles = t.list(|t| {
        t.eat(&["GROUP"]);
        let role = t.identifier()?;
        Ok((role != "public").then_some(role))
    })?;
    let option = option_for || !revoke && t.eat(&["WITH", "GRANT", "OPTION"]);
    let granted_by = granted_by(t)?;
    let cascade = revoke && t.eat_any(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
    Ok(Grant { revoke, option, privileges, target, roles, granted_by, cascade })
}

/// ALTER DEFAULT PRIVILEGES, after these words.
pub(super) fn alter_defaults(t: &mut Tokens<'_>) -> Result<Control> {
    let (mut for_roles, mut schemas) = (vec![], vec![]);
    loop {
        if t.eat(&["FOR"]) {
            if t.eat_any(&["ROLE", "USER"]).is_none() {
                return Err(t.error());
            }
            for_roles.extend(t.list(Tokens::identifier)?);
        } else if t.eat(&["IN", "SCHEMA"]) {
            schemas.extend(t.list(Tokens::name)?);
        } else {
            break;
        }
    }
    let revoke = match t.eat_any(&["GRANT", "REVOKE"]) {
        Some(word) => word == "REVOKE",
        None => return Err(t.error()),
    };
    let option_for = revoke && t.eat(&["GRANT", "OPTION", "FOR"]);
    let privileges = t.list(privilege)?;
    t.expect(&["ON"])?;
    let kind = match t.eat_any(&["TABLES", "SEQUENCES", "FUNCTIONS", "ROUTINES", "TYPES", "SCHEMAS"]) {
        Some("TABLES") => Kind::Table,
        Some("SEQUENCES") => Kind::Sequence,
        Some("FUNCTIONS" | "ROUTINES") => Kind::Function,
        Some("TYPES") => Kind::Type,
        Some(_) => Kind::Schema,
        None => return Err(t.error()),
    };
    let grant = grant_rest(t, revoke, option_for, privileges, Target::Named(kind, vec![]))?;
    Ok(Control::AlterDefaults(Box::new(AlterDefaults { for_roles, schemas, kind, grant })))
}

/// DROP OWNED BY, after these words.
pub(super) fn drop_owned(t: &mut Tokens<'_>) -> Result<Control> {
    let roles = t.list(Tokens::identifier)?;
    let cascade = t.eat_any(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
    Ok(Control::DropOwned { roles, cascade })
}

/// REASSIGN OWNED BY … TO …
pub(super) fn reassign_owned(t: &mut Tokens<'_>) -> Result<Control> {
    t.expect(&["REASSIGN", "OWNED", "BY"])?;
    let roles = t.list(Tokens::identifier)?;
    t.expect(&["TO"])?;
    Ok(Control::ReassignOwned { roles, to: t.identifier()? })
}

/// ALTER GROUP … ADD USER, DROP USER: GRANT and REVOKE of the role.
pub(super) fn alter_group(group: String, revoke: bool, members: Vec<String>) -> Control {
    let roles = vec![group];
    Control::GrantRole(Box::new(GrantRole { revoke, admin: false, roles, members, granted_by: None }))
}
