#!/usr/bin/env python3
"""Runs .slt files on PostgreSQL and fills in what it answers: the expectations of tests/sql are PostgreSQL's.

    tests/sql/oracle.py [--server HOST:PORT] [--user USER] [--check] FILE...

Every `query` and `statement` record is run in a database of its own per file; results, column types and SQLSTATEs are
rewritten in place. `--check` only reports differences. Records under `onlyif tidemill` are left alone; those under
`skipif tidemill` are run (they show what PostgreSQL does). In a file with the comment `# errors: text` an error's message,
detail and hint are filled in, not only its SQLSTATE. Python's standard library is all it needs.
"""
import argparse
import re
import socket
import struct
import sys

KINDS = {16: "B", 20: "I", 21: "I", 23: "I", 700: "R", 701: "R", 1700: "R",
         1082: "D", 1083: "D", 1114: "D", 1184: "D", 1186: "D"}


class Session:
    """A simple-protocol connection without a password."""

    def __init__(self, server, user, database):
        host, port = server.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.file = self.socket.makefile("rb")
        body = struct.pack(">i", 196608)
        for name, value in (("user", user), ("database", database), ("application_name", "tests")):
            body += name.encode() + b"\0" + value.encode() + b"\0"
        body += b"\0"
        self.socket.sendall(struct.pack(">i", len(body) + 4) + body)
        error = self.answer()[3]
        if error:
            raise SystemExit(f"cannot connect: {error}")

    def send(self, kind, body=b""):
        self.socket.sendall(kind + struct.pack(">i", len(body) + 4) + body)

    def query(self, sql, data=None):
        self.send(b"Q", sql.encode() + b"\0")
        return self.answer(data)

    def answer(self, data=None):
        """(type letters or None, rows, tag, error) of the last statement."""
        kinds, rows, tag, error = None, [], "", None
        fresh = True
        while True:
            head = self.file.read(5)
            if len(head) < 5:
                return kinds, rows, tag, error or {"C": "", "M": "connection closed"}
            kind, length = head[:1], struct.unpack(">i", head[1:])[0]
            body = self.file.read(length - 4)
            if kind in b"TdD" and fresh:
                kinds, rows, fresh = None, [], False
            if kind == b"T":
                kinds = describe(body)
            elif kind == b"D":
                rows.append(values(body))
            elif kind == b"d":
                kinds = "T"
                rows.append([show(body.decode().rstrip("\n"))])
            elif kind == b"C":
                if fresh:
                    kinds, rows = None, []
                tag, fresh = body[:-1].decode(), True
            elif kind == b"G":
                if data is None:
                    self.send(b"f", b"no data\0")
                else:
                    self.send(b"d", data.encode())
                    self.send(b"c")
            elif kind == b"E" and error is None:
                error = {f[:1].decode(): f[1:].decode() for f in body.split(b"\0") if f}
            elif kind == b"Z":
                return kinds, rows, tag, error


def describe(body):
    kinds, at = "", 2
    while at < len(body):
        at = body.index(b"\0", at) + 1
        kinds += KINDS.get(struct.unpack(">I", body[at + 6:at + 10])[0], "T")
        at += 18
    return kinds


def values(body):
    row, at = [], 2
    while at < len(body):
        size = struct.unpack(">i", body[at:at + 4])[0]
        at += 4
        if size < 0:
            row.append("NULL")
        else:
            row.append(show(body[at:at + size].decode()))
            at += size
    return row


def show(text):
    return text.replace("\n", "\\n") if text else "(empty)"


def complete(text, run):
    """The file with every record's expectation replaced by what `run(connection, sql, data)` answers."""
    lines, out, at = text.split("\n"), [], 0
    connection, keep = "default", False
    spelled = "# errors: text" in lines
    while at < len(lines):
        line = lines[at]
        words = line.split()
        if words[:1] == ["connection"]:
            connection = words[1]
        if words[:1] == ["onlyif"]:
            keep = words[1] == "tidemill"
        if words[:1] not in (["statement"], ["query"]):
            out.append(line)
            at += 1
            continue
        start, at = at, at + 1
        sql = []
        while at < len(lines) and lines[at].strip() and lines[at] != "----":
            sql.append(lines[at])
            at += 1
        tail = []
        if at < len(lines) and lines[at] == "----":
            while at < len(lines) and (lines[at].strip() or (lines[at - 1] == "----" and lines[start].startswith(
                    ("statement error", "query error")))):
                tail.append(lines[at])
                at += 1
        if keep:
            out += lines[start:at]
        else:
            out += record(line, "\n".join(sql), run, connection, spelled)
        connection, keep = "default", False
    return "\n".join(out)


def spell(error):
    text = f"{error['C']}: {error['M']}"
    text += "".join(f" {label}: {error[code]}" for code, label in (("D", "DETAIL"), ("H", "HINT")) if code in error)
    return "^" + re.sub(r"([\\.^$|?*+()\[\]{}])", r"\\\1", text).replace("\n", r"\n") + "$"


def record(head, sql, run, connection, spelled):
    words = head.split()
    text, data = sql, None
    if ";\n" in sql and sql.lstrip().lower().startswith("copy ") and "from stdin" in sql.lower():
        text, data = sql.split(";\n", 1)
        data += "\n"
    kinds, rows, tag, error = run(connection, text, data)
    if error and spelled:
        return [f"statement error {spell(error)}", sql]
    if error:
        return [f"statement error ({error['C']})" if words[:2] != ["statement", "error"] or "(" in head or len(words) == 2
                else head, sql]
    if words[0] == "statement":
        keep = head if words[1:2] == ["count"] or words[1:2] == ["ok"] else "statement ok"
        if words[1:2] == ["count"]:
            keep = f"statement count {tag.rsplit(' ', 1)[-1]}"
        return [keep, sql]
    if kinds is None:
        return ["statement ok", sql]
    sort = [word for word in words[2:] if word in ("rowsort", "valuesort", "nosort")]
    if "rowsort" in sort:
        rows.sort()
    return [" ".join(["query", kinds, *sort]), sql, "----", *[" ".join(row).rstrip() for row in rows]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1:5432")
    parser.add_argument("--user", default="postgres")
    parser.add_argument("--database", default="postgres", help="to create others from")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    admin = Session(arguments.server, arguments.user, arguments.database)
    different = 0
    for number, path in enumerate(arguments.files):
        database = f"oracle_{number}"
        admin.query(f"DROP DATABASE IF EXISTS {database}")
        admin.query(f"CREATE DATABASE {database}")
        sessions = {}

        def run(connection, sql, data):
            if connection not in sessions:
                sessions[connection] = Session(arguments.server, arguments.user, database)
            return sessions[connection].query(sql, data)

        with open(path, encoding="utf-8") as file:
            before = file.read()
        after = complete(before, run)
        for session in sessions.values():
            session.socket.close()
        if before != after:
            different += 1
            print(f"{path}: {'differs from' if arguments.check else 'now as'} PostgreSQL", file=sys.stderr)
            if not arguments.check:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(after)
    sys.exit(1 if arguments.check and different else 0)


if __name__ == "__main__":
    main()
