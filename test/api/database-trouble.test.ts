/**
 * PostgreSQL is restarted, killed, loses a backend or stops answering while a real server works:
 * the server does not end, everybody is answered within seconds, and it goes on by itself.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout } from 'node:timers/promises'

import { sha256 } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { signInAs, startProcess } from '../support/process.ts'
import { eventually } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

/** Longest wait for an answer: 5 seconds, and what a busy machine adds. */
const answerMs = 6_500
const recoverySeconds = 10

test('whatever happens to PostgreSQL, everybody is answered and nothing is lost', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-trouble-'))
  const dataDir = join(directory, 'data')
  const server = await startProcess({ dataDir, port: await freePort() })
  t.after(async () => {
    await server.end('SIGTERM')
    rmSync(directory, { recursive: true, force: true })
  })
  let exited = false
  server.child.on('exit', () => (exited = true))
  const admin = await signInAs(server.url, 'admin', server.password ?? '')
  const stored = new Map<string, Buffer>()
  const cluster = join(dataDir, 'postgres/cluster')

  const push = async (name: string): Promise<void> => {
    const sif = makeSif({ seed: name, payload: 50_000 })
    const reply = await admin.push(`admin/trouble/${name}`, 'latest', sif)
    assert.equal(reply.status, 200, reply.body.toString())
    stored.set(name, sif)
  }
  await push('before')

  const troubles: Readonly<Record<string, () => Promise<void>>> = {
    'a restart': async () => signal([postmaster(cluster)], 'SIGINT'),
    'a restart at once': async () => signal([postmaster(cluster)], 'SIGQUIT'),
    'kill -9': async () => signal([postmaster(cluster)], 'SIGKILL'),
    'a backend that is killed': async () => {
      const [backend] = processesOf(postmaster(cluster), /berth berth/)
      assert.ok(backend !== undefined, 'a backend of Berth')
      signal([backend], 'SIGKILL')
    },
    'no answer at all': async () => {
      const all = [postmaster(cluster), ...processesOf(postmaster(cluster), /./)]
      signal(all, 'SIGSTOP')
      try {
        const replies = await ask(admin, 12_000)
        const last = replies.at(-1)
        assert.equal(last?.status, 503)
        assert.ok(last.took < 1_000, 'once it is known, nobody waits any more')
      } finally {
        signal(all, 'SIGCONT')
      }
    },
  }
  for (const [name, trouble] of Object.entries(troubles)) {
    await t.test(name, async () => {
      const asking = ask(admin, 3_000)
      await trouble()
      await asking
      const began = performance.now()
      await eventually(
        async () => (await admin.get('/v1/entities/admin')).status === 200,
        'it goes on',
        recoverySeconds * 1000,
      )
      t.diagnostic(`${name}: back after ${Math.round(performance.now() - began)} ms`)
      await push(`after ${name}`.replaceAll(/\W+/g, '-'))
      for (const [path, sif] of stored) {
        const pulled = await admin.get(`/v1/imagefile/admin/trouble/${path}:latest?arch=amd64`)
        assert.equal(sha256(pulled.body), sha256(sif), path)
      }
      assert.equal(exited, false, 'the server has not ended')
    })
  }
})

/** Asks again and again, several at a time; each is answered in time, with the thing or 503. */
async function ask(client: Client, ms: number): Promise<{ status: number; took: number }[]> {
  const until = performance.now() + ms
  const replies: { status: number; took: number }[] = []
  const one = async (): Promise<void> => {
    while (performance.now() < until) {
      const began = performance.now()
      const { status, headers } = await client.get('/v1/entities/admin')
      const took = performance.now() - began
      replies.push({ status, took })
      assert.ok(status === 200 || status === 503, `status ${status}`)
      if (status === 503) assert.equal(headers['retry-after'], '5')
      assert.ok(took < answerMs, `answered after ${Math.round(took)} ms`)
      await setTimeout(20)
    }
  }
  // More than there are connections to the database.
  await Promise.all(Array.from({ length: 20 }, one))
  return replies
}

function postmaster(cluster: string): number {
  return Number(readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n', 1)[0])
}

/** Children of a process whose command line is like this. */
function processesOf(parent: number, like: RegExp): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
        const ppid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
        return ppid === parent && like.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
      } catch {
        return false
      }
    })
}

function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) process.kill(pid, name)
}
