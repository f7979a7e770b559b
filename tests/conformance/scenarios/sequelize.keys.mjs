// Sequelize as most applications write it: generated keys, timestamps, enums, associations with foreign keys.
import { DataTypes, Sequelize } from 'sequelize';

const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE } = process.env;
const sequelize = new Sequelize(PGDATABASE, PGUSER, PGPASSWORD, { host: PGHOST, port: PGPORT, dialect: 'postgres', logging: false, pool: { max: 1 } });
const Author = sequelize.define('author', { name: { type: DataTypes.STRING, unique: true }, mood: DataTypes.ENUM('sad', 'happy') }, { timestamps: false });
const Book = sequelize.define('book', { title: DataTypes.TEXT }, { timestamps: false, indexes: [{ fields: ['title'] }] });
Author.hasMany(Book);
Book.belongsTo(Author);
await sequelize.sync();
const ada = await Author.create({ name: 'Ada', mood: 'happy' });
await ada.createBook({ title: 'Notes' });
console.log(JSON.stringify(await Author.findAll({ include: Book })));
await Author.create({ name: 'Ada' }).catch((error) => console.log(error.name));
await Book.drop({ cascade: false });
await Author.drop({ cascade: false });
await sequelize.close();
