// Drizzle: enums, arrays, JSON, relational queries, upserts, nested transactions, prepared statements.
import { asc, count, desc, eq, relations, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, jsonb, numeric, pgEnum, pgTable, serial, text, timestamp, varchar } from 'drizzle-orm/pg-core';
import pg from 'pg';

const show = (value) => console.log(JSON.stringify(value));
const mood = pgEnum('mood', ['sad', 'ok']);
const users = pgTable('users', {
    id: serial('id').primaryKey(), name: text('name').notNull(), mood: mood('mood'), doc: jsonb('doc'), marks: integer('marks').array(),
    at: timestamp('at', { withTimezone: true }), pay: numeric('pay', { precision: 8, scale: 2 }),
});
const posts = pgTable('posts', { id: serial('id').primaryKey(), author: integer('author'), title: varchar('title', { length: 30 }) });
const ofUsers = relations(users, ({ many }) => ({ posts: many(posts) }));
const ofPosts = relations(posts, ({ one }) => ({ user: one(users, { fields: [posts.author], references: [users.id] }) }));
const pool = new pg.Pool({ max: 1 });
await pool.query(`CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, mood mood, doc jsonb, marks int[],
    at timestamptz, pay numeric(8,2)); CREATE TABLE posts (id serial PRIMARY KEY, author int, title varchar(30))`);
const db = drizzle(pool, { schema: { users, posts, ofUsers, ofPosts } });
show(await db.insert(users).values([{ name: 'a', mood: 'ok', doc: { x: [1] }, marks: [1, 2], pay: '1.5', at: new Date(0) }, { name: 'b' }]).returning());
show(await db.insert(posts).values([{ author: 1, title: 'p1' }, { author: 1, title: 'p2' }]).returning({ id: posts.id }));
show(await db.select({ name: users.name, n: count(posts.id) }).from(users).leftJoin(posts, eq(users.id, posts.author)).groupBy(users.name).orderBy(users.name));
show(await db.query.users.findMany({ with: { posts: { columns: { title: true }, orderBy: [asc(posts.title)] } }, orderBy: [asc(users.id)], columns: { name: true, doc: true, pay: true, marks: true } }));
show(await db.query.posts.findFirst({ with: { user: true }, orderBy: [desc(posts.title)] }));
show(await db.update(users).set({ pay: sql`${users.pay} * 2` }).where(eq(users.name, 'a')).returning({ pay: users.pay }));
show(await db.insert(users).values({ id: 1, name: 'z' }).onConflictDoUpdate({ target: users.id, set: { name: 'zz' } }).returning({ name: users.name }));
show(await db.transaction(async (outer) => {
    await outer.insert(users).values({ name: 'q' });
    await outer.transaction(async (inner) => {
        await inner.insert(users).values({ name: 'r' });
        inner.rollback();
    }).catch(() => {});
    return outer.select({ n: count() }).from(users);
}));
const recent = db.$with('recent').as(db.select({ id: users.id, name: users.name }).from(users));
show(await db.with(recent).select().from(recent).orderBy(desc(recent.id)).limit(1));
const byId = db.select({ name: users.name }).from(users).where(eq(users.id, sql.placeholder('id'))).prepare('by_id');
show([await byId.execute({ id: 2 }), await byId.execute({ id: 1 })]);
await pool.end();
