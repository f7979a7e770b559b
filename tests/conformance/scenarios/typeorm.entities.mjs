// TypeORM: synchronized entities, relations, upserts, locks, transactions, what it reads of tables, migrations.
import 'reflect-metadata';
import typeorm from 'typeorm';

const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE } = process.env;
const { DataSource, EntitySchema, ILike, TableColumn, TableIndex } = typeorm;
const show = (...values) => console.log(JSON.stringify(values));
const Role = new EntitySchema({ name: 'Role', tableName: 'role', columns: { id: { type: 'int', primary: true, generated: true }, name: { type: 'varchar', unique: true } } });
const User = new EntitySchema({
    name: 'User', tableName: 'user_of', uniques: [{ columns: ['name'] }], indices: [{ columns: ['name', 'age'] }],
    columns: {
        id: { type: 'int', primary: true, generated: true }, name: { type: 'varchar', length: 50 }, age: { type: 'int', default: 3, nullable: true },
        meta: { type: 'jsonb', default: {} }, tags: { type: 'text', array: true, default: '{}' }, score: { type: 'numeric', precision: 10, scale: 2, nullable: true },
        kind: { type: 'enum', enum: ['a', 'b'], default: 'a' }, at: { type: 'timestamptz', nullable: true }, version: { type: 'int', version: true },
    },
    relations: { photos: { type: 'one-to-many', target: 'Photo', inverseSide: 'user' }, roles: { type: 'many-to-many', target: 'Role', joinTable: { name: 'user_roles' } } },
});
const Photo = new EntitySchema({
    name: 'Photo', tableName: 'photo', columns: { url: { type: 'text', primary: true }, views: { type: 'bigint', default: 0 } },
    relations: { user: { type: 'many-to-one', target: 'User', joinColumn: true, inverseSide: 'photos' } },
});
const source = new DataSource({
    type: 'postgres', host: PGHOST, port: +PGPORT, username: PGUSER, password: PGPASSWORD, database: PGDATABASE, entities: [User, Photo, Role],
    synchronize: true, installExtensions: false, poolSize: 1,
});
await source.initialize();
// A second look finds nothing to change.
show((await source.driver.createSchemaBuilder().log()).upQueries.map((query) => query.query));
const [users, photos, roles] = [User, Photo, Role].map((entity) => source.getRepository(entity));
const admin = await roles.save({ name: 'admin' });
const ann = await users.save({ name: 'Ann', age: 5, meta: { a: { b: 1 } }, tags: ['x'], score: '1.50', at: new Date(0), roles: [admin] });
await photos.save([{ url: 'u1', user: ann }, { url: 'u2', user: ann, views: 7 }]);
show(await users.findOne({ where: { name: ILike('ann') }, relations: { photos: true, roles: true }, order: { photos: { url: 'ASC' } } }));
show(await source.createQueryBuilder(User, 'u').leftJoin('u.photos', 'p').select('u.name', 'name').addSelect('COUNT(p.url)', 'n').addSelect('SUM(p.views)', 'v')
    .groupBy('u.name').having('COUNT(p.url) > :least', { least: 1 }).getRawMany());
show((await users.findAndCount({ relations: { photos: true }, skip: 0, take: 1 }))[1]);
await users.upsert([{ name: 'Ann', age: 9 }, { name: 'Bob', age: 2 }], ['name']);
show((await users.find({ order: { name: 'ASC' } })).map((user) => [user.name, user.age, user.version]));
show((await users.update({ name: 'Bob' }, { age: () => 'age + 1' })).affected);
await photos.increment({ url: 'u1' }, 'views', 5);
show((await photos.findOneBy({ url: 'u1' })).views);
await source.transaction('SERIALIZABLE', async (manager) => {
    await manager.getRepository(User).save({ name: 'gone' });
    throw new Error('back');
}).catch((error) => show(error.message));
show(await users.countBy({ name: 'gone' }));
await source.transaction(async (manager) => show((await manager.getRepository(User).findOne({ where: { name: 'Ann' }, lock: { mode: 'pessimistic_write' } })).name));
await users.insert({ name: 'Ann' }).catch(({ driverError }) => show(driverError.code, driverError.table, driverError.detail));
const runner = source.createQueryRunner();
const table = await runner.getTable('user_of');
show(table.columns.map((c) => [c.name, c.type, c.isNullable, c.default, c.isGenerated, c.isPrimary, c.length, c.precision, c.scale, c.isArray, c.enum]).sort());
show(table.indices.map((index) => [index.columnNames, index.isUnique]), table.uniques.map((unique) => unique.columnNames));
await runner.addColumn('user_of', new TableColumn({ name: 'extra', type: 'int', isNullable: true }));
await runner.renameColumn('user_of', 'extra', 'more');
await runner.changeColumn('user_of', 'more', new TableColumn({ name: 'more', type: 'bigint', isNullable: true }));
await runner.createIndex('user_of', new TableIndex({ name: 'by_more', columnNames: ['more'] }));
await runner.dropColumn('user_of', 'more');
await runner.renameTable('role', 'roles');
show(await runner.hasTable('roles'), await runner.hasColumn('user_of', 'more'));
await runner.release();
await source.destroy();
