/**
 * The server's side of the runner protocol, over HTTP: one job, what the runner sent for it, and the
 * faults that a test asks for. The runner is the real program, started as an executor starts it.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import type { TestContext } from 'node:test'

import { packageRoot } from '../../server/package-root.ts'

export interface JobOptions {
  readonly definition: string
  readonly arch?: string
  readonly workingDir?: string
  /** A tar.gz. */
  readonly context?: Buffer
  readonly libraryUrl?: string
  readonly registryUrl?: string
  readonly allowedHosts?: readonly string[]
  readonly pullToken?: string
  readonly limits?: Readonly<Record<string, number>>
  /** Lines of the builder's configuration besides the root. */
  readonly settings?: readonly string[]
  /** The root whose /usr the build sees. */
  readonly root: string
  /** Answers some requests instead of the peer: true when it did. */
  readonly intercept?: (req: IncomingMessage, res: ServerResponse) => boolean
  /** Words before the runner's command, and the account that this makes it. */
  readonly launcher?: { readonly words: readonly string[]; readonly uid: number }
  /** Added to the environment of the runner. */
  readonly environment?: Readonly<Record<string, string>>
  /** Called as soon as output holds it. */
  readonly when?: { readonly text: string; readonly act: (run: RunningJob) => void }
}

interface RunningJob {
  readonly runner: ChildProcess
  /** The answer to the next output says that the build is to end. */
  cancel(): void
}

export interface EndedJob {
  readonly state: string
  readonly reason: string
  readonly output: string
  readonly image: Buffer | undefined
  /** Of the runner. */
  readonly status: number | null
  readonly log: string
  /** The longest time between two signs of life, in milliseconds. */
  readonly longestSilenceMs: number
  /** Directory that the runner used as its scratch; it is still there. */
  readonly scratchDir: string
}

const defaultLimits = {
  seconds: 120,
  cpus: 2,
  memoryBytes: 2 ** 30,
  processes: 400,
  scratchBytes: 512 * 2 ** 20,
  outputBytes: 64 * 2 ** 20,
  imageBytes: 256 * 2 ** 20,
}

/** Runs one job to its end. */
export async function runJob(t: TestContext, options: JobOptions): Promise<EndedJob> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-runner-test-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const token = randomBytes(32).toString('hex')
  const seen = {
    output: Buffer.alloc(0),
    image: undefined as Buffer | undefined,
    end: undefined as { state: string; reason: string } | undefined,
    cancel: false,
    lastSignAt: Date.now(),
    longestSilenceMs: 0,
  }

  const server = createServer((req, res) => {
    answer(req, res).catch((error: unknown) => res.destroy(error as Error))
  })

  async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    seen.longestSilenceMs = Math.max(seen.longestSilenceMs, Date.now() - seen.lastSignAt)
    seen.lastSignAt = Date.now()
    if (options.intercept?.(req, res) === true) return
    const reply = (status: number, body: unknown): void => {
      res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    const url = new URL(req.url ?? '/', 'http://peer')
    if (req.headers.authorization !== `Bearer ${token}` || seen.end !== undefined) {
      return reply(401, { error: { code: 401, message: 'this token is over' } })
    }
    switch (`${req.method} ${url.pathname}`) {
      case 'GET /v1/runner/job':
        return reply(200, { data: describeJob(options, base()) })
      case 'PATCH /v1/runner/output': {
        const bytes = await buffer(req)
        const isNext = Number(url.searchParams.get('offset')) === seen.output.length
        if (isNext) seen.output = Buffer.concat([seen.output, bytes])
        const { size, cancel } = { size: seen.output.length, cancel: seen.cancel }
        return reply(isNext ? 200 : 409, { data: { size, cancel } })
      }
      case 'GET /v1/runner/context':
        res.writeHead(200).end(options.context)
        return
      case 'PUT /v1/runner/image':
        assert.ok(Number(req.headers['content-length']) > 0)
        seen.image = await buffer(req)
        return reply(200, { data: {} })
      case 'POST /v1/runner/end':
        seen.end = JSON.parse((await buffer(req)).toString()) as typeof seen.end
        return reply(200, { data: {} })
      default:
        return reply(404, { error: { code: 404, message: 'no such route' } })
    }
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const base = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const [jobFile, config] = [join(directory, 'job.json'), join(directory, 'runner.toml')]
  writeFileSync(jobFile, JSON.stringify({ url: base(), token }), { mode: 0o600 })
  const settings = [`root = "${options.root}"`, `scratch_dir = "${directory}"`]
  writeFileSync(config, [...settings, ...(options.settings ?? []), ''].join('\n'))

  const main = join(packageRoot, 'dist/server/runner/main.js')
  const args = ['--enable-source-maps', main, '--job', jobFile, '--config', config]
  if (options.launcher !== undefined) {
    const { uid } = options.launcher
    for (const path of [directory, jobFile, config]) chownSync(path, uid, uid)
  }
  const [command = '', ...words] = [...(options.launcher?.words ?? []), process.execPath, ...args]
  const runner = spawn(command, words, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], ...options.environment },
  })
  const run = { runner, cancel: () => void (seen.cancel = true) }
  let log = ''
  for (const stream of [runner.stdout, runner.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (log += text))
  }
  const watch = setInterval(() => {
    if (options.when === undefined || !seen.output.includes(options.when.text)) return
    clearInterval(watch)
    options.when.act(run)
  }, 20)
  const status = await new Promise<number | null>((resolve) => runner.on('close', resolve))
  clearInterval(watch)
  server.closeAllConnections()
  server.close()
  return {
    state: seen.end?.state ?? 'untold',
    reason: seen.end?.reason ?? '',
    output: seen.output.toString(),
    image: seen.image,
    status,
    log,
    longestSilenceMs: seen.longestSilenceMs,
    scratchDir: directory,
  }
}

function describeJob(options: JobOptions, url: string): unknown {
  return {
    id: randomBytes(12).toString('hex'),
    arch: options.arch ?? (process.arch === 'x64' ? 'amd64' : process.arch),
    definition: options.definition,
    workingDir: options.workingDir ?? '/home/alice',
    contextUrl: options.context === undefined ? null : `${url}/v1/runner/context`,
    libraryUrl: options.libraryUrl ?? url,
    registryUrl: options.registryUrl ?? url,
    limits: { ...defaultLimits, ...options.limits },
    allowedHosts: options.allowedHosts ?? [],
    pullToken: options.pullToken ?? null,
  }
}
