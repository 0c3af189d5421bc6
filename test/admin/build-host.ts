/** Somebody on a login node who builds remotely: a home with an endpoint in it, and a directory of work. */
import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { stringify } from 'yaml'

import type { Lifetime } from '../support/server.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { pathOf } from './command.ts'
import type { Outcome } from './command.ts'

export interface BuildHost {
  /** The working directory of the commands. */
  readonly directory: string
  readonly env: Readonly<Record<string, string>>
  path(name: string): string
  write(name: string, content: string): string
  start(...args: string[]): Running
  run(...args: string[]): Promise<Outcome>
}

interface Running {
  readonly child: ChildProcessWithoutNullStreams
  readonly done: Promise<Outcome>
  stdout(): string
  stderr(): string
}

export function makeBuildHost(
  t: Lifetime,
  url: string,
  token: string | undefined,
  more: Readonly<Record<string, string>> = {},
): BuildHost {
  const home = mkdtempSync(join(tmpdir(), 'berth-builder-'))
  t.after(async () => rmSync(home, { recursive: true, force: true }))
  const directory = join(home, 'work')
  mkdirSync(directory)
  mkdirSync(join(home, '.apptainer'))
  const remote = { URI: url, ...(token === undefined ? {} : { Token: token }) }
  writeFileSync(
    join(home, '.apptainer/remote.yaml'),
    stringify({ Active: 'site', Remotes: { site: remote } }),
  )
  const env = { HOME: home, BERTH_CLIENT: 'apptainer', PATH: process.env['PATH'] ?? '', ...more }
  const start = (...args: string[]): Running => {
    const child = spawn(pathOf('berth-singularity'), ['build', ...args], {
      cwd: directory,
      env,
      timeout: 120_000,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (piece: Buffer) => (stdout += piece.toString()))
    child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()))
    child.stdin.end()
    const done = new Promise<Outcome>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code) => resolve({ code, stdout, stderr }))
    })
    return { child, done, stdout: () => stdout, stderr: () => stderr }
  }
  return {
    directory,
    env,
    path: (name) => join(directory, name),
    write: (name, content) => {
      writeFileSync(join(directory, name), content)
      return join(directory, name)
    },
    start,
    run: async (...args) => await start(...args).done,
  }
}

/** The endpoint under another address, whose wire has faults: discovery names that address. */
export async function frontOf(
  t: Lifetime,
  serverPort: number,
): Promise<{ readonly url: string; readonly proxy: TcpProxy }> {
  const proxy = await startProxy(t, serverPort)
  const uri = `http://127.0.0.1:${proxy.port}`
  const front = createServer((_req, res) => {
    res.setHeader('content-type', 'application/json')
    res.end(JSON.stringify({ libraryAPI: { uri }, builderAPI: { uri } }))
  })
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve))
  t.after(async () => void front.close())
  return { url: `http://127.0.0.1:${(front.address() as AddressInfo).port}`, proxy }
}
