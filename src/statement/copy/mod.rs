//! COPY: bytes of a client, of server files or of objects into a table, and rows out again.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::control::{Copy, CopyTarget, CopyValue};
use super::files;
use super::files::object::{self, Settings, shown_url};
use crate::error::SqlState;
use crate::session::{Outcome, Portal, Session};
use crate::{Error, Result};

/// COPY FROM.
mod from;

/// COPY FROM Parquet files, and TO one.
mod parquet;

/// STAGING and VALIDATE.
mod staged;

/// The table that COPY FROM fills.
mod target;

/// COPY TO.
mod to;

pub(super) use target::default_value;

pub(super) async fn copy(
    session: &mut Session,
    copy: &Copy,
    portal: &Portal,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    match &copy.target {
        CopyTarget::Program => {
            return Err(Error::unsupported("COPY to or from an external program is not supported"));
        }
        CopyTarget::File(_) => files::require_superuser(session, copy.from)?,
        CopyTarget::Client => {}
    }
    if copy.from { from::copy(session, copy, cancel).await } else { to::copy(session, copy, portal, cancel).await }
}

/// Options as key and value.
type OptionList = Vec<(String, CopyValue)>;

/// What the options say about an object store, and the others.
///
/// # Errors
/// 42601 for a setting without a value or given twice.
fn settings_of(copy: &Copy) -> Result<(Settings, OptionList)> {
    let CopyTarget::File(url) = &copy.target else { return Ok((Settings::new(), copy.options.clone())) };
    let is_setting = |(name, _): &(String, CopyValue)| object::is_setting(url, name);
    let (ours, rest): (OptionList, OptionList) = copy.options.iter().cloned().partition(is_setting);
    let mut settings = Settings::new();
    for (name, value) in ours {
        let CopyValue::Text(value) = value else {
            return Err(Error::new(SqlState::SYNTAX_ERROR, format!("{name} requires a value of text")));
        };
        if settings.insert(name, value).is_some() {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options"));
        }
    }
    Ok((settings, rest))
}

/// The option of that name, if it is a word or a string.
fn text_option<'c>(options: &'c [(String, CopyValue)], name: &str) -> Option<&'c str> {
    options.iter().find_map(|(option, value)| match value {
        CopyValue::Text(text) if option == name => Some(text.as_str()),
        _ => None,
    })
}

/// `FORMAT parquet`, or a file of that name and no format.
///
/// # Errors
/// 0A000 for other options, and for what is no file.
fn is_parquet(options: &[(String, CopyValue)], target: &CopyTarget) -> Result<bool> {
    let said = match text_option(options, "format") {
        Some(format) => format == "parquet",
        None => {
            options.iter().all(|(option, _)| option != "format")
                && matches!(target, CopyTarget::File(path)
            if Path::new(shown_url(path)).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")))
        }
    };
    if said && !matches!(target, CopyTarget::File(_)) {
        return Err(Error::unsupported("COPY in format parquet is possible with files of the server only"));
    }
    if said && let Some((option, _)) = options.iter().find(|(option, _)| option != "format") {
        let message = format!("COPY in format parquet takes no option \"{option}\"");
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    Ok(said)
}
