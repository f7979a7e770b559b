"""SQLAlchemy: create, insert, query, reflect."""
import datetime as dt
import decimal

import sqlalchemy as sa


def main():
    engine = sa.create_engine("postgresql+psycopg://")
    metadata = sa.MetaData()
    sa.Table(
        "sa_orders", metadata, sa.Column("id", sa.Integer, nullable=False, autoincrement=False), sa.Column("name", sa.String(30)),
        sa.Column("total", sa.Numeric(10, 2)), sa.Column("at", sa.DateTime(timezone=True)), sa.Column("ok", sa.Boolean),
        sa.Column("doc", sa.dialects.postgresql.JSONB), comment="orders")
    metadata.drop_all(engine)
    metadata.create_all(engine)
    orders = metadata.tables["sa_orders"]
    at = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)
    with engine.begin() as connection:
        connection.execute(orders.insert(), [
            {"id": n, "name": f"n{n}", "total": decimal.Decimal("1.50") * n, "at": at, "ok": n % 2 == 0, "doc": {"n": n}}
            for n in range(10)])
    with engine.connect() as connection:
        query = sa.select(orders.c.ok, sa.func.count(), sa.func.sum(orders.c.total)).group_by(orders.c.ok).order_by(orders.c.ok)
        assert [tuple(row) for row in connection.execute(query)] == [
            (False, 5, decimal.Decimal("37.50")), (True, 5, decimal.Decimal("30.00"))]
        row = connection.execute(sa.select(orders).where(orders.c.id == 3)).one()
        assert (row.name, row.total, row.at, row.ok, row.doc) == ("n3", decimal.Decimal("4.50"), at, False, {"n": 3})
        assert connection.execute(sa.select(orders.c.id).where(orders.c.id.in_([1, 2, 99])).order_by(orders.c.id)).scalars().all() == [1, 2]
    inspector = sa.inspect(engine)
    assert "sa_orders" in inspector.get_table_names()
    assert "public" in inspector.get_schema_names()
    columns = {column["name"]: column for column in inspector.get_columns("sa_orders")}
    assert isinstance(columns["total"]["type"], sa.NUMERIC) and columns["total"]["type"].scale == 2
    assert isinstance(columns["name"]["type"], sa.VARCHAR) and columns["name"]["type"].length == 30
    assert columns["at"]["type"].timezone and not columns["id"]["nullable"]
    inspector.get_pk_constraint("sa_orders"), inspector.get_foreign_keys("sa_orders"), inspector.get_indexes("sa_orders")
    assert inspector.get_table_comment("sa_orders")["text"] == "orders"
    assert inspector.has_table("sa_orders") and not inspector.has_table("nowhere")
    inspector.get_view_names(), inspector.get_check_constraints("sa_orders"), inspector.get_unique_constraints("sa_orders")
    reflected = sa.Table("sa_orders", sa.MetaData(), autoload_with=engine)
    assert list(reflected.columns.keys()) == ["id", "name", "total", "at", "ok", "doc"]
    metadata.drop_all(engine)
    print("sqlalchemy", sa.__version__, "fine")


main()
