//! SET, SHOW, RESET, DISCARD.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use tidemill_catalog::record::{Body, Change, Object};
use tidemill_udfs::types::SqlType;

use super::control::Discard;
use super::names;
use crate::error::SqlState;
use crate::plan::{TEMP_SCHEMA, rights};
use crate::session::sequences::Sequences;
use crate::session::{Column, Outcome, RowsTag, Session};
use crate::{Error, Result};

/// The name a SHOW column has.
pub(super) fn spelled(name: &str) -> String {
    match name {
        "timezone" => "TimeZone".into(),
        "datestyle" => "DateStyle".into(),
        "intervalstyle" => "IntervalStyle".into(),
        _ => name.to_owned(),
    }
}

pub(super) fn set(session: &mut Session, name: &str, value: Option<&str>, local: bool) -> Result<String> {
    if local && !session.transaction.as_ref().is_some_and(|open| open.explicit) {
        session.notice(
            "WARNING",
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            "SET LOCAL can only be used in transaction blocks",
        );
        return Ok("SET".into());
    }
    match name {
        "role" => set_role(session, value, local)?,
        "session_authorization" => set_session_authorization(session, value, local)?,
        _ => {
            let mut settings = session.settings.lock();
            match value {
                Some(value) => settings.set(name, value, local)?,
                None => settings.reset(name, local)?,
            }
            if name == "transaction_read_only" {
                let on = settings.is_on(name);
                drop(settings);
                session.open().read_only = on;
            }
        }
    }
    Ok("SET".into())
}

fn set_role(session: &mut Session, value: Option<&str>, local: bool) -> Result<()> {
    let value = value.unwrap_or("none");
    check_identity(session, "role", value)?;
    session.settings.lock().set("role", value, local)?;
    session.refresh_superuser();
    Ok(())
}

/// Another login for the session, as only a superuser's may take on; the role goes back to it.
fn set_session_authorization(session: &mut Session, value: Option<&str>, local: bool) -> Result<()> {
    match value {
        Some(value) => {
            check_identity(session, "session_authorization", value)?;
            session.settings.lock().set("session_authorization", value, local)?;
        }
        None => session.settings.lock().reset("session_authorization", local)?,
    }
    session.settings.lock().set("role", "none", local)?;
    session.refresh_superuser();
    Ok(())
}

fn check_identity(session: &mut Session, setting: &str, value: &str) -> Result<()> {
    let snapshot = Arc::clone(session.open().view());
    let current = session.session_role(&snapshot);
    rights::check_identity(&snapshot.catalog, setting, value, session.login_role, current)
}

pub(super) fn show(session: &mut Session, name: &str) -> Result<Outcome> {
    let value = session.settings.lock().get(name).ok_or_else(|| {
        Error::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
    })?;
    rows(vec![Column::new(spelled(name), SqlType::Text)], vec![vec![value]], "SHOW")
}

pub(super) fn show_all(session: &mut Session) -> Result<Outcome> {
    let all = session.settings.lock().all();
    let columns = ["name", "setting", "description"].map(|name| Column::new(name, SqlType::Text)).to_vec();
    let values = vec![
        all.iter().map(|info| info.name.clone()).collect(),
        all.iter().map(|info| info.value.clone()).collect(),
        all.iter().map(|info| info.description.to_owned()).collect(),
    ];
    rows(columns, values, "SHOW")
}

/// A small result of text columns.
pub(super) fn rows(columns: Vec<Column>, values: Vec<Vec<String>>, tag: &str) -> Result<Outcome> {
    let fields: Vec<_> = columns.iter().map(|column| Field::new(&column.name, DataType::Utf8View, true)).collect();
    let arrays: Vec<ArrayRef> =
        values.into_iter().map(|values| Arc::new(StringViewArray::from_iter_values(values)) as ArrayRef).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(datafusion::error::DataFusionError::from)?;
    Ok(Outcome::Rows {
        stream: Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]))),
        columns,
        tag: RowsTag::Fixed(tag.to_owned()),
    })
}

pub(super) fn reset_all(session: &mut Session) -> String {
    session.settings.lock().reset_all();
    "RESET".into()
}

pub(super) fn discard(session: &mut Session, what: Discard) -> Result<String> {
    let explicit = session.transaction.as_ref().is_some_and(|open| open.explicit);
    match what {
        Discard::All => {
            if explicit {
                return Err(Error::new(
                    SqlState::ACTIVE_SQL_TRANSACTION,
                    "DISCARD ALL cannot run inside a transaction block",
                ));
            }
            session.cursors.clear();
            session.list_cursors();
            session.close_statements();
            set_session_authorization(session, None, false)?;
            session.settings.lock().reset_all();
            *session.sequences.lock() = Sequences::default();
            super::notify::unlisten(session, None)?;
            drop_temporary(session)?;
            Ok("DISCARD ALL".into())
        }
        Discard::Plans => Ok("DISCARD PLANS".into()),
        Discard::Sequences => {
            *session.sequences.lock() = Sequences::default();
            Ok("DISCARD SEQUENCES".into())
        }
        Discard::Temp => {
            drop_temporary(session)?;
            Ok("DISCARD TEMP".into())
        }
    }
}

fn drop_temporary(session: &mut Session) -> Result<()> {
    let (_, temp) = names::catalogs(session);
    // Views come after the tables they read, and sequences may be those of tables.
    let is_sequence = |object: &&Arc<Object>| matches!(object.body, Body::Sequence(_));
    let (sequences, others): (Vec<_>, Vec<_>) = temp.children(TEMP_SCHEMA).partition(is_sequence);
    let oids: Vec<_> = others.into_iter().rev().chain(sequences).map(|object| object.oid).collect();
    if oids.is_empty() { Ok(()) } else { session.apply(oids.into_iter().map(Change::Remove).collect()) }
}
