// node-postgres: text results, parameters, pool, errors, COPY-free basics; PGHOST and friends say where.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const pg = require('pg')

const client = new pg.Client()
await client.connect()
const one = async (sql, values) => (await client.query(sql, values)).rows[0]
assert.deepEqual(
  await one('SELECT $1::int AS i, $2::text AS t, $3::bool AS b, $4::float8 AS f, $5::jsonb AS j, $6::int[] AS a, $7::timestamptz AS at', [
    42, 'naïve 東京', true, 0.1, { x: [1] }, [1, 2], new Date('2024-01-02T03:04:05.678Z'),
  ]),
  { i: 42, t: 'naïve 東京', b: true, f: 0.1, j: { x: [1] }, a: [1, 2], at: new Date('2024-01-02T03:04:05.678Z') },
)
assert.deepEqual(await one('SELECT 1.50::numeric AS n, 9223372036854775807 AS big, NULL AS nothing, $1::bytea AS y', [Buffer.from([0, 255])]), {
  n: '1.50', big: '9223372036854775807', nothing: null, y: Buffer.from([0, 255]),
})
await client.query('DROP TABLE IF EXISTS node_check')
await client.query('CREATE TABLE node_check (id int, name text)')
const inserted = await client.query('INSERT INTO node_check VALUES ($1, $2), ($3, $4) RETURNING id', [1, 'a', 2, null])
assert.equal(inserted.rowCount, 2)
const named = { name: 'by-id', text: 'SELECT name FROM node_check WHERE id = $1' }
for (let n = 0; n < 10; n++) assert.equal((await client.query({ ...named, values: [1] })).rows[0].name, 'a')
const fields = (await client.query('SELECT id, name FROM node_check')).fields
assert.deepEqual(fields.map((field) => [field.name, field.dataTypeID]), [['id', 23], ['name', 25]])
await assert.rejects(client.query('SELECT * FROM nowhere'), (error) => error.code === '42P01' && error.position === '15')
const results = await client.query('SELECT 1 AS a; SELECT 2 AS b')
assert.deepEqual(results.map((result) => result.rows), [[{ a: 1 }], [{ b: 2 }]])
await client.query('BEGIN')
await client.query('DELETE FROM node_check')
await client.query('ROLLBACK')
assert.equal((await client.query('SELECT count(*)::int AS n FROM node_check')).rows[0].n, 2)
await client.query('DROP TABLE node_check')
await client.end()

const pool = new pg.Pool({ max: 4 })
const sums = await Promise.all(Array.from({ length: 20 }, (_, n) => pool.query('SELECT $1::int + 1 AS n', [n])))
assert.deepEqual(sums.map((result) => result.rows[0].n), Array.from({ length: 20 }, (_, n) => n + 1))
await pool.end()
console.log('node-postgres fine')
