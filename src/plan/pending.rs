//! Operators and functions as they are between name resolution and typing: DataFusion's SQL planner would decide types by
//! its own rules, so it is given these stand-ins, which take anything. [`super::typing`] replaces every one of them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, GetFieldAccess, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::forms::{UNTYPED_VALUE, VALUE};

/// A binary operator whose meaning depends on the types of its sides.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PendingOperator {
    pub(super) op: BinaryOperator,
    /// Part of the name of an aggregate with FILTER: two that differ in the operator only are two columns.
    name: String,
    signature: Signature,
}

/// A function call; `function` is `None` if no function has that name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PendingFunction {
    pub(super) name: String,
    pub(super) function: Option<Arc<ScalarUDF>>,
    signature: Signature,
}

fn anything(volatility: Volatility) -> Signature {
    Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], volatility)
}

impl PendingOperator {
    pub(super) fn call(op: BinaryOperator, left: Expr, right: Expr) -> Expr {
        let udf =
            ScalarUDF::new_from_impl(Self { name: op.to_string(), op, signature: anything(Volatility::Immutable) });
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), vec![left, right]))
    }

    /// The operator of a call made by [`Self::call`].
    pub(super) fn of(udf: &ScalarUDF) -> Option<&Self> {
        (udf.inner().as_ref() as &dyn std::any::Any).downcast_ref()
    }
}

impl PendingFunction {
    pub(super) fn udf(name: &str, function: Option<Arc<ScalarUDF>>) -> Arc<ScalarUDF> {
        let volatility = function.as_ref().map_or(Volatility::Immutable, |function| function.signature().volatility);
        let mut signature = anything(volatility);
        if let Some(function) = &function {
            signature.parameter_names.clone_from(&function.signature().parameter_names);
        }
        Arc::new(ScalarUDF::new_from_impl(Self { name: name.to_owned(), function, signature }))
    }

    pub(super) fn of(udf: &ScalarUDF) -> Option<&Self> {
        (udf.inner().as_ref() as &dyn std::any::Any).downcast_ref()
    }

    /// True for a value of VALUES.
    pub(super) fn is_value(expr: &Expr) -> bool {
        let Expr::ScalarFunction(call) = expr else { return false };
        Self::of(&call.func).is_some_and(|pending| [VALUE, UNTYPED_VALUE].contains(&pending.name.as_str()))
    }
}

/// The logical operator of a comparison or arithmetic operator.
pub(super) fn operator(op: &BinaryOperator) -> Option<Operator> {
    use BinaryOperator as B;
    Some(match op {
        B::Eq => Operator::Eq,
        B::NotEq => Operator::NotEq,
        B::Lt => Operator::Lt,
        B::LtEq => Operator::LtEq,
        B::Gt => Operator::Gt,
        B::GtEq => Operator::GtEq,
        B::Plus => Operator::Plus,
        B::Minus => Operator::Minus,
        B::Multiply => Operator::Multiply,
        B::Divide => Operator::Divide,
        B::Modulo => Operator::Modulo,
        B::And => Operator::And,
        B::Or => Operator::Or,
        B::StringConcat => Operator::StringConcat,
        B::BitwiseAnd => Operator::BitwiseAnd,
        B::BitwiseOr => Operator::BitwiseOr,
        B::BitwiseXor | B::PGBitwiseXor => Operator::BitwiseXor,
        B::PGBitwiseShiftLeft => Operator::BitwiseShiftLeft,
        B::PGBitwiseShiftRight => Operator::BitwiseShiftRight,
        _ => return None,
    })
}

impl ScalarUDFImpl for PendingOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!("{} {} {}", left.schema_name(), self.op, right.schema_name())),
            _ => internal_err!("an operator has two sides"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        use BinaryOperator as B;
        if matches!(self.op, B::Eq | B::NotEq | B::Lt | B::LtEq | B::Gt | B::GtEq | B::PGRegexMatch | B::PGRegexIMatch)
        {
            return Ok(DataType::Boolean);
        }
        let known = match (operator(&self.op), types) {
            (Some(Operator::StringConcat), [list @ DataType::List(_), _] | [_, list @ DataType::List(_)]) => {
                Some(list.clone())
            }
            (Some(op), [left, right]) => BinaryTypeCoercer::new(left, &op, right).get_result_type().ok(),
            _ => None,
        };
        Ok(known.unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("operator {} was not given a meaning", self.op)
    }
}

impl ScalarUDFImpl for PendingFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Null)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let unknown = || Arc::new(Field::new(&self.name, DataType::Null, true));
        if let (VALUE, [value]) = (self.name.as_str(), args.arg_fields) {
            return Ok(Arc::new(Field::new(&self.name, value.data_type().clone(), true)));
        }
        let Some(function) = &self.function else { return Ok(unknown()) };
        let fields =
            datafusion::logical_expr::type_coercion::functions::fields_with_udf(args.arg_fields, function.as_ref());
        // Integer literals are int8 here and int4 later.
        let fields = fields.or_else(|_| {
            let narrow: Vec<FieldRef> = args
                .arg_fields
                .iter()
                .map(|field| match field.data_type() {
                    DataType::Int64 => Arc::new(field.as_ref().clone().with_data_type(DataType::Int32)),
                    _ => Arc::clone(field),
                })
                .collect();
            datafusion::logical_expr::type_coercion::functions::fields_with_udf(&narrow, function.as_ref())
        });
        let Ok(fields) = fields else {
            // `generate_series(t, '2024-01-02', '1 day')`: the literals will be what the first argument asks for.
            return Ok(match args.arg_fields.first() {
                Some(first) if self.name == "generate_series" => {
                    Arc::new(Field::new(&self.name, DataType::new_list(first.data_type().clone(), true), true))
                }
                _ => unknown(),
            });
        };
        let args = ReturnFieldArgs { arg_fields: &fields, scalar_arguments: args.scalar_arguments };
        Ok(function.return_field_from_args(args).unwrap_or_else(|_| unknown()))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("function {} was not given a meaning", self.name)
    }
}

/// `avg` until its argument's type is known: the engine's own has no intervals.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PendingAverage {
    signature: Signature,
}

impl PendingAverage {
    pub(super) fn udf() -> Arc<AggregateUDF> {
        let signature = Signature::new(TypeSignature::Any(1), Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Self { signature }))
    }
}

impl AggregateUDFImpl for PendingAverage {
    fn name(&self) -> &str {
        "avg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types {
            [interval @ DataType::Interval(_)] => interval.clone(),
            _ => DataType::Float64,
        })
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("avg was not given a meaning")
    }
}

/// Gives every operator but AND and OR to typing.
#[derive(Debug)]
pub(super) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        Ok(match expr.op {
            BinaryOperator::And | BinaryOperator::Or => PlannerResult::Original(expr),
            op => PlannerResult::Planned(PendingOperator::call(op, expr.left, expr.right)),
        })
    }

    /// `(array_agg(v ORDER BY t))[1]`: DataFusion would make an `nth_value` of it, which does less.
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { expr, field_access } = access;
        match field_access {
            GetFieldAccess::ListIndex { key } if matches!(expr, Expr::AggregateFunction(_)) => {
                let element = PendingFunction::udf("array_element", super::registry::scalar("array_element"));
                let call = ScalarFunction::new_udf(element, vec![expr, *key]);
                Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
            }
            field_access => Ok(PlannerResult::Original(RawFieldAccessExpr { expr, field_access })),
        }
    }
}
