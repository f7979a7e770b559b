// postgres.js: tagged templates, pipelining, cursors, COPY, transactions.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import postgres from 'postgres';

const sql = postgres({ max: 1, onnotice: (notice) => console.log(notice.severity, notice.message) });
await sql`CREATE TABLE t (id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz, ok boolean, tags text[], doc jsonb, x float8)`;
await sql`CREATE TABLE IF NOT EXISTS t (id int)`;
const rows = [
    { id: 1, name: 'one', price: '9.99', at: new Date(Date.UTC(2024, 1, 29)), ok: true, x: 1.5 },
    { id: 2, name: null, price: null, at: null, ok: null, x: null },
];
const inserted = await sql`INSERT INTO t ${sql(rows)} RETURNING *`;
console.log(inserted.count, inserted.command, JSON.stringify(inserted), inserted.columns.map((column) => [column.name, column.type]));
await sql`UPDATE t SET tags = ${['a', 'b,c']}, doc = ${sql.json({ a: [1, null] })} WHERE id = 1`;
console.log(await sql`SELECT id, tags, doc FROM t WHERE id IN ${sql([1, 2])} ORDER BY id`);
console.log(await Promise.all([1, 2, 3].map((n) => sql`SELECT ${n}::int AS n`)));
for await (const [row] of sql`SELECT generate_series(1, 3) AS n`.cursor()) console.log(row);
for (const text of ['SELECT 1/0', 'SELECT * FROM nowhere', 'SELEC', 'INSERT INTO t (id) VALUES (1)']) {
    try {
        await sql.unsafe(text);
    } catch (error) {
        console.log(error.code, error.severity_local, error.message, error.position);
    }
}
await sql.begin(async (sql) => {
    await sql`INSERT INTO t (id) VALUES (3)`;
    await sql.savepoint(async (sql) => {
        await sql`INSERT INTO t (id) VALUES (4)`;
        throw new Error('back');
    }).catch((error) => console.log(error.message));
});
console.log(await sql`SELECT id FROM t ORDER BY id`.values());
await pipeline(Readable.from(['10\tten\n', '11\t\\N\n']), await sql`COPY t (id, name) FROM STDIN`.writable());
const out = [];
for await (const chunk of await sql`COPY (SELECT id, name FROM t ORDER BY id) TO STDOUT`.readable()) out.push(chunk.toString());
console.log(out.join(''));
console.log(await sql`SELECT * FROM t WHERE id = 1`.describe().then((found) => found.columns.map((column) => [column.name, column.type])));
console.log(await sql.unsafe('SELECT 1 AS a; SELECT 2 AS b'));
await sql.end();
