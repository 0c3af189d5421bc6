import { onLoopback } from './call.ts'
/**
 * The bytes of whole files go through curl: it takes about 0.3 s of CPU a GiB in either direction,
 * as little as any client does, and each stream is a process of its own.
 */
import { runChild } from './children.ts'
import type { Target } from './contender.ts'

export interface ByteRange {
  readonly first: number
  readonly last: number
}

const maxSeconds = 900

export async function curlPut(target: Target, file: string, sizeBytes: number): Promise<void> {
  await curlSend('PUT', target, file, sizeBytes)
}

/** Returns the Location of the answer, which curl tells from 7.84 on. */
export async function curlSend(
  method: 'PUT' | 'PATCH',
  target: Target,
  file: string,
  sizeBytes: number,
): Promise<string> {
  // Without the empty Expect, curl waits for "100 Continue", which Go clients do not.
  const headers = { ...target.headers, Expect: '', 'Content-Type': 'application/octet-stream' }
  const transfer = transferLines({ ...target, headers }, [
    `upload-file = ${quote(file)}`,
    `request = ${method}`,
  ])
  const [moved] = await curl([transfer])
  check(moved, (status) => status >= 200 && status <= 204, sizeBytes, 'uploaded')
  return moved?.location ?? ''
}

/** The whole, several times over one connection. */
export async function curlGet(target: Target, sizeBytes: number, times = 1): Promise<void> {
  const transfer = transferLines(target, [])
  const moved = await curl(Array.from({ length: times }, () => transfer))
  for (let time = 0; time < times; time += 1) {
    check(moved[time], (status) => status === 200, sizeBytes, 'downloaded')
  }
}

/** One range after the other over one connection. */
export async function curlGetRanges(target: Target, ranges: readonly ByteRange[]): Promise<void> {
  const transfers = ranges.map(({ first, last }) =>
    transferLines(target, [`range = "${first}-${last}"`]),
  )
  const moved = await curl(transfers)
  for (const [index, { first, last }] of ranges.entries()) {
    check(moved[index], (status) => status === 206, last - first + 1, 'downloaded')
  }
}

interface Moved {
  readonly status: number
  readonly uploaded: number
  readonly downloaded: number
  readonly location: string
}

/** Options come by standard input: arguments, and so tokens, could be read by everybody. */
async function curl(transfers: readonly (readonly string[])[]): Promise<Moved[]> {
  const input = transfers.map((lines) => lines.join('\n')).join('\nnext\n')
  const { code, stdout, stderr } = await runChild('curl', ['-q', '-K', '-'], {
    input,
    timeoutMs: maxSeconds * 1000,
  })
  if (code !== 0) throw new Error(`curl: ${code}: ${stderr.trim().slice(0, 500)}`)
  return stdout
    .trim()
    .split('\n')
    .map((line) => {
      const [status, uploaded, downloaded, location = ''] = line.split(' ')
      return {
        status: Number(status),
        uploaded: Number(uploaded),
        downloaded: Number(downloaded),
        location,
      }
    })
}

function transferLines(target: Target, lines: readonly string[]): string[] {
  return [
    `url = ${quote(onLoopback(target.url))}`,
    'noproxy = "*"',
    'silent',
    'show-error',
    `max-time = ${maxSeconds}`,
    'output = /dev/null',
    'write-out = "%{http_code} %{size_upload} %{size_download} %header{location}\\n"',
    ...Object.entries(target.headers).map(
      ([name, value]) => `header = ${quote(`${name}: ${value}`)}`,
    ),
    ...lines,
  ]
}

function check(
  moved: Moved | undefined,
  accept: (status: number) => boolean,
  sizeBytes: number,
  direction: 'uploaded' | 'downloaded',
): void {
  // Of a chunked upload curl counts the frames as well; that it is whole is what its digest says.
  const bytes = moved?.[direction] ?? 0
  const isWhole = direction === 'uploaded' ? bytes >= sizeBytes : bytes === sizeBytes
  if (moved && accept(moved.status) && isWhole) return
  throw new Error(`expected ${sizeBytes} bytes ${direction}, curl saw ${JSON.stringify(moved)}`)
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}
