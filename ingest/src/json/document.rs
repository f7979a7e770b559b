//! One document, from its text to the row: a single pass, in which values go to their columns as they are read.

use tidemill_udfs::types::{ValueError, json};

use super::lex::{LexFault, Lexer, unescape};
use super::value::read_value;
use crate::rows::{NONE, ROOT, RowFault, Rows};

/// Why a document is no row.
enum Fault {
    Lex(LexFault),
    Row(Box<RowFault>),
}

impl From<LexFault> for Fault {
    fn from(fault: LexFault) -> Self {
        Self::Lex(fault)
    }
}

impl From<Box<RowFault>> for Fault {
    fn from(fault: Box<RowFault>) -> Self {
        Self::Row(fault)
    }
}

/// Takes a document as the row that was begun. After an error the row is to be abandoned. `stack` is for reuse.
pub(super) fn take_document(rows: &mut Rows, text: &str, stack: &mut Vec<bool>) -> Result<(), Box<RowFault>> {
    let mut walk = Walk { lexer: Lexer::new(text, 0), depth_max: rows.depth_max(), rows, stack };
    walk.document().map_err(|fault| match fault {
        Fault::Row(fault) => fault,
        Fault::Lex(LexFault::Depth) => RowFault::new(too_deep(walk.depth_max)),
        Fault::Lex(LexFault::Syntax) => RowFault::new(syntax_fault(text, walk.lexer.at)),
    })?;
    rows.commit(text)
}

struct Walk<'a, 'r> {
    lexer: Lexer<'a>,
    depth_max: usize,
    rows: &'r mut Rows,
    stack: &'r mut Vec<bool>,
}

impl Walk<'_, '_> {
    fn document(&mut self) -> Result<(), Fault> {
        self.lexer.skip_space();
        if self.lexer.peek() != Some(b'{') {
            return self.no_object();
        }
        self.object(ROOT, 1)?;
        self.lexer.skip_space();
        if self.lexer.peek().is_some() { Err(LexFault::Syntax.into()) } else { Ok(()) }
    }

    /// Valid JSON of another kind, or no JSON.
    #[cold]
    fn no_object(&mut self) -> Result<(), Fault> {
        read_value(&mut self.lexer, &mut self.rows.scratch, self.depth_max, self.stack)?;
        self.lexer.skip_space();
        if self.lexer.peek().is_some() {
            return Err(LexFault::Syntax.into());
        }
        let mut error = ValueError::new("22023", "expected a JSON object");
        error.hint = Some("Each document is an object whose members are the columns of one row.".into());
        Err(RowFault::new(error).into())
    }

    /// An object at its opening brace; `depth`: it and those it is in.
    fn object(&mut self, node: usize, depth: usize) -> Result<(), Fault> {
        if depth > self.depth_max {
            return Err(LexFault::Depth.into());
        }
        self.lexer.at += 1;
        self.lexer.skip_space();
        if self.lexer.peek() == Some(b'}') {
            self.lexer.at += 1;
            return Ok(());
        }
        let mut previous = NONE;
        loop {
            let field = self.key(node, previous)?;
            previous = field;
            self.lexer.skip_space();
            self.lexer.expect(b':')?;
            self.lexer.skip_space();
            self.value(field, depth)?;
            self.lexer.skip_space();
            match self.lexer.peek() {
                Some(b',') => {
                    self.lexer.at += 1;
                    self.lexer.skip_space();
                }
                Some(b'}') => {
                    self.lexer.at += 1;
                    return Ok(());
                }
                _ => return Err(LexFault::Syntax.into()),
            }
        }
    }

    #[inline]
    fn key(&mut self, node: usize, previous: usize) -> Result<usize, Fault> {
        self.lexer.expect(b'"')?;
        if let Some((field, end)) = self.rows.fields.guess(node, previous, self.lexer.bytes(), self.lexer.at) {
            self.lexer.at = end;
            return Ok(field);
        }
        self.lexer.at -= 1;
        let quoted = self.lexer.string()?;
        let raw = &self.lexer.text[quoted.start..quoted.end];
        if !quoted.escaped {
            return Ok(self.rows.fields.find(node, previous, raw));
        }
        let mut key = String::new();
        unescape(raw, &mut key)?;
        Ok(self.rows.fields.find(node, previous, &key))
    }

    #[inline]
    fn value(&mut self, field: usize, depth: usize) -> Result<(), Fault> {
        if self.lexer.peek() == Some(b'{')
            && let Some(node) = self.rows.flattened(field)
        {
            return self.flatten(field, node, depth);
        }
        // The document is one of the levels.
        let depth_left = self.depth_max - depth;
        let value = read_value(&mut self.lexer, &mut self.rows.scratch, depth_left, self.stack)?;
        Ok(self.rows.set(self.lexer.text, field, value)?)
    }

    fn flatten(&mut self, field: usize, node: usize, depth: usize) -> Result<(), Fault> {
        let start = self.lexer.at;
        let mut ahead = Lexer::new(self.lexer.text, start + 1);
        ahead.skip_space();
        if ahead.peek() != Some(b'}') {
            return self.object(node, depth + 1);
        }
        let value = read_value(&mut self.lexer, &mut self.rows.scratch, 1, self.stack)?;
        Ok(self.rows.keep_empty(self.lexer.text, field, value)?)
    }
}

/// 54001, as jsonb says it.
pub(super) fn too_deep(depth_max: usize) -> ValueError {
    let mut error = ValueError::new("54001", "stack depth limit exceeded");
    error.detail = Some(format!("JSON values are nested more than {depth_max} levels deep."));
    error
}

/// Bytes of a document that are read a second time to tell what is wrong with it: what is behind them cannot be shown
/// anyway, and jsonb's reading takes time that grows with size times depth.
const TOLD_BYTES: usize = 64 * 1024;

/// What PostgreSQL says about a document that is not JSON, or whose strings text cannot hold. `at`: where reading stopped.
pub(super) fn syntax_fault(text: &str, at: usize) -> ValueError {
    let fault = if text.len() <= TOLD_BYTES { json::canonical(text).err() } else { None };
    fault.unwrap_or_else(|| {
        let mut error = ValueError::new("22P02", "invalid input syntax for type json");
        let shown = text.get(at..).unwrap_or_default().chars().take(40).collect::<String>();
        error.detail = Some(if shown.is_empty() {
            "The input string ended unexpectedly.".to_owned()
        } else {
            format!("Reading stopped at \"{shown}\".")
        });
        error
    })
}
