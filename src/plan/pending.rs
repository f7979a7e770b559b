//! Operators and functions as they are between name resolution and typing: DataFusion's SQL planner would decide types by
//! its own rules, so it is given these stand-ins, which take anything. [`super::typing`] replaces every one of them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::expr::{AggregateFunctionParams, ScalarFunction, WindowFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::type_coercion::functions::{UDFCoercionExt, fields_with_udf};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, GetFieldAccess, Operator, PartitionEvaluator,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility, WindowUDF,
    WindowUDFImpl,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::forms::{UNKNOWN_NAME, UNTYPED_VALUE, VALUE};
use super::told::TOLD_CAST;

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

    /// True for a function that only says something of its argument.
    pub(super) fn is_its_argument(&self) -> bool {
        let begins = |with: &str| self.name.starts_with(with);
        [VALUE, UNTYPED_VALUE].contains(&self.name.as_str()) || begins(TOLD_CAST) || begins(UNKNOWN_NAME)
    }

    /// The name of an argument that the function around it does not know.
    pub(super) fn unknown_name(expr: &Expr) -> Option<String> {
        let Expr::ScalarFunction(call) = expr else { return None };
        Self::of(&call.func)?.name.strip_prefix(UNKNOWN_NAME).map(ToOwned::to_owned)
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
        if let ([value], true) = (args.arg_fields, self.name == VALUE || self.name.starts_with(TOLD_CAST)) {
            return Ok(Arc::new(Field::new(&self.name, value.data_type().clone(), true)));
        }
        let Some(function) = &self.function else { return Ok(unknown()) };
        let fields = fields_with_udf(args.arg_fields, function.as_ref());
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
            fields_with_udf(&narrow, function.as_ref())
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

/// An aggregate function: what it takes is said when its arguments have types.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PendingAggregate {
    function: Arc<AggregateUDF>,
    signature: Signature,
}

/// What a function makes of these, or NULL where they are not its arguments.
fn field_or_null<F: UDFCoercionExt>(
    name: &str,
    function: &F,
    args: &[FieldRef],
    field: impl Fn(&[FieldRef]) -> Result<FieldRef>,
) -> FieldRef {
    let known = fields_with_udf(args, function).and_then(|args| field(&args));
    known.unwrap_or_else(|_| Arc::new(Field::new(name, DataType::Null, true)))
}

impl PendingAggregate {
    pub(super) fn udf(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        let mut signature = Signature::user_defined(function.signature().volatility);
        signature.parameter_names.clone_from(&function.signature().parameter_names);
        Arc::new(AggregateUDF::new_from_impl(Self { function, signature }))
    }

    /// The function that one made by [`Self::udf`] stands for.
    pub(super) fn meant(udf: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        let pending = (udf.inner().as_ref() as &dyn std::any::Any).downcast_ref::<Self>();
        pending.map(|pending| Arc::clone(&pending.function)).unwrap_or(udf)
    }
}

impl AggregateUDFImpl for PendingAggregate {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.function.schema_name(params)
    }

    fn window_function_schema_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.function.window_function_schema_name(params)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        internal_err!("{} has a field, not a type", self.name())
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        let function = self.function.as_ref();
        Ok(field_or_null(self.name(), function, args, |args| function.return_field(args)))
    }

    fn is_nullable(&self) -> bool {
        self.function.is_nullable()
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.function.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.function.supports_within_group_clause()
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("aggregate {} was not given a meaning", self.name())
    }
}

/// The same for a window function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PendingWindow {
    function: Arc<WindowUDF>,
    signature: Signature,
}

impl PendingWindow {
    pub(super) fn udf(function: Arc<WindowUDF>) -> Arc<WindowUDF> {
        let mut signature = Signature::user_defined(function.signature().volatility);
        signature.parameter_names.clone_from(&function.signature().parameter_names);
        Arc::new(WindowUDF::new_from_impl(Self { function, signature }))
    }

    /// The function that one made by [`Self::udf`] stands for.
    pub(super) fn meant(udf: Arc<WindowUDF>) -> Arc<WindowUDF> {
        let pending = (udf.inner().as_ref() as &dyn std::any::Any).downcast_ref::<Self>();
        pending.map(|pending| Arc::clone(&pending.function)).unwrap_or(udf)
    }
}

impl WindowUDFImpl for PendingWindow {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let function = self.function.as_ref();
        let field = |fields: &[FieldRef]| function.field(WindowUDFFieldArgs::new(fields, args.name()));
        Ok(field_or_null(args.name(), function, args.input_fields(), field))
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        internal_err!("window function {} was not given a meaning", self.name())
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
