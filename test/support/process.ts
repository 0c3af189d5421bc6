/** `node dist/server/main.js` as a user starts it, with the embedded PostgreSQL, as a process. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'
import { Client } from './client.ts'

export interface ServerProcess {
  readonly url: string
  readonly child: ChildProcess
  /** The password of `admin`; undefined on every start but the first. */
  readonly password: string | undefined
  /** Sends the signal and waits for the end. Returns the exit code; null after a kill. */
  end(signal: NodeJS.Signals): Promise<number | null>
}

export interface ServerProcessOptions {
  readonly dataDir: string
  readonly port: number
  /** A configuration file; what it says of the three above is not read. */
  readonly config?: string
  /** A program to run the server under, such as strace with its options. */
  readonly under?: readonly string[]
}

/** Resolves when the server says that it serves; rejects with what it printed when it ends instead. */
export async function startProcess(options: ServerProcessOptions): Promise<ServerProcess> {
  const url = `http://127.0.0.1:${options.port}`
  const program = ['--enable-source-maps', join(packageRoot, 'dist/server/main.js')]
  const [under, ...underArgs] = options.under ?? []
  const command = under ?? process.execPath
  const args = under === undefined ? program : [...underArgs, process.execPath, ...program]
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    env: {
      PATH: process.env['PATH'],
      BERTH_DATA_DIR: options.dataDir,
      BERTH_LISTEN: `127.0.0.1:${options.port}`,
      BERTH_PUBLIC_URL: url,
      ...(options.config === undefined ? {} : { BERTH_CONFIG: options.config }),
    },
  })
  let printed = ''
  const ended = once(child, 'exit')
  const ready = new Promise<void>((resolve, reject) => {
    const look = (piece: Buffer): void => {
      printed += piece.toString()
      if (printed.includes('Stop with Ctrl-C')) resolve()
    }
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    child.on('exit', () => reject(new Error(`the server ended:\n${printed}`)))
  })
  await ready
  return {
    url,
    child,
    password: /password: (\S+)/.exec(printed)?.[1],
    end: async (signal) => {
      child.kill(signal)
      const [code] = (await ended) as [number | null]
      return code
    },
  }
}

/** Signs in with the password and returns a client with a fresh token. */
export async function signInAs(url: string, name: string, password: string): Promise<Client> {
  const basic = Buffer.from(`${name}:${password}`).toString('base64')
  const reply = await new Client(url, undefined).send('POST', '/api/v1/tokens', {
    headers: { authorization: `Basic ${basic}` },
    body: '{"label":"test"}',
  })
  const { token, id } = reply.json.data
  return new Client(url, { name, accountId: '', token, tokenId: id })
}
