//! A row of a table as one value: what a table's name alone means in an expression.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

/// Its name, which nobody can write: `row('id', t.id, …)`.
pub(super) const NAME: &str = "\u{1}row";

/// The same where an outer join may have found no row: then all columns are NULL, and so is the row.
pub(super) const OUTER_NAME: &str = "\u{1}outer row";

/// What `ROW(…)` becomes, in the place of DataFusion's function: its fields forget PostgreSQL's types.
const CONSTRUCTED: &str = "named_struct";

/// The function of one of these names.
pub(super) fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    [NAME, OUTER_NAME].into_iter().find(|own| *own == name).map(named)
}

/// The function of `ROW(…)`.
pub(super) fn constructor() -> Arc<ScalarUDF> {
    named(CONSTRUCTED)
}

fn named(name: &'static str) -> Arc<ScalarUDF> {
    let signature = Signature::one_of(vec![TypeSignature::VariadicAny], Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Row { name, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Row {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Row {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        internal_err!("a row's type follows from its fields")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let fields = args
            .arg_fields
            .chunks_exact(2)
            .zip(args.scalar_arguments.chunks_exact(2))
            .map(|(fields, literals)| {
                let Some(ScalarValue::Utf8View(Some(name)) | ScalarValue::Utf8(Some(name))) = literals[0] else {
                    return internal_err!("a column of a row without a name");
                };
                Ok(fields[1].as_ref().clone().with_name(name).with_nullable(true))
            })
            .collect::<Result<Fields>>()?;
        Ok(Arc::new(Field::new(self.name, DataType::Struct(fields), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::Struct(fields) = args.return_field.data_type() else { return internal_err!("a row is a struct") };
        let columns = args
            .args
            .chunks_exact(2)
            .map(|pair| pair[1].to_array(args.number_rows))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let found = (self.name == OUTER_NAME).then(|| {
            NullBuffer::from_iter((0..args.number_rows).map(|row| columns.iter().any(|column| column.is_valid(row))))
        });
        let rows = StructArray::try_new_with_length(fields.clone(), columns, found, args.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(rows)))
    }
}
