//! The extended query protocol: Parse, Bind, Describe, Execute, Close. Each may be sent before the previous one is answered; after an
//! error nothing is heard until Sync.

use std::sync::Arc;

use bytes::Bytes;
use tidemill_udfs::types::SqlType;

use super::client::Client;
use super::connection::Failure;
use super::encode::RowEncoder;
use super::message::{Target, violation};
use super::reply::{self, Bare};
use super::rows::{Running, Sent};
use super::simple::locate;
use crate::error::SqlState;
use crate::session::{Outcome, Parameter, Portal, RowsTag, TransactionStatus};
use crate::statement::control::{Control, Direction};
use crate::statement::parse::{self, Parsed, Statement};
use crate::{Error, Result};

/// A portal and how far it has come.
pub(super) struct Bound {
    portal: Portal,
    state: State,
}

enum State {
    /// Not executed yet.
    Fresh,
    /// Suspended: rows are left. Boxed: portals are moved.
    Running(Box<Running>),
    /// Its rows were all sent; the word of its tag. It gives no more.
    Exhausted(&'static str),
    /// It cannot be run again.
    Done,
}

impl Client<'_> {
    pub(super) async fn parse(&mut self, name: &str, query: &str, types: &[u32]) -> Result<(), Failure> {
        self.work(query);
        let types = types.iter().map(|oid| self.declared(*oid)).collect::<Result<Vec<_>>>()?;
        let mut statements = parse::parse(query).map_err(|error| locate(error, query))?;
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).into());
        }
        let prepared = self.session.parse(statements.pop(), &types).await?;
        self.session.store_statement(name, prepared)?;
        self.report_notices();
        reply::bare(&mut self.connection.output, Bare::ParseComplete);
        Ok(())
    }

    pub(super) fn bind(
        &mut self,
        name: String,
        statement: &str,
        formats: &[i16],
        values: Vec<Option<Bytes>>,
        result_formats: Vec<i16>,
    ) -> Result<(), Failure> {
        let prepared = self.session.statement(statement)?;
        if formats.len() > 1 && formats.len() != values.len() {
            return Err(violation(format!(
                "bind message has {} parameter formats but {} parameters",
                formats.len(),
                values.len()
            ))
            .into());
        }
        if values.len() != prepared.parameters.len() {
            return Err(violation(format!(
                "bind message supplies {} parameters, but prepared statement \"{statement}\" requires {}",
                values.len(),
                prepared.parameters.len()
            ))
            .into());
        }
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(Error::new(SqlState::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")).into());
        }
        let parameters = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| match (value, reply::format_of(formats, index)) {
                (None, 0 | 1) => Ok(Parameter::Null),
                (Some(value), 0) => Ok(Parameter::Text(value)),
                (Some(value), 1) => Ok(Parameter::Binary(value)),
                (_, format) => Err(unsupported_format(format)),
            })
            .collect::<Result<Vec<_>>>()?;
        let portal = self.session.bind(&prepared, parameters, result_formats)?;
        check_result_formats(&portal)?;
        self.report_notices();
        self.portals.insert(name, Bound { portal, state: State::Fresh });
        reply::bare(&mut self.connection.output, Bare::BindComplete);
        Ok(())
    }

    pub(super) fn describe(&mut self, target: Target, name: &str) -> Result<(), Failure> {
        let (statement, cursor);
        let (columns, formats) = match target {
            Target::Statement => {
                statement = self.session.statement(name)?;
                reply::parameters(&mut self.connection.output, statement.parameters.iter().map(SqlType::oid));
                (&statement.columns, [].as_slice())
            }
            Target::Portal => {
                // A cursor that SQL declared is a portal too.
                match self.portals.get(name) {
                    Some(bound) => (&bound.portal.columns, bound.portal.result_formats.as_slice()),
                    None => {
                        let columns = self.session.cursor_columns(name).ok_or_else(|| no_portal(name))?;
                        cursor = Some(columns.to_vec());
                        (&cursor, [].as_slice())
                    }
                }
            }
        };
        match columns {
            Some(columns) => reply::row_description(&mut self.connection.output, columns, formats),
            None => reply::bare(&mut self.connection.output, Bare::NoData),
        }
        Ok(())
    }

    pub(super) fn close(&mut self, target: Target, name: &str) {
        match target {
            Target::Statement => self.session.close_statement(name),
            Target::Portal => {
                if self.portals.remove(name).is_none() {
                    self.session.close_cursor(name);
                }
            }
        }
        reply::bare(&mut self.connection.output, Bare::CloseComplete);
    }

    pub(super) async fn execute(&mut self, name: String, rows_max: i32) -> Result<(), Failure> {
        // Taken out while it runs: if it fails it is gone, and its stream with it.
        let Some(mut bound) = self.portals.remove(&name) else {
            // It may have been the one that failed.
            return Err(match self.session.status() {
                TransactionStatus::Failed => crate::session::aborted().into(),
                _ => no_portal(&name).into(),
            });
        };
        let before = self.session.status();
        let rows_max = usize::try_from(rows_max).ok().filter(|rows| *rows > 0);
        let prepared = Arc::clone(&bound.portal.prepared);
        let text = prepared.parsed.as_ref().map_or("", |parsed| &parsed.text);
        bound.state = match bound.state {
            State::Fresh => {
                self.work(text);
                self.execute_fresh(&bound.portal, rows_max).await?
            }
            State::Running(running) => {
                self.resume(text, running.cancel());
                self.execute_on(running, rows_max).await?
            }
            State::Exhausted(word) => {
                self.complete(&format!("{word} 0"));
                State::Exhausted(word)
            }
            State::Done => {
                let message = format!("portal \"{name}\" cannot be run");
                return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).into());
            }
        };
        self.forget_portals(before);
        self.portals.insert(name, bound);
        Ok(())
    }

    /// FETCH, MOVE and CLOSE of a portal that Bind made, as drivers do with their own cursors: the tag. `None`: the statement is
    /// something else, or of another cursor.
    ///
    /// # Errors
    /// 55000 for what goes not forward.
    pub(super) async fn on_portal(&mut self, parsed: &Parsed) -> Result<Option<String>, Failure> {
        let Statement::Control(control) = &parsed.statement else { return Ok(None) };
        let name = match &**control {
            Control::Fetch { name, .. } | Control::Close(Some(name)) => name,
            _ => return Ok(None),
        };
        if self.session.status() == TransactionStatus::Failed {
            return Ok(None);
        }
        let Some(mut bound) = self.portals.remove(name) else { return Ok(None) };
        let Control::Fetch { direction, only_move, .. } = &**control else {
            return Ok(Some("CLOSE CURSOR".to_owned()));
        };
        let rows_max = match direction {
            Direction::All => None,
            Direction::Forward(rows) if *rows > 0 => usize::try_from(*rows).ok(),
            _ => {
                return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
                    .hint("Declare it with SCROLL option to enable backward scan.")
                    .into());
            }
        };
        if matches!(bound.state, State::Fresh)
            && let Outcome::Rows { stream, columns, tag } = self.start(&bound.portal).await?
        {
            let (text, cancel) = (self.session.text_settings(), self.statement_token());
            let running = Running::new(stream, &columns, &bound.portal.result_formats, text, tag, cancel)?;
            bound.state = State::Running(Box::new(running));
        }
        let columns = bound.portal.columns.clone().unwrap_or_default();
        let mut sent = Sent { rows: 0, exhausted: true };
        if !only_move {
            reply::row_description(&mut self.connection.output, &columns, &[]);
        }
        if let State::Running(running) = &mut bound.state {
            sent = if *only_move {
                self.skip_rows(running, rows_max).await?
            } else {
                let text = RowEncoder::new(&columns, &[], self.session.text_settings())?;
                let own = running.encode_with(text);
                let sent = self.send_rows(running, rows_max).await?;
                running.encode_with(own);
                sent
            };
            self.report_notices();
        }
        if sent.exhausted {
            bound.state = match bound.state {
                State::Running(running) => match running.rows_tag() {
                    RowsTag::Counted(word) => State::Exhausted(word),
                    RowsTag::Fixed(_) => State::Done,
                },
                other => other,
            };
        }
        self.portals.insert(name.clone(), bound);
        Ok(Some(format!("{} {}", if *only_move { "MOVE" } else { "FETCH" }, sent.rows)))
    }

    async fn execute_fresh(&mut self, portal: &Portal, rows_max: Option<usize>) -> Result<State, Failure> {
        // If Sync is already here the session may commit with the statement, so that its tag tells of durable rows.
        if self.connection.peek() == Some(b'S') {
            self.session.expect_sync();
        }
        let tag = match self.start(portal).await? {
            Outcome::Rows { stream, columns, tag } => {
                let (text, cancel) = (self.session.text_settings(), self.statement_token());
                let running = Running::new(stream, &columns, &portal.result_formats, text, tag, cancel)?;
                return self.execute_on(Box::new(running), rows_max).await;
            }
            Outcome::Command(tag) => tag,
            Outcome::CopyIn(copy) => Box::pin(self.copy_in(copy)).await?,
            Outcome::CopyOut(copy) => Box::pin(self.copy_out(copy)).await?,
            Outcome::Empty => {
                reply::bare(&mut self.connection.output, Bare::EmptyQuery);
                return Ok(State::Fresh);
            }
        };
        self.complete(&tag);
        Ok(State::Done)
    }

    async fn execute_on(&mut self, mut running: Box<Running>, rows_max: Option<usize>) -> Result<State, Failure> {
        let sent = self.send_rows(&mut running, rows_max).await?;
        self.report_notices();
        if !sent.exhausted {
            reply::bare(&mut self.connection.output, Bare::PortalSuspended);
            return Ok(State::Running(running));
        }
        let tag = running.tag(sent.rows);
        self.complete(&tag);
        Ok(match running.rows_tag() {
            RowsTag::Counted(word) => State::Exhausted(word),
            RowsTag::Fixed(_) => State::Done,
        })
    }

    /// The type a client declares for a parameter; 0: it does not.
    fn declared(&mut self, oid: u32) -> Result<SqlType> {
        match oid {
            0 => Ok(SqlType::Unknown),
            oid => self
                .session
                .type_with(oid)
                .ok_or_else(|| Error::new(SqlState::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))),
        }
    }

    /// Portals live in a transaction: when an explicit one ended since `before`, so did they.
    pub(super) fn forget_portals(&mut self, before: TransactionStatus) {
        if before != TransactionStatus::Idle && self.session.status() == TransactionStatus::Idle {
            self.portals.clear();
        }
    }
}

fn check_result_formats(portal: &Portal) -> Result<()> {
    if let Some(format) = portal.result_formats.iter().find(|format| !matches!(format, 0 | 1)) {
        return Err(unsupported_format(*format));
    }
    let columns = portal.columns.as_ref().map_or(0, Vec::len);
    let formats = portal.result_formats.len();
    if formats > 1 && formats != columns {
        return Err(violation(format!("bind message has {formats} result formats but query has {columns} columns")));
    }
    Ok(())
}

fn unsupported_format(format: i16) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {format}"))
}

fn no_portal(name: &str) -> Error {
    Error::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}
