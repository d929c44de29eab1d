import { Shape, ShapeStream } from '@electric-sql/client'

// Where tidemark listens: ?server=… or the default.
const server = new URLSearchParams(location.search).get('server') ?? 'http://127.0.0.1:8080'

// The client keeps the rows of the endpoint's answer as they are now. It resumes
// by itself after an interruption, and begins anew when it is told to.
const shape = new Shape(new ShapeStream({ url: server + '/v1/top', liveSse: true }))

// Rows come without an order. This is the one of endpoints/top.sql.
const best = (a, b) => b.points - a.points || (a.id < b.id ? -1 : 1)

const before = new Map()

shape.subscribe(({ rows }) => {
  const body = document.getElementById('rows')
  body.replaceChildren(...[...rows].sort(best).map(line))
  before.clear()
  for (const row of rows) before.set(row.id, row.points)
})

function line(row, i) {
  const tr = document.createElement('tr')
  if (before.size && before.get(row.id) !== row.points) tr.className = 'changed'
  for (const [value, number] of [[i + 1, true], [row.name], [row.team], [row.points, true]]) {
    const td = document.createElement('td')
    td.textContent = value
    if (number) td.className = 'number'
    tr.append(td)
  }
  return tr
}

setInterval(() => {
  const state = document.getElementById('state')
  const live = shape.isConnected()
  state.textContent = shape.error ? shape.error.message : live ? 'live' : 'connecting'
  state.className = live ? 'live' : ''
}, 250)
