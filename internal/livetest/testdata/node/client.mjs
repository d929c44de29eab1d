// Runs shape streams of the npm client for the tests: commands come as JSON
// lines on standard input, what the streams do goes out as JSON lines.
//
//   {"do": "open", "stream": name, "options": …, "plain": true}   plain: values as their text
//   {"do": "close", "stream": name}
//   {"do": "subset", "stream": name, "params": …, "call": n}      answered by {"call": n, …}
//   {"do": "refresh", "stream": name, "call": n}
//
// Events name their stream: "request" with what was asked and how it was
// answered, "messages", "rows" as the client's own Shape has them, "error".
// The process ends with its standard input.
import { createInterface } from 'node:readline'
import { Shape, ShapeStream } from '@electric-sql/client'

const text = (v) => v
const plain = Object.fromEntries(
  ['int2', 'int4', 'int8', 'bool', 'float4', 'float8', 'json', 'jsonb'].map((type) => [type, text]),
)

const tell = (event) =>
  process.stdout.write(JSON.stringify(event, (_, v) => (typeof v === 'bigint' ? { bigint: String(v) } : v)) + '\n')

for (const level of ['warn', 'error']) console[level] = (...a) => tell({ warning: a.map(String).join(' ') })
process.on('unhandledRejection', (e) => tell({ warning: 'unhandled: ' + e }))

const streams = new Map()

function open({ stream: name, options, plain: asText }) {
  const ended = new AbortController()
  const told = async (url, init) => {
    const request = { url: String(url), method: init?.method ?? 'GET' }
    try {
      const response = await fetch(url, init)
      tell({ stream: name, request: { ...request, status: response.status, headers: Object.fromEntries(response.headers) } })
      return response
    } catch (e) {
      if (!init?.signal?.aborted) tell({ stream: name, request: { ...request, failed: String(e.cause ?? e) } })
      throw e
    }
  }
  const stream = new ShapeStream({
    backoffOptions: { initialDelay: 50, maxDelay: 300, multiplier: 2 },
    ...options,
    ...(asText ? { parser: plain } : {}),
    fetchClient: told,
    signal: ended.signal,
  })
  stream.subscribe(
    (messages) => tell({ stream: name, messages, offset: stream.lastOffset, handle: stream.shapeHandle }),
    (e) => tell({ stream: name, error: { name: e.name, message: e.message, status: e.status, json: e.json } }),
  )
  const shape = new Shape(stream)
  shape.subscribe(({ rows }) => tell({ stream: name, rows }))
  streams.set(name, { stream, shape, end: () => ended.abort() })
}

async function answer(call, work) {
  try {
    tell({ call, result: (await work()) ?? null })
  } catch (e) {
    tell({ call, failed: String(e) })
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  const at = streams.get(command.stream)
  switch (command.do) {
    case 'open':
      try {
        open(command)
      } catch (e) {
        tell({ stream: command.stream, error: { name: e.name, message: e.message } })
      }
      break
    case 'close':
      at?.end()
      streams.delete(command.stream)
      break
    case 'subset':
      answer(command.call, () => at.stream.requestSnapshot(command.params))
      break
    case 'refresh':
      answer(command.call, () => at.stream.forceDisconnectAndRefresh())
      break
    default:
      tell({ warning: 'unknown command ' + line })
  }
}
process.exit(0)
