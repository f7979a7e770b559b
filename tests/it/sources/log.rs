//! A broker with one topic of one partition that keeps what librdkafka's mock does not: markers of transactions, which of them were
//! aborted, open ones, and a log whose old end was deleted. It speaks as much of Kafka's protocol (kafka.apache.org/protocol) as
//! a reader of partitions needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Attributes of a batch: of a transaction, and a marker of its end.
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

const NO_ERROR: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNSUPPORTED_VERSION: i16 = 35;

/// Numbers and versions of the requests that are understood; that of Produce only says that the batches are of today's form.
const REQUESTS: &[(i16, i16)] = &[
    (PRODUCE, 3),
    (FETCH, 4),
    (LIST_OFFSETS, 2),
    (METADATA, 1),
    (OFFSET_COMMIT, 2),
    (FIND_COORDINATOR, 0),
    (VERSIONS, 0),
];
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const OFFSET_COMMIT: i16 = 8;
const FIND_COORDINATOR: i16 = 10;
const VERSIONS: i16 = 18;

pub(super) struct LogBroker {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    topic: String,
    /// The oldest offset that is there.
    begin: i64,
    batches: Vec<Batch>,
    /// First offsets of transactions without an end, by producer.
    open: Vec<(i64, i64)>,
    /// Producer, first offset and marker's offset of aborted transactions.
    aborted: Vec<(i64, i64, i64)>,
}

struct Batch {
    first: i64,
    /// The offset behind it.
    next: i64,
    bytes: Vec<u8>,
}

impl LogBroker {
    pub(super) fn with_topic(topic: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let log = Arc::new(Mutex::new(Log { topic: topic.to_owned(), ..Log::default() }));
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&shared);
                std::thread::spawn(move || serve(&client, address, &log));
            }
        });
        Self { address, log }
    }

    pub(super) fn brokers(&self) -> String {
        self.address.to_string()
    }

    /// Messages outside transactions.
    pub(super) fn send(&self, values: &[&str]) {
        self.log.lock().append(-1, 0, values.iter().map(|value| (None, value.as_bytes())));
    }

    /// Messages of the producer's transaction, which begins with the first of them.
    pub(super) fn send_in_transaction(&self, producer: i64, values: &[&str]) {
        let mut log = self.log.lock();
        let first = log.next();
        if log.open.iter().all(|(open, _)| *open != producer) {
            log.open.push((producer, first));
        }
        log.append(producer, TRANSACTIONAL, values.iter().map(|value| (None, value.as_bytes())));
    }

    pub(super) fn commit(&self, producer: i64) {
        self.log.lock().end(producer, true);
    }

    pub(super) fn abort(&self, producer: i64) {
        self.log.lock().end(producer, false);
    }

    /// Deletes what is before an offset, which is the first of a batch or the end.
    pub(super) fn delete_before(&self, offset: i64) {
        let mut log = self.log.lock();
        log.begin = offset;
        log.batches.retain(|batch| batch.first >= offset);
    }

    /// The offset behind all.
    pub(super) fn end(&self) -> i64 {
        self.log.lock().next()
    }
}

impl Log {
    fn next(&self) -> i64 {
        self.batches.last().map_or(self.begin, |batch| batch.next)
    }

    /// Where what has been decided ends.
    fn stable(&self) -> i64 {
        self.open.iter().map(|(_, first)| *first).min().unwrap_or(self.next())
    }

    fn append<'v>(
        &mut self,
        producer: i64,
        attributes: i16,
        records: impl Iterator<Item = (Option<&'v [u8]>, &'v [u8])>,
    ) {
        let (first, mut body, mut count) = (self.next(), Bytes::default(), 0);
        for (key, value) in records {
            let mut record = Bytes::default();
            record.i8(0).varint(0).varint(count);
            record.varint(key.map_or(-1, |key| key.len() as i64)).raw(key.unwrap_or_default());
            record.varint(value.len() as i64).raw(value).varint(0);
            body.varint(record.0.len() as i64).raw(&record.0);
            count += 1;
        }
        let mut checked = Bytes::default();
        checked.i16(attributes).i32(count as i32 - 1).i64(1_767_225_600_000).i64(1_767_225_600_000);
        checked.i64(producer).i16(0).i32(-1).i32(count as i32).raw(&body.0);
        let mut batch = Bytes::default();
        // Behind the length: the leader's epoch, the version, a checksum that nobody asked for, and what it is of.
        batch.i64(first).i32(4 + 1 + 4 + checked.0.len() as i32).i32(0).i8(2).i32(0).raw(&checked.0);
        self.batches.push(Batch { first, next: first + count, bytes: batch.0 });
    }

    fn end(&mut self, producer: i64, is_committed: bool) {
        let open = self.open.iter().position(|(open, _)| *open == producer).expect("an open transaction");
        let (_, first) = self.open.remove(open);
        if !is_committed {
            self.aborted.push((producer, first, self.next()));
        }
        let key = [0, 0, 0, u8::from(is_committed)];
        let value = [0; 6];
        self.append(producer, TRANSACTIONAL | CONTROL, std::iter::once((Some(&key[..]), &value[..])));
    }

    /// What a reader of committed messages gets from an offset on.
    fn fetch(&self, from: i64, answer: &mut Bytes) {
        let stable = self.stable();
        if from < self.begin || from > self.next() {
            answer.i16(OFFSET_OUT_OF_RANGE).i64(-1).i64(-1).i32(0).i32(0);
            return;
        }
        let given: Vec<&Batch> =
            self.batches.iter().filter(|batch| batch.next > from && batch.next <= stable).collect();
        let up_to = given.last().map_or(from, |batch| batch.next);
        let of_them = self.aborted.iter().filter(|(_, first, marker)| *marker >= from && *first < up_to);
        let aborted: Vec<_> = of_them.collect();
        answer.i16(NO_ERROR).i64(self.next()).i64(stable).i32(aborted.len() as i32);
        for (producer, first, _) in aborted {
            answer.i64(*producer).i64(*first);
        }
        answer.i32(given.iter().map(|batch| batch.bytes.len()).sum::<usize>() as i32);
        for batch in given {
            answer.raw(&batch.bytes);
        }
    }
}

fn serve(mut client: &TcpStream, address: SocketAddr, log: &Mutex<Log>) {
    loop {
        let mut length = [0; 4];
        if client.read_exact(&mut length).is_err() {
            return;
        }
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        if client.read_exact(&mut request).is_err() {
            return;
        }
        let mut request = Request(&request);
        let (kind, version, number) = (request.i16(), request.i16(), request.i32());
        request.text();
        let mut answer = Bytes::default();
        answer.i32(number);
        respond(kind, version, &mut request, address, log, &mut answer);
        let mut framed = Bytes::default();
        framed.i32(answer.0.len() as i32).raw(&answer.0);
        if client.write_all(&framed.0).is_err() {
            return;
        }
    }
}

fn respond(
    kind: i16,
    version: i16,
    request: &mut Request<'_>,
    address: SocketAddr,
    log: &Mutex<Log>,
    answer: &mut Bytes,
) {
    match kind {
        VERSIONS => {
            answer.i16(if version == 0 { NO_ERROR } else { UNSUPPORTED_VERSION }).i32(REQUESTS.len() as i32);
            for (kind, version) in REQUESTS {
                answer.i16(*kind).i16(*version).i16(*version);
            }
        }
        METADATA => {
            let host = address.ip().to_string();
            answer.i32(1).i32(1).text(&host).i32(address.port().into()).i16(-1).i32(1);
            answer.i32(1).i16(NO_ERROR).text(&log.lock().topic).i8(0);
            answer.i32(1).i16(NO_ERROR).i32(0).i32(1).i32(1).i32(1).i32(1).i32(1);
        }
        FIND_COORDINATOR => {
            answer.i16(NO_ERROR).i32(1).text(&address.ip().to_string()).i32(address.port().into());
        }
        LIST_OFFSETS => {
            request.i32();
            request.i8();
            answer.i32(0);
            request.topics(answer, |request, answer| {
                let partition = request.i32();
                let log = log.lock();
                let offset = if request.i64() == -2 { log.begin } else { log.stable() };
                answer.i32(partition).i16(NO_ERROR).i64(-1).i64(offset);
            });
        }
        FETCH => {
            request.i32();
            let patience = Duration::from_millis(u64::try_from(request.i32()).unwrap_or(0));
            request.i32();
            request.i32();
            assert_eq!(request.i8(), 1, "read_committed");
            let asked = Request(request.0);
            let begin = Instant::now();
            loop {
                let mut found = Bytes::default();
                let (mut request, mut rows) = (Request(asked.0), false);
                found.i32(0);
                request.topics(&mut found, |request, found| {
                    let (partition, from, _) = (request.i32(), request.i64(), request.i32());
                    let log = log.lock();
                    rows |= from < log.stable() || from > log.next();
                    found.i32(partition);
                    log.fetch(from, found);
                });
                if rows || begin.elapsed() >= patience {
                    answer.raw(&found.0);
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        OFFSET_COMMIT => {
            request.text();
            request.i32();
            request.text();
            request.i64();
            request.topics(answer, |request, answer| {
                let partition = request.i32();
                request.i64();
                request.text();
                answer.i32(partition).i16(NO_ERROR);
            });
        }
        other => panic!("request {other} was not offered"),
    }
}

/// What is left of a request.
struct Request<'b>(&'b [u8]);

impl<'b> Request<'b> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk().expect("a whole request");
        self.0 = rest;
        *head
    }

    fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.take())
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    fn text(&mut self) -> &'b [u8] {
        let length = usize::try_from(self.i16()).unwrap_or(0);
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }

    /// Answers for each partition of each topic.
    fn topics(&mut self, answer: &mut Bytes, mut each: impl FnMut(&mut Self, &mut Bytes)) {
        let topics = self.i32();
        answer.i32(topics);
        for _ in 0..topics {
            let name = self.text();
            let partitions = self.i32();
            answer.i16(name.len() as i16).raw(name).i32(partitions);
            for _ in 0..partitions {
                each(self, answer);
            }
        }
    }
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn i8(&mut self, value: i8) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn i16(&mut self, value: i16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.i16(text.len() as i16).raw(text.as_bytes())
    }

    /// Zigzag, seven bits a byte.
    fn varint(&mut self, value: i64) -> &mut Self {
        let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while left >= 0x80 {
            self.0.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        self.0.push(left as u8);
        self
    }
}
