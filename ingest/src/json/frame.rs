//! Where documents begin and end in a stream of bytes that is cut anywhere.

use memchr::memchr;

use crate::outcome::Position;

/// How documents follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonFormat {
    /// The first line decides: if it is a whole object there is one on each line, else `Documents`.
    #[default]
    Auto,
    /// One object on each line. What is wrong with a line ends with it.
    Lines,
    /// Objects, and arrays of objects, behind each other, with line ends anywhere between tokens. What is wrong with an object
    /// ends with its last brace, as far as braces can be told.
    Documents,
}

/// Bytes between documents, and those of a document that is not complete.
pub(super) struct Framer {
    format: JsonFormat,
    /// The document so far, from earlier chunks.
    pending: Vec<u8>,
    /// Its length; more than `pending` has if it is too long.
    pending_bytes: u64,
    row_bytes_max: usize,
    /// Where the next byte is, and where the pending document began.
    offset: u64,
    line: u64,
    start: Position,
    state: State,
}

/// The structure around the next byte, of `Documents`.
#[derive(Debug, Default)]
struct State {
    /// In the array around documents.
    in_array: bool,
    /// In a document.
    inside: bool,
    /// Brackets of the document that are open: true, a brace; and how many of them are braces.
    open: Vec<bool>,
    braces: usize,
    /// Further ones, of either kind, inside of those.
    deeper: usize,
    in_string: bool,
    escaped: bool,
}

/// A document's bytes.
pub(super) struct Frame<'a> {
    pub(super) raw: &'a [u8],
    /// Its length; more than `raw` has if it is too long.
    pub(super) bytes: u64,
    pub(super) offset: u64,
    pub(super) line: u64,
    /// Behind it.
    pub(super) end: Position,
}

/// Brackets whose kind is remembered: a document with more within each other is none, and needs no more memory for that.
const OPEN_MAX: usize = 10_000;

/// A length as an offset.
fn wide(length: usize) -> u64 {
    u64::try_from(length).expect("lengths have at most 64 bits")
}

impl Framer {
    /// `start`: where the first byte that will be pushed is.
    pub(super) fn new(format: JsonFormat, row_bytes_max: usize, start: Position) -> Self {
        Self {
            format,
            pending: vec![],
            pending_bytes: 0,
            row_bytes_max,
            offset: start.offset,
            line: start.line,
            start,
            state: State { in_array: start.in_array, ..State::default() },
        }
    }

    pub(super) fn format(&self) -> JsonFormat {
        self.format
    }

    /// Behind all documents that were given.
    pub(super) fn position(&self) -> Position {
        if self.pending_bytes > 0 { self.start } else { self.here(self.offset) }
    }

    /// A place in the line at hand.
    fn here(&self, offset: u64) -> Position {
        Position { offset, line: self.line, in_array: self.state.in_array }
    }

    /// Gives the documents that end in the chunk.
    pub(super) fn push(&mut self, mut chunk: &[u8], take: &mut impl FnMut(Frame<'_>)) {
        if self.format == JsonFormat::Auto {
            let Some(decided) = self.decide(chunk, false) else { return };
            let kept = std::mem::take(&mut self.pending);
            self.pending_bytes = 0;
            self.format = decided;
            self.push(&kept, take);
            chunk = &chunk[chunk.len()..];
        }
        match self.format {
            JsonFormat::Lines => self.push_lines(chunk, take),
            _ => self.push_documents(chunk, take),
        }
    }

    /// The data is complete: gives what is left.
    pub(super) fn finish(&mut self, take: &mut impl FnMut(Frame<'_>)) {
        if self.format == JsonFormat::Auto {
            self.format = self.decide(&[], true).unwrap_or(JsonFormat::Documents);
            let kept = std::mem::take(&mut self.pending);
            self.pending_bytes = 0;
            self.push(&kept, take);
        }
        self.end_pending(self.here(self.offset), take);
    }

    /// Adds to the pending document, as far as it is kept.
    fn keep(&mut self, bytes: &[u8]) {
        // One more than the limit tells that there are more.
        let room = (self.row_bytes_max + 1).saturating_sub(self.pending.len());
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.pending_bytes += wide(bytes.len());
    }

    fn end_pending(&mut self, end: Position, take: &mut impl FnMut(Frame<'_>)) {
        let pending = std::mem::take(&mut self.pending);
        let Position { offset, line, .. } = self.start;
        if !is_blank(&pending) {
            take(Frame { raw: &pending, bytes: self.pending_bytes, offset, line, end });
        }
        self.pending = pending;
        self.pending.clear();
        // A long document must not keep its memory for the rest of the data.
        self.pending.shrink_to(1024 * 1024);
        self.pending_bytes = 0;
    }

    fn push_lines(&mut self, chunk: &[u8], take: &mut impl FnMut(Frame<'_>)) {
        let mut rest = chunk;
        while let Some(length) = memchr(b'\n', rest) {
            let (line, after) = (&rest[..length], &rest[length + 1..]);
            let end = Position { line: self.line + 1, ..self.here(self.offset + wide(length + 1)) };
            if self.pending_bytes > 0 {
                self.keep(line);
                self.end_pending(end, take);
            } else if !is_blank(line) {
                let raw = &line[..line.len().min(self.row_bytes_max + 1)];
                take(Frame { raw, bytes: wide(length), offset: self.offset, line: self.line, end });
            }
            rest = after;
            (self.offset, self.line) = (end.offset, end.line);
        }
        if !rest.is_empty() {
            if self.pending_bytes == 0 {
                self.start = self.here(self.offset);
            }
            self.keep(rest);
            self.offset += wide(rest.len());
        }
    }

    fn push_documents(&mut self, chunk: &[u8], take: &mut impl FnMut(Frame<'_>)) {
        let base = self.offset;
        // Where the document began in this chunk.
        let mut from = 0;
        let mut at = 0;
        while at < chunk.len() {
            if !self.state.inside {
                self.between(chunk[at], base + wide(at));
                from = at;
                at += usize::from(!self.state.inside);
                continue;
            }
            at = self.state.step(chunk, at, &mut self.line);
            if self.state.inside {
                continue;
            }
            let end = self.here(base + wide(at));
            if self.pending_bytes > 0 {
                self.keep(&chunk[from..at]);
                self.end_pending(end, take);
            } else {
                let Position { offset, line, .. } = self.start;
                let raw = &chunk[from..at];
                let kept = &raw[..raw.len().min(self.row_bytes_max + 1)];
                take(Frame { raw: kept, bytes: wide(raw.len()), offset, line, end });
            }
        }
        if self.state.inside {
            self.keep(&chunk[from..]);
        }
        self.offset = base + wide(chunk.len());
    }

    /// A byte that is in no document.
    fn between(&mut self, byte: u8, offset: u64) {
        match byte {
            b'\n' => self.line += 1,
            b' ' | b'\t' | b'\r' | b',' => {}
            b'[' if !self.state.in_array => self.state.in_array = true,
            b']' if self.state.in_array => self.state.in_array = false,
            _ => {
                self.start = self.here(offset);
                self.state.inside = true;
            }
        }
    }

    /// Looks at the first line, which is kept until it is complete.
    fn decide(&mut self, chunk: &[u8], is_last: bool) -> Option<JsonFormat> {
        if self.pending.is_empty() && chunk.iter().all(u8::is_ascii_whitespace) {
            // Nothing to keep, however much of it there is.
            self.push_lines(chunk, &mut |_| {});
            self.pending.clear();
            self.pending_bytes = 0;
            return None;
        }
        let seen = self.pending.len();
        self.pending.extend_from_slice(chunk);
        let after_mark = if self.pending.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let blanks = self.pending[after_mark..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let start = after_mark + blanks;
        match self.pending.get(start) {
            Some(b'{') => {}
            // The beginning of a byte order mark.
            Some(0xef | 0xbb) | None if !is_last && start < 3 => return None,
            _ => return Some(JsonFormat::Documents),
        }
        match memchr(b'\n', &self.pending[start.max(seen)..]) {
            // The first line, if it closes what it opens, is a document by itself.
            Some(length) => {
                let line = &self.pending[start..start.max(seen) + length];
                Some(if closes(line) { JsonFormat::Lines } else { JsonFormat::Documents })
            }
            None if is_last || self.pending.len() > self.row_bytes_max => Some(JsonFormat::Documents),
            None => None,
        }
    }
}

impl State {
    /// Goes on in a document from `at`: to its end, which is not `inside` any more, or the chunk's.
    fn step(&mut self, chunk: &[u8], mut at: usize, line: &mut u64) -> usize {
        while let Some(byte) = chunk.get(at).copied() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                } else if byte == b'\\' {
                    self.escaped = true;
                } else if byte == b'"' {
                    self.in_string = false;
                } else {
                    *line += u64::from(byte == b'\n');
                    let skip = memchr::memchr3(b'"', b'\\', b'\n', &chunk[at + 1..]);
                    at += 1 + skip.unwrap_or(chunk.len() - at - 1);
                    continue;
                }
                at += 1;
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.open(byte == b'{'),
                b'}' | b']' => {
                    let is_brace = byte == b'}';
                    // The end of the array around the document.
                    if !self.close(is_brace) && !is_brace && self.in_array {
                        return self.end(at);
                    }
                    if self.open.is_empty() {
                        return self.end(at + 1);
                    }
                }
                b',' if self.open.is_empty() && self.in_array => return self.end(at),
                b'\n' => {
                    *line += 1;
                    if self.open.is_empty() {
                        return self.end(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        at
    }

    fn open(&mut self, is_brace: bool) {
        if self.open.len() < OPEN_MAX {
            self.open.push(is_brace);
            self.braces += usize::from(is_brace);
        } else {
            self.deeper += 1;
        }
    }

    /// Closes the innermost bracket of that kind, and what was not closed inside. False if there is none.
    fn close(&mut self, is_brace: bool) -> bool {
        if self.deeper > 0 {
            self.deeper -= 1;
            return true;
        }
        let of_kind = if is_brace { self.braces } else { self.open.len() - self.braces };
        if of_kind == 0 {
            return false;
        }
        while let Some(found) = self.open.pop() {
            self.braces -= usize::from(found);
            if found == is_brace {
                break;
            }
        }
        true
    }

    fn end(&mut self, at: usize) -> usize {
        (self.inside, self.in_string, self.escaped) = (false, false, false);
        self.open.clear();
        (self.braces, self.deeper) = (0, 0);
        at
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    // Lines begin with a brace nearly always.
    bytes.first() != Some(&b'{') && bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// Whether all brackets and strings that are opened are closed.
fn closes(line: &[u8]) -> bool {
    let mut state = State { inside: true, ..State::default() };
    let mut lines = 0;
    let end = state.step(line, 0, &mut lines);
    !state.inside && is_blank(&line[end..])
}
