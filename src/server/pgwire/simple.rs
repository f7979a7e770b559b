//! The simple query protocol: a string of statements, text results. What was answered stays answered when a later statement
//! fails; the rest of the string is then skipped.

use super::client::Client;
use super::connection::Failure;
use super::reply::{self, Bare};
use super::rows::Running;
use crate::error::SqlState;
use crate::session::Outcome;
use crate::statement::parse::{self, Parsed};
use crate::{Error, Result};

impl Client<'_> {
    /// Runs a query string and says ReadyForQuery. On error the caller does.
    pub(super) async fn query(&mut self, sql: &str) -> Result<(), Failure> {
        // The unnamed statement and portal do not survive a simple query.
        self.session.close_statement("");
        self.portals.remove("");
        self.work(sql);
        if let Some(portal) = self.session.recall(sql) {
            self.session.begin_simple(1);
            let before = self.session.status();
            let tag = match self.start(&portal).await? {
                Outcome::Command(tag) => tag,
                _ => return Err(Error::internal("an INSERT that is no command").into()),
            };
            self.forget_portals(before);
            self.session.sync().await?;
            self.report_notices();
            self.complete(&tag);
            return Ok(self.finish().await?);
        }
        let statements = parse::parse(sql).map_err(|error| locate(error, sql))?;
        self.session.begin_simple(statements.len());
        if statements.is_empty() {
            reply::bare(&mut self.connection.output, Bare::EmptyQuery);
        }
        let mut left = statements.len();
        for parsed in statements {
            let tag = self.statement(parsed).await?;
            left -= 1;
            // The last one is not complete before it is durable.
            if left == 0 {
                self.session.sync().await?;
                self.report_notices();
            }
            if let Some(tag) = tag {
                self.complete(&tag);
            }
        }
        Ok(self.finish().await?)
    }

    /// Runs one statement and sends its rows; its command tag.
    async fn statement(&mut self, parsed: Parsed) -> Result<Option<String>, Failure> {
        if let Some(tag) = self.on_portal(&parsed).await? {
            return Ok(Some(tag));
        }
        let before = self.session.status();
        let prepared = self.session.parse(Some(parsed), &[]).await?;
        if !prepared.parameters.is_empty() {
            return Err(Error::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1").into());
        }
        let portal = self.session.bind(&prepared, Vec::new(), Vec::new())?;
        let outcome = self.start(&portal).await?;
        let tag = match outcome {
            Outcome::Rows { stream, columns, tag } => {
                reply::row_description(&mut self.connection.output, &columns, &portal.result_formats);
                let (text, cancel) = (self.session.text_settings(), self.statement_token());
                let mut running = Running::new(stream, &columns, &portal.result_formats, text, tag, cancel)?;
                let sent = self.send_rows(&mut running, None).await?;
                self.report_notices();
                running.tag(sent.rows)
            }
            Outcome::Command(tag) => tag,
            Outcome::CopyIn(copy) => Box::pin(self.copy_in(copy)).await?,
            Outcome::CopyOut(copy) => Box::pin(self.copy_out(copy)).await?,
            Outcome::Empty => {
                reply::bare(&mut self.connection.output, Bare::EmptyQuery);
                return Ok(None);
            }
        };
        self.forget_portals(before);
        Ok(Some(tag))
    }
}

/// Turns the byte offset of a parse error into a position in the query string.
pub(in crate::server) fn locate(mut error: Error, sql: &str) -> Error {
    let report = error.report_mut();
    if let (Some(offset), None) = (report.offset.take(), report.position) {
        report.position = Some(sql[..sql.floor_char_boundary(offset)].chars().count() + 1);
    }
    error
}
