//! Fields of documents: their names, and what each becomes. Documents of one source have the same fields in the same order,
//! so the field that followed last time is looked at first; a hash finds the others.

use std::collections::HashMap;

use crate::name::folded;

/// No field, no node.
pub(crate) const NONE: usize = usize::MAX;

/// The document itself.
pub(crate) const ROOT: usize = 0;

/// What a field becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Not asked yet.
    Unknown,
    /// It had no column when it was asked, and no value but NULL, which needs none.
    New,
    Column(usize),
    /// A member of `_rest`.
    Rest,
}

/// A field of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) key: Box<str>,
    pub(crate) node: usize,
    pub(crate) target: Target,
    /// The column is this field's own; other spellings of its name give way.
    pub(crate) exact: bool,
    /// The members of the object that is its value.
    child: usize,
    /// The field behind it, last time.
    follow: usize,
    /// The format writes it as it is.
    plain: bool,
}

/// An object whose members are fields.
#[derive(Debug)]
pub(crate) struct Node {
    /// The field whose value it is.
    pub(crate) field: usize,
    /// How many objects it is in.
    pub(crate) depth: usize,
    first: usize,
    by_key: HashMap<Box<str>, usize>,
}

/// All fields seen, up to a limit.
#[derive(Debug)]
pub(crate) struct Fields {
    fields: Vec<Field>,
    nodes: Vec<Node>,
    fields_max: usize,
    key_end: KeyEnd,
}

/// How the format writes keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyEnd {
    /// What is behind a key.
    pub(crate) sign: u8,
    /// What cannot be in a key without an escape.
    pub(crate) escaped: fn(u8) -> bool,
}

/// The field that stands for each of those beyond the limit in turn.
const TRANSIENT: usize = 0;

impl Fields {
    /// `fields_max`: how many are kept; a source with endless names must not fill the memory.
    pub(crate) fn new(fields_max: usize, key_end: KeyEnd) -> Self {
        let mut fields = Self { fields: vec![], nodes: vec![], fields_max, key_end };
        let root = fields.add_root();
        let transient = fields.field("", root);
        fields.fields.push(transient);
        fields
    }

    /// Another namespace of fields beside the document's.
    pub(crate) fn add_root(&mut self) -> usize {
        self.nodes.push(Node { field: NONE, depth: 0, first: NONE, by_key: HashMap::new() });
        self.nodes.len() - 1
    }

    fn field(&self, key: &str, node: usize) -> Field {
        let plain = !key.bytes().any(self.key_end.escaped);
        Field { key: key.into(), node, target: Target::Unknown, exact: false, child: NONE, follow: NONE, plain }
    }

    pub(crate) fn get(&self, field: usize) -> &Field {
        &self.fields[field]
    }

    pub(crate) fn get_mut(&mut self, field: usize) -> &mut Field {
        &mut self.fields[field]
    }

    pub(crate) fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// Forgets what fields become, after columns changed.
    pub(crate) fn reset(&mut self) {
        for field in &mut self.fields {
            (field.target, field.exact) = (Target::Unknown, false);
        }
    }

    /// The field whose key is at `at`, if it is the one that followed `previous` last time or the one after that: and the
    /// place behind the sign that ends the key.
    #[inline]
    pub(crate) fn guess(&self, node: usize, previous: usize, bytes: &[u8], at: usize) -> Option<(usize, usize)> {
        let mut guess = if previous == NONE { self.nodes[node].first } else { self.fields[previous].follow };
        for _ in 0..2 {
            let field = self.fields.get(guess)?;
            let end = at + field.key.len();
            if field.plain
                && bytes.get(end) == Some(&self.key_end.sign)
                && bytes.get(at..end) == Some(field.key.as_bytes())
            {
                return Some((guess, end + 1));
            }
            guess = field.follow;
        }
        None
    }

    /// The field of that name. `previous`: the one before it in the object.
    pub(crate) fn find(&mut self, node: usize, previous: usize, key: &str) -> usize {
        let found = match self.nodes[node].by_key.get(key) {
            Some(found) => *found,
            None if self.fields.len() < self.fields_max => self.insert(node, key),
            None => {
                self.fields[TRANSIENT] = self.field(key, node);
                return TRANSIENT;
            }
        };
        if previous == NONE {
            self.nodes[node].first = found;
        } else {
            self.fields[previous].follow = found;
        }
        found
    }

    fn insert(&mut self, node: usize, key: &str) -> usize {
        let field = self.field(key, node);
        self.fields.push(field);
        let id = self.fields.len() - 1;
        self.nodes[node].by_key.insert(key.into(), id);
        id
    }

    /// Whether `_rest` may have the field's value already, from earlier in the row.
    pub(crate) fn may_repeat(&self, field: usize) -> bool {
        field == TRANSIENT || self.fields[field].target == Target::Rest
    }

    /// The field itself, or a lasting one in place of the transient one; `None` if there are too many by far.
    pub(crate) fn keep(&mut self, field: usize) -> Option<usize> {
        if field != TRANSIENT {
            return Some(field);
        }
        if self.fields.len() >= 2 * self.fields_max {
            return None;
        }
        let (node, key) = (self.fields[TRANSIENT].node, self.fields[TRANSIENT].key.clone());
        Some(self.insert(node, &key))
    }

    /// The object that is a field's value; `None` if there are too many fields.
    pub(crate) fn child(&mut self, field: usize) -> Option<usize> {
        if self.fields[field].child == NONE {
            let field = self.keep(field)?;
            let depth = self.nodes[self.fields[field].node].depth + 1;
            self.nodes.push(Node { field, depth, first: NONE, by_key: HashMap::new() });
            self.fields[field].child = self.nodes.len() - 1;
            return Some(self.nodes.len() - 1);
        }
        Some(self.fields[field].child)
    }

    /// The objects a node is in, from the document's member on, and itself.
    pub(crate) fn chain(&self, mut node: usize) -> Vec<usize> {
        let mut chain = vec![];
        while self.nodes[node].field != NONE {
            chain.push(node);
            node = self.fields[self.nodes[node].field].node;
        }
        chain.reverse();
        chain
    }

    /// The keys from the document down to the field, with a sign between.
    pub(crate) fn path(&self, field: usize, sign: &str) -> String {
        let field = &self.fields[field];
        let parents = self.chain(field.node);
        let mut path = String::new();
        for node in parents {
            path.push_str(&self.fields[self.nodes[node].field].key);
            path.push_str(sign);
        }
        path.push_str(&field.key);
        path
    }

    /// The folded name of the field's column.
    pub(crate) fn folded_name(&self, field: usize) -> String {
        folded(&self.path(field, "_"))
    }
}
