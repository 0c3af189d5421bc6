/** `singularity enterprise` before services that answer something odd, and readers that go away. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { TestContext } from 'node:test'

import { assertDone, assertRefused, pathOf, run } from './command.ts'
import type { Outcome } from './command.ts'

type Answers = Readonly<Record<string, unknown>>

interface Endpoint {
  readonly env: Readonly<Record<string, string>>
  readonly enterprise: (...args: string[]) => Promise<Outcome>
}

/** An endpoint that is not Berth: JSON for these paths, and somebody's sign-in page for all others. */
async function endpoint(t: TestContext, answers: Answers, discovery?: unknown): Promise<Endpoint> {
  let url = ''
  const listener: RequestListener = (req, res) => {
    const service = { uri: url, managerUri: url }
    const names = ['libraryAPI', 'builderAPI', 'keystoreAPI', 'consentAPI', 'tokenAPI']
    const document = discovery ?? Object.fromEntries(names.map((name) => [name, service]))
    const isDocument = req.url === '/assets/config/config.prod.json'
    const answer = isDocument ? document : answers[req.url ?? '']
    res.end(answer === undefined ? '<html>Please sign in</html>' : JSON.stringify(answer))
  }
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const directory = mkdtempSync(join(tmpdir(), 'berth-answers-'))
  t.after(() => {
    server.close()
    server.closeAllConnections()
    rmSync(directory, { recursive: true, force: true })
  })
  writeFileSync(join(directory, 'remote.yaml'), `Active: a\nRemotes:\n  a:\n    URI: ${url}\n`)
  const env = { SINGULARITY_CONFIGDIR: directory }
  return {
    env,
    enterprise: async (...args) => await run('berth-singularity', ['enterprise', ...args], { env }),
  }
}

const images = (count: number): Answers => ({
  '/v1/containers/a%2Fb%2Fc/_images': {
    data: Array.from({ length: count }, (_, number) => ({ id: `a/b/c:${number}`, tags: [] })),
  },
})

test('a page in the place of an answer is one line, not a stack', async (t) => {
  const { enterprise } = await endpoint(t, {})
  for (const words of ['get col alice', 'describe tok x', 'describe img a/b/c:latest']) {
    assertRefused(await enterprise(...words.split(' ')), 1, /something else than it should/)
  }
  const status = await enterprise('status')
  assertDone(status)
  assert.equal(status.stderr.split('\n').length, 7)
  assert.doesNotMatch(status.stderr, /\n {4}at /)
  assert.match(status.stdout, /^library +ERROR$/m)
})

test('a document without addresses is no endpoint', async (t) => {
  for (const document of [{}, { libraryAPI: { uri: 'nowhere' } }, []]) {
    const { enterprise } = await endpoint(t, {}, document)
    assertRefused(await enterprise('get', 'prj'), 1, /answers, but it is no such endpoint/)
  }
})

test('a list may be long', async (t) => {
  const { enterprise } = await endpoint(t, images(200_000))
  const listed = await enterprise('get', 'img', 'a/b/c')
  assertDone(listed)
  assert.equal(listed.stdout.split('\n').length, 200_002)
})

test('a reader that has seen enough ends the command without a word', async (t) => {
  const { env } = await endpoint(t, images(100_000))
  const command = `{ "$0" enterprise get img a/b/c; echo "status $?" >&2; } | head -n 1`
  const { stdout, stderr } = await shell(command, env)
  assert.match(stdout, /^ID +Tags [^\n]*\n$/)
  assert.equal(stderr, 'status 141\n')
})

const full = existsSync('/dev/full') ? false : 'there is no /dev/full here'
test('a disk that is full is told', { skip: full }, async (t) => {
  const { env } = await endpoint(t, images(1))
  const { stderr } = await shell(
    '"$0" enterprise get img a/b/c >/dev/full; echo "status $?" >&2',
    env,
  )
  assert.match(stderr, /^singularity: the result could not be written: ENOSPC[^\n]*\nstatus 1\n$/)
})

test("control characters of somebody's texts do not reach the terminal", async (t) => {
  const container = {
    id: 'a/b/c',
    name: 'c',
    description: '\u001b[2Jred',
    imageTags: { 'x\u0007': 'y' },
    images: [],
  }
  const { enterprise } = await endpoint(t, {
    '/v1/collections/a%2Fb/_containers': { data: [container] },
    '/v1/containers/a%2Fb%2Fc': { data: container },
  })
  for (const words of [
    'get rep a/b',
    'get rep a/b -o long',
    'get rep a/b -o csv',
    'get rep a/b -o yaml',
    'get rep a/b -o json',
    'describe rep a/b/c',
  ]) {
    const { code, stdout } = await enterprise(...words.split(' '))
    assert.equal(code, 0)
    assert.doesNotMatch(stdout, /[^\P{Cc}\n\t]/u)
    assert.match(stdout, /red/)
  }
})

async function shell(
  command: string,
  env: Readonly<Record<string, string>>,
): Promise<{ stdout: string; stderr: string }> {
  return await new Promise((resolve) => {
    const all = { PATH: process.env['PATH'], HOME: '/nonexistent', ...env }
    const args = ['-c', command, pathOf('berth-singularity')]
    execFile('/bin/sh', args, { env: all, timeout: 60_000 }, (_error, stdout, stderr) => {
      resolve({ stdout, stderr })
    })
  })
}
