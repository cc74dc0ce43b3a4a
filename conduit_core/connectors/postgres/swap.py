"""Putting a new table in an old one's place with everything that hangs on the old one, and what forbids it.

Each query asks the catalogue about the old table (``$1``, its oid) and answers with statements. Names
are quoted by the server's ``format``.
"""

from __future__ import annotations

from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.types.dialect import Table

_DIALECT = PostgresDialect()

# What would break or be lost in a swap: everything that depends on the table and that the statements
# below don't make anew, and properties that only the table itself can keep.
DEPENDANTS = """
WITH it AS (SELECT c.*, n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = $1)
SELECT DISTINCT CASE
    WHEN v.oid IS NULL OR v.oid = $1 THEN pg_describe_object(d.classid, d.objid, d.objsubid)
    WHEN v.relkind = 'm' THEN 'materialised view ' || v.oid::regclass::text
    ELSE 'view ' || v.oid::regclass::text END
FROM it
JOIN pg_catalog.pg_depend d ON
  (d.refclassid = 'pg_class'::regclass AND d.refobjid = it.oid) OR
  (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
    SELECT t.oid FROM pg_catalog.pg_type t WHERE t.oid = it.reltype
    UNION SELECT t.typarray FROM pg_catalog.pg_type t WHERE t.oid = it.reltype))
LEFT JOIN pg_catalog.pg_class o ON d.classid = 'pg_class'::regclass AND o.oid = d.objid
LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
WHERE d.classid NOT IN ('pg_type'::regclass, 'pg_attrdef'::regclass)
  AND NOT (o.oid IS NOT NULL AND (o.oid = it.oid OR o.relkind IN ('i', 'I', 't', 'S')))
  AND NOT (k.oid IS NOT NULL AND k.conrelid = it.oid)
UNION SELECT 'parent table ' || i.inhparent::regclass::text FROM pg_catalog.pg_inherits i WHERE i.inhrelid = $1
UNION SELECT 'publication ' || quote_ident(p.pubname) FROM pg_catalog.pg_publication_tables p, it
      WHERE p.schemaname = it.nspname AND p.tablename = it.relname
UNION SELECT 'row-level security' FROM it WHERE it.relrowsecurity OR it.relforcerowsecurity
UNION SELECT 'security label' FROM pg_catalog.pg_seclabel s WHERE s.classoid = 'pg_class'::regclass AND s.objoid = $1
UNION SELECT 'partitioning' FROM it WHERE it.relkind = 'p'
UNION SELECT 'it is unlogged' FROM it WHERE it.relpersistence <> 'p'
UNION SELECT 'its tablespace' FROM it WHERE it.reltablespace <> 0
UNION SELECT 'its replica identity' FROM it WHERE it.relreplident <> 'd'
UNION SELECT 'its row type' FROM it WHERE it.reloftype <> 0
UNION SELECT 'its access method' FROM it JOIN pg_catalog.pg_am m ON m.oid = it.relam
      WHERE m.amname <> current_setting('default_table_access_method')
UNION SELECT 'index ' || i.indexrelid::regclass::text || ' in a tablespace' FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1 AND c.reltablespace <> 0
UNION SELECT 'column ' || quote_ident(a.attname) || CASE
        WHEN a.attgenerated <> '' THEN ' (generated)'
        WHEN t.typtype = 'd' THEN ' (a domain)'
        ELSE ' (its collation)' END
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
      WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attgenerated <> '' OR t.typtype = 'd' OR a.attcollation <> t.typcollation)
ORDER BY 1
"""

_NAME = "(SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1)"

_LET_GO_OF_SEQUENCES = """
SELECT format('ALTER SEQUENCE %s OWNED BY NONE', d.objid::regclass) FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.deptype = 'a'
"""
_OWN_SEQUENCES = f"""
SELECT format('ALTER SEQUENCE %s OWNED BY %s.%I', d.objid::regclass, {_NAME}, a.attname) FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.deptype = 'a'
"""
_OWNER = f"""
SELECT format('ALTER TABLE %s OWNER TO %I', {_NAME}, pg_get_userbyid(relowner)) FROM pg_catalog.pg_class
WHERE oid = $1 AND pg_get_userbyid(relowner) <> current_user
"""
_NOT_NULL = f"""
SELECT format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', {_NAME}, a.attname) FROM pg_catalog.pg_attribute a
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
  AND a.attname IN (SELECT json_array_elements_text($2::text::json))
ORDER BY a.attnum
"""
_IDENTITY = f"""
SELECT format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s START %s INCREMENT %s'
              ' MINVALUE %s MAXVALUE %s CACHE %s %s)',
    {_NAME}, a.attname, CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
    format('%I.%I', n.nspname, c.relname), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
    CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END)
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
  AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE a.attrelid = $1 AND a.attidentity <> '' ORDER BY a.attnum
"""
_SEQUENCE_VALUES = """
SELECT format('SELECT setval(%L, %s)', format('%I.%I', n.nspname, c.relname), pg_sequence_last_value(s.seqrelid))
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
  AND pg_sequence_last_value(s.seqrelid) IS NOT NULL
"""
_DEFAULTS = f"""
SELECT format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', {_NAME}, a.attname, pg_get_expr(d.adbin, d.adrelid))
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
_COLUMN_SETTINGS = f"""
SELECT format('ALTER TABLE %s ALTER COLUMN %I %s', {_NAME}, a.attname, x.setting)
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (VALUES
  (1, CASE WHEN a.attstattarget >= 0 THEN format('SET STATISTICS %s', a.attstattarget) END),
  (2, CASE WHEN a.attstorage <> t.typstorage THEN 'SET STORAGE ' || CASE a.attstorage
      WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END),
  (3, CASE to_jsonb(a) ->> 'attcompression' WHEN 'p' THEN 'SET COMPRESSION pglz' WHEN 'l' THEN 'SET COMPRESSION lz4' END),
  (4, CASE WHEN a.attoptions IS NOT NULL THEN format('SET (%s)', array_to_string(a.attoptions, ', ')) END)
) AS x(i, setting)
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND x.setting IS NOT NULL ORDER BY a.attnum, x.i
"""
_STORAGE = f"""
SELECT format('ALTER TABLE %s SET (%s)', {_NAME}, string_agg(o.text, ', ')) FROM (
  SELECT unnest(c.reloptions) AS text FROM pg_catalog.pg_class c WHERE c.oid = $1
  UNION ALL SELECT 'toast.' || unnest(t.reloptions) FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = $1
) AS o HAVING count(*) > 0
"""
_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index i
WHERE i.indrelid = $1 AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
  WHERE k.conindid = i.indexrelid AND k.conrelid = $1 AND k.contype IN ('p', 'u', 'x'))
ORDER BY i.indexrelid
"""
# Keys first: a foreign key of the table on itself needs them.
_CONSTRAINTS = f"""
SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', {_NAME}, k.conname, pg_get_constraintdef(k.oid))
FROM pg_catalog.pg_constraint k WHERE k.conrelid = $1 AND k.contype IN ('p', 'u', 'x', 'c', 'f')
ORDER BY position(k.contype::text IN 'puxcf'), k.oid
"""
_INDEX_SETTINGS = f"""
SELECT format('ALTER INDEX %I.%I SET (%s)', n.nspname, c.relname, array_to_string(c.reloptions, ', '))
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = $1 AND k.contype IN ('p', 'u', 'x')
WHERE i.indrelid = $1 AND c.reloptions IS NOT NULL
UNION ALL
SELECT format('ALTER TABLE %s CLUSTER ON %I', {_NAME}, c.relname)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = $1 AND i.indisclustered
"""
_COMMENTS = f"""
SELECT format('COMMENT ON %s IS %L', x.what, x.text) FROM (
  SELECT 1 AS i, CASE WHEN d.objsubid = 0 THEN 'TABLE ' || {_NAME}
           ELSE format('COLUMN %s.%I', {_NAME}, a.attname) END AS what, d.description AS text
  FROM pg_catalog.pg_description d
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
  WHERE d.classoid = 'pg_class'::regclass AND d.objoid = $1
  UNION ALL
  SELECT 2, format('INDEX %I.%I', n.nspname, c.relname), d.description
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = i.indexrelid
  WHERE i.indrelid = $1
  UNION ALL
  SELECT 3, format('CONSTRAINT %I ON %s', k.conname, {_NAME}), d.description
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid
  WHERE k.conrelid = $1
) AS x ORDER BY x.i, x.what
"""
# Since PostgreSQL 18 a NOT NULL has a name; $2 is the new table, which has its own names for them.
_NOT_NULL_NAMES = f"""
SELECT format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', {_NAME}, fresh.conname, old.conname)
FROM pg_catalog.pg_constraint old
JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attnum = old.conkey[1]
JOIN pg_catalog.pg_attribute b ON b.attrelid = to_regclass($2) AND b.attname = a.attname
JOIN pg_catalog.pg_constraint fresh ON fresh.conrelid = b.attrelid AND fresh.contype = 'n' AND fresh.conkey[1] = b.attnum
WHERE old.conrelid = $1 AND old.contype = 'n' AND fresh.conname <> old.conname
"""
# Default privileges may have given the new table grants that the old one didn't have.
_REVOKES = f"""
SELECT format('REVOKE ALL ON %s FROM %s', {_NAME}, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
FROM (SELECT DISTINCT a.grantee FROM pg_catalog.pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
      WHERE c.oid = to_regclass($2) OR (c.oid = $1 AND a.grantee = c.relowner)) AS g
"""
_GRANTS = f"""
SELECT format('GRANT %s ON %s TO %s%s', x.rights, {_NAME},
  CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
  CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM (
  SELECT 0 AS i, a.grantee, a.is_grantable, string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS rights
  FROM pg_catalog.pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS a WHERE c.oid = $1
  GROUP BY a.grantee, a.is_grantable
  UNION ALL
  SELECT t.attnum, a.grantee, a.is_grantable,
         string_agg(format('%s (%I)', a.privilege_type, t.attname), ', ' ORDER BY a.privilege_type)
  FROM pg_catalog.pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) AS a
  WHERE t.attrelid = $1 AND NOT t.attisdropped GROUP BY t.attnum, a.grantee, a.is_grantable
) AS x ORDER BY x.i, x.grantee
"""


def swap_statements(
    session: SqlSession, oid: int, target: Table, new: Table, columns: tuple[Column, ...]
) -> list[str]:
    """Return the statements that put ``new`` in the place of ``target`` (whose oid is ``oid``)."""
    import json

    def ask(query: str, *values: str) -> list[str]:
        return [str(row[0]) for row in session.rows(query, (oid, *values))]

    open_to_null = json.dumps([c.name for c in columns if c.nullable])
    new_name = _DIALECT.table(new)
    old_name = _DIALECT.table(target)
    return [
        *ask(_LET_GO_OF_SEQUENCES),
        f"DROP TABLE {old_name}",
        f"ALTER TABLE {new_name} RENAME TO {_DIALECT.quote(target.name)}",
        *ask(_NOT_NULL_NAMES, new_name),
        *ask(_NOT_NULL, open_to_null),
        *ask(_IDENTITY),
        *ask(_SEQUENCE_VALUES),
        *ask(_DEFAULTS),
        *ask(_COLUMN_SETTINGS),
        *ask(_STORAGE),
        *ask(_INDEXES),
        *ask(_CONSTRAINTS),
        *ask(_INDEX_SETTINGS),
        *ask(_COMMENTS),
        *ask(_OWNER),
        *ask(_OWN_SEQUENCES),
        *ask(_REVOKES, new_name),
        *ask(_GRANTS),
    ]
