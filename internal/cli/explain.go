package cli

import "net/url"

type explainCmd struct {
	adminFlags
	Path string `arg:"" help:"Path of the answer with its query, such as /v1/orders/7."`
}

func (c *explainCmd) Run(a *app) error {
	body, err := c.client(a).get(a.ctx, "/v1/explain?path="+url.QueryEscape(rooted(c.Path)))
	if err != nil {
		return err
	}
	return a.print(body, c.JSON)
}

// rooted puts the slash in front that a person may leave out.
func rooted(path string) string {
	if path == "" || path[0] != '/' {
		return "/" + path
	}
	return path
}
