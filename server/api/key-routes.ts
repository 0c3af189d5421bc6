/** /api/v1/keys: the caller's signing keys, retiring one, taking one out, and what a key has signed. */
import type { Request, Router } from 'express'
import { z } from 'zod'

import { requireAccount } from '../accounts/permissions.ts'
import type { ImageRow } from '../content/images.ts'
import { imageId } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { invalid } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { jsonBody, parse } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import type { KeyRow } from '../keystore/key-rows.ts'
import type { Keystore } from '../keystore/keystore.ts'
import type { Operation } from './operation.ts'

const key = z.object({
  fingerprint: z.string(),
  owner: z.string(),
  algorithm: z.int().describe('OpenPGP algorithm number'),
  bits: z.int(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().nullable(),
  revoked: z.boolean(),
  retiredAt: z.iso.datetime().nullable(),
  userIds: z.array(z.string()),
})
const signedImage = z.object({
  image: z.string().describe('Its ID: entity/collection/container:sha256.<hex>'),
  tags: z.array(z.string()),
  uploadedAt: z.iso.datetime(),
  state: z.string().describe('Of the image: verified, unknown-key, invalid, partial, dsse, legacy'),
  reason: z.string().nullable(),
})
/** Newest first: more are not listed. */
const maxImages = 1000
const change = z.strictObject({ retired: z.boolean() })

const removal = z.strictObject({ reason: z.string().min(1).max(200) })

const fingerprintParameter = { fingerprint: 'Fingerprint of the primary key, in hex' }

export const keyOperations: readonly Operation[] = [
  {
    method: 'get',
    path: '/api/v1/keys',
    summary: "One's own signing keys",
    credentials: ['token'],
    reply: { status: 200, data: z.array(key) },
    problems: [401],
  },
  {
    method: 'put',
    path: '/api/v1/keys/{fingerprint}',
    parameters: fingerprintParameter,
    summary: 'Retires a key, so that it is for old signatures only, or brings it back',
    credentials: ['token'],
    body: change,
    reply: { status: 200, data: key },
    problems: [400, 401, 403, 404],
  },
  {
    method: 'get',
    path: '/api/v1/keys/{fingerprint}/images',
    parameters: fingerprintParameter,
    summary: 'Images with a signature of a key, which need not be in the keystore: the newest 1000',
    credentials: ['token'],
    reply: { status: 200, data: z.array(signedImage) },
    problems: [400, 401],
  },
  {
    method: 'delete',
    path: '/api/v1/keys/{fingerprint}',
    parameters: fingerprintParameter,
    summary:
      'Takes a key out for ever (administrators); what it has signed cannot be verified then',
    credentials: ['token'],
    body: removal,
    reply: { status: 200, data: z.object({ fingerprint: z.string() }) },
    problems: [400, 401, 403, 404],
  },
]

export function keyRoutes(keystore: Keystore, registry: Registry): Router {
  const router = newRouter()

  router.get('/api/v1/keys', async (req, res) => {
    const account = requireAccount(actorOf(req))
    const keys = await keystore.listOf(account.accountId)
    res.json({ data: keys.map(keyJson) })
  })

  router.put('/api/v1/keys/:fingerprint', jsonBody(), async (req, res) => {
    const { retired } = parse(change, req.body)
    const fingerprint = fingerprintOf(req)
    res.json({ data: keyJson(await keystore.setRetired(actorOf(req), fingerprint, retired)) })
  })

  router.get('/api/v1/keys/:fingerprint/images', async (req, res) => {
    const images = await registry.listSignedBy(actorOf(req), fingerprintOf(req), maxImages)
    res.json({ data: images.map(signedImageJson) })
  })

  router.delete('/api/v1/keys/:fingerprint', jsonBody(), async (req, res) => {
    const { reason } = parse(removal, req.body)
    const fingerprint = fingerprintOf(req)
    await keystore.tombstone(actorOf(req), fingerprint, reason)
    res.json({ data: { fingerprint } })
  })

  return router
}

function fingerprintOf(req: Request): string {
  const fingerprint = String(req.params['fingerprint']).toUpperCase()
  if (/^(?:[0-9A-F]{40}|[0-9A-F]{64})$/.test(fingerprint)) return fingerprint
  throw invalid('key', 'A fingerprint has 40 or 64 hex digits.')
}

function signedImageJson(row: ImageRow): z.infer<typeof signedImage> {
  return {
    image: imageId(row.path, row.digest),
    tags: [...row.tags],
    uploadedAt: row.uploadedAt.toISOString(),
    state: row.signatureState,
    reason: row.signatureReason,
  }
}

function keyJson(row: KeyRow): z.infer<typeof key> {
  return {
    fingerprint: row.fingerprint,
    owner: row.ownerName,
    algorithm: row.algorithm,
    bits: row.bits,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString() ?? null,
    revoked: row.revoked,
    retiredAt: row.retiredAt?.toISOString() ?? null,
    userIds: row.userIds.map(({ text }) => text),
  }
}
