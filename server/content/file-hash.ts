import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'

import { parseDigest } from './names.ts'
import type { Digest } from './names.ts'

const pieceBytes = 1 << 20

/** Reads a file once more for a digest that was not made on the way. */
export async function hashFile(file: FileHandle, algorithm: 'sha256' | 'sha512'): Promise<Digest> {
  const hash = createHash(algorithm)
  const piece = Buffer.alloc(pieceBytes)
  for (let position = 0; ;) {
    const { bytesRead } = await file.read(piece, 0, pieceBytes, position)
    if (bytesRead === 0) return parseDigest(`${algorithm}:${hash.digest('hex')}`)
    hash.update(piece.subarray(0, bytesRead))
    position += bytesRead
  }
}
