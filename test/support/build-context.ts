/** Build contexts as clients send them (protocol.md 8.5). */
import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'

import { libraryHash } from './client.ts'
import type { Client, Reply } from './client.ts'

/** A tar.gz with one file. */
export function archive(content: string | Buffer, name = 'home/file'): Buffer {
  const bytes = Buffer.from(content)
  const header = Buffer.alloc(512)
  header.write(name, 0)
  header.write('0000644\0', 100)
  header.write('0000000\0', 108)
  header.write('0000000\0', 116)
  header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124)
  header.write('00000000000\0', 136)
  header.write('        0', 148)
  header.write('ustar\u000000', 257)
  let sum = 0
  for (const byte of header) sum += byte
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  const filling = Buffer.alloc((512 - (bytes.length % 512)) % 512)
  return gzipSync(Buffer.concat([header, bytes, filling, Buffer.alloc(1024)]))
}

export async function offerContext(
  client: Client,
  bytes: Buffer,
  size = bytes.length,
): Promise<Reply> {
  return await client.post('/v1/build-context', { size, digest: libraryHash(bytes) })
}

export async function sendContext(client: Client, bytes: Buffer): Promise<Reply> {
  const reply = await offerContext(client, bytes)
  assert.equal(reply.status, 201, reply.body.toString())
  return await client.upload(String(reply.headers['location']), bytes)
}
