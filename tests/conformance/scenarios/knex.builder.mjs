// Knex: schema builder, queries, transactions.
import Knex from 'knex';

const knex = Knex({ client: 'pg', connection: {}, pool: { min: 1, max: 1 } });
await knex.schema.createTable('people', (table) => {
    table.integer('id').primary();
    table.string('name', 40).notNullable();
    table.decimal('salary', 10, 2).defaultTo(0);
    table.timestamp('at').defaultTo(knex.fn.now());
    table.jsonb('doc');
});
console.log(await knex.schema.hasTable('people'), await knex.schema.hasTable('nothing'), await knex.schema.hasColumn('people', 'name'));
console.log(await knex('people').columnInfo());
console.log(await knex('people').insert([{ id: 1, name: 'a', salary: 10 }, { id: 2, name: 'b', doc: { x: 1 } }]).returning(['id', 'salary']));
await knex.schema.alterTable('people', (table) => { table.integer('age'); table.renameColumn('salary', 'pay'); });
console.log(await knex('people').select('id', 'name', 'pay', 'age', 'doc').where('pay', '>=', 0).orderBy('id'));
console.log(await knex('people').where({ id: 1 }).update({ age: 40 }), await knex('people').where({ id: 2 }).del());
await knex.transaction(async (trx) => { await trx('people').insert({ id: 3, name: 'c' }); });
await knex.transaction(async (trx) => { await trx('people').insert({ id: 4, name: 'd' }); throw new Error('back'); }).catch((error) => console.log(error.message));
console.log(await knex('people').count('* as n').sum('pay as total'), await knex('people').pluck('id').orderBy('id'));
console.log(await knex('people').insert({ id: 3, name: 'C' }).onConflict('id').merge().returning('name'));
console.log(await knex.with('w', knex('people').where('id', 1)).select('name').from('w'), (await knex.raw('SELECT ?::int AS n', [5])).rows);
await knex.schema.dropTable('people');
await knex.destroy();
