CREATE OR REPLACE FUNCTION tidemark.token() RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $tidemark$
DECLARE
  -- Null until the transaction writes; the top level's id inside a savepoint.
  xid xid8 := pg_current_xact_id_if_assigned();
  body bytea;
  wal pg_lsn;
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'tidemark.token() cannot be made on a standby'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Ask the primary.';
  END IF;
  wal := pg_current_wal_insert_lsn();
  body := decode(CASE WHEN xid IS NULL THEN '00' ELSE '02' END, 'hex')
    || int8send((SELECT system_identifier FROM pg_control_system()))
    || decode(left(pg_walfile_name(wal), 8), 'hex')  -- the timeline
    || pg_lsn_send(wal)
    || CASE WHEN xid IS NULL THEN '' ELSE xid8send(xid) END;
  body := body || substr(sha256(body), 1, 4);
  RETURN 'tm1' || translate(encode(body, 'base64'), '+/=', '-_');
END
$tidemark$;
