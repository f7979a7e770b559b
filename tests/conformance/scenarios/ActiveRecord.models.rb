# ActiveRecord: Rails; schema, models, upserts, locks, migrations, the schema dumped
require 'active_record'
require 'stringio'
$VERBOSE = nil
ENV.values_at('PGHOST', 'PGPORT', 'PGUSER', 'PGPASSWORD', 'PGDATABASE').then do |host, port, user, password, database|
  ActiveRecord::Base.establish_connection(adapter: 'postgresql', host: host, port: port, username: user, password: password, database: database, min_messages: 'error')
end
ActiveRecord::Migration.verbose = false
NOW = Time.utc(2024, 1, 2, 3, 4, 5)
ActiveRecord::Schema.define do
  enable_extension 'plpgsql'
  create_table(:authors) do |t|
    t.string :name, limit: 50, null: false, index: { unique: true }
    t.jsonb :meta, default: {}
    t.string :tags, array: true, default: []
    t.decimal :score, precision: 8, scale: 3
    t.timestamps
  end
  create_table(:books, id: :uuid, default: 'gen_random_uuid()') do |t|
    t.references :author, type: :bigint
    t.text :title
    t.integer :pages, default: 1
    t.date :day
    t.boolean :ok
    t.binary :raw
  end
end
class Author < ActiveRecord::Base; has_many :books; end
class Book < ActiveRecord::Base; belongs_to :author; end
ann = Author.create!(name: 'Ann', meta: { x: { y: 1 } }, tags: %w[p q], score: 1.5, created_at: NOW, updated_at: NOW)
3.times { |at| ann.books.create!(id: format('00000000-0000-0000-0000-%012d', at), title: "t#{at}", pages: at * 10, day: Date.new(2024, 1, at + 1), ok: true, raw: "\x00\xff".b) }
p ann.reload.attributes, ann.books.order(:title).pluck(:title, :pages, :day, :raw)
p Author.where("meta->'x'->>'y' = ?", '1').where("'p' = ANY (tags)").count, Author.joins(:books).group(:name).sum('books.pages')
p Author.includes(:books).where(books: { title: 't1' }).references(:books).map(&:name), Book.average(:pages), Book.group(:ok).count, Book.distinct.count(:pages)
at = { created_at: NOW, updated_at: NOW }
p Author.upsert_all([{ name: 'Ann', score: 7, **at }, { name: 'Bob', score: 8, **at }], unique_by: :name).rows.size
p Author.insert_all([{ name: 'Ann', **at }, { name: 'Cyd', **at }]).rows.size, Author.order(:name).pluck(:name, :score)
p Book.where('pages > ?', 5).update_all('pages = pages + 1'), Book.find_each(batch_size: 2).map(&:title).sort
Author.transaction { p Author.lock.find_by(name: 'Ann').name }
Author.transaction do
  Author.create!(name: 'n1', **at)
  Author.transaction(requires_new: true) { Author.create!(name: 'n2', **at) && raise(ActiveRecord::Rollback) }
end
p Author.where("name LIKE 'n%'").pluck(:name)
[{ name: 'Ann' }, { name: nil }].each do |wrong|
  Author.create!(**wrong, **at)
rescue ActiveRecord::StatementInvalid => error
  p error.class
end
connection = Author.connection
p connection.columns('authors').map { |c| [c.name, c.sql_type, c.null, c.default, c.default_function, c.type, c.limit, c.precision, c.scale] }
p connection.columns('books').map { |c| [c.name, c.sql_type, c.default, c.default_function] }
p connection.indexes('authors').map { |i| [i.name, i.columns, i.unique] }, connection.primary_keys('books'), connection.tables.sort
ActiveRecord::Schema.define do
  add_column :authors, :age, :integer, default: 3
  change_column :authors, :age, :bigint
  change_column_default :authors, :age, from: 3, to: 5
  change_column_null :authors, :age, false, 1
  rename_column :authors, :age, :years
  add_index :authors, %i[years name], name: 'by_years'
  rename_index :authors, 'by_years', 'by_age'
  remove_index :authors, name: 'by_age'
  remove_column :authors, :years
  change_column_comment :authors, :name, 'who'
  change_table_comment :authors, 'writers'
  rename_table :books, :volumes
  rename_table :volumes, :books
end
dumped = StringIO.new
ActiveRecord::SchemaDumper.dump(connection, dumped)
puts dumped.string
p connection.get_advisory_lock(42), connection.release_advisory_lock(42), Book.delete_all, connection.current_schema
connection.truncate('authors')
p Author.count
