"""Azure's object storage, as Azurite plays it: COPY both ways, listings, a source.
Usage: azure_check.py BLOB_PORT"""
import gzip
import sys
import time

import psycopg
from azure.storage.blob import BlobServiceClient

ACCOUNT = "devstoreaccount1"
# Azurite's own, which everybody knows.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ENDPOINT = f"http://127.0.0.1:{sys.argv[1]}/{ACCOUNT}"
OPTIONS = (f"azure_storage_account_name '{ACCOUNT}', azure_storage_account_key '{KEY}', azure_storage_endpoint '{ENDPOINT}', "
           "azure_allow_http 'true'")


def main():
    service = BlobServiceClient(ENDPOINT, credential=KEY)
    container = service.create_container("lake")
    with psycopg.connect("", autocommit=True) as connection:
        rows = lambda sql: connection.execute(sql).fetchall()
        connection.execute("CREATE TABLE az_t AS SELECT n AS id, md5(n::text) AS name FROM generate_series(1, 400000) AS g(n)")
        connection.execute("CREATE TABLE az_u (id bigint, name text)")
        same = "SELECT count(*), count(DISTINCT id), sum(id), max(name) FROM "
        for url, form in [("az://lake/out/t.csv", "FORMAT csv"), (f"abfss://lake@{ACCOUNT}.dfs.core.windows.net/out/t.parquet", "FORMAT parquet")]:
            connection.execute(f"COPY az_t TO '{url}' WITH ({form}, {OPTIONS})")
            connection.execute(f"COPY az_u FROM '{url}' WITH ({form}, {OPTIONS})")
            assert rows(same + "az_u") == rows(same + "az_t")
            connection.execute("TRUNCATE az_u")
        assert sorted(blob.name for blob in container.list_blobs()) == ["out/t.csv", "out/t.parquet"]
        for number in range(5):
            container.upload_blob(f"in/{number}.ndjson.gz", gzip.compress(b'{"id": %d}\n' % number))
        connection.execute(f"COPY az_u FROM 'az://lake/in/[0-2].ndjson.gz' WITH (FORMAT ndjson, {OPTIONS})")
        assert rows("SELECT id FROM az_u ORDER BY id") == [(0,), (1,), (2,)]
        connection.execute(f"CREATE SOURCE az_source FROM FILES ('az://lake/in/') (every '200ms', {OPTIONS}) INTO az_u")
        deadline = time.monotonic() + 60
        while (found := rows("SELECT count(*), sum(id) FROM az_u")) != [(8, 13)]:
            assert time.monotonic() < deadline, (found, rows("SELECT last_error FROM tidemill.sources"))
            time.sleep(0.1)
        for url, code in [("az://lake/none.csv", "58P01"), ("az://none/x.csv", "58P01")]:
            try:
                connection.execute(f"COPY az_u FROM '{url}' WITH (FORMAT csv, {OPTIONS})")
                raise AssertionError("no error")
            except psycopg.Error as error:
                assert error.sqlstate == code, (url, error.sqlstate, error.diag.message_primary, error.diag.message_detail)
        wrong = OPTIONS.replace(KEY, "d3Jvbmc=")
        try:
            connection.execute(f"COPY az_u FROM 'az://lake/out/t.csv' WITH (FORMAT csv, {wrong})")
            raise AssertionError("no error")
        except psycopg.Error as error:
            assert error.sqlstate == "42501", (error.sqlstate, error.diag.message_primary, error.diag.message_detail)
        connection.execute("DROP TABLE az_t, az_u CASCADE")


main()
print("Azurite: COPY both ways, listings, a source")
