// Kysely: schema, inserts with conflicts, MERGE, streams, transactions, introspection.
import { Kysely, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import Cursor from 'pg-cursor';

const show = (value) => console.log(JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part)));
const db = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool({ max: 1 }), cursor: Cursor }) });
await db.schema.createTable('person').addColumn('id', 'serial', (c) => c.primaryKey()).addColumn('name', 'varchar(20)', (c) => c.notNull().unique())
    .addColumn('doc', 'jsonb').addColumn('score', sql`numeric(8, 2)`, (c) => c.defaultTo(1.5)).execute();
await db.schema.createTable('pet').ifNotExists().addColumn('id', 'integer', (c) => c.primaryKey().generatedAlwaysAsIdentity())
    .addColumn('owner_id', 'integer').addColumn('species', 'text').execute();
await db.schema.createIndex('pet_owner').on('pet').column('owner_id').execute();
show(await db.insertInto('person').values([{ name: 'a', doc: JSON.stringify({ x: 1 }) }, { name: 'b' }]).returning(['id', 'name', 'score']).execute());
show(await db.insertInto('pet').values([{ owner_id: 1, species: 'cat' }, { owner_id: 1, species: 'dog' }]).executeTakeFirst());
show(await db.insertInto('person').values({ name: 'a' }).onConflict((on) => on.column('name').doUpdateSet((eb) => ({ name: eb.ref('excluded.name') }))).returning('id').execute());
show(await db.insertInto('person').values({ name: 'a' }).onConflict((on) => on.doNothing()).executeTakeFirst());
show(await db.selectFrom('person as p').leftJoin('pet as q', 'q.owner_id', 'p.id').select(['p.name', (eb) => eb.fn.count('q.id').as('n')]).groupBy('p.name').orderBy('p.name').execute());
show(await db.selectFrom('person').select((eb) => ['name', eb.ref('doc', '->>').key('x').as('x')]).orderBy('name').execute());
show(await db.selectFrom('person').selectAll('person').select('person.name as again').orderBy('id').execute());
let rows = 0;
for await (const _ of db.selectFrom('person').selectAll().orderBy('id').stream(1)) rows += 1;
show(rows);
show((await db.introspection.getTables()).filter((table) => table.schema === 'public'));
await db.schema.alterTable('pet').addColumn('z', 'integer').execute();
await db.schema.alterTable('pet').alterColumn('z', (c) => c.setDefault(4)).execute();
await db.schema.alterTable('pet').renameColumn('z', 'y').execute();
await db.schema.alterTable('pet').dropColumn('y').execute();
await db.schema.createView('names').orReplace().as(db.selectFrom('person').select('name')).execute();
show(await db.selectFrom('names').selectAll().orderBy('name').execute());
show(await db.transaction().setIsolationLevel('repeatable read').execute((t) => t.updateTable('person').set({ name: 'c' }).where('name', '=', 'b').returning('name').execute()));
show(await db.mergeInto('person as p').using('pet as q', (on) => on.onRef('q.owner_id', '=', 'p.id').on('q.species', '=', 'cat')).whenMatched().thenUpdateSet({ name: 'owner' }).execute());
show(await db.deleteFrom('pet').using('person').whereRef('pet.owner_id', '=', 'person.id').executeTakeFirst());
await db.destroy();
