import assert from 'node:assert/strict'
import test from 'node:test'

import { HashThread } from '../../server/content/hash-thread.ts'
import type { SharedPiece } from '../../server/content/hash-thread.ts'
import { sha256 } from '../support/client.ts'

const text = 'hello'

test('a hash and its copy go on independently', async (t) => {
  const thread = new HashThread()
  t.after(async () => await thread.close())
  const hash = thread.newHash()
  await hash.update(piece(text))
  const copy = hash.copy()
  await copy.update(piece(text))
  assert.equal(await hash.digest(), sha256(Buffer.from(text)))
  assert.equal(await copy.digest(), sha256(Buffer.from(text + text)))
})

test('once closed it starts no thread, which would keep the process alive', async () => {
  const thread = new HashThread()
  const hash = thread.newHash()
  await hash.update(piece(text))

  await thread.close()
  hash.dispose()
  await assert.rejects(hash.update(piece(text)), /the hashing thread has ended/)
  assert.ok(!process.getActiveResourcesInfo().includes('MessagePort'))
})

function piece(content: string): SharedPiece {
  const bytes = Buffer.from(new SharedArrayBuffer(content.length))
  bytes.write(content)
  return bytes
}
