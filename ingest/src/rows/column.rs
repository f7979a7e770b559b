//! A column of the batch under construction.

use arrow::array::{Array, ArrayRef, BooleanBufferBuilder, StringViewBuilder};
use arrow::buffer::BooleanBuffer;
use tidemill_udfs::types::{ColumnEncoder, SqlType, TextSettings};

use super::builder::Builder;
use super::convert::{Conversion, Target};
use super::slot::{Scratch, Slot};
use crate::shape::ShapeColumn;
use crate::value::Value;

/// A column: its definition, and the values of the rows so far. It may have fewer values than there are rows: the rows at
/// the end do not mention it.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) nullable: bool,
    pub(crate) has_default: bool,
    pub(crate) field: Option<String>,
    /// Where in the changes it is added, if this batch adds it: its type is not fixed yet.
    pub(crate) added: Option<usize>,
    /// Where in the changes it is widened, if this batch does so.
    pub(crate) widened: Option<usize>,
    /// All values have a text that tells them: they were not typed.
    keeps_originals: bool,
    /// Types that would lose some of the values of this batch.
    pub(crate) refused: Vec<SqlType>,
    builder: Option<Builder>,
    length: usize,
    /// One bit for each value: not mentioned, so the default. Only where there is one.
    missing: Option<BooleanBufferBuilder>,
    /// The texts that the values were read from, if the column is new and may have to become text.
    originals: Option<Builder>,
}

impl Column {
    pub(crate) fn new(column: &ShapeColumn) -> Self {
        Self {
            name: column.name.clone(),
            target: Target::new(&column.sql_type),
            nullable: column.nullable,
            has_default: column.has_default,
            field: column.field.clone(),
            added: None,
            widened: None,
            keeps_originals: false,
            refused: vec![],
            builder: None,
            length: 0,
            missing: None,
            originals: None,
        }
    }

    /// A column that this batch adds.
    pub(crate) fn added(name: String, sql_type: &SqlType, field: String, change: usize) -> Self {
        let column = ShapeColumn { field: Some(field), ..ShapeColumn::new(name, sql_type.clone()) };
        Self { added: Some(change), ..Self::new(&column) }
    }

    /// What values of a column of that type become.
    pub(crate) fn target(sql_type: &SqlType) -> Target {
        Target::new(sql_type)
    }

    pub(crate) fn shape(&self) -> ShapeColumn {
        ShapeColumn {
            name: self.name.clone(),
            sql_type: self.target.sql_type.clone(),
            nullable: self.nullable,
            has_default: self.has_default,
            field: self.field.clone(),
        }
    }

    /// A row of this batch mentions it.
    pub(crate) fn is_mentioned(&self) -> bool {
        self.length > 0
    }

    /// The text that a value of a new column was read from.
    #[cold]
    pub(crate) fn original(&mut self, value: &Value) -> Option<Slot> {
        self.keeps_originals |= matches!(value, Value::Untyped(_));
        match value {
            Value::Text(span) | Value::Untyped(span) => Some(Slot::Text(*span)),
            Value::Number(number) => Some(Slot::Text(number.span)),
            _ => None,
        }
    }

    /// Another type, for a column without values.
    pub(crate) fn set_type(&mut self, sql_type: &SqlType) {
        debug_assert_eq!(self.length, 0, "values would be lost");
        self.target = Target::new(sql_type);
        (self.builder, self.originals) = (None, None);
    }

    /// Appends the value of row `row`; `original`: its text, if it is a string.
    #[inline]
    pub(crate) fn append(&mut self, row: usize, slot: Slot, original: Option<Slot>, doc: &str, scratch: &Scratch) {
        if self.length < row {
            self.skip_to(row);
        }
        self.builder().append(slot, doc, scratch);
        self.length += 1;
        if let Some(missing) = &mut self.missing {
            missing.append(false);
        }
        if self.added.is_some() {
            self.append_original(row, original, doc, scratch);
        }
    }

    #[inline]
    fn builder(&mut self) -> &mut Builder {
        let sql_type = &self.target.sql_type;
        self.builder.get_or_insert_with(|| Builder::new(sql_type).expect("a value of the type was converted"))
    }

    #[cold]
    fn append_original(&mut self, row: usize, original: Option<Slot>, doc: &str, scratch: &Scratch) {
        let is_read =
            matches!(self.target.sql_type, SqlType::Date | SqlType::Timestamp | SqlType::TimestampTz | SqlType::Uuid);
        if !is_read && !self.keeps_originals {
            self.originals = None;
            return;
        }
        let originals = self.originals.get_or_insert_with(|| Builder::Text(StringViewBuilder::new()));
        let length = match originals {
            Builder::Text(builder) => arrow::array::ArrayBuilder::len(builder),
            _ => unreachable!("originals are text"),
        };
        originals.append_nulls(row - length);
        originals.append(original.unwrap_or(Slot::Null), doc, scratch);
    }

    /// Fills up to a row with NULL, for rows that do not mention it.
    fn skip_to(&mut self, row: usize) {
        let count = row - self.length;
        self.builder().append_nulls(count);
        if self.has_default {
            let length = self.length;
            let missing = self.missing.get_or_insert_with(|| {
                let mut missing = BooleanBufferBuilder::new(row);
                missing.append_n(length, false);
                missing
            });
            missing.append_n(count, true);
        }
        self.length = row;
    }

    /// Ends the batch of so many rows: the values, if there are any, and who gets the default.
    pub(crate) fn finish(&mut self, rows: usize) -> (Option<ArrayRef>, Option<BooleanBuffer>) {
        let mentioned = self.is_mentioned();
        if mentioned && self.length < rows {
            self.skip_to(rows);
        }
        let array = if mentioned { Some(self.builder().finish()) } else { None };
        let defaults = match self.missing.take() {
            Some(missing) => Some(missing.build()),
            None if self.has_default && !mentioned => Some(BooleanBuffer::new_set(rows)),
            None => None,
        };
        self.length = 0;
        (self.added, self.widened, self.originals) = (None, None, None);
        self.refused.clear();
        self.keeps_originals = false;
        (array, defaults)
    }

    /// Gives the column another type if all its values of this batch have one of that type and none loses anything.
    pub(crate) fn widen(&mut self, to: &SqlType, settings: &TextSettings) -> bool {
        let from = &self.target.sql_type;
        if from == to || self.refused.contains(to) {
            return false;
        }
        let target = Target::new(to);
        let widened = match &self.builder {
            None => Some(None),
            Some(_) if *to == SqlType::Text => self.originals.take().map(Some),
            Some(builder) => converted(&builder.values(), from, &target, settings).map(Some),
        };
        let Some(mut widened) = widened else {
            self.refused.push(to.clone());
            return false;
        };
        if let (Some(Builder::Text(builder)), SqlType::Text) = (&mut widened, to) {
            let length = arrow::array::ArrayBuilder::len(builder);
            (length..self.length).for_each(|_| builder.append_null());
        }
        (self.target, self.builder) = (target, widened);
        true
    }
}

/// The values in another type, through their text; `None` if one has none, or a number's text is another then.
fn converted(array: &ArrayRef, from: &SqlType, target: &Target, settings: &TextSettings) -> Option<Builder> {
    let mut builder = Builder::new(&target.sql_type)?;
    let encoder = ColumnEncoder::new(array, from, settings).ok()?;
    let mut scratch = Scratch::default();
    let mut text = vec![];
    for row in 0..array.len() {
        if encoder.is_null(row) {
            builder.append_nulls(1);
            continue;
        }
        scratch.clear();
        text.clear();
        encoder.write_text(row, &mut text);
        let span = scratch.keep(std::str::from_utf8(&text).expect("the text of values is UTF-8"));
        let mut conversion = Conversion { doc: "", scratch: &mut scratch, settings, json_strings: false };
        let slot = conversion.text(target, span).ok()?;
        builder.append(slot, "", &scratch);
    }
    let doubles = matches!(target.sql_type.innermost(), SqlType::Float8);
    (!doubles || *from == SqlType::Float4 || same_text(&builder, array, from, target, settings)).then_some(builder)
}

/// Whether doubles print as the values they were made from.
fn same_text(builder: &Builder, array: &ArrayRef, from: &SqlType, target: &Target, settings: &TextSettings) -> bool {
    let values = builder.values();
    let (Ok(before), Ok(after)) =
        (ColumnEncoder::new(array, from, settings), ColumnEncoder::new(&values, &target.sql_type, settings))
    else {
        return false;
    };
    let (mut a, mut b) = (vec![], vec![]);
    (0..array.len()).filter(|row| !before.is_null(*row)).all(|row| {
        a.clear();
        b.clear();
        before.write_text(row, &mut a);
        after.write_text(row, &mut b);
        a == b
    })
}
