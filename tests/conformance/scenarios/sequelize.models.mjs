// Sequelize: sync, models, associations without constraints, transactions.
import { DataTypes, Op, Sequelize } from 'sequelize';

const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE } = process.env;
const sequelize = new Sequelize(PGDATABASE, PGUSER, PGPASSWORD, { host: PGHOST, port: PGPORT, dialect: 'postgres', logging: false, pool: { max: 1 } });
await sequelize.authenticate();
const Person = sequelize.define('person', {
    id: { type: DataTypes.INTEGER, primaryKey: true }, name: { type: DataTypes.STRING, allowNull: false }, tags: DataTypes.ARRAY(DataTypes.TEXT),
    doc: DataTypes.JSONB, pay: DataTypes.DECIMAL(10, 2), key: DataTypes.UUID,
}, { timestamps: false });
await sequelize.sync();
await Person.bulkCreate([{ id: 1, name: 'a', tags: ['x', 'y'], doc: { n: 1 }, pay: 9.5 }, { id: 2, name: 'b' }]);
console.log(JSON.stringify(await Person.findAll({ order: ['id'] })));
console.log(await Person.update({ name: 'A' }, { where: { id: 1 } }), await Person.count(), await Person.sum('pay'));
console.log(JSON.stringify(await Person.findAll({ where: { tags: { [Op.contains]: ['x'] } } })), JSON.stringify(await Person.findOne({ where: { 'doc.n': 1 } })));
await sequelize.transaction(async (transaction) => { await Person.create({ id: 3, name: 'c' }, { transaction }); });
await Person.upsert({ id: 3, name: 'C' });
console.log(await Person.destroy({ where: { id: { [Op.gt]: 2 } } }), Object.keys(await sequelize.getQueryInterface().describeTable('people')));
console.log(JSON.stringify(await sequelize.getQueryInterface().describeTable('people')));
await Person.drop();
await sequelize.close();
