# DBD-Pg: Perl; binding, arrays, COPY, savepoints, cursors, metadata of tables, keys and types
use strict;
use warnings;
use DBI;
use DBD::Pg qw(:pg_types);

my $db = DBI->connect("dbi:Pg:", undef, undef, { RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, pg_enable_utf8 => 1 });
sub show { print join(' ', map { my $value = $_; ref $value eq 'ARRAY' ? '[' . join(', ', map { defined $_ ? ref $_ ? "@$_" : $_ : 'undef' } @$value) . ']' : defined $value ? $value : 'undef' } @_), "\n" }

$db->do('CREATE TABLE p (id serial PRIMARY KEY, n text NOT NULL, v numeric(8,2), a int[], j jsonb, b bytea, UNIQUE (n, v))');
$db->do('CREATE TABLE q (p_n text, p_v numeric(8,2), FOREIGN KEY (p_n, p_v) REFERENCES p (n, v))');
my $insert = $db->prepare('INSERT INTO p (n, v, a, j, b) VALUES (?, ?, ?, ?, ?) RETURNING id');
$insert->bind_param(5, undef, { pg_type => PG_BYTEA });
$insert->execute('x', 1.5, [1, 2, 3], '{"a": 1}', "\x00\xff");
show($insert->fetchrow_array);
show($_) for @{ $db->selectall_arrayref('SELECT id, n, v, a, j, length(b) FROM p') };
show($db->last_insert_id(undef, undef, 'p', undef));
my $typed = $db->prepare('SELECT $2::text, $1::int');
$typed->execute(1, 'b');
show($typed->fetchrow_array);
my $named = $db->prepare('SELECT :x::int + :y::int');
$named->bind_param(':x', 1);
$named->bind_param(':y', 2);
$named->execute;
show($named->fetchrow_array, $named->{NAME}, $named->{TYPE}, $named->{pg_type});
show($db->selectrow_array('SELECT true, false, NULL::bool, ARRAY[[1, 2], [3, 4]]'));
$db->do('COPY p (n, v) FROM STDIN');
$db->pg_putcopydata("a\t1\nb\t\\N\n");
$db->pg_putcopyend;
$db->do('COPY (SELECT n, v FROM p ORDER BY id) TO STDOUT');
my $line;
while ($db->pg_getcopydata($line) >= 0) { print $line }
$db->begin_work;
$db->pg_savepoint('s');
eval { $db->do('INSERT INTO p (n) VALUES (NULL)') };
show($db->state, (split /\n/, $db->errstr)[0]);
$db->pg_rollback_to('s');
$db->do('DECLARE c CURSOR FOR SELECT g FROM generate_series(1, 10) g');
show(map { $_->[0] } @{ $db->selectall_arrayref('FETCH 3 FROM c') });
$db->commit;
eval { $db->do('SELECT nosuch FROM p') };
show($db->state, (split /\n/, $db->errstr)[0]);
$db->do('LISTEN letters');
$db->do("NOTIFY letters, 'hello'");
my $letter = $db->pg_notifies;
show($letter->[0], $letter->[2]);
show(map { $_->[2] } @{ $db->table_info('', 'public', '%', 'TABLE')->fetchall_arrayref });
show([@$_[3, 4, 5, 6, 8, 10, 12, 16, 17]]) for @{ $db->column_info('', 'public', 'p', '%')->fetchall_arrayref };
show($db->primary_key('', 'public', 'p'));
show([@$_[0 .. 9]]) for @{ $db->statistics_info(undef, 'public', 'p', undef, undef)->fetchall_arrayref };
show([@$_[1 .. 10]]) for @{ $db->foreign_key_info(undef, 'public', 'p', undef, 'public', 'q')->fetchall_arrayref };
show($db->quote("a'b\\c"), $db->quote_identifier('A b'), $db->ping);
