/** kill -9 while a blob is on its way: the session goes on where the last acknowledged chunk ended. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import type { Client } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { digestOf } from '../support/oci-image.ts'
import { emptyConfig, pushBlob, putManifest } from '../support/oci-push.ts'
import { signInAs, startProcess } from '../support/process.ts'
import {
  assertRefused,
  endUpload,
  makeManifest,
  nextByte,
  openUpload,
  patchChunk,
  withRegistryToken,
} from '../support/registry-client.ts'
import { makeSif } from '../support/sif.ts'

test(
  'a blob arrives whole over three kills in the middle of it',
  { timeout: 300_000 },
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-oci-crash-'))
    t.after(() => rmSync(directory, { recursive: true, force: true }))
    const options = { dataDir: join(directory, 'data'), port: await freePort() }
    const name = 'admin/crash/tool'
    const chunk = 300_000
    const blob = makeSif({ seed: 'crash', payload: chunk * 6 + 12_345 })

    let server = await startProcess(options)
    const admin = await signInAs(server.url, 'admin', server.password ?? '')
    const registry = await withRegistryToken(admin, [`repository:${name}:pull,push`])
    const session = await openUpload(registry, name)
    assert.equal((await pushBlob(registry, name, emptyConfig)).status, 201)

    let acknowledged = 0
    for (let kill = 0; kill < 3; kill += 1) {
      const bytes = blob.subarray(acknowledged, acknowledged + chunk)
      const reply = await patchChunk(registry, session, bytes, acknowledged)
      assert.equal(reply.status, 202, reply.body.toString())
      acknowledged = nextByte(reply)
      const { gone } = await sendHalf(registry, session, blob.subarray(acknowledged), acknowledged)
      await server.end('SIGKILL')
      await gone
      server = await startProcess(options)

      const asked = await registry.get(session)
      assert.equal(asked.status, 204, asked.body.toString())
      assert.equal(nextByte(asked), acknowledged, 'the half chunk does not count')
      const early = await patchChunk(registry, session, bytes, acknowledged + 1)
      assertRefused(early, 416, 'BLOB_UPLOAD_INVALID')
    }
    const done = await endUpload(registry, session, digestOf(blob), blob.subarray(acknowledged))
    assert.equal(done.status, 201, done.body.toString())
    const manifest = makeManifest({ layers: [blob] })
    assert.equal((await putManifest(registry, name, 'latest', manifest)).status, 201)

    // What was acknowledged is there after one more kill, and the quota holds no byte of the rest.
    await server.end('SIGKILL')
    server = await startProcess(options)
    const found = await registry.get(`/v2/${name}/blobs/${digestOf(blob)}`)
    assert.ok(found.body.equals(blob))
    assert.ok((await registry.get(`/v2/${name}/manifests/latest`)).body.equals(manifest.bytes))
    const { data } = (await admin.get('/v1/entities/admin')).json
    assert.equal(data.size, blob.length + emptyConfig.length + manifest.bytes.length)
    assert.equal(await server.end('SIGTERM'), 0)
  },
)

/** Sends the first half of a chunk and waits until it is out; `gone` is when the connection has ended. */
async function sendHalf(
  client: Client,
  session: string,
  bytes: Buffer,
  first: number,
): Promise<{ readonly gone: Promise<void> }> {
  const half = bytes.subarray(0, bytes.length >> 1)
  const headers = {
    authorization: `Bearer ${client.credentials?.token}`,
    'content-range': `${first}-${first + bytes.length - 1}`,
    'content-length': String(bytes.length),
  }
  const sent = request(`${client.url}${session}`, { method: 'PATCH', agent: false, headers })
  const gone = new Promise<void>((resolve) => {
    sent.on('error', () => resolve())
    sent.on('close', () => resolve())
  })
  await new Promise((resolve) => sent.write(half, resolve))
  return { gone }
}
