/** HKP as clients speak it (protocol.md 7; draft-ietf-openpgp-hkp, legacy requests). */
import type { Request, Response, Router } from 'express'
import { z } from 'zod'

import { invalid, notFound } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { formBody, parse, queryOf } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import { humanIndex, machineIndex } from './index-lines.ts'
import type { Keystore } from './keystore.ts'

const error = 'send one armored public key block in this form field (gpg --export --armor)'
const addForm = z.looseObject({ keytext: z.string({ error }).min(1, { error }) })
/** A certificate has at most 128 KiB; gpg writes nearly every byte of it as three. */
const formLimit = '512kb'
const maxPage = 256

export function hkpRoutes(keystore: Keystore): Router {
  const router = newRouter()

  router.get('/pks/lookup', async (req, res) => {
    const operation = (queryOf(req, 'op') ?? 'index').toLowerCase()
    const search = queryOf(req, 'search')
    if (search === undefined) throw invalid('key', 'Say what to search for.')
    if (operation === 'get') return await sendKey(res, search)
    if (operation === 'index' || operation === 'vindex') return await sendIndex(req, res, search)
    res.status(501).type('text/plain').send('This operation is not known here.\n')
  })

  router.post('/pks/add', formBody(formLimit), async (req, res) => {
    const { keytext } = parse(addForm, req.body)
    const { fingerprint, outcome } = await keystore.push(actorOf(req), keytext)
    res.type('text/plain').send(`Key ${fingerprint} ${outcome}.\n`)
  })

  return router

  async function sendKey(res: Response, search: string): Promise<void> {
    const key = await keystore.get(search)
    res.type('application/pgp-keys').send(await keystore.armor(key))
  }

  async function sendIndex(req: Request, res: Response, search: string): Promise<void> {
    const after = tokenOf(queryOf(req, 'x-pagetoken'))
    const limit = sizeOf(queryOf(req, 'x-pagesize'))
    const exact = queryOf(req, 'exact') === 'on'
    const found = await keystore.search(search, { after, limit: limit + 1, exact })
    const keys = found.slice(0, limit)
    if (keys.length === 0) throw notFound('key', 'No keys found.')
    const last = keys.at(-1)
    if (found.length > limit && last) res.set('X-HKP-Next-Page-Token', last.fingerprint)
    const options = (queryOf(req, 'options') ?? '').split(',')
    const text = options.includes('mr') ? machineIndex(keys) : humanIndex(keys)
    res.set('Content-Type', 'text/plain; charset=utf-8').send(text)
  }
}

function tokenOf(text: string | undefined): string {
  if (text === undefined || /^[0-9A-F]{40,64}$/.test(text)) return text ?? ''
  throw invalid('key', 'This is not a page token.')
}

function sizeOf(text: string | undefined): number {
  const size = Number(text ?? maxPage)
  if (!Number.isSafeInteger(size) || size < 1) throw invalid('key', 'This is not a page size.')
  return Math.min(size, maxPage)
}
