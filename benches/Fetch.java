import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;

/** Fetch URL FETCH_SIZE ROUNDS SQL: prints, for each round, milliseconds, rows and a sum over all values as Java has them. */
class Fetch {
    public static void main(String[] arguments) throws Exception {
        int fetchSize = Integer.parseInt(arguments[1]);
        int rounds = Integer.parseInt(arguments[2]);
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            // A fetch size has an effect within a transaction only.
            connection.setAutoCommit(fetchSize == 0);
            try (PreparedStatement statement = connection.prepareStatement(arguments[3])) {
                statement.setFetchSize(fetchSize);
                for (int round = 0; round < rounds; round++) {
                    long began = System.nanoTime();
                    long rows = 0, sum = 0;
                    try (ResultSet result = statement.executeQuery()) {
                        while (result.next()) {
                            rows++;
                            sum += result.getLong(1) + result.getInt(2) + result.getString(3).length() + result.getTimestamp(4).getTime()
                                + Double.hashCode(result.getDouble(5)) + result.getBigDecimal(6).hashCode()
                                + (result.getBoolean(7) ? 1 : 0) + result.getDate(8).getTime();
                        }
                    }
                    System.out.println((System.nanoTime() - began) / 1e6 + " " + rows + " " + sum);
                }
            }
            if (fetchSize != 0) {
                connection.commit();
            }
        }
    }
}
