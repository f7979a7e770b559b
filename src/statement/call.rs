//! CALL: arguments by place and by name, to the procedure they are for.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast;
use tidemill_udfs::types::SqlType;
use tokio_util::sync::CancellationToken;

use super::control::{CallArgument, Name};
use super::files::FileFormat;
use super::files::compact::{self, Options};
use super::{ingest, maintain};
use crate::error::SqlState;
use crate::plan::split_name;
use crate::session::{Column, Outcome, Portal, RowsTag, Session};
use crate::{Error, Result};

/// The columns of a procedure's row; `None`: it returns none.
pub(super) fn columns(name: &Name) -> Option<Vec<Column>> {
    match parts(name).as_slice() {
        ["tidemill", "compact_files"] => Some(compact::result_columns()),
        ["tidemill", "ingest"] => Some(ingest::result_columns()),
        _ => None,
    }
}

/// A procedure's row of numbers.
pub(super) fn counted(columns: Vec<Column>, values: &[u64]) -> Result<Outcome> {
    let fields: Vec<_> = columns.iter().map(|column| Field::new(&column.name, DataType::Int64, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let number = |value: &u64| Arc::new(Int64Array::from(vec![i64::try_from(*value).unwrap_or(i64::MAX)])) as ArrayRef;
    let arrays = values.iter().map(number).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(DataFusionError::from)?;
    Ok(Outcome::Rows {
        stream: Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]))),
        columns,
        tag: RowsTag::Fixed("CALL".to_owned()),
    })
}

/// Parameters that stand for whole values; they are text.
pub(super) fn parameters<'a>(values: impl Iterator<Item = &'a ast::Expr>) -> Vec<SqlType> {
    vec![SqlType::Text; values.filter_map(placeholder).max().unwrap_or(0)]
}

/// The number of the parameter that an argument is.
fn placeholder(value: &ast::Expr) -> Option<usize> {
    let ast::Expr::Value(value) = value else { return None };
    let ast::Value::Placeholder(id) = &value.value else { return None };
    // As many as a message can bind.
    id.strip_prefix('$')?.parse().ok().filter(|number| (1..=65_535).contains(number))
}

fn parts(name: &Name) -> Vec<&str> {
    name.parts.iter().map(String::as_str).collect()
}

pub(super) async fn call(
    session: &mut Session,
    name: &Name,
    arguments: &[CallArgument],
    portal: &Portal,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    match parts(name).as_slice() {
        ["tidemill", "compact_files"] => {
            let values = values(session, of_arguments(arguments), portal, cancel)?;
            let given = Given::of(name, &["files", "into", "key", "latest_by", "delete", "format"], arguments, values)?;
            compact::compact_files(session, options(&given)?, cancel).await
        }
        ["tidemill", "ingest"] => {
            let values = values(session, of_arguments(arguments), portal, cancel)?;
            let given = Given::of(name, &["table", "documents", "format"], arguments, values)?;
            let table = Name { parts: split_name(&given.required("table")?)?, offset: name.offset };
            let format = match given.text("format")?.as_deref() {
                None => ingest::Format::Json,
                Some(named) => text_format(named)?,
            };
            let documents = given.required("documents")?;
            ingest::documents(session, &table, &documents, format, cancel).await
        }
        _ => {
            if let Some(argument) = arguments.iter().find(|argument| argument.name.is_some()) {
                let named = argument.name.as_deref().unwrap_or_default();
                let message = format!("procedure {name} has no argument \"{named}\"");
                return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message).at(name.offset));
            }
            let values: Vec<ast::Expr> = of_arguments(arguments).cloned().collect();
            maintain::call(session, name, &values, cancel).await.map(Outcome::Command)
        }
    }
}

/// The format of documents in a text.
pub(super) fn text_format(name: &str) -> Result<ingest::Format> {
    Ok(match name {
        "json" => ingest::Format::Json,
        "ndjson" | "jsonl" => ingest::Format::Lines,
        "csv" => ingest::Format::Csv,
        other => return Err(unknown_format(other)),
    })
}

fn of_arguments(arguments: &[CallArgument]) -> impl Iterator<Item = &ast::Expr> {
    arguments.iter().map(|argument| &argument.value)
}

/// Values of expressions, some of which are whole parameters.
pub(super) fn values<'a>(
    session: &mut Session,
    expressions: impl Iterator<Item = &'a ast::Expr>,
    portal: &Portal,
    cancel: &CancellationToken,
) -> Result<Vec<ScalarValue>> {
    let scope = session.scope(cancel);
    let planner = Arc::clone(&session.planner);
    expressions
        .map(|expression| match placeholder(expression) {
            Some(number) => {
                portal.values.get(number - 1).cloned().ok_or_else(|| {
                    Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter ${number}"))
                })
            }
            None => {
                let value = planner.expression(&scope, &DFSchema::empty(), expression)?;
                planner.evaluate(&scope, &value)
            }
        })
        .collect()
}

/// Arguments by name.
struct Given {
    procedure: String,
    values: Vec<(&'static str, ScalarValue)>,
}

impl Given {
    /// # Errors
    /// 42883 for an unknown name or too many, 42601 for one that is given twice or by place behind one by name.
    fn of(
        procedure: &Name,
        names: &[&'static str],
        arguments: &[CallArgument],
        values: Vec<ScalarValue>,
    ) -> Result<Self> {
        let mut given: Vec<(&'static str, ScalarValue)> = vec![];
        let mut by_name = false;
        let hint = || format!("Its arguments are {}.", names.join(", "));
        for (at, (argument, value)) in arguments.iter().zip(values).enumerate() {
            by_name |= argument.name.is_some();
            let name = match &argument.name {
                Some(name) => names.iter().find(|known| *known == name),
                None if by_name => {
                    let message = "positional argument cannot follow named argument";
                    return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(procedure.offset));
                }
                None => names.get(at),
            };
            let Some(name) = name else {
                let message = match &argument.name {
                    Some(name) => format!("procedure {procedure} has no argument \"{name}\""),
                    None => format!("procedure {procedure} has {} arguments at most", names.len()),
                };
                return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message).hint(hint()).at(procedure.offset));
            };
            if given.iter().any(|(known, _)| known == name) {
                let message = format!("argument name \"{name}\" used more than once");
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(procedure.offset));
            }
            if !value.is_null() {
                given.push((name, value));
            }
        }
        Ok(Self { procedure: procedure.to_string(), values: given })
    }

    fn value(&self, name: &str) -> Option<&ScalarValue> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        let message = format!("argument \"{name}\" of {} must be {expected}", self.procedure);
        Error::new(SqlState::DATATYPE_MISMATCH, message)
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match value.try_as_str() {
                Some(Some(text)) => Ok(Some(text.to_owned())),
                _ => Err(self.wrong(name, "text")),
            },
        }
    }

    fn required(&self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| {
            let message = format!("argument \"{name}\" of {} is missing", self.procedure);
            Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
        })
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>> {
        match self.value(name) {
            None => Ok(None),
            Some(ScalarValue::Boolean(Some(value))) => Ok(Some(*value)),
            Some(value) => match value.try_as_str() {
                Some(Some(text)) => match tidemill_udfs::types::input::boolean(text.as_bytes()) {
                    Ok(value) => Ok(Some(value)),
                    Err(_) => Err(self.wrong(name, "true or false")),
                },
                _ => Err(self.wrong(name, "true or false")),
            },
        }
    }

    /// Names of columns: an array of them, or a text with commas.
    fn columns(&self, name: &str) -> Result<Vec<String>> {
        let one = |text: &str| match split_name(text)?.as_slice() {
            [column] => Ok(column.clone()),
            _ => Err(self.wrong(name, "names of columns")),
        };
        if let Some(ScalarValue::List(list)) = self.value(name) {
            let values = list.value(0);
            let texts = values.as_string_view_opt().ok_or_else(|| self.wrong(name, "names of columns"))?;
            if texts.null_count() > 0 {
                return Err(self.wrong(name, "names of columns"));
            }
            // As they are: an array needs no quotes to keep names apart.
            return Ok(texts.iter().flatten().map(str::to_owned).collect());
        }
        split_list(&self.required(name)?).iter().map(|part| one(part)).collect()
    }
}

/// The text's parts between commas that are not in quotes.
fn split_list(text: &str) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(|c: char| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    })
    .collect()
}

fn unknown_format(name: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("format \"{name}\" not recognized"))
}

fn options(given: &Given) -> Result<Options> {
    let format = given.text("format")?;
    let format = format.map(|name| FileFormat::named(&name).ok_or_else(|| unknown_format(&name))).transpose()?;
    let key = given.columns("key")?;
    let latest_by = if given.value("latest_by").is_some() { given.columns("latest_by")? } else { vec![] };
    if latest_by.len() > 1 {
        return Err(given.wrong("latest_by", "the name of one column"));
    }
    if key.is_empty() {
        return Err(given.wrong("key", "names of columns"));
    }
    Ok(Options {
        files: given.required("files")?,
        into: given.required("into")?,
        key,
        latest_by: latest_by.into_iter().next(),
        delete: given.boolean("delete")?.unwrap_or(true),
        format,
    })
}
