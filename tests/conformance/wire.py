"""What a client and a server say to each other, recorded by a proxy between them and read as statements and their results."""
import re
import socket
import struct
import threading
import time

SSL_REQUEST, CANCEL_REQUEST, GSS_REQUEST = 80877103, 80877102, 80877104


class Proxy:
    """Passes connections on to a server and keeps what each says. `address` is where clients connect."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = socket.create_connection(self.target)
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = client.makefile("rb", buffering=0)
        while True:
            length = head.read(4)
            if not length or len(length) < 4:
                client.close()
                server.close()
                return
            size = struct.unpack(">i", length)[0]
            body = b""
            while len(body) < size - 4:
                body += head.read(size - 4 - len(body))
            code = struct.unpack(">i", body[:4])[0]
            if code in (SSL_REQUEST, GSS_REQUEST):
                # What is encrypted could not be read.
                client.sendall(b"N")
                continue
            server.sendall(length + body)
            break
        if code == CANCEL_REQUEST:
            server.close()
            client.close()
            return
        connection = Connection()
        self.connections.append(connection)
        threads = [threading.Thread(target=self.pump, args=pair, daemon=True) for pair in (
            (client, server, connection.from_client), (server, client, connection.from_server))]
        for thread in threads:
            thread.start()

    @staticmethod
    def pump(source, sink, keep):
        try:
            while data := source.recv(1 << 16):
                keep.append(data)
                sink.sendall(data)
        except OSError:
            pass
        for side in (source, sink):
            try:
                side.shutdown(socket.SHUT_RDWR if side is source else socket.SHUT_WR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


class Connection:
    """Both directions of a connection after its first message."""

    def __init__(self):
        self.from_client, self.from_server = [], []

    def count(self):
        """How many statements were sent."""
        return sum(kind in "QE" for kind, _ in messages(b"".join(self.from_client)))

    def statements(self):
        return Reader(messages(b"".join(self.from_client)), messages(b"".join(self.from_server))).read()


def messages(data):
    """(type, body) of every whole message."""
    at, found = 0, []
    while at + 5 <= len(data):
        size = struct.unpack(">i", data[at + 1:at + 5])[0]
        if at + 1 + size > len(data):
            break
        found.append((data[at:at + 1].decode("latin-1"), data[at + 5:at + 1 + size]))
        at += 1 + size
    return found


def text(body):
    return body.decode("utf-8", "backslashreplace")


class Result:
    """What a server answered to one statement."""

    def __init__(self, sql, how):
        self.sql, self.how = sql, how
        self.parameters, self.columns, self.rows, self.tag = None, None, [], None
        self.error, self.notices, self.status, self.copy = None, [], None, b""


class Reader:
    """Assigns answers to the messages that asked for them: both come in the same order."""

    def __init__(self, asked, answered):
        self.asked, self.answers = asked, iter(answered)
        self.next = next(self.answers, None)
        self.prepared, self.portals = {}, {}
        self.results, self.failed, self.copying = [], False, False

    def take(self):
        answer, self.next = self.next, next(self.answers, None)
        return answer

    def read(self):
        # The end of the startup.
        while self.next and self.next[0] != "Z":
            self.take()
        self.take()
        for kind, body in self.asked:
            if kind in "pX":
                continue
            if kind in "cf":
                self.copying = False
            elif kind == "S" and self.copying:
                # Not answered while the server waits for data.
                continue
            if kind == "Q":
                self.simple(text(body[:-1]))
            elif kind == "S":
                self.sync()
            elif self.failed:
                continue
            elif kind == "P":
                name, sql, _ = body.split(b"\0", 2)
                self.prepared[name] = Result(text(sql), "extended")
                self.until("1", self.prepared[name])
            elif kind == "B":
                portal, name, _ = body.split(b"\0", 2)
                known = self.prepared.get(name) or Result("?", "extended")
                result = Result(known.sql, known.how)
                result.parameters, result.columns = known.parameters, known.columns
                self.portals[portal] = result
                self.until("2", result)
            elif kind == "D":
                which = self.prepared if body[:1] == b"S" else self.portals
                self.describe(which.get(body[1:-1]) or Result("?", "extended"))
            elif kind == "E":
                known = self.portals.get(body.split(b"\0", 1)[0]) or Result("?", "extended")
                result = Result(known.sql, known.how)
                result.parameters, result.columns = known.parameters, known.columns
                self.execute(result)
            elif kind == "C":
                self.until("3", Result("", "close"))
        return self.results

    def asynchronous(self, result, answer):
        """True if it belongs to no message."""
        if answer[0] == "N":
            result.notices.append(fields(answer[1]))
        return answer[0] in "NSA"

    def until(self, wanted, result):
        while answer := self.take():
            if answer[0] == wanted:
                return
            if answer[0] == "E":
                result.error = fields(answer[1])
                self.results.append(result)
                self.failed = True
                return
            if not self.asynchronous(result, answer):
                raise ValueError(f"{answer[0]} where {wanted} was due, for {result.sql}")

    def describe(self, result):
        while answer := self.take():
            if answer[0] == "t":
                count = struct.unpack(">h", answer[1][:2])[0]
                result.parameters = list(struct.unpack(f">{count}I", answer[1][2:]))
            elif answer[0] == "T":
                result.columns = columns(answer[1])
                return
            elif answer[0] == "n":
                return
            elif answer[0] == "E":
                result.error = fields(answer[1])
                self.results.append(result)
                self.failed = True
                return
            elif not self.asynchronous(result, answer):
                raise ValueError(f"{answer[0]} as a description of {result.sql}")

    def answer(self, result, answer):
        """True at the end of a statement."""
        kind, body = answer
        if kind == "T":
            result.columns = columns(body)
        elif kind == "D":
            result.rows.append(row(body))
        elif kind in "GHW":
            result.columns = f"copy {kind}"
            self.copying = kind == "G"
        elif kind == "d":
            result.copy += body
        elif kind == "c":
            pass
        elif kind == "C":
            result.tag = text(body[:-1])
            return True
        elif kind == "I":
            result.tag = "(empty)"
            return True
        elif kind == "s":
            result.tag = "(suspended)"
            return True
        elif kind == "E":
            result.error = fields(body)
            self.failed = True
            return True
        elif not self.asynchronous(result, answer):
            raise ValueError(f"{kind} in the answer to {result.sql}")
        return False

    def execute(self, result):
        self.results.append(result)
        while answer := self.take():
            if self.answer(result, answer):
                return

    def simple(self, sql):
        result = Result(sql, "simple")
        self.results.append(result)
        while answer := self.take():
            if answer[0] == "Z":
                # The last statement's.
                if result.tag is None and result.error is None and len(self.results) > 1:
                    self.results.pop()
                self.results[-1].status = text(answer[1])
                self.failed = False
                return
            if self.answer(result, answer):
                result = Result(sql, "simple")
                self.results.append(result)

    def sync(self):
        while answer := self.take():
            if answer[0] == "Z":
                if self.results:
                    self.results[-1].status = text(answer[1])
                break
            if answer[0] == "E":
                self.results.append(Result("(sync)", "extended"))
                self.results[-1].error = fields(answer[1])
        self.failed = False


def fields(body):
    return {part[:1].decode(): text(part[1:]) for part in body.split(b"\0") if part}


def columns(body):
    """[(name, type oid, type size, typmod, format, is a table's column)]"""
    found, at = [], 2
    while at < len(body):
        end = body.index(b"\0", at)
        table, _, kind, size, typmod, form = struct.unpack(">IhIhih", body[end + 1:end + 19])
        found.append((text(body[at:end]), kind, size, typmod, form, table != 0))
        at = end + 19
    return found


def row(body):
    values, at = [], 2
    while at < len(body):
        size = struct.unpack(">i", body[at:at + 4])[0]
        at += 4
        values.append(None if size < 0 else body[at:at + size])
        at += max(size, 0)
    return values


# Oids of what users make begin at 16384 in both, and are others.
OID = re.compile(r"\b(1[6-9]\d{3}|[2-9]\d{4}|[1-9]\d{5,9})\b")


def shape(sql):
    """The statement with such oids, addresses and the present left out, to find it in the other recording."""
    # SQLAlchemy and Django name cursors by addresses too.
    sql = re.sub(r"0x[0-9a-f]{6,}|\bc_[0-9a-f]{8,}_\d+|_curs_\d+_", "<address>", sql)
    sql = OID.sub("<oid>", re.sub(rf"{time.gmtime().tm_year}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", "<now>", sql))
    return re.sub(r"\s+", " ", sql).strip()
