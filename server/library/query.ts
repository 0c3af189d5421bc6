import type { Request } from 'express'

import { parseArch } from '../content/names.ts'
import type { Arch } from '../content/names.ts'
import { queryOf } from '../http/parse.ts'

/**
 * The architecture that a request asks for. Clients 3.6.0–3.7.1 escape the query of a deletion
 * twice and send a parameter that is named `arch=amd64` (protocol.md 5.8).
 */
export function wantedArch(req: Request): Arch | undefined {
  const plain = queryOf(req, 'arch')
  if (plain !== undefined) return parseArch(plain)
  const odd = Object.keys(req.query).find((name) => name.startsWith('arch='))
  return odd === undefined ? undefined : parseArch(odd.slice('arch='.length))
}
