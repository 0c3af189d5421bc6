/**
 * The order in which a push reaches the disk, as the kernel saw it (strace): what is acknowledged
 * must survive a power cut, and a kill -9 cannot show that, because the page cache outlives it.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { sha256 } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { signInAs, startProcess } from '../support/process.ts'
import { makeSif } from '../support/sif.ts'

const skip = hasStrace() ? false : 'strace is not installed'
assert.ok(skip === false || process.env['CI'] !== 'true', 'CI needs strace')

test(
  'fdatasync, rename, fsync of the directory, commit, answer: in this order',
  { skip },
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-order-'))
    t.after(() => rmSync(directory, { recursive: true, force: true }))
    const trace = join(directory, 'trace')
    const calls = 'trace=fdatasync,fsync,rename,write,writev'
    const server = await startProcess({
      dataDir: join(directory, 'data'),
      port: await freePort(),
      under: ['strace', '-f', '-qq', '-y', '-s', '200', '-e', calls, '-o', trace],
    })
    const admin = await signInAs(server.url, 'admin', server.password ?? '')
    const sif = makeSif({ seed: 'durability' })
    const completed = await admin.push('admin/demo/tool', undefined, sif)
    assert.equal(completed.status, 200)
    const [child] = execFileSync('pgrep', ['-P', String(server.child.pid)])
      .toString()
      .split('\n')
    process.kill(Number(child), 'SIGTERM')
    await server.end('SIGCONT')

    const lines = readFileSync(trace, 'utf8').split('\n')
    const after = (from: number, what: string, pattern: RegExp): number => {
      const index = lines.findIndex((line, at) => at > from && pattern.test(line))
      assert.ok(index > 0, `${what} is missing after line ${from} of the trace`)
      return index
    }
    const flushed = after(0, 'fdatasync of the incoming file', /fdatasync\(\d+<[^>]*\/incoming\//)
    const hex = sha256(sif)
    const renamed = after(
      flushed,
      'rename to the digest',
      new RegExp(`rename\\(.*/sha256/../${hex}`),
    )
    const directorySynced = after(
      renamed,
      'fsync of its directory',
      /fsync\(\d+<[^>]*\/sha256\/..>/,
    )
    const committed = after(directorySynced, 'commit', /write\(\d+<socket.*commit/)
    const answered = after(renamed, 'the answer', /HTTP\/1\.1 200 OK/)
    assert.ok(answered > committed, 'the push was acknowledged before its commit')
    const flushes = lines.filter((line) => /fdatasync\(\d+<[^>]*\/store\//.test(line))
    assert.equal(flushes.length, 1, 'one flush a blob')
  },
)

function hasStrace(): boolean {
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
