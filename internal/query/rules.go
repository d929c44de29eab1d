//go:build !seamfault

package query

// ruleKeys: a row that meets any of the keys counts. A build with the tag
// seamfault can switch it off, to show that the oracle notices.
const ruleKeys = true
