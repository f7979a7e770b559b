//! One input of the join: its batches with the keys and the match values of their rows.

use std::task::{Context, Poll, ready};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion_common::Result;
use datafusion_execution::SendableRecordBatchStream;
use datafusion_physical_expr_common::physical_expr::PhysicalExprRef;
use futures::StreamExt;

use super::scale::Scale;
use crate::keys::Keys;

/// An input and what is computed from it.
pub(crate) struct Side {
    /// None once it is exhausted, so that whatever fed it is released.
    stream: Option<SendableRecordBatchStream>,
    on: Vec<PhysicalExprRef>,
    value: PhysicalExprRef,
    scale: Scale,
    /// The columns that the output shows.
    columns: Vec<usize>,
    /// Rows of the largest batch that is handed on.
    batch_rows: usize,
    rest: Option<RecordBatch>,
}

/// A batch being walked through.
#[derive(Default)]
pub(crate) struct Rows {
    /// The columns that the output shows.
    pub(crate) batch: Option<RecordBatch>,
    pub(crate) values: ScalarBuffer<i64>,
    pub(crate) keys: Vec<usize>,
    /// The next row.
    pub(crate) at: usize,
}

impl Side {
    pub(crate) fn new(
        stream: SendableRecordBatchStream,
        on: Vec<PhysicalExprRef>,
        value: PhysicalExprRef,
        scale: Scale,
        columns: Vec<usize>,
        batch_rows: Option<usize>,
    ) -> Self {
        Self {
            stream: Some(stream),
            on,
            value,
            scale,
            columns,
            batch_rows: batch_rows.unwrap_or(usize::MAX),
            rest: None,
        }
    }

    /// Reads no further.
    pub(crate) fn close(&mut self) {
        self.stream = None;
        self.rest = None;
    }

    /// The next batch that has rows. None at the end.
    pub(crate) fn poll(&mut self, cx: &mut Context) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            if let Some(batch) = self.rest.take() {
                if batch.num_rows() > self.batch_rows {
                    self.rest = Some(batch.slice(self.batch_rows, batch.num_rows() - self.batch_rows));
                    return Poll::Ready(Some(Ok(batch.slice(0, self.batch_rows))));
                }
                if batch.num_rows() > 0 {
                    return Poll::Ready(Some(Ok(batch)));
                }
            }
            let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
            match ready!(stream.poll_next_unpin(cx)) {
                Some(Ok(batch)) => self.rest = Some(batch),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.stream = None,
            }
        }
    }

    /// Makes `rows` those of the batch.
    pub(crate) fn load(&self, batch: &RecordBatch, keys: &mut Keys, rows: &mut Rows) -> Result<()> {
        let evaluate =
            |expression: &PhysicalExprRef| expression.evaluate(batch).and_then(|v| v.into_array(batch.num_rows()));
        let on = self.on.iter().map(evaluate).collect::<Result<Vec<ArrayRef>>>()?;
        let value = evaluate(&self.value)?;
        let valid = on.iter().chain([&value]).fold(None, |valid: Option<NullBuffer>, array| {
            NullBuffer::union(valid.as_ref(), array.logical_nulls().as_ref())
        });
        keys.intern(&on, batch.num_rows(), valid.as_ref(), &mut rows.keys)?;
        rows.values = self.scale.encode(&value)?;
        rows.batch = Some(batch.project(&self.columns)?);
        rows.at = 0;
        Ok(())
    }
}

impl Rows {
    /// All rows were walked through.
    pub(crate) fn is_done(&self) -> bool {
        self.at == self.values.len()
    }
}
