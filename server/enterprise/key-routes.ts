/** The key service of the enterprise interface (enterprise.md 8.4): keys by who pushed them. */
import type { Router } from 'express'

import { requireAccount, requireAdministrator } from '../accounts/permissions.ts'
import { invalid } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { queryOf } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import type { KeyRow } from '../keystore/key-rows.ts'
import type { Keystore } from '../keystore/keystore.ts'
import { speaking } from './dialect.ts'
import { parseIdentifier } from './identifier.ts'

const algorithmNames: Readonly<Record<number, string>> = { 1: 'RSA', 19: 'ECDSA', 22: 'EdDSA' }

export function enterpriseKeyRoutes(keystore: Keystore): Router {
  const router = newRouter()
  const lists = newRouter()

  // Without `createdby` all keys, for administrators.
  lists.get('/v1/keys', async (req, res) => {
    const actor = requireAccount(actorOf(req))
    const wanted = queryOf(req, 'createdby')
    const owner = wanted === undefined ? null : parseIdentifier(wanted, 'user')
    if (owner !== actor.accountId) requireAdministrator(actor)
    const keys = await keystore.listOf(owner)
    res.json({ data: keys.map(keyJson), page: { next: '', totalSize: keys.length } })
  })

  lists.use(speaking({ denied: 'unauthenticated' }))
  router.use(lists)

  router.delete('/v1/key/:fingerprint', async (req, res) => {
    const fingerprint = req.params.fingerprint.toUpperCase()
    if (!/^(?:[0-9A-F]{40}|[0-9A-F]{64})$/.test(fingerprint)) {
      throw invalid('key', 'A fingerprint has 40 or 64 hex digits.')
    }
    await keystore.tombstone(actorOf(req), fingerprint, 'none given (enterprise interface)')
    res.status(200).end()
  })

  return router
}

function keyJson(key: KeyRow): object {
  return {
    fingerprint: key.fingerprint,
    keyIDShort: key.version === 4 ? key.fingerprint.slice(-8) : key.fingerprint.slice(0, 8),
    algorithm: algorithmNames[key.algorithm] ?? String(key.algorithm),
    bitLength: key.bits,
    creationTime: key.createdAt.toISOString(),
    expirationTime: key.expiresAt?.toISOString() ?? '',
    names: key.userIds.map(({ text }) => text),
  }
}
