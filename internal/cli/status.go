package cli

type statusCmd struct{ adminFlags }

func (c *statusCmd) Run(a *app) error {
	body, err := c.client(a).get(a.ctx, "/v1/status")
	if err != nil {
		return err
	}
	return a.print(body, c.JSON)
}

// print writes a JSON reply as it is or for a person.
func (a *app) print(body []byte, raw bool) error {
	if raw {
		return a.write(body)
	}
	return render(a.stdout, body)
}

// write writes text and ends its line.
func (a *app) write(text []byte) error {
	if n := len(text); n > 0 && text[n-1] != '\n' {
		text = append(text[:n:n], '\n')
	}
	_, err := a.stdout.Write(text)
	return err
}
