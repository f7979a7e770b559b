//! The grammar of CREATE, ALTER and DROP SOURCE.
//!
//! ```sql
//! CREATE SOURCE clicks FROM KAFKA (brokers 'host:9092', topic 'clicks', format json, kafka.client.rack 'a') INTO ad_click;
//! CREATE SOURCE logs FROM FILES ('/var/log/app/*.ndjson') (every '10s') INTO logs;
//! ```

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::Tokens;
use super::utility::{alter_object, value};
use crate::Result;
use crate::statement::control::{AlterSource, Control, CreateSource, SourceKind};

/// What follows CREATE SOURCE.
pub(super) fn create(t: &mut Tokens<'_>) -> Result<Control> {
    let if_not_exists = t.eat(&["IF", "NOT", "EXISTS"]);
    let name = t.name()?;
    t.expect(&["FROM"])?;
    let (kind, location) = if t.eat(&["KAFKA"]) {
        (SourceKind::Kafka, None)
    } else {
        t.expect(&["FILES"])?;
        t.expect_token(&Token::LParen)?;
        let offset = t.offset();
        let location = t.string()?;
        t.expect_token(&Token::RParen)?;
        (SourceKind::Files, Some((location, offset)))
    };
    let mut given = vec![];
    if t.peek() == &Token::LParen {
        given.extend(t.parenthesized(option)?);
    }
    t.expect(&["INTO"])?;
    let table = t.name()?;
    if t.eat(&["WITH"]) {
        given.extend(t.parenthesized(option)?);
    }
    Ok(Control::CreateSource(Box::new(CreateSource { name, if_not_exists, kind, location, options: given, table })))
}

/// `key value` or `key = value`; a key may be quoted either way or have dots.
fn option(t: &mut Tokens<'_>) -> Result<(String, String, usize)> {
    let offset = t.offset();
    let mut key = match t.peek() {
        Token::SingleQuotedString(_) => t.string()?,
        _ => t.identifier()?,
    };
    while t.eat_token(&Token::Period) {
        key.push('.');
        key.push_str(&t.identifier()?);
    }
    t.eat_token(&Token::Eq);
    Ok((key.to_ascii_lowercase(), value(t)?, offset))
}

/// What follows ALTER SOURCE.
pub(super) fn alter(t: &mut Tokens<'_>) -> Result<Control> {
    let if_exists = t.eat(&["IF", "EXISTS"]);
    let name = t.name()?;
    let action = if t.eat(&["PAUSE"]) {
        AlterSource::Pause
    } else if t.eat(&["RESUME"]) {
        AlterSource::Resume
    } else {
        AlterSource::Object(alter_object(t)?)
    };
    Ok(Control::AlterSource { name, if_exists, action })
}
