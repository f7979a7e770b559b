// Knex as most applications write it: increments, foreign keys, unique and other indexes, enums.
import Knex from 'knex';

const knex = Knex({ client: 'pg', connection: {}, pool: { min: 1, max: 1 } });
await knex.schema.createTable('people', (table) => {
    table.increments('id');
    table.string('email').unique();
    table.enu('mood', ['sad', 'happy']);
    table.timestamps(true, true);
});
await knex.schema.createTable('posts', (table) => {
    table.bigIncrements();
    table.integer('author').references('people.id').onDelete('CASCADE');
    table.text('body').index();
});
console.log(await knex('people').insert([{ email: 'a' }, { email: 'b', mood: 'sad' }], ['id']));
await knex('people').insert({ email: 'a' }).catch((error) => console.log(error.code));
console.log(await knex('posts').insert({ author: 1, body: 'x' }).returning('id'));
console.log(await knex('posts').join('people', 'people.id', 'posts.author').select('email', 'body'));
await knex.schema.dropTable('posts');
await knex.schema.dropTable('people');
await knex.destroy();
