"""pandas to_sql and read_sql."""
import datetime

import pandas as pd
import sqlalchemy as sa

engine = sa.create_engine("postgresql+psycopg://")
frame = pd.DataFrame({
    "id": [1, 2, 3], "name": ["a", None, "ü'"], "x": [1.5, float("nan"), -0.0], "ok": [True, False, True],
    "at": pd.to_datetime(["2024-01-01 00:00", "2024-06-01 12:00", None]), "tz": pd.to_datetime(["2024-01-01 00:00", "2024-06-01 12:00", None], utc=True),
    "day": [datetime.date(2024, 1, 1), None, datetime.date(2024, 2, 29)],
})
print(frame.to_sql("frame", engine, index=False))
print(frame.to_sql("frame", engine, index=False, if_exists="append", method="multi"))
print(frame.to_sql("frame", engine, if_exists="replace", index_label="at_row", chunksize=2))
print(pd.read_sql("SELECT * FROM frame ORDER BY id", engine).to_csv())
print(pd.read_sql_table("frame", engine, columns=["id", "name"]).sort_values("id").to_csv())
print(pd.read_sql(sa.text("SELECT name, count(*) AS n, avg(x) AS mean FROM frame WHERE id <= :top GROUP BY name ORDER BY n, name"), engine, params={"top": 3}).to_csv())
print([len(chunk) for chunk in pd.read_sql("SELECT * FROM generate_series(1, 10) AS s(n)", engine, chunksize=4)])
print(pd.read_sql("SELECT * FROM frame", engine).dtypes.to_string())
