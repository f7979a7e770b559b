// pgjdbc: types, batches, server-side prepare, fetch size, DatabaseMetaData.

import java.math.BigDecimal;
import java.sql.*;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;

public class PgJdbcCheck {
    static void same(Object expected, Object found) {
        if (!expected.equals(found)) throw new AssertionError("expected " + expected + ", found " + found);
    }

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/tidemill?user=tidemill";
        try (Connection connection = DriverManager.getConnection(url); Statement statement = connection.createStatement()) {
            statement.execute("DROP TABLE IF EXISTS jdbc_check");
            statement.execute("CREATE TABLE jdbc_check (id int NOT NULL, name varchar(20), amount numeric(10,2), at timestamptz, ok boolean)");
            OffsetDateTime at = OffsetDateTime.parse("2024-01-02T03:04:05.678Z");
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO jdbc_check VALUES (?, ?, ?, ?, ?)")) {
                for (int n = 0; n < 100; n++) {
                    insert.setInt(1, n);
                    insert.setString(2, n == 7 ? null : "name " + n);
                    insert.setBigDecimal(3, new BigDecimal("1.25").multiply(BigDecimal.valueOf(n)).setScale(2));
                    insert.setObject(4, at.plusSeconds(n));
                    insert.setBoolean(5, n % 2 == 0);
                    insert.addBatch();
                }
                same(100, insert.executeBatch().length);
            }
            // The sixth execution switches to a named statement and binary results.
            try (PreparedStatement select = connection.prepareStatement("SELECT name, amount, at, ok FROM jdbc_check WHERE id = ?")) {
                for (int n = 0; n < 12; n++) {
                    select.setInt(1, n);
                    try (ResultSet rows = select.executeQuery()) {
                        rows.next();
                        if (n != 7) same("name " + n, rows.getString(1));
                        same(new BigDecimal("1.25").multiply(BigDecimal.valueOf(n)).setScale(2), rows.getBigDecimal(2));
                        same(at.plusSeconds(n).toInstant(), rows.getObject(3, OffsetDateTime.class).toInstant());
                        same(n % 2 == 0, rows.getBoolean(4));
                    }
                }
            }
            connection.setAutoCommit(false);
            try (Statement cursor = connection.createStatement()) {
                cursor.setFetchSize(10);
                int count = 0;
                try (ResultSet rows = cursor.executeQuery("SELECT id FROM jdbc_check ORDER BY id")) {
                    while (rows.next()) same(count++, rows.getInt(1));
                }
                same(100, count);
            }
            statement.execute("DELETE FROM jdbc_check");
            connection.rollback();
            connection.setAutoCommit(true);
            try {
                statement.executeQuery("SELECT * FROM nowhere");
                throw new AssertionError("no error");
            } catch (SQLException error) {
                same("42P01", error.getSQLState());
            }
            metadata(connection);
            statement.execute("DROP TABLE jdbc_check");
        }
        System.out.println("pgjdbc fine");
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData about = connection.getMetaData();
        List<String> columns = new ArrayList<>();
        try (ResultSet rows = about.getColumns(null, "public", "jdbc_check", null)) {
            while (rows.next()) columns.add(rows.getString("COLUMN_NAME") + " " + rows.getString("TYPE_NAME") + " " + rows.getInt("COLUMN_SIZE"));
        }
        same(List.of("id int4 10", "name varchar 20", "amount numeric 10", "at timestamptz 35", "ok bool 1"), columns);
        boolean found = false;
        try (ResultSet rows = about.getTables(null, "public", "%", new String[] {"TABLE"})) {
            while (rows.next()) found |= rows.getString("TABLE_NAME").equals("jdbc_check");
        }
        same(true, found);
        about.getSchemas().close();
        about.getCatalogs().close();
        about.getTypeInfo().close();
        about.getPrimaryKeys(null, "public", "jdbc_check").close();
        about.getIndexInfo(null, "public", "jdbc_check", false, false).close();
        about.getImportedKeys(null, "public", "jdbc_check").close();
        about.getFunctions(null, null, "upper").close();
    }
}
