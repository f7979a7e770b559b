//! Gap filling as a node of a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::range::Bound;

/// How a column's gaps are filled. Numbers are places in [`GapFill::lookups`], of `at` in the columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Filling {
    Time,
    Series,
    Null,
    /// The constant at this place of [`GapFill::constants`].
    Value(usize),
    Locf {
        null_is_missing: bool,
        prev: Option<usize>,
    },
    Interpolate {
        null_is_missing: bool,
        prev: Option<usize>,
        next: Option<usize>,
        at: Option<usize>,
    },
}

/// Rows of an aggregation, and those of the buckets that have none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::plan) struct GapFill {
    pub(super) input: LogicalPlan,
    pub(super) schema: DFSchemaRef,
    /// The column of the bucket.
    pub(super) time: usize,
    /// The other columns it was grouped by.
    pub(super) series: Vec<usize>,
    /// One for each column.
    pub(super) fillings: Vec<Filling>,
    /// `[width, zone, origin, offset]`, NULL where there is none.
    pub(super) bucket: [Expr; 4],
    pub(super) bounds: Vec<Bound>,
    pub(super) constants: Vec<Expr>,
    /// Queries of one value, in which outer columns are the series'. Not among [`Self::expressions`]: nothing
    /// shall make joins of them, they run only if needed.
    pub(super) lookups: Vec<LogicalPlan>,
}

impl GapFill {
    /// The schema of the output: all but the groups' columns may be NULL.
    pub(super) fn schema_of(input: &LogicalPlan, fillings: &[Filling]) -> Result<DFSchemaRef> {
        let fields = input
            .schema()
            .iter()
            .zip(fillings)
            .map(|((relation, field), filling)| {
                let keeps = matches!(filling, Filling::Time | Filling::Series);
                let field = field.as_ref().clone();
                let nullable = field.is_nullable() || !keeps;
                (relation.cloned(), Arc::new(field.with_nullable(nullable)))
            })
            .collect();
        Ok(Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?))
    }

    /// The same with other lookups: parameters bound, relations found again.
    pub(in crate::plan) fn map_lookups<E>(
        mut self,
        mut change: impl FnMut(LogicalPlan) -> std::result::Result<LogicalPlan, E>,
    ) -> std::result::Result<Self, E> {
        self.lookups = self.lookups.into_iter().map(&mut change).collect::<std::result::Result<_, E>>()?;
        Ok(self)
    }
}

impl PartialOrd for GapFill {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl UserDefinedLogicalNodeCore for GapFill {
    fn name(&self) -> &str {
        "GapFill"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let bounds = self.bounds.iter().map(|bound| &bound.value);
        self.bucket.iter().chain(bounds).chain(&self.constants).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "GapFill: time={}, fill={:?}", self.schema.field(self.time).name(), self.fillings)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            return internal_err!("GapFill has one input");
        };
        let mut exprs = exprs.into_iter();
        let mut node = Self { schema: Self::schema_of(&input, &self.fillings)?, input, ..self.clone() };
        let bounds = node.bounds.iter_mut().map(|bound| &mut bound.value);
        for place in node.bucket.iter_mut().chain(bounds).chain(&mut node.constants) {
            match exprs.next() {
                Some(expr) => *place = expr,
                None => return internal_err!("GapFill lost an expression"),
            }
        }
        Ok(node)
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // What is not needed above was not put below.
        Some(vec![(0..self.fillings.len()).collect()])
    }
}
