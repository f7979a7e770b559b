//! The grammar of the statements that are ours, by first word. Relations have their own file.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::{Tokens, string_of};
use super::{Parsed, constraint, grant, parse_tokens, relation};
use crate::error::SqlState;
use crate::statement::control::{
    AlterObject, AlterRole, CallArgument, CommentTarget, Control, Copy, CopySource, CopyTarget, CopyValue, Direction,
    Discard, Explain, InsertDocuments, LockMode, RoleOption, TransactionModes,
};
use crate::{Error, Result};

/// The statement if it is one of ours.
pub(super) fn control(tokens: &mut Tokens<'_>) -> Result<Option<Control>> {
    let Token::Word(first) = tokens.peek() else { return Ok(None) };
    if first.quote_style.is_some() {
        return Ok(None);
    }
    let parse: fn(&mut Tokens<'_>) -> Result<Control> = match first.value.to_ascii_uppercase().as_str() {
        "BEGIN" | "START" => begin,
        "COMMIT" | "END" => commit,
        "ROLLBACK" | "ABORT" => rollback,
        "SAVEPOINT" => |t| {
            t.advance();
            Ok(Control::Savepoint(t.identifier()?))
        },
        "RELEASE" => |t| {
            t.advance();
            t.eat(&["SAVEPOINT"]);
            Ok(Control::Release(t.identifier()?))
        },
        "SET" => set,
        "SHOW" => show,
        "RESET" => reset,
        "DISCARD" => discard,
        "PREPARE" => prepare,
        "EXECUTE" => execute,
        "DEALLOCATE" => |t| {
            t.advance();
            t.eat(&["PREPARE"]);
            Ok(Control::Deallocate(if t.eat(&["ALL"]) { None } else { Some(t.identifier()?) }))
        },
        "DECLARE" => declare,
        "FETCH" | "MOVE" => fetch,
        "CLOSE" => |t| {
            t.advance();
            Ok(Control::Close(if t.eat(&["ALL"]) { None } else { Some(t.identifier()?) }))
        },
        "EXPLAIN" => explain,
        "COPY" => copy,
        "CREATE" => relation::create,
        "ALTER" => relation::alter,
        "DROP" => relation::drop,
        "TRUNCATE" => |t| {
            t.advance();
            t.eat(&["TABLE"]);
            t.eat(&["ONLY"]);
            let names = t.list(Tokens::name)?;
            let restart = t.eat(&["RESTART", "IDENTITY"]);
            let _ = restart || t.eat(&["CONTINUE", "IDENTITY"]);
            t.eat_any(&["CASCADE", "RESTRICT"]);
            Ok(Control::Truncate { names, restart })
        },
        "COMMENT" => comment,
        "LOCK" => lock,
        "REINDEX" => constraint::reindex,
        "VACUUM" | "ANALYZE" | "ANALYSE" | "CHECKPOINT" | "CLUSTER" => maintain,
        "CALL" => call,
        "INSERT" if is_of_documents(tokens) => insert_documents,
        "DO" => execute_block,
        "LISTEN" => |t| {
            t.advance();
            Ok(Control::Listen(t.identifier()?))
        },
        "UNLISTEN" => |t| {
            t.advance();
            Ok(Control::Unlisten(if t.eat_token(&Token::Mul) { None } else { Some(t.identifier()?) }))
        },
        "NOTIFY" => |t| {
            t.advance();
            let channel = t.identifier()?;
            let payload = if t.eat_token(&Token::Comma) { t.string()? } else { String::new() };
            Ok(Control::Notify { channel, payload })
        },
        "GRANT" | "REVOKE" => grant::grant,
        "REASSIGN" => grant::reassign_owned,
        "REFRESH" | "IMPORT" | "SECURITY" => |t| {
            let word = t.identifier()?.to_ascii_uppercase();
            while !t.at_end() {
                t.advance();
            }
            Ok(Control::Refused { what: word })
        },
        _ => return Ok(None),
    };
    let control = parse(tokens)?;
    tokens.expect_end()?;
    Ok(Some(control))
}

/// The rest of the tokens as a statement of its own, over the same text.
pub(super) fn nested(tokens: &mut Tokens<'_>) -> Result<Box<Parsed>> {
    let rest = tokens.rest();
    if rest.is_empty() {
        return Err(tokens.error());
    }
    let parsed = parse_tokens(tokens.text, 0, rest)?;
    while !tokens.at_end() {
        tokens.advance();
    }
    Ok(Box::new(parsed))
}

fn execute_block(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    let mut language = None;
    let mut body = None;
    loop {
        if language.is_none() && t.eat(&["LANGUAGE"]) {
            language = Some(t.identifier()?);
        } else if body.is_none() && !t.at_end() {
            body = Some(t.string()?);
        } else {
            break;
        }
    }
    let Some(body) = body else { return Err(t.error()) };
    match language.as_deref() {
        None | Some("plpgsql") => {
            Ok(Control::Do(Box::new(super::block::parse(&body).map_err(Error::without_location)?)))
        }
        Some(other) => Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("language \"{other}\" does not exist"))),
    }
}

fn begin(t: &mut Tokens<'_>) -> Result<Control> {
    let tag = if t.eat(&["START"]) {
        t.expect(&["TRANSACTION"])?;
        "START TRANSACTION"
    } else {
        t.advance();
        t.eat_any(&["WORK", "TRANSACTION"]);
        "BEGIN"
    };
    Ok(Control::Begin(transaction_modes(t)?, tag))
}

fn transaction_modes(t: &mut Tokens<'_>) -> Result<TransactionModes> {
    let mut modes = TransactionModes::default();
    while !t.at_end() {
        if t.eat(&["ISOLATION", "LEVEL"]) {
            modes.isolation = Some(if t.eat(&["SERIALIZABLE"]) {
                "serializable"
            } else if t.eat(&["REPEATABLE", "READ"]) {
                "repeatable read"
            } else if t.eat(&["READ", "COMMITTED"]) {
                "read committed"
            } else if t.eat(&["READ", "UNCOMMITTED"]) {
                "read uncommitted"
            } else {
                return Err(t.error());
            });
        } else if t.eat(&["READ", "ONLY"]) {
            modes.read_only = Some(true);
        } else if t.eat(&["READ", "WRITE"]) {
            modes.read_only = Some(false);
        } else if t.eat(&["NOT", "DEFERRABLE"]) {
            modes.deferrable = Some(false);
        } else if t.eat(&["DEFERRABLE"]) {
            modes.deferrable = Some(true);
        } else {
            return Err(t.error());
        }
        t.eat_token(&Token::Comma);
    }
    Ok(modes)
}

fn chain(t: &mut Tokens<'_>) -> bool {
    t.eat_any(&["WORK", "TRANSACTION"]);
    let chain = t.eat(&["AND", "CHAIN"]);
    t.eat(&["AND", "NO", "CHAIN"]);
    chain
}

fn commit(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    if t.is("PREPARED") {
        return Ok(refused(t, "COMMIT PREPARED"));
    }
    Ok(Control::Commit { chain: chain(t) })
}

fn rollback(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    if t.is("PREPARED") {
        return Ok(refused(t, "ROLLBACK PREPARED"));
    }
    let chain = chain(t);
    if t.eat(&["TO"]) {
        t.eat(&["SAVEPOINT"]);
        return Ok(Control::RollbackTo(t.identifier()?));
    }
    Ok(Control::Rollback { chain })
}

/// Reads over the rest of a statement that is known and refused.
pub(super) fn refused(t: &mut Tokens<'_>, what: &str) -> Control {
    while !t.at_end() {
        t.advance();
    }
    Control::Refused { what: what.to_owned() }
}

/// `SET [SESSION|LOCAL] name {TO|=} value, …` and its special spellings.
fn set(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    if t.eat(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
        return Ok(Control::SetTransaction { modes: transaction_modes(t)?, session: true });
    }
    if t.eat(&["TRANSACTION"]) {
        if t.is("SNAPSHOT") {
            return Ok(refused(t, "SET TRANSACTION SNAPSHOT"));
        }
        return Ok(Control::SetTransaction { modes: transaction_modes(t)?, session: false });
    }
    if t.eat(&["CONSTRAINTS"]) {
        let names = if t.eat(&["ALL"]) { vec![] } else { t.list(Tokens::name)? };
        return match t.eat_any(&["DEFERRED", "IMMEDIATE"]) {
            Some(_) => Ok(Control::SetConstraints(names)),
            None => Err(t.error()),
        };
    }
    let mut local = t.eat(&["LOCAL"]);
    if !local && t.is("SESSION") && !t.are(&["SESSION", "AUTHORIZATION"]) {
        t.advance();
        local = false;
    }
    let (name, value) = setting(t)?;
    Ok(Control::Set { name, value, local })
}

/// A setting's name and value, after SET.
pub(super) fn setting(t: &mut Tokens<'_>) -> Result<(String, Option<String>)> {
    if t.eat(&["TIME", "ZONE"]) {
        let value = if t.eat_any(&["DEFAULT", "LOCAL"]).is_some() { None } else { Some(zone(t)?) };
        return Ok(("timezone".into(), value));
    }
    if t.eat(&["SESSION", "AUTHORIZATION"]) {
        return Ok(("session_authorization".into(), default_or(t, value)?));
    }
    if t.eat(&["ROLE"]) {
        return Ok(("role".into(), default_or(t, value)?));
    }
    if t.eat(&["NAMES"]) {
        let value = if t.at_end() { None } else { default_or(t, value)? };
        return Ok(("client_encoding".into(), value));
    }
    if t.eat(&["SCHEMA"]) {
        return Ok(("search_path".into(), default_or(t, value)?));
    }
    if t.eat(&["XML", "OPTION"]) {
        t.advance();
        return Ok(("xmloption".into(), None));
    }
    let name = setting_name(t)?;
    if !t.eat_token(&Token::Eq) {
        t.expect(&["TO"])?;
    }
    let separator = if name == "search_path" || name == "datestyle" || name == "temp_tablespaces" { ", " } else { "," };
    let value = default_or(t, |t| {
        let quoted = name == "search_path";
        Ok(t.list(|t| if quoted { identifier_value(t) } else { value(t) })?.join(separator))
    })?;
    Ok((name, value))
}

fn setting_name(t: &mut Tokens<'_>) -> Result<String> {
    Ok(t.name()?.parts.join(".").to_ascii_lowercase())
}

fn default_or(t: &mut Tokens<'_>, value: impl FnOnce(&mut Tokens<'_>) -> Result<String>) -> Result<Option<String>> {
    if t.eat(&["DEFAULT"]) { Ok(None) } else { value(t).map(Some) }
}

/// A value of SET: a word, a string or a number.
pub(super) fn value(t: &mut Tokens<'_>) -> Result<String> {
    if let Some(text) = string_of(t.peek()) {
        t.advance();
        return Ok(text);
    }
    match t.peek() {
        Token::Word(word) => {
            let text = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_ascii_lowercase() };
            t.advance();
            Ok(text)
        }
        Token::Number(number, _) => {
            t.advance();
            Ok(number.clone())
        }
        Token::Minus | Token::Plus => {
            let sign = if t.advance() == &Token::Minus { "-" } else { "" };
            match t.advance() {
                Token::Number(number, _) => Ok(format!("{sign}{number}")),
                _ => Err(t.error()),
            }
        }
        _ => Err(t.error()),
    }
}

/// A value of search_path: kept so that it splits again: quoted where it was not a plain identifier.
fn identifier_value(t: &mut Tokens<'_>) -> Result<String> {
    let value = value(t)?;
    let plain = value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !value.starts_with(|first: char| first.is_ascii_digit())
        && !value.is_empty();
    Ok(if plain { value } else { format!("\"{}\"", value.replace('"', "\"\"")) })
}

/// SET TIME ZONE: a name, a number of hours, or INTERVAL '…' HOUR TO MINUTE.
fn zone(t: &mut Tokens<'_>) -> Result<String> {
    if t.eat(&["INTERVAL"]) {
        let text = t.string()?;
        let _ = t.eat(&["HOUR", "TO", "MINUTE"]);
        // Hours east of UTC, as a number is.
        return Ok(text.trim_end_matches(":00").to_owned());
    }
    value(t)
}

fn show(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    Ok(if t.eat(&["ALL"]) {
        Control::ShowAll
    } else if t.eat(&["TIME", "ZONE"]) {
        Control::Show("timezone".into())
    } else if t.eat(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
        Control::Show("transaction_isolation".into())
    } else if t.eat(&["SESSION", "AUTHORIZATION"]) {
        Control::Show("session_authorization".into())
    } else {
        Control::Show(setting_name(t)?)
    })
}

fn reset(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    Ok(if t.eat(&["ALL"]) {
        Control::ResetAll
    } else if t.eat(&["TIME", "ZONE"]) {
        Control::Reset("timezone".into())
    } else if t.eat(&["SESSION", "AUTHORIZATION"]) {
        Control::Reset("session_authorization".into())
    } else {
        Control::Reset(setting_name(t)?)
    })
}

fn discard(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    Ok(Control::Discard(match t.eat_any(&["ALL", "PLANS", "SEQUENCES", "TEMP", "TEMPORARY"]) {
        Some("ALL") => Discard::All,
        Some("PLANS") => Discard::Plans,
        Some("SEQUENCES") => Discard::Sequences,
        Some(_) => Discard::Temp,
        None => return Err(t.error()),
    }))
}

fn prepare(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    if t.is("TRANSACTION") {
        return Ok(refused(t, "PREPARE TRANSACTION"));
    }
    let name = t.identifier()?;
    let types = if t.peek() == &Token::LParen { t.parenthesized(relation::type_name)? } else { vec![] };
    t.expect(&["AS"])?;
    Ok(Control::Prepare { name, types, statement: nested(t)? })
}

fn execute(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    let name = t.identifier()?;
    Ok(Control::Execute { name, arguments: arguments(t)? })
}

fn arguments(t: &mut Tokens<'_>) -> Result<Vec<datafusion::sql::sqlparser::ast::Expr>> {
    if t.peek() != &Token::LParen {
        return Ok(vec![]);
    }
    t.advance();
    if t.eat_token(&Token::RParen) {
        return Ok(vec![]);
    }
    let arguments = t.list(|t| Ok(t.expression(&|_| false)?.ast))?;
    t.expect_token(&Token::RParen)?;
    Ok(arguments)
}

fn declare(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    let name = t.identifier()?;
    let (mut binary, mut scroll) = (false, None);
    loop {
        if t.eat(&["BINARY"]) {
            binary = true;
        } else if t.eat(&["NO", "SCROLL"]) {
            scroll = Some(false);
        } else if t.eat(&["SCROLL"]) {
            scroll = Some(true);
        } else if t.eat_any(&["INSENSITIVE", "ASENSITIVE"]).is_none() {
            break;
        }
    }
    t.expect(&["CURSOR"])?;
    let hold = t.eat(&["WITH", "HOLD"]);
    t.eat(&["WITHOUT", "HOLD"]);
    t.expect(&["FOR"])?;
    Ok(Control::Declare { name, binary, hold, scroll, query: nested(t)? })
}

fn fetch(t: &mut Tokens<'_>) -> Result<Control> {
    let only_move = t.is("MOVE");
    t.advance();
    let direction = direction(t)?;
    t.eat_any(&["FROM", "IN"]);
    Ok(Control::Fetch { name: t.identifier()?, direction, only_move })
}

fn direction(t: &mut Tokens<'_>) -> Result<Direction> {
    let count = |t: &mut Tokens<'_>| {
        let position = t.position();
        t.integer().ok().or_else(|| {
            t.rewind(position);
            None
        })
    };
    Ok(if t.eat(&["NEXT"]) {
        Direction::Forward(1)
    } else if t.eat(&["PRIOR"]) {
        Direction::Forward(-1)
    } else if t.eat(&["FIRST"]) {
        Direction::First
    } else if t.eat(&["LAST"]) {
        Direction::Last
    } else if t.eat(&["ABSOLUTE"]) {
        Direction::Absolute(t.integer()?)
    } else if t.eat(&["RELATIVE"]) {
        Direction::Relative(t.integer()?)
    } else if t.eat(&["ALL"]) {
        Direction::All
    } else if t.eat(&["FORWARD"]) {
        if t.eat(&["ALL"]) { Direction::All } else { Direction::Forward(count(t).unwrap_or(1)) }
    } else if t.eat(&["BACKWARD"]) {
        if t.eat(&["ALL"]) { Direction::BackwardAll } else { Direction::Forward(-count(t).unwrap_or(1)) }
    } else {
        Direction::Forward(count(t).unwrap_or(1))
    })
}

fn explain(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    let (mut analyze, mut verbose, mut costs, mut json) = (false, false, true, false);
    if t.peek() == &Token::LParen {
        t.parenthesized(|t| {
            let option = t.identifier()?;
            let value = if matches!(t.peek(), Token::Comma | Token::RParen) { "true".to_owned() } else { value(t)? };
            let on = !matches!(value.as_str(), "false" | "off" | "0");
            match option.as_str() {
                "analyze" => analyze = on,
                "verbose" => verbose = on,
                "costs" => costs = on,
                "format" => match value.to_ascii_lowercase().as_str() {
                    "json" => json = true,
                    "text" => json = false,
                    other => {
                        return Err(crate::Error::new(
                            crate::error::SqlState::INVALID_PARAMETER_VALUE,
                            format!("unrecognized value for EXPLAIN option \"format\": \"{other}\""),
                        )
                        .hint("Use TEXT or JSON."));
                    }
                },
                "buffers" | "timing" | "summary" | "settings" | "wal" | "generic_plan" | "memory" => {}
                other => {
                    return Err(crate::Error::new(
                        crate::error::SqlState::SYNTAX_ERROR,
                        format!("unrecognized EXPLAIN option \"{other}\""),
                    ));
                }
            }
            Ok(())
        })?;
    } else {
        analyze = t.eat_any(&["ANALYZE", "ANALYSE"]).is_some();
        verbose = t.eat(&["VERBOSE"]);
    }
    Ok(Control::Explain(Explain { analyze, verbose, costs, json, statement: nested(t)? }))
}

fn copy(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    let mut options = vec![];
    if t.eat(&["BINARY"]) {
        options.push(("format".to_owned(), CopyValue::Text("binary".into())));
    }
    let source = if t.peek() == &Token::LParen {
        CopySource::Query(parenthesized_statement(t)?)
    } else {
        let name = t.name()?;
        let columns = if t.peek() == &Token::LParen { t.parenthesized(Tokens::identifier)? } else { vec![] };
        CopySource::Table { name, columns }
    };
    let from = t.eat(&["FROM"]);
    if !from {
        t.expect(&["TO"])?;
    }
    let target = if t.eat(&["PROGRAM"]) {
        t.string()?;
        CopyTarget::Program
    } else if t.eat_any(&["STDIN", "STDOUT"]).is_some() {
        CopyTarget::Client
    } else {
        CopyTarget::File(t.string()?)
    };
    t.eat(&["WITH"]);
    if t.peek() == &Token::LParen {
        options.extend(t.parenthesized(copy_option)?);
    } else {
        old_copy_options(t, &mut options)?;
    }
    let filter = if t.eat(&["WHERE"]) { Some(t.expression(&|_| false)?) } else { None };
    Ok(Control::Copy(Box::new(Copy { source, from, target, options, filter })))
}

/// `( statement )`: the statement, over the same text.
fn parenthesized_statement(t: &mut Tokens<'_>) -> Result<Box<Parsed>> {
    t.expect_token(&Token::LParen)?;
    let rest = t.rest();
    let mut depth = 0usize;
    let end = rest
        .iter()
        .position(|token| match token.token {
            Token::LParen => {
                depth += 1;
                false
            }
            Token::RParen if depth == 0 => true,
            Token::RParen => {
                depth -= 1;
                false
            }
            _ => false,
        })
        .ok_or_else(|| {
            while !t.at_end() {
                t.advance();
            }
            t.error()
        })?;
    let parsed = parse_tokens(t.text, 0, &rest[..end])?;
    t.rewind(t.position() + end + 1);
    Ok(Box::new(parsed))
}

fn copy_option(t: &mut Tokens<'_>) -> Result<(String, CopyValue)> {
    let name = t.identifier()?;
    let value = match t.peek() {
        Token::Comma | Token::RParen => CopyValue::Absent,
        Token::Mul => {
            t.advance();
            CopyValue::Star
        }
        Token::LParen => CopyValue::Columns(t.parenthesized(Tokens::identifier)?),
        _ => CopyValue::Text(value(t)?),
    };
    Ok((name, value))
}

/// The options before PostgreSQL 9.0, which psql and old drivers still send.
fn old_copy_options(t: &mut Tokens<'_>, options: &mut Vec<(String, CopyValue)>) -> Result<()> {
    let mut push = |name: &str, value: CopyValue| options.push((name.to_owned(), value));
    while !t.at_end() && !t.is("WHERE") {
        if t.eat(&["BINARY"]) {
            push("format", CopyValue::Text("binary".into()));
        } else if t.eat(&["CSV"]) {
            push("format", CopyValue::Text("csv".into()));
        } else if t.eat(&["HEADER"]) {
            push("header", CopyValue::Absent);
        } else if let Some(word) = t.eat_any(&["DELIMITER", "DELIMITERS", "NULL", "QUOTE", "ESCAPE", "ENCODING"]) {
            t.eat(&["AS"]);
            let name = if word == "DELIMITERS" { "delimiter".to_owned() } else { word.to_ascii_lowercase() };
            push(&name, CopyValue::Text(t.string()?));
        } else if t.eat(&["FORCE", "QUOTE"]) {
            let value = if t.eat_token(&Token::Mul) {
                CopyValue::Star
            } else {
                CopyValue::Columns(t.list(Tokens::identifier)?)
            };
            push("force_quote", value);
        } else if t.eat(&["FORCE", "NOT", "NULL"]) {
            push("force_not_null", CopyValue::Columns(t.list(Tokens::identifier)?));
        } else if t.eat(&["FORCE", "NULL"]) {
            push("force_null", CopyValue::Columns(t.list(Tokens::identifier)?));
        } else {
            return Err(t.error());
        }
    }
    Ok(())
}

fn comment(t: &mut Tokens<'_>) -> Result<Control> {
    t.expect(&["COMMENT", "ON"])?;
    let target = match t
        .eat_any(&["TABLE", "VIEW", "SEQUENCE", "COLUMN", "SCHEMA", "DATABASE", "ROLE", "SOURCE", "TYPE", "DOMAIN"])
    {
        Some("TABLE" | "VIEW" | "SEQUENCE") => CommentTarget::Relation(t.name()?),
        Some("COLUMN") => {
            let mut name = t.name()?;
            let column = name.parts.pop().unwrap_or_default();
            if name.parts.is_empty() {
                return Err(crate::Error::new(crate::error::SqlState::SYNTAX_ERROR, "column name must be qualified")
                    .at(name.offset));
            }
            CommentTarget::Column(name, column)
        }
        Some("SCHEMA") => CommentTarget::Schema(t.name()?),
        Some("DATABASE") => CommentTarget::Database(t.name()?),
        Some("SOURCE") => CommentTarget::Source(t.name()?),
        Some("TYPE" | "DOMAIN") => CommentTarget::Type(t.name()?),
        Some(_) => CommentTarget::Role(t.identifier()?),
        None => return Ok(refused(t, "COMMENT ON this kind of object")),
    };
    t.expect(&["IS"])?;
    let comment = if t.eat(&["NULL"]) { None } else { Some(t.string()?) };
    Ok(Control::Comment { target, comment })
}

fn lock(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    t.eat(&["TABLE"]);
    t.eat(&["ONLY"]);
    let names = t.list(Tokens::name)?;
    let mut mode = LockMode::Exclusive;
    if t.eat(&["IN"]) {
        mode = lock_mode(t)?;
        t.expect(&["MODE"])?;
    }
    t.eat(&["NOWAIT"]);
    Ok(Control::Lock { names, mode })
}

fn lock_mode(t: &mut Tokens<'_>) -> Result<LockMode> {
    let modes: [(&[&str], LockMode); 8] = [
        (&["ACCESS", "SHARE"], LockMode::AccessShare),
        (&["ROW", "SHARE"], LockMode::Exclusive),
        (&["ROW", "EXCLUSIVE"], LockMode::RowExclusive),
        (&["SHARE", "UPDATE", "EXCLUSIVE"], LockMode::Exclusive),
        (&["SHARE", "ROW", "EXCLUSIVE"], LockMode::Exclusive),
        (&["SHARE"], LockMode::Exclusive),
        (&["EXCLUSIVE"], LockMode::Exclusive),
        (&["ACCESS", "EXCLUSIVE"], LockMode::Exclusive),
    ];
    modes.iter().find(|(words, _)| t.eat(words)).map(|(_, mode)| *mode).ok_or_else(|| t.error())
}

fn maintain(t: &mut Tokens<'_>) -> Result<Control> {
    let command = match t.eat_any(&["VACUUM", "ANALYZE", "ANALYSE", "CHECKPOINT", "CLUSTER"]) {
        Some("ANALYSE") => "ANALYZE",
        Some(command) => command,
        None => return Err(t.error()),
    };
    let mut full = command == "CLUSTER";
    if t.peek() == &Token::LParen {
        t.parenthesized(|t| {
            let option = t.identifier()?;
            let given = !matches!(t.peek(), Token::Comma | Token::RParen);
            let on = !given || !matches!(value(t)?.as_str(), "false" | "off" | "0");
            full |= on && option == "full";
            Ok(())
        })?;
    }
    while let Some(option) = t.eat_any(&[
        "FULL",
        "FREEZE",
        "VERBOSE",
        "ANALYZE",
        "TABLE",
        "INDEX",
        "SCHEMA",
        "DATABASE",
        "SYSTEM",
        "CONCURRENTLY",
    ]) {
        full |= option == "FULL";
    }
    let mut tables = vec![];
    if !t.at_end() {
        tables = t.list(|t| {
            let name = t.name()?;
            if t.peek() == &Token::LParen {
                t.parenthesized(Tokens::identifier)?;
            }
            if t.eat(&["USING"]) {
                t.identifier()?;
            }
            Ok(name)
        })?;
    }
    Ok(Control::Maintain { command, full, tables })
}

/// `INSERT INTO name FORMAT`: in PostgreSQL no word but AS may follow a table's name there.
fn is_of_documents(t: &mut Tokens<'_>) -> bool {
    let begin = t.position();
    let found = t.eat(&["INSERT", "INTO"]) && t.name().is_ok() && t.is("FORMAT");
    t.rewind(begin);
    found
}

fn insert_documents(t: &mut Tokens<'_>) -> Result<Control> {
    t.expect(&["INSERT", "INTO"])?;
    let table = t.name()?;
    t.expect(&["FORMAT"])?;
    let format = (t.offset(), t.identifier()?);
    let documents = t.list(|t| Ok(t.expression(&|_| false)?.ast))?;
    Ok(Control::InsertDocuments(Box::new(InsertDocuments { table, format: (format.1, format.0), documents })))
}

fn call(t: &mut Tokens<'_>) -> Result<Control> {
    t.advance();
    let name = t.name()?;
    let arguments = if t.peek() == &Token::LParen { call_arguments(t)? } else { vec![] };
    Ok(Control::Call { name, arguments })
}

fn call_arguments(t: &mut Tokens<'_>) -> Result<Vec<CallArgument>> {
    t.advance();
    if t.eat_token(&Token::RParen) {
        return Ok(vec![]);
    }
    let arguments = t.list(call_argument)?;
    t.expect_token(&Token::RParen)?;
    Ok(arguments)
}

/// `value`, `name => value`, `name := value`
fn call_argument(t: &mut Tokens<'_>) -> Result<CallArgument> {
    let begin = t.position();
    let name = t.identifier().ok().filter(|_| t.eat_token(&Token::RArrow) || t.eat_token(&Token::Assignment));
    if name.is_none() {
        t.rewind(begin);
    }
    Ok(CallArgument { name, value: t.expression(&|_| false)?.ast })
}

/// A role option that has a word for yes and one for no.
type Flag = (&'static str, &'static str, fn(bool) -> RoleOption);

/// Options of CREATE and ALTER ROLE.
pub(super) fn role_options(t: &mut Tokens<'_>) -> Result<Vec<RoleOption>> {
    t.eat(&["WITH"]);
    let mut options = vec![];
    while !t.at_end() {
        let flags: [Flag; 7] = [
            ("SUPERUSER", "NOSUPERUSER", RoleOption::Superuser),
            ("CREATEDB", "NOCREATEDB", RoleOption::CreateDb),
            ("CREATEROLE", "NOCREATEROLE", RoleOption::CreateRole),
            ("INHERIT", "NOINHERIT", RoleOption::Inherit),
            ("LOGIN", "NOLOGIN", RoleOption::Login),
            ("REPLICATION", "NOREPLICATION", |_| RoleOption::Ignored),
            ("BYPASSRLS", "NOBYPASSRLS", |_| RoleOption::Ignored),
        ];
        let flag = flags.iter().find_map(|(yes, no, make)| {
            if t.eat(&[yes]) {
                Some(make(true))
            } else if t.eat(&[no]) {
                Some(make(false))
            } else {
                None
            }
        });
        let option = if let Some(option) = flag {
            option
        } else if t.eat(&["ENCRYPTED"]) || t.is("PASSWORD") {
            t.expect(&["PASSWORD"])?;
            RoleOption::Password(if t.eat(&["NULL"]) { None } else { Some(t.string()?) })
        } else if t.eat(&["CONNECTION", "LIMIT"]) {
            RoleOption::ConnectionLimit(i32::try_from(t.integer()?).unwrap_or(-1))
        } else if t.eat(&["VALID", "UNTIL"]) {
            t.string()?;
            RoleOption::Ignored
        } else if t.eat(&["SYSID"]) {
            t.integer()?;
            RoleOption::Ignored
        } else if t.eat(&["IN"]) {
            t.eat_any(&["ROLE", "GROUP"]);
            RoleOption::InRole(t.list(Tokens::identifier)?)
        } else if t.eat_any(&["ROLE", "USER"]).is_some() {
            RoleOption::Members(t.list(Tokens::identifier)?)
        } else if t.eat(&["ADMIN"]) {
            RoleOption::Admins(t.list(Tokens::identifier)?)
        } else {
            return Err(t.error());
        };
        options.push(option);
    }
    Ok(options)
}

/// ALTER ROLE after its name.
pub(super) fn alter_role(t: &mut Tokens<'_>) -> Result<AlterRole> {
    Ok(if t.eat(&["RENAME", "TO"]) {
        AlterRole::Rename(t.identifier()?)
    } else if t.eat(&["SET"]) {
        let (name, value) = setting(t)?;
        AlterRole::Set(name, value)
    } else if t.eat(&["RESET", "ALL"]) {
        AlterRole::ResetAll
    } else if t.eat(&["RESET"]) {
        AlterRole::Reset(setting_name(t)?)
    } else {
        AlterRole::Options(role_options(t)?)
    })
}

/// RENAME TO / OWNER TO.
pub(super) fn alter_object(t: &mut Tokens<'_>) -> Result<AlterObject> {
    if t.eat(&["RENAME", "TO"]) {
        Ok(AlterObject::Rename(t.identifier()?))
    } else {
        t.expect(&["OWNER", "TO"])?;
        Ok(AlterObject::Owner(t.identifier()?))
    }
}
