//! `COPY t FROM … WITH (staging, validate 'SELECT * FROM staged WHERE amount < 0')`: the rows are written and nobody else sees
//! them; the query, in the same transaction, sees them as the relation `staged`, and the table with them. Each row it gives
//! is a violation: then none of the rows appears.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast;
use futures::TryStreamExt;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Change, Object, TableDef};
use tidemill_udfs::types::{TextSettings, array_to_text};
use tokio_util::sync::CancellationToken;

use super::super::control::CopyValue;
use super::super::names;
use super::super::parse::{self, Statement};
use super::OptionList;
use crate::error::SqlState;
use crate::plan::{Scope, TEMP_SCHEMA};
use crate::session::{Column, Session, changes_data};
use crate::{Error, Result};

/// The relation of the new rows.
const STAGED: &str = "staged";
/// Violations that the error shows.
const ROWS_SHOWN: usize = 5;
/// Bytes of a value that it shows, as PostgreSQL cuts those of failing rows.
const VALUE_BYTES: usize = 64;

/// A query whose rows are violations.
pub(super) struct Validation {
    query: Box<ast::Query>,
    text: Arc<str>,
    cancel: CancellationToken,
}

impl Validation {
    /// What the options ask for, and the options without it. The query is planned, so that what is wrong with it is said before
    /// data is read.
    ///
    /// # Errors
    /// 42601, 42703 and the like of the query; 22023 for `staging false` with one.
    pub(super) fn of(
        session: &mut Session,
        table: &Object,
        options: &[(String, CopyValue)],
        cancel: &CancellationToken,
    ) -> Result<(Option<Self>, OptionList)> {
        let is_ours = |name: &str| matches!(name, "staging" | "validate");
        let (ours, rest): (Vec<_>, Vec<_>) = options.iter().cloned().partition(|(name, _)| is_ours(name));
        let (mut staging, mut query) = (None, None);
        for (name, value) in ours {
            let twice = match (name.as_str(), value) {
                ("staging", CopyValue::Absent) => staging.replace(true).is_some(),
                ("staging", CopyValue::Text(text)) => {
                    let value = tidemill_udfs::types::input::boolean(text.as_bytes());
                    let value =
                        value.map_err(|_| Error::new(SqlState::SYNTAX_ERROR, "staging requires a Boolean value"))?;
                    staging.replace(value).is_some()
                }
                ("validate", CopyValue::Text(text)) => query.replace(text).is_some(),
                _ => return Err(Error::new(SqlState::SYNTAX_ERROR, format!("{name} requires a value of text"))),
            };
            if twice {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options"));
            }
        }
        // Without a query there is nothing to wait for: rows of a COPY appear at once or not at all in any case.
        let Some(text) = query else { return Ok((None, rest)) };
        if staging == Some(false) {
            let message = "option \"validate\" needs \"staging\": rows that others see cannot be taken back";
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let query = parsed(&text).map_err(in_query)?;
        let validation = Self { query, text: text.into(), cancel: cancel.clone() };
        let scope = validation.scope(session, table, &[])?;
        let planner = Arc::clone(&session.planner);
        let plan = planner.query(&scope, &validation.query, &[]).map_err(|error| validation.in_text(error))?;
        session.check_access(&plan.access)?;
        Ok((Some(validation), rest))
    }

    /// What names mean to the query: `staged` has the rows that the changes add to the table.
    fn scope(&self, session: &mut Session, table: &Object, added: &[Change]) -> Result<Arc<Scope>> {
        let scope = session.scope(&self.cancel);
        let Body::Table(def) = &table.body else { return Err(Error::internal("COPY into what is no table")) };
        // All rows that come, also those that the table would count as older versions.
        let mut def = TableDef::clone(def);
        def.options.upsert = None;
        let staged = Object {
            body: Body::Table(Arc::new(def)),
            oid: session.fresh_oid(true),
            parent: TEMP_SCHEMA,
            name: STAGED.to_owned(),
            depends_on: vec![],
            ..table.clone()
        };
        let temp = scope.temp.with_rows(Arc::new(staged), table.oid, added)?;
        Ok(scope.with_temp(Arc::new(temp)))
    }

    fn in_text(&self, error: Error) -> Error {
        in_query(error.resolve(&self.text))
    }

    /// Runs the query. `added`: what was applied to the open transaction.
    ///
    /// # Errors
    /// 23514 if there are violations; those of the query.
    pub(super) async fn check(self, session: &mut Session, table: Oid, added: &[Change], rows: u64) -> Result<()> {
        let object = names::object(session, table).ok_or_else(|| Error::internal("the table is gone"))?;
        let object = Object::clone(&object);
        let scope = self.scope(session, &object, added)?;
        let planner = Arc::clone(&session.planner);
        let plan = planner.query(&scope, &self.query, &[]).map_err(|error| self.in_text(error))?;
        session.check_access(&plan.access)?;
        let columns = plan.columns.clone();
        let physical = planner.physical(&scope, &plan, &[]).await?;
        let mut stream = planner.run(&scope, physical)?;
        let (mut count, mut first) = (0, vec![]);
        let text = session.text_settings();
        while let Some(batch) = stream.try_next().await.map_err(Error::from).map_err(|error| self.in_text(error))? {
            count += batch.num_rows() as u64;
            for row in 0..batch.num_rows().min(ROWS_SHOWN - first.len()) {
                first.push(shown(&batch, row, &columns, &text)?);
            }
        }
        if count == 0 {
            let message = format!("{rows} rows were validated");
            session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
            return Ok(());
        }
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let more = if count > ROWS_SHOWN as u64 { ", …" } else { "" };
        let detail = format!("The query gives {count} rows ({}): {}{more}.", names.join(", "), first.join(", "));
        let message = format!("rows for relation \"{}\" violate the validation of COPY", object.name);
        let mut error = Error::new(SqlState::CHECK_VIOLATION, message).detail(detail);
        error.report_mut().table = Some(object.name.clone());
        Err(error)
    }
}

/// One query that changes nothing.
fn parsed(text: &str) -> Result<Box<ast::Query>> {
    let refused = || Error::new(SqlState::SYNTAX_ERROR, "option \"validate\" must be one query");
    let mut statements = parse::parse(text)?;
    let (Some(one), true) = (statements.pop(), statements.is_empty()) else { return Err(refused()) };
    match one.statement {
        Statement::Sql(sql) => match *sql {
            ast::Statement::Query(query) if !changes_data(&query) => Ok(query),
            _ => Err(refused()),
        },
        Statement::Control(_) => Err(refused()),
    }
}

/// The position is one in the option's text, not in COPY's.
fn in_query(mut error: Error) -> Error {
    let report = error.report_mut();
    (report.position, report.offset, report.location) = (None, None, None);
    report.context.get_or_insert_with(|| "validation of COPY".to_owned());
    error
}

/// `(1, null, x)`
fn shown(batch: &RecordBatch, row: usize, columns: &[Column], text: &TextSettings) -> Result<String> {
    let values = batch.columns().iter().zip(columns).map(|(array, column)| {
        let one = array.slice(row, 1);
        if one.is_null(0) {
            return Ok("null".to_owned());
        }
        let value = array_to_text(&one, &column.sql_type.field(&column.name, true), text)?;
        let value = value.value(0);
        Ok(match value.floor_char_boundary(VALUE_BYTES) {
            end if end < value.len() => format!("{}...", &value[..end]),
            _ => value.to_owned(),
        })
    });
    Ok(format!("({})", values.collect::<Result<Vec<_>>>()?.join(", ")))
}
