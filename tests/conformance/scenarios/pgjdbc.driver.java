// pgjdbc: metadata, types, prepared and batched statements, cursors, COPY, errors, transactions.
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/** pgjdbc: prepared statements in both modes, fetch sizes, batches, DatabaseMetaData as JDBC tools ask it, COPY, savepoints, cancel. */
public class Driver {
    static Connection connect(String options) throws SQLException {
        Map<String, String> env = System.getenv();
        return DriverManager.getConnection("jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE")
            + "?sslmode=disable" + options, env.get("PGUSER"), env.get("PGPASSWORD"));
    }

    static void print(String what, ResultSet rows) throws SQLException {
        ResultSetMetaData meta = rows.getMetaData();
        List<String> names = new ArrayList<>(), lines = new ArrayList<>();
        for (int i = 1; i <= meta.getColumnCount(); i++) {
            names.add(meta.getColumnLabel(i) + ":" + meta.getColumnTypeName(i) + "(" + meta.getPrecision(i) + "," + meta.getScale(i) + ")" + meta.isNullable(i));
        }
        while (rows.next()) {
            List<String> cells = new ArrayList<>();
            for (int i = 1; i <= meta.getColumnCount(); i++) cells.add(String.valueOf(rows.getString(i)));
            lines.add(String.join("|", cells));
        }
        System.out.println(what + " " + names);
        lines.forEach(System.out::println);
    }

    public static void main(String[] args) throws Exception {
        try (Connection c = connect("&prepareThreshold=2")) {
            try (Statement s = c.createStatement()) {
                s.execute("CREATE SCHEMA shop");
                s.execute("CREATE TABLE shop.customers (id int PRIMARY KEY, name varchar(40) NOT NULL)");
                s.execute("CREATE TABLE shop.orders (id int PRIMARY KEY, customer int NOT NULL, amount numeric(10,2) DEFAULT 0, at timestamptz, day date,"
                    + " ok boolean, raw bytea, tags text[], doc jsonb, key uuid, x float8, big bigint)");
                s.execute("COMMENT ON TABLE shop.orders IS 'what they buy'");
                s.execute("CREATE VIEW shop.totals AS SELECT customer, sum(amount) AS total FROM shop.orders GROUP BY customer");
            }
            try (PreparedStatement p = c.prepareStatement("INSERT INTO shop.orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?, ?, ?)")) {
                for (int i = 1; i <= 5; i++) {
                    p.setInt(1, i);
                    p.setInt(2, i % 2);
                    p.setBigDecimal(3, new BigDecimal("9.9" + i));
                    p.setObject(4, OffsetDateTime.of(2024, 2, 29, 12, 0, i, 0, ZoneOffset.UTC));
                    p.setObject(5, LocalDate.of(2024, 2, 20 + i));
                    p.setBoolean(6, i % 2 == 0);
                    p.setBytes(7, new byte[] {0, (byte) 255});
                    p.setArray(8, c.createArrayOf("text", new String[] {"a", "b,c", null}));
                    p.setString(9, "{\"n\": " + i + "}");
                    p.setObject(10, new UUID(0, i));
                    if (i == 3) p.setNull(11, Types.DOUBLE); else p.setDouble(11, i / 4.0);
                    p.setLong(12, 1L << 40);
                    System.out.println(p.executeUpdate());
                }
            }
            try (PreparedStatement p = c.prepareStatement("SELECT * FROM shop.orders WHERE id >= ? ORDER BY id")) {
                for (int i = 3; i <= 5; i++) { p.setInt(1, i); print("orders", p.executeQuery()); }
                System.out.println(p.getParameterMetaData().getParameterTypeName(1));
            }
            try (PreparedStatement p = c.prepareStatement("INSERT INTO shop.customers VALUES (?, ?)")) {
                for (int i = 0; i < 10; i++) { p.setInt(1, i); p.setString(2, "c" + i); p.addBatch(); }
                System.out.println(Arrays.toString(p.executeBatch()));
            }
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(3);
                try (ResultSet rows = s.executeQuery("SELECT id, name FROM shop.customers ORDER BY id")) { print("fetched", rows); }
                Savepoint savepoint = c.setSavepoint("here");
                try { s.executeQuery("SELECT 1/0"); } catch (SQLException e) { System.out.println(e.getSQLState() + " " + e.getMessage()); }
                c.rollback(savepoint);
                System.out.println(s.executeUpdate("UPDATE shop.customers SET name = 'x' WHERE id < 3"));
            }
            c.rollback();
            c.setAutoCommit(true);
            try (PreparedStatement p = c.prepareStatement("INSERT INTO shop.customers VALUES (?, ?) RETURNING id, name", Statement.RETURN_GENERATED_KEYS)) {
                p.setInt(1, 100);
                p.setString(2, "new");
                p.executeUpdate();
                print("keys", p.getGeneratedKeys());
            }
            DatabaseMetaData meta = c.getMetaData();
            System.out.println(meta.getDatabaseProductName() + " " + meta.getDatabaseMajorVersion() + " " + meta.supportsTransactions() + " " + meta.getMaxColumnNameLength());
            print("tables", meta.getTables(null, "shop", "%", new String[] {"TABLE", "VIEW"}));
            print("columns", meta.getColumns(null, "shop", "%", "%"));
            print("keys", meta.getPrimaryKeys(null, "shop", "orders"));
            print("indexes", meta.getIndexInfo(null, "shop", "orders", true, true));
            print("imported", meta.getImportedKeys(null, "shop", "orders"));
            print("exported", meta.getExportedKeys(null, "shop", "customers"));
            print("privileges", meta.getTablePrivileges(null, "shop", "orders"));
            print("column privileges", meta.getColumnPrivileges(null, "shop", "orders", "amount"));
            print("best row", meta.getBestRowIdentifier(null, "shop", "orders", DatabaseMetaData.bestRowSession, false));
            print("types", meta.getTableTypes());
            print("functions", meta.getFunctions(null, "shop", "%"));
            print("procedures", meta.getProcedures(null, "shop", "%"));
            print("UDTs", meta.getUDTs(null, "shop", "%", null));
            print("clients", meta.getClientInfoProperties());
            print("sequences", meta.getTables(null, "shop", "%", new String[] {"SEQUENCE"}));
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            System.out.println(copy.copyIn("COPY shop.customers FROM STDIN WITH CSV", new StringReader("200,twenty\n201,\"a,b\"\n")));
            StringWriter out = new StringWriter();
            System.out.println(copy.copyOut("COPY (SELECT * FROM shop.customers WHERE id >= 100 ORDER BY id) TO STDOUT", out) + " " + out);
            try (Statement s = c.createStatement()) {
                s.setQueryTimeout(1);
                s.execute("SELECT pg_sleep(20)");
            } catch (SQLException e) {
                System.out.println(e.getSQLState() + " " + e.getMessage());
            }
            for (String text : new String[] {"SELECT * FROM nowhere", "SELECT nothing FROM shop.orders", "SELEC", "INSERT INTO shop.customers VALUES (1, 'x')"}) {
                try (Statement s = c.createStatement()) {
                    s.execute(text);
                } catch (SQLException e) {
                    System.out.println(e.getSQLState() + " " + e.getMessage());
                }
            }
            try (Statement s = c.createStatement()) {
                System.out.println(s.execute("SELECT 1; UPDATE shop.customers SET name = 'y' WHERE id = 1; SELECT 2"));
                print("first", s.getResultSet());
                System.out.println(s.getMoreResults() + " " + s.getUpdateCount() + " " + s.getMoreResults());
            }
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            c.setReadOnly(true);
            c.setAutoCommit(false);
            System.out.println(c.getTransactionIsolation() + " " + c.getSchema() + " " + c.getCatalog());
            try (Statement s = c.createStatement()) { s.execute("DELETE FROM shop.customers"); } catch (SQLException e) { System.out.println(e.getSQLState()); }
            c.rollback();
        }
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            try (Connection c = connect("&preferQueryMode=" + mode + "&binaryTransfer=true&prepareThreshold=-1");
                 PreparedStatement p = c.prepareStatement("SELECT id, amount, at, day, ok, raw, tags, key, x, big FROM shop.orders WHERE id < ? ORDER BY id")) {
                p.setInt(1, 3);
                print(mode, p.executeQuery());
            }
        }
    }
}
