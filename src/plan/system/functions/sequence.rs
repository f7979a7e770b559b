//! Sequences: nextval, currval, lastval, setval. nextval takes the numbers of a whole batch of rows at once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, UInt32Type};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, ColumnSequence, Object, SequenceRule};
use tidemill_catalog::sequence::{Position, Run, SequenceDef, Taken};
use tidemill_udfs::types::SqlType;

use super::admin::blocking;
use super::{Call, Function, external, function, normal};
use crate::error::{Error, Result, SqlState};
use crate::plan::system::batch::Value;
use crate::plan::system::{names, objects};
use crate::plan::{Scope, TEMP_SCHEMA, rights};

/// Its name; it is made by [`nextval`], not from the list.
pub(super) const NEXTVAL: &str = "nextval";

pub(super) const FUNCTIONS: &[Function] = &[
    function("currval", 1, 1, "int8", currval).volatile(),
    function("lastval", 0, 0, "int8", lastval).volatile(),
    function("setval", 2, 3, "int8", setval).volatile(),
    function("pg_sequence_last_value", 1, 1, "int8", last_value).volatile(),
    function("pg_get_serial_sequence", 2, 2, "text", serial_sequence),
];

/// What reading a sequence asks for.
const READ: Privileges = Privileges::SELECT.union(Privileges::USAGE);

/// The sequence with that oid. One of the privileges is asked for; none, if there are none.
fn sequence(scope: &Scope, oid: Oid, any: Privileges) -> Result<(&Object, &Arc<SequenceDef>)> {
    let object = objects::object(scope, oid)
        .ok_or_else(|| Error::new(SqlState::UNDEFINED_TABLE, format!("could not open relation with OID {oid}")))?;
    let Body::Sequence(def) = &object.body else {
        return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a sequence", object.name)));
    };
    let held = || rights::Target::of(object).map(|target| target.held(&scope.snapshot.catalog, scope.role));
    if oid < TEMP_SCHEMA && !any.is_empty() && held().is_none_or(|held| (held & any).is_empty()) {
        return Err(rights::denied(object));
    }
    Ok((object, def))
}

/// 25006 where the transaction is read-only, but for what is the session's own.
fn require_writable(scope: &Scope, oid: Oid, name: &str) -> Result<()> {
    if oid < TEMP_SCHEMA && scope.settings.lock().is_on("transaction_read_only") {
        let message = format!("cannot execute {name}() in a read-only transaction");
        return Err(Error::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
    }
    Ok(())
}

/// What taking a number asks for.
const GIVE: Privileges = Privileges::USAGE.union(Privileges::UPDATE);

/// Gives `count` numbers.
fn give(scope: &Scope, oid: Oid, asked: Privileges, count: usize, numbers: &mut Vec<i64>) -> Result<()> {
    let (object, def) = sequence(scope, oid, asked)?;
    require_writable(scope, oid, NEXTVAL)?;
    let mut session = scope.sequences.lock();
    let cache = objects::to_u64(usize::try_from(def.cache).unwrap_or(1).max(1));
    let mut left = objects::to_u64(count);
    let mut ahead = session.take_ahead(oid, def.generation);
    while left > 0 {
        let run = match ahead.take() {
            Some(run) => run,
            // Whole caches, as a session that asks for one number at a time would take them.
            None => {
                match scope.instance.store.take_numbers(oid, def, left.div_ceil(cache).saturating_mul(cache), wait)? {
                    Taken::Run(run) => run,
                    Taken::End(bound) => {
                        let end = if def.increment > 0 { "maximum" } else { "minimum" };
                        let message = format!("nextval: reached {end} value of sequence \"{}\" ({bound})", object.name);
                        return Err(Error::new(SqlState::SEQUENCE_GENERATOR_LIMIT_EXCEEDED, message));
                    }
                }
            }
        };
        let given = run.count.min(left);
        let at = |index: u64| run.first.wrapping_add(def.increment.wrapping_mul(index.cast_signed()));
        numbers.extend((0..given).map(at));
        left -= given;
        if given < run.count {
            ahead = Some(Run { first: at(given), count: run.count - given });
        }
    }
    if let Some(last) = numbers.last() {
        session.given(oid, *last, ahead.map(|run| (def.generation, run)));
    }
    Ok(())
}

/// The next number of a sequence.
pub(crate) fn next(scope: &Scope, sequence: &ColumnSequence) -> Result<i64> {
    let mut numbers = vec![];
    give(scope, sequence.oid, asked_by(sequence.rule), 1, &mut numbers)?;
    numbers.pop().ok_or_else(|| Error::internal("a sequence gave no number"))
}

/// Why it is called, of what [`nextval`] makes.
pub(crate) fn rule_of(function: &ScalarUDF) -> Option<SequenceRule> {
    (function.inner().as_ref() as &dyn std::any::Any).downcast_ref::<NextVal>().map(|nextval| nextval.rule)
}

/// Waits for the log on a thread of the server, which serves others meanwhile.
fn wait(commit: &mut dyn FnMut()) {
    blocking(commit);
}

fn currval(call: &Call<'_>) -> Result<Value<'static>> {
    let oid = call.relation(0)?;
    let (object, _) = sequence(call.scope, oid, READ)?;
    call.scope.sequences.lock().current(oid).map(Value::from).ok_or_else(|| {
        let message = format!("currval of sequence \"{}\" is not yet defined in this session", object.name);
        Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
    })
}

fn lastval(call: &Call<'_>) -> Result<Value<'static>> {
    let last = call.scope.sequences.lock().last().filter(|(oid, _)| objects::object(call.scope, *oid).is_some());
    let Some((oid, value)) = last else {
        let message = "lastval is not yet defined in this session";
        return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
    };
    sequence(call.scope, oid, READ)?;
    Ok(value.into())
}

fn setval(call: &Call<'_>) -> Result<Value<'static>> {
    let oid = call.relation(0)?;
    let (object, def) = sequence(call.scope, oid, Privileges::UPDATE)?;
    require_writable(call.scope, oid, "setval")?;
    let value = call.int(1).unwrap_or_default();
    let is_called = call.boolean(2).unwrap_or(true);
    if value < def.min || value > def.max {
        let (min, max) = (def.min, def.max);
        let message = format!("setval: value {value} is out of bounds for sequence \"{}\" ({min}..{max})", object.name);
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    call.scope.instance.store.set_position(oid, def, Position { value, is_called }, wait)?;
    call.scope.sequences.lock().set(oid, is_called.then_some(value));
    Ok(value.into())
}

fn last_value(call: &Call<'_>) -> Result<Value<'static>> {
    let (_, def) = sequence(call.scope, call.relation(0)?, READ)?;
    let (position, _) = def.position();
    Ok(position.is_called.then_some(position.value).into())
}

/// pg_get_serial_sequence: the sequence that a column owns, its name as regclass reads it.
fn serial_sequence(call: &Call<'_>) -> Result<Value<'static>> {
    let table = objects::find_relation(call.scope, call.relation(0)?);
    let Some(table) = table.filter(|table| !matches!(table.kind, objects::Kind::System(_))) else {
        return Ok(Value::Null);
    };
    let name = call.text(1).unwrap_or_default();
    let column = table.columns().iter().find(|column| column.name == name).ok_or_else(|| {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
        Error::new(SqlState::UNDEFINED_COLUMN, message)
    })?;
    let owned = objects::owned_sequences(call.scope, table.oid).into_iter().find(|(_, of)| *of == column.id);
    let sequence = owned.and_then(|(sequence, _)| objects::find_relation(call.scope, sequence.oid));
    Ok(sequence.map(|sequence| names::qualified(sequence.schema, &sequence.name)).into())
}

/// What the next number of a column asks for: an identity column's sequence is an inner part of the table.
fn asked_by(rule: SequenceRule) -> Privileges {
    match rule {
        SequenceRule::Default => GIVE,
        SequenceRule::Always | SequenceRule::ByDefault => Privileges::NONE,
    }
}

/// `nextval(regclass)` for a scope, as statements call it and as columns with such a sequence do.
pub(crate) fn nextval(scope: &Arc<Scope>, rule: SequenceRule) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Volatile);
    Arc::new(ScalarUDF::new_from_impl(NextVal { scope: Arc::clone(scope), rule, signature }))
}

struct NextVal {
    scope: Arc<Scope>,
    /// Why it is called: see [`asked_by`].
    rule: SequenceRule,
    signature: Signature,
}

impl std::fmt::Debug for NextVal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(NEXTVAL)
    }
}

// Of whichever scope, it is the same in a plan.
impl PartialEq for NextVal {
    fn eq(&self, other: &Self) -> bool {
        self.rule == other.rule
    }
}

impl Eq for NextVal {}

impl std::hash::Hash for NextVal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (NEXTVAL, self.rule).hash(state);
    }
}

impl NextVal {
    fn run(&self, argument: &ColumnarValue, rows: usize) -> Result<Int64Array> {
        let mut numbers = Vec::with_capacity(rows);
        if let ColumnarValue::Scalar(value) = argument {
            let value = value.to_array()?;
            return match self.oid(&value, 0)? {
                Some(oid) => {
                    give(&self.scope, oid, asked_by(self.rule), rows, &mut numbers)?;
                    Ok(numbers.into())
                }
                None => Ok(Int64Array::new_null(rows)),
            };
        }
        let sequences = argument.to_array(rows)?;
        let mut all = Vec::with_capacity(rows);
        for row in 0..rows {
            numbers.clear();
            if let Some(oid) = self.oid(&sequences, row)? {
                give(&self.scope, oid, asked_by(self.rule), 1, &mut numbers)?;
            }
            all.push(numbers.first().copied());
        }
        Ok(all.into())
    }

    /// The sequence that a value names.
    fn oid(&self, values: &ArrayRef, row: usize) -> Result<Option<Oid>> {
        if values.is_null(row) {
            return Ok(None);
        }
        match values.data_type() {
            DataType::Utf8View => names::resolve_regclass(&self.scope, values.as_string_view().value(row)).map(Some),
            _ => {
                let oids = cast(&values.slice(row, 1), &DataType::UInt32).map_err(DataFusionError::from)?;
                let oids = oids.as_primitive::<UInt32Type>();
                Ok(oids.is_valid(0).then(|| oids.value(0)))
            }
        }
    }
}

impl ScalarUDFImpl for NextVal {
    fn name(&self) -> &str {
        NEXTVAL
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Int64)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(SqlType::Int8.field(NEXTVAL, true)))
    }

    fn coerce_types(&self, types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        match types {
            [one] => Ok(vec![normal(one).unwrap_or_else(|| one.clone())]),
            _ => {
                let names: Vec<String> = types.iter().map(|one| SqlType::of_data_type(one).name()).collect();
                let message = format!("function nextval({}) does not exist", names.join(", "));
                let hint =
                    "No function matches the given name and argument types. You might need to add explicit type casts.";
                Err(external(Error::new(SqlState::UNDEFINED_FUNCTION, message).hint(hint)))
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [argument] = args.args.as_slice() else {
            return Err(external(Error::internal("nextval has one argument")));
        };
        let numbers = self.run(argument, args.number_rows).map_err(external)?;
        Ok(ColumnarValue::Array(Arc::new(numbers)))
    }
}
