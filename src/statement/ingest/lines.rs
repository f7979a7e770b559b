//! InfluxDB's line protocol: each measurement is a table of the schema public, made when there is none.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Object};
use tidemill_catalog::snapshot::{NameClass, Snapshot};
use tidemill_ingest::{Evolve, Limits, LineDecoder, LineOptions, Nested, Precision, TableShape};
use tidemill_udfs::types::ValueError;
use tokio_util::sync::CancellationToken;

use super::super::control::Name;
use super::super::names;
use super::Report;
use super::book::Book;
use super::letters::{Letter, Letters, Written};
use super::target::{Target, shape_of};
use crate::error::SqlState;
use crate::session::Session;
use crate::{Error, Result};

/// Where the tables are.
pub(super) const SCHEMA: &str = "public";

/// Lines on their way into tables.
pub(crate) struct Lines {
    decoder: LineDecoder,
    schema: Oid,
    targets: HashMap<String, Target>,
    /// Lines of no table.
    nowhere: Letters,
    book: Book,
    written: Written,
    source: String,
    cancel: CancellationToken,
}

impl Lines {
    /// Begins in the session's transaction.
    ///
    /// # Errors
    /// 3F000 without a schema public, 25006.
    pub(crate) fn begin(
        session: &mut Session,
        precision: Precision,
        source: &str,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        session.require_writable("INSERT")?;
        let snapshot = Arc::clone(session.open().view());
        let schema = snapshot.catalog.find(session.database, NameClass::Schema, SCHEMA).map(|schema| schema.oid);
        let schema = schema
            .ok_or_else(|| Error::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{SCHEMA}\" does not exist")))?;
        let now_us = session.instance.clock.now();
        let options = LineOptions { precision, now_us, ..LineOptions::default() };
        let settings = session.text_settings().as_ref().clone();
        let shapes = Box::new(move |measurement: &str| shape(&snapshot, schema, measurement));
        let nowhere = Object {
            oid: 0,
            parent: schema,
            name: String::new(),
            owner: 0,
            version: 0,
            comment: None,
            acl: vec![],
            depends_on: vec![],
            body: Body::Schema {},
        };
        let written = Written::lines(precision.name())?;
        Ok(Self {
            decoder: LineDecoder::new(options, settings, shapes),
            schema,
            targets: HashMap::new(),
            nowhere: Letters::new(&nowhere, false, source, written.clone(), now_us),
            book: Book::new(session),
            written,
            source: source.to_owned(),
            cancel: cancel.clone(),
        })
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.targets.values().map(Target::rows).sum()
    }

    /// Takes bytes, cut anywhere. Waits while the writer of files is behind.
    ///
    /// # Errors
    /// Those of writing; what is wrong with a line is none.
    pub(crate) async fn push(&mut self, session: &mut Session, bytes: &[u8]) -> Result<()> {
        self.decoder.push(bytes);
        self.drain(session).await
    }

    async fn drain(&mut self, session: &mut Session) -> Result<()> {
        while let Some((measurement, decoded)) = self.decoder.take_batch() {
            if measurement.is_empty() {
                for letter in decoded.dead_letters {
                    self.nowhere.add(&mut self.book, Letter::of(letter)).await?;
                }
                continue;
            }
            if !self.targets.contains_key(&measurement) {
                let target = self.target(session, &measurement)?;
                self.targets.insert(measurement.clone(), target);
            }
            if let Some(target) = self.targets.get_mut(&measurement) {
                target.take(&mut self.book, decoded).await?;
            }
        }
        Ok(())
    }

    fn target(&self, session: &mut Session, measurement: &str) -> Result<Target> {
        let now = session.instance.clock.now();
        let found = session.open().view().catalog.find(self.schema, NameClass::Relation, measurement).is_some();
        let letters = |table: &Object| Letters::new(table, found, &self.source, self.written.clone(), now);
        if found {
            let name = Name { parts: vec![SCHEMA.to_owned(), measurement.to_owned()], offset: 0 };
            Target::of(session, &name, letters, &self.cancel)
        } else {
            names::require_create(session, self.schema)?;
            Target::fresh(session, self.schema, measurement, letters, &self.cancel)
        }
    }

    /// The input is over: puts all of it into the session's transaction. The report, and why the first line was no row.
    ///
    /// # Errors
    /// 40001 if a table was changed or made meanwhile.
    pub(crate) async fn finish(mut self, session: &mut Session) -> Result<(Report, Option<String>)> {
        self.decoder.finish();
        self.drain(session).await?;
        let mut reason = self.nowhere.first_reason().map(str::to_owned);
        let mut changes = vec![];
        let mut all = Report { dead_letters: self.nowhere.count(), ..Report::default() };
        for target in self.targets.into_values() {
            reason = reason.or_else(|| target.letters.first_reason().map(str::to_owned));
            let report = target.finish(session, &mut changes).await?;
            all.rows += report.rows;
            all.dead_letters += report.dead_letters;
            all.new_columns.extend(report.new_columns);
            all.widened_columns.extend(report.widened_columns);
        }
        self.book.finish(session, &mut changes).await?;
        all.documents = all.rows + all.dead_letters;
        session.apply(changes)?;
        Ok((all, reason))
    }
}

/// The table of a measurement; an empty one that evolves if there is none.
fn shape(snapshot: &Snapshot, schema: Oid, measurement: &str) -> Result<TableShape, ValueError> {
    let fresh = TableShape {
        name: measurement.to_owned(),
        columns: vec![],
        evolve: Evolve::AddColumns,
        nested: Nested::Jsonb,
        rest: true,
        limits: Limits::default(),
    };
    let (detail, hint) = (None, None);
    match snapshot.catalog.find(schema, NameClass::Relation, measurement).map(|object| &object.body) {
        None => Ok(fresh),
        Some(Body::Table(def)) => shape_of(measurement, def).map_err(|error| {
            let message = error.to_string();
            ValueError { code: "XX000", message, detail, hint }
        }),
        Some(_) => {
            let message = format!("\"{measurement}\" is not a table");
            Err(ValueError { code: "42809", message, detail, hint })
        }
    }
}
