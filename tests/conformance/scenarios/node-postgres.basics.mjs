// node-postgres: types, prepared statements, errors, pools, transactions.
import pg from 'pg';

const client = new pg.Client();
await client.connect();
await client.query(`CREATE TABLE t (id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz, day date, ok boolean, raw bytea,
    tags text[], doc jsonb, key uuid, x float8, span interval, big bigint)`);
const inserted = await client.query('INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING *', [
    1, 'one', '9.99', new Date(Date.UTC(2024, 1, 29, 12)), '2024-02-29', true, Buffer.from([0, 255]), ['a', 'b,c', null], { a: [1, null] },
    '00000000-0000-0000-0000-000000000001', 1.5, '1 day 2 seconds', '1099511627776']);
console.log(inserted.command, inserted.rowCount, JSON.stringify(inserted.rows));
console.log(inserted.fields.map((field) => [field.name, field.dataTypeID, field.dataTypeModifier, field.columnID > 0]));
for (let n = 0; n < 3; n++) {
    console.log((await client.query({ name: 'by id', text: 'SELECT name FROM t WHERE id = $1', values: [n] })).rows);
}
console.log((await client.query({ text: 'SELECT id, name FROM t', rowMode: 'array' })).rows);
console.log((await client.query('SELECT 1 AS a; SELECT 2 AS b')).map((result) => result.rows));
console.log((await client.query('SELECT count(*), $1::text[] AS tags FROM t WHERE id = ANY($2::int[])', [['x', 'y"z'], [1, 2]])).rows);
for (const text of ['SELECT 1/0', 'SELECT * FROM nowhere', 'SELECT nothing FROM t', 'SELEC', 'INSERT INTO t (id) VALUES (1)', "SELECT 'a'::int"]) {
    try {
        await client.query(text);
    } catch (error) {
        console.log(error.code, error.severity, error.message, error.detail, error.position, error.table, error.constraint);
    }
}
await client.query('BEGIN');
await client.query('INSERT INTO t (id) VALUES (2)');
await client.query('ROLLBACK');
console.log((await client.query('SELECT count(*)::int AS n FROM t')).rows);
await client.end();
const pool = new pg.Pool({ max: 1 });
console.log((await Promise.all([1, 2, 3, 4].map((n) => pool.query('SELECT $1::int * 2 AS twice', [n])))).map((result) => result.rows[0].twice));
await pool.end();
