//! `now()` and its kin: the time of the transaction, the statement, or this moment.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::cast::to_local;
use super::engine::StatementOptions;

/// Whose time, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Transaction,
    Statement,
    Moment,
    LocalTimestamp,
    Date,
    Time,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Now {
    name: &'static str,
    kind: Kind,
    signature: Signature,
}

/// The functions.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let names = [
        ("now", Kind::Transaction),
        ("transaction_timestamp", Kind::Transaction),
        ("current_timestamp", Kind::Transaction),
        ("statement_timestamp", Kind::Statement),
        ("clock_timestamp", Kind::Moment),
        ("localtimestamp", Kind::LocalTimestamp),
        ("current_date", Kind::Date),
        ("localtime", Kind::Time),
        ("current_time", Kind::Time),
    ];
    names
        .into_iter()
        .map(|(name, kind)| {
            let volatility = if kind == Kind::Moment { Volatility::Volatile } else { Volatility::Stable };
            Arc::new(ScalarUDF::new_from_impl(Now { name, kind, signature: Signature::nullary(volatility) }))
        })
        .collect()
}

/// A point in time that is the same for a whole transaction or statement, whatever the session's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instant {
    Transaction,
    Statement,
}

/// The time that a call of this function gives; `None`: another function, or one that depends on more.
pub(super) fn instant(udf: &ScalarUDF) -> Option<Instant> {
    match (udf.inner().as_ref() as &dyn std::any::Any).downcast_ref::<Now>()?.kind {
        Kind::Transaction => Some(Instant::Transaction),
        Kind::Statement => Some(Instant::Statement),
        _ => None,
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Transaction | Kind::Statement | Kind::Moment => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            Kind::LocalTimestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::Date => DataType::Date32,
            Kind::Time => DataType::Time64(TimeUnit::Microsecond),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        const DAY: i64 = 86_400_000_000;
        let options = args.config_options.extensions.get::<StatementOptions>();
        let Some(scope) = options.and_then(|options| options.scope.as_ref()) else {
            return internal_err!("{} outside of a statement", self.name);
        };
        let local = || to_local(scope.transaction_at, scope.text.time_zone);
        let instant = |micros: i64| ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
        Ok(ColumnarValue::Scalar(match self.kind {
            Kind::Transaction => instant(scope.transaction_at),
            Kind::Statement => instant(scope.statement_at),
            Kind::Moment => instant(scope.instance.clock.now()),
            Kind::LocalTimestamp => ScalarValue::TimestampMicrosecond(Some(local()), None),
            Kind::Date => ScalarValue::Date32(i32::try_from(local().div_euclid(DAY)).ok()),
            Kind::Time => ScalarValue::Time64Microsecond(Some(local().rem_euclid(DAY))),
        }))
    }
}
