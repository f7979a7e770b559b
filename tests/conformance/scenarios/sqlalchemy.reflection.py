"""SQLAlchemy 2: DDL, reflection, ORM round trip, server-side cursors."""
import datetime
import decimal

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg

engine = sa.create_engine("postgresql+psycopg2://")


class Base(orm.DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"
    __table_args__ = {"comment": "who buys"}
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True, autoincrement=False)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(40), nullable=False, comment="in full")
    joined: orm.Mapped[datetime.datetime] = orm.mapped_column(sa.DateTime(timezone=True), server_default="2024-01-01 00:00:00+00")
    orders: orm.Mapped[list["Order"]] = orm.relationship(back_populates="customer", primaryjoin="Customer.id == foreign(Order.customer_id)")


class Order(Base):
    __tablename__ = "order"
    __table_args__ = (sa.CheckConstraint("amount >= 0", name="positive"),)
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True, autoincrement=False)
    customer_id: orm.Mapped[int]
    amount: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(10, 2))
    tags: orm.Mapped[list | None] = orm.mapped_column(pg.ARRAY(sa.Text))
    doc: orm.Mapped[dict | None] = orm.mapped_column(pg.JSONB)
    customer: orm.Mapped[Customer] = orm.relationship(back_populates="orders", primaryjoin="Customer.id == foreign(Order.customer_id)")


Base.metadata.create_all(engine)
Base.metadata.create_all(engine)
with engine.begin() as connection:
    connection.execute(sa.text("CREATE VIEW big AS SELECT * FROM \"order\" WHERE amount > 10"))
inspector = sa.inspect(engine)
print(inspector.get_schema_names(), inspector.default_schema_name, inspector.get_table_names(), inspector.get_view_names())
for table in ("customer", "order"):
    for column in inspector.get_columns(table):
        print(table, {key: str(value) for key, value in column.items()})
    print(inspector.get_pk_constraint(table), inspector.get_foreign_keys(table), inspector.get_indexes(table), inspector.get_unique_constraints(table),
          inspector.get_check_constraints(table), inspector.get_table_comment(table))
print(inspector.get_columns("big")[2]["type"], inspector.get_view_definition("big"))
print(inspector.has_table("customer"), inspector.has_table("nothing"), inspector.get_sequence_names(), inspector.get_enums())
print(sorted(inspector.get_multi_columns().keys()), inspector.get_materialized_view_names(), inspector.get_temp_table_names())
reflected = sa.MetaData()
reflected.reflect(engine, views=True)
for table in reflected.sorted_tables:
    print(sa.schema.CreateTable(table).compile(engine))
with orm.Session(engine) as session:
    ada = Customer(id=1, name="Ada", orders=[Order(id=1, amount=decimal.Decimal("9.99"), tags=["a", "b"], doc={"x": 1}),
                                             Order(id=2, amount=decimal.Decimal("20"))])
    session.add_all([ada, Customer(id=2, name="Bob")])
    session.commit()
    found = session.scalars(sa.select(Customer).options(orm.selectinload(Customer.orders)).order_by(Customer.id)).all()
    print([(one.name, [(order.id, order.amount, order.tags, order.doc) for order in one.orders]) for one in found])
    ada.name = "Ada L."
    session.delete(found[1])
    session.commit()
    print(session.execute(sa.select(Customer.name, sa.func.sum(Order.amount)).join(Order, Order.customer_id == Customer.id).group_by(Customer.name)).all())
    print(session.scalar(sa.select(sa.func.count()).select_from(Order).where(Order.tags.contains(["a"]))))
    print(session.scalar(sa.select(Order.doc["x"].astext.cast(sa.Integer)).where(Order.id == 1)))
    session.execute(pg.insert(Customer).values(id=1, name="again").on_conflict_do_update(index_elements=["id"], set_={"name": "upserted"}))
    print(session.scalar(sa.select(Customer.name).where(Customer.id == 1)))
    session.rollback()
    try:
        session.add(Order(id=1, customer_id=1, amount=1))
        session.commit()
    except sa.exc.IntegrityError as error:
        print(type(error.orig).__name__, error.orig.pgcode)
        session.rollback()
with engine.connect().execution_options(stream_results=True, max_row_buffer=2) as connection:
    print([tuple(one) for one in connection.execute(sa.select(Order.id, Order.amount).order_by(Order.id))])
with engine.connect() as connection:
    with connection.begin(), connection.begin_nested():
        connection.execute(sa.insert(Customer), [{"id": 10, "name": "x"}, {"id": 11, "name": "y"}])
    print(connection.execute(sa.select(sa.func.row_number().over(order_by=Customer.id), Customer.name).order_by(Customer.id)).all())
    print(connection.get_isolation_level(), connection.dialect.server_version_info)
with engine.begin() as connection:
    connection.execute(sa.text("DROP VIEW big"))
Base.metadata.drop_all(engine)
