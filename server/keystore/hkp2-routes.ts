/**
 * HKP, version 2 requests (draft-ietf-openpgp-hkp, sections 5 and 7): binary certificates, found by
 * their versioned fingerprint, by 64-bit key ID (version 4 only) or by a whole identity, and pushed
 * as one binary certificate. Canonical is what belongs to the account that has the identity here.
 */
import type { Response, Router } from 'express'

import { invalid, notFound } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { rawBody } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import { flagOf } from './index-lines.ts'
import type { KeyRow } from './key-rows.ts'
import type { Keystore } from './keystore.ts'

const binaryType = 'application/pgp-keys;armor=no'
const maxBytes = '128kb'

const algorithmNames: Readonly<Record<number, string>> = {
  1: 'RSA (Encrypt or Sign)',
  19: 'ECDSA',
  22: 'EdDSALegacy',
  27: 'Ed25519',
  28: 'Ed448',
}

/** What can be asked for, and how. */
const categories = {
  'certs/by-vfingerprint': 'GET, HEAD, OPTIONS',
  'certs/by-keyid': 'GET, HEAD, OPTIONS',
  'certs/by-identity': 'GET, HEAD, OPTIONS',
  index: 'GET, HEAD, OPTIONS',
  canonical: 'GET, HEAD, OPTIONS',
  certs: 'POST, OPTIONS',
} as const

export function hkp2Routes(keystore: Keystore): Router {
  const router = newRouter()

  router.use('/pks/v2', (_req, res, next) => {
    // The draft wants it on every reply; nothing here depends on a cookie.
    res.set('Access-Control-Allow-Origin', '*')
    next()
  })

  for (const [category, methods] of Object.entries(categories)) {
    router.options(`/pks/v2/${category}`, (_req, res) => {
      res.set('Allow', methods)
      if (methods.startsWith('POST')) res.set('Accept', 'application/pgp-keys')
      res.status(200).end()
    })
    if (category !== 'certs') {
      router.get(`/pks/v2/${category}`, (_req, res) => {
        res.status(403).type('text/plain').send('Say what to look for.\n')
      })
    }
  }

  router.get('/pks/v2/certs/by-vfingerprint/:id', async (req, res) => {
    const match = /^(?:04([0-9a-f]{40})|06([0-9a-f]{64}))$/i.exec(req.params.id)
    const fingerprint = (match?.[1] ?? match?.[2])?.toUpperCase()
    if (fingerprint === undefined) throw noKey()
    sendBundle(res, [await keystore.get(`0x${fingerprint}`)])
  })

  router.get('/pks/v2/certs/by-keyid/:id', async (req, res) => {
    if (!/^[0-9a-f]{16}$/i.test(req.params.id)) throw noKey()
    const key = await keystore.get(`0x${req.params.id}`)
    // Key IDs of later versions are not for looking up (draft, 5.1.3).
    if (key.version !== 4) throw noKey()
    sendBundle(res, [key])
  })

  router.get('/pks/v2/certs/by-identity/:id', async (req, res) => {
    sendBundle(res, await keystore.ofIdentity(req.params.id))
  })
  router.get('/pks/v2/canonical/:id', async (req, res) => {
    sendBundle(res, await keystore.canonicalOf(req.params.id))
  })

  router.get('/pks/v2/index/:id', async (req, res) => {
    const keys = await keystore.ofIdentity(req.params.id)
    if (keys.length === 0) throw noKey()
    res.json(keys.map(indexJson))
  })

  router.post('/pks/v2/certs', rawBody(maxBytes), async (req, res) => {
    const body: unknown = req.body
    if (!Buffer.isBuffer(body) || body.length === 0) {
      throw invalid('key', 'Send one binary certificate (application/pgp-keys;armor=no).')
    }
    const { fingerprint, outcome } = await keystore.push(actorOf(req), body)
    const version = fingerprint.length === 64 ? 6 : 4
    const entry = [{ version, fingerprint: fingerprint.toLowerCase() }]
    res.json({
      inserted: outcome === 'added' ? entry : [],
      updated: outcome === 'updated' ? entry : [],
      ignored: outcome === 'unchanged' ? entry : [],
    })
  })

  router.all('/pks/v2/*rest', (_req, res) => {
    res.status(501).type('text/plain').send('This request is not known here.\n')
  })

  return router
}

function sendBundle(res: Response, keys: readonly KeyRow[]): void {
  if (keys.length === 0) throw noKey()
  res.set('Content-Type', binaryType).send(Buffer.concat(keys.map(({ bytes }) => bytes)))
}

function indexJson(key: KeyRow): object {
  return {
    version: key.version,
    fingerprint: key.fingerprint.toLowerCase(),
    algorithm: {
      code: key.algorithm,
      bitLength: key.bits,
      ...(key.algorithm in algorithmNames ? { name: algorithmNames[key.algorithm] } : {}),
    },
    creation: wholeSeconds(key.createdAt),
    ...(key.expiresAt === null ? {} : { expiration: wholeSeconds(key.expiresAt) }),
    isRevoked: flagOf(key) === 'r',
    userIDs: key.userIds.map(({ text, revoked }) => ({ uidString: text, isRevoked: revoked })),
  }
}

function wholeSeconds(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`
}

function noKey() {
  return notFound('key', 'There is no such key here.')
}
