//! The text of a row's `_rest`: an object of the fields that have no column, members of flattened objects below their own
//! objects as the document had them.

use tidemill_udfs::types::json::write_string;

use super::fields::Fields;
use super::slot::Scratch;
use crate::value::Value;

/// The object so far.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    text: Vec<u8>,
    /// The flattened objects that are not closed yet, outermost first.
    open: Vec<usize>,
}

impl Rest {
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.open.clear();
        self.text.shrink_to(1024 * 1024);
    }

    /// Adds a member.
    pub(crate) fn add(&mut self, fields: &Fields, field: usize, value: Value, doc: &str, scratch: &Scratch) {
        let field = fields.get(field);
        let chain = fields.chain(field.node);
        let shared = self.open.iter().zip(&chain).take_while(|(a, b)| a == b).count();
        for _ in shared..self.open.len() {
            self.text.push(b'}');
        }
        self.open.truncate(shared);
        if self.text.is_empty() {
            self.text.push(b'{');
        }
        for node in &chain[shared..] {
            self.key(&fields.get(fields.node(*node).field).key);
            self.text.push(b'{');
            self.open.push(*node);
        }
        self.key(&field.key);
        match value {
            Value::Null => self.text.extend_from_slice(b"null"),
            Value::Bool(value) => self.text.extend_from_slice(if value { b"true" } else { b"false" }),
            Value::Number(number) => self.text.extend_from_slice(scratch.text(doc, number.span).as_bytes()),
            Value::Text(span) | Value::Untyped(span) => write_string(scratch.text(doc, span), &mut self.text),
            Value::Array(span) | Value::Object(span) => {
                self.text.extend_from_slice(scratch.text(doc, span).as_bytes());
            }
            Value::Instant(us) => self.text.extend_from_slice(us.to_string().as_bytes()),
        }
    }

    fn key(&mut self, key: &str) {
        if self.text.last() != Some(&b'{') {
            self.text.push(b',');
        }
        write_string(key, &mut self.text);
        self.text.push(b':');
    }

    /// The whole object, as JSON.
    pub(crate) fn take(&mut self) -> String {
        for _ in 0..=self.open.len() {
            self.text.push(b'}');
        }
        self.open.clear();
        let text = String::from_utf8(self.text.clone()).expect("made of UTF-8 text");
        self.text.clear();
        text
    }
}
