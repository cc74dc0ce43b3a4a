"""Putting a new table in an old one's place, with all that hangs on the old one; what forbids it.

Each query asks the catalogue about the old table (``$1``, its oid) and answers with statements.
Names are quoted by the server's ``format``.
"""

from __future__ import annotations

import json

from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.types.dialect import Table

_DIALECT = PostgresDialect()

_ME = """
WITH me AS (
  SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1
)"""
# What would break or be lost in a swap: all that depends on the table and isn't made anew by the
# statements below, and properties that only the table itself can keep.
DEPENDANTS = f"""{_ME}
SELECT DISTINCT CASE
    WHEN v.oid IS NULL OR v.oid = $1 THEN pg_describe_object(d.classid, d.objid, d.objsubid)
    WHEN v.relkind = 'm' THEN 'materialised view ' || v.oid::regclass::text
    ELSE 'view ' || v.oid::regclass::text END
FROM me
JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = me.oid)
  OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
    SELECT me.reltype UNION SELECT t.typarray FROM pg_type t WHERE t.oid = me.reltype))
LEFT JOIN pg_class o ON d.classid = 'pg_class'::regclass AND o.oid = d.objid
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_class v ON v.oid = r.ev_class
WHERE d.classid NOT IN ('pg_type'::regclass, 'pg_attrdef'::regclass)
  AND NOT (o.oid IS NOT NULL AND (o.oid = me.oid OR o.relkind IN ('i', 'I', 't', 'S')))
  AND NOT (k.oid IS NOT NULL AND k.conrelid = me.oid)
UNION SELECT 'parent table ' || inhparent::regclass::text FROM pg_inherits WHERE inhrelid = $1
UNION SELECT 'publication ' || quote_ident(p.pubname) FROM pg_publication_tables p, me
  WHERE p.schemaname = me.nspname AND p.tablename = me.relname
UNION SELECT 'row-level security' FROM me WHERE relrowsecurity OR relforcerowsecurity
UNION SELECT 'security label' FROM pg_seclabel
  WHERE classoid = 'pg_class'::regclass AND objoid = $1
UNION SELECT 'partitioning' FROM me WHERE relkind = 'p'
UNION SELECT 'it is unlogged' FROM me WHERE relpersistence <> 'p'
UNION SELECT 'its tablespace' FROM me WHERE reltablespace <> 0
UNION SELECT 'its owner, role ' || pg_get_userbyid(relowner) FROM me
  WHERE NOT pg_has_role(relowner, 'USAGE')
UNION SELECT 'its schema, where the role may not create' FROM me
  WHERE NOT has_schema_privilege(relnamespace, 'CREATE')
UNION SELECT 'its replica identity' FROM me WHERE relreplident <> 'd'
UNION SELECT 'its row type' FROM me WHERE reloftype <> 0
UNION SELECT 'its access method' FROM me JOIN pg_am m ON m.oid = me.relam
  WHERE m.amname <> current_setting('default_table_access_method')
UNION SELECT 'index ' || i.indexrelid::regclass::text || ' in a tablespace' FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1 AND c.reltablespace <> 0
UNION SELECT 'column ' || quote_ident(a.attname) || CASE
    WHEN a.attgenerated <> '' THEN ' (generated)'
    WHEN t.typtype = 'd' THEN ' (a domain)'
    ELSE ' (its collation)' END
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    AND (a.attgenerated <> '' OR t.typtype = 'd' OR a.attcollation <> t.typcollation)
ORDER BY 1
"""

# Sequences that hang on the table: 'a' for serial columns, 'i' for identity columns.
_SEQUENCES = f"""{_ME}, sequence AS (
  SELECT s.*, format('%I.%I', n.nspname, c.relname) AS name, c.relacl, a.attname, a.attidentity,
         d.deptype
  FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid
  JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = $1 ORDER BY a.attnum
)"""
_LET_GO_OF_SEQUENCES = f"""{_SEQUENCES}
SELECT format('ALTER SEQUENCE %s OWNED BY NONE', name) FROM sequence WHERE deptype = 'a'
"""
_OWN_SEQUENCES = f"""{_SEQUENCES}
SELECT format('ALTER SEQUENCE %s OWNED BY %s.%I', s.name, me.name, s.attname)
FROM sequence s, me WHERE s.deptype = 'a'
"""
_IDENTITY = f"""{_SEQUENCES}
SELECT format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s'
              ' START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s %s)',
    me.name, s.attname, CASE s.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, s.name,
    s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
    CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END)
FROM sequence s, me WHERE s.deptype = 'i'
"""
_SEQUENCE_VALUES = f"""{_SEQUENCES}
SELECT format('SELECT setval(%L, %s)', name, pg_sequence_last_value(seqrelid))
FROM sequence WHERE deptype = 'i' AND pg_sequence_last_value(seqrelid) IS NOT NULL
"""
OWNER = f"""{_ME}
SELECT format('ALTER TABLE %s OWNER TO %I', name, pg_get_userbyid(relowner))
FROM me WHERE pg_get_userbyid(relowner) <> current_user
"""
_NOT_NULL = f"""{_ME}
SELECT format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', me.name, a.attname)
FROM pg_attribute a, me
WHERE a.attrelid = me.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
  AND a.attname IN (SELECT json_array_elements_text($2::text::json)) ORDER BY a.attnum
"""
# Since PostgreSQL 18 a NOT NULL has a name; $2 is the new table, which has made up its own.
_NOT_NULL_NAMES = f"""{_ME}
SELECT format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', me.name, fresh.conname, old.conname)
FROM me JOIN pg_constraint old ON old.conrelid = me.oid AND old.contype = 'n'
JOIN pg_attribute a ON a.attrelid = me.oid AND a.attnum = old.conkey[1]
JOIN pg_attribute b ON b.attrelid = to_regclass($2) AND b.attname = a.attname
JOIN pg_constraint fresh ON fresh.conrelid = b.attrelid AND fresh.contype = 'n'
  AND fresh.conkey[1] = b.attnum
WHERE fresh.conname <> old.conname
"""
_DEFAULTS = f"""{_ME}
SELECT format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s',
              me.name, a.attname, pg_get_expr(d.adbin, d.adrelid))
FROM me JOIN pg_attribute a ON a.attrelid = me.oid
JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
COLUMN_SETTINGS = f"""{_ME}
SELECT format('ALTER TABLE %s ALTER COLUMN %I %s', me.name, a.attname, x.setting)
FROM me JOIN pg_attribute a ON a.attrelid = me.oid JOIN pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (VALUES
  (1, CASE WHEN a.attstattarget >= 0 THEN format('SET STATISTICS %s', a.attstattarget) END),
  (2, CASE WHEN a.attstorage <> t.typstorage THEN 'SET STORAGE ' || CASE a.attstorage
        WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN'
        ELSE 'EXTENDED' END END),
  (3, CASE to_jsonb(a) ->> 'attcompression' WHEN 'p' THEN 'SET COMPRESSION pglz'
        WHEN 'l' THEN 'SET COMPRESSION lz4' END),
  (4, CASE WHEN a.attoptions IS NOT NULL
        THEN format('SET (%s)', array_to_string(a.attoptions, ', ')) END)
) AS x(i, setting)
WHERE a.attnum > 0 AND NOT a.attisdropped AND x.setting IS NOT NULL ORDER BY a.attnum, x.i
"""
STORAGE = f"""{_ME}
SELECT format('ALTER TABLE %s SET (%s)', o.name, string_agg(o.text, ', ')) FROM (
  SELECT name, unnest(reloptions) AS text FROM me
  UNION ALL
  SELECT me.name, 'toast.' || unnest(t.reloptions)
  FROM me JOIN pg_class t ON t.oid = me.reltoastrelid
) AS o GROUP BY o.name
"""
INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
WHERE i.indrelid = $1 AND NOT EXISTS (SELECT FROM pg_constraint k
  WHERE k.conindid = i.indexrelid AND k.conrelid = $1 AND k.contype IN ('p', 'u', 'x'))
ORDER BY i.indexrelid
"""
# Keys first: a foreign key of the table on itself needs them.
_CONSTRAINTS = f"""{_ME}
SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s',
              me.name, k.conname, pg_get_constraintdef(k.oid))
FROM me JOIN pg_constraint k ON k.conrelid = me.oid
WHERE k.contype IN ('p', 'u', 'x', 'c', 'f') ORDER BY position(k.contype::text IN 'puxcf'), k.oid
"""
INDEX_SETTINGS = f"""{_ME}, mine AS (
  SELECT i.*, c.relname, c.reloptions, format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.indrelid = $1
)
SELECT format('ALTER INDEX %s SET (%s)', mine.name, array_to_string(mine.reloptions, ', '))
FROM mine JOIN pg_constraint k
  ON k.conindid = mine.indexrelid AND k.conrelid = $1 AND k.contype IN ('p', 'u', 'x')
WHERE mine.reloptions IS NOT NULL
UNION ALL
SELECT format('ALTER TABLE %s CLUSTER ON %I', me.name, mine.relname)
FROM mine, me WHERE mine.indisclustered
"""
_COMMENTS = f"""{_ME}
SELECT format('COMMENT ON %s IS %L', x.what, x.text) FROM (
  SELECT 1 AS i, d.description AS text, CASE WHEN d.objsubid = 0 THEN 'TABLE ' || me.name
           ELSE format('COLUMN %s.%I', me.name, a.attname) END AS what
  FROM me JOIN pg_description d ON d.objoid = me.oid AND d.classoid = 'pg_class'::regclass
  LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
  UNION ALL
  SELECT 2, d.description, format('INDEX %I.%I', n.nspname, c.relname)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = i.indexrelid
  WHERE i.indrelid = $1
  UNION ALL
  SELECT 3, d.description, format('CONSTRAINT %I ON %s', k.conname, me.name)
  FROM me JOIN pg_constraint k ON k.conrelid = me.oid
  JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid
) AS x ORDER BY x.i, x.what
"""
_GRANTEE = "CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END"
# Default privileges may have given the new table grants that the old one hadn't.
_REVOKES = f"""{_ME}
SELECT format('REVOKE ALL ON %s FROM %s', me.name, {_GRANTEE}) FROM me, (
  SELECT DISTINCT a.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
  WHERE c.oid = to_regclass($2) OR (c.oid = $1 AND a.grantee = c.relowner)) AS g
"""
GRANTS = f"""{_SEQUENCES}
SELECT format('GRANT %s ON %s TO %s%s', g.rights, g.name, {_GRANTEE},
              CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM (
  SELECT 0 AS i, me.name, a.grantee, a.is_grantable,
         string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS rights
  FROM me CROSS JOIN LATERAL aclexplode(me.relacl) AS a
  GROUP BY me.name, a.grantee, a.is_grantable
  UNION ALL
  SELECT t.attnum, me.name, a.grantee, a.is_grantable,
         string_agg(format('%s (%I)', a.privilege_type, t.attname), ', ')
  FROM me JOIN pg_attribute t ON t.attrelid = me.oid CROSS JOIN LATERAL aclexplode(t.attacl) AS a
  WHERE NOT t.attisdropped GROUP BY t.attnum, me.name, a.grantee, a.is_grantable
  UNION ALL
  SELECT 10000, 'SEQUENCE ' || s.name, a.grantee, a.is_grantable,
         string_agg(a.privilege_type, ', ')
  FROM sequence s CROSS JOIN LATERAL aclexplode(s.relacl) AS a
  WHERE s.deptype = 'i' GROUP BY s.name, a.grantee, a.is_grantable
) AS g ORDER BY g.i, g.name, g.grantee
"""


def swap_statements(
    session: SqlSession, oid: int, target: Table, new: Table, columns: tuple[Column, ...]
) -> list[str]:
    """Return the statements that put ``new`` in the place of ``target`` (whose oid is ``oid``)."""

    def ask(query: str, *values: str) -> list[str]:
        return [str(row[0]) for row in session.rows(query, (oid, *values))]

    open_to_null = json.dumps([c.name for c in columns if c.nullable])
    new_name = _DIALECT.table(new)
    return [
        *ask(_LET_GO_OF_SEQUENCES),
        f"DROP TABLE {_DIALECT.table(target)}",
        f"ALTER TABLE {new_name} RENAME TO {_DIALECT.quote(target.name)}",
        *ask(_NOT_NULL_NAMES, new_name),
        *ask(_NOT_NULL, open_to_null),
        *ask(_IDENTITY),
        *ask(_SEQUENCE_VALUES),
        *ask(_DEFAULTS),
        *ask(COLUMN_SETTINGS),
        *ask(STORAGE),
        *ask(INDEXES),
        *ask(_CONSTRAINTS),
        *ask(INDEX_SETTINGS),
        *ask(_COMMENTS),
        *ask(OWNER),
        *ask(_OWN_SEQUENCES),
        *ask(_REVOKES, new_name),
        *ask(GRANTS),
    ]
