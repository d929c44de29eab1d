package tuple

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Canonical returns the one text of a JSON object that is kept as a
// relationship's context: keys sorted, no spaces, numbers as they were written,
// of a repeated key the last value. An empty object, like no text at all, is "".
//
// It refuses what is not an object, and what Postgres's jsonb cannot hold: text
// that is not UTF-8, and the character U+0000.
func Canonical(text []byte) (string, error) {
	if len(text) == 0 {
		return "", nil
	}
	if !utf8.Valid(text) {
		return "", errors.New("the context is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	object, err := decodeObject(d)
	if err != nil {
		return "", err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("something follows the JSON object of the context")
	}
	return encodeObject(object)
}

// DecodeContext returns the values of a context in canonical form, numbers as
// json.Number; nil when there is none.
func DecodeContext(context string) (map[string]any, error) {
	if context == "" {
		return nil, nil
	}
	return decodeObject(json.NewDecoder(strings.NewReader(context)))
}

func decodeObject(d *json.Decoder) (map[string]any, error) {
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early")
		}
		return nil, fmt.Errorf("the context is not JSON: %w", err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("the context is not a JSON object")
	}
	return object, nil
}

func encodeObject(object map[string]any) (string, error) {
	if len(object) == 0 {
		return "", nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(object); err != nil { // maps are written in the order of their keys
		return "", fmt.Errorf("the context cannot be written as JSON: %w", err)
	}
	text := strings.TrimSuffix(b.String(), "\n")
	if hasNUL(text) {
		return "", errors.New("the context has the character U+0000, which Postgres cannot keep")
	}
	return text, nil
}

// hasNUL looks for the escape of U+0000 in encoded JSON: \u0000 after an even
// number of backslashes.
func hasNUL(text string) bool {
	for i := strings.IndexByte(text, '\\'); i >= 0 && i < len(text); {
		if text[i] != '\\' {
			i++
			continue
		}
		if strings.HasPrefix(text[i:], `\u0000`) {
			return true
		}
		i += 2
	}
	return false
}
