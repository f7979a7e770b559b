"""SQLAlchemy 2 as most applications write it: generated keys, foreign keys, unique columns, indexes, enums."""
import enum

import sqlalchemy as sa
from sqlalchemy import orm

engine = sa.create_engine("postgresql+psycopg2://")


class Base(orm.DeclarativeBase):
    pass


class Mood(enum.Enum):
    sad = 1
    happy = 2


class Parent(Base):
    __tablename__ = "parent"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)
    mood: orm.Mapped[Mood | None]
    children: orm.Mapped[list["Child"]] = orm.relationship(back_populates="parent")


class Child(Base):
    __tablename__ = "child"
    id: orm.Mapped[int] = orm.mapped_column(sa.Identity(), primary_key=True)
    parent_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("parent.id"), index=True)
    parent: orm.Mapped[Parent] = orm.relationship(back_populates="children")


Base.metadata.create_all(engine)
inspector = sa.inspect(engine)
for table in ("parent", "child"):
    print([{key: str(value) for key, value in column.items()} for column in inspector.get_columns(table)])
    print(inspector.get_pk_constraint(table), inspector.get_foreign_keys(table), inspector.get_indexes(table), inspector.get_unique_constraints(table))
print(inspector.get_enums(), inspector.get_sequence_names())
with orm.Session(engine) as session:
    session.add_all([Parent(name="a", mood=Mood.happy, children=[Child(), Child()]), Parent(name="b", mood=Mood.sad)])
    session.commit()
    print(session.execute(sa.select(Parent.id, Parent.name, Parent.mood, sa.func.count(Child.id)).outerjoin(Child).group_by(Parent).order_by(Parent.id)).all())
    print(session.execute(sa.select(Parent.name).order_by(Parent.mood)).all())
Base.metadata.drop_all(engine)
