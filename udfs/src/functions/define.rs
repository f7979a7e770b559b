//! How a function is written down: names, one or more signatures in SQL's words, a sentence, an example and a body.
//!
//! ```text
//! def("left", "The first n characters; all but the last -n if n is negative.", "left('abcde', 2)")
//!     .on("text, int4 -> text", |c| c.map2(left))
//! ```
//! Argument types: a SQL type name, `any`, `anyarray`, `anyelement` (the array's elements, or one type for all), `[, t]`
//! for optional arguments, `...t` for any number of further ones. Result: a SQL type, `anyarray`, `anyelement`, `same` (the
//! first argument's type). [`Function::coerce_types`] picks the signature as PostgreSQL does: exact types first, then the
//! cheapest implicit casts; text stands for an untyped literal and fits anything as a last resort.

use std::cell::OnceCell;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::interval_arithmetic::Interval;
use datafusion_expr::preimage::PreimageResult;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::FunctionInfo;
use super::call::{Argument, Call};
use super::preimage;
use crate::types::{SqlType, ValueError};

/// Computes the result of one call.
pub(crate) type Body = fn(&Call<'_>) -> Result<ArrayRef>;
/// Computes the result's field from the arguments' fields and constant values.
pub(crate) type ReturnField = fn(&ReturnFieldArgs<'_>) -> Result<FieldRef>;

/// The type of an argument in a signature.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Type(SqlType),
    Any,
    AnyArray,
    AnyElement,
}

/// The type of a result in a signature.
#[derive(Clone)]
enum Returns {
    Type(SqlType),
    Same,
    AnyArray,
    AnyElement,
    Computed(ReturnField),
}

/// One signature with its body.
#[derive(Clone)]
pub(crate) struct Overload {
    args: Vec<Kind>,
    rest: Option<Kind>,
    returns: Returns,
    body: Body,
    /// The argument in whose order the result is, if all others are constant.
    ordered_by: Option<usize>,
    /// Only where the session's time zone has no changes of its clocks.
    in_fixed_zone: bool,
}

/// A scalar function.
#[derive(Clone)]
pub(crate) struct Function {
    name: &'static str,
    aliases: Vec<String>,
    description: &'static str,
    example: &'static str,
    texts: Vec<String>,
    overloads: Vec<Overload>,
    signature: Signature,
    /// Where the overloads of the last signature begin.
    latest: usize,
}

/// Starts a definition.
pub(crate) fn def(name: &'static str, description: &'static str, example: &'static str) -> Function {
    Function {
        name,
        aliases: vec![],
        description,
        example,
        texts: vec![],
        overloads: vec![],
        signature: Signature::user_defined(Volatility::Immutable),
        latest: 0,
    }
}

impl Function {
    /// Adds names.
    pub(crate) fn alias(mut self, names: &[&str]) -> Self {
        self.aliases.extend(names.iter().map(ToString::to_string));
        self
    }

    /// Adds a signature.
    pub(crate) fn on(self, text: &'static str, body: Body) -> Self {
        self.add(text, None, body)
    }

    /// Adds a signature whose result type depends on the arguments.
    pub(crate) fn computed(self, text: &'static str, returns: ReturnField, body: Body) -> Self {
        self.add(text, Some(returns), body)
    }

    /// Not the same result every time.
    pub(crate) fn volatile(mut self) -> Self {
        self.signature = Signature::user_defined(Volatility::Volatile);
        self
    }

    /// Depends on settings, such as the time zone.
    pub(crate) fn stable(mut self) -> Self {
        self.signature = Signature::user_defined(Volatility::Stable);
        self
    }

    /// By the signature just added, the result never decreases where that argument does not and the others are constant.
    pub(crate) fn monotonic_in(mut self, argument: usize) -> Self {
        for overload in &mut self.overloads[self.latest..] {
            overload.ordered_by = Some(argument);
        }
        self
    }

    /// As [`Self::monotonic_in`], where the session's time zone is UTC.
    pub(crate) fn monotonic_in_utc(mut self, argument: usize) -> Self {
        for overload in &mut self.overloads[self.latest..] {
            (overload.ordered_by, overload.in_fixed_zone) = (Some(argument), true);
        }
        self
    }

    fn add(mut self, text: &'static str, computed: Option<ReturnField>, body: Body) -> Self {
        let (left, right) = text.split_once("->").expect("a signature has an arrow");
        let returns = match computed {
            Some(function) => Returns::Computed(function),
            None => match right.trim() {
                "same" => Returns::Same,
                "anyarray" => Returns::AnyArray,
                "anyelement" => Returns::AnyElement,
                name => Returns::Type(SqlType::parse(name).expect("a result type in a signature exists")),
            },
        };
        let (mut args, mut rest) = (vec![], None);
        let mut optional = usize::MAX;
        // An optional argument's bracket opens before its comma: "text [, text]".
        for part in
            left.replace("[,", ",?").replace(" ]", "]").split(',').map(str::trim).filter(|part| !part.is_empty())
        {
            if let Some(variadic) = part.strip_prefix("...") {
                rest = Some(kind(variadic));
                continue;
            }
            if let Some(name) = part.strip_prefix('?') {
                optional = optional.min(args.len());
                let mut name = name.trim();
                while let Some(inner) = name.strip_suffix(']').filter(|inner| !inner.ends_with('[')) {
                    name = inner.trim();
                }
                args.push(kind(name));
            } else {
                args.push(kind(part));
            }
        }
        self.texts.push(format!("{}({}) → {}", self.name, left.trim(), right.trim()));
        let least = optional.min(args.len());
        self.latest = self.overloads.len();
        for count in least..=args.len() {
            self.overloads.push(Overload {
                args: args[..count].to_vec(),
                rest: rest.clone(),
                returns: returns.clone(),
                body,
                ordered_by: None,
                in_fixed_zone: false,
            });
        }
        self
    }

    /// The argument types of every signature, any number of further ones given twice; for tests.
    #[cfg(test)]
    pub(crate) fn signatures(&self) -> Vec<Vec<Kind>> {
        let rest = |overload: &Overload| overload.rest.iter().cloned().cycle().take(2).collect::<Vec<_>>();
        self.overloads.iter().map(|overload| [overload.args.clone(), rest(overload)].concat()).collect()
    }

    /// What the function is, for documentation.
    pub(crate) fn info(&self) -> FunctionInfo {
        FunctionInfo {
            name: self.name,
            aliases: self.aliases.clone(),
            kind: "scalar",
            signatures: self.texts.clone(),
            description: self.description,
            example: self.example,
        }
    }

    /// The overload that arguments of these types mean, and the types they are cast to.
    fn resolve(&self, types: &[DataType]) -> Result<(&Overload, Vec<DataType>)> {
        let mut best: Option<(u32, &Overload, Vec<DataType>)> = None;
        for overload in &self.overloads {
            if let Some((cost, targets)) = overload.fit(types)
                && best.as_ref().is_none_or(|(least, ..)| cost < *least)
            {
                best = Some((cost, overload, targets));
            }
        }
        match best {
            Some((_, overload, targets)) => Ok((overload, targets)),
            None => {
                let names: Vec<String> = types.iter().map(|t| SqlType::of_data_type(t).name()).collect();
                Err(ValueError {
                    code: "42883",
                    message: format!("function {}({}) does not exist", self.name, names.join(", ")),
                    detail: None,
                    hint: Some(
                        "No function matches the given name and argument types. You might need to add explicit type casts."
                            .into(),
                    ),
                }
                .into())
            }
        }
    }
}

fn kind(name: &str) -> Kind {
    match name {
        "any" => Kind::Any,
        "anyarray" => Kind::AnyArray,
        "anyelement" => Kind::AnyElement,
        name => Kind::Type(SqlType::parse(name).expect("an argument type in a signature exists")),
    }
}

impl Overload {
    /// What casts to this signature cost, and the types of the arguments after them.
    fn fit(&self, types: &[DataType]) -> Option<(u32, Vec<DataType>)> {
        if types.len() < self.args.len() || (self.rest.is_none() && types.len() > self.args.len()) {
            return None;
        }
        let kinds = || self.args.iter().chain(self.rest.iter().cycle());
        let element = element_type(kinds().zip(types));
        let mut total = if self.rest.is_some() { 1 } else { 0 };
        let mut targets = Vec::with_capacity(types.len());
        for (kind, from) in kinds().zip(types) {
            let (cost, target) = match kind {
                Kind::Type(to) => cast_cost(from, to)?,
                Kind::Any => (1, if *from == DataType::Null { DataType::Utf8View } else { view_type(from) }),
                Kind::AnyArray => match from {
                    DataType::List(_) => (0, list_of(element.as_ref()?, from)),
                    DataType::LargeList(_) | DataType::FixedSizeList(..) => (1, list_of(element.as_ref()?, from)),
                    DataType::Null => (1, SqlType::Array(Arc::new(SqlType::Text)).data_type()),
                    _ => return None,
                },
                Kind::AnyElement => (1, element.clone()?),
            };
            total += cost;
            targets.push(target);
        }
        Some((total, targets))
    }

    fn return_field(&self, name: &str, args: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds = || self.args.iter().chain(self.rest.iter().cycle()).zip(args.arg_fields);
        let field = match &self.returns {
            Returns::Computed(function) => return function(args),
            Returns::Type(sql_type) => sql_type.field(name, true),
            Returns::Same => args.arg_fields[0].as_ref().clone(),
            Returns::AnyArray => match kinds().find(|(kind, _)| **kind == Kind::AnyArray) {
                Some((_, field)) => field.as_ref().clone(),
                None => {
                    let (_, element) = kinds()
                        .find(|(kind, _)| **kind == Kind::AnyElement)
                        .unwrap_or((&Kind::AnyElement, &args.arg_fields[0]));
                    let item = element.as_ref().clone().with_name("item").with_nullable(true);
                    Field::new_list(name, item, true)
                }
            },
            Returns::AnyElement => match kinds().find(|(kind, _)| **kind == Kind::AnyArray) {
                Some((_, field)) => match field.data_type() {
                    DataType::List(item) => item.as_ref().clone(),
                    other => return internal_err!("an array was expected, not {other}"),
                },
                None => match kinds().find(|(kind, _)| **kind == Kind::AnyElement) {
                    Some((_, field)) => field.as_ref().clone(),
                    None => return internal_err!("{name} has no argument of type anyelement"),
                },
            },
        };
        Ok(Arc::new(field.with_name(name).with_nullable(true)))
    }
}

/// The type that `anyelement` stands for in a call.
fn element_type<'t>(args: impl Iterator<Item = (&'t Kind, &'t DataType)> + Clone) -> Option<DataType> {
    let arrays = args.clone().filter(|(kind, _)| **kind == Kind::AnyArray);
    for (_, data_type) in arrays {
        match data_type {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
                if *item.data_type() != DataType::Null =>
            {
                return Some(view_type(item.data_type()));
            }
            _ => {}
        }
    }
    let mut common: Option<DataType> = None;
    for (_, data_type) in args.filter(|(kind, _)| **kind == Kind::AnyElement) {
        let data_type = view_type(data_type);
        common = Some(match common {
            None | Some(DataType::Null) => data_type,
            Some(known) => super::common_type(&known, &data_type)?,
        });
    }
    match common {
        Some(DataType::Null) => Some(DataType::Utf8View),
        None => Some(DataType::Utf8View),
        other => other,
    }
}

/// A list type of these elements, keeping the element's field where it says more than the Arrow type.
fn list_of(element: &DataType, from: &DataType) -> DataType {
    match from {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => DataType::List(
            Arc::new(item.as_ref().clone().with_data_type(element.clone()).with_name("item").with_nullable(true)),
        ),
        _ => DataType::new_list(element.clone(), true),
    }
}

/// The type as the engine holds it: views for text and bytes, also in lists.
pub(crate) fn view_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::BinaryView,
        DataType::List(item) if view_type(item.data_type()) != *item.data_type() => {
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(view_type(item.data_type()))))
        }
        other => other.clone(),
    }
}

/// What an implicit cast costs, and the type after it. `None`: there is none.
pub(crate) fn cast_cost(from: &DataType, to: &SqlType) -> Option<(u32, DataType)> {
    use DataType as D;
    let target = to.data_type();
    if *from == D::Null {
        return Some((1, target));
    }
    let text = matches!(from, D::Utf8 | D::LargeUtf8 | D::Utf8View);
    let integer = |max: u32| -> Option<u32> {
        let width = match from {
            D::Int8 | D::UInt8 | D::Int16 => 1,
            D::UInt16 | D::Int32 => 2,
            D::UInt32 | D::Int64 | D::UInt64 => 3,
            _ => return None,
        };
        max.checked_sub(width)
    };
    let decimal = matches!(from, D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..));
    let cost = match to {
        SqlType::Text | SqlType::Varchar(_) | SqlType::Name | SqlType::Json | SqlType::Jsonb | SqlType::Uuid
            if text =>
        {
            0
        }
        SqlType::Bool if *from == D::Boolean => 0,
        SqlType::Int2 => integer(1)?,
        SqlType::Int4 => integer(2).or(text.then_some(20))?,
        SqlType::Int8 => integer(3).or(text.then_some(20))?,
        SqlType::Oid if *from == D::UInt32 => 0,
        SqlType::Float4 if matches!(from, D::Float32 | D::Float16) => 0,
        SqlType::Float8 => match from {
            D::Float64 => 0,
            D::Float32 | D::Float16 => 1,
            _ if decimal => 6,
            _ => integer(3).map(|_| 4).or(text.then_some(20))?,
        },
        SqlType::Numeric(_) => {
            return match from {
                D::Decimal128(..) => Some((0, from.clone())),
                _ if decimal => Some((1, target)),
                _ => match integer(3) {
                    Some(_) if *from == D::Int64 || *from == D::UInt64 => Some((5, D::Decimal128(20, 0))),
                    Some(_) => Some((5, D::Decimal128(10, 0))),
                    None => text.then_some((20, target)),
                },
            };
        }
        SqlType::Bytea if matches!(from, D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_)) => 0,
        SqlType::Date if matches!(from, D::Date32) => 0,
        SqlType::Time => match from {
            D::Time64(TimeUnit::Microsecond) => 0,
            D::Time64(_) | D::Time32(_) => 1,
            _ => text.then_some(20)?,
        },
        SqlType::Timestamp => match from {
            D::Timestamp(TimeUnit::Microsecond, None) => 0,
            D::Timestamp(_, None) => 1,
            D::Date32 | D::Date64 => 4,
            _ => text.then_some(20)?,
        },
        SqlType::TimestampTz => match from {
            D::Timestamp(TimeUnit::Microsecond, Some(_)) => 0,
            D::Timestamp(_, Some(_)) => 1,
            D::Timestamp(_, None) => 6,
            D::Date32 | D::Date64 => 3,
            _ => text.then_some(19)?,
        },
        SqlType::Interval => match from {
            D::Interval(IntervalUnit::MonthDayNano) => 0,
            D::Interval(_) | D::Duration(_) => 1,
            _ => text.then_some(20)?,
        },
        SqlType::Array(item) => match from {
            D::List(field) | D::LargeList(field) | D::FixedSizeList(field, _) => cast_cost(field.data_type(), item)?.0,
            _ => text.then_some(20)?,
        },
        _ if text => 20,
        _ => return None,
    };
    Some((cost, target))
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.name).field("signatures", &self.texts).finish()
    }
}

/// There is one function of a name.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let fields: Vec<FieldRef> = types.iter().map(|t| Arc::new(Field::new("", t.clone(), true))).collect();
        let constants = vec![None; fields.len()];
        let args = ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &constants };
        Ok(self.return_field_from_args(args)?.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let (overload, _) = self.resolve(&types)?;
        let field = overload.return_field(self.name, &args)?;
        Ok(if field.is_nullable() { field } else { Arc::new(field.as_ref().clone().with_nullable(true)) })
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.resolve(types)?.1)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (overload, targets) = self.resolve(&types)?;
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
            && self.signature.volatility != Volatility::Volatile;
        let call = Call {
            args: args.args.iter().zip(&targets).map(|(arg, target)| argument(arg, target)).collect::<Result<_>>()?,
            fields: &args.arg_fields,
            rows: if constant { 1 } else { args.number_rows },
            returns: &args.return_field,
            config: &args.config_options,
            zone: OnceCell::new(),
        };
        let result = (overload.body)(&call)?;
        if constant {
            return Ok(ColumnarValue::Scalar(match result.as_list_opt::<i32>() {
                // Made by hand, as the general way forgets what the elements' field says of their SQL type.
                Some(list) => ScalarValue::List(Arc::new(list.slice(0, 1))),
                None => ScalarValue::try_from_array(&result, 0)?,
            }));
        }
        Ok(ColumnarValue::Array(result))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        // An argument's range tells its type, which is unknown where nothing is known of its order either.
        let types: Vec<DataType> = inputs.iter().map(|input| input.range.data_type()).collect();
        let overload = self.resolve(&types).ok().filter(|(_, targets)| *targets == types);
        // The session's zone is not known here.
        let overload = overload.map(|(overload, _)| overload).filter(|overload| !overload.in_fixed_zone);
        let Some(argument) = overload.and_then(|overload| overload.ordered_by) else {
            return Ok(SortProperties::Unordered);
        };
        let others_constant = inputs
            .iter()
            .enumerate()
            .all(|(index, input)| index == argument || input.sort_properties == SortProperties::Singleton);
        Ok(if others_constant { inputs[argument].sort_properties } else { SortProperties::Unordered })
    }

    fn preimage(&self, args: &[Expr], constant: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        let Expr::Literal(constant, _) = constant else { return Ok(PreimageResult::None) };
        Ok(match self.argument_bounds(args, constant, info) {
            Some((argument, interval)) => {
                PreimageResult::Range { expr: args[argument].clone(), interval: Box::new(interval) }
            }
            None => PreimageResult::None,
        })
    }
}

impl Function {
    /// Which argument decides a comparison with a constant, and the half-open interval of its values for which the result is
    /// the constant. `None` where it is not monotonic or errors are near.
    fn argument_bounds(
        &self,
        args: &[Expr],
        constant: &ScalarValue,
        info: &SimplifyContext,
    ) -> Option<(usize, Interval)> {
        let types: Vec<DataType> = args.iter().map(|arg| arg.get_type(info.schema()).ok()).collect::<Option<_>>()?;
        let (overload, _) = self.resolve(&types).ok().filter(|(_, targets)| *targets == types)?;
        let at = overload.ordered_by?;
        let zone = info.config_options().execution.time_zone.as_deref();
        if overload.in_fixed_zone && !matches!(zone, Some("UTC" | "Etc/UTC" | "GMT")) {
            return None;
        }
        let arg_fields: Vec<FieldRef> = types.iter().map(|t| Arc::new(Field::new("", t.clone(), true))).collect();
        let constants: Vec<Option<&ScalarValue>> = args.iter().map(Expr::as_literal).collect();
        let return_args = ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &constants };
        let return_field = self.return_field_from_args(return_args).ok()?;
        let data_type = &types[at];
        if constant.data_type() != *return_field.data_type() || constant.data_type() != *data_type {
            return None;
        }
        let others_given = constants.iter().enumerate().all(|(index, given)| {
            if index == at { given.is_none() } else { given.is_some_and(|value| !value.is_null()) }
        });
        if !others_given {
            return None;
        }
        let result = |x: i64| -> Option<i64> {
            let argument = preimage::value(x, data_type)?;
            let values = constants.iter().map(|given| given.unwrap_or(&argument));
            let call = ScalarFunctionArgs {
                args: values.map(|value| ColumnarValue::Scalar(value.clone())).collect(),
                arg_fields: arg_fields.clone(),
                number_rows: 1,
                return_field: Arc::clone(&return_field),
                config_options: Arc::clone(info.config_options()),
            };
            match self.invoke_with_args(call).ok()? {
                ColumnarValue::Scalar(value) => preimage::number(&value),
                ColumnarValue::Array(_) => None,
            }
        };
        let (lower, upper) = preimage::bounds(preimage::number(constant)?, preimage::limits(data_type), result)?;
        let (lower, upper) = (preimage::value(lower, data_type)?, preimage::value(upper, data_type)?);
        Some((at, Interval::try_new(lower, upper).ok()?))
    }
}

/// An argument as an array of the type the body expects.
fn argument(value: &ColumnarValue, target: &DataType) -> Result<Argument> {
    let (array, constant) = match value {
        ColumnarValue::Array(array) => (Arc::clone(array), false),
        ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
    };
    let array = if array.data_type() == target {
        array
    } else if *array.data_type() == DataType::Null {
        new_null_array(target, array.len())
    } else {
        arrow::compute::cast(&array, target)?
    };
    Ok(Argument { array, constant })
}
