//! [`CopyParser`]: COPY FROM's bytes, cut anywhere, to batches.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use tidemill_udfs::types::{ColumnParser, SqlType, TextSettings};

use super::binary::BinaryRows;
use super::csv::CsvRows;
use super::text::TextRows;
use super::{CopyOptions, Encoding, Fields, Format, Header, RowFault, Step};
use crate::error::SqlState;
use crate::{Error, Result};

/// Rows of a batch: enough that the cost per batch does not show, few enough to stay in a core's cache while written.
const BATCH_ROWS: usize = 32 * 1024;

/// A batch ends after so many bytes of input even if its rows are few.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Characters of a line or value that an error's context shows.
const CONTEXT_CHARS: usize = 100;

/// Parses COPY's data into batches.
pub struct CopyParser {
    table: String,
    names: Vec<String>,
    schema: SchemaRef,
    columns: Vec<ColumnParser>,
    rows: Rows,
    encoding: Encoding,
    header: Header,
    /// Bytes not yet parsed begin at `position`.
    input: Vec<u8>,
    position: usize,
    /// No new attempt at an incomplete row before the input is this long: long rows would be scanned again and again.
    retry_at: usize,
    fields: Fields,
    /// Lines (of text) or rows (of binary) read, as PostgreSQL counts them for messages.
    line: u64,
    batch_rows: usize,
    batch_bytes: usize,
    rows_total: u64,
    ended: bool,
    ready: VecDeque<RecordBatch>,
}

enum Rows {
    Text(Box<TextRows>),
    Csv(Box<CsvRows>),
    Binary(BinaryRows),
}

impl CopyParser {
    /// A parser of rows for these columns of `table` (its name is for messages).
    ///
    /// # Errors
    /// 42703 for unknown columns in the FORCE options, 0A000 for a type without input.
    pub fn new(
        options: &CopyOptions,
        table: &str,
        columns: &[(String, SqlType)],
        settings: &TextSettings,
    ) -> Result<Self> {
        let forced = |names: &[String]| {
            for name in names {
                if !columns.iter().any(|(column, _)| column == name) {
                    let message = format!("column \"{name}\" of relation \"{table}\" does not exist");
                    return Err(Error::new(SqlState::UNDEFINED_COLUMN, message));
                }
            }
            Ok(columns.iter().map(|(column, _)| names.contains(column)).collect::<Vec<_>>())
        };
        let rows = match options.format {
            Format::Text => Rows::Text(Box::new(TextRows::new(options.delimiter, &options.null))),
            Format::Binary => Rows::Binary(BinaryRows::default()),
            Format::Csv => Rows::Csv(Box::new(CsvRows::new(
                (options.delimiter, options.quote, options.escape),
                &options.null,
                forced(&options.force_not_null)?,
                forced(&options.force_null)?,
            ))),
        };
        let fields: Vec<_> = columns.iter().map(|(name, sql_type)| sql_type.field(name, true)).collect();
        Ok(Self {
            table: table.to_owned(),
            names: columns.iter().map(|(name, _)| name.clone()).collect(),
            schema: Arc::new(Schema::new(fields)),
            columns: columns
                .iter()
                .map(|(_, sql_type)| ColumnParser::new(sql_type, settings))
                .collect::<Result<_, _>>()?,
            rows,
            encoding: if options.format == Format::Binary { Encoding::Utf8 } else { options.encoding },
            header: options.header,
            input: vec![],
            position: 0,
            retry_at: 0,
            fields: Fields::default(),
            line: 0,
            batch_rows: 0,
            batch_bytes: 0,
            rows_total: 0,
            ended: false,
            ready: VecDeque::new(),
        })
    }

    /// The schema of the batches: the columns, all nullable.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows parsed so far.
    pub fn rows(&self) -> u64 {
        self.rows_total
    }

    /// Takes bytes as they come. Batches that are full can be taken then; the caller should, before it pushes more.
    ///
    /// # Errors
    /// 22P04 for bad rows, and those of [`ColumnParser::push`]; all with the line as context. The parser is of no use then.
    pub fn push(&mut self, bytes: &Bytes) -> Result<()> {
        if self.ended && !matches!(self.rows, Rows::Binary(_)) {
            return Ok(());
        }
        match self.encoding {
            Encoding::Utf8 => self.input.extend_from_slice(bytes),
            Encoding::Latin1 => {
                // The code points of Latin-1 are the first of Unicode.
                let mut buffer = [0; 4];
                for byte in bytes {
                    self.input.extend_from_slice(char::from(*byte).encode_utf8(&mut buffer).as_bytes());
                }
            }
        }
        if self.input.len() - self.position < self.retry_at {
            return Ok(());
        }
        self.parse(false)
    }

    /// A full batch, if there is one.
    pub fn take_batch(&mut self) -> Option<RecordBatch> {
        self.ready.pop_front()
    }

    /// The data is complete: parses what is left. Take the last batches after it.
    ///
    /// # Errors
    /// See [`Self::push`].
    pub fn finish(&mut self) -> Result<()> {
        self.parse(true)?;
        self.end_batch()
    }

    fn parse(&mut self, is_last: bool) -> Result<()> {
        let input = std::mem::take(&mut self.input);
        let result = self.parse_rows(&input, is_last);
        self.input = input;
        result?;
        self.input.drain(..self.position);
        self.position = 0;
        self.retry_at = 2 * self.input.len();
        // A long row must not keep its memory for the rest of the data.
        if self.input.is_empty() {
            self.input.shrink_to(4 * 1024 * 1024);
        }
        Ok(())
    }

    fn parse_rows(&mut self, input: &[u8], is_last: bool) -> Result<()> {
        while !self.ended || matches!(self.rows, Rows::Binary(_)) {
            let start = self.position;
            let step = match &mut self.rows {
                Rows::Text(rows) => rows.row(input, start, is_last, &mut self.fields),
                Rows::Csv(rows) => rows.row(input, start, is_last, &mut self.fields),
                Rows::Binary(rows) => {
                    let step = rows.row(input, start, is_last, self.columns.len(), &mut self.fields);
                    Ok(step.map_err(|message| self.bad_format(self.line + 1, message, None))?)
                }
            };
            match step {
                Ok(Step::Row { end, next, lines }) => {
                    self.line += lines;
                    self.position = next;
                    if matches!(&self.rows, Rows::Binary(rows) if rows.ended()) {
                        self.ended = true;
                    } else {
                        self.take_row(input, start, end)?;
                    }
                }
                Ok(Step::Incomplete) => return Ok(()),
                Ok(Step::End) => {
                    self.ended = true;
                    self.position = input.len();
                    return Ok(());
                }
                Err(fault) => return Err(self.row_fault(fault, &input[start..])),
            }
        }
        self.position = input.len();
        Ok(())
    }

    #[inline]
    fn take_row(&mut self, input: &[u8], start: usize, end: usize) -> Result<()> {
        if self.header != Header::Absent {
            return self.take_header(input, start, end);
        }
        let (expected, given) = (self.columns.len(), self.fields.at.len());
        // A table without columns has rows of one empty field.
        if given != expected && !(expected == 0 && start == end) {
            return Err(self.wrong_count(&input[start..end]));
        }
        let is_binary = matches!(self.rows, Rows::Binary(_));
        for at in 0..expected {
            let field = self.fields.at[at];
            let column = &mut self.columns[at];
            if field.null {
                column.push_null();
                continue;
            }
            let bytes = self.fields.bytes(field, input);
            let result = if is_binary { column.push_binary(bytes) } else { column.push(bytes) };
            if let Err(error) = result {
                let shown = if is_binary { None } else { Some(bytes) };
                let shown = shown.map(|bytes| format!(": \"{}\"", excerpt(bytes)));
                let context = self.context(&format!(", column {}{}", self.names[at], shown.unwrap_or_default()));
                return Err(with_context(error.into(), context));
            }
        }
        self.rows_total += 1;
        self.batch_rows += 1;
        self.batch_bytes += end - start;
        if self.batch_rows >= BATCH_ROWS || self.batch_bytes >= BATCH_BYTES {
            self.end_batch()?;
        }
        Ok(())
    }

    fn take_header(&mut self, input: &[u8], start: usize, end: usize) -> Result<()> {
        let line = &input[start..end];
        if self.header == Header::Match {
            let (expected, given) = (self.names.len(), self.fields.at.len());
            if expected != given {
                let message = format!("wrong number of fields in header line: got {given}, expected {expected}");
                return Err(self.bad_format(self.line, message, Some(line)));
            }
            for (at, (name, field)) in self.names.iter().zip(&self.fields.at).enumerate() {
                let given = String::from_utf8_lossy(self.fields.bytes(*field, input));
                if !field.null && given == name.as_str() {
                    continue;
                }
                let got = if field.null { format!("null value (\"{given}\")") } else { format!("\"{given}\"") };
                let number = at + 1;
                let message =
                    format!("column name mismatch in header line field {number}: got {got}, expected \"{name}\"");
                return Err(self.bad_format(self.line, message, Some(line)));
            }
        }
        self.header = Header::Absent;
        Ok(())
    }

    fn end_batch(&mut self) -> Result<()> {
        if self.batch_rows == 0 {
            return Ok(());
        }
        let arrays = self.columns.iter_mut().map(ColumnParser::finish).collect();
        let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(self.batch_rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map_err(|error| Error::internal(error.to_string()))?;
        self.ready.push_back(batch);
        self.batch_rows = 0;
        self.batch_bytes = 0;
        Ok(())
    }

    fn wrong_count(&self, line: &[u8]) -> Error {
        let message = match self.names.get(self.fields.at.len()) {
            Some(missing) => format!("missing data for column \"{missing}\""),
            None => "extra data after last expected column".to_owned(),
        };
        self.bad_format(self.line, message, Some(line))
    }

    fn row_fault(&self, fault: RowFault, rest: &[u8]) -> Error {
        let csv = matches!(self.rows, Rows::Csv(_));
        let line = self.line + 1;
        let literal = |name: &str, escape: &str| {
            let message =
                if csv { format!("unquoted {name} found in data") } else { format!("literal {name} found in data") };
            let hint = if csv {
                format!("Use quoted CSV field to represent {name}.")
            } else {
                format!("Use \"{escape}\" to represent {name}.")
            };
            self.bad_format(line, message, None).hint(hint)
        };
        match fault {
            RowFault::LiteralReturn => literal("carriage return", "\\r"),
            RowFault::LiteralNewline => literal("newline", "\\n"),
            RowFault::MarkerCorrupt => self.bad_format(line, "end-of-copy marker corrupt".into(), None),
            RowFault::MarkerStyle => {
                self.bad_format(line, "end-of-copy marker does not match previous newline style".into(), None)
            }
            RowFault::UnterminatedQuote => {
                // PostgreSQL reads to the end before it notices.
                let lines = u64::try_from(memchr::memchr_iter(b'\n', rest).count()).unwrap_or(0);
                let line = self.line + lines.max(1);
                self.bad_format(line, "unterminated CSV quoted field".into(), Some(rest))
            }
        }
    }

    fn bad_format(&self, line: u64, message: String, text: Option<&[u8]>) -> Error {
        let error = Error::new(SqlState::BAD_COPY_FILE_FORMAT, message);
        let text = text.map(|text| format!(": \"{}\"", excerpt(text))).unwrap_or_default();
        with_context(error, format!("COPY {}, line {line}{text}", self.table))
    }

    fn context(&self, rest: &str) -> String {
        format!("COPY {}, line {}{rest}", self.table, self.line)
    }
}

fn with_context(mut error: Error, context: String) -> Error {
    error.report_mut().context = Some(context);
    error
}

/// The beginning of a line or value, for messages.
fn excerpt(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.len() <= CONTEXT_CHARS {
        return String::from_utf8_lossy(bytes);
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * CONTEXT_CHARS)]);
    Cow::Owned(format!("{}...", &text[..text.floor_char_boundary(CONTEXT_CHARS)]))
}
