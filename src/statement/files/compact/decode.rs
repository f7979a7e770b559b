//! Files to rows: a thread per core, a decoder per file.
//!
//! A value that its column would not give back makes the column wider, and the pass a survey: what is left of the files is
//! decoded for the types alone, and another pass follows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parking_lot::Mutex;
use tidemill_ingest::{Decoded, SchemaChange};
use tidemill_udfs::types::{SqlType, TextSettings};
use tokio_util::sync::CancellationToken;

use super::super::{FileFormat, READ_BYTES, Unpacked, file_error, shown};
use super::columns::Columns;
use super::keep::{Kept, Piece, Ranks};
use super::{Input, convert};
use crate::error::SqlState;
use crate::instance::CopyProgress;
use crate::statement::ingest::{Decoder, Format};
use crate::{Error, Result};

/// Bytes of each file that are looked at first, for the types: enough rows that few columns turn out to be wider later.
const SAMPLE_BYTES: usize = 128 << 10;
/// Rows of a Parquet file read at once.
const PARQUET_ROWS: usize = 16 * 1024;

/// What decoding needs to know.
pub(super) struct Pass<'a> {
    pub(super) inputs: &'a [Input],
    pub(super) columns: &'a Mutex<Columns>,
    pub(super) kept: &'a Mutex<Kept>,
    pub(super) ranks: &'a Ranks,
    pub(super) settings: &'a TextSettings,
    pub(super) cancel: &'a CancellationToken,
    pub(super) progress: &'a Arc<CopyProgress>,
    pub(super) survey: AtomicBool,
    next: AtomicUsize,
}

/// What became of one file's documents.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) rows: u64,
    /// Documents that cannot be rows.
    pub(super) bad: u64,
    /// Where the first of them is, and what is wrong with it.
    pub(super) first_bad: Option<String>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        inputs: &'a [Input],
        (columns, kept): (&'a Mutex<Columns>, &'a Mutex<Kept>),
        ranks: &'a Ranks,
        settings: &'a TextSettings,
        cancel: &'a CancellationToken,
        progress: &'a Arc<CopyProgress>,
    ) -> Self {
        let (survey, next) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { inputs, columns, kept, ranks, settings, cancel, progress, survey, next }
    }

    /// Decodes all files; `None` if it was a survey.
    pub(super) fn run(&self, threads: usize) -> Result<Option<Vec<Tally>>> {
        let work = || -> Result<Vec<(usize, Tally)>> {
            let mut done = vec![];
            loop {
                let at = self.next.fetch_add(1, Ordering::Relaxed);
                let Some(input) = self.inputs.get(at) else { return Ok(done) };
                let mut file = OneFile { pass: self, at, tally: Tally::default() };
                // Others need not go on.
                file.read(input).inspect_err(|_| self.next.store(self.inputs.len(), Ordering::Relaxed))?;
                done.push((at, file.tally));
            }
        };
        let results = super::on_threads(threads.min(self.inputs.len()), |_| work())?;
        if self.survey.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut tallies = vec![Tally::default(); self.inputs.len()];
        for (at, tally) in results.into_iter().flatten() {
            tallies[at] = tally;
        }
        Ok(Some(tallies))
    }
}

/// The beginning of every file, one after the other, for the columns and their types.
pub(super) fn sample(inputs: &[Input], columns: &mut Columns, settings: &TextSettings) -> Result<()> {
    let mut buffer = vec![0; SAMPLE_BYTES];
    for (at, input) in inputs.iter().enumerate() {
        if input.format == FileFormat::Parquet {
            for (place, field) in parquet(&input.path)?.schema().fields().iter().enumerate() {
                let sql_type = convert::readable(field, &input.path)?;
                columns.add(field.name(), &sql_type, None, (at, place))?;
            }
            continue;
        }
        let mut file = Unpacked::open(&input.path, &Arc::default())?;
        let mut decoder = decoder(input.format, columns, settings);
        let mut documents = 0;
        // A document may be longer than the sample.
        while documents == 0 {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                decoder.finish()?;
            } else {
                decoder.push(&buffer[..read])?;
                decoder.flush();
            }
            while let Some(decoded) = decoder.take_batch() {
                documents += decoded.counts.documents;
                learn(&decoded, columns, at)?;
            }
            if read == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Takes over what a batch says about columns; false if one is wider than the batch has it.
fn learn(decoded: &Decoded, columns: &mut Columns, file: usize) -> Result<bool> {
    let mut fits = true;
    for change in &decoded.changes {
        match change {
            SchemaChange::AddColumn { name, sql_type, field, .. } => {
                let place = decoded.batch.schema().index_of(name).unwrap_or(usize::MAX);
                fits &= columns.add(name, sql_type, Some(field), (file, place))?;
            }
            SchemaChange::WidenColumn { name, to, .. } => {
                columns.widen(name, to)?;
                fits = false;
            }
        }
    }
    for letter in &decoded.dead_letters {
        if let (Some(column), Some(found)) = (&letter.column, &letter.value_type) {
            // One value was enough to widen it for all of this batch.
            let was = decoded.batch.schema().field_with_name(column).ok().map(SqlType::of_field);
            if was.is_none() || was.as_ref() == columns.sql_type(column) {
                columns.widen(column, found)?;
            }
            fits = false;
        }
    }
    Ok(fits)
}

fn decoder(format: FileFormat, columns: &Columns, settings: &TextSettings) -> Decoder {
    let format = match format {
        FileFormat::Csv => Format::Csv,
        FileFormat::Lines => Format::Lines,
        FileFormat::Json | FileFormat::Parquet => Format::Json,
    };
    Decoder::new(format, columns.shape(), settings)
}

fn parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<std::fs::File>> {
    let file = std::fs::File::open(path).map_err(|error| file_error(&shown(path), "reading", &error))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| not_parquet(path, &error))
}

fn not_parquet(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::new(SqlState::BAD_COPY_FILE_FORMAT, format!("\"{}\" is not a Parquet file", shown(path)))
        .detail(error.to_string())
}

struct OneFile<'a, 'p> {
    pass: &'a Pass<'p>,
    at: usize,
    tally: Tally,
}

impl OneFile<'_, '_> {
    fn read(&mut self, input: &Input) -> Result<()> {
        if input.format == FileFormat::Parquet { self.read_parquet(input) } else { self.read_documents(input) }
    }

    fn read_documents(&mut self, input: &Input) -> Result<()> {
        let mut file = Unpacked::open(&input.path, &self.pass.progress.bytes)?;
        let mut decoder = decoder(input.format, &self.pass.columns.lock(), self.pass.settings);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.check_cancelled()?;
            let read = file.read(&mut buffer)?;
            if read == 0 {
                decoder.finish()?;
            } else {
                decoder.push(&buffer[..read])?;
            }
            let mut fits = true;
            while let Some(decoded) = decoder.take_batch() {
                fits &= self.take(decoded, input)?;
            }
            if read == 0 {
                return Ok(());
            }
            if !fits {
                decoder.flush();
                while let Some(decoded) = decoder.take_batch() {
                    self.take(decoded, input)?;
                }
                decoder.set_shape(self.pass.columns.lock().shape());
            }
        }
    }

    /// False if the columns are wider now than the batch has them.
    fn take(&mut self, decoded: Decoded, input: &Input) -> Result<bool> {
        let fits = if decoded.changes.is_empty() && decoded.dead_letters.is_empty() {
            true
        } else {
            learn(&decoded, &mut self.pass.columns.lock(), self.at)?
        };
        if !fits {
            self.pass.survey.store(true, Ordering::Relaxed);
        }
        if let Some(letter) = decoded.dead_letters.first() {
            self.tally.bad += decoded.dead_letters.len() as u64;
            let (line, reason) = (letter.line, &letter.error.message);
            let first = || format!("{}, line {line}: {reason}", shown(&input.path));
            self.tally.first_bad.get_or_insert_with(first);
        }
        self.keep(decoded.batch)?;
        Ok(fits)
    }

    fn keep(&mut self, batch: RecordBatch) -> Result<()> {
        if self.pass.survey.load(Ordering::Relaxed) || batch.num_rows() == 0 {
            return Ok(());
        }
        let rank = (self.at, self.tally.rows);
        let rows = batch.num_rows() as u64;
        let piece = Piece::new(batch, rank, self.pass.ranks)?;
        self.tally.rows += rows;
        self.pass.progress.rows.fetch_add(rows, Ordering::Relaxed);
        let schema = || self.pass.columns.lock().schema();
        self.pass.kept.lock().take(piece, schema)
    }

    fn read_parquet(&mut self, input: &Input) -> Result<()> {
        let builder = parquet(&input.path)?;
        let fields = Arc::clone(builder.schema());
        let names: Vec<String> = fields.fields().iter().map(|field| field.name().clone()).collect();
        let reader = builder.with_batch_size(PARQUET_ROWS).build().map_err(|error| not_parquet(&input.path, &error))?;
        for batch in reader {
            self.check_cancelled()?;
            let batch = batch.map_err(|error| not_parquet(&input.path, &error))?;
            let mut columns: Vec<(String, ArrayRef)> = vec![];
            for (name, (field, array)) in names.iter().zip(fields.fields().iter().zip(batch.columns())) {
                let to = self.pass.columns.lock().sql_type(name).cloned();
                let to = to.ok_or_else(|| Error::internal("a column that was not sampled"))?;
                match convert::convert(array, &SqlType::of_field(field), &to, self.pass.settings)? {
                    Some(array) => columns.push((name.clone(), array)),
                    None => {
                        let found = SqlType::of_field(field);
                        let mut known = self.pass.columns.lock();
                        if known.sql_type(name) == Some(&to) {
                            known.widen(name, &found)?;
                        }
                        self.pass.survey.store(true, Ordering::Relaxed);
                    }
                }
            }
            if self.pass.survey.load(Ordering::Relaxed) {
                continue;
            }
            let (batch, without_key) = self.pass.ranks.with_key(columns, batch.num_rows())?;
            if without_key > 0 {
                self.tally.bad += without_key;
                let first = || format!("{}: a row without a key", shown(&input.path));
                self.tally.first_bad.get_or_insert_with(first);
            }
            self.keep(batch)?;
        }
        let bytes = input.identity.bytes;
        self.pass.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.pass.cancel.is_cancelled() {
            return Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request"));
        }
        Ok(())
    }
}
