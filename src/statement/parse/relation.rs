//! The grammar of CREATE, ALTER and DROP.

use datafusion::sql::sqlparser::tokenizer::Token;
use tidemill_udfs::types::SqlType;

use super::tokens::Tokens;
use super::utility::{alter_object, alter_role, nested, refused, role_options, value};
use super::{constraint, sequence, source, user_type};
use crate::error::SqlState;
use crate::statement::control::{AlterTable, CheckSyntax, ColumnSyntax, Control, CreateTable, CreateView, RoleOption};
use crate::statement::trees::{Including, LikeSyntax, RelationKind, SequenceOptions, TypeName};
use crate::{Error, Result};

/// Words that begin a column constraint and so end a DEFAULT expression.
pub(super) const CONSTRAINT_WORDS: &[&str] = &[
    "NOT",
    "NULL",
    "DEFAULT",
    "CHECK",
    "PRIMARY",
    "UNIQUE",
    "REFERENCES",
    "CONSTRAINT",
    "GENERATED",
    "COLLATE",
    "DEFERRABLE",
];

pub(super) fn create(t: &mut Tokens<'_>) -> Result<Control> {
    t.expect(&["CREATE"])?;
    let or_replace = t.eat(&["OR", "REPLACE"]);
    t.eat_any(&["GLOBAL", "LOCAL"]);
    let temporary = t.eat_any(&["TEMPORARY", "TEMP"]).is_some();
    t.eat(&["UNLOGGED"]);
    if t.eat(&["TABLE"]) {
        return create_table(t, temporary);
    }
    if t.eat(&["VIEW"]) {
        return create_view(t, or_replace, temporary);
    }
    if t.eat(&["SCHEMA"]) {
        let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
        if t.eat(&["AUTHORIZATION"]) {
            let offset = t.offset();
            let owner = t.identifier()?;
            let name = crate::statement::control::Name { parts: vec![owner.clone()], offset };
            return Ok(Control::CreateSchema { name, if_not_exists, owner: Some(owner) });
        }
        let name = t.name()?;
        let owner = if t.eat(&["AUTHORIZATION"]) { Some(t.identifier()?) } else { None };
        return Ok(Control::CreateSchema { name, if_not_exists, owner });
    }
    if t.eat(&["SEQUENCE"]) {
        return sequence::create(t, temporary);
    }
    if t.are(&["UNIQUE", "INDEX"]) || t.is("INDEX") {
        let unique = t.eat(&["UNIQUE"]);
        t.expect(&["INDEX"])?;
        return constraint::create_index(t, unique);
    }
    if t.eat(&["SOURCE"]) {
        return source::create(t);
    }
    if t.eat(&["TYPE"]) {
        return user_type::create(t);
    }
    if t.eat(&["DOMAIN"]) {
        return user_type::create_domain(t);
    }
    if t.eat(&["DATABASE"]) {
        return create_database(t);
    }
    if let Some(word) = t.eat_any(&["ROLE", "USER", "GROUP"]) {
        let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
        let name = t.identifier()?;
        let mut options = vec![];
        if word == "USER" {
            options.push(RoleOption::Login(true));
        }
        options.extend(role_options(t)?);
        return Ok(Control::CreateRole { name, options, if_not_exists });
    }
    if t.eat(&["EXTENSION"]) {
        return create_extension(t);
    }
    let what = t.identifier()?.to_ascii_uppercase();
    Ok(refused(t, &format!("CREATE {what}")))
}

fn create_extension(t: &mut Tokens<'_>) -> Result<Control> {
    let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
    let name = t.identifier()?;
    t.eat(&["WITH"]);
    while !t.at_end() {
        match t.eat_any(&["SCHEMA", "VERSION", "CASCADE"]) {
            Some("CASCADE") => {}
            Some(_) => _ = value(t)?,
            None => return Err(t.error()),
        }
    }
    Ok(Control::CreateExtension { name, if_not_exists })
}

fn create_database(t: &mut Tokens<'_>) -> Result<Control> {
    let name = t.name()?;
    t.eat(&["WITH"]);
    let mut owner = None;
    while !t.at_end() {
        let option = t.identifier()?;
        if option == "connection" {
            t.expect(&["LIMIT"])?;
        }
        t.eat_token(&Token::Eq);
        let value = value(t)?;
        if option == "owner" {
            owner = Some(value);
        }
    }
    Ok(Control::CreateDatabase { name, owner })
}

fn create_table(t: &mut Tokens<'_>, temporary: bool) -> Result<Control> {
    let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
    let mut table = CreateTable {
        name: t.name()?,
        temporary,
        if_not_exists,
        columns: vec![],
        checks: vec![],
        primary_key: vec![],
        key_name: None,
        unique: vec![],
        foreign_keys: vec![],
        like: vec![],
        options: vec![],
        on_commit_drop: None,
        query: None,
        no_data: false,
    };
    if t.is("OF") || t.is("PARTITION") {
        return Ok(refused(t, "CREATE TABLE … OF and PARTITION OF"));
    }
    if t.eat_token(&Token::LParen) && !t.eat_token(&Token::RParen) {
        t.list(|t| table_element(t, &mut table))?;
        t.expect_token(&Token::RParen)?;
    }
    loop {
        if t.eat(&["WITH"]) {
            table.options = options(t)?;
        } else if t.eat(&["WITHOUT", "OIDS"]) {
        } else if t.eat(&["USING"]) || t.eat(&["TABLESPACE"]) {
            t.identifier()?;
        } else if t.eat(&["ON", "COMMIT"]) {
            table.on_commit_drop = if t.eat(&["DROP"]) {
                Some(true)
            } else if t.eat(&["DELETE", "ROWS"]) {
                Some(false)
            } else {
                t.expect(&["PRESERVE", "ROWS"])?;
                None
            };
        } else if t.is("INHERITS") || t.is("PARTITION") {
            let what = format!("CREATE TABLE … {}", t.identifier()?.to_ascii_uppercase());
            return Ok(refused(t, &what));
        } else {
            break;
        }
    }
    if t.eat(&["AS"]) {
        create_table_as(t, &mut table)?;
    } else if let Some(column) = table.columns.iter().find(|column| column.sql_type.is_none()) {
        return Err(
            Error::new(SqlState::SYNTAX_ERROR, format!("column \"{}\" needs a type", column.name)).at(column.offset)
        );
    }
    Ok(Control::CreateTable(Box::new(table)))
}

/// `AS query [WITH [NO] DATA]`
fn create_table_as(t: &mut Tokens<'_>, table: &mut CreateTable) -> Result<()> {
    let rest = t.rest();
    let word = |from_end: usize, word: &str| {
        rest.len()
            .checked_sub(from_end)
            .and_then(|at| rest.get(at))
            .is_some_and(|token| matches!(&token.token, Token::Word(found) if found.value.eq_ignore_ascii_case(word)))
    };
    let tail = if word(3, "WITH") && word(2, "NO") && word(1, "DATA") {
        table.no_data = true;
        3
    } else if word(2, "WITH") && word(1, "DATA") {
        2
    } else {
        0
    };
    let query = &rest[..rest.len() - tail];
    if query.is_empty() {
        return Err(t.error());
    }
    table.query = Some(Box::new(super::parse_tokens(t.text, 0, query)?));
    while !t.at_end() {
        t.advance();
    }
    Ok(())
}

fn table_element(t: &mut Tokens<'_>, table: &mut CreateTable) -> Result<()> {
    if t.eat(&["LIKE"]) {
        let at = table.columns.len();
        table.like.push(like(t, at)?);
        return Ok(());
    }
    let position = t.position();
    let name = if t.eat(&["CONSTRAINT"]) { Some(t.identifier()?) } else { None };
    if t.eat(&["CHECK"]) {
        table.checks.push(check(t, name)?);
        return Ok(());
    }
    if t.eat(&["PRIMARY", "KEY"]) {
        table.primary_key = t.parenthesized(Tokens::identifier)?;
        table.key_name = name;
        return Ok(());
    }
    if t.eat(&["UNIQUE"]) {
        table.unique.push(constraint::unique(t, name, None)?);
        return Ok(());
    }
    if t.eat(&["FOREIGN", "KEY"]) {
        table.foreign_keys.push(constraint::foreign_key(t, name)?);
        return Ok(());
    }
    if t.is("EXCLUDE") {
        return Err(unsupported_constraint(t));
    }
    t.rewind(position);
    let mut column = column(t, table.name.last())?;
    if column.primary_key {
        table.primary_key = vec![column.name.clone()];
        table.key_name = column.key_name.take();
    }
    table.unique.append(&mut column.unique);
    table.foreign_keys.append(&mut column.foreign_keys);
    table.columns.push(column);
    Ok(())
}

/// What follows LIKE; `at`: how many columns stand before it.
fn like(t: &mut Tokens<'_>, at: usize) -> Result<LikeSyntax> {
    let name = t.name()?;
    let mut including = Including::default();
    while let Some(word) = t.eat_any(&["INCLUDING", "EXCLUDING"]) {
        let on = word == "INCLUDING";
        match t.eat_any(&[
            "ALL",
            "COMMENTS",
            "COMPRESSION",
            "CONSTRAINTS",
            "DEFAULTS",
            "GENERATED",
            "IDENTITY",
            "INDEXES",
            "STATISTICS",
            "STORAGE",
        ]) {
            Some("ALL") => {
                including = Including { comments: on, constraints: on, defaults: on, identity: on, indexes: on };
            }
            Some("COMMENTS") => including.comments = on,
            Some("CONSTRAINTS") => including.constraints = on,
            Some("DEFAULTS") => including.defaults = on,
            Some("IDENTITY") => including.identity = on,
            Some("INDEXES") => including.indexes = on,
            Some(_) => {}
            None => return Err(t.error()),
        }
    }
    Ok(LikeSyntax { name, at, including })
}

fn unsupported_constraint(t: &Tokens<'_>) -> Error {
    Error::unsupported("EXCLUDE constraints are not supported").at(t.offset())
}

fn check(t: &mut Tokens<'_>, name: Option<String>) -> Result<CheckSyntax> {
    t.expect_token(&Token::LParen)?;
    let condition = t.expression(&|_| false)?;
    t.expect_token(&Token::RParen)?;
    t.eat(&["NO", "INHERIT"]);
    t.eat(&["NOT", "VALID"]);
    Ok(CheckSyntax { name, condition })
}

/// A column; `table`: for messages.
fn column(t: &mut Tokens<'_>, table: &str) -> Result<ColumnSyntax> {
    let offset = t.offset();
    let name = t.identifier()?;
    let mut column = ColumnSyntax {
        name,
        sql_type: None,
        not_null: false,
        default: None,
        serial: false,
        identity: None,
        checks: vec![],
        unique: vec![],
        foreign_keys: vec![],
        primary_key: false,
        key_name: None,
        offset,
    };
    let mut nullable = false;
    if matches!(t.peek(), Token::Comma | Token::RParen | Token::EOF) {
        return Ok(column); // CREATE TABLE t (a, b) AS …
    }
    match serial(t) {
        Some(sql_type) => {
            column.sql_type = Some(TypeName::Known(sql_type, None));
            column.serial = true;
            column.not_null = true;
        }
        None => column.sql_type = Some(type_name(t)?),
    }
    loop {
        let offset = t.offset();
        let name = if t.eat(&["CONSTRAINT"]) { Some(t.identifier()?) } else { None };
        if t.eat(&["NOT", "NULL"]) {
            column.not_null = true;
        } else if t.eat(&["NULL"]) {
            nullable = true;
        } else if t.eat(&["DEFAULT"]) {
            if column.default.is_some() || column.serial {
                let what =
                    format!("multiple default values specified for column \"{}\" of table \"{table}\"", column.name);
                return Err(Error::new(SqlState::SYNTAX_ERROR, what).at(offset));
            }
            column.default = Some(t.expression(&|word| CONSTRAINT_WORDS.contains(&word))?);
        } else if t.eat(&["CHECK"]) {
            column.checks.push(check(t, name)?);
        } else if t.eat(&["PRIMARY", "KEY"]) {
            column.primary_key = true;
            column.key_name = name;
            column.not_null = true;
        } else if t.eat(&["COLLATE"]) {
            t.name()?;
        } else if t.eat(&["UNIQUE"]) {
            column.unique.push(constraint::unique(t, name, Some(&column.name))?);
        } else if t.is("REFERENCES") {
            column.foreign_keys.push(constraint::references(t, name, vec![column.name.clone()])?);
        } else if t.is("GENERATED") {
            if column.identity.is_some() {
                let what =
                    format!("multiple identity specifications for column \"{}\" of table \"{table}\"", column.name);
                return Err(Error::new(SqlState::SYNTAX_ERROR, what).at(offset));
            }
            column.identity = Some(Box::new(sequence::identity(t)?));
            column.not_null = true;
        } else if name.is_some() {
            return Err(t.error());
        } else {
            break;
        }
        if nullable && column.not_null {
            let what =
                format!("conflicting NULL/NOT NULL declarations for column \"{}\" of table \"{table}\"", column.name);
            return Err(Error::new(SqlState::SYNTAX_ERROR, what).at(offset));
        }
        if column.identity.is_some() && (column.default.is_some() || column.serial) {
            let what =
                format!("both default and identity specified for column \"{}\" of table \"{table}\"", column.name);
            return Err(Error::new(SqlState::SYNTAX_ERROR, what).at(offset));
        }
    }
    Ok(column)
}

/// `serial` and its kin, which are no types but short for a type, NOT NULL and a default.
fn serial(t: &mut Tokens<'_>) -> Option<SqlType> {
    if t.followed_by(&Token::Period) {
        return None;
    }
    match t.eat_any(&["SERIAL", "SERIAL4", "BIGSERIAL", "SERIAL8", "SMALLSERIAL", "SERIAL2"])? {
        "SMALLSERIAL" | "SERIAL2" => Some(SqlType::Int2),
        "BIGSERIAL" | "SERIAL8" => Some(SqlType::Int8),
        _ => Some(SqlType::Int4),
    }
}

/// A type of the server's.
pub(super) fn sql_type(t: &mut Tokens<'_>) -> Result<SqlType> {
    match type_name(t)? {
        TypeName::Known(sql_type, _) => Ok(sql_type),
        TypeName::User { name, .. } => {
            let message = format!("type \"{name}\" does not exist");
            Err(Error::new(SqlState::UNDEFINED_OBJECT, message).at(name.offset))
        }
    }
}

/// A type, to where its words, modifiers and brackets end.
pub(super) fn type_name(t: &mut Tokens<'_>) -> Result<TypeName> {
    let offset = t.offset();
    let begin = t.position();
    let name = t.name()?;
    let (mut is_array, mut is_plain) = (false, true);
    // Types of several words, and modifiers that stand inside: `timestamp (3) with time zone`.
    loop {
        if t.peek() == &Token::LParen {
            t.parenthesized(Tokens::integer)?;
            is_plain = false;
        } else if t.eat(&["ARRAY"]) {
            is_array = true;
        } else if t.eat(&["WITH", "TIME", "ZONE"])
            || t.eat(&["WITHOUT", "TIME", "ZONE"])
            || t.eat(&["PRECISION"])
            || t.eat(&["VARYING"])
        {
            is_plain = false;
        } else if t.eat_token(&Token::LBracket) {
            if matches!(t.peek(), Token::Number(..)) {
                t.advance();
            }
            t.expect_token(&Token::RBracket)?;
            is_array = true;
        } else if t.eat_any(&["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"]).is_some() {
            if t.eat(&["TO"]) {
                t.identifier()?;
            }
        } else {
            break;
        }
    }
    let end = t.end_offset(begin);
    match SqlType::parse_precise(&t.offsets.text()[offset..end]).map_err(Error::from) {
        Ok((sql_type, precision)) => Ok(TypeName::Known(sql_type, precision)),
        Err(error) if is_plain && *error.code() == SqlState::UNDEFINED_OBJECT => Ok(TypeName::User { name, is_array }),
        Err(error) => Err(error.at(offset)),
    }
}

/// `( key = value, … )`; keys may be dotted; a value may be a word, number, string, list or nothing (true).
fn options(t: &mut Tokens<'_>) -> Result<Vec<(String, String)>> {
    t.parenthesized(|t| {
        let name = t.name()?.parts.join(".").to_ascii_lowercase();
        let value = if t.eat_token(&Token::Eq) {
            if t.peek() == &Token::LParen { t.parenthesized(value)?.join(", ") } else { value(t)? }
        } else {
            "true".to_owned()
        };
        Ok((name, value))
    })
}

fn create_view(t: &mut Tokens<'_>, or_replace: bool, temporary: bool) -> Result<Control> {
    let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
    let name = t.name()?;
    let columns = if t.peek() == &Token::LParen { t.parenthesized(Tokens::identifier)? } else { vec![] };
    if t.eat(&["WITH"]) {
        options(t)?;
    }
    t.expect(&["AS"])?;
    let start = t.offset();
    let rest = t.rest();
    let check_option = rest.len() >= 3
        && rest[rest.len() - 2..]
            .iter()
            .zip(["CHECK", "OPTION"])
            .all(|(token, word)| matches!(&token.token, Token::Word(found) if found.value.eq_ignore_ascii_case(word)));
    if check_option {
        return Ok(refused(t, "WITH CHECK OPTION"));
    }
    let end = rest.last().map_or(start, |token| t.offsets.end(token));
    let query_text = t.offsets.text()[start..end].to_owned();
    let query = nested(t)?;
    Ok(Control::CreateView(Box::new(CreateView {
        name,
        or_replace,
        temporary,
        if_not_exists,
        columns,
        query,
        query_text,
    })))
}

pub(super) fn alter(t: &mut Tokens<'_>) -> Result<Control> {
    t.expect(&["ALTER"])?;
    if let Some(kind) = relation_kind(t) {
        let if_exists = t.eat(&["IF", "EXISTS"]);
        t.eat(&["ONLY"]);
        let name = t.name()?;
        if kind == RelationKind::Sequence {
            let mut options = SequenceOptions::default();
            while sequence::option(t, &mut options)? {}
            if t.at_end() {
                return Ok(Control::AlterSequence { name, if_exists, options: Box::new(options) });
            }
        }
        let actions = t.list(|t| alter_action(t, name.last()))?;
        return Ok(Control::AlterTable { name, if_exists, kind, actions });
    }
    if t.eat(&["SOURCE"]) {
        return source::alter(t);
    }
    if t.eat(&["TYPE"]) {
        return user_type::alter(t);
    }
    if t.eat(&["DOMAIN"]) {
        return user_type::alter_domain(t);
    }
    if t.eat(&["SCHEMA"]) {
        return Ok(Control::AlterSchema { name: t.name()?, action: alter_object(t)? });
    }
    if t.eat(&["DATABASE"]) {
        return Ok(Control::AlterDatabase { name: t.name()?, action: alter_object(t)? });
    }
    if t.eat(&["DEFAULT", "PRIVILEGES"]) {
        return super::grant::alter_defaults(t);
    }
    if t.eat(&["GROUP"]) {
        let group = t.identifier()?;
        let revoke = t.eat(&["DROP"]);
        if !revoke {
            t.expect(&["ADD"])?;
        }
        t.expect(&["USER"])?;
        return Ok(super::grant::alter_group(group, revoke, t.list(Tokens::identifier)?));
    }
    if t.eat_any(&["ROLE", "USER"]).is_some() {
        return Ok(Control::AlterRole { name: t.identifier()?, action: alter_role(t)? });
    }
    let what = t.identifier()?.to_ascii_uppercase();
    Ok(refused(t, &format!("ALTER {what}")))
}

/// TABLE, VIEW, SEQUENCE or INDEX.
fn relation_kind(t: &mut Tokens<'_>) -> Option<RelationKind> {
    t.eat_any(&["TABLE", "VIEW", "SEQUENCE", "INDEX"]).map(|word| match word {
        "TABLE" => RelationKind::Table,
        "VIEW" => RelationKind::View,
        "INDEX" => RelationKind::Index,
        _ => RelationKind::Sequence,
    })
}

fn alter_action(t: &mut Tokens<'_>, table: &str) -> Result<AlterTable> {
    if t.eat(&["ADD"]) {
        let position = t.position();
        let name = if t.eat(&["CONSTRAINT"]) { Some(t.identifier()?) } else { None };
        if t.eat(&["CHECK"]) {
            return Ok(AlterTable::AddCheck(check(t, name)?));
        }
        if t.eat(&["PRIMARY", "KEY"]) {
            return Ok(AlterTable::AddPrimaryKey { name, columns: t.parenthesized(Tokens::identifier)? });
        }
        if t.eat(&["UNIQUE"]) {
            return Ok(AlterTable::AddUnique(constraint::unique(t, name, None)?));
        }
        if t.eat(&["FOREIGN", "KEY"]) {
            return Ok(AlterTable::AddForeignKey(Box::new(constraint::foreign_key(t, name)?)));
        }
        if t.is("EXCLUDE") {
            return Err(unsupported_constraint(t));
        }
        t.rewind(position);
        t.eat(&["COLUMN"]);
        let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
        return Ok(AlterTable::AddColumn { column: Box::new(column(t, table)?), if_not_exists });
    }
    if t.eat(&["DROP", "CONSTRAINT"]) {
        let if_exists = t.eat(&["IF", "EXISTS"]);
        let name = t.identifier()?;
        let cascade = t.eat_any(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
        return Ok(AlterTable::DropConstraint { name, if_exists, cascade });
    }
    if t.eat(&["DROP"]) {
        t.eat(&["COLUMN"]);
        let if_exists = t.eat(&["IF", "EXISTS"]);
        let name = t.identifier()?;
        let cascade = t.eat_any(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
        return Ok(AlterTable::DropColumn { name, if_exists, cascade });
    }
    if t.eat(&["RENAME", "TO"]) {
        return Ok(AlterTable::Rename(t.identifier()?));
    }
    if t.eat(&["RENAME", "CONSTRAINT"]) {
        let from = t.identifier()?;
        t.expect(&["TO"])?;
        return Ok(AlterTable::RenameConstraint { from, to: t.identifier()? });
    }
    if t.eat(&["RENAME"]) {
        t.eat(&["COLUMN"]);
        let from = t.identifier()?;
        t.expect(&["TO"])?;
        return Ok(AlterTable::RenameColumn { from, to: t.identifier()? });
    }
    if t.eat(&["OWNER", "TO"]) {
        return Ok(AlterTable::Owner(t.identifier()?));
    }
    if t.eat(&["SET", "SCHEMA"]) {
        return Ok(AlterTable::SetSchema(t.identifier()?));
    }
    if t.eat(&["SET"]) {
        return Ok(AlterTable::SetOptions(options(t)?));
    }
    if t.eat(&["RESET"]) {
        return Ok(AlterTable::ResetOptions(t.parenthesized(|t| Ok(t.name()?.parts.join(".").to_ascii_lowercase()))?));
    }
    if t.eat(&["ALTER"]) {
        t.eat(&["COLUMN"]);
        let column = t.identifier()?;
        if t.eat(&["SET", "DEFAULT"]) {
            return Ok(AlterTable::Default { column, default: Some(t.expression(&|_| false)?) });
        }
        if t.eat(&["DROP", "DEFAULT"]) {
            return Ok(AlterTable::Default { column, default: None });
        }
        if t.eat(&["SET", "NOT", "NULL"]) {
            return Ok(AlterTable::NotNull { column, not_null: true });
        }
        if t.eat(&["DROP", "NOT", "NULL"]) {
            return Ok(AlterTable::NotNull { column, not_null: false });
        }
        if t.eat(&["ADD"]) {
            return Ok(AlterTable::AddIdentity { column, identity: Box::new(sequence::identity(t)?) });
        }
        if t.eat(&["DROP", "IDENTITY"]) {
            return Ok(AlterTable::DropIdentity { column, if_exists: t.eat(&["IF", "EXISTS"]) });
        }
        if t.eat(&["SET", "DATA", "TYPE"]) || t.eat(&["TYPE"]) {
            let sql_type = type_name(t)?;
            let using = if t.eat(&["USING"]) { Some(t.expression(&|_| false)?) } else { None };
            return Ok(AlterTable::Type { column, sql_type, using });
        }
        return identity_options(t, column);
    }
    Err(t.error())
}

/// SET GENERATED, SET of options of the sequence, RESTART: any number of them.
fn identity_options(t: &mut Tokens<'_>, column: String) -> Result<AlterTable> {
    let (mut always, mut options) = (None, SequenceOptions::default());
    loop {
        if t.eat(&["SET", "GENERATED"]) {
            always = Some(t.eat(&["ALWAYS"]));
            if always == Some(false) {
                t.expect(&["BY", "DEFAULT"])?;
            }
        } else if t.is("RESTART") || t.eat(&["SET"]) {
            if !sequence::option(t, &mut options)? {
                return Err(t.error());
            }
        } else {
            break;
        }
    }
    if !matches!(t.peek(), Token::EOF | Token::Comma) {
        return Err(t.error());
    }
    Ok(AlterTable::SetIdentity { column, always, options: Box::new(options) })
}

pub(super) fn drop(t: &mut Tokens<'_>) -> Result<Control> {
    t.expect(&["DROP"])?;
    let cascade = |t: &mut Tokens<'_>| t.eat_any(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
    if let Some(kind) = relation_kind(t) {
        t.eat(&["CONCURRENTLY"]);
        let if_exists = t.eat(&["IF", "EXISTS"]);
        let names = t.list(Tokens::name)?;
        return Ok(Control::DropRelation { kind, names, if_exists, cascade: cascade(t) });
    }
    if let Some(word) = t.eat_any(&["TYPE", "DOMAIN"]) {
        return user_type::drop(t, word);
    }
    if t.eat(&["SOURCE"]) {
        let if_exists = t.eat(&["IF", "EXISTS"]);
        let names = t.list(Tokens::name)?;
        return Ok(Control::DropSource { names, if_exists, cascade: cascade(t) });
    }
    if t.eat(&["SCHEMA"]) {
        let if_exists = t.eat(&["IF", "EXISTS"]);
        let names = t.list(Tokens::name)?;
        return Ok(Control::DropSchema { names, if_exists, cascade: cascade(t) });
    }
    if t.eat(&["DATABASE"]) {
        let if_exists = t.eat(&["IF", "EXISTS"]);
        let name = t.name()?;
        if t.eat(&["WITH"]) || t.peek() == &Token::LParen {
            t.parenthesized(Tokens::identifier)?;
        }
        return Ok(Control::DropDatabase { name, if_exists });
    }
    if t.eat(&["OWNED", "BY"]) {
        return super::grant::drop_owned(t);
    }
    if t.eat_any(&["ROLE", "USER", "GROUP"]).is_some() {
        let if_exists = t.eat(&["IF", "EXISTS"]);
        return Ok(Control::DropRole { names: t.list(Tokens::identifier)?, if_exists });
    }
    if t.eat(&["EXTENSION"]) {
        let if_exists = t.eat(&["IF", "EXISTS"]);
        let names = t.list(Tokens::identifier)?;
        cascade(t);
        return Ok(Control::DropExtension { names, if_exists });
    }
    let what = t.identifier()?.to_ascii_uppercase();
    Ok(refused(t, &format!("DROP {what}")))
}
