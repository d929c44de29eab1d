package adminapi

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// collector reads a tenant's figures when it is scraped.
type collector struct{ *api }

func registerMetrics(reg *prometheus.Registry, a *api) {
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reg.MustRegister(&collector{a})
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tidemark_"+name, help, labels, nil)
}

var (
	descReady        = desc("ready", "1 while the log is followed and answers are kept right.")
	descHits         = desc("hits_total", "Answers served from memory.", "endpoint")
	descMisses       = desc("misses_total", "Answers computed for a request.", "endpoint")
	descStale        = desc("stale_total", "Stale answers served within max_staleness.", "endpoint")
	descFills        = desc("fills_total", "Queries sent to fill answers.", "endpoint")
	descFilled       = desc("filled_total", "Answers that queries computed.", "endpoint")
	descRefills      = desc("refills_total", "Answers computed again before anybody asked.", "endpoint")
	descShed         = desc("shed_total", "Requests turned away because too many answers waited to be computed.", "endpoint")
	descPatched      = desc("patched_total", "Answers brought up to date in place, without a query.", "endpoint")
	descPassed       = desc("passed_total", "Changes that touched an answer and were found to leave it as it was, without a query.", "endpoint")
	descCompared     = desc("compared_total", "Answers computed again after a change ended them, while the old one was known.", "endpoint")
	descVain         = desc("vain_total", "Of tidemark_compared_total, answers that came out as they were.", "endpoint")
	descDistrusted   = desc("distrusted", "1 while the endpoint follows whole tables because an audit found an answer wrong.", "endpoint")
	descErrors       = desc("fill_errors_total", "Fills that failed.", "endpoint")
	descEnded        = desc("ended_total", "Cached answers that a committed change or definition ended.", "endpoint")
	descInvalid      = desc("invalidations_total", "Cached answers dropped, by reason.", "reason")
	descAnswers      = desc("answers", "Answers in memory.", "endpoint")
	descBytes        = desc("cache_bytes", "Memory that answers take, with all that hangs from them.")
	descMax          = desc("cache_max_bytes", "Bound on cache_bytes.")
	descNodes        = desc("dependencies", "Dependencies in the index.")
	descEvicted      = desc("evictions_total", "Answers dropped to stay within the bound.")
	descFrontier     = desc("frontier_lsn", "Log position up to which everything is applied, in bytes.")
	descLag          = desc("lag_seconds", "Time since the log was last heard.")
	descLagBytes     = desc("lag_bytes", "How far the end of the log is ahead of the frontier.")
	descRetained     = desc("retained_log_bytes", "Log that the slot makes the database keep.")
	descTransactions = desc("transactions_total", "Transactions applied.")
	descChanges      = desc("changes_total", "Row changes applied.")
	descEpoch        = desc("epoch", "Grows when the log does not continue where it was left.")
	descSessions     = desc("sessions_total", "Connections to the log.")
	descSpilled      = desc("spilled_bytes_total", "Bytes of large transactions written to disk.")
	descQuestions    = desc("primary_questions_total", "Questions for the primary's position.")
	descFlushes      = desc("forced_flushes_total", "Times that the log was flushed for a waiting request.")
	descHistory      = desc("history_bytes", "Memory of recent changes.")
	descPins         = desc("pinned_snapshots", "Snapshots held open for exact reads.")
	descChecked      = desc("audit_checked_total", "Answers in memory that were compared with the database.")
	descWrong        = desc("audit_wrong_total", "Of these, answers that were not what the database says.")
	descUndecided    = desc("audit_undecided_total", "Answers that differ from the database as two runs of their statement may.")
	descFilling      = desc("fill_connections_in_use", "Connections that fills hold.")

	descRelationships = desc("permission_relationships", "Relationships in memory; while they are being loaded, those read so far.")
	descLoaded        = desc("permission_loaded", "1 while the relationships are in memory.")
	descSchema        = desc("permission_schema_version", "Grows with every schema that is written; 0 while there is none.")
	descVersions      = desc("permission_versions", "States of the past that at_exact_snapshot can be given.")
	descPermBytes     = desc("permission_kept_bytes", "Memory of these and of changes kept for watchers, about.")
	descWatchers      = desc("permission_watchers", "Watch calls that have not ended.")
	descIgnored       = desc("permission_ignored_rows_total", "Rows that are no relationship, of those that the log brought.")

	descWaiting      = desc("live_waiting", "Requests of followers that wait for what comes next.")
	descFollowed     = desc("live_answers", "Answers that are followed.")
	descDifferences  = desc("live_differences_total", "Differences of followed answers that were found.")
	descRefreshes    = desc("live_refreshes_total", "Times that a followed answer was read anew.")
	descReadFailures = desc("live_failures_total", "Times that a followed answer could not be read.")
	descTables       = desc("live_tables_ready", "1 while tables can be followed.")
	descShapes       = desc("live_shapes", "Shapes of tables in memory.")
	descHandles      = desc("live_handles", "Shapes of tables on disk.")
	descTails        = desc("live_tail_bytes", "Memory of recent messages of these.")
	descBatches      = desc("live_batches_total", "Batches of these that were made; what is shared counts once.")
	descFromLog      = desc("live_batches_from_log_total", "Of these, batches for which the kept log was read.")
	descKept         = desc("live_log_bytes", "Disk that the kept log takes.")
)

// Describe implements prometheus.Collector: the metrics are found by collecting.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, ch)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	s := c.tenant.Status()
	gauge(descReady, yes(s.Ready))
	for _, e := range c.tenant.Endpoints() {
		count(descHits, float64(e.Hits), e.Name)
		count(descMisses, float64(e.Misses), e.Name)
		count(descStale, float64(e.Stale), e.Name)
		count(descFills, float64(e.Fills), e.Name)
		count(descFilled, float64(e.Filled), e.Name)
		count(descRefills, float64(e.Refills), e.Name)
		count(descShed, float64(e.Shed), e.Name)
		count(descPatched, float64(e.Patched), e.Name)
		count(descPassed, float64(e.Passed), e.Name)
		count(descCompared, float64(e.Compared), e.Name)
		count(descVain, float64(e.Vain), e.Name)
		gauge(descDistrusted, yes(e.Distrusted != ""), e.Name)
		count(descErrors, float64(e.Errors), e.Name)
		count(descEnded, float64(e.Ended), e.Name)
		gauge(descAnswers, float64(e.Answers), e.Name)
	}
	for reason, n := range s.Store.Ended {
		count(descInvalid, float64(n), reason)
	}
	gauge(descBytes, float64(s.Store.Bytes))
	gauge(descMax, float64(s.Store.MaxBytes))
	gauge(descNodes, float64(s.Store.Nodes))
	count(descEvicted, float64(s.Store.Evictions))
	gauge(descFrontier, float64(s.Frontier))
	gauge(descLag, s.Lag.Seconds())
	count(descTransactions, float64(s.Transactions))
	count(descChanges, float64(s.Changes))
	gauge(descEpoch, float64(s.Feed.Epoch))
	count(descSessions, float64(s.Feed.Sessions))
	count(descSpilled, float64(s.Feed.Spilled))
	count(descQuestions, float64(s.Questions))
	count(descFlushes, float64(s.Flushes))
	gauge(descHistory, float64(s.Store.HistoryBytes))
	gauge(descPins, float64(s.Store.Pins))
	count(descChecked, float64(s.Audit.Checked))
	count(descWrong, float64(s.Audit.Wrong))
	count(descUndecided, float64(s.Audit.Undecided))
	gauge(descFilling, float64(s.FillConnections))
	if p := permissions(c.tenant); p != nil {
		gauge(descRelationships, float64(max(int64(p.Relationships), p.Read)))
		gauge(descLoaded, yes(p.Loaded))
		gauge(descSchema, float64(p.SchemaVersion))
		gauge(descVersions, float64(p.Versions))
		gauge(descPermBytes, float64(p.Bytes))
		gauge(descWatchers, float64(p.Watchers))
		count(descIgnored, float64(p.Ignored))
	}
	if l := c.live(); l != nil {
		gauge(descWaiting, float64(l.Waiting))
		gauge(descFollowed, float64(l.Answers.Followed))
		count(descDifferences, float64(l.Answers.Differences))
		count(descRefreshes, float64(l.Answers.Refreshes))
		count(descReadFailures, float64(l.Answers.Failures))
		if t := l.Tables; t != nil {
			gauge(descTables, yes(t.Followed))
			gauge(descShapes, float64(t.Shapes))
			gauge(descHandles, float64(t.Handles))
			gauge(descTails, float64(t.Tails))
			count(descBatches, float64(t.Batches))
			count(descFromLog, float64(t.FromLog))
			gauge(descKept, float64(t.Log.Bytes))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if retained, behind, err := c.tenant.Retained(ctx); err == nil {
		gauge(descRetained, float64(retained))
		gauge(descLagBytes, float64(behind))
	}
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
