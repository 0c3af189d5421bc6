/** The small requests around the bytes. */
interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>
  readonly json?: unknown
  readonly body?: string
  /** Statuses that are no error; without it 200. */
  readonly accept?: readonly number[]
}

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

const timeoutMs = 60_000

export async function call(
  method: string,
  url: string,
  options: CallOptions = {},
): Promise<Answer> {
  const { headers = {}, json, accept = [200] } = options
  const body = json === undefined ? options.body : JSON.stringify(json)
  const response = await fetch(onLoopback(url), {
    method,
    headers: json === undefined ? headers : { 'content-type': 'application/json', ...headers },
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
    ...(body === undefined ? {} : { body }),
  })
  if (!accept.includes(response.status)) {
    const text = (await response.text()).slice(0, 500)
    throw new Error(`${method} ${withoutQuery(url)}: ${response.status} ${text}`)
  }
  // A refused redirect may be the bytes themselves: these are for curl to read.
  const isLarge = Number(response.headers.get('content-length')) > 2 ** 20
  if (isLarge) await response.body?.cancel()
  return {
    status: response.status,
    headers: response.headers,
    text: isLarge ? '' : await response.text(),
  }
}

/** The `data` of a library or API answer. */
export function dataOf(answer: Answer): unknown {
  return (JSON.parse(answer.text) as { data: unknown }).data
}

/** Addresses come out of answers; a wrong configuration must not send gigabytes to somebody. */
export function onLoopback(url: string): string {
  const { hostname } = new URL(url)
  if (hostname === '127.0.0.1' || hostname === 'localhost') return url
  throw new Error(`${withoutQuery(url)} is not an address of this machine`)
}

/** Capabilities are in the query and do not belong in messages. */
export function withoutQuery(url: string): string {
  return url.split('?', 1)[0] ?? ''
}
