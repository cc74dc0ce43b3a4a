"""What keeps a column of a table as it is: views on it, and on those, which can be made again as
they were; and whatever else uses it.

The queries ask about the table ``$1`` (its oid) and the columns ``$2`` (a JSON list of names), and
as those of a swap about one relation; names are quoted by the server's ``format``.
"""

from __future__ import annotations

import json

from conduit_core.connectors.postgres.swap import (
    COLUMN_SETTINGS,
    GRANTS,
    INDEX_SETTINGS,
    INDEXES,
    OWNER,
    STORAGE,
)
from conduit_core.connectors.sql.altering import Holder
from conduit_core.connectors.sql.session import SqlSession

# Views that use one of the columns ("direct"), and views on those: each with the columns it holds
# and how deep it lies: the deepest is dropped first.
_VIEWS = """
WITH RECURSIVE wanted AS (
  SELECT attnum, attname FROM pg_attribute
  WHERE attrelid = $1 AND attname IN (SELECT json_array_elements_text($2::text::json))
), used (oid, attname, depth) AS (
  SELECT r.ev_class, w.attname, 1
  FROM wanted w JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
    AND d.refobjsubid = w.attnum AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN' AND r.ev_class <> $1
  UNION
  SELECT r.ev_class, u.attname, u.depth + 1
  FROM used u JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = u.oid
    AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN' AND r.ev_class <> u.oid
), views AS (
  SELECT oid, max(depth) AS depth, json_agg(DISTINCT attname)::text AS names
  FROM used GROUP BY oid
)"""
_LISTED = f"""{_VIEWS}
SELECT v.oid::int8, v.names, c.relkind::text, format('%I.%I', n.nspname, c.relname),
       pg_get_viewdef(v.oid), c.relispopulated
FROM views v JOIN pg_class c ON c.oid = v.oid JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY v.depth DESC, v.oid
"""
# What a view can't be dropped with, or made again without.
_FIRM_ON_VIEWS = f"""{_VIEWS}
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid), v.names
FROM views v JOIN pg_class c ON c.oid = v.oid
JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid)
  OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
    SELECT c.reltype UNION SELECT t.typarray FROM pg_type t WHERE t.oid = c.reltype))
LEFT JOIN pg_class o ON d.classid = 'pg_class'::regclass AND o.oid = d.objid
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
WHERE d.classid <> 'pg_type'::regclass
  AND NOT (o.oid IS NOT NULL AND o.relkind IN ('i', 't'))
  AND NOT (r.oid IS NOT NULL AND r.rulename = '_RETURN' AND d.refclassid = 'pg_class'::regclass)
UNION SELECT x.what || ' of ' || c.oid::regclass::text, v.names
FROM views v JOIN pg_class c ON c.oid = v.oid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (VALUES
  ('the extension', EXISTS (SELECT FROM pg_depend e WHERE e.deptype = 'e'
     AND e.classid = 'pg_class'::regclass AND e.objid = c.oid)),
  ('the security label', EXISTS (SELECT FROM pg_seclabel s
     WHERE s.classoid = 'pg_class'::regclass AND s.objoid = c.oid)),
  ('the tablespace', c.reltablespace <> 0 OR EXISTS (SELECT FROM pg_index i
     JOIN pg_class k ON k.oid = i.indexrelid WHERE i.indrelid = c.oid AND k.reltablespace <> 0)),
  ('the access method', EXISTS (SELECT FROM pg_am m WHERE m.oid = c.relam
     AND m.amname <> current_setting('default_table_access_method'))),
  ('the replica identity', c.relkind = 'm' AND c.relreplident <> 'd'),
  ('the owner, role ' || pg_get_userbyid(c.relowner) || ',',
     NOT pg_has_role(c.relowner, 'USAGE')),
  ('the schema, where the role may not create,',
     NOT has_schema_privilege(c.relnamespace, 'CREATE'))
) AS x(what, is_so)
WHERE x.is_so ORDER BY 1
"""
# What uses a column, beside views, and stops an ALTER of its type: indexes, constraints, statistics
# and its own default are altered with it. Whole rows count for every column.
_FIRM = """
WITH wanted AS (
  SELECT attnum, attname FROM pg_attribute
  WHERE attrelid = $1 AND attname IN (SELECT json_array_elements_text($2::text::json))
)
SELECT DISTINCT CASE WHEN k.oid IS NULL THEN pg_describe_object(d.classid, d.objid, d.objsubid)
    ELSE format('generated column %I', g.attname) END,
  json_build_array(w.attname)::text
FROM wanted w JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
  AND d.refobjsubid = w.attnum
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_attrdef k ON d.classid = 'pg_attrdef'::regclass AND k.oid = d.objid
LEFT JOIN pg_attribute g ON g.attrelid = k.adrelid AND g.attnum = k.adnum
WHERE d.classid NOT IN ('pg_class'::regclass, 'pg_constraint'::regclass,
    'pg_statistic_ext'::regclass)
  AND NOT (r.oid IS NOT NULL AND r.rulename = '_RETURN' AND r.ev_class <> $1)
  AND NOT (k.oid IS NOT NULL AND k.adrelid = $1 AND k.adnum = w.attnum)
UNION SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid),
  (SELECT json_agg(attname) FROM wanted)::text
FROM pg_class c JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
  SELECT c.reltype UNION SELECT t.typarray FROM pg_type t WHERE t.oid = c.reltype)
WHERE c.oid = $1 AND d.classid = 'pg_class'::regclass AND d.objsubid > 0
UNION SELECT 'generated column ' || quote_ident(g.attname), json_build_array(g.attname)::text
FROM pg_attribute g JOIN wanted w ON w.attnum = g.attnum
WHERE g.attrelid = $1 AND g.attgenerated <> ''
UNION SELECT 'table ' || inhparent::regclass::text || ', its parent,',
  (SELECT json_agg(attname) FROM wanted)::text
FROM pg_inherits WHERE inhrelid = $1
ORDER BY 1
"""
_ME = """
WITH me AS (
  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name,
         CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1
)"""
_COMMENTS = f"""{_ME}
SELECT format('COMMENT ON %s IS %L', x.what, d.description)
FROM me JOIN pg_description d ON d.classoid = 'pg_class'::regclass
LEFT JOIN pg_index i ON i.indexrelid = d.objoid AND i.indrelid = me.oid
LEFT JOIN pg_class k ON k.oid = i.indexrelid
LEFT JOIN pg_namespace n ON n.oid = k.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = me.oid AND a.attnum = d.objsubid
CROSS JOIN LATERAL (SELECT CASE
  WHEN k.oid IS NOT NULL THEN format('INDEX %I.%I', n.nspname, k.relname)
  WHEN d.objsubid = 0 THEN format('%s %s', me.kind, me.name)
  ELSE format('COLUMN %s.%I', me.name, a.attname) END) AS x(what)
WHERE d.objoid = me.oid OR k.oid IS NOT NULL ORDER BY x.what
"""
_GRANTEE = "CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END"
# Default privileges may give the new view grants that the old one hadn't.
_REVOKES = f"""{_ME}
SELECT format('REVOKE ALL ON %s FROM %s', me.name, {_GRANTEE}) FROM me, (
  SELECT a.grantee FROM pg_default_acl p CROSS JOIN LATERAL aclexplode(p.defaclacl) AS a, me
  WHERE p.defaclobjtype = 'r' AND a.grantee <> me.relowner
  UNION
  SELECT a.grantee FROM me CROSS JOIN LATERAL aclexplode(me.relacl) AS a
  WHERE a.grantee = me.relowner) AS g
"""


def holders(session: SqlSession, oid: int, columns: tuple[str, ...]) -> tuple[Holder, ...]:
    """Return what keeps the types of a table's columns as they are, in the order to drop it in."""
    asked = (oid, json.dumps(columns))
    firm = [*session.rows(_FIRM, asked), *session.rows(_FIRM_ON_VIEWS, asked)]
    found = [Holder(str(what), _names(names)) for what, names in firm]
    for view, names, kind, name, definition, filled in session.rows(_LISTED, asked):
        word = "MATERIALIZED VIEW" if kind == "m" else "VIEW"
        body = str(definition).rstrip().rstrip(";")
        data = "" if kind != "m" else f" WITH {'' if filled else 'NO '}DATA"
        found.append(
            Holder(
                f"{'materialised view' if kind == 'm' else 'view'} {name}",
                _names(names),
                f"DROP {word} {name}",
                (f"CREATE {word} {name} AS {body}{data}", *_settings(session, int(str(view)))),
            )
        )
    return tuple(found)


def _settings(session: SqlSession, oid: int) -> tuple[str, ...]:
    """Return the statements that give a view all that hangs on it, once it is made again."""
    queries = (
        STORAGE, COLUMN_SETTINGS, INDEXES, INDEX_SETTINGS, _COMMENTS, OWNER, _REVOKES, GRANTS,
    )  # fmt: skip
    return tuple(str(text) for query in queries for (text,) in session.rows(query, (oid,)))


def _names(text: object) -> frozenset[str]:
    return frozenset(str(name) for name in json.loads(str(text)))
