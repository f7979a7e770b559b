//! Which function is meant, by the types of its arguments: scalar, aggregate and window functions.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, Case, ScalarFunction, Sort, WindowFunction,
};
use datafusion::logical_expr::type_coercion::functions::{UDFCoercionExt, fields_with_udf};
use datafusion::logical_expr::{
    AggregateUDF, Cast, Expr, ExprSchemable, ReturnFieldArgs, ScalarUDF, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowFunctionDefinition,
};
use tidemill_udfs::types::SqlType;

use super::{Sight, Typed, Typing, canonical, element_of, is_textual, limited, type_list};
use crate::Result;
use crate::error::{Error, SqlState};
use crate::plan::pending::{PendingAggregate, PendingWindow};
use crate::plan::types::{Category, category, is_integer};
use crate::plan::{asof, domains, enums, gapfill, latest, registry, system, window_join};

/// 42883 for a function that does not exist with these arguments.
pub(in crate::plan) fn undefined(name: &str, args: &[Typed]) -> Error {
    Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}({}) does not exist", type_list(args)))
        .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

/// The same with names before arguments.
pub(super) fn undefined_with_names(function: &str, names: &[Option<String>], args: &[Typed]) -> Error {
    let shown = |(name, arg): (&Option<String>, &Typed)| {
        let sql_type = arg.sql_type.plain_name();
        name.as_ref().map_or(sql_type.clone(), |name| format!("{name} => {sql_type}"))
    };
    let list: Vec<_> = names.iter().zip(args).map(shown).collect();
    Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {function}({}) does not exist", list.join(", ")))
        .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

/// How a function's result follows from its arguments where DataFusion forgets the SQL type.
enum Shape {
    /// All arguments and the result are of one type.
    Unified,
    /// The result is an array of the arguments' common type.
    ArrayOf,
    /// The result is of the first argument's type; the others are as they are.
    LikeFirst,
    /// The result is an item of the first argument.
    ItemOfFirst,
    /// Arrays and items of one type; the result is the array.
    Array,
    /// Arrays and items of one type; the result is whatever the function says.
    ArrayQuestion,
    /// As the function says.
    Plain,
}

fn shape(name: &str) -> Shape {
    match name {
        "coalesce" | "greatest" | "least" | "nullif" | "nvl" => Shape::Unified,
        "make_array" => Shape::ArrayOf,
        "array_element" | "array_max" | "array_min" | "array_first" | "array_last" => Shape::ItemOfFirst,
        "array_append" | "array_prepend" | "array_concat" | "array_cat" | "array_remove" | "array_remove_all"
        | "array_replace" | "array_replace_all" | "array_union" | "array_intersect" | "array_except" => Shape::Array,
        "array_slice" | "array_distinct" | "array_sort" | "array_reverse" | "trim_array" => Shape::LikeFirst,
        "array_has" | "array_has_all" | "array_has_any" | "array_position" | "array_positions" => Shape::ArrayQuestion,
        _ => Shape::Plain,
    }
}

/// Functions `json_…` and `jsonb_…` whose first argument is a document.
const READS_JSON: [&str; 11] = [
    "array_elements",
    "array_elements_text",
    "array_length",
    "each",
    "each_text",
    "extract_path",
    "extract_path_text",
    "object_keys",
    "pretty",
    "strip_nulls",
    "typeof",
];

/// int2vector and oidvector count their items from 0: arguments of a subscript as of an array, which counts from 1.
fn counted_from_one(mut args: Vec<Typed>) -> Vec<Typed> {
    if let [array, index] = args.as_mut_slice()
        && matches!(array.sql_type, SqlType::Int2Vector | SqlType::OidVector)
        && index.data_type.is_integer()
    {
        let one = Expr::Literal(ScalarValue::Int8(Some(1)), None);
        let one = Expr::Cast(Cast::new(Box::new(one), index.data_type.clone()));
        index.expr = std::mem::take(&mut index.expr) + one;
    }
    args
}

impl Typing<'_> {
    /// A call of a function found by name among those all sessions share.
    pub(in crate::plan) fn call(&mut self, name: &str, args: Vec<Typed>) -> Result<Typed> {
        match registry::scalar(name) {
            Some(function) => self.function(function, args),
            None => Err(undefined(name, &args)),
        }
    }

    /// A call of a scalar function.
    pub(super) fn function(&mut self, function: Arc<ScalarUDF>, args: Vec<Typed>) -> Result<Typed> {
        if let ("pg_typeof", [value]) = (function.name(), args.as_slice()) {
            let oid = value.sql_type.oid();
            return Ok(Typed::literal(ScalarValue::UInt32(Some(oid)), SqlType::RegType));
        }
        if domains::is_check(&function) {
            return domains::typed(self, &function, args);
        }
        if asof::is_marker(&function) {
            return asof::typed(self, &function, args);
        }
        if latest::is_marker(&function) {
            return latest::typed(self, &function, args);
        }
        if window_join::is_marker(&function) {
            return window_join::typed(self, &function, args);
        }
        if gapfill::is_marker(&function) {
            return gapfill::typed(self, &function, args);
        }
        let args = self.padded(function.name(), args)?;
        let args = match function.name() {
            "time_bucket" => gapfill::with_origin(self, args)?,
            _ => args,
        };
        let args = if function.name() == "generate_series" { self.series_args(args)? } else { args };
        if let ("abs", [Typed { data_type: DataType::Decimal256(..), .. }]) = (function.name(), args.as_slice()) {
            return Ok(wide_absolute(args));
        }
        if function.name() == "get_field" {
            return field_of(&function, args);
        }
        if function.name() == "generate_series"
            && args.iter().all(|arg| matches!(arg.sql_type, SqlType::Int2 | SqlType::Int4))
        {
            let series = self.plain(&function, args)?;
            return self.explicit_cast(series, &SqlType::Array(Arc::new(SqlType::Int4)));
        }
        let args = self.documents(function.name(), args)?;
        match shape(function.name()) {
            Shape::Unified => {
                let word = function.name().to_uppercase();
                if args.is_empty() {
                    return Err(undefined(function.name(), &args));
                }
                let (args, sql_type, data_type) = self.unify(args, &word)?;
                if let (SqlType::Enum(of), "greatest" | "least") = (&sql_type, function.name()) {
                    let places = args.into_iter().map(enums::ordinal).collect();
                    return Ok(enums::label(self.plain(&function, places)?, of));
                }
                let result = self.plain(&function, args)?;
                let data_type = if matches!(sql_type, SqlType::Numeric(_)) { result.data_type } else { data_type };
                Ok(Typed::new(result.expr, sql_type, data_type))
            }
            Shape::ArrayOf if args.is_empty() => self.plain(&function, args),
            Shape::ArrayOf => {
                let (args, sql_type, _) = self.unify(args, "ARRAY")?;
                let array = limited(SqlType::Array(Arc::new(sql_type)))?;
                let result = self.plain(&function, args)?;
                Ok(Typed { sql_type: array, ..result })
            }
            Shape::LikeFirst => {
                let first = args.first().map(|first| first.sql_type.clone());
                let result = self.plain(&function, args)?;
                Ok(Typed {
                    sql_type: first.filter(|first| *first != SqlType::Unknown).unwrap_or(result.sql_type),
                    ..result
                })
            }
            Shape::ItemOfFirst => {
                let item = args.first().and_then(|first| element_of(&first.sql_type));
                let result = self.plain(&function, counted_from_one(args))?;
                Ok(match item {
                    Some(item) if !matches!(result.data_type, DataType::List(_)) => Typed { sql_type: item, ..result },
                    _ => result,
                })
            }
            Shape::Array => {
                let args = self.array_args(args)?;
                let array = args.iter().find(|arg| element_of(&arg.sql_type).is_some()).map(|arg| arg.sql_type.clone());
                let result = self.plain(&function, args)?;
                Ok(Typed { sql_type: array.unwrap_or(result.sql_type), ..result })
            }
            Shape::ArrayQuestion => {
                let args = self.array_args(args)?;
                self.plain(&function, args)
            }
            Shape::Plain => self.plain(&function, args),
        }
    }

    /// The literals of a series are of the type of what they stand beside.
    fn series_args(&mut self, args: Vec<Typed>) -> Result<Vec<Typed>> {
        let known = args.iter().take(2).find(|arg| !arg.is_unknown()).map(|arg| arg.sql_type.clone());
        let Some(known) = known else { return Ok(args) };
        let step = if category(&known) == Category::Time { SqlType::Interval } else { known.clone() };
        let place = |(place, arg)| self.decide(arg, if place < 2 { &known } else { &step });
        args.into_iter().enumerate().map(place).collect()
    }

    /// char(n) has its blanks where bytes are counted.
    fn padded(&mut self, name: &str, mut args: Vec<Typed>) -> Result<Vec<Typed>> {
        if let ("octet_length" | "bit_length", [Typed { sql_type: SqlType::Char(width @ 1..), .. }]) =
            (name, args.as_slice())
        {
            let width = Typed::literal(ScalarValue::Int32(i32::try_from(*width).ok()), SqlType::Int4);
            args.push(width);
            return Ok(vec![self.call("rpad", args)?]);
        }
        Ok(args)
    }

    /// A literal where a function takes json or jsonb, as its name says.
    fn documents(&mut self, name: &str, mut args: Vec<Typed>) -> Result<Vec<Typed>> {
        let sql_type = match name.split_once('_') {
            Some(("json", rest)) if READS_JSON.contains(&rest) => SqlType::Json,
            Some(("jsonb", rest)) if READS_JSON.contains(&rest) => SqlType::Jsonb,
            _ => return Ok(args),
        };
        if args.first().is_some_and(Typed::is_unknown) {
            let first = args.remove(0);
            args.insert(0, self.decide(first, &sql_type)?);
        }
        Ok(args)
    }

    /// Arrays and items of one item type: unknown ones become what their place asks for.
    fn array_args(&mut self, args: Vec<Typed>) -> Result<Vec<Typed>> {
        let mut item = SqlType::Unknown;
        for arg in &args {
            let own = element_of(&arg.sql_type).unwrap_or_else(|| arg.sql_type.clone());
            item = crate::plan::types::common_type(&item, &own).ok_or_else(|| undefined("array_has", &args))?;
        }
        if item == SqlType::Unknown {
            item = SqlType::Text;
        }
        let array = SqlType::Array(Arc::new(item.clone()));
        let has_array = args.iter().any(|arg| element_of(&arg.sql_type).is_some());
        args.into_iter()
            .enumerate()
            .map(|(place, arg)| {
                let wants_array = element_of(&arg.sql_type).is_some() || arg.is_unknown() && place == 0 && !has_array;
                let wants_array = wants_array || arg.is_unknown() && place == 0 && looks_like_array(&arg.expr);
                self.implicitly(arg, if wants_array { &array } else { &item })
            })
            .collect()
    }

    /// A call whose argument types are matched with the function's signature.
    fn plain(&mut self, function: &Arc<ScalarUDF>, args: Vec<Typed>) -> Result<Typed> {
        let (args, fields) = self.arguments(function.as_ref(), function.name(), args)?;
        let literals: Vec<Option<&ScalarValue>> = args
            .iter()
            .map(|arg| match &arg.expr {
                Expr::Literal(value, _) => Some(value),
                _ => None,
            })
            .collect();
        let field = function
            .return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &literals })
            .map_err(|error| own_or(error, || undefined(function.name(), &args)))?;
        let exprs = args.into_iter().map(|arg| arg.expr).collect();
        let call = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), exprs));
        Ok(result(call, &field))
    }

    /// Matches arguments with a signature: gives unknown ones their types, refuses what PostgreSQL would not cast.
    fn arguments<F: UDFCoercionExt>(
        &mut self,
        function: &F,
        name: &str,
        args: Vec<Typed>,
    ) -> Result<(Vec<Typed>, Vec<FieldRef>)> {
        let fields_of = |unknown: &DataType| -> Vec<FieldRef> {
            args.iter()
                .map(|arg| if arg.is_unknown() { Arc::new(Field::new("", unknown.clone(), true)) } else { arg.field() })
                .collect()
        };
        let wanted = fields_with_udf(&fields_of(&DataType::Utf8View), function)
            .or_else(|_| fields_with_udf(&fields_of(&DataType::Null), function))
            .map_err(|error| own_or(error, || undefined(name, &args)))?;
        for (arg, wanted) in args.iter().zip(&wanted) {
            if !arg.is_unknown() && !passes(arg, wanted.data_type()) {
                return Err(undefined(name, &args));
            }
        }
        let mut typed = Vec::with_capacity(args.len());
        let mut fields = Vec::with_capacity(args.len());
        let listed = if args.iter().any(is_parameter) { system::only_signature(name, args.len()) } else { vec![] };
        for (at, (arg, wanted)) in args.into_iter().zip(wanted).enumerate() {
            if arg.is_unknown() {
                // A parameter is of the type that is listed where there is one choice: drivers send what they are told.
                let listed = listed.get(at).filter(|_| is_parameter(&arg));
                let to = match (listed, wanted.data_type()) {
                    (
                        Some(listed @ (SqlType::Bool | SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Oid)),
                        _,
                    ) => listed.clone(),
                    (_, DataType::Null) => SqlType::Text,
                    (_, other) => SqlType::of_data_type(other),
                };
                let arg = self.decide(arg, &to)?;
                fields.push(arg.field());
                typed.push(arg);
            } else {
                fields.push(wanted);
                typed.push(arg);
            }
        }
        // What the literals became may lead to another choice.
        let fields = fields_with_udf(&fields, function).map_err(|error| own_or(error, || undefined(name, &typed)))?;
        Ok((typed, fields))
    }

    /// An aggregate function.
    pub(super) fn aggregate(&mut self, call: AggregateFunction, sight: &Sight) -> Result<Typed> {
        let AggregateFunction { func, params } = call;
        let func = PendingAggregate::meant(func);
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
        let name = func.name().to_owned();
        let filter = match filter {
            Some(filter) => {
                let filter = self.expression(*filter, sight)?;
                Some(Box::new(self.condition(filter, "FILTER")?))
            }
            None => None,
        };
        let order_by = self.sorts(order_by, sight)?;
        // count(*) stays as the statistics rule knows it.
        let star = name == "count" && matches!(args.as_slice(), [Expr::Literal(value, _)] if !value.is_null());
        if star {
            let call = AggregateFunction::new_udf(func, args, distinct, filter, order_by, null_treatment);
            return Ok(Typed::of(Expr::AggregateFunction(call), SqlType::Int8));
        }
        let args = args.into_iter().map(|arg| self.expression(arg, sight)).collect::<Result<Vec<_>>>()?;
        let args = self.aggregate_args(&name, args)?;
        let func = own_aggregate(&name, &args).unwrap_or(func);
        let (args, fields) = self.arguments(func.as_ref(), &name, args)?;
        let field = func.return_field(&fields).map_err(|error| own_or(error, || undefined(&name, &args)))?;
        let sql_type = aggregate_type(&name, &args, &field);
        let data_type = field.data_type().clone();
        let args = args.into_iter().map(|arg| arg.expr).collect();
        let call = AggregateFunction::new_udf(func, args, distinct, filter, order_by, null_treatment);
        Ok(Typed::new(Expr::AggregateFunction(call), sql_type, data_type))
    }

    /// Arguments cast so that DataFusion's aggregate gives PostgreSQL's result.
    fn aggregate_args(&mut self, name: &str, args: Vec<Typed>) -> Result<Vec<Typed>> {
        let mut args = args;
        match (name, args.first().map(|first| first.sql_type.clone())) {
            ("sum" | "avg", Some(SqlType::Unknown)) => {
                return Err(Error::new(
                    SqlState::AMBIGUOUS_FUNCTION,
                    format!("function {name}(unknown) is not unique"),
                )
                .hint("Could not choose a best candidate function. You might need to add explicit type casts."));
            }
            ("sum", Some(SqlType::Int8)) => {
                let first = args.remove(0);
                args.insert(0, self.convert_to(first, &SqlType::Numeric(None), DataType::Decimal128(38, 0))?);
            }
            // The order of intervals is that of their lengths.
            ("first" | "last", _) if args.len() == 2 && args[1].sql_type == SqlType::Interval => {
                let time = args.remove(1);
                args.push(self.ordered(time)?);
            }
            ("string_agg", Some(_)) => {
                args = args.into_iter().map(|arg| self.implicitly(arg, &SqlType::Text)).collect::<Result<_>>()?;
            }
            ("min" | "max" | "array_agg" | "first_value" | "last_value", Some(SqlType::Unknown)) => {
                args = args.into_iter().map(|arg| self.settled(arg)).collect::<Result<_>>()?;
            }
            _ => {}
        }
        Ok(args)
    }

    /// A window function.
    pub(super) fn window(&mut self, call: WindowFunction, sight: &Sight) -> Result<Typed> {
        let WindowFunction { fun, mut params } = call;
        let mut fun = match fun {
            WindowFunctionDefinition::AggregateUDF(func) => {
                WindowFunctionDefinition::AggregateUDF(PendingAggregate::meant(func))
            }
            WindowFunctionDefinition::WindowUDF(func) => {
                WindowFunctionDefinition::WindowUDF(PendingWindow::meant(func))
            }
        };
        params.partition_by = params
            .partition_by
            .into_iter()
            .map(|expr| Ok(self.settled_expression(expr, sight)?.expr))
            .collect::<Result<_>>()?;
        params.order_by = self.sorts(params.order_by, sight)?;
        peers_by_groups(&mut params.window_frame, &params.order_by, sight);
        params.filter = match params.filter {
            Some(filter) => {
                let filter = self.expression(*filter, sight)?;
                Some(Box::new(self.condition(filter, "FILTER")?))
            }
            None => None,
        };
        let name = fun.name().to_owned();
        let star = name == "count" && matches!(params.args.as_slice(), [Expr::Literal(value, _)] if !value.is_null());
        if star {
            let call = WindowFunction { fun, params };
            return Ok(Typed::of(Expr::WindowFunction(Box::new(call)), SqlType::Int8));
        }
        let args = std::mem::take(&mut params.args);
        let args = args.into_iter().map(|arg| self.expression(arg, sight)).collect::<Result<Vec<_>>>()?;
        let (args, sql_type, data_type) = match &mut fun {
            WindowFunctionDefinition::AggregateUDF(aggregate) => {
                let args = self.aggregate_args(&name, args)?;
                if let Some(own) = own_aggregate(&name, &args) {
                    *aggregate = own;
                }
                let (args, fields) = self.arguments(aggregate.as_ref(), &name, args)?;
                let field =
                    aggregate.return_field(&fields).map_err(|error| own_or(error, || undefined(&name, &args)))?;
                let sql_type = aggregate_type(&name, &args, &field);
                (args, sql_type, field.data_type().clone())
            }
            WindowFunctionDefinition::WindowUDF(window) => {
                let args = self.window_args(&name, args)?;
                let (args, fields) = self.arguments(window.as_ref(), &name, args)?;
                let field = window
                    .field(datafusion::logical_expr::function::WindowUDFFieldArgs::new(&fields, &name))
                    .map_err(|error| own_or(error, || undefined(&name, &args)))?;
                let sql_type = aggregate_type(&name, &args, &field);
                (args, sql_type, field.data_type().clone())
            }
        };
        params.args = args.into_iter().map(|arg| arg.expr).collect();
        let call = WindowFunction { fun, params };
        Ok(Typed::new(Expr::WindowFunction(Box::new(call)), sql_type, data_type))
    }

    /// `lag(x, 1, 0)`: the default is of x's type, the offset is int8 as DataFusion wants it.
    fn window_args(&mut self, name: &str, args: Vec<Typed>) -> Result<Vec<Typed>> {
        let mut args = args;
        if let ("lag" | "lead", [value, _, default]) = (name, args.as_mut_slice())
            && value.is_unknown()
            && !default.is_unknown()
        {
            // NULL is of the default's type.
            *value = self.implicitly(value.clone(), &default.sql_type)?;
        }
        let first = args.first().map(|first| first.sql_type.clone());
        args.into_iter()
            .enumerate()
            .map(|(place, arg)| match (name, place, &first) {
                ("lag" | "lead", 2, Some(first)) => self.implicitly(arg, first),
                (_, 0, _) if !matches!(name, "ntile") => self.settled(arg),
                _ => Ok(wide_literal(arg)),
            })
            .collect()
    }
}

/// A frame without offsets has the same rows by RANGE and by GROUPS, and DataFusion knows RANGE of some types only.
fn peers_by_groups(frame: &mut WindowFrame, order_by: &[Sort], sight: &Sight) {
    let plain = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => offset.is_null(),
    };
    let Some(first) = order_by.first() else { return };
    let ranges = |data_type: &DataType| {
        data_type.is_numeric()
            || data_type.is_string()
            || data_type.is_null()
            || matches!(
                data_type,
                DataType::List(_) | DataType::Boolean | DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
            )
    };
    let is_known = first.expr.get_type(sight.schema).is_ok_and(|data_type| ranges(&data_type));
    if frame.units == WindowFrameUnits::Range && plain(&frame.start_bound) && plain(&frame.end_bound) && !is_known {
        frame.units = WindowFrameUnits::Groups;
    }
}

/// The aggregate of ours that stands in for the engine's of the same name, by the argument's type.
fn own_aggregate(name: &str, args: &[Typed]) -> Option<Arc<AggregateUDF>> {
    match (name, &args.first()?.sql_type) {
        (name, SqlType::Enum(of)) => enums::extreme(name, of),
        ("avg", integer) if is_integer(integer) => Some(tidemill_udfs::functions::exact_average()),
        (name, number) if is_integer(number) || matches!(number, SqlType::Numeric(_)) && name != "avg" => {
            tidemill_udfs::functions::exact_variance(name)
        }
        ("avg", SqlType::Numeric(_)) => Some(tidemill_udfs::functions::exact_average()),
        ("sum", SqlType::Float4) => Some(tidemill_udfs::functions::real_sum()),
        ("avg", sql_type) if *sql_type != SqlType::Interval => {
            Some(datafusion::functions_aggregate::average::avg_udaf())
        }
        (name, SqlType::Interval) => tidemill_udfs::functions::interval_aggregate(name),
        _ => None,
    }
}

/// `abs` of a quotient, with all its digits.
fn wide_absolute(args: Vec<Typed>) -> Typed {
    let mut args = args;
    let value = args.remove(0);
    let negative = Expr::Negative(Box::new(value.expr.clone()));
    let zero = Expr::Literal(ScalarValue::Int32(Some(0)), None);
    let zero = Expr::Cast(Cast::new(Box::new(zero), value.data_type.clone()));
    let below = Box::new(value.expr.clone().lt(zero));
    let case = Case::new(None, vec![(below, Box::new(negative))], Some(Box::new(value.expr)));
    Typed::new(Expr::Case(case), SqlType::Numeric(None), value.data_type)
}

/// `(row).name`
fn field_of(function: &Arc<ScalarUDF>, args: Vec<Typed>) -> Result<Typed> {
    let [row, key] = args.as_slice() else { return Err(undefined(function.name(), &args)) };
    let name = match &key.expr {
        Expr::Literal(ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name)), _) => name,
        _ => return Err(undefined(function.name(), &args)),
    };
    let field = match &row.data_type {
        DataType::Struct(fields) => fields.iter().find(|field| field.name() == name),
        _ => None,
    };
    let Some(field) = field else {
        return Err(Error::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{name}\" not found in data type {}", row.sql_type.plain_name()),
        ));
    };
    let key = Expr::Literal(ScalarValue::Utf8(Some(name.clone())), None);
    let call = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), vec![row.expr.clone(), key]));
    Ok(result(call, field))
}

fn wide_literal(arg: Typed) -> Typed {
    match &arg.expr {
        Expr::Literal(ScalarValue::Int32(Some(number)), _) => {
            Typed::literal(ScalarValue::Int64(Some(i64::from(*number))), SqlType::Int8)
        }
        _ => arg,
    }
}

/// A parameter whose type nobody has said.
fn is_parameter(arg: &Typed) -> bool {
    arg.is_unknown() && matches!(arg.expr, Expr::Placeholder(_))
}

fn looks_like_array(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(text)), _) if text.trim_start().starts_with('{'))
        || matches!(expr, Expr::Placeholder(_))
}

/// Our own errors pass; DataFusion's words about signatures do not.
fn own_or(error: datafusion::common::DataFusionError, otherwise: impl FnOnce() -> Error) -> Error {
    match error.find_root() {
        datafusion::common::DataFusionError::External(_) => error.into(),
        _ => otherwise(),
    }
}

/// True if PostgreSQL passes such a value where the function wants that Arrow type.
fn passes(arg: &Typed, wanted: &DataType) -> bool {
    if arg.data_type == *wanted {
        return true;
    }
    let to = SqlType::of_data_type(wanted);
    match (category(&arg.sql_type), category(&to)) {
        (from, to) if from == to => true,
        // DataFusion has dates where PostgreSQL has timestamps, and the other way round.
        (Category::Number, Category::Number) | (_, Category::Unknown) => true,
        (Category::Array, _) => matches!(wanted, DataType::List(_) | DataType::LargeList(_) | DataType::Null),
        (Category::Other, Category::Text) => is_textual(&to) && arg.data_type == DataType::Utf8View,
        (Category::Text, Category::Other) => false,
        _ => false,
    }
}

fn result(expr: Expr, field: &Field) -> Typed {
    canonical(Typed::new(expr, SqlType::of_field(field).without_typmod(), field.data_type().clone()))
}

fn aggregate_type(name: &str, args: &[Typed], field: &Field) -> SqlType {
    match (name, args.first()) {
        // Like all text functions these have none of their own for varchar.
        ("min" | "max", Some(Typed { sql_type: SqlType::Varchar(_), .. })) => SqlType::Text,
        (
            "min" | "max" | "first_value" | "last_value" | "nth_value" | "lag" | "lead" | "any_value" | "mode",
            Some(first),
        ) => first.sql_type.without_typmod(),
        ("array_agg", Some(first)) => SqlType::Array(Arc::new(first.sql_type.without_typmod())),
        _ => SqlType::of_field(field).without_typmod(),
    }
}
