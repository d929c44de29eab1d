package query

import "strings"

// Postgres calls a function STABLE for one of several reasons, and only some of
// them let an answer grow stale without a row changing:
//
//   - it depends on settings of the session that tidemark pins or that are the
//     same for every fill (TimeZone, DateStyle, the text search configuration,
//     the output form of a type): the answer is a function of the rows;
//   - it depends on the clock, the session, the catalogs or another part of the
//     server: the answer changes on its own.
//
// stableAllowed lists the first kind by name, as judged from pg_proc of
// Postgres 14 to 18. A name that is not listed is refused.
const stableAllowed = `
	to_json to_jsonb row_to_json array_to_json
	json_build_array json_build_object jsonb_build_array jsonb_build_object
	json_agg jsonb_agg json_object_agg json_agg_strict json_object_agg_strict json_object_agg_unique
	json_object_agg_unique_strict jsonb_agg_strict jsonb_object_agg_strict jsonb_object_agg_unique
	jsonb_object_agg_unique_strict jsonb_object_agg
	jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_tz jsonb_path_query_array_tz jsonb_path_query_first_tz
	array_to_string concat concat_ws format textanycat anytextcat quote_literal quote_nullable
	convert convert_from convert_to length
	to_char to_date to_timestamp to_number
	date time timetz timestamp timestamptz make_timestamptz
	date_add date_subtract date_trunc date_part extract overlaps in_range generate_series
	date_cmp_timestamptz date_eq_timestamptz date_ge_timestamptz date_gt_timestamptz date_le_timestamptz
	date_lt_timestamptz date_ne_timestamptz
	timestamp_cmp_timestamptz timestamp_eq_timestamptz timestamp_ge_timestamptz timestamp_gt_timestamptz
	timestamp_le_timestamptz timestamp_lt_timestamptz timestamp_ne_timestamptz
	timestamptz_cmp_date timestamptz_eq_date timestamptz_ge_date timestamptz_gt_date timestamptz_le_date
	timestamptz_lt_date timestamptz_ne_date
	timestamptz_cmp_timestamp timestamptz_eq_timestamp timestamptz_ge_timestamp timestamptz_gt_timestamp
	timestamptz_le_timestamp timestamptz_lt_timestamp timestamptz_ne_timestamp
	interval_pl_timestamptz timestamptz_pl_interval timestamptz_mi_interval
	enum_first enum_last enum_range
	to_tsvector to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery
	json_to_tsvector jsonb_to_tsvector ts_headline ts_match_tq ts_match_tt`

// recordFunctions turn JSON into columns with the input functions of their
// types, so that they are as good as these types are.
const recordFunctions = `json_to_record json_to_recordset jsonb_to_record jsonb_to_recordset`

// The reasons for which a built-in function is refused.
const (
	reasonTime        = "changes with time, not with a row"
	reasonRandom      = "answers differently each time"
	reasonSession     = "depends on the session"
	reasonSequence    = "depends on a sequence, which the log does not follow"
	reasonCatalog     = "reads the system catalogs, which the log does not follow"
	reasonRights      = "depends on rights, which the log does not follow"
	reasonTxn         = "changes with every transaction"
	reasonText        = "runs text as SQL: what it reads cannot be seen"
	reasonStored      = "depends on how rows are stored, not on what they hold"
	reasonServer      = "depends on the state of the server"
	reasonLocale      = "depends on settings that tidemark does not pin"
	reasonColumns     = "turns text into types that it names at run time"
	reasonShownByName = "a value of type %s is shown by name, and names change without a row changing"
	reasonUnvouched   = "is STABLE, and tidemark does not know that only rows can change its result"
	reasonVolatile    = "is VOLATILE: it may answer differently each time or change something"
)

// builtinReasons holds, per reason, the functions by name; a name that ends in
// * stands for all that begin so. Only the wording depends on it.
var builtinReasons = []struct{ reason, names string }{
	{reasonTime, `now transaction_timestamp statement_timestamp clock_timestamp timeofday age timezone
		pg_postmaster_start_time pg_conf_load_time pg_sleep*`},
	{reasonRandom, `random random_normal gen_random_uuid uuidv4 uuidv7 setseed array_sample array_shuffle`},
	{reasonSequence, `nextval currval lastval setval pg_sequence_last_value`},
	{reasonSession, `current_setting set_config current_user session_user system_user getpgusername current_schema
		current_schemas current_database inet_client_* inet_server_* pg_backend_pid pg_client_encoding pg_my_temp_schema
		pg_is_other_temp_schema pg_trigger_depth pg_listening_channels pg_cursor pg_prepared_statement
		get_current_ts_config`},
	{reasonTxn, `txid_* pg_current_snapshot pg_current_xact_id* mxid_age pg_export_snapshot pg_snapshot_*`},
	{reasonRights, `has_* pg_has_role row_security_active acl*`},
	{reasonText, `query_to_xml* cursor_to_xml* table_to_xml* schema_to_xml* database_to_xml* ts_stat ts_rewrite dblink*`},
	{reasonStored, `pg_column_size pg_column_compression pg_column_toast_chunk_id pg_relation_size pg_table_size
		pg_indexes_size pg_total_relation_size pg_database_size pg_tablespace_size`},
	{reasonLocale, `money numeric xml xml_* cash_*`},
	{reasonColumns, `json_populate_record* jsonb_populate_record* pg_input_*`},
	{reasonCatalog, `to_reg* regclass format_type obj_description col_description shobj_description oidvectortypes
		pg_get_* pg_describe_object pg_identify_object* pg_typeof pg_collation_for pg_basetype pg_*_is_visible
		pg_*_is_updatable ts_parse ts_token_type ts_debug version getdatabaseencoding`},
	{reasonServer, `pg_*`},
}

// stableFunction reports whether only rows can change what a built-in STABLE
// function answers.
func stableFunction(f *function) bool {
	// timezone(text, timetz) asks for the offset of the zone today.
	return hasWord(stableAllowed, f.name)
}

// refusalOf says why a built-in function that is not allowed is refused.
func refusalOf(f *function) string {
	for _, r := range builtinReasons {
		for _, name := range strings.Fields(r.names) {
			if matchName(name, f.name) {
				if r.reason == reasonLocale && f.volatility == "v" {
					break
				}
				return r.reason
			}
		}
	}
	if f.volatility == "v" {
		return reasonVolatile
	}
	return reasonUnvouched
}

// matchName compares a name with a pattern that has at most one *.
func matchName(pattern, name string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	return len(name) >= len(head)+len(tail) && strings.HasPrefix(name, head) && strings.HasSuffix(name, tail)
}

func hasWord(list, word string) bool {
	for _, w := range strings.Fields(list) {
		if w == word {
			return true
		}
	}
	return false
}
