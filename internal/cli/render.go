package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// field is one member of a JSON object, in the order of the text.
type field struct {
	name  string
	value any // nil, bool, json.Number, string, object, or list
}

type (
	object []field
	list   []any
)

// parseJSON keeps the order of members and the text of numbers.
func parseJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := parseValue(d)
	if err != nil {
		return nil, fmt.Errorf("the server's reply is not JSON: %w", err)
	}
	return v, nil
}

func parseValue(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseValue(d)
			if err != nil {
				return nil, err
			}
			o = append(o, field{fmt.Sprint(name), v})
		}
		_, err = d.Token()
		return o, err
	case json.Delim('['):
		l := list{}
		for d.More() {
			v, err := parseValue(d)
			if err != nil {
				return nil, err
			}
			l = append(l, v)
		}
		_, err = d.Token()
		return l, err
	}
	if _, ok := t.(json.Delim); ok {
		return nil, errors.New("unexpected bracket")
	}
	return t, nil
}

// render writes JSON for a person: members in aligned lines, lists of objects
// as tables.
func render(w io.Writer, text []byte) error {
	v, err := parseJSON(text)
	if err != nil {
		return err
	}
	writeValue(w, v, "")
	return nil
}

func writeValue(w io.Writer, v any, indent string) {
	switch v := v.(type) {
	case object:
		writeObject(w, v, indent)
	case list:
		writeList(w, v, indent)
	default:
		fmt.Fprintln(w, indent+plain(v))
	}
}

func writeObject(w io.Writer, o object, indent string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range o {
		if !compound(f.value) {
			fmt.Fprintf(tw, "%s%s\t%s\n", indent, title(f.name), plain(f.value))
			continue
		}
		// What comes in blocks has its own alignment.
		_ = tw.Flush()
		fmt.Fprintf(w, "%s%s\n", indent, title(f.name))
		writeValue(w, f.value, indent+"  ")
	}
	_ = tw.Flush()
}

func writeList(w io.Writer, l list, indent string) {
	columns, rows := tabulate(l)
	if columns == nil {
		for _, v := range l {
			if compound(v) {
				writeValue(w, v, indent)
				fmt.Fprintln(w)
				continue
			}
			fmt.Fprintln(w, indent+plain(v))
		}
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, c := range columns {
		columns[i] = strings.ToUpper(title(c))
	}
	fmt.Fprintln(tw, indent+strings.Join(columns, "\t"))
	for _, r := range rows {
		fmt.Fprintln(tw, indent+strings.Join(r, "\t"))
	}
	_ = tw.Flush()
}

// tabulate makes a table of a list of flat objects; columns is nil when it is
// none.
func tabulate(l list) (columns []string, rows [][]string) {
	position := make(map[string]int)
	for _, v := range l {
		o, ok := v.(object)
		if !ok {
			return nil, nil
		}
		row := make([]string, len(columns), len(columns)+len(o))
		for _, f := range o {
			if compound(f.value) {
				return nil, nil
			}
			i, ok := position[f.name]
			if !ok {
				i = len(columns)
				position[f.name] = i
				columns = append(columns, f.name)
				row = append(row, "")
			}
			row[i] = plain(f.value)
		}
		rows = append(rows, row)
	}
	for i := range rows {
		for len(rows[i]) < len(columns) {
			rows[i] = append(rows[i], "")
		}
	}
	return columns, rows
}

// compound reports whether a value takes more than a word: an object or list
// with something in it that is not plain.
func compound(v any) bool {
	switch v := v.(type) {
	case object:
		return len(v) > 0
	case list:
		for _, e := range v {
			switch e.(type) {
			case object, list:
				return true
			}
		}
	}
	return false
}

func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case list:
		if len(v) == 0 {
			return "-"
		}
		words := make([]string, len(v))
		for i, e := range v {
			words[i] = plain(e)
		}
		return strings.Join(words, ", ")
	case object:
		return "-"
	case string:
		// Nothing from the network may move the cursor.
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, v)
	}
	return fmt.Sprint(v)
}

func title(name string) string { return strings.ReplaceAll(plain(name), "_", " ") }
