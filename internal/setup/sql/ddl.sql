CREATE OR REPLACE FUNCTION tidemark.on_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $tidemark$
DECLARE
  shared boolean;
BEGIN
  -- Nobody else sees a temporary object, so no answer reads one.
  IF tg_event = 'sql_drop' THEN
    -- The rule of a temporary view is not called temporary; its address is.
    SELECT bool_or(NOT is_temporary AND address_names[1] IS DISTINCT FROM 'pg_temp')
      INTO shared FROM pg_event_trigger_dropped_objects();
  ELSE
    SELECT bool_or(schema_name IS DISTINCT FROM 'pg_temp') INTO shared FROM pg_event_trigger_ddl_commands();
  END IF;
  -- No answer rests on these.
  IF shared AND tg_tag NOT IN ('CREATE INDEX', 'ALTER INDEX', 'DROP INDEX', 'REINDEX', 'COMMENT',
      'CREATE STATISTICS', 'ALTER STATISTICS', 'DROP STATISTICS') THEN
    PERFORM pg_logical_emit_message(true, 'tidemark.ddl', tg_tag);
  END IF;
EXCEPTION WHEN OTHERS THEN
  -- The command itself must go on, whatever happens here.
  RAISE WARNING 'tidemark was not told of this %: %', tg_tag, SQLERRM;
END
$tidemark$;
