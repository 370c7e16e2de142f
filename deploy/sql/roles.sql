-- Roles of an installation on PostgreSQL. Run it as a superuser, in the database of the journal, before
-- `order-engine migrate`, and again whenever a release adds tables: it may be repeated.
--
--   order_engine_owner    owns the journal: `order-engine migrate`, `restore`
--   order_engine_writer   runs `serve`; reads and adds facts, never changes or removes one
--   order_engine_reader   reads: `audit`, `replay`, reports of your own
--
-- Facts and seals can be changed by nobody but the owner, whose triggers refuse it too. Views are tables of the
-- writer, in a schema of its own, since they are dropped and made again: give `serve` the URL
-- `postgresql://...?options=-csearch_path%3Dorder_engine_views` for `--views-url`.
--
-- Give each role a password or a certificate, or grant it to your own login roles:
--   ALTER ROLE order_engine_writer LOGIN PASSWORD '...';

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['order_engine_owner', 'order_engine_writer', 'order_engine_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        END IF;
    END LOOP;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO order_engine_owner;
GRANT USAGE ON SCHEMA public TO order_engine_writer, order_engine_reader;

CREATE SCHEMA IF NOT EXISTS order_engine_views;
ALTER SCHEMA order_engine_views OWNER TO order_engine_writer;
GRANT USAGE ON SCHEMA order_engine_views TO order_engine_reader;

-- Tables that there are, and those that `migrate` makes later.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO order_engine_writer;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO order_engine_reader;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO order_engine_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE order_engine_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO order_engine_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE order_engine_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO order_engine_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE order_engine_owner IN SCHEMA public
    GRANT SELECT ON TABLES TO order_engine_reader;

-- Facts, seals, acts and refusals are only added.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['journal', 'seals', 'acts', 'refusals'] LOOP
        IF to_regclass('public.' || name) IS NOT NULL THEN
            EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON public.%I FROM order_engine_writer', name);
        END IF;
    END LOOP;
END $$;

ALTER DEFAULT PRIVILEGES FOR ROLE order_engine_writer IN SCHEMA order_engine_views
    GRANT SELECT ON TABLES TO order_engine_reader;
