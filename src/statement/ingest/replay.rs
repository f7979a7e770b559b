//! Dead letters once more: `SELECT * FROM tidemill.replay_dead_letters('events')`, `CALL tidemill.discard_dead_letters('events')`.
//!
//! In one transaction all letters of the table are read, decoded as documents again and deleted; those that fail again are
//! written anew, with one more attempt. So a letter becomes a row once, whatever happens.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::sql::sqlparser::ast;
use futures::TryStreamExt;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, Object};
use tidemill_ingest::{LineDecoder, LineOptions, Precision};
use tokio_util::sync::CancellationToken;

use super::super::control::Name;
use super::super::{names, parse};
use super::letters::{Letter, Sent, Written};
use super::receipts::literal;
use super::{Decoder, Format, Ingest, book, tables};
use crate::clock::Timestamp;
use crate::error::SqlState;
use crate::session::{Outcome, Session};
use crate::{Error, Result};

/// A letter that failed more often is left alone, until somebody sets its attempts back.
pub(super) const ATTEMPTS_MAX: i32 = 3;

/// What became of letters that were tried again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replayed {
    /// The table.
    pub(crate) table: String,
    /// All.
    pub(crate) tried: u64,
    /// Those that are rows now.
    pub(crate) rows: u64,
    /// Those that failed again.
    pub(crate) failed: u64,
    /// Those of them that failed for the last time: they are left alone from now on.
    pub(crate) quarantined: u64,
}

/// Tries dead letters of a table again: all, or those for which `filter` is true, a condition over tidemill.dead_letters.
///
/// # Errors
/// 42P01, those of the condition; 40001 if the table or its letters were changed meanwhile.
pub(crate) async fn replay(
    session: &mut Session,
    table: &Name,
    filter: Option<&str>,
    cancel: &CancellationToken,
) -> Result<Replayed> {
    let (object, _) = names::table(session, table)?;
    let nothing = Replayed { table: object.name.clone(), ..Replayed::default() };
    let Some(letters) = tables::find(session, book::NAME) else { return none(session, nothing) };
    // Of letters without options there are only JSON's; those of other formats are older than replay of them.
    let has_options = matches!(&letters.body, Body::Table(def) if def.columns.iter().any(|c| c.name == book::OPTIONS));
    let (header, precision, readable) = if has_options {
        ("options ->> 'header'", "options ->> 'precision'", "(format = 'json' OR options IS NOT NULL)")
    } else {
        ("NULL::text", "NULL::text", "format = 'json'")
    };
    let chosen = format!("{} AND attempts <= {ATTEMPTS_MAX} AND {readable}", condition(session, &object, filter)?);
    let mut ingest = Ingest::begin(session, table, Format::Lines, "replay", cancel)?;
    // Letters that are read alike follow each other.
    let sql = format!(
        "SELECT id, received_at, source, attempts, raw, format, {header}, {precision} \
         FROM tidemill.dead_letters WHERE {chosen} ORDER BY format, 7, 8, id"
    );
    let Outcome::Rows { mut stream, .. } = run(session, &sql, cancel).await? else {
        return Err(Error::internal("a query without rows"));
    };
    let (mut tried, mut written) = (0_u64, Arc::new(Written::json()));
    while let Some(batch) = stream.try_next().await? {
        let text = |at: usize| batch.column(at).as_string_view();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let (attempts, raws) = (batch.column(3).as_primitive::<Int32Type>(), batch.column(4).as_binary_view());
        for row in 0..batch.num_rows() {
            let given = |at: usize| text(at).is_valid(row).then(|| text(at).value(row));
            let reading = match text(5).value(row) {
                "csv" => Written::csv(given(6))?,
                "line" => Written::lines(given(7).unwrap_or_default())?,
                _ => Written::json(),
            };
            if reading != *written {
                ingest.read_as(&reading, given(6), given(7)).await?;
                written = Arc::new(reading);
            }
            let sent = Sent {
                offset: ingest.pushed,
                raw: Some((raws.value(row).to_vec(), Arc::clone(&written))),
                id: Some(text(0).value(row).to_owned()),
                received_at: Some(times.value(row)),
                source: text(2).value(row).into(),
                place: None,
                attempts: attempts.value(row) + 1,
            };
            ingest.letter(raws.value(row), sent).await?;
            tried += 1;
        }
    }
    drop(stream);
    if tried == 0 {
        return none(session, nothing);
    }
    run(session, &format!("DELETE FROM tidemill.dead_letters WHERE {chosen}"), cancel).await?;
    ingest.drain_all().await?;
    let quarantined = ingest.target.letters.quarantined();
    let report = ingest.finish(session).await?;
    if report.documents != tried {
        // Nothing happened then.
        return Err(Error::internal(format!("{tried} letters were read as {} documents", report.documents)));
    }
    let message =
        format!("{} of {tried} dead letters of table \"{}\" became rows", tried - report.dead_letters, object.name);
    session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
    if quarantined > 0 {
        session.instance.metrics.dead_letters_quarantined.fetch_add(quarantined, Ordering::Relaxed);
        let message = format!(
            "{quarantined} dead letters of table \"{}\" failed more than {ATTEMPTS_MAX} times and are not tried again",
            object.name
        );
        session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
    }
    Ok(Replayed { tried, rows: report.rows, failed: report.dead_letters, quarantined, ..nothing })
}

impl Ingest {
    /// Letters that follow are read so.
    async fn read_as(&mut self, written: &Written, header: Option<&str>, precision: Option<&str>) -> Result<()> {
        let shape = self.target.shape()?;
        let decoder = match precision.and_then(Precision::named) {
            Some(precision) if &*written.format == "line" => {
                let options = LineOptions { precision, ..LineOptions::default() };
                // The letters say which table it is, which may be called otherwise by now.
                let shapes = Box::new(move |_: &str| Ok(shape.clone()));
                Decoder::Lines(Box::new(LineDecoder::new(options, self.settings.as_ref().clone(), shapes)))
            }
            _ if &*written.format == "csv" => Decoder::new(Format::Csv, shape, &self.settings),
            _ => Decoder::new(Format::Lines, shape, &self.settings),
        };
        self.next_decoder(decoder, written.clone()).await?;
        match header {
            Some(header) if &*written.format == "csv" => self.push(format!("{header}\n").as_bytes()).await,
            _ => Ok(()),
        }
    }

    /// Takes a letter. What is wrong with it does not reach the next.
    async fn letter(&mut self, raw: &[u8], mut sent: Sent) -> Result<()> {
        if let Some(error) = self.decoder.refusal(raw) {
            return self.target.refuse(&mut self.book, Letter::of_message(raw, &error), sent).await;
        }
        sent.offset = self.pushed;
        if let (Decoder::Lines(decoder), Some(received_at)) = (&mut self.decoder, sent.received_at) {
            decoder.set_now_us(received_at);
        }
        self.target.letters.next(sent);
        if matches!(self.decoder, Decoder::Json(_)) {
            // A line each. Between tokens a space is as good as a line's end, and within strings neither is JSON.
            let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
            let line: Vec<u8> = raw.iter().map(|byte| if is_line_end(byte) { b' ' } else { *byte }).collect();
            self.push(&line).await?;
        } else {
            self.push(raw).await?;
        }
        self.push(b"\n").await?;
        self.decoder.end_document();
        self.drain().await
    }
}

/// Deletes dead letters of a table: all, or those for which `filter` is true. How many.
///
/// # Errors
/// 42P01, those of the condition; 40001 if its letters were changed meanwhile.
pub(crate) async fn discard(
    session: &mut Session,
    table: &Name,
    filter: Option<&str>,
    cancel: &CancellationToken,
) -> Result<u64> {
    let (object, _) = names::table(session, table)?;
    names::require(session, &object, Privileges::DELETE)?;
    if tables::find(session, book::NAME).is_none() {
        return none(session, Replayed { table: object.name.clone(), ..Replayed::default() }).map(|_| 0);
    }
    let chosen = condition(session, &object, filter)?;
    let discarded = counted(run(session, &format!("DELETE FROM tidemill.dead_letters WHERE {chosen}"), cancel).await?)?;
    let message = format!("{discarded} dead letters of table \"{}\" were discarded", object.name);
    session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
    Ok(discarded)
}

/// Deletes the dead letters of the session's database that came before. How many.
///
/// # Errors
/// 40001 if somebody else changed them; the next time tries again.
pub(crate) async fn expire(session: &mut Session, before: Timestamp) -> Result<u64> {
    if tables::find(session, book::NAME).is_none() {
        return Ok(0);
    }
    session.rollback();
    let sql = format!("DELETE FROM tidemill.dead_letters WHERE received_at < {}", literal(before));
    let outcome = run(session, &sql, &CancellationToken::new()).await?;
    session.commit().await?;
    counted(outcome)
}

/// The rows that a DELETE says it deleted.
pub(super) fn counted(outcome: Outcome) -> Result<u64> {
    match outcome {
        Outcome::Command(tag) => Ok(tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)),
        _ => Err(Error::internal("DELETE returned rows")),
    }
}

/// The letters of the table for which the filter is true, as a condition.
fn condition(session: &mut Session, table: &Object, filter: Option<&str>) -> Result<String> {
    // Lines of a measurement that was no table yet know its name only; their tables are in the schema public.
    let (main, _) = names::catalogs(session);
    let is_public = main.get(table.parent).is_some_and(|schema| schema.name == super::lines::SCHEMA);
    let by_name = format!("table_oid = 0 AND table_name = '{}'", table.name.replace('\'', "''"));
    let of_table = match is_public {
        true => format!("(table_oid = {} OR {by_name})", table.oid),
        false => format!("table_oid = {}", table.oid),
    };
    let Some(filter) = filter else { return Ok(of_table) };
    // One expression, and nothing behind it. It is evaluated with the server's rights: on letters of this table only.
    let condition = parse::parse_expression(filter).map_err(Error::without_location)?;
    if has_subquery(&condition) {
        return Err(Error::unsupported("a subquery in the condition for dead letters is not supported"));
    }
    let chosen = format!("{of_table} AND ({filter}\n)");
    require_repeatable(session, &chosen)?;
    Ok(chosen)
}

/// The same letters are read and then deleted: a condition that is true by chance would lose some.
fn require_repeatable(session: &mut Session, condition: &str) -> Result<()> {
    let sql = format!("SELECT id FROM tidemill.dead_letters WHERE {condition}");
    let parsed = parse::parse(&sql)?.into_iter().next();
    let prepared = session.parse_inner(parsed, &[], true)?;
    let Some((plan, _)) = prepared.plan() else { return Ok(()) };
    let mut is_volatile = false;
    plan.logical.apply(|node| {
        is_volatile |= node.expressions().iter().any(datafusion::logical_expr::Expr::is_volatile);
        Ok(if is_volatile { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if is_volatile {
        let message = "the condition for dead letters must not call volatile functions";
        return Err(Error::unsupported(message));
    }
    Ok(())
}

fn has_subquery(condition: &ast::Expr) -> bool {
    let found = ast::visit_expressions(condition, |expr| match expr {
        ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => ControlFlow::Break(()),
        ast::Expr::AnyOp { right, .. } | ast::Expr::AllOp { right, .. }
            if matches!(right.as_ref(), ast::Expr::Subquery(_)) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    let queries = ast::visit_relations(condition, |_| ControlFlow::<()>::Break(()));
    found.is_break() || queries.is_break()
}

/// True if the database has that table of ours.
pub(super) fn is_there(session: &mut Session, table: &str) -> bool {
    tables::find(session, table).is_some()
}

fn none(session: &mut Session, nothing: Replayed) -> Result<Replayed> {
    let message = format!("table \"{}\" has no dead letters to be tried again", nothing.table);
    session.notice("NOTICE", SqlState::SUCCESSFUL_COMPLETION, message);
    Ok(nothing)
}

/// Runs a statement of ours in the session's transaction, whatever its role may do.
pub(super) async fn run(session: &mut Session, sql: &str, cancel: &CancellationToken) -> Result<Outcome> {
    let parsed = parse::parse(sql)?.into_iter().next();
    let prepared = session.parse_inner(parsed, &[], true)?;
    // Values as they are, not as a client would see them.
    let portal = session.portal(&prepared, vec![], vec![1])?;
    session.permit(&portal);
    Box::pin(session.run_inner(&portal, cancel)).await
}
