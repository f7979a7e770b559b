<?php
// PDO: PHP, with its pgsql functions; parameters, large values, scrolling, COPY, what they tell of columns
error_reporting(E_ERROR | E_PARSE);
$show = fn(...$values) => print(json_encode($values) . "\n");
$about = sprintf('pgsql:host=%s;port=%s;dbname=%s', getenv('PGHOST'), getenv('PGPORT'), getenv('PGDATABASE'));
$open = fn($options = []) => new PDO($about, getenv('PGUSER'), getenv('PGPASSWORD'), $options + [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$db = $open();
$db->exec('CREATE TABLE t (id serial PRIMARY KEY, n varchar(20) NOT NULL, v numeric(8,2), b boolean, d date, raw bytea, j jsonb)');
$insert = $db->prepare('INSERT INTO t (n, v, b, d, j) VALUES (:n, :v, :b, :d, :j) RETURNING id');
$insert->execute([':n' => 'x', ':v' => '1.50', ':b' => 't', ':d' => '2024-01-01', ':j' => '{"a": 1}']);
$show($insert->fetchColumn(), $db->lastInsertId(), $db->lastInsertId('t_id_seq'));
$insert = $db->prepare('INSERT INTO t (n, b, v, raw) VALUES (?, ?, ?, ?)');
$bytes = fopen('php://memory', 'r+');
fwrite($bytes, "\0\xff\x01");
rewind($bytes);
$insert->bindValue(1, 'y');
$insert->bindValue(2, false, PDO::PARAM_BOOL);
$insert->bindValue(3, null, PDO::PARAM_NULL);
$insert->bindParam(4, $bytes, PDO::PARAM_LOB);
$show($insert->execute(), $insert->rowCount());
$show($db->query('SELECT id, n, v, b, d, j FROM t ORDER BY id')->fetchAll(PDO::FETCH_ASSOC));
$show(bin2hex(stream_get_contents($db->query("SELECT raw FROM t WHERE n = 'y'")->fetchColumn())));
$all = $db->query('SELECT id, n, v, b FROM t ORDER BY id');
$show(array_map(fn($at) => array_diff_key($all->getColumnMeta($at), ['pgsql:table_oid' => 0]), range(0, 3)));
$emulated = $open([PDO::ATTR_EMULATE_PREPARES => true])->prepare('SELECT ?::int + ? AS s, ? AS t');
$emulated->execute([1, 2, "it's"]);
$show($emulated->fetchAll(PDO::FETCH_NUM));
$db->beginTransaction();
$db->exec("INSERT INTO t (n) VALUES ('gone')");
$db->rollBack();
try {
    $db->exec('INSERT INTO t (n) VALUES (NULL)');
} catch (PDOException $error) {
    $show($error->getCode(), explode("\n", $error->getMessage())[0]);
}
$show($db->pgsqlCopyFromArray('t', ["100\tc1\t1.5\tt\t2024-01-01\t\\N\t{}", "101\tc2\t\\N\tf\t\\N\t\\N\t\\N"]), $db->pgsqlCopyToArray('t'));
$scroll = $db->prepare('SELECT id FROM t ORDER BY id', [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
$scroll->execute();
$show(array_map(fn($way) => $scroll->fetch(PDO::FETCH_NUM, ...$way), [[PDO::FETCH_ORI_LAST], [PDO::FETCH_ORI_FIRST], [PDO::FETCH_ORI_ABS, 2]]));
$db->exec('LISTEN letters');
$db->exec("NOTIFY letters, 'hello'");
$letter = $db->pgsqlGetNotify(PDO::FETCH_ASSOC, 1000);
$show($letter['message'], $letter['payload']);

$c = pg_connect(sprintf('host=%s port=%s dbname=%s user=%s password=%s', getenv('PGHOST'), getenv('PGPORT'), getenv('PGDATABASE'), getenv('PGUSER'), getenv('PGPASSWORD')));
$show(pg_meta_data($c, 't'));
pg_insert($c, 't', ['n' => 'pi', 'v' => '2.5', 'b' => 't']);
$show(pg_select($c, 't', ['n' => 'pi']), pg_update($c, 't', ['v' => '3'], ['n' => 'pi']), pg_delete($c, 't', ['n' => 'pi']));
$result = pg_query_params($c, 'SELECT id, n, v FROM t WHERE id = $1', [100]);
$show(pg_field_type($result, 0), pg_field_type($result, 1), pg_field_size($result, 1), pg_field_table($result, 0), pg_field_prtlen($result, 0, 1), pg_fetch_all($result));
pg_prepare($c, 'q', 'SELECT $1::text AS a');
$show(pg_fetch_all(pg_execute($c, 'q', ['z'])), pg_convert($c, 't', ['n' => "a'b", 'v' => '1', 'd' => '2024-01-01', 'b' => 'f']));
pg_send_query($c, 'SELECT 1; SELECT 2');
while ($result = pg_get_result($c)) $show(pg_fetch_result($result, 0, 0));
pg_send_query($c, 'SELECT * FROM nope');
$result = pg_get_result($c);
$show(pg_result_error_field($result, PGSQL_DIAG_SQLSTATE), pg_result_error_field($result, PGSQL_DIAG_STATEMENT_POSITION));
