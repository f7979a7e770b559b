#!/bin/sh
# Writes the tables of this folder from a PostgreSQL 15 server: what its own relations, types, functions and operators
# look like and which oids they have. Usage: ./generate.sh "psql connection string of an empty database, as superuser".
#
# relations.tsv has one relation per line: schema, name, oid, kind, then its columns (`name type`, `!`: not null) divided
# by commas; a domain of information_schema is told as its base type. Each other file is one relation in COPY's text
# format under a line of column names. Columns left out are constant and filled in by the code.
set -eu
cd "$(dirname "$0")"
psql -X -q -A -t -F '	' -v ON_ERROR_STOP=1 -d "$1" <<'SQL'
-- The types that values can have here, and pseudo-types that signatures of functions on them use.
CREATE TEMP TABLE held AS SELECT t.oid FROM pg_type t WHERE t.typnamespace = 11 AND t.typname IN ('bool','int2','int4',
  'int8','float4','float8','numeric','text','varchar','bpchar','char','name','bytea','date','time','timestamp',
  'timestamptz','interval','uuid','json','jsonb','oid','regclass','regtype','regproc','regnamespace','regrole','xid',
  'int2vector','oidvector','record','void','unknown','any','anyelement','anyarray','anynonarray','anycompatible',
  'anycompatiblearray','anycompatiblenonarray','aclitem','pg_node_tree','xid8','pg_lsn','inet');
INSERT INTO held SELECT typarray FROM pg_type WHERE oid IN (SELECT oid FROM held) AND typarray <> 0;
CREATE TEMP TABLE types AS SELECT * FROM pg_type t WHERE typrelid = 0 AND oid < 12000
  AND NOT EXISTS (SELECT 1 FROM pg_type e WHERE e.oid = t.typelem AND e.typrelid <> 0);
CREATE TEMP TABLE operators AS SELECT * FROM pg_operator WHERE (oprleft = 0 OR oprleft IN (SELECT oid FROM held))
  AND oprright IN (SELECT oid FROM held) AND oprresult IN (SELECT oid FROM held);
CREATE TEMP TABLE io AS SELECT DISTINCT unnest(ARRAY[typinput,typoutput,typreceive,typsend,typmodin,typmodout,
  typsubscript]::oid[]) oid FROM types;
CREATE TEMP TABLE procs AS SELECT * FROM pg_proc WHERE oid IN (SELECT oid FROM io) OR (prorettype IN (SELECT oid FROM held)
  AND oid < 12000 AND proname NOT LIKE 'binary_upgrade%' AND proname !~ '^(brin|gin|gist|spg|hash|bt)[a-z0-9_]*(support|cmp)'
  AND NOT EXISTS (SELECT 1 FROM unnest(coalesce(proallargtypes, proargtypes::oid[])) a(t)
    WHERE a.t NOT IN (SELECT oid FROM held)));

\o relations.tsv
SELECT n.nspname, c.relname, c.oid, c.relkind, string_agg(a.attname || ' ' || CASE WHEN t.typtype = 'd' THEN CASE t.typname
    WHEN 'yes_or_no' THEN 'varchar(3)' WHEN 'time_stamp' THEN 'timestamptz' ELSE b.typname END
    WHEN t.typname = '_pg_statistic' THEN 'anyarray' ELSE t.typname END || CASE WHEN a.attnotnull THEN '!' ELSE '' END,
    ',' ORDER BY a.attnum)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0
  JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
  WHERE c.relkind IN ('r','v') AND n.nspname IN ('pg_catalog','information_schema')
  GROUP BY 1, 2, 3, 4 ORDER BY 1 DESC, 2;
\o pg_type.tsv
COPY (SELECT oid, typname, typlen, typbyval, typtype, typcategory, typispreferred, typdelim, typsubscript::oid, typelem,
  typarray, typinput::oid, typoutput::oid, typreceive::oid, typsend::oid, typmodin::oid, typmodout::oid, typalign, typstorage,
  typcollation FROM types ORDER BY oid) TO STDOUT (HEADER);
\o pg_proc.tsv
COPY (SELECT oid, proname, provariadic, prokind, proleakproof, proisstrict, proretset, provolatile, proparallel, pronargs,
  pronargdefaults, prorettype, proargtypes, proallargtypes, proargmodes, proargnames,
  CASE WHEN prosrc <> proname AND length(prosrc) < 40 AND prosrc !~ E'\n' THEN prosrc END prosrc,
  pg_get_function_arguments(oid) arguments, oid IN (SELECT oid FROM io) io, obj_description(oid, 'pg_proc') description
  FROM procs ORDER BY oid) TO STDOUT (HEADER);
\o pg_operator.tsv
COPY (SELECT oid, oprname, oprkind, oprcanmerge, oprcanhash, oprleft, oprright, oprresult, oprcom, oprnegate,
  oprcode::oid, oprrest::oid, oprjoin::oid FROM operators ORDER BY oid) TO STDOUT (HEADER);
\o pg_cast.tsv
COPY (SELECT oid, castsource, casttarget, castfunc, castcontext, castmethod FROM pg_cast
  WHERE castsource IN (SELECT oid FROM held) AND casttarget IN (SELECT oid FROM held) ORDER BY oid) TO STDOUT (HEADER);
\o pg_aggregate.tsv
COPY (SELECT aggfnoid::oid, aggkind, aggnumdirectargs, aggtranstype, agginitval FROM pg_aggregate
  WHERE aggfnoid IN (SELECT oid FROM procs) ORDER BY 1) TO STDOUT (HEADER);
\o pg_opclass.tsv
COPY (SELECT oid, opcmethod, opcname, opcfamily, opcintype, opcdefault, opckeytype FROM pg_opclass
  WHERE opcintype IN (SELECT oid FROM held) AND opcmethod IN (403, 405) ORDER BY oid) TO STDOUT (HEADER);
\o pg_opfamily.tsv
COPY (SELECT oid, opfmethod, opfname FROM pg_opfamily f WHERE EXISTS (SELECT 1 FROM pg_opclass WHERE opcfamily = f.oid
  AND opcintype IN (SELECT oid FROM held) AND opcmethod IN (403, 405)) ORDER BY oid) TO STDOUT (HEADER);
\o pg_am.tsv
COPY (SELECT oid, amname, amhandler::oid, amtype FROM pg_am ORDER BY oid) TO STDOUT (HEADER);
\o pg_language.tsv
COPY (SELECT oid, lanname, lanispl, lanpltrusted, lanplcallfoid, laninline, lanvalidator FROM pg_language WHERE oid < 12000
  ORDER BY oid) TO STDOUT (HEADER);
\o pg_collation.tsv
COPY (SELECT oid, collname, collprovider, collisdeterministic, collencoding, collcollate, collctype FROM pg_collation
  WHERE oid < 12000 ORDER BY oid) TO STDOUT (HEADER);
\o pg_range.tsv
COPY (SELECT rngtypid, rngsubtype, rngmultitypid, rngcollation, rngsubopc, rngcanonical::oid, rngsubdiff::oid FROM pg_range
  ORDER BY 1) TO STDOUT (HEADER);
\o pg_tablespace.tsv
COPY (SELECT oid, spcname FROM pg_tablespace ORDER BY oid) TO STDOUT (HEADER);
\o pg_get_keywords.tsv
COPY (SELECT * FROM pg_get_keywords() ORDER BY word) TO STDOUT (HEADER);
SQL
