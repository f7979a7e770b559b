//! Rows as HTTP's clients like them: a JSON object, JSON lines, CSV, an Arrow stream. Written batch by batch.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::error::DataFusionError;
use serde_json::{Value, json};
use tidemill_udfs::types::json::write_string;
use tidemill_udfs::types::{JsonEncoder, SqlType, TextSettings};

use super::super::answer::report;
use crate::error::{Refusal, Report};
use crate::session::Column;
use crate::statement::copy_format::{CopyOptions, CopyWriter, Encoding, ForceQuote, Format, Header};
use crate::{Error, Result};

/// An Arrow batch has about so many bytes at most, unless one row is larger: clients hold it whole, and so do we.
const ARROW_BATCH_BYTES: usize = 8 << 20;

/// Forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Lines,
    Csv,
    Arrow,
}

/// What clients may ask for, the first one where they do not care.
const FORMS: [(Form, &str, &str); 5] = [
    (Form::Json, "json", "application/json"),
    (Form::Lines, "ndjson", "application/x-ndjson"),
    (Form::Lines, "jsonl", "application/jsonl"),
    (Form::Csv, "csv", "text/csv"),
    (Form::Arrow, "arrow", "application/vnd.apache.arrow.stream"),
];

impl Form {
    /// The form that the address or the header Accept asks for.
    ///
    /// # Errors
    /// 400 for an unknown name, 406 if none of what is accepted is possible.
    pub(super) fn wanted(name: Option<&str>, headers: &HeaderMap) -> Result<Self> {
        let hint = "The forms are application/json, application/x-ndjson, text/csv and \
                    application/vnd.apache.arrow.stream; format=json, ndjson, csv and arrow.";
        if let Some(name) = name {
            let found = FORMS.iter().find(|(_, known, _)| *known == name).map(|(form, ..)| *form);
            let message = || format!("format \"{name}\" is not supported");
            return found.ok_or_else(|| Error::refused(Refusal::Malformed, message()).hint(hint));
        }
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let accepted: Vec<&str> =
            accepted.flat_map(|value| value.split(',')).filter(|range| !range.is_empty()).collect();
        if accepted.is_empty() {
            return Ok(Self::Json);
        }
        let best =
            FORMS.iter().rev().map(|(form, _, media)| (quality(&accepted, media), *form)).max_by_key(|(q, _)| *q);
        match best {
            Some((1.., form)) => Ok(form),
            _ => {
                let message = format!("rows cannot be \"{}\"", accepted.join(",").trim());
                Err(Error::refused(Refusal::Unacceptable, message).hint(hint))
            }
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// How much a media type is liked, in thousandths; ranges that are more exact count before others.
fn quality(accepted: &[&str], media: &str) -> u32 {
    let (kind, _) = media.split_once('/').unwrap_or((media, ""));
    let of = |range: &&str| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let exactness = match name.as_str() {
            name if name == media => 2,
            name if name.strip_suffix("/*") == Some(kind) => 1,
            "*/*" | "*" => 0,
            _ => return None,
        };
        let weight =
            parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.trim().parse::<f32>().ok())?;
        // Between 0 and 1000.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        Some((exactness, (weight.clamp(0.0, 1.0) * 1000.0) as u32))
    };
    accepted.iter().filter_map(of).max_by_key(|(exactness, _)| *exactness).map_or(0, |(_, weight)| weight)
}

/// The answer of statements without rows.
pub(super) fn commands(commands: &[String], notices: &[(&'static str, Report)]) -> Vec<u8> {
    let mut answer = json!({ "command": commands.last() });
    if commands.len() > 1 {
        answer["commands"] = commands.into();
    }
    if !notices.is_empty() {
        answer["notices"] = self::notices(notices);
    }
    answer.to_string().into_bytes()
}

fn notices(notices: &[(&'static str, Report)]) -> Value {
    let notice = |(severity, notice): &(&'static str, Report)| {
        let mut fields = report(notice);
        fields["severity"] = (*severity).into();
        fields
    };
    notices.iter().map(notice).collect()
}

/// Writes the rows of one result.
pub(super) struct Rows {
    columns: Vec<Column>,
    settings: Arc<TextSettings>,
    kind: Kind,
}

enum Kind {
    Json {
        /// There is a row already.
        any: bool,
    },
    /// The members' names with what is around them: `{"a":`, `,"b":`.
    Lines(Vec<Vec<u8>>),
    Csv(Box<CopyWriter>),
    Arrow(Box<StreamWriter<Vec<u8>>>, SchemaRef),
}

impl Rows {
    /// # Errors
    /// XX000 for columns that cannot be written.
    pub(super) fn new(form: Form, columns: &[Column], schema: &Schema, settings: &Arc<TextSettings>) -> Result<Self> {
        let kind = match form {
            Form::Json => Kind::Json { any: false },
            Form::Lines => {
                Kind::Lines(columns.iter().enumerate().map(|(at, column)| member(at, &column.name)).collect())
            }
            Form::Csv => {
                let columns: Vec<_> = columns.iter().map(|c| (c.name.clone(), c.sql_type.clone())).collect();
                Kind::Csv(Box::new(CopyWriter::new(&csv(), &columns, settings)?))
            }
            Form::Arrow => {
                let fields = columns.iter().zip(schema.fields()).map(|(column, field)| arrow_field(column, field));
                let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
                let writer = StreamWriter::try_new(vec![], &schema).map_err(DataFusionError::from)?;
                Kind::Arrow(Box::new(writer), schema)
            }
        };
        Ok(Self { columns: columns.to_vec(), settings: Arc::clone(settings), kind })
    }

    /// What comes before the first row.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match &mut self.kind {
            Kind::Json { .. } => {
                let column = |column: &Column| json!({ "name": column.name, "type": column.sql_type.name() });
                let columns: Value = self.columns.iter().map(column).collect();
                out.extend_from_slice(format!("{{\"columns\":{columns},\"rows\":[").as_bytes());
            }
            Kind::Lines(_) => {}
            Kind::Csv(writer) => out.extend(writer.header()?.into_iter().flat_map(|header| header.bytes)),
            Kind::Arrow(writer, _) => out.append(writer.get_mut()),
        }
        Ok(())
    }

    /// Writes rows from `from` on, until there are `bytes` or all are written: how many, at least one.
    ///
    /// # Errors
    /// 22003 for an unsigned integer above bigint.
    pub(super) fn add(&mut self, batch: &RecordBatch, from: usize, bytes: usize, out: &mut Vec<u8>) -> Result<usize> {
        match &mut self.kind {
            Kind::Json { any } => {
                let encoders = encoders(&self.columns, batch, &self.settings)?;
                let mut row = from;
                while row < batch.num_rows() && (row == from || out.len() < bytes) {
                    out.extend_from_slice(if std::mem::replace(any, true) { b",\n[" } else { b"\n[" });
                    for (at, encoder) in encoders.iter().enumerate() {
                        if at > 0 {
                            out.push(b',');
                        }
                        encoder.write(row, out);
                    }
                    out.push(b']');
                    row += 1;
                }
                Ok(row - from)
            }
            Kind::Lines(members) => {
                let encoders = encoders(&self.columns, batch, &self.settings)?;
                let mut row = from;
                while row < batch.num_rows() && (row == from || out.len() < bytes) {
                    line(members, &encoders, row, out);
                    row += 1;
                }
                Ok(row - from)
            }
            Kind::Csv(writer) => {
                let chunk = writer.write(batch, from)?;
                out.extend_from_slice(&chunk.bytes);
                Ok(chunk.row_ends.len())
            }
            Kind::Arrow(writer, schema) => {
                let rows = rows_of(batch, from, ARROW_BATCH_BYTES);
                let part = arrow_batch(&batch.slice(from, rows), schema)?;
                writer.write(&part).map_err(DataFusionError::from)?;
                out.append(writer.get_mut());
                Ok(rows)
            }
        }
    }

    /// What comes after the last row.
    ///
    /// # Errors
    /// None that a user can cause.
    pub(super) fn end(&mut self, tag: &str, notices: &[(&'static str, Report)], out: &mut Vec<u8>) -> Result<()> {
        match &mut self.kind {
            Kind::Json { any } => {
                out.extend_from_slice(if *any { b"\n],\"command\":" } else { b"],\"command\":" });
                write_string(tag, out);
                if !notices.is_empty() {
                    out.extend_from_slice(format!(",\"notices\":{}", self::notices(notices)).as_bytes());
                }
                out.extend_from_slice(b"}\n");
            }
            Kind::Lines(_) | Kind::Csv(_) => {}
            Kind::Arrow(writer, _) => {
                writer.finish().map_err(DataFusionError::from)?;
                out.append(writer.get_mut());
            }
        }
        Ok(())
    }

    /// What went wrong after the answer began, if its form can say so: then the answer is complete. Else it is to be cut off.
    pub(super) fn fail(&mut self, error: &Error, out: &mut Vec<u8>) -> bool {
        let Kind::Json { any } = &self.kind else { return false };
        let error = report(error.report());
        out.extend_from_slice(if *any { b"\n],\"error\":" } else { b"],\"error\":" });
        out.extend_from_slice(format!("{error}}}\n").as_bytes());
        true
    }
}

fn encoders(columns: &[Column], batch: &RecordBatch, settings: &TextSettings) -> Result<Vec<JsonEncoder>> {
    let encoder = |(column, array): (&Column, &ArrayRef)| Ok(JsonEncoder::new(array, &column.sql_type, settings)?);
    columns.iter().zip(batch.columns()).map(encoder).collect()
}

fn member(at: usize, name: &str) -> Vec<u8> {
    let mut member = if at == 0 { b"{".to_vec() } else { b",".to_vec() };
    write_string(name, &mut member);
    member.push(b':');
    member
}

fn line(members: &[Vec<u8>], encoders: &[JsonEncoder], row: usize, out: &mut Vec<u8>) {
    let start = out.len();
    if members.is_empty() {
        out.push(b'{');
    }
    for (member, encoder) in members.iter().zip(encoders) {
        out.extend_from_slice(member);
        encoder.write(row, out);
    }
    out.push(b'}');
    // json keeps its white space; strings have no line ends.
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.push(b'\n');
}

/// As COPY … (FORMAT csv, HEADER) writes it.
fn csv() -> CopyOptions {
    CopyOptions {
        format: Format::Csv,
        delimiter: b',',
        null: String::new(),
        header: Header::Present,
        quote: b'"',
        escape: b'"',
        force_quote: ForceQuote::Columns(vec![]),
        force_not_null: vec![],
        force_null: vec![],
        encoding: Encoding::Utf8,
    }
}

// ---- Arrow ----

/// The field of a column, with its SQL type where Arrow alone does not tell it.
fn arrow_field(column: &Column, field: &Field) -> Field {
    let data_type = plain(field.data_type());
    let is_name = column.sql_type.is_oid() && data_type == DataType::Utf8;
    let metadata = if is_name { SqlType::Text } else { column.sql_type.clone() }.metadata();
    Field::new(&column.name, data_type, true).with_metadata(metadata)
}

/// Without views: not every client reads them, and they would carry the bytes of rows that are not sent.
fn plain(data_type: &DataType) -> DataType {
    let element = |field: &FieldRef| -> FieldRef {
        Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type())).with_nullable(true))
    };
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) => DataType::List(element(field)),
        DataType::LargeList(field) => DataType::LargeList(element(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(element).collect()),
        DataType::Dictionary(_, value) => plain(value),
        other => other.clone(),
    }
}

fn arrow_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(array, field)| match array.data_type() == field.data_type() {
        true => Ok(Arc::clone(array)),
        false => cast(array, field.data_type()),
    });
    let columns = columns.collect::<Result<_, _>>().map_err(DataFusionError::from)?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options);
    Ok(batch.map_err(DataFusionError::from)?)
}

/// How many rows from `from` on have about so many bytes of text, at least one.
fn rows_of(batch: &RecordBatch, from: usize, bytes_max: usize) -> usize {
    let mut rows = batch.num_rows() - from;
    let bytes = |rows: usize| -> usize { batch.columns().iter().map(|array| bytes_of(&array.slice(from, rows))).sum() };
    while rows > 1 && bytes(rows) > bytes_max {
        rows = rows.div_ceil(2);
    }
    rows
}

/// The bytes of the values, for arrays whose values have no fixed size; views count what they show.
fn bytes_of(array: &dyn Array) -> usize {
    use datafusion::arrow::array::AsArray;
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().lengths().map(|length| length as usize).sum(),
        DataType::BinaryView => array.as_binary_view().lengths().map(|length| length as usize).sum(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
            bytes_of(&list.values().slice(first, last - first))
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn forms_by_what_is_accepted() {
        let arrow = "application/vnd.apache.arrow.stream";
        let cases = [
            ("", Some(Form::Json)),
            ("*/*", Some(Form::Json)),
            ("text/csv", Some(Form::Csv)),
            ("text/*", Some(Form::Csv)),
            ("application/json, text/csv;q=0.9", Some(Form::Json)),
            ("application/json;q=0.1, text/csv;q=0.9, */*;q=0.05", Some(Form::Csv)),
            ("application/x-ndjson", Some(Form::Lines)),
            (arrow, Some(Form::Arrow)),
            ("text/html, application/json;q=0", None),
            ("text/html", None),
            ("text/html, */*;q=0.1", Some(Form::Json)),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
            assert_eq!(Form::wanted(None, &headers).ok(), expected, "{accept}");
        }
        assert_eq!(Form::wanted(Some("arrow"), &HeaderMap::new()).ok(), Some(Form::Arrow));
        assert_eq!(Form::wanted(Some("xml"), &HeaderMap::new()).expect_err("unknown").http_status(), 400);
    }
}
