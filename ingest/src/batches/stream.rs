//! Arrow's IPC format, stream or file, from bytes cut anywhere. A file is a stream with a mark before it and a table of
//! contents behind it, which is not needed to read it from its beginning.
//!
//! Messages are framed and measured here, before arrow reads them: they come from strangers, and their lengths are what
//! arrow would allocate.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::{Message, root_as_message};
use tidemill_udfs::types::ValueError;

/// A message with its batch, bytes: it is in memory as a whole. Writers make batches of some megabytes.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// What the compressed parts of a message may unpack to, bytes.
const UNPACKED_BYTES_MAX: u64 = 1 << 30;

/// The mark at both ends of a file.
const FILE_MARK: &[u8; 6] = b"ARROW1";
/// The first mark and what fills it up.
const FILE_BEGIN: usize = 8;
/// Before a message's length.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// The end of a stream.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Reads batches from bytes as they come.
pub struct ArrowReader {
    input: Vec<u8>,
    decoder: StreamDecoder,
    state: State,
    is_file: bool,
    ready: VecDeque<RecordBatch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    /// A file's mark may be filled up to any multiple of eight.
    Padding,
    Messages,
    /// The end was said; of a file its table of contents follows.
    Ended,
}

impl Default for ArrowReader {
    fn default() -> Self {
        let (input, decoder, ready) = (vec![], StreamDecoder::new(), VecDeque::new());
        Self { input, decoder, state: State::Begin, is_file: false, ready }
    }
}

impl ArrowReader {
    /// Takes bytes as they come.
    ///
    /// # Errors
    /// 22P04 for what is no Arrow stream, 54000 for a message that is too large.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ValueError> {
        self.input.extend_from_slice(bytes);
        if self.state == State::Begin && self.input.len() >= FILE_BEGIN {
            self.is_file = self.input.starts_with(FILE_MARK);
            self.state = if self.is_file { State::Padding } else { State::Messages };
            self.input.drain(..if self.is_file { FILE_BEGIN } else { 0 });
        }
        if self.state == State::Padding {
            let zeros = self.input.chunks_exact(8).take_while(|word| word.iter().all(|byte| *byte == 0)).count() * 8;
            self.input.drain(..zeros);
            if self.input.len() >= 8 {
                self.state = State::Messages;
            }
        }
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        while self.state == State::Messages {
            let Some(length) = self.message(&input[at..])? else { break };
            at += length;
        }
        input.drain(..at);
        if self.state == State::Ended {
            // Of what follows only the last mark counts.
            let kept = if self.is_file { FILE_MARK.len() } else { 0 };
            input.drain(..input.len().saturating_sub(kept));
        }
        self.input = input;
        Ok(())
    }

    /// A batch, if there is one.
    pub fn take_batch(&mut self) -> Option<RecordBatch> {
        self.ready.pop_front()
    }

    /// The data is complete. Take the last batches after it.
    ///
    /// # Errors
    /// 22P04 if it is cut off.
    pub fn finish(&mut self) -> Result<(), ValueError> {
        if self.state == State::Messages && !self.is_file {
            // A stream may also just end between messages.
            self.feed(Buffer::from(END))?;
        }
        let whole = match self.state {
            State::Begin | State::Padding => false,
            State::Messages => !self.is_file && self.input.is_empty() && self.decoder.schema().is_some(),
            State::Ended => !self.is_file || self.input == FILE_MARK,
        };
        if whole { Ok(()) } else { Err(invalid("it is cut off")) }
    }

    /// The message at the beginning of the input: its length; `None` if it is not all here.
    fn message(&mut self, input: &[u8]) -> Result<Option<usize>, ValueError> {
        let word = |at: usize| input.get(at..at + 4).map(|bytes| <[u8; 4]>::try_from(bytes).expect("four bytes"));
        let Some(first) = word(0) else { return Ok(None) };
        // The first versions had no mark before the length.
        let (prefix, length) = if first == CONTINUATION {
            let Some(second) = word(4) else { return Ok(None) };
            (8, second)
        } else {
            (4, first)
        };
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 {
            self.state = State::Ended;
            self.feed(Buffer::from(END))?;
            return Ok(Some(prefix));
        }
        if length > MESSAGE_BYTES_MAX {
            // So large a head is text or noise.
            return Err(invalid("it has no message where one should begin"));
        }
        let Some(head) = input.get(prefix..prefix + length) else { return Ok(None) };
        let message = root_as_message(head).map_err(|error| invalid(&error.to_string()))?;
        let body = usize::try_from(message.bodyLength()).map_err(|_| invalid("a message has no length"))?;
        if body > MESSAGE_BYTES_MAX {
            return Err(too_large());
        }
        let end = prefix + length + body;
        let Some(whole) = input.get(..end) else { return Ok(None) };
        check_unpacked(&message, &whole[prefix + length..])?;
        self.feed(Buffer::from(whole))?;
        Ok(Some(end))
    }

    /// Lets arrow read a message. One without a body it reads when the next one comes.
    fn feed(&mut self, mut buffer: Buffer) -> Result<(), ValueError> {
        // arrow panics on types that it does not know, and on some lies.
        let decoder = AssertUnwindSafe(|| {
            let mut batches = vec![];
            while !buffer.is_empty() {
                batches.extend(self.decoder.decode(&mut buffer)?);
            }
            Ok::<_, arrow::error::ArrowError>(batches)
        });
        let batches = std::panic::catch_unwind(decoder).map_err(|_| invalid("it holds what its schema does not"))?;
        self.ready.extend(batches.map_err(|error| invalid(&error.to_string()))?);
        Ok(())
    }
}

/// Refuses compressed parts that say to be huge: so much memory would be taken for them.
fn check_unpacked(message: &Message<'_>, body: &[u8]) -> Result<(), ValueError> {
    let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    let Some(batch) = message.header_as_record_batch().or(dictionary) else { return Ok(()) };
    let (Some(_), Some(parts)) = (batch.compression(), batch.buffers()) else { return Ok(()) };
    let mut unpacked = 0_u64;
    for part in parts {
        if part.length() == 0 {
            continue;
        }
        let start = usize::try_from(part.offset()).ok();
        let length = start.and_then(|start| body.get(start..start.checked_add(8)?));
        let Some(length) = length.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()).map(i64::from_le_bytes) else {
            return Err(invalid("a part lies outside of its message"));
        };
        // -1: not compressed.
        unpacked = unpacked.saturating_add(u64::try_from(length).unwrap_or(0));
    }
    if unpacked > UNPACKED_BYTES_MAX { Err(too_large()) } else { Ok(()) }
}

fn invalid(detail: &str) -> ValueError {
    let mut error = ValueError::new("22P04", "the data is not an Arrow stream or file");
    error.detail = Some(detail.to_owned());
    error
}

fn too_large() -> ValueError {
    let mut error = ValueError::new("54000", "an Arrow batch is too large");
    let (packed, unpacked) = (MESSAGE_BYTES_MAX >> 20, UNPACKED_BYTES_MAX >> 20);
    error.detail = Some(format!("The limits are {packed} MB, and {unpacked} MB unpacked."));
    error.hint = Some("Write batches of fewer rows.".to_owned());
    error
}
