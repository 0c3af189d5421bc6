/** The runner and its server: what goes wrong between them, and what it tells at the end. */
import assert from 'node:assert/strict'
import test from 'node:test'

import { findApptainerRoot } from '../clients/apptainer-root.ts'
import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { runJob } from '../support/runner-peer.ts'

const skip = withoutBubblewrap()
const root = findApptainerRoot() ?? ''
const definition = [
  'Bootstrap: scratch',
  '%setup',
  '  mkdir -p "$APPTAINER_ROOTFS/bin"; cp /bin/busybox "$APPTAINER_ROOTFS/bin/sh"',
  '  for n in 1 2 3 4 5 6 7 8 9; do echo line $n; sleep 0.1; done',
].join('\n')

test('a server that is away for a moment is waited for', { skip }, async (t) => {
  let requests = 0
  const ended = await runJob(t, {
    root,
    definition,
    intercept: (req, res) => {
      requests += 1
      if (requests % 3 === 0) res.writeHead(503).end()
      else if (requests % 3 === 1) req.socket.destroy()
      return requests % 3 < 2
    },
  })
  assert.equal(ended.state, 'succeeded', ended.log)
  assert.equal(ended.output.match(/^line \d$/gm)?.length, 9)
})

test('output whose answer was lost is not doubled', { skip }, async (t) => {
  let lost = 0
  const ended = await runJob(t, {
    root,
    definition,
    intercept: (req, res) => {
      if (req.method !== 'PATCH' || lost >= 3) return false
      lost += 1
      // The peer takes the bytes; the runner never hears of it.
      res.end = () => res.destroy()
      return false
    },
  })
  assert.equal(ended.state, 'succeeded', ended.log)
  assert.equal(lost, 3)
  assert.equal(ended.output.match(/^line \d$/gm)?.length, 9)
})

test('an image that the server refuses fails the build with its words', { skip }, async (t) => {
  const ended = await runJob(t, {
    root,
    definition,
    intercept: (req, res) => {
      if (req.method !== 'PUT') return false
      req.resume()
      req.on('end', () => {
        res.writeHead(403, { 'content-type': 'application/json' })
        res.end('{"error":{"code":403,"message":"quota exceeded: 1 of 1"}}')
      })
      return true
    },
  })
  assert.equal(ended.state, 'failed')
  assert.equal(ended.reason, 'quota exceeded: 1 of 1')
  assert.match(ended.output, /Berth: quota exceeded: 1 of 1\n$/)
})

test('a build that the server no longer knows is ended', { skip }, async (t) => {
  let patches = 0
  const before = Date.now()
  const ended = await runJob(t, {
    root,
    definition: 'Bootstrap: scratch\n%setup\n  sleep 60\n',
    intercept: (req, res) => {
      patches += req.method === 'PATCH' ? 1 : 0
      if (patches < 2) return false
      res.writeHead(401).end()
      return true
    },
  })
  assert.equal(ended.state, 'untold')
  assert.equal(ended.status, 1)
  assert.ok(Date.now() - before < 20_000)
})

test('an architecture that this builder is not', { skip }, async (t) => {
  const ended = await runJob(t, { root, definition, arch: 's390x' })
  assert.equal(ended.state, 'failed')
  assert.match(ended.reason, /not for s390x/)
})

test('a builder whose walls do not hold does not build, and leaves the build to others', async (t) => {
  const ended = await runJob(t, { root: '/nonexistent', definition })
  assert.equal(ended.state, 'unable')
  assert.match(ended.reason, /\S/)
  assert.equal(ended.output, '')
  assert.equal(ended.status, 3)
})

test('that the walls hold is told before anything of the build runs', { skip }, async (t) => {
  let held = 0
  const ended = await runJob(t, {
    root,
    definition: 'Bootstrap: scratch\n%setup\n  exit 1\n',
    intercept: (req) => {
      held += req.url === '/v1/runner/walls' ? 1 : 0
      return false
    },
  })
  assert.equal(ended.state, 'failed')
  assert.equal(held, 1)
})

test('a quiet build gives signs of life', { skip }, async (t) => {
  const ended = await runJob(t, {
    root,
    definition: 'Bootstrap: scratch\n%setup\n  sleep 7; false\n',
  })
  assert.equal(ended.state, 'failed')
  assert.ok(ended.longestSilenceMs < 5000, `${ended.longestSilenceMs} ms`)
})

test('what is no tar.gz as a context fails the build', { skip }, async (t) => {
  const ended = await runJob(t, { root, definition, context: Buffer.from('no archive') })
  assert.equal(ended.state, 'failed')
  assert.match(ended.output, /The build context cannot be unpacked/)
})
